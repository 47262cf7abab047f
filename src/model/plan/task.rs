//! Tasks: making them, and what people do to them.

use super::{Family, are_names, are_texts, fits, flow, line, settle, steps, storable};
use crate::{
    clock::Timestamp,
    id::{ChatId, TaskId},
    model::{
        Attempt, AttemptOutcome, CapacityKey, Chat, Import, Outcome, Phase, Receipt, Rejection,
        Task, TaskFlags, TaskOptions, TaskSpec, TaskState, limits, plan::work::Work,
    },
};

/// Makes a task, unless it exists or its unique key is taken.
pub(super) fn enqueue(work: &mut Work, mut spec: TaskSpec) -> Receipt {
    if let Some(id) = existing(work, &spec) {
        return Ok(Outcome::Task { id, created: false });
    }
    check_new(work, &spec)?;
    spec.created_at = work.now;
    if spec.kind == "agent" && spec.chat.is_none() {
        spec.chat = Some(own_chat(work, &spec));
    }
    let run_at = spec.run_at.unwrap_or(work.now);
    let id = spec.id;
    insert(work, &spec);
    line::note(work, &spec);
    work.insert_spec(spec);
    work.make_pending(id, run_at);
    Ok(Outcome::Task { id, created: true })
}

/// Makes a task that refers to nothing, where nothing is known that refers to it: it is among what
/// has changed, and in no index of this work.
pub(super) fn enqueue_alone(work: &mut Work, mut spec: TaskSpec) -> Receipt {
    check(&spec)?;
    spec.created_at = work.now;
    let last = work.changes.specs.last().zip(work.changes.new_tasks.last());
    let task = match last.filter(|(last, _)| last.shares_lane(&spec)) {
        Some((_, last)) => fresh(&spec, last.lane, last.flags.has(TaskFlags::KEYED)),
        None => {
            let lane = spec.lane();
            let task = fresh(&spec, lane.id, !lane.keys.is_empty());
            work.changes.lanes.insert(lane.id, lane);
            task
        }
    };
    let run_at = spec.run_at.unwrap_or(work.now);
    let (id, phase) = (spec.id, work.phase_at(run_at));
    work.add_alone(Task { phase, run_at, ..task }, spec);
    Ok(Outcome::Task { id, created: true })
}

/// Makes tasks, or none where one of them would be refused. A parent must exist before.
pub(super) fn enqueue_all(work: &mut Work, specs: Vec<TaskSpec>) -> Receipt {
    let max = limits::TASKS_AT_ONCE;
    if specs.len() > max {
        let message = format!("{} tasks are more than the {max} of one command", specs.len());
        return Err(Rejection::Invalid(message));
    }
    for spec in specs.iter().filter(|spec| existing(work, spec).is_none()) {
        check_new(work, spec)?;
    }
    // None is refused any more: making a task takes nothing away that another refers to.
    let made = specs.into_iter().map(|spec| match enqueue(work, spec)? {
        Outcome::Task { id, created } => Ok((id, created)),
        other => Err(Rejection::Invalid(format!("a new task was answered with {other:?}"))),
    });
    made.collect::<Result<_, _>>().map(Outcome::Tasks)
}

fn check_new(work: &Work, spec: &TaskSpec) -> Result<(), Rejection> {
    check(spec)?;
    check_references(work, spec)?;
    check_not_cancelled(work, spec.parent)
}

/// The chat of an agent's task that was made outside any chat.
pub(super) fn own_chat(work: &mut Work, spec: &TaskSpec) -> ChatId {
    let id = ChatId::of_task(spec.id);
    if !work.rows.chats.contains_key(&id) {
        work.put_chat(Chat {
            id,
            project: spec.project.clone(),
            session: spec.session,
            title: String::new(),
            meta: None,
            next_seq: 1,
            created_at: work.now,
            forked_from: None,
        });
    }
    id
}

