//! Runs and their steps.

use super::{are_names, are_texts, fits, steps, task, tasks_of};
use crate::{
    clock::Timestamp,
    id::{RunId, TaskId},
    model::{
        Dag, Event, Lane, NewRun, NewStep, Outcome, Phase, Receipt, Rejection, Run, RunAttempt,
        RunFlags, RunSpec, RunState, Step, StepState, Stream, TaskFlags, TaskOptions, limits,
        plan::work::Work,
    },
};

impl Run {
    /// Whether nothing of it may start.
    pub(super) fn is_paused(&self) -> bool {
        self.flags.has(RunFlags::PAUSED)
    }
}

/// Launches a run: all of its steps, and the tasks of those that depend on nothing.
pub(super) fn launch(work: &mut Work, new: NewRun) -> Receipt {
    let id = new.spec.id;
    if work.rows.runs.contains_key(&id) {
        return Ok(Outcome::Run { id, created: false });
    }
    check(&new)?;
    if let Some(parent) = new.parent {
        task::check_parent(work, parent)?;
    }
    let NewRun { mut spec, priority, steps, parent, mut budget, fresh } = new;
    if let Some(budget) = &mut budget {
        budget.begin(work.now);
    }
    spec.created_at = work.now;
    work.insert_run(Run {
        id,
        state: RunState::Running,
        flags: if fresh { RunFlags::FRESH } else { RunFlags::default() },
        project: spec.project.clone(),
        priority,
        open_steps: steps.len() as u32,
        failed_steps: 0,
        next_no: steps.len() as u32,
        attempt: 1,
        parent,
        budget,
        next_seq: 1,
        updated_at: work.now,
        ended_at: Timestamp::ZERO,
    });
    let event = Event::RunLaunched { flow: spec.flow.clone(), steps: steps.len() as u32 };
    work.tell(Stream::Run(id), event);
    let code = spec.need();
    insert_spec(work, spec);
    let mut fresh = Vec::new();
    for (no, step) in (0..).zip(steps) {
        insert_step(work, (id, no), step, &code);
        fresh.push(steps::count(work, (id, no), &[]));
    }
    steps::begin(work, id, fresh);
    Ok(Outcome::Run { id, created: true })
}

/// The code of a run's flow.
pub(super) fn code_of(work: &Work, id: RunId) -> String {
    work.rows.run_specs.get(&id).map(RunSpec::need).unwrap_or_default()
}

/// The cold row of a new run, and the record of its first beginning.
pub(super) fn insert_spec(work: &mut Work, spec: RunSpec) {
    work.put_run_attempt(RunAttempt {
        run: spec.id,
        attempt: 1,
        retry: None,
        state: RunState::Running,
        started_at: work.now,
        ended_at: Timestamp::ZERO,
    });
    work.rows.run_specs.insert(spec.id, spec.clone());
    work.changes.run_specs.push(spec);
}

/// Refuses values that are too large or empty, and steps that are not a flow.
fn check(new: &NewRun) -> Result<(), Rejection> {
    let NewRun { spec, steps, .. } = new;
    let input = spec.input.as_str().len();
    fits("the run's input", input, limits::PAYLOAD_BYTES)?;
    let meta = spec.meta.as_ref().map_or(0, |meta| meta.as_str().len());
    fits("the run's meta", meta, limits::META_BYTES)?;
    are_names([&spec.project, &spec.flow].into_iter().chain(spec.labels.keys()))?;
    are_texts(spec.labels.values())?;
    are_texts(spec.model.iter().chain(&spec.base).chain([&spec.fingerprint]))?;
    steps.iter().try_for_each(check_step)?;
    Ok(Dag::check(steps)?)
}

/// Refuses what can't be stored with a step.
pub(super) fn check_step(step: &NewStep) -> Result<(), Rejection> {
    are_texts([&step.name])?;
    are_names(step.agent.iter().chain(&step.policy.code))?;
    let input = step.input.as_ref().map_or(0, |input| input.as_str().len());
    fits("the step's input", input, limits::PAYLOAD_BYTES)?;
    task::check_options(&step.options)
}

/// The lane of a step, which waits for a worker that has the flow's code unless the step
/// says otherwise. Its keys and the step's are one set: what a claim takes, a settle frees.
fn lane_of(new: &NewStep, code: &str) -> Lane {
    let tags = new.options.tags.iter().map(|tag| format!("tag:{tag}"));
    let own = || Lane::new(tags.chain([code.to_owned()]).collect(), Vec::new());
    let mut lane = new.lane.clone().unwrap_or_else(own);
    lane.keys.extend_from_slice(&new.options.capacity);
    Lane::new(lane.needs, lane.keys)
}

