//! Lists, counts and what is due: reads for people and for the engine's own rounds.

use rusqlite::{Connection, Row, ToSql, named_params, params};

use super::{
    agents, hosts,
    load::{self, all, one},
    migrate, rows,
    rows::json,
    save::run,
    sql,
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
    id::{InstanceId, ItemId, RunId, TaskId},
    model::{
        Cursor, Disk, Due, Entry, Item, ItemFilter, Page, Phase, Prune, Pruned, Query, RunFilter,
        RunView, Stats, Stream, TaskFilter, TaskState, TaskView,
    },
};

/// A page of a list.
pub(super) fn list(conn: &Connection, query: &Query) -> Result<Page> {
    Ok(match query {
        Query::Tasks { filter, after, limit } => Page::Tasks(tasks(conn, filter, *after, *limit)?),
        Query::Runs { filter, after, limit } => Page::Runs(runs(conn, filter, *after, *limit)?),
        Query::Inbox { filter, after, limit } => Page::Inbox(items(conn, filter, *after, *limit)?),
        Query::Capacity { key, after, limit } => {
            let params = params![key, after, limit];
            Page::Capacity(all(conn, sql::LIST_CAPACITY, params, rows::capacity_view)?)
        }
        Query::Messages { chat, after, limit } => {
            Page::Messages(agents::messages(conn, *chat, *after, *limit)?)
        }
        Query::Parts { message, from, limit } => {
            Page::Parts(all(conn, sql::LIST_PARTS, params![message, from, limit], agents::part)?)
        }
        Query::Sessions { project, after, limit } => Page::Sessions(all(
            conn,
            sql::LIST_SESSIONS,
            params![project, after, limit],
            rows::session,
        )?),
        Query::Chats { project, session, after, limit } => {
            let params = params![project, session, after, limit];
            Page::Chats(all(conn, sql::LIST_CHATS, params, rows::chat)?)
        }
        Query::Instances => Page::Instances(all(conn, sql::INSTANCES_ALL, [], rows::instance)?),
        Query::AgentSessions { chat, after, limit } => {
            let params = params![chat, after, limit];
            Page::AgentSessions(all(conn, sql::LIST_AGENT_SESSIONS, params, agents::agent_session)?)
        }
        Query::Turns { chat, after, limit } => {
            Page::Turns(all(conn, sql::LIST_TURNS, params![chat, after, limit], agents::turn)?)
        }
        Query::Ledger { of, after, limit } => {
            Page::Ledger(agents::ledger(conn, *of, *after, *limit)?)
        }
        Query::Spent { of } => Page::Spent(agents::spent(conn, *of)?),
        Query::Orphans { host, after, limit } => {
            Page::Orphans(all(conn, sql::ORPHANS, params![host, after, limit], hosts::process)?)
        }
        Query::Agents { host, after, limit } => {
            Page::Agents(all(conn, sql::LIST_AGENTS, params![host, after, limit], hosts::agent)?)
        }
        Query::Stats { project } => Page::Stats(stats_of(conn, project)?),
        Query::Disk => Page::Disk(disk(conn)?),
    })
}

/// The stored phases of states.
fn phases(states: &[TaskState]) -> Vec<u8> {
    let known = (0..).map_while(|number| Some((Phase::from_number(number)?, number as u8)));
    known.filter(|(phase, _)| states.contains(&phase.state())).map(|(_, number)| number).collect()
}

fn tasks(
    conn: &Connection,
    filter: &TaskFilter,
    after: Option<TaskId>,
    limit: u32,
) -> Result<Vec<TaskView>> {
    let (label, value) = filter.label.clone().unzip();
    let phases = json(&phases(&filter.states));
    let params = named_params! {
        ":after": after, ":limit": limit, ":project": filter.project, ":phases": phases,
        ":kind": filter.kind, ":parent": filter.parent, ":arena": filter.arena,
        ":chat": filter.chat, ":run": filter.run, ":label": label, ":value": value,
    };
    let ids = all_named(conn, &sql::list_tasks(filter), params, |row| row.get(0))?;
    ids.into_iter().filter_map(|id| task_view(conn, id).transpose()).collect()
}