/// Gives a row of another program its hot row. A row that segue can't run fails at once,
/// where a person sees it.
pub(super) fn adopt(work: &mut Work, id: TaskId) -> Receipt {
    let Some(spec) = work.rows.specs.get(&id).cloned() else {
        return Err(Rejection::not_found("task", id));
    };
    if work.rows.tasks.contains_key(&id) {
        return Ok(Outcome::Task { id, created: false });
    }
    let holder = unique_key(&spec).and_then(|key| work.rows.unique.get(&key).copied());
    insert(work, &spec);
    work.changes.adopted.push(id);
    let run_at = spec.run_at.unwrap_or(work.now);
    if let Some(why) = wrong_with(&spec) {
        work.make_pending(id, run_at);
        settle::fail_unstarted(work, id, why);
    } else if let Err(why) = check_not_cancelled(work, spec.parent) {
        work.make_pending(id, run_at);
        settle::cancel_unstarted(work, id, why.to_string());
    } else if let Some(holder) = holder {
        work.make_pending(id, run_at);
        settle::cancel_unstarted(work, id, format!("task {holder} has its unique key"));
    } else {
        if spec.kind == "agent" && spec.chat.is_none() {
            own_chat(work, &spec);
        }
        line::note(work, &spec);
        work.make_pending(id, run_at);
    }
    Ok(Outcome::Task { id, created: true })
}

/// Why segue can't run a row that another program inserted, if it can't.
fn wrong_with(spec: &TaskSpec) -> Option<String> {
    let unreadable = spec.options.unreadable.clone();
    unreadable.or_else(|| check(spec).err().map(|why| why.to_string()))
}

/// Takes in a row of the host's own past.
pub(super) fn import(work: &mut Work, mut import: Import) -> Receipt {
    let id = import.spec.id;
    if let Some(id) = existing(work, &import.spec) {
        return Ok(Outcome::Task { id, created: false });
    }
    check(&import.spec)?;
    check_references(work, &import.spec)?;
    check_times(&import)?;
    if !import.state.is_terminal() {
        check_not_cancelled(work, import.spec.parent)?;
    }
    if import.spec.kind == "agent" && import.spec.chat.is_none() {
        import.spec.chat = Some(own_chat(work, &import.spec));
    }
    insert(work, &import.spec);
    if import.state.is_terminal() {
        settle::import_end(work, &import);
    } else {
        line::note(work, &import.spec);
        work.make_pending(id, import.spec.run_at.unwrap_or(work.now));
    }
    work.insert_spec(import.spec);
    Ok(Outcome::Task { id, created: true })
}

fn check_times(import: &Import) -> Result<(), Rejection> {
    let wrong = match import.state {
        TaskState::Running | TaskState::Blocked => {
            "only pending and finished tasks can be imported: a running one is the engine's to \
             start, a blocked one to ask for"
        }
        state if state.is_terminal() && import.ended_at.is_none() => {
            "an imported task that is finished needs the time of its end"
        }
        _ => return Ok(()),
    };
    Err(Rejection::Invalid(wrong.into()))
}

/// The task that a command to make `spec` finds: itself, or the holder of its unique key.
fn existing(work: &Work, spec: &TaskSpec) -> Option<TaskId> {
    let known = work.rows.tasks.contains_key(&spec.id) || work.rows.specs.contains_key(&spec.id);
    let holder = || work.rows.unique.get(&unique_key(spec)?).copied();
    known.then_some(spec.id).or_else(holder)
}

fn unique_key(spec: &TaskSpec) -> Option<(String, String)> {
    spec.unique_key.clone().map(|key| (spec.project.clone(), key))
}

/// Refuses values that are too large or empty, and steps: only their runs make those.
pub(super) fn check(spec: &TaskSpec) -> Result<(), Rejection> {
    if let Some((run, no)) = spec.step {
        let message = format!("the task of step {no} of run {run} is for the run to make");
        return Err(Rejection::Invalid(message));
    }
    fits("the task's input", spec.input.as_str().len(), limits::PAYLOAD_BYTES)?;
    let meta = spec.meta.as_ref().map_or(0, |meta| meta.as_str().len());
    fits("the task's meta", meta, limits::META_BYTES)?;
    check_options(&spec.options)?;
    are_texts([&spec.model, &spec.mode, &spec.thinking].into_iter().flatten())?;
    are_texts(spec.labels.values())?;
    let names = [&spec.project, &spec.kind].into_iter().chain(&spec.unique_key).chain(&spec.agent);
    are_names(names.chain(spec.labels.keys()))
}

