//! Runs that are done again: retried in place, or forked into a run of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    budget, fits, flow, inbox,
    steps::{self, Fresh},
    task,
};
use crate::{
    clock::Timestamp,
    id::{RunId, TaskId},
    model::{
        Attempt, AttemptOutcome, Event, Outcome, Payload, Phase, Receipt, Rejection, RetryRun, Run,
        RunAttempt, RunFlags, RunState, Step, StepState, Stream, Task, TaskSpec, limits,
        plan::work::Work,
    },
};

/// Does a run again that has ended, or some of it. `attempt` is the one that ended.
pub(super) fn retry(work: &mut Work, id: RunId, attempt: u32, how: RetryRun) -> Receipt {
    let run = flow::find(work, id)?;
    if run.attempt > attempt {
        return Ok(Outcome::RunState(run.state));
    }
    if run.attempt < attempt {
        return Err(Rejection::not_found("attempt", attempt));
    }
    if !run.state.is_terminal() {
        let message = "the run has not ended; cancel it first, or wait for its end";
        return Err(Rejection::Invalid(message.into()));
    }
    let (again, gone) = to_do_again(work, id, how);
    if again.is_empty() {
        return Err(Rejection::Invalid("every step of the run completed".into()));
    }
    work.remove_steps(id, &gone);
    let now = work.now;
    let run = work.run(id);
    run.attempt += 1;
    run.state = RunState::Running;
    run.ended_at = Timestamp::ZERO;
    run.open_steps = again.len() as u32;
    run.failed_steps = 0;
    let ends = [RunFlags::CANCELLING, RunFlags::LOST_STEP, RunFlags::STOPPING];
    run.flags = ends.into_iter().fold(run.flags, RunFlags::without);
    if how == RetryRun::All {
        run.flags = run.flags.with(RunFlags::FRESH);
    }
    let attempt = run.attempt;
    work.put_run_attempt(RunAttempt {
        run: id,
        attempt,
        retry: Some(how),
        state: RunState::Running,
        started_at: now,
        ended_at: Timestamp::ZERO,
    });
    work.tell(Stream::Run(id), Event::RunRetried { attempt, how });
    budget::restart(work, id);
    let fresh = reset(work, id, &again, attempt);
    steps::begin(work, id, fresh);
    Ok(Outcome::RunState(work.rows.runs[&id].state))
}

/// The steps to be done again, and those that go because the step that added them is one of
/// them.
fn to_do_again(work: &Work, id: RunId, how: RetryRun) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let steps = || work.rows.steps.range((id, 0)..=(id, u32::MAX)).map(|(_, step)| step);
    let lost = steps().filter(|step| step.state != StepState::Completed).map(|step| step.no);
    let mut again: BTreeSet<u32> = match how {
        RetryRun::All => steps().map(|step| step.no).collect(),
        RetryRun::FailedOnly => lost.collect(),
        RetryRun::FailedAndDownstream => below(work, id, lost.collect()),
    };
    let gone = grown(steps(), &again);
    again.retain(|no| !gone.contains(no));
    (again, gone)
}

/// These steps and all that depends on them. What a step added depends on it, with or without
/// an edge.
fn below(work: &Work, id: RunId, from: Vec<u32>) -> BTreeSet<u32> {
    let steps = work.rows.steps.range((id, 0)..=(id, u32::MAX)).map(|(_, step)| step);
    let mut added: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for step in steps {
        if let Some(grower) = step.policy.grown_by {
            added.entry(grower).or_default().push(step.no);
        }
    }
    let (mut open, mut found) = (from, BTreeSet::new());
    while let Some(no) = open.pop() {
        if found.insert(no) {
            let edges = work.rows.edges.range((id, no, 0)..=(id, no, u32::MAX));
            open.extend(edges.map(|((_, _, to), _)| *to));
            open.extend(added.remove(&no).unwrap_or_default());
        }
    }
    found
}

/// The steps that were added by one of `by`, and by those in turn. Who adds comes before what
/// it adds.
fn grown<'a>(steps: impl Iterator<Item = &'a Step>, by: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut gone = BTreeSet::new();
    for step in steps {
        let grower = step.policy.grown_by;
        if grower.is_some_and(|grower| by.contains(&grower) || gone.contains(&grower)) {
            gone.insert(step.no);
        }
    }
    gone
}

/// Makes steps pending, as if they had never begun.
fn reset(work: &mut Work, id: RunId, again: &BTreeSet<u32>, attempt: u32) -> Vec<Fresh> {
    let task = |no: &u32| work.rows.steps[&(id, *no)].task;
    let tasks = again.iter().filter_map(task).collect();
    inbox::withdraw_all(work, &tasks);
    for no in again {
        let step = work.step(id, *no);
        step.state = StepState::Pending;
        step.attempt = attempt;
        (step.task, step.reserved, step.reason) = (None, None, None);
    }
    count_anew(work, id, again)
}

