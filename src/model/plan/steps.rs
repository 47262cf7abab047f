//! Steps: how they start, how they end, and what follows from their ends.

use super::{
    budget::{self, Start},
    flow, task,
};
use crate::{
    id::{RunId, TaskId},
    model::{
        Event, OnFailure, Otherwise, Payload, RunFlags, RunState, StepKind, StepState, Stream,
        TaskSpec, TaskState, Terms, plan::work::Work,
    },
};

/// A step that was just added or reset.
pub(super) struct Fresh {
    no: u32,
    /// The last of its dependencies that had ended by then.
    after: Option<u32>,
}

/// Begins steps that were just added or reset: those that wait for nothing start, those that
/// can't start any more end. One whose dependencies have ended since was seen to by them.
pub(super) fn begin(work: &mut Work, run: RunId, steps: Vec<Fresh>) {
    let mut ended = Vec::new();
    for Fresh { no, after } in steps {
        let step = &work.rows.steps[&(run, no)];
        if step.state != StepState::Pending {
            continue;
        }
        if step.waiting_on == 0 {
            ended.extend(release(work, run, no).then_some(no));
            continue;
        }
        let lost = step.waiting_on > step.open_edges;
        // A join may be given more edges later, but not where nothing is left that could.
        let why = match after {
            Some(last) if lost => why_not(work, run, last),
            None if lost && step.open_edges == 0 => "nothing that it depends on is left".into(),
            _ => continue,
        };
        give_up(work, run, no, why);
        ended.push(no);
    }
    spread(work, run, ended);
    end_if_done(work, run);
}

/// Counts the edges of a new step that come from steps which had `ended` before it was there.
/// Whatever follows is for [`begin`] to see to, once all are counted.
pub(super) fn count(work: &mut Work, (run, no): (RunId, u32), ended: &[u32]) -> Fresh {
    for from in ended {
        let terms = work.rows.edges.get(&(run, *from, no)).cloned().unwrap_or_default();
        arrive(work, (run, *from, no), &terms);
    }
    Fresh { no, after: ended.last().copied() }
}

/// Takes note that the step an edge comes from has ended.
fn arrive(work: &mut Work, (run, from, to): (RunId, u32, u32), terms: &Terms) {
    let met = is_met(work, (run, from), terms);
    let step = work.step(run, to);
    step.open_edges = step.open_edges.saturating_sub(1);
    step.waiting_on = step.waiting_on.saturating_sub(u32::from(met));
}

/// Starts a step: its task goes into the queue. A join has no task; it has ended at once, and
/// then this says so.
pub(super) fn release(work: &mut Work, run: RunId, no: u32) -> bool {
    let step = &work.rows.steps[&(run, no)];
    if step.kind == StepKind::Join {
        close(work, (run, no), StepState::Completed, None);
        return true;
    }
    let start = budget::reserve(work, run, no);
    match start {
        Start::Now | Start::Asks => {}
        Start::Later => return false,
        Start::Fails => {
            // It counts as one that waits until it is closed.
            work.budget(run).waiting += 1;
            let reason = Some("its run's budget is used up".to_owned());
            close(work, (run, no), StepState::Failed, reason);
            if work.rows.steps[&(run, no)].policy.on_failure == OnFailure::StopRun {
                stop_run(work, run, no);
            }
            return true;
        }
    }
    let step = &work.rows.steps[&(run, no)];
    let task = TaskId::of_step(run, no, step.attempt);
    let step = work.step(run, no);
    step.state = StepState::Running;
    step.task = Some(task);
    let step = step.clone();
    work.tell(Stream::Run(run), Event::StepReleased { no, name: step.name.clone(), task });
    let limit = budget::time_left(work, run);
    let owner = &work.rows.runs[&run];
    let delay = step.policy.delay_ms.map(std::time::Duration::from_millis);
    let mut spec = TaskSpec {
        project: owner.project.clone(),
        priority: owner.priority,
        run_at: delay.map(|delay| work.now + delay),
        step: Some((run, no)),
        agent: step.agent,
        options: step.options,
        created_at: work.now,
        ..TaskSpec::new(task, "step", Payload::null())
    };
    let own = spec.options.timeout_ms;
    spec.options.timeout_ms = own.into_iter().chain(limit).min();
    if step.kind == StepKind::Agent {
        spec.chat = Some(task::own_chat(work, &spec));
    }
    task::insert_step_task(work, spec, step.lane);
    if start == Start::Asks {
        budget::ask(work, run, task);
    }
    false
}

/// The end of a step's task is the end of the step.
pub(super) fn settle(
    work: &mut Work,
    run: RunId,
    no: u32,
    state: TaskState,
    reason: Option<String>,
) {
    let open = work.rows.steps.get(&(run, no)).is_some_and(|step| !step.state.is_terminal());
    if !open {
        return;
    }
    let end = match state {
        TaskState::Completed => StepState::Completed,
        TaskState::Failed => StepState::Failed,
        _ => StepState::Cancelled,
    };
    end_step(work, (run, no), end, reason);
}

