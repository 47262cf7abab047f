//! Lists, counts and what is due: reads for people and for the engine's own rounds.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    agents,
    failure::{Attempted, only},
    hosts,
    pipe::{Line, Param, Pipe, params},
    rows::{self, Cells, Time},
    sql,
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
    id::{InstanceId, ItemId},
    model::{
        Cursor, Disk, Due, Entry, Instance, ItemFilter, Page, Phase, Query, RunView, Stats, Stream,
        TaskFilter, TaskState, TaskView,
    },
};

/// The statement of a list, and its parameters.
pub(super) fn query(query: &Query) -> (&'static str, Vec<Param<'static>>) {
    match query.clone() {
        Query::Tasks { filter, after, limit } => {
            (sql::LIST_TASKS, task_params(filter, after.map(|id| id.as_uuid()), limit))
        }
        Query::Runs { filter, after, limit } => {
            let states: Vec<i16> = filter.states.into_iter().map(|state| state as i16).collect();
            let (states, after) = (some(states), after.map(|id| id.as_uuid()));
            let params = params![filter.project, states, after, filter.flow, i64::from(limit)];
            (sql::LIST_RUNS, params)
        }
        Query::Inbox { filter, after, limit } => items(filter, after, limit),
        Query::Capacity { key, after, limit } => {
            (sql::LIST_CAPACITY, params![key, after, i64::from(limit)])
        }
        Query::Messages { chat, after, limit } => {
            (sql::LIST_MESSAGES, params![chat.as_uuid(), after, i64::from(limit)])
        }
        Query::Parts { message, from, limit } => {
            (sql::LIST_PARTS, params![message.as_uuid(), from as i32, i64::from(limit)])
        }
        Query::Sessions { project, after, limit } => {
            let after = after.map(|id| id.as_uuid());
            (sql::LIST_SESSIONS, params![project, after, i64::from(limit)])
        }
        Query::Chats { project, session, after, limit } => {
            let (session, after) = (session.map(|id| id.as_uuid()), after.map(|id| id.as_uuid()));
            (sql::LIST_CHATS, params![project, session, after, i64::from(limit)])
        }
        Query::Instances => (sql::INSTANCES_ALL, Vec::new()),
        Query::AgentSessions { chat, after, limit } => {
            let after = after.map(|id| id.as_uuid());
            (sql::LIST_AGENT_SESSIONS, params![chat.as_uuid(), after, i64::from(limit)])
        }
        Query::Turns { chat, after, limit } => {
            let after = after.map(|id| id.as_uuid());
            (sql::LIST_TURNS, params![chat.as_uuid(), after, i64::from(limit)])
        }
        Query::Ledger { of, after, limit } => agents::ledger(of, after, limit),
        Query::Spent { of } => agents::sum(of),
        Query::Orphans { host, after, limit } => {
            (sql::ORPHANS, params![host, after.map(|id| id.as_uuid()), i64::from(limit)])
        }
        Query::Agents { host, after, limit } => {
            (sql::LIST_AGENTS, params![host, after, i64::from(limit)])
        }
        Query::Stats { project } => (sql::COUNT_PROJECT, params![project]),
        Query::Disk => (sql::DISK_BYTES, Vec::new()),
    }
}

fn items(
    filter: ItemFilter,
    after: Option<ItemId>,
    limit: u32,
) -> (&'static str, Vec<Param<'static>>) {
    let is_open = filter.is_open();
    let (task, after) = (filter.task.map(|id| id.as_uuid()), after.map(|id| id.as_uuid()));
    let mut params = params![filter.project, task, after, i64::from(limit)];
    if is_open {
        return (sql::LIST_OPEN, params);
    }
    let states: Vec<i16> = filter.states.into_iter().map(|state| state as i16).collect();
    params.extend(params![some(states)]);
    (sql::LIST_INBOX, params)
}

fn task_params(filter: TaskFilter, after: Option<Uuid>, limit: u32) -> Vec<Param<'static>> {
    let (label, value) = filter.label.unzip();
    params![
        after,
        filter.project,
        some(phases(&filter.states)),
        filter.kind,
        filter.parent.map(|id| id.as_uuid()),
        filter.arena.map(|id| id.as_uuid()),
        filter.chat.map(|id| id.as_uuid()),
        filter.run.map(|id| id.as_uuid()),
        label,
        value,
        i64::from(limit),
    ]
}

