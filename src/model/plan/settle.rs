//! What becomes of a running task: handed in by its worker, or taken back from a dead one.

use super::{
    are_names, budget, chat, fits, grow, inbox, line, steps, storable,
    task::{end_step, find, imported_attempt, park_checked, state},
    turn,
};
use crate::{
    clock::Timestamp,
    id::{ItemId, RunId, TaskId},
    model::{
        Access, Ask, Attempt, AttemptOutcome, Decision, Event, Fault, FaultKind, Import,
        Interrupted, ItemKind, Memo, Outcome, Payload, Phase, Recall, Receipt, Rejection, Retry,
        Settle, Stream, Task, TaskFlags, TaskState, limits, plan::work::Work,
    },
};

/// What an attempt leaves behind.
struct Result {
    outcome: AttemptOutcome,
    output: Option<Payload>,
    error: Option<String>,
    usage: Option<Payload>,
    recalled: Option<TaskId>,
}

impl Result {
    /// Of an attempt that left nothing else. None: work that was not started, or broke off.
    fn of(outcome: Option<AttemptOutcome>) -> Self {
        let outcome = outcome.unwrap_or(AttemptOutcome::Interrupted);
        Self { outcome, output: None, error: None, usage: None, recalled: None }
    }
}

/// Settles the attempt that `settle.held` describes. One that another claim or decision has
/// overtaken is refused; the same decision a second time is answered as the first was.
pub(super) fn settle(work: &mut Work, settle: Settle) -> Receipt {
    let id = settle.held.id;
    let task = find(work, id)?;
    if task.phase != Phase::Running || task.lease != settle.held.lease {
        return repeated(work, task, &settle);
    }
    check(work, id, &settle.decision)?;
    turn::check_end(settle.turn.as_ref())?;
    let cancelled = task.flags.has(TaskFlags::CANCEL);
    if let Some((chat, messages)) = settle.said
        && work.rows.chats.contains_key(&chat)
    {
        chat::append(work, chat, messages)?;
    }
    let booked = turn::end(work, id, settle.turn);
    let step = task_step(work, id);
    let Settle { retry, mut decision, usage, grow, memo, .. } = settle;
    // Only what completes adds anything.
    let completes = matches!(decision, Decision::Complete(_)) && !cancelled;
    let grow = grow.filter(|_| completes);
    if let (Some(growth), Some(step)) = (&grow, step)
        && let Err(wrong) = grow::check(work, step, growth)
    {
        decision = Decision::Fail(ungrowable(&wrong));
    }
    if let Decision::Fail(fault) = &mut decision {
        fault.message = storable(std::mem::take(&mut fault.message));
    }
    let completes = matches!(decision, Decision::Complete(_));
    let grown = grow.zip(step).filter(|_| completes);
    // Before its end, so that its run does not end with it.
    if let Some((growth, step)) = grown {
        let fresh = grow::apply(work, step, growth);
        steps::begin(work, step.0, fresh);
    }
    let memo = memo.filter(|_| completes && !cancelled);
    if let Some(memo) = memo {
        remember(work, id, memo);
    }
    let recalled = memo.and_then(|memo| memo.from);
    let outcome = outcome_of(&decision);
    let result = Result { usage: usage.or(booked), recalled, ..Result::of(outcome) };
    if cancelled {
        end_cancelled(work, id, decision, result);
    } else {
        decide(work, id, &retry, decision, result);
    }
    Ok(state(work, id))
}

/// Where the result of the work is from now on. What was taken from an earlier one is told.
fn remember(work: &mut Work, id: TaskId, recall: Recall) {
    let lease = work.rows.tasks[&id].lease;
    work.changes.memos.insert(recall.key, Memo { key: recall.key, task: id, lease });
    if let (Some(from), Some((run, no))) = (recall.from, task_step(work, id)) {
        let name = work.rows.steps[&(run, no)].name.clone();
        work.tell(Stream::Run(run), Event::StepRecalled { no, name, from });
    }
}

/// The run and number of the step that a task does, where its run is known.
fn task_step(work: &Work, id: TaskId) -> Option<(RunId, u32)> {
    work.rows.tasks[&id].step.filter(|step| work.rows.steps.contains_key(step))
}