/// Ends a step with all that follows.
pub(super) fn end_step(
    work: &mut Work,
    (run, no): (RunId, u32),
    state: StepState,
    reason: Option<String>,
) {
    close(work, (run, no), state, reason);
    let mut ended = vec![no];
    ended.extend(budget::give_back(work, run, no));
    let stops = work.rows.steps[&(run, no)].policy.on_failure == OnFailure::StopRun;
    if state == StepState::Failed && stops {
        stop_run(work, run, no);
    }
    spread(work, run, ended);
    end_if_done(work, run);
}

/// Records the end of a step, and nothing of what follows from it.
pub(super) fn close(
    work: &mut Work,
    (run, no): (RunId, u32),
    state: StepState,
    reason: Option<String>,
) {
    let hungry = budget::is_waiting(&work.rows.steps[&(run, no)]);
    let step = work.step(run, no);
    step.state = state;
    step.reason.clone_from(&reason);
    let counts = step.policy.on_failure != OnFailure::Ignore;
    let name = step.name.clone();
    let owner = work.run(run);
    owner.open_steps -= 1;
    match state {
        StepState::Failed if counts => owner.failed_steps += 1,
        StepState::Cancelled if counts => owner.flags = owner.flags.with(RunFlags::LOST_STEP),
        _ => {}
    }
    if hungry {
        budget::waits_no_more(work, run);
    }
    work.tell(Stream::Run(run), Event::StepEnded { no, name, state, reason });
}

/// A step failed that takes the rest of the run along.
fn stop_run(work: &mut Work, run: RunId, no: u32) {
    let owner = work.run(run);
    owner.flags = owner.flags.with(RunFlags::STOPPING);
    let name = &work.rows.steps[&(run, no)].name;
    let reason = format!("`{name}` failed, which stops the run");
    flow::clear(work, run, &reason);
}

/// Carries the ends of steps to their dependents, however far: those whose last missing edge
/// is met start, those that can't start any more end.
pub(super) fn spread(work: &mut Work, run: RunId, mut ended: Vec<u32>) {
    while let Some(from) = ended.pop() {
        for (to, terms) in edges_from(work, run, from) {
            let step = &work.rows.steps[&(run, to)];
            if step.state != StepState::Pending {
                continue;
            }
            let starts = budget::is_waiting(step);
            arrive(work, (run, from, to), &terms);
            if starts {
                // Nothing but the budget holds it back, and that was counted when it was met.
                continue;
            }
            let step = &work.rows.steps[&(run, to)];
            if step.waiting_on == 0 {
                ended.extend(release(work, run, to).then_some(to));
            } else if step.waiting_on > step.open_edges {
                give_up(work, run, to, why_not(work, run, from));
                ended.push(to);
            }
        }
    }
}

fn edges_from(work: &Work, run: RunId, from: u32) -> Vec<(u32, Terms)> {
    let edges = work.rows.edges.range((run, from, 0)..=(run, from, u32::MAX));
    edges.map(|((_, _, to), terms)| (*to, terms.clone())).collect()
}

/// Whether a step that has ended is what an edge asks for.
fn is_met(work: &Work, (run, from): (RunId, u32), terms: &Terms) -> bool {
    let step = &work.rows.steps[&(run, from)];
    let output = || {
        let task = work.rows.tasks.get(&step.task?)?;
        work.rows.attempts.get(&(task.id, task.lease))?.output.as_ref()
    };
    terms.are_met(step.state, terms.when.as_ref().and_then(|_| output()))
}

/// Ends a step that can't start any more.
fn give_up(work: &mut Work, run: RunId, no: u32, reason: String) {
    let end = match work.rows.steps[&(run, no)].policy.otherwise {
        Otherwise::Skip => StepState::Skipped,
        Otherwise::Cancel => StepState::Cancelled,
    };
    close(work, (run, no), end, Some(reason));
}

fn why_not(work: &Work, run: RunId, from: u32) -> String {
    let upstream = &work.rows.steps[&(run, from)];
    let how = match upstream.state {
        StepState::Failed => "failed",
        StepState::Skipped => "was skipped",
        // Of several, too few were what was asked for; this was the last.
        StepState::Completed => "did not return what was asked for",
        _ => "was cancelled",
    };
    format!("`{}`, which it depends on, {how}", upstream.name)
}

/// Ends a run whose last step has ended.
pub(super) fn end_if_done(work: &mut Work, id: RunId) {
    let run = &work.rows.runs[&id];
    if run.open_steps > 0 || run.state.is_terminal() {
        return;
    }
    let state = match run {
        run if run.flags.has(RunFlags::CANCELLING) => RunState::Cancelled,
        run if run.failed_steps > 0 => RunState::Failed,
        run if run.flags.has(RunFlags::LOST_STEP) => RunState::Cancelled,
        _ => RunState::Completed,
    };
    let (now, parent, attempt) = (work.now, run.parent, run.attempt);
    let run = work.run(id);
    run.state = state;
    run.ended_at = now;
    work.tell(Stream::Run(id), Event::RunEnded { state });
    if let Some(begun) = work.rows.run_attempts.get(&(id, attempt)).cloned() {
        work.put_run_attempt(crate::model::RunAttempt { state, ended_at: now, ..begun });
    }
    if let Some(parent) = parent {
        task::wake_waiting(work, parent);
    }
}