/// Refuses options that can't be stored.
pub(super) fn check_options(options: &TaskOptions) -> Result<(), Rejection> {
    if !(options.retry.factor.is_finite() && options.retry.jitter.is_finite()) {
        let message = "a retry's factor and jitter must be numbers";
        return Err(Rejection::Invalid(message.into()));
    }
    let schema = options.schema.as_ref().map_or(0, |schema| schema.as_str().len());
    fits("the schema of the answer", schema, limits::SCHEMA_BYTES)?;
    are_names(options.tags.iter().chain(&options.capacity))
}

/// Refuses what would be made for a cancelled task: it would have to be cancelled at once.
fn check_not_cancelled(work: &Work, parent: Option<TaskId>) -> Result<(), Rejection> {
    let parent = parent.and_then(|id| work.rows.tasks.get(&id));
    let cancelled =
        parent.filter(|task| task.phase == Phase::Cancelled || task.flags.has(TaskFlags::CANCEL));
    match cancelled {
        Some(parent) => {
            Err(Rejection::Invalid(format!("its parent task {} is cancelled", parent.id)))
        }
        None => Ok(()),
    }
}

/// Refuses a run for a task that is not there or is cancelled.
pub(super) fn check_parent(work: &Work, id: TaskId) -> Result<(), Rejection> {
    let known = work.rows.tasks.contains_key(&id);
    known.then_some(()).ok_or_else(|| Rejection::not_found("parent task", id))?;
    check_not_cancelled(work, Some(id))
}

fn check_references(work: &Work, spec: &TaskSpec) -> Result<(), Rejection> {
    if let Some(id) = spec.parent {
        let parent = work.rows.tasks.get(&id);
        parent.ok_or_else(|| Rejection::not_found("parent task", id))?;
    }
    if let Some(session) = spec.session
        && !work.rows.sessions.contains_key(&session)
    {
        return Err(session.missing());
    }
    if let Some(chat) = spec.chat
        && !work.rows.chats.contains_key(&chat)
    {
        return Err(Rejection::not_found("chat", chat));
    }
    Ok(())
}

/// The hot row, lane and unique key of a new task that is not a step.
fn insert(work: &mut Work, spec: &TaskSpec) {
    let lane = spec.lane();
    work.insert_task(fresh(spec, lane.id, !lane.keys.is_empty()));
    work.changes.lanes.insert(lane.id, lane);
    if let Some(key) = unique_key(spec)
        && !work.rows.unique.contains_key(&key)
    {
        work.take_key(key, spec.id);
    }
}

/// The hot row of a task that is no step.
fn fresh(spec: &TaskSpec, lane: i64, is_keyed: bool) -> Task {
    let mut flags = TaskFlags::default();
    if is_keyed {
        flags = flags.with(TaskFlags::KEYED);
    }
    if spec.unique_key.is_some() && spec.options.unique_until_done {
        flags = flags.with(TaskFlags::UNIQUE);
    }
    if spec.line().is_some() {
        flags = flags.with(TaskFlags::PROMPT);
    }
    Task { flags, step: None, ..hot(spec, lane) }
}

/// The hot row of a task that was never claimed.
pub(super) fn hot(spec: &TaskSpec, lane: i64) -> Task {
    Task {
        id: spec.id,
        phase: Phase::Waiting,
        lane,
        priority: spec.priority,
        run_at: Timestamp::ZERO,
        attempt: 0,
        failures: 0,
        interruptions: 0,
        lease: 0,
        rev: 1,
        holder: None,
        claim: 0,
        step: spec.step,
        flags: TaskFlags::default(),
        started_at: Timestamp::ZERO,
        ended_at: Timestamp::ZERO,
    }
}

