//! Loading rows by key.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, Params, Row};

use super::{agents, hosts, rows, sql};
use crate::{
    id::{RunId, TaskId},
    model::{Needs, Rows, Stream},
};

type Result<T> = rusqlite::Result<T>;

/// All rows that a statement finds.
pub(super) fn all<T>(
    conn: &Connection,
    statement: &str,
    params: impl Params,
    read: fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    conn.prepare_cached(statement)?.query_map(params, read)?.collect()
}

/// The first row that a statement finds.
pub(super) fn one<T>(
    conn: &Connection,
    statement: &str,
    params: impl Params,
    read: fn(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    first(&mut conn.prepare_cached(statement)?, params, read)
}

/// The first row that a statement finds which the caller has looked up.
pub(super) fn first<T>(
    statement: &mut CachedStatement<'_>,
    params: impl Params,
    read: fn(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// The rows that `needs` names, or every row there is.
pub(super) fn load(conn: &Connection, needs: &Needs) -> Result<Rows> {
    if needs.everything {
        return everything(conn);
    }
    let mut found = Rows::default();
    load_tasks(conn, needs, &mut found)?;
    load_inbox(conn, needs, &mut found)?;
    load_runs(conn, needs, &mut found)?;
    for name in &needs.capacity {
        let key = one(conn, sql::CAPACITY, [name], rows::capacity)?;
        found.capacity.extend(key.map(|key| (key.name.clone(), key)));
        let slots = all(conn, sql::SLOTS, [name], rows::slot)?;
        found.slots.extend(slots.into_iter().map(|slot| ((slot.key.clone(), slot.n), slot)));
    }
    for id in &needs.lanes {
        found.lanes.extend(one(conn, sql::LANE, [id], rows::lane)?.map(|lane| (lane.id, lane)));
    }
    for (project, key) in &needs.unique {
        found.unique.extend(one(conn, sql::UNIQUE, (project, key), rows::unique)?);
    }
    for id in &needs.instances {
        found
            .instances
            .extend(one(conn, sql::INSTANCE, [id], rows::instance)?.map(|row| (row.id, row)));
    }
    load_chats(conn, needs, &mut found)?;
    agents::load(conn, needs, &mut found)?;
    hosts::load(conn, needs, &mut found)?;
    Ok(found)
}

fn load_tasks(conn: &Connection, needs: &Needs, found: &mut Rows) -> Result<()> {
    for id in &needs.routes {
        found.routes.extend(one(conn, sql::ROUTE, [id], rows::route)?);
    }
    for id in needs.tasks.iter().chain(&needs.heads) {
        found.tasks.extend(one(conn, sql::TASK, [id], rows::task)?.map(|task| (task.id, task)));
    }
    for id in &needs.specs {
        load_spec(conn, *id, found)?;
    }
    for id in &needs.attempts {
        let attempts = all(conn, sql::ATTEMPTS, [id], rows::attempt)?;
        found.attempts.extend(attempts.into_iter().map(|row| ((row.task, row.lease), row)));
    }
    for parent in &needs.children {
        for id in all(conn, sql::CHILDREN, [parent], |row| row.get::<_, TaskId>(0))? {
            load_spec(conn, id, found)?;
            found.tasks.extend(one(conn, sql::TASK, [id], rows::task)?.map(|task| (id, task)));
        }
    }
    Ok(())
}

fn load_spec(conn: &Connection, id: TaskId, found: &mut Rows) -> Result<()> {
    if let Some((spec, foreign)) = one(conn, sql::SPEC, [id], rows::spec)? {
        found.specs.insert(id, spec);
        found.foreign.extend(foreign.then_some(id));
    }
    Ok(())
}

fn load_inbox(conn: &Connection, needs: &Needs, found: &mut Rows) -> Result<()> {
    for id in &needs.items {
        found.items.extend(one(conn, sql::ITEM, [id], rows::item)?.map(|item| (item.id, item)));
    }
    for task in &needs.items_of {
        let items = all(conn, sql::ITEMS_OF, [task], rows::item)?;
        found.items.extend(items.into_iter().map(|item| (item.id, item)));
    }
    Ok(())
}

fn load_chats(conn: &Connection, needs: &Needs, found: &mut Rows) -> Result<()> {
    for id in &needs.sessions {
        let session = one(conn, sql::SESSION, [id], rows::session)?;
        found.sessions.extend(session.map(|session| (session.id, session)));
    }
    for id in &needs.chats {
        found.chats.extend(one(conn, sql::CHAT, [id], rows::chat)?.map(|chat| (chat.id, chat)));
    }
    for id in &needs.messages {
        let message = one(conn, sql::MESSAGE, [id], rows::message)?;
        found.messages.extend(message.map(|row| ((row.chat, row.seq), row)));
    }
    Ok(())
}

fn load_runs(conn: &Connection, needs: &Needs, found: &mut Rows) -> Result<()> {
    for id in &needs.runs {
        found.runs.extend(one(conn, sql::RUN, [id], rows::run)?.map(|run| (run.id, run)));
    }
    for id in &needs.run_specs {
        let spec = one(conn, sql::RUN_SPEC, [id], rows::run_spec)?;
        found.run_specs.extend(spec.map(|spec| (spec.id, spec)));
    }
    for task in &needs.runs_under {
        let runs = all(conn, sql::RUNS_UNDER, [task], rows::run)?;
        found.runs.extend(runs.into_iter().map(|run| (run.id, run)));
    }
    for run in &needs.hungry {
        let steps = all(conn, sql::STEPS_HUNGRY, (run, Needs::HUNGRY as i64), rows::step)?;
        found.steps.extend(steps.into_iter().map(|step| ((step.run, step.no), step)));
    }
    for run in &needs.run_attempts {
        let begun = all(conn, sql::RUN_ATTEMPTS, [run], rows::run_attempt)?;
        found.run_attempts.extend(begun.into_iter().map(|row| ((row.run, row.attempt), row)));
    }
    for key in &needs.memos {
        let memo = one(conn, sql::MEMO, [key.as_bytes()], rows::memo)?;
        found.memos.extend(memo.map(|memo| (memo.key, memo)));
    }
    for (run, no) in &needs.step_inputs {
        let input = one(conn, sql::STEP_INPUT, (run, no), rows::step_input)?;
        found.step_inputs.extend(input);
    }
    for (run, no) in &needs.steps {
        load_step(conn, *run, *no, found)?;
    }
    for (run, no) in &needs.dependents {
        for (edge, terms) in all(conn, sql::EDGES_FROM, (run, no), rows::edge)? {
            found.edges.insert(edge, terms);
            load_step(conn, edge.0, edge.2, found)?;
        }
    }
    for run in &needs.graphs {
        let steps = all(conn, sql::STEPS_OF, [run], rows::step)?;
        found.steps.extend(steps.into_iter().map(|step| ((step.run, step.no), step)));
        found.edges.extend(all(conn, sql::EDGES_OF, [run], rows::edge)?);
    }
    Ok(())
}

fn load_step(conn: &Connection, run: RunId, no: u32, found: &mut Rows) -> Result<()> {
    let step = one(conn, sql::STEP, (run, no), rows::step)?;
    found.steps.extend(step.map(|step| ((run, no), step)));
    Ok(())
}

/// A dump, for audits.
fn everything(conn: &Connection) -> Result<Rows> {
    let specs = all(conn, sql::all(sql::SPEC), [], rows::spec)?;
    let foreign = specs.iter().filter(|(_, foreign)| *foreign).map(|(spec, _)| spec.id).collect();
    let mut found = Rows {
        routes: BTreeMap::new(),
        tasks: keyed(all(conn, sql::all(sql::TASK), [], rows::task)?, |row| row.id),
        specs: specs.into_iter().map(|(spec, _)| (spec.id, spec)).collect(),
        foreign,
        attempts: keyed(all(conn, sql::all(sql::ATTEMPTS), [], rows::attempt)?, |row| {
            (row.task, row.lease)
        }),
        memos: keyed(all(conn, sql::all(sql::MEMO), [], rows::memo)?, |row| row.key),
        items: keyed(all(conn, sql::all(sql::ITEM), [], rows::item)?, |row| row.id),
        unique: all(conn, sql::UNIQUE_ALL, [], rows::unique)?.into_iter().collect(),
        capacity: keyed(all(conn, sql::all(sql::CAPACITY), [], rows::capacity)?, |row| {
            row.name.clone()
        }),
        slots: keyed(all(conn, sql::all(sql::SLOTS), [], rows::slot)?, |row| {
            (row.key.clone(), row.n)
        }),
        lanes: keyed(all(conn, sql::all(sql::LANE), [], rows::lane)?, |row| row.id),
        sessions: keyed(all(conn, sql::all(sql::SESSION), [], rows::session)?, |row| row.id),
        chats: keyed(all(conn, sql::all(sql::CHAT), [], rows::chat)?, |row| row.id),
        messages: keyed(all(conn, sql::all(sql::MESSAGE), [], rows::message)?, |row| {
            (row.chat, row.seq)
        }),
        runs: keyed(all(conn, sql::all(sql::RUN), [], rows::run)?, |row| row.id),
        run_specs: keyed(all(conn, sql::all(sql::RUN_SPEC), [], rows::run_spec)?, |row| row.id),
        steps: keyed(all(conn, sql::all(sql::STEPS_OF), [], rows::step)?, |row| (row.run, row.no)),
        edges: all(conn, sql::all(sql::EDGES_OF), [], rows::edge)?.into_iter().collect(),
        step_inputs: all(conn, sql::STEP_INPUTS_ALL, [], rows::step_input)?.into_iter().collect(),
        run_attempts: keyed(
            all(conn, sql::all(sql::RUN_ATTEMPTS), [], rows::run_attempt)?,
            |row| (row.run, row.attempt),
        ),
        instances: keyed(all(conn, sql::INSTANCES_ALL, [], rows::instance)?, |row| row.id),
        entries: keyed(all(conn, sql::ENTRIES_ALL, [], rows::entry)?, |row: &_| {
            let row: &crate::model::Entry = row;
            (row.stream, row.seq)
        }),
        ..Rows::default()
    };
    agents::everything(conn, &mut found)?;
    hosts::everything(conn, &mut found)?;
    Ok(found)
}

fn keyed<K: Ord, T>(rows: Vec<T>, key: fn(&T) -> K) -> BTreeMap<K, T> {
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

/// The cursor of an entry in its own stream is its number there.
pub(super) fn own_cursor(stream: Stream, entry: &mut crate::model::Entry) {
    if stream != Stream::All {
        entry.cursor = crate::model::Cursor { major: entry.seq, minor: 0 };
    }
}
