//! Saving what a plan changed: one statement for each kind of row.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    agents,
    claim::Lanes,
    columns::{Column, columns, marked_columns},
    failure::{Attempted, Failure},
    hosts,
    pipe::{Line, Param, Pipe},
    rows::{Cells, Time, json, labels, stream},
    sql,
};
use crate::{
    error::Result,
    id::{RunId, TaskId},
    model::{Attempt, Changes, Stream, Task, TaskSpec},
};

/// Where the answers to the guarded statements are.
#[derive(Clone, Copy, Default)]
pub(super) struct Guards {
    inserted: Option<usize>,
    updated: Option<usize>,
}

/// What becomes of guards that miss.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Misses {
    /// The answers tell them.
    Told,
    /// The statement fails; also where the tables may only be written by programs that know a
    /// newer schema than this.
    Fail(i64),
}

/// Saves new tasks, and changed ones where their guard holds, with their attempts.
pub(super) fn guarded<'a>(
    pipe: &mut Pipe<'a>,
    changes: &'a Changes,
    known: &Lanes,
    misses: Misses,
) -> Guards {
    let lanes: Vec<_> = changes.lanes.values().filter(|lane| !known.has(lane.id)).collect();
    if !lanes.is_empty() {
        let columns = columns!(lanes, |lane| lane.id, json(&lane.needs), json(&lane.keys));
        pipe.add(sql::INSERT_LANE, columns);
    }
    let inserted = insert_tasks(pipe, changes, misses);
    let updated = (!changes.tasks.is_empty()).then(|| update_tasks(pipe, changes, misses));
    if !changes.freed.is_empty() {
        pipe.add(sql::FREE_SLOTS, columns!(changes.freed, |id| id.as_uuid()));
    }
    Guards { inserted, updated }
}

impl Guards {
    /// The tasks whose guard did not hold: nothing of theirs was written.
    pub fn missed(self, changes: &Changes, answers: &[Vec<Row>]) -> Result<BTreeSet<TaskId>> {
        let mut missed: BTreeSet<TaskId> = BTreeSet::new();
        if let Some(place) = self.inserted {
            missed.extend(changes.specs.iter().map(|spec| spec.id));
            remove(&mut missed, &answers[place])?;
        }
        if let Some(place) = self.updated {
            let mut stale = changes.tasks.iter().map(|task| task.id).collect();
            remove(&mut stale, &answers[place])?;
            missed.extend(stale);
        }
        Ok(missed)
    }
}

fn remove(missed: &mut BTreeSet<TaskId>, written: &[Row]) -> Result<()> {
    for row in written {
        missed.remove(&Cells::new(row).id()?);
    }
    Ok(())
}

/// Saves changes that were planned inside the transaction.
pub(super) async fn save(line: Line<'_>, changes: &Changes, known: &Lanes) -> Attempted<()> {
    let mut pipe = Pipe::default();
    let guards = add(&mut pipe, changes, known, Misses::Told);
    let answers = pipe.send(line).await?;
    match guards.missed(changes, &answers)?.first() {
        None => Ok(()),
        Some(task) => Err(Failure::overtaken(format!("task {task} was changed by another commit"))),
    }
}

/// Adds what saves all changes.
pub(super) fn add<'a>(
    pipe: &mut Pipe<'a>,
    changes: &'a Changes,
    known: &Lanes,
    misses: Misses,
) -> Guards {
    put_chats(pipe, changes);
    put_runs(pipe, changes);
    let guards = guarded(pipe, changes, known, misses);
    put_around_tasks(pipe, changes);
    agents::save(pipe, changes);
    hosts::save(pipe, changes);
    put_events(pipe, changes);
    guards
}

fn insert_tasks<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes, misses: Misses) -> Option<usize> {
    let specs: BTreeMap<_, _> = changes.specs.iter().map(|spec| (spec.id, spec)).collect();
    let cold = |task: &'a Task| specs.get(&task.id).map(|spec| (*spec, task));
    let whole: Vec<_> = changes.new_tasks.iter().filter_map(cold).collect();
    let adopted = changes.new_tasks.iter().filter(|task| !specs.contains_key(&task.id));
    let adopted: Vec<_> = adopted.collect();
    if !adopted.is_empty() {
        insert_hot(pipe, &adopted);
    }
    (!whole.is_empty()).then(|| insert_whole(pipe, &whole, misses))
}

/// The columns of new tasks that the statement for plain ones has.
const PLAIN: [usize; 9] = [0, 1, 2, 3, 4, 20, 21, 22, 23];