fn runs(
    conn: &Connection,
    filter: &RunFilter,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<RunView>> {
    let states = json(&filter.states.iter().map(|state| *state as u8).collect::<Vec<_>>());
    let params = named_params! {
        ":after": after, ":limit": limit, ":project": filter.project, ":states": states,
        ":flow": filter.flow,
    };
    let ids = all_named(conn, &sql::list_runs(filter, after), params, |row| row.get(0))?;
    ids.into_iter().filter_map(|id| run_view(conn, id).transpose()).collect()
}

fn items(
    conn: &Connection,
    filter: &ItemFilter,
    after: Option<ItemId>,
    limit: u32,
) -> Result<Vec<Item>> {
    let states: Vec<u8> = filter.states.iter().map(|state| *state as u8).collect();
    let params = named_params! {
        ":after": after, ":limit": limit, ":project": filter.project, ":task": filter.task,
        ":states": json(&states),
    };
    Ok(all_named(conn, &sql::list_inbox(filter), params, rows::item)?)
}

/// The rows of a statement that has some of the parameters.
fn all_named<T>(
    conn: &Connection,
    sql: &str,
    params: &[(&str, &dyn ToSql)],
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut used = Vec::new();
    for (name, value) in params {
        used.extend(statement.parameter_index(name)?.map(|_| (*name, *value)));
    }
    statement.query_map(used.as_slice(), read)?.collect()
}

fn task_view(conn: &Connection, id: TaskId) -> Result<Option<TaskView>> {
    let task = one(conn, sql::TASK, [id], rows::task)?;
    let attempt = all(conn, sql::ATTEMPTS, [id], rows::attempt)?.into_iter().next_back();
    let spec = one(conn, sql::SPEC, [id], rows::spec)?;
    Ok(spec.map(|(spec, _)| TaskView { task, spec, attempt }))
}

fn run_view(conn: &Connection, id: RunId) -> Result<Option<RunView>> {
    let run = one(conn, sql::RUN, [id], rows::run)?;
    let spec = one(conn, sql::RUN_SPEC, [id], rows::run_spec)?;
    Ok(run.zip(spec).map(|(run, spec)| RunView { run, spec }))
}

/// Facts for the instance `of`.
pub(super) fn due(conn: &Connection, of: InstanceId, limit: u32, now: Timestamp) -> Result<Due> {
    if migrate::version(conn)? == 0 {
        return Ok(Due::default());
    }
    let time = |statement, params: &[&dyn ToSql]| {
        one(conn, statement, params, |row| row.get::<_, Option<Timestamp>>(0)).map(Option::flatten)
    };
    let next = [time(sql::NEXT_TIMER, &[])?, time(sql::NEXT_UNPARK, &[&now])?];
    Ok(Due {
        ripe: all(conn, sql::RIPE, (now, limit), rows::task)?,
        next: next.into_iter().flatten().min(),
        foreign: all(conn, sql::FOREIGN, [limit], |row| row.get(0))?,
        held: all(conn, sql::HELD, (of, limit), rows::task)?,
        holders: holders(conn)?,
        ready: one(conn, sql::ANY_READY, [], |row| row.get(0))?.unwrap_or(false),
        tail: last(conn)?,
    })
}

fn holders(conn: &Connection) -> Result<Vec<(InstanceId, Option<crate::model::Instance>)>> {
    let mut found = Vec::new();
    let mut at = Vec::new();
    while let Some(id) =
        one(conn, sql::NEXT_HOLDER, [&at], |row| row.get::<_, Option<InstanceId>>(0))?.flatten()
    {
        found.push((id, one(conn, sql::INSTANCE, [id], rows::instance)?));
        at = id.as_uuid().as_bytes().to_vec();
    }
    Ok(found)
}

fn last(conn: &Connection) -> Result<Cursor> {
    let major = one(conn, sql::LAST_ENTRY, [], |row| row.get(0))?.unwrap_or(0);
    Ok(Cursor { major, minor: 0 })
}

/// Entries of a stream after a cursor.
pub(super) fn tail(
    conn: &Connection,
    stream: Stream,
    after: Cursor,
    limit: u32,
) -> Result<Vec<Entry>> {
    let mut entries = match stream {
        Stream::All => {
            let pruned = one(conn, sql::PRUNED, [], |row| row.get::<_, i64>(0))?;
            if after != Cursor::START && pruned.is_some_and(|pruned| after.major < pruned) {
                return Err(Error::cursor_expired());
            }
            all(conn, sql::TAIL_ALL, (after.major, limit), rows::entry)?
        }
        owned => {
            let (_, owner) = rows::stream(owned);
            let kept = one(conn, sql::ENTRY_IS_KEPT, (&owner, after.major), |row| row.get(0))?;
            if after != Cursor::START && kept == Some(false) {
                return Err(Error::cursor_expired());
            }
            all(conn, sql::TAIL, (owner, after.major, limit), rows::entry)?
        }
    };
    entries.iter_mut().for_each(|entry| load::own_cursor(stream, entry));
    Ok(entries)
}

/// The bytes of the database proper; the log is the caller's to look at.
fn disk(conn: &Connection) -> Result<Disk> {
    let read = |row: &Row<'_>| Ok((count(row, 0)?, count(row, 1)?));
    let (database_bytes, used) = one(conn, sql::DISK_BYTES, [], read)?.unwrap_or_default();
    Ok(Disk { database_bytes, used_bytes: Some(used), wal_bytes: 0 })
}

/// Counts.
pub(super) fn stats(conn: &Connection) -> Result<Stats> {
    let mut stats = Stats::default();
    let pairs = |row: &Row<'_>| Ok((row.get(0)?, count(row, 1)?));
    for (phase, count) in all(conn, sql::COUNT_TASKS, [], pairs)? {
        stats.add_tasks(phase, count);
    }
    let foreign = one(conn, sql::COUNT_FOREIGN, [], |row| count(row, 0))?.unwrap_or(0);
    stats.add_tasks(Phase::Ready as i64, foreign);
    for (state, count) in all(conn, sql::COUNT_RUNS, [], pairs)? {
        stats.add_runs(state, count);
    }
    stats.inbox = one(conn, sql::COUNT_INBOX, [], |row| count(row, 0))?.unwrap_or(0);
    Ok(stats)
}

/// Counts of a project.
fn stats_of(conn: &Connection, project: &str) -> Result<Stats> {
    let mut stats = Stats::default();
    let counts = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, count(row, 2)?));
    for (what, number, count) in all(conn, sql::COUNT_PROJECT, [project], counts)? {
        match what {
            0 => stats.add_tasks(number, count),
            1 => stats.add_runs(number, count),
            _ => stats.inbox = count,
        }
    }
    Ok(stats)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| number.max(0) as u64)
}