/// A condition that is not empty.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// The stored phases of states.
fn phases(states: &[TaskState]) -> Vec<i16> {
    let known = (0..).map_while(|number| Some((Phase::from_number(number)?, number as i16)));
    known.filter(|(phase, _)| states.contains(&phase.state())).map(|(_, number)| number).collect()
}

/// Reads the answer of a list.
pub(super) fn page(query: &Query, found: &[Row]) -> Result<Page> {
    Ok(match query {
        Query::Tasks { .. } => Page::Tasks(rows::all(found, task_view)?),
        Query::Runs { .. } => Page::Runs(rows::all(found, run_view)?),
        Query::Inbox { .. } => Page::Inbox(rows::all(found, rows::item)?),
        Query::Messages { .. } => Page::Messages(rows::all(found, agents::message)?),
        Query::Parts { .. } => Page::Parts(rows::all(found, agents::part)?),
        Query::Sessions { .. } => Page::Sessions(rows::all(found, rows::session)?),
        Query::Chats { .. } => Page::Chats(rows::all(found, rows::chat)?),
        Query::Instances => Page::Instances(rows::all(found, rows::instance)?),
        Query::Capacity { .. } => Page::Capacity(rows::all(found, rows::capacity_view)?),
        Query::AgentSessions { .. } => {
            Page::AgentSessions(rows::all(found, agents::agent_session)?)
        }
        Query::Turns { .. } => Page::Turns(rows::all(found, agents::turn)?),
        Query::Ledger { .. } => Page::Ledger(rows::all(found, agents::booking)?),
        Query::Spent { .. } => {
            Page::Spent(rows::all(found, agents::spent)?.pop().unwrap_or_default())
        }
        Query::Orphans { .. } => Page::Orphans(rows::all(found, hosts::process)?),
        Query::Agents { .. } => Page::Agents(rows::all(found, hosts::agent)?),
        Query::Stats { .. } => Page::Stats(stats_of(found)?),
        Query::Disk => Page::Disk(Disk { database_bytes: count(found)?, ..Disk::default() }),
    })
}

fn task_view(cells: &mut Cells<'_>) -> Result<TaskView> {
    let task = match cells.is_null()? {
        true => {
            cells.skip(rows::TASK_COLUMNS);
            None
        }
        false => Some(rows::task(cells)?),
    };
    let (spec, _) = rows::spec(cells)?;
    let attempt = if cells.is_null()? { None } else { Some(rows::attempt(cells)?) };
    Ok(TaskView { task, spec, attempt })
}

fn run_view(cells: &mut Cells<'_>) -> Result<RunView> {
    Ok(RunView { run: rows::run(cells)?, spec: rows::run_spec(cells)? })
}

/// Facts for the instance `of`.
pub(super) async fn due(
    line: Line<'_>,
    of: InstanceId,
    limit: u32,
    now: Timestamp,
) -> Attempted<Due> {
    let limit = i64::from(limit);
    let mut pipe = Pipe::default();
    pipe.add(sql::RIPE, params![Time(now), limit]);
    pipe.add(sql::NEXT_TIMER, Vec::new());
    pipe.add(sql::NEXT_UNPARK, params![Time(now)]);
    pipe.add(sql::FOREIGN, params![limit]);
    pipe.add(sql::HELD, params![of.as_uuid(), limit]);
    pipe.add(sql::HOLDERS, Vec::new());
    pipe.add(sql::ANY_READY, params![Time(now)]);
    pipe.add(sql::LAST_ENTRY, Vec::new());
    let found = pipe.send(line).await?;
    let next = [time(&found[1])?, time(&found[2])?];
    Ok(Due {
        ripe: rows::all(&found[0], rows::task)?,
        next: next.into_iter().flatten().min(),
        foreign: rows::all(&found[3], |cells| cells.id())?,
        held: rows::all(&found[4], rows::task)?,
        holders: rows::all(&found[5], holder)?,
        ready: Cells::new(only(found[6].first())?).next()?,
        tail: rows::all(&found[7], cursor)?.pop().unwrap_or(Cursor::START),
    })
}

fn time(rows: &[Row]) -> Result<Option<Timestamp>> {
    Cells::new(only(rows.first())?).time_or_null()
}