/// Adds a step with the edges that lead to it.
pub(super) fn insert_step(work: &mut Work, (run, no): (RunId, u32), new: NewStep, code: &str) {
    let lane = lane_of(&new, code);
    let options = TaskOptions { capacity: lane.keys.clone(), ..new.options };
    let mut after = new.after;
    after.sort_unstable();
    after.dedup();
    let mut terms = new.terms;
    for from in &after {
        work.insert_edge((run, *from, no), terms.remove(from).unwrap_or_default());
    }
    if let Some(input) = new.input {
        work.put_step_input((run, no), input);
    }
    let (open_edges, lane_id) = (after.len() as u32, lane.id);
    work.changes.lanes.insert(lane_id, lane);
    work.insert_step(Step {
        run,
        no,
        name: new.name,
        kind: new.kind,
        state: StepState::Pending,
        waiting_on: new.policy.quorum.of(open_edges),
        open_edges,
        attempt: work.rows.runs[&run].attempt,
        task: None,
        lane: lane_id,
        agent: new.agent,
        options,
        policy: new.policy,
        reserved: None,
        reason: None,
        updated_at: work.now,
    });
}

/// Cancels a run: what has not started never will, what runs is told to stop, and the run
/// is cancelled when its last step has.
pub(super) fn cancel(work: &mut Work, id: RunId) -> Receipt {
    let run = find(work, id)?;
    match run.state {
        RunState::Cancelled => return Ok(Outcome::RunState(RunState::Cancelled)),
        RunState::Running => {}
        ended => return Err(Rejection::RunEnded(ended)),
    }
    begin_to_cancel(work, id);
    let at_work: Vec<TaskId> = tasks_of(&work.rows, id).collect();
    task::cancel_families(work, at_work);
    steps::end_if_done(work, id);
    Ok(Outcome::RunState(work.rows.runs[&id].state))
}

/// Nothing more of a run starts: it is to be cancelled.
pub(super) fn begin_to_cancel(work: &mut Work, id: RunId) {
    let run = work.run(id);
    if !run.flags.has(RunFlags::CANCELLING) {
        run.flags = run.flags.with(RunFlags::CANCELLING);
        work.tell(Stream::Run(id), Event::RunCancelling);
    }
    cancel_waiting(work, id, "the run was cancelled");
}

/// Cancels every step of a run that has not ended: first those that wait, so that none starts
/// when the others end.
pub(super) fn clear(work: &mut Work, id: RunId, reason: &str) {
    cancel_waiting(work, id, reason);
    let at_work: Vec<TaskId> = tasks_of(&work.rows, id).collect();
    task::cancel_families(work, at_work);
}

fn cancel_waiting(work: &mut Work, id: RunId, reason: &str) {
    let steps = work.rows.steps.range((id, 0)..=(id, u32::MAX)).map(|(_, step)| step);
    let waiting = steps.filter(|step| step.state == StepState::Pending).map(|step| step.no);
    for no in waiting.collect::<Vec<_>>() {
        steps::close(work, (id, no), StepState::Cancelled, Some(reason.to_owned()));
    }
}

/// Lets nothing of a run start. What runs goes on.
pub(super) fn pause(work: &mut Work, id: RunId) -> Receipt {
    change_pause(work, id, Event::RunPaused, RunFlags::with)
}

/// Lets a paused run go on.
pub(super) fn resume(work: &mut Work, id: RunId) -> Receipt {
    change_pause(work, id, Event::RunResumed, RunFlags::without)
}

fn change_pause(
    work: &mut Work,
    id: RunId,
    event: Event,
    change: fn(RunFlags, RunFlags) -> RunFlags,
) -> Receipt {
    let run = find(work, id)?;
    if run.state.is_terminal() {
        return Err(Rejection::RunEnded(run.state));
    }
    let flags = change(run.flags, RunFlags::PAUSED);
    if flags == run.flags {
        return Ok(Outcome::RunState(run.state));
    }
    work.run(id).flags = flags;
    work.tell(Stream::Run(id), event);
    for task in tasks_of(&work.rows, id).collect::<Vec<_>>() {
        let Some(known) = work.rows.tasks.get(&task) else {
            continue;
        };
        let waits = matches!(known.phase, Phase::Ready | Phase::Scheduled | Phase::Paused);
        let held = known.flags.has(TaskFlags::PAUSED) || known.flags.has(TaskFlags::AWAITS);
        if waits && !held {
            work.make_pending(task, known.run_at);
        }
    }
    Ok(Outcome::RunState(RunState::Running))
}

pub(super) fn find(work: &Work, id: RunId) -> Result<&Run, Rejection> {
    work.rows.runs.get(&id).ok_or_else(|| Rejection::not_found("run", id))
}

/// Cancels one step of a run.
pub(super) fn cancel_step(work: &mut Work, id: RunId, no: u32) -> Receipt {
    let Some(step) = work.rows.steps.get(&(id, no)) else {
        return Err(Rejection::not_found("step", no));
    };
    match (step.state, step.task) {
        (StepState::Cancelled, _) => {}
        (StepState::Running, Some(task)) => task::cancel_families(work, [task]),
        (StepState::Pending, _) => {
            let reason = Some("cancelled".to_owned());
            steps::end_step(work, (id, no), StepState::Cancelled, reason);
        }
        (ended, _) => {
            let message = format!("step `{}` has ended: it is {ended:?}", step.name);
            return Err(Rejection::Invalid(message));
        }
    }
    Ok(Outcome::RunState(work.rows.runs[&id].state))
}