fn insert_whole<'a>(
    pipe: &mut Pipe<'a>,
    tasks: &[(&'a TaskSpec, &'a Task)],
    misses: Misses,
) -> usize {
    let columns = marked_columns!(
        tasks,
        |row| row.0.id.as_uuid(),
        row.0.project.as_str(),
        row.0.kind.as_str(),
        row.0.input.as_str(),
        row.0.priority,
        row.0.run_at.map(Time),
        row.0.parent.map(TaskId::as_uuid),
        row.0.arena.map(|id| id.as_uuid()),
        row.0.session.map(|id| id.as_uuid()),
        row.0.chat.map(|id| id.as_uuid()),
        run_of(row.0.step),
        row.0.step.map(|(_, no)| no as i32),
        row.0.agent.as_deref(),
        row.0.model.as_deref(),
        row.0.mode.as_deref(),
        row.0.thinking.as_deref(),
        row.0.unique_key.as_deref(),
        row.0.options.to_row(),
        labels(&row.0.labels),
        row.0.meta.as_ref().map(|meta| meta.as_str()),
        Time(row.0.created_at),
        row.1.phase as i16,
        row.1.lane,
        Time(row.1.run_at),
        row.1.attempt as i32,
        row.1.failures as i32,
        row.1.interruptions as i32,
        row.1.lease,
        row.1.rev,
        row.1.holder.map(|id| id.as_uuid()),
        row.1.claim,
        row.1.flags.bits() as i16,
        Time(row.1.started_at),
        Time(row.1.ended_at),
    );
    let is_plain = |(at, column): (usize, &Column<'_>)| column.is_blank || PLAIN.contains(&at);
    let are_plain = misses != Misses::Told && columns.iter().enumerate().all(is_plain);
    let kept = columns.into_iter().enumerate().filter(|(at, _)| !are_plain || PLAIN.contains(at));
    let values = kept.map(|(_, column)| column.values).collect();
    let fails = if are_plain { sql::INSERT_PLAIN_OR_FAIL } else { sql::INSERT_SPEC_OR_FAIL };
    add_guarded(pipe, (sql::INSERT_SPEC, fails), values, misses)
}

fn insert_hot<'a>(pipe: &mut Pipe<'a>, tasks: &[&'a Task]) {
    let columns = columns!(
        tasks,
        |row| row.id.as_uuid(),
        row.phase as i16,
        row.lane,
        row.priority,
        Time(row.run_at),
        row.attempt as i32,
        row.failures as i32,
        row.interruptions as i32,
        row.lease,
        row.rev,
        row.holder.map(|id| id.as_uuid()),
        row.claim,
        run_of(row.step),
        row.step.map_or(0, |(_, no)| no as i32),
        row.flags.bits() as i16,
        Time(row.started_at),
        Time(row.ended_at),
    );
    pipe.add(sql::INSERT_TASK, columns);
}

fn run_of(step: Option<(RunId, u32)>) -> Option<Uuid> {
    step.map(|(run, _)| run.as_uuid())
}

/// Adds the first of two statements, or the second with the schema that this program knows.
fn add_guarded<'a>(
    pipe: &mut Pipe<'a>,
    (told, fails): (&'static str, &'static str),
    mut columns: Vec<Param<'a>>,
    misses: Misses,
) -> usize {
    match misses {
        Misses::Told => pipe.add(told, columns),
        Misses::Fail(newest) => {
            columns.push(Box::new(newest));
            pipe.add(fails, columns)
        }
    }
}

fn update_tasks<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes, misses: Misses) -> usize {
    let mut columns = columns!(
        changes.tasks,
        |row| row.id.as_uuid(),
        row.phase as i16,
        Time(row.run_at),
        row.attempt as i32,
        row.failures as i32,
        row.interruptions as i32,
        row.lease,
        row.rev,
        row.holder.map(|id| id.as_uuid()),
        row.claim,
        row.flags.bits() as i16,
        Time(row.started_at),
        Time(row.ended_at),
    );
    columns.extend(attempt_columns(&changes.attempts));
    add_guarded(pipe, (sql::UPDATE_TASK, sql::UPDATE_TASK_OR_FAIL), columns, misses)
}

fn attempt_columns<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Vec<Param<'a>> {
    let attempts: Vec<_> = attempts.into_iter().collect();
    columns!(
        attempts,
        |row| row.task.as_uuid(),
        row.lease,
        row.attempt as i32,
        row.holder.map(|id| id.as_uuid()),
        Time(row.started_at),
        Time(row.ended_at),
        row.outcome as i16,
        row.output.as_ref().map(|output| output.as_str()),
        row.error.as_deref(),
        row.usage.as_ref().map(|usage| usage.as_str()),
        row.recalled.map(TaskId::as_uuid),
    )
}