fn holder(cells: &mut Cells<'_>) -> Result<(InstanceId, Option<Instance>)> {
    let id = cells.id()?;
    let instance = if cells.is_null()? { None } else { Some(rows::instance(cells)?) };
    Ok((id, instance))
}

fn cursor(cells: &mut Cells<'_>) -> Result<Cursor> {
    Ok(Cursor { major: cells.next()?, minor: cells.next()? })
}

/// Entries of a run or chat after a cursor. The cursor of an entry in its own stream is its
/// number there.
pub(super) async fn tail(
    line: Line<'_>,
    stream: Stream,
    after: Cursor,
    limit: u32,
) -> Attempted<Vec<Entry>> {
    let (_, owner) = rows::stream(stream);
    let mut pipe = Pipe::default();
    pipe.add(sql::ENTRY_IS_KEPT, params![owner, after.major]);
    pipe.add(sql::TAIL, params![owner, after.major, i64::from(limit)]);
    let found = pipe.send(line).await?;
    let kept: bool = Cells::new(only(found[0].first())?).next()?;
    if after != Cursor::START && !kept {
        return Err(Error::cursor_expired().into());
    }
    let mut entries = rows::all(&found[1], rows::entry)?;
    for entry in &mut entries {
        entry.cursor = Cursor { major: entry.seq, minor: 0 };
    }
    Ok(entries)
}

/// Entries of all runs and chats after a cursor, and whether there are more that do not show
/// yet.
pub(super) async fn tail_all(
    line: Line<'_>,
    after: Cursor,
    limit: u32,
) -> Attempted<(Vec<Entry>, bool)> {
    let mut pipe = Pipe::default();
    let after_xid = after.major.max(0).to_string();
    pipe.add(sql::PRUNED, Vec::new());
    pipe.add(sql::HIDDEN, Vec::new());
    pipe.add(sql::TAIL_ALL, params![after_xid, after.minor, i64::from(limit)]);
    let found = pipe.send(line).await?;
    let pruned = pruned(&found[0])?;
    if after != Cursor::START && pruned.is_some_and(|pruned| after < pruned) {
        return Err(Error::cursor_expired().into());
    }
    let hidden = Cells::new(only(found[1].first())?).next()?;
    Ok((rows::all(&found[2], rows::entry)?, hidden))
}

/// The newest entry that was pruned.
pub(super) fn pruned(rows: &[Row]) -> Result<Option<Cursor>> {
    let mut cells = Cells::new(only(rows.first())?);
    let (major, minor): (Option<i64>, Option<i64>) = (cells.next()?, cells.next()?);
    Ok(major.zip(minor).map(|(major, minor)| Cursor { major, minor }))
}

/// Adds the statements that count.
pub(super) fn add_counts(pipe: &mut Pipe<'_>) -> usize {
    let first = pipe.add(sql::COUNT_TASKS, Vec::new());
    for sql in [sql::COUNT_FOREIGN, sql::COUNT_RUNS, sql::COUNT_INBOX] {
        pipe.add(sql, Vec::new());
    }
    first
}

/// Reads what [`add_counts`] asked for.
pub(super) fn stats(found: &[Vec<Row>]) -> Result<Stats> {
    let mut stats = Stats::default();
    for (phase, count) in rows::all(&found[0], pair)? {
        stats.add_tasks(phase, count);
    }
    stats.add_tasks(Phase::Ready as i64, count(&found[1])?);
    for (state, count) in rows::all(&found[2], pair)? {
        stats.add_runs(state, count);
    }
    stats.inbox = count(&found[3])?;
    Ok(stats)
}

/// Counts of a project.
fn stats_of(found: &[Row]) -> Result<Stats> {
    let mut stats = Stats::default();
    let counts = |cells: &mut Cells<'_>| Ok((cells.next::<i64>()?, pair(cells)?));
    for (what, (number, count)) in rows::all(found, counts)? {
        match what {
            0 => stats.add_tasks(number, count),
            1 => stats.add_runs(number, count),
            _ => stats.inbox = count,
        }
    }
    Ok(stats)
}

fn pair(cells: &mut Cells<'_>) -> Result<(i64, u64)> {
    Ok((cells.next()?, cells.next::<i64>()?.max(0) as u64))
}

fn count(rows: &[Row]) -> Result<u64> {
    Cells::new(only(rows.first())?).next::<i64>().map(|number| number.max(0) as u64)
}