/// Counts what steps wait for, of the edges that there are.
fn count_anew(work: &mut Work, id: RunId, steps: &BTreeSet<u32>) -> Vec<Fresh> {
    let mut edges = vec![];
    for ((_, from, to), _) in work.rows.edges.range((id, 0, 0)..=(id, u32::MAX, u32::MAX)) {
        if steps.contains(to) {
            edges.push((*to, *from));
        }
    }
    edges.sort_unstable();
    let mut edges = edges.into_iter().peekable();
    let mut fresh = Vec::new();
    for no in steps {
        let mut from = Vec::new();
        while let Some((_, other)) = edges.next_if(|(to, _)| to == no) {
            from.push(other);
        }
        let step = work.step(id, *no);
        step.waiting_on = step.policy.quorum.of(from.len() as u32);
        step.open_edges = from.len() as u32;
        from.retain(|other| work.rows.steps[&(id, *other)].state.is_terminal());
        fresh.push(steps::count(work, (id, *no), &from));
    }
    fresh
}

/// Makes a new run of an old one: what completed before the step `from` is copied, the step
/// and everything else is done again.
pub(super) fn fork(
    work: &mut Work,
    (old, from): (RunId, u32),
    id: RunId,
    input: Option<Payload>,
) -> Receipt {
    if work.rows.runs.contains_key(&id) {
        return Ok(Outcome::Run { id, created: false });
    }
    let bytes = input.as_ref().map_or(0, |input| input.as_str().len());
    fits("the step's input", bytes, limits::PAYLOAD_BYTES)?;
    let run = flow::find(work, old)?.clone();
    if !work.rows.steps.contains_key(&(old, from)) {
        return Err(Rejection::not_found("step", from));
    }
    let Some(spec) = work.rows.run_specs.get(&old).cloned() else {
        return Err(Rejection::not_found("run", old));
    };
    let steps = || work.rows.steps.range((old, 0)..=(old, u32::MAX)).map(|(_, step)| step);
    let mut again = below(work, old, vec![from]);
    again.extend(steps().filter(|step| step.state != StepState::Completed).map(|step| step.no));
    let gone = grown(steps(), &again);
    again.retain(|no| !gone.contains(no));
    let kept: Vec<Step> = steps().filter(|step| !gone.contains(&step.no)).cloned().collect();
    let edges = work.rows.edges.range((old, 0, 0)..=(old, u32::MAX, u32::MAX));
    let edges = edges.map(|((_, from, to), terms)| (*from, *to, terms.clone()));
    let edges: Vec<_> =
        edges.filter(|(from, to, _)| !gone.contains(from) && !gone.contains(to)).collect();

    work.insert_run(Run {
        id,
        state: RunState::Running,
        flags: RunFlags::FRESH,
        open_steps: again.len() as u32,
        failed_steps: 0,
        attempt: 1,
        parent: None,
        next_seq: 1,
        updated_at: work.now,
        ended_at: Timestamp::ZERO,
        ..run
    });
    budget::restart(work, id);
    let steps = kept.len() as u32;
    let event = Event::RunLaunched { flow: spec.flow.clone(), steps };
    work.tell(Stream::Run(id), event);
    flow::insert_spec(
        work,
        crate::model::RunSpec { id, forked_from: Some((old, from)), created_at: work.now, ..spec },
    );
    for (from, to, terms) in edges {
        work.insert_edge((id, from, to), terms);
    }
    for step in kept {
        copy(work, (old, id), step, &again);
    }
    if let Some(input) = input {
        work.put_step_input((id, from), input);
    }
    let fresh = count_anew(work, id, &again);
    steps::begin(work, id, fresh);
    Ok(Outcome::Run { id, created: true })
}

/// Copies a step with its input and, where it is not done again, what it returned. That it was
/// copied shows in its attempt, which is none of the new run's.
fn copy(work: &mut Work, (old, id): (RunId, RunId), step: Step, again: &BTreeSet<u32>) {
    let (no, task) = (step.no, step.task);
    if let Some(input) = work.rows.step_inputs.get(&(old, no)).cloned() {
        work.put_step_input((id, no), input);
    }
    let step = Step { run: id, reserved: None, updated_at: work.now, ..step };
    if again.contains(&no) {
        let state = StepState::Pending;
        work.insert_step(Step { task: None, attempt: 1, state, reason: None, ..step });
    } else {
        let task = task.map(|task| copy_task(work, task, (id, no)));
        work.insert_step(Step { task, attempt: 0, ..step });
    }
}

/// A completed task of the new run's own, with the output of the old one's.
fn copy_task(work: &mut Work, old: TaskId, step: (RunId, u32)) -> TaskId {
    let id = TaskId::of_step(step.0, step.1, 1);
    let found = work.rows.tasks.get(&old).cloned().zip(work.rows.specs.get(&old).cloned());
    let Some((task, spec)) = found else { return id };
    let output = work.rows.attempts.get(&(old, task.lease)).and_then(|row| row.output.clone());
    let spec = TaskSpec { id, step: Some(step), chat: None, created_at: work.now, ..spec };
    let hot = Task {
        phase: Phase::Completed,
        attempt: 1,
        lease: 1,
        started_at: task.started_at,
        ended_at: task.ended_at,
        ..task::hot(&spec, task.lane)
    };
    work.insert_task(hot);
    work.insert_spec(spec);
    let attempt = Attempt {
        task: id,
        lease: 1,
        attempt: 1,
        holder: None,
        started_at: task.started_at,
        ended_at: task.ended_at,
        outcome: AttemptOutcome::Completed,
        output,
        error: None,
        usage: None,
        recalled: None,
    };
    work.rows.attempts.insert((id, 1), attempt.clone());
    work.changes.attempts.push(attempt);
    id
}