fn put_around_tasks<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    let changed: BTreeSet<_> = changes.tasks.iter().map(|task| task.id).collect();
    let imported = changes.attempts.iter().filter(|row| !changed.contains(&row.task));
    if imported.clone().next().is_some() {
        pipe.add(sql::INSERT_ATTEMPT, attempt_columns(imported));
    }
    if !changes.adopted.is_empty() {
        pipe.add(sql::ADOPT_SPEC, columns!(changes.adopted, |id| id.as_uuid()));
    }
    if !changes.unique_freed.is_empty() {
        pipe.add(sql::FREE_UNIQUE, columns!(changes.unique_freed, |id| id.as_uuid()));
    }
    if !changes.unique.is_empty() {
        pipe.add(
            sql::INSERT_UNIQUE,
            columns!(changes.unique, |row| row.0.as_str(), row.1.as_str(), row.2.as_uuid()),
        );
    }
    if !changes.memos.is_empty() {
        let memos: Vec<_> = changes.memos.values().collect();
        let columns =
            columns!(memos, |memo| &memo.key.as_bytes()[..], memo.task.as_uuid(), memo.lease);
        pipe.add(sql::PUT_MEMO, columns);
    }
    if !changes.items.is_empty() {
        pipe.add(
            sql::PUT_ITEM,
            columns!(
                changes.items,
                |row| row.id.as_uuid(),
                row.task.as_uuid(),
                row.lease,
                row.kind.name(),
                row.key.as_str(),
                row.body.as_str(),
                json(&row.options),
                row.state as i16,
                row.answer.as_ref().map(|answer| answer.value.as_str()),
                row.answer.as_ref().map(|answer| answer.by.as_str()),
                Time(row.created_at),
                Time(row.answered_at),
            ),
        );
    }
    put_capacity(pipe, changes);
    put_instances(pipe, changes);
}

fn put_capacity<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    let keys = &changes.capacity;
    if keys.is_empty() {
        return;
    }
    let slots = |slots: Option<u32>| slots.map(|slots| slots as i32);
    pipe.add(
        sql::PUT_CAPACITY,
        columns!(keys, |key| key.name.as_str(), slots(key.slots), Time(key.parked_until)),
    );
    pipe.add(sql::ADD_SLOTS, columns!(keys, |key| key.name.as_str(), slots(key.slots)));
    pipe.add(sql::DROP_SLOTS, columns!(keys, |key| key.name.as_str()));
}

fn put_instances<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    // Registered twice in one commit, the last word counts.
    let last: BTreeMap<_, _> = changes.instances.iter().map(|row| (row.id, row)).collect();
    let instances: Vec<_> = last.into_values().collect();
    if !instances.is_empty() {
        pipe.add(
            sql::PUT_INSTANCE,
            columns!(
                instances,
                |row| row.id.as_uuid(),
                row.host.name.as_str(),
                row.host.boot.as_str(),
                row.host.pid as i32,
                row.host.pid_start as i64,
                row.beat,
                json(&row.serves),
                Time(row.started_at),
            ),
        );
    }
    if !changes.instances_gone.is_empty() {
        pipe.add(sql::DELETE_INSTANCE, columns!(changes.instances_gone, |id| id.as_uuid()));
    }
}

fn put_chats<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.sessions_gone.is_empty() {
        pipe.add(sql::DELETE_SESSION, columns!(changes.sessions_gone, |id| id.as_uuid()));
    }
    let gone = &changes.chats_gone;
    if !gone.is_empty() {
        for sql in sql::LOCK_OF_CHAT {
            pipe.add(sql, columns!(gone, |id| id.as_uuid()));
        }
        pipe.add(sql::DELETE_CHAT, columns!(gone, |id| id.as_uuid()));
        pipe.add(sql::DELETE_ENTRIES, columns!(gone, |id| stream(Stream::Chat(*id)).1));
    }
    if !changes.sessions.is_empty() {
        pipe.add(
            sql::PUT_SESSION,
            columns!(
                changes.sessions,
                |row| row.id.as_uuid(),
                row.project.as_str(),
                row.title.as_str(),
                row.meta.as_ref().map(|meta| meta.as_str()),
                Time(row.created_at),
            ),
        );
    }
    if !changes.chats.is_empty() {
        pipe.add(
            sql::PUT_CHAT,
            columns!(
                changes.chats,
                |row| row.id.as_uuid(),
                row.project.as_str(),
                row.session.map(|id| id.as_uuid()),
                row.title.as_str(),
                row.meta.as_ref().map(|meta| meta.as_str()),
                row.next_seq,
                Time(row.created_at),
                row.forked_from.map(|(chat, _)| chat.as_uuid()),
                row.forked_from.map(|(_, seq)| seq),
            ),
        );
    }
}