/// Why steps could not be added: nothing that another attempt can mend.
pub(super) fn ungrowable(wrong: &Rejection) -> Fault {
    let message = format!("the steps that it adds are refused: {wrong}");
    Fault { kind: FaultKind::Error, message, retryable: false }
}

/// Refuses what can't be stored, before anything is changed.
fn check(work: &Work, id: TaskId, decision: &Decision) -> std::result::Result<(), Rejection> {
    match decision {
        Decision::Complete(output) => {
            let bytes = output.as_str().len();
            fits("the output", bytes, limits::PAYLOAD_BYTES)
        }
        Decision::Park { key, .. } => are_names([key]),
        Decision::Block(asks) => inbox::check_asks(work, id, asks),
        Decision::Await(run) => match work.rows.runs.get(run) {
            Some(child) if child.parent != Some(id) => {
                Err(Rejection::Invalid(format!("run {run} was not launched by the task")))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The answer to a decision on an attempt that is over.
fn repeated(work: &Work, task: &Task, settle: &Settle) -> Receipt {
    let lease = settle.held.lease;
    let same = match work.rows.attempts.get(&(task.id, lease)) {
        Some(attempt) => is_record_of(attempt.outcome, settle),
        // Only work that was given back leaves no record.
        None => lease <= task.lease && settle.decision == Decision::Release,
    };
    if same { Ok(answered(task, lease)) } else { Err(Rejection::StaleLease) }
}

/// Whether an attempt that was decided so is recorded so. One that was to be cancelled is
/// recorded as cancelled, unless it had completed or failed by then; one whose steps were
/// refused is recorded as failed.
fn is_record_of(outcome: AttemptOutcome, settle: &Settle) -> bool {
    let completed = matches!(settle.decision, Decision::Complete(_));
    match outcome {
        outcome if outcome_of(&settle.decision) == Some(outcome) => true,
        AttemptOutcome::Cancelled => !completed && !matches!(settle.decision, Decision::Fail(_)),
        AttemptOutcome::Failed => completed && settle.grow.is_some(),
        _ => false,
    }
}

/// What the end of the attempt `lease` was answered with: a task that was claimed since was
/// pending in between.
fn answered(task: &Task, lease: i64) -> Outcome {
    let state = if task.lease == lease { task.state() } else { TaskState::Pending };
    Outcome::State(state)
}

/// What a decision is recorded as; None for work that was not started.
fn outcome_of(decision: &Decision) -> Option<AttemptOutcome> {
    match decision {
        Decision::Complete(_) => Some(AttemptOutcome::Completed),
        Decision::Fail(_) => Some(AttemptOutcome::Failed),
        Decision::Snooze(_) => Some(AttemptOutcome::Snoozed),
        Decision::Block(_) => Some(AttemptOutcome::Blocked),
        Decision::Park { .. } => Some(AttemptOutcome::Parked),
        Decision::Cancelled => Some(AttemptOutcome::Cancelled),
        Decision::Await(_) => Some(AttemptOutcome::Awaited),
        Decision::Release => None,
    }
}

/// Carries out a decision on a task that nobody asked to cancel.
fn decide(work: &mut Work, id: TaskId, retry: &Retry, decision: Decision, result: Result) {
    let now = work.now;
    match decision {
        Decision::Complete(output) => {
            close(work, id, Result { output: Some(output), ..result });
            end(work, id, Phase::Completed, None);
        }
        Decision::Fail(fault) => {
            close(work, id, Result { error: Some(fault.message.clone()), ..result });
            fail(work, id, retry, fault);
        }
        Decision::Snooze(wait) => {
            close(work, id, result);
            wait_until(work, id, now + wait, "snoozed");
        }
        Decision::Block(asks) => {
            close(work, id, result);
            block(work, id, asks);
        }
        Decision::Park { key, wait } => {
            park_checked(work, key.clone(), now + wait);
            close(work, id, result);
            wait_until(work, id, now, &format!("`{key}` is parked"));
        }
        Decision::Cancelled => {
            close(work, id, result);
            end(work, id, Phase::Cancelled, Some("stopped".into()));
        }
        Decision::Await(run) => {
            close(work, id, result);
            await_run(work, id, run);
        }
        Decision::Release => give_back(work, id),
    }
}

/// What an attempt asked while it was at work is not needed after it.
fn withdraw(work: &mut Work, id: TaskId) {
    if work.rows.tasks[&id].flags.has(TaskFlags::ASKED) {
        inbox::withdraw_all(work, &[id].into());
    }
}

/// Leaves the task alone until a run has ended.
fn await_run(work: &mut Work, id: TaskId, run: RunId) {
    withdraw(work, id);
    let task = work.task(id);
    task.flags = task.flags.with(TaskFlags::AWAITS);
    task.phase = Phase::Waiting;
    if work.rows.runs.get(&run).is_none_or(|run| run.state.is_terminal()) {
        work.make_pending(id, work.now);
    }
    tell_waits(work, id, &format!("run {run}"));
}

/// Ends an attempt that someone asked to cancel. Output that was produced is kept.
fn end_cancelled(work: &mut Work, id: TaskId, decision: Decision, mut result: Result) {
    match decision {
        Decision::Complete(output) => result.output = Some(output),
        Decision::Fail(fault) => result.error = Some(fault.message),
        _ => result.outcome = AttemptOutcome::Cancelled,
    }
    close(work, id, result);
    end(work, id, Phase::Cancelled, Some("cancelled".into()));
}

/// One failure more: another attempt, or the end.
fn fail(work: &mut Work, id: TaskId, retry: &Retry, fault: Fault) {
    let now = work.now;
    let task = work.task(id);
    task.failures += 1;
    let failures = task.failures;
    if fault.retryable && retry.allows(failures) && !budget::is_over(work, id) {
        let wait = retry.delay(failures, id);
        wait_until(work, id, now + wait, &fault.message);
    } else {
        end(work, id, Phase::Failed, Some(fault.message));
    }
}

fn block(work: &mut Work, id: TaskId, asks: Vec<Ask>) {
    let reason = asks.iter().map(|ask| ask.key.as_str()).collect::<Vec<_>>().join(", ");
    let task = work.task(id);
    task.phase = Phase::Blocked;
    for ask in asks {
        // What it asked while it was at work may have been answered by now.
        if !work.rows.items.contains_key(&ask.id) {
            inbox::open(work, id, ask);
        }
    }
    if !inbox::is_asking(work, id) {
        return wait_until(work, id, work.now, "answered");
    }
    tell_waits(work, id, &format!("asked: {reason}"));
}

/// Takes back work that was not started: no attempt is counted and none is recorded.
fn give_back(work: &mut Work, id: TaskId) {
    withdraw(work, id);
    let task = work.task(id);
    task.attempt -= 1;
    let run_at = task.run_at;
    let_go(work, id);
    work.make_pending(id, run_at);
}

fn wait_until(work: &mut Work, id: TaskId, time: Timestamp, reason: &str) {
    withdraw(work, id);
    work.make_pending(id, time);
    tell_waits(work, id, reason);
}

fn tell_waits(work: &mut Work, id: TaskId, reason: &str) {
    if let Some((run, no)) = work.rows.tasks[&id].step
        && let Some(step) = work.rows.steps.get(&(run, no))
    {
        let event = Event::StepWaits { no, name: step.name.clone(), reason: reason.into() };
        work.tell(Stream::Run(run), event);
    }
}

/// Records the attempt, and takes the task out of its holder's hands.
fn close(work: &mut Work, id: TaskId, result: Result) {
    let now = work.now;
    budget::book(work, id, result.usage.as_ref());
    let task = work.task(id);
    let attempt = Attempt {
        task: id,
        lease: task.lease,
        attempt: task.attempt,
        holder: task.holder,
        started_at: task.started_at,
        ended_at: now,
        outcome: result.outcome,
        output: result.output,
        error: result.error,
        usage: result.usage,
        recalled: result.recalled,
    };
    work.rows.attempts.insert((id, attempt.lease), attempt.clone());
    work.changes.attempts.push(attempt);
    let_go(work, id);
}

/// Nobody holds the task; its slots are free.
fn let_go(work: &mut Work, id: TaskId) {
    let task = work.task(id);
    task.holder = None;
    task.claim = 0;
    task.flags = task.flags.without(TaskFlags::AWAITS);
    if task.flags.has(TaskFlags::KEYED) {
        work.changes.freed.push(id);
        work.changes.woke = true;
    }
}

/// The end of a task, with all that hangs on it.
fn end(work: &mut Work, id: TaskId, phase: Phase, reason: Option<String>) {
    let now = work.now;
    let task = work.task(id);
    task.phase = phase;
    task.ended_at = now;
    let (flags, lease) = (task.flags, task.lease);
    task.flags = flags.without(TaskFlags::CANCEL).without(TaskFlags::PAUSED);
    line::leave(work, id);
    if flags.has(TaskFlags::UNIQUE) {
        work.free_key(id);
    }
    if flags.has(TaskFlags::ASKED) {
        inbox::withdraw_all(work, &[id].into());
    }
    if phase == Phase::Failed {
        let message = reason.as_deref().unwrap_or("failed");
        inbox::open(work, id, failure(id, lease, message));
    }
    end_step(work, id, reason);
}

/// What a failed task tells the person who looks at it.
fn failure(task: TaskId, lease: i64, message: &str) -> Ask {
    Ask {
        id: ItemId::of_failure(task, lease),
        kind: ItemKind::Failure,
        key: "failure".into(),
        body: Payload::text(message),
        options: Vec::new(),
    }
}

/// Fails a task that no worker holds.
pub(super) fn fail_unstarted(work: &mut Work, id: TaskId, why: String) {
    end(work, id, Phase::Failed, Some(why));
}

/// Cancels a task that no worker holds.
pub(super) fn cancel_unstarted(work: &mut Work, id: TaskId, why: String) {
    end(work, id, Phase::Cancelled, Some(why));
}

/// The end of an imported task: at its own time, and nobody is asked about it.
pub(super) fn import_end(work: &mut Work, import: &Import) {
    let attempt = imported_attempt(import);
    let task = work.task(import.spec.id);
    task.phase = match import.state {
        TaskState::Completed => Phase::Completed,
        TaskState::Cancelled => Phase::Cancelled,
        _ => Phase::Failed,
    };
    (task.lease, task.attempt) = (1, 1);
    (task.started_at, task.ended_at) = (attempt.started_at, attempt.ended_at);
    let frees = task.flags.has(TaskFlags::UNIQUE);
    work.changes.attempts.push(attempt);
    if frees {
        work.free_key(import.spec.id);
    }
}

/// Takes a task back from a holder that is gone. Being interrupted is not failing: the
/// task's own policy says what comes next.
pub(super) fn rescue(work: &mut Work, id: TaskId, lease: i64) -> Receipt {
    let task = find(work, id)?;
    if task.phase != Phase::Running || task.lease != lease {
        let attempt = work.rows.attempts.get(&(id, lease));
        let done = attempt.is_some_and(|row| row.outcome == AttemptOutcome::Interrupted);
        return if done { Ok(answered(task, lease)) } else { Err(Rejection::StaleLease) };
    }
    let cancelled = task.flags.has(TaskFlags::CANCEL);
    let usage = turn::end(work, id, None);
    let error = Some("its worker died".to_owned());
    close(work, id, Result { error, usage, ..Result::of(None) });
    let task = work.task(id);
    task.interruptions += 1;
    let interruptions = task.interruptions;
    let options = work.rows.specs.get(&id).map(|spec| &spec.options);
    // What only reads has no effect that nobody knows of.
    let acts = options.filter(|options| options.access != Access::ReadOnly);
    match acts.map(|options| options.interrupted).unwrap_or_default() {
        _ if cancelled => end(work, id, Phase::Cancelled, Some("cancelled".into())),
        _ if interruptions >= limits::INTERRUPTIONS => {
            let why = format!("its worker died {interruptions} times");
            end(work, id, Phase::Failed, Some(why));
        }
        // What it asked is answered to whoever takes it on.
        Interrupted::RunAgain if inbox::is_asking(work, id) => block(work, id, Vec::new()),
        Interrupted::RunAgain => wait_until(work, id, work.now, "its worker died"),
        Interrupted::Ask => block(work, id, vec![interrupted(id, lease)]),
        Interrupted::Fail => end(work, id, Phase::Failed, Some("its worker died".into())),
    }
    Ok(state(work, id))
}

fn interrupted(task: TaskId, lease: i64) -> Ask {
    let body = "The worker died in the middle of this task. What it did by then is not known.";
    Ask {
        id: ItemId::of_interruption(task, lease),
        kind: ItemKind::Interrupted,
        key: "interrupted".into(),
        body: Payload::text(body),
        options: vec![inbox::RUN_AGAIN.into(), inbox::FAIL.into()],
    }
}
