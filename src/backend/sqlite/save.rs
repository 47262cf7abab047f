//! Saving what a plan changed.

use std::collections::BTreeSet;

use rusqlite::{CachedStatement, Connection, Params, params};

use super::{
    agents, hosts, load,
    rows::{json, labels, stream},
    sql,
};
use crate::{
    error::{Error, Result},
    id::{RunId, TaskId},
    model::{
        Attempt, CapacityKey, Changes, Entry, Item, Lane, Message, Run, RunSpec, Step, Stream,
        Task, TaskSpec,
    },
};

/// Runs a statement and says how many rows it changed.
pub(super) fn run(
    conn: &Connection,
    statement: &str,
    params: impl Params,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(statement)?.execute(params)
}

/// Calls `work` with each of the rows and one statement: to look a statement up costs as much
/// as a fifth of running it.
fn each<T, E>(
    conn: &Connection,
    statement: &str,
    rows: impl IntoIterator<Item = T>,
    mut work: impl FnMut(&mut CachedStatement<'_>, T) -> std::result::Result<(), E>,
) -> std::result::Result<(), E>
where
    E: From<rusqlite::Error>,
{
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut statement = conn.prepare_cached(statement)?;
    rows.try_for_each(|row| work(&mut statement, row))
}

/// Saves changes that were planned on rows the caller held. Returns the tasks whose guard
/// did not hold: nothing of theirs was written.
pub(super) fn guarded(conn: &Connection, changes: &Changes) -> Result<BTreeSet<TaskId>> {
    let mut missed = BTreeSet::new();
    for lane in changes.lanes.values() {
        insert_lane(conn, lane)?;
    }
    each(conn, sql::INSERT_SPEC, &changes.specs, |statement, spec| {
        if insert_spec(statement, spec)? == 0 {
            missed.insert(spec.id);
        }
        Ok::<_, Error>(())
    })?;
    let new = changes.new_tasks.iter().filter(|task| !missed.contains(&task.id));
    each(conn, sql::INSERT_TASK, new, insert_task)?;
    each(conn, sql::UPDATE_TASK, &changes.tasks, |statement, task| {
        if update_task(statement, task)? == 0 {
            missed.insert(task.id);
        }
        Ok::<_, Error>(())
    })?;
    let attempts = changes.attempts.iter().filter(|attempt| !missed.contains(&attempt.task));
    each(conn, sql::INSERT_ATTEMPT, attempts, insert_attempt)?;
    for task in changes.freed.iter().filter(|task| !missed.contains(task)) {
        free_slots(conn, *task)?;
    }
    Ok(missed)
}

/// Saves changes that were planned inside the transaction.
pub(super) fn save(conn: &Connection, changes: &Changes) -> Result<()> {
    for id in &changes.sessions_gone {
        run(conn, sql::DELETE_SESSION, [id])?;
    }
    for id in &changes.chats_gone {
        run(conn, sql::DELETE_CHAT, [id])?;
        run(conn, sql::DELETE_ENTRIES, [stream(Stream::Chat(*id)).1])?;
    }
    changes.sessions.iter().try_for_each(|row| {
        let params = params![row.id, row.project, row.title, row.meta, row.created_at];
        run(conn, sql::PUT_SESSION, params).map(drop)
    })?;
    for row in &changes.chats {
        let params = params![
            row.id,
            row.project,
            row.session,
            row.title,
            row.meta,
            row.next_seq,
            row.created_at,
            row.forked_from.map(|(chat, _)| chat),
            row.forked_from.map(|(_, seq)| seq)
        ];
        run(conn, sql::PUT_CHAT, params)?;
    }
    save_runs(conn, changes)?;
    let missed = guarded(conn, changes)?;
    if let Some(task) = missed.first() {
        return Err(Error::database(format!("task {task} changed inside the transaction")));
    }
    save_around_tasks(conn, changes)?;
    agents::save(conn, changes)?;
    hosts::save(conn, changes)?;
    changes.messages.iter().try_for_each(|row| insert_message(conn, row))?;
    agents::save_parts(conn, changes)?;
    changes.entries.iter().try_for_each(|row| insert_entry(conn, row))?;
    Ok(())
}

fn save_around_tasks(conn: &Connection, changes: &Changes) -> Result<()> {
    for id in &changes.adopted {
        run(conn, sql::ADOPT_SPEC, [id])?;
    }
    for id in &changes.unique_freed {
        run(conn, sql::FREE_UNIQUE, [id])?;
    }
    for (project, key, task) in &changes.unique {
        run(conn, sql::INSERT_UNIQUE, (project, key, task))?;
    }
    for memo in changes.memos.values() {
        run(conn, sql::PUT_MEMO, (memo.key.as_bytes(), memo.task, memo.lease))?;
    }
    changes.items.iter().try_for_each(|item| put_item(conn, item))?;
    changes.capacity.iter().try_for_each(|key| put_capacity(conn, key))?;
    for row in &changes.instances {
        let host = &row.host;
        let params = params![
            row.id,
            host.name,
            host.boot,
            host.pid,
            host.pid_start as i64,
            row.beat,
            json(&row.serves),
            row.started_at
        ];
        run(conn, sql::PUT_INSTANCE, params)?;
    }
    for id in &changes.instances_gone {
        run(conn, sql::DELETE_INSTANCE, [id])?;
    }
    Ok(())
}

fn save_runs(conn: &Connection, changes: &Changes) -> Result<()> {
    changes.run_specs.iter().try_for_each(|row| insert_run_spec(conn, row))?;
    changes.runs.iter().try_for_each(|row| put_run(conn, row))?;
    for edge in &changes.edges_gone {
        run(conn, sql::DELETE_EDGE, *edge)?;
    }
    for (id, no) in &changes.steps_gone {
        sql::DELETE_STEP.iter().try_for_each(|sql| run(conn, sql, (id, no)).map(drop))?;
    }
    changes.new_steps.iter().try_for_each(|row| insert_step(conn, row))?;
    for row in &changes.steps {
        let params = params![
            row.run,
            row.no,
            row.state as u8,
            row.waiting_on,
            row.open_edges,
            row.attempt,
            row.task,
            row.reserved.as_ref().map(json),
            row.reason,
            row.updated_at
        ];
        run(conn, sql::UPDATE_STEP, params)?;
    }
    for (id, from, to, terms) in &changes.edges {
        let terms = (!terms.are_plain()).then(|| json(terms));
        run(conn, sql::INSERT_EDGE, (id, from, to, terms))?;
    }
    for (id, no, input) in &changes.step_inputs {
        run(conn, sql::PUT_STEP_INPUT, (id, no, input))?;
    }
    for row in &changes.run_attempts {
        let (how, state) = (row.retry.as_ref().map(json), row.state as u8);
        let params = params![row.run, row.attempt, how, state, row.started_at, row.ended_at];
        run(conn, sql::PUT_RUN_ATTEMPT, params)?;
    }
    Ok(())
}

fn insert_lane(conn: &Connection, lane: &Lane) -> rusqlite::Result<()> {
    run(conn, sql::INSERT_LANE, (lane.id, json(&lane.needs), json(&lane.keys))).map(drop)
}

fn step_columns(step: Option<(RunId, u32)>) -> (Option<RunId>, u32) {
    (step.map(|(run, _)| run), step.map_or(0, |(_, no)| no))
}

fn insert_spec(to: &mut CachedStatement<'_>, spec: &TaskSpec) -> rusqlite::Result<usize> {
    let (run_id, no) = step_columns(spec.step);
    let params = params![
        spec.id,
        spec.project,
        spec.kind,
        spec.input,
        spec.priority,
        spec.run_at,
        spec.parent,
        spec.arena,
        spec.session,
        spec.chat,
        run_id,
        spec.step.map(|_| no),
        spec.agent,
        spec.model,
        spec.mode,
        spec.thinking,
        spec.unique_key,
        spec.options.to_row(),
        labels(&spec.labels),
        spec.meta,
        spec.created_at
    ];
    to.execute(params)
}

fn insert_task(to: &mut CachedStatement<'_>, task: &Task) -> rusqlite::Result<()> {
    let (run_id, no) = step_columns(task.step);
    let params = params![
        task.id,
        task.phase as u8,
        task.lane,
        task.priority,
        task.run_at,
        task.attempt,
        task.failures,
        task.interruptions,
        task.lease,
        task.rev,
        task.holder,
        task.claim,
        run_id,
        no,
        task.flags.bits(),
        task.started_at,
        task.ended_at
    ];
    to.execute(params).map(drop)
}

fn update_task(to: &mut CachedStatement<'_>, task: &Task) -> rusqlite::Result<usize> {
    let params = params![
        task.id,
        task.phase as u8,
        task.run_at,
        task.attempt,
        task.failures,
        task.interruptions,
        task.lease,
        task.rev,
        task.holder,
        task.claim,
        task.flags.bits(),
        task.started_at,
        task.ended_at
    ];
    to.execute(params)
}

fn insert_attempt(to: &mut CachedStatement<'_>, row: &Attempt) -> rusqlite::Result<()> {
    let params = params![
        row.task,
        row.lease,
        row.attempt,
        row.holder,
        row.started_at,
        row.ended_at,
        row.outcome as u8,
        row.output,
        row.error,
        row.usage,
        row.recalled
    ];
    to.execute(params).map(drop)
}

/// Frees the slots that a task holds, and drops those above their key's limit.
fn free_slots(conn: &Connection, task: TaskId) -> rusqlite::Result<()> {
    let keys = load::all(conn, sql::DROP_SLOTS_OF, [task], |row| row.get::<_, String>(0))?;
    run(conn, sql::FREE_SLOTS, [task])?;
    keys.iter().try_for_each(|key| run(conn, sql::DROP_SLOTS, [key]).map(drop))
}

fn put_capacity(conn: &Connection, key: &CapacityKey) -> rusqlite::Result<()> {
    run(conn, sql::PUT_CAPACITY, (&key.name, key.slots, key.parked_until))?;
    run(conn, sql::ADD_SLOTS, (&key.name, key.slots.unwrap_or(0)))?;
    run(conn, sql::DROP_SLOTS, [&key.name]).map(drop)
}

fn put_item(conn: &Connection, item: &Item) -> rusqlite::Result<()> {
    let answer = item.answer.as_ref();
    let params = params![
        item.id,
        item.task,
        item.lease,
        item.kind.name(),
        item.key,
        item.body,
        json(&item.options),
        item.state as u8,
        answer.map(|answer| &answer.value),
        answer.map(|answer| &answer.by),
        item.created_at,
        item.answered_at
    ];
    run(conn, sql::PUT_ITEM, params).map(drop)
}

fn insert_message(conn: &Connection, row: &Message) -> rusqlite::Result<()> {
    let params =
        params![row.chat, row.seq, row.id, row.role.name(), row.content, row.task, row.created_at];
    run(conn, sql::INSERT_MESSAGE, params).map(drop)
}

fn insert_run_spec(conn: &Connection, row: &RunSpec) -> rusqlite::Result<()> {
    let params = params![
        row.id,
        row.project,
        row.flow,
        row.version,
        row.band.name(),
        row.model,
        row.input,
        row.definition,
        labels(&row.labels),
        row.meta,
        row.forked_from.map(|(run, _)| run),
        row.forked_from.map(|(_, no)| no),
        row.fingerprint,
        row.base,
        row.created_at
    ];
    run(conn, sql::INSERT_RUN_SPEC, params).map(drop)
}

fn put_run(conn: &Connection, row: &Run) -> rusqlite::Result<()> {
    let params = params![
        row.id,
        row.state as u8,
        row.flags.bits(),
        row.project,
        row.priority,
        row.open_steps,
        row.failed_steps,
        row.next_no,
        row.attempt,
        row.parent,
        row.budget.as_ref().map(json),
        row.next_seq,
        row.updated_at,
        row.ended_at
    ];
    run(conn, sql::PUT_RUN, params).map(drop)
}

fn insert_step(conn: &Connection, row: &Step) -> rusqlite::Result<()> {
    let params = params![
        row.run,
        row.no,
        row.name,
        row.kind as u8,
        row.state as u8,
        row.waiting_on,
        row.open_edges,
        row.attempt,
        row.task,
        row.lane,
        row.agent,
        row.options.to_row(),
        row.policy.to_row(),
        row.reserved.as_ref().map(json),
        row.reason,
        row.updated_at
    ];
    run(conn, sql::INSERT_STEP, params).map(drop)
}

fn insert_entry(conn: &Connection, row: &Entry) -> rusqlite::Result<()> {
    let (kind, owner) = stream(row.stream);
    run(conn, sql::INSERT_ENTRY, (kind, owner, row.seq, row.at, json(&row.events))).map(drop)
}