fn put_runs<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.run_specs.is_empty() {
        pipe.add(
            sql::INSERT_RUN_SPEC,
            columns!(
                changes.run_specs,
                |row| row.id.as_uuid(),
                row.project.as_str(),
                row.flow.as_str(),
                row.version as i32,
                row.band.name(),
                row.model.as_deref(),
                row.input.as_str(),
                row.definition.as_str(),
                labels(&row.labels),
                row.meta.as_ref().map(|meta| meta.as_str()),
                row.forked_from.map(|(run, _)| run.as_uuid()),
                row.forked_from.map(|(_, no)| no as i32),
                row.fingerprint.as_str(),
                row.base.as_deref(),
                Time(row.created_at),
            ),
        );
    }
    if !changes.runs.is_empty() {
        pipe.add(
            sql::PUT_RUN,
            columns!(
                changes.runs,
                |row| row.id.as_uuid(),
                row.state as i16,
                row.flags.bits() as i16,
                row.project.as_str(),
                row.priority,
                row.open_steps as i32,
                row.failed_steps as i32,
                row.next_no as i32,
                row.attempt as i32,
                row.parent.map(TaskId::as_uuid),
                row.budget.as_ref().map(json),
                row.next_seq,
                Time(row.updated_at),
                Time(row.ended_at),
            ),
        );
    }
    put_steps(pipe, changes);
    if !changes.edges.is_empty() {
        let columns = columns!(
            changes.edges,
            |row| row.0.as_uuid(),
            row.1 as i32,
            row.2 as i32,
            (!row.3.are_plain()).then(|| json(&row.3)),
        );
        pipe.add(sql::INSERT_EDGE, columns);
    }
    put_beginnings(pipe, changes);
}

fn put_beginnings<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.step_inputs.is_empty() {
        let columns =
            columns!(changes.step_inputs, |row| row.0.as_uuid(), row.1 as i32, row.2.as_str(),);
        pipe.add(sql::PUT_STEP_INPUT, columns);
    }
    if !changes.run_attempts.is_empty() {
        pipe.add(
            sql::PUT_RUN_ATTEMPT,
            columns!(
                changes.run_attempts,
                |row| row.run.as_uuid(),
                row.attempt as i32,
                row.retry.as_ref().map(json),
                row.state as i16,
                Time(row.started_at),
                Time(row.ended_at),
            ),
        );
    }
}

fn put_steps<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.edges_gone.is_empty() {
        let columns =
            columns!(changes.edges_gone, |row| row.0.as_uuid(), row.1 as i32, row.2 as i32);
        pipe.add(sql::DELETE_EDGE, columns);
    }
    if !changes.steps_gone.is_empty() {
        for sql in sql::DELETE_STEP {
            let columns = columns!(changes.steps_gone, |row| row.0.as_uuid(), row.1 as i32);
            pipe.add(sql, columns);
        }
    }
    if !changes.new_steps.is_empty() {
        pipe.add(
            sql::INSERT_STEP,
            columns!(
                changes.new_steps,
                |row| row.run.as_uuid(),
                row.no as i32,
                row.name.as_str(),
                row.kind as i16,
                row.state as i16,
                row.waiting_on as i32,
                row.open_edges as i32,
                row.attempt as i32,
                row.task.map(TaskId::as_uuid),
                row.lane,
                row.agent.as_deref(),
                row.options.to_row(),
                row.policy.to_row(),
                row.reserved.as_ref().map(json),
                row.reason.as_deref(),
                Time(row.updated_at),
            ),
        );
    }
    if !changes.steps.is_empty() {
        pipe.add(
            sql::UPDATE_STEP,
            columns!(
                changes.steps,
                |row| row.run.as_uuid(),
                row.no as i32,
                row.state as i16,
                row.waiting_on as i32,
                row.open_edges as i32,
                row.attempt as i32,
                row.task.map(TaskId::as_uuid),
                row.reserved.as_ref().map(json),
                row.reason.as_deref(),
                Time(row.updated_at),
            ),
        );
    }
}

fn put_events<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.messages.is_empty() {
        pipe.add(
            sql::INSERT_MESSAGE,
            columns!(
                changes.messages,
                |row| row.chat.as_uuid(),
                row.seq,
                row.id.as_uuid(),
                row.role.name(),
                row.content.as_str(),
                row.task.map(TaskId::as_uuid),
                Time(row.created_at),
            ),
        );
    }
    agents::save_parts(pipe, changes);
    if !changes.entries.is_empty() {
        pipe.add(
            sql::INSERT_ENTRY,
            columns!(
                changes.entries,
                |row| stream(row.stream).0,
                stream(row.stream).1,
                row.seq,
                Time(row.at),
                json(&row.events),
            ),
        );
    }
}