/// A scheduled task whose time has come is ready. Any other stays as it is.
pub(super) fn ripen(work: &mut Work, id: TaskId) -> Receipt {
    let task = find(work, id)?;
    if task.phase == Phase::Scheduled && task.run_at <= work.now {
        let run_at = task.run_at;
        work.make_pending(id, run_at);
    }
    Ok(state(work, id))
}

/// Cancels a task and its descendants. One that runs is told to stop; it is cancelled when
/// it has.
pub(super) fn cancel(work: &mut Work, id: TaskId) -> Receipt {
    let from = find(work, id)?.state();
    if from == TaskState::Cancelled {
        return Ok(Outcome::State(from));
    }
    if !from.may_become(TaskState::Cancelled) {
        return Err(Rejection::Illegal { from, to: TaskState::Cancelled });
    }
    cancel_families(work, [id]);
    Ok(state(work, id))
}

/// Cancels whatever of these tasks, their descendants and the runs that they wait for has not
/// ended.
pub(super) fn cancel_families(work: &mut Work, roots: impl IntoIterator<Item = TaskId>) {
    let Family { tasks, runs } = Family::of(&work.rows, roots);
    for run in &runs {
        flow::begin_to_cancel(work, *run);
    }
    for member in tasks {
        match work.rows.tasks.get(&member).map(Task::state) {
            Some(TaskState::Running) => request_cancel(work, member),
            Some(state) if !state.is_terminal() => {
                settle::cancel_unstarted(work, member, "cancelled".into());
            }
            _ => {}
        }
    }
    for run in runs {
        steps::end_if_done(work, run);
    }
}

fn request_cancel(work: &mut Work, id: TaskId) {
    if !work.rows.tasks[&id].flags.has(TaskFlags::CANCEL) {
        let task = work.task(id);
        task.flags = task.flags.with(TaskFlags::CANCEL);
        work.changes.woke = true;
    }
}

/// A person runs a failed task again: its failures are forgotten, its lease is not. Where
/// its unique key was free in the meantime, it must still be.
pub(super) fn retry(work: &mut Work, id: TaskId) -> Receipt {
    let task = find(work, id)?;
    if let Some((run, no)) = task.step {
        let step = work.rows.steps.get(&(run, no)).map_or(String::new(), |step| step.name.clone());
        return Err(Rejection::PartOfRun { run, step });
    }
    match task.state() {
        TaskState::Failed => {}
        TaskState::Pending => return Ok(state(work, id)),
        from => {
            return Err(Rejection::Illegal { from, to: TaskState::Pending });
        }
    }
    if let Some(why) = work.rows.specs.get(&id).and_then(wrong_with) {
        return Err(Rejection::Invalid(why));
    }
    let line = work.rows.specs.get(&id).and_then(TaskSpec::line);
    if let Some((chat, _)) = line
        && !work.rows.chats.contains_key(&chat)
    {
        return Err(Rejection::Invalid("its chat was deleted".into()));
    }
    if task.flags.has(TaskFlags::UNIQUE)
        && let Some(key) = work.rows.specs.get(&id).and_then(unique_key)
    {
        if let Some(holder) = work.rows.unique.get(&key) {
            let message = format!("task {holder} has its unique key now");
            return Err(Rejection::Invalid(message));
        }
        work.take_key(key, id);
    }
    if let Some(spec) = work.rows.specs.get(&id).cloned() {
        line::note(work, &spec);
    }
    let task = work.task(id);
    task.failures = 0;
    task.interruptions = 0;
    task.ended_at = Timestamp::ZERO;
    super::inbox::withdraw_all(work, &[id].into());
    work.make_pending(id, work.now);
    Ok(state(work, id))
}

/// Holds a pending task back.
pub(super) fn pause(work: &mut Work, id: TaskId) -> Receipt {
    let task = find(work, id)?;
    if task.state() != TaskState::Pending {
        return Err(Rejection::Illegal { from: task.state(), to: TaskState::Pending });
    }
    let run_at = task.run_at;
    if !task.flags.has(TaskFlags::PAUSED) {
        let task = work.task(id);
        task.flags = task.flags.with(TaskFlags::PAUSED);
        work.make_pending(id, run_at);
    }
    Ok(state(work, id))
}