/// Removes what is old, inside a transaction.
pub(super) fn prune(conn: &Connection, prune: &Prune) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    let params = (prune.runs_before, prune.limit);
    for id in all(conn, sql::OLD_RUNS, params, |row| row.get::<_, RunId>(0))? {
        for task in all(conn, sql::TASKS_OF_RUN, [id], |row| row.get::<_, TaskId>(0))? {
            delete(conn, &sql::DELETE_TASK, task)?;
        }
        run(conn, sql::NOTE_PRUNED, [id])?;
        delete(conn, &sql::DELETE_RUN, id)?;
        pruned.runs += 1;
    }
    let params = (prune.tasks_before, prune.limit);
    for id in all(conn, sql::OLD_TASKS, params, |row| row.get::<_, TaskId>(0))? {
        delete(conn, &sql::DELETE_TASK, id)?;
        pruned.tasks += 1;
    }
    run(conn, sql::NOTE_PRUNED_ENTRIES, (prune.entries_before, prune.limit))?;
    pruned.entries = run(conn, sql::PRUNE_ENTRIES, (prune.entries_before, prune.limit))? as u64;
    Ok(pruned)
}

fn delete(conn: &Connection, statements: &[&str], id: impl ToSql) -> Result<()> {
    statements.iter().try_for_each(|statement| run(conn, statement, [&id]).map(drop))?;
    Ok(())
}