/// Lets a paused task go on.
pub(super) fn resume(work: &mut Work, id: TaskId) -> Receipt {
    let task = find(work, id)?;
    let run_at = task.run_at;
    if task.flags.has(TaskFlags::PAUSED) {
        let task = work.task(id);
        task.flags = task.flags.without(TaskFlags::PAUSED);
        work.make_pending(id, run_at);
    }
    Ok(state(work, id))
}

/// Sets how many tasks may hold a key at once. A key can be without limit.
pub(super) fn set_capacity(work: &mut Work, name: String, slots: Option<u32>) -> Receipt {
    are_names([&name])?;
    let old = work.rows.capacity.get(&name);
    let parked_until = old.map_or(Timestamp::ZERO, |key| key.parked_until);
    put_capacity(work, CapacityKey { name, slots, parked_until });
    Ok(Outcome::Done)
}

/// Lets no task that carries the key start before `until`.
pub(super) fn park(work: &mut Work, name: String, until: Timestamp) -> Receipt {
    are_names([&name])?;
    park_checked(work, name, until);
    Ok(Outcome::Done)
}

/// Parks a key whose name was checked.
pub(super) fn park_checked(work: &mut Work, name: String, until: Timestamp) {
    let slots = work.rows.capacity.get(&name).and_then(|key| key.slots);
    put_capacity(work, CapacityKey { name, slots, parked_until: until });
    work.look_again_at(until);
}

fn put_capacity(work: &mut Work, key: CapacityKey) {
    work.rows.capacity.insert(key.name.clone(), key.clone());
    work.changes.capacity.retain(|old| old.name != key.name);
    work.changes.capacity.push(key);
    work.changes.woke = true;
}

/// The answer that says where a task stands.
pub(super) fn state(work: &Work, id: TaskId) -> Outcome {
    Outcome::State(work.rows.tasks[&id].state())
}

/// The task, or the rejection that says it is not there.
pub(super) fn find(work: &Work, id: TaskId) -> Result<&Task, Rejection> {
    work.rows.tasks.get(&id).ok_or_else(|| Rejection::not_found("task", id))
}

/// The attempt of an imported task.
pub(super) fn imported_attempt(import: &Import) -> Attempt {
    let ended_at = import.ended_at.unwrap_or_default();
    let outcome = match import.state {
        TaskState::Completed => AttemptOutcome::Completed,
        TaskState::Cancelled => AttemptOutcome::Cancelled,
        _ => AttemptOutcome::Failed,
    };
    Attempt {
        task: import.spec.id,
        lease: 1,
        attempt: 1,
        holder: None,
        started_at: import.started_at.unwrap_or(ended_at),
        ended_at,
        outcome,
        output: import.output.clone(),
        error: import.error.clone().map(storable),
        usage: import.usage.clone(),
        recalled: None,
    }
}

/// A released step's task.
pub(super) fn insert_step_task(work: &mut Work, spec: TaskSpec, lane: i64) {
    let keyed = !spec.options.capacity.is_empty();
    let flags = if keyed { TaskFlags::KEYED } else { TaskFlags::default() };
    let id = spec.id;
    let run_at = spec.run_at.unwrap_or(work.now);
    work.insert_task(Task { flags, ..hot(&spec, lane) });
    work.insert_spec(spec);
    work.make_pending(id, run_at);
}

/// The run that a task waits for has ended: its code looks what came of it.
pub(super) fn wake_waiting(work: &mut Work, id: TaskId) {
    // A prompt may wait for another one instead.
    let waits = |task: &Task| {
        let is_prompt = task.flags.has(TaskFlags::PROMPT);
        task.phase == Phase::Waiting && (task.flags.has(TaskFlags::AWAITS) || !is_prompt)
    };
    if work.rows.tasks.get(&id).is_some_and(waits) {
        work.make_pending(id, work.now);
    }
}

/// Tells a step's run how its task ended.
pub(super) fn end_step(work: &mut Work, id: TaskId, reason: Option<String>) {
    let task = &work.rows.tasks[&id];
    if let Some((run, no)) = task.step {
        steps::settle(work, run, no, task.state(), reason);
    }
}
