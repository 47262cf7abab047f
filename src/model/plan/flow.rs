//! Runs and their steps.

use std::collections::BTreeMap;

use super::{are_names, are_texts, fits, task};
use crate::{
    clock::Timestamp,
    id::{RunId, TaskId},
    model::{
        Dag, Event, Lane, NewRun, NewStep, Outcome, Payload, Phase, Receipt, Rejection, Run,
        RunFlags, RunState, Step, StepKind, StepState, Stream, TaskFlags, TaskOptions, TaskSpec,
        TaskState, limits, plan::work::Work,
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
    let NewRun { mut spec, priority, steps } = new;
    spec.created_at = work.now;
    work.insert_run(Run {
        id,
        state: RunState::Running,
        flags: RunFlags::default(),
        project: spec.project.clone(),
        priority,
        open_steps: steps.len() as u32,
        failed_steps: 0,
        next_seq: 1,
        updated_at: work.now,
        ended_at: Timestamp::ZERO,
    });
    let event = Event::RunLaunched { flow: spec.flow.clone(), steps: steps.len() as u32 };
    work.tell(Stream::Run(id), event);
    let code = format!("flow:{}@{}", spec.flow, spec.version);
    work.changes.run_specs.push(spec);
    insert_steps(work, id, steps, &code);
    end_if_done(work, id);
    Ok(Outcome::Run { id, created: true })
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
    are_texts(&spec.model)?;
    for step in steps {
        are_texts([&step.name])?;
        are_names(&step.agent)?;
        task::check_options(&step.options)?;
    }
    Ok(Dag::check(steps)?)
}

fn insert_steps(work: &mut Work, run: RunId, steps: Vec<NewStep>, code: &str) {
    let count = steps.len() as u32;
    for (no, new) in steps.into_iter().enumerate() {
        let step = new_step(work, (run, no as u32), new, code);
        work.insert_step(step);
    }
    for no in 0..count {
        if work.rows.steps[&(run, no)].waiting_on == 0 {
            release(work, run, no);
        }
    }
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

fn new_step(work: &mut Work, (run, no): (RunId, u32), new: NewStep, code: &str) -> Step {
    let lane = lane_of(&new, code);
    let options = TaskOptions { capacity: lane.keys.clone(), ..new.options };
    let mut after = new.after;
    after.sort_unstable();
    after.dedup();
    let edges = after.iter().map(|from| (run, *from, no));
    work.rows.edges.extend(edges.clone());
    work.changes.edges.extend(edges);
    let lane_id = lane.id;
    work.changes.lanes.insert(lane_id, lane);
    Step {
        run,
        no,
        name: new.name,
        kind: new.kind,
        state: StepState::Pending,
        waiting_on: after.len() as u32,
        task: None,
        lane: lane_id,
        agent: new.agent,
        options,
        reason: None,
        updated_at: work.now,
    }
}

/// Puts a step's task into the queue.
fn release(work: &mut Work, run: RunId, no: u32) {
    let task = TaskId::of_step(run, no);
    let step = work.step(run, no);
    step.state = StepState::Running;
    step.task = Some(task);
    let step = step.clone();
    work.tell(Stream::Run(run), Event::StepReleased { no, name: step.name.clone(), task });
    let owner = &work.rows.runs[&run];
    let mut spec = TaskSpec {
        project: owner.project.clone(),
        priority: owner.priority,
        step: Some((run, no)),
        agent: step.agent,
        options: step.options,
        created_at: work.now,
        ..TaskSpec::new(task, "step", Payload::null())
    };
    if step.kind == StepKind::Agent {
        spec.chat = Some(task::own_chat(work, &spec));
    }
    task::insert_step_task(work, spec, step.lane);
}

/// The end of a step's task is the end of the step: its dependents start or are skipped,
/// and with the last step the run ends.
pub(super) fn settle_step(
    work: &mut Work,
    run: RunId,
    no: u32,
    state: TaskState,
    reason: Option<String>,
) {
    let Some(step) = work.rows.steps.get(&(run, no)) else {
        return;
    };
    if step.state.is_terminal() {
        return;
    }
    let end = match state {
        TaskState::Completed => StepState::Completed,
        TaskState::Failed => StepState::Failed,
        _ => StepState::Cancelled,
    };
    end_step(work, run, no, end, reason);
    match end {
        StepState::Completed => release_dependents(work, run, no),
        _ => skip_dependents(work, run, no),
    }
    end_if_done(work, run);
}

fn end_step(work: &mut Work, run: RunId, no: u32, state: StepState, reason: Option<String>) {
    let step = work.step(run, no);
    step.state = state;
    step.reason.clone_from(&reason);
    let name = step.name.clone();
    let owner = work.run(run);
    owner.open_steps -= 1;
    match state {
        StepState::Failed => owner.failed_steps += 1,
        StepState::Cancelled => owner.flags = owner.flags.with(RunFlags::LOST_STEP),
        _ => {}
    }
    work.tell(Stream::Run(run), Event::StepEnded { no, name, state, reason });
}

fn dependents(work: &Work, run: RunId, no: u32) -> Vec<u32> {
    work.rows.edges.range((run, no, 0)..=(run, no, u32::MAX)).map(|(_, _, to)| *to).collect()
}

fn release_dependents(work: &mut Work, run: RunId, no: u32) {
    for to in dependents(work, run, no) {
        if work.rows.steps[&(run, to)].state != StepState::Pending {
            continue;
        }
        let step = work.step(run, to);
        step.waiting_on -= 1;
        if step.waiting_on == 0 {
            release(work, run, to);
        }
    }
}

/// Skips all that can no longer have its dependencies, however far away.
fn skip_dependents(work: &mut Work, run: RunId, no: u32) {
    let mut ended = vec![no];
    while let Some(from) = ended.pop() {
        for to in dependents(work, run, from) {
            if work.rows.steps[&(run, to)].state != StepState::Pending {
                continue;
            }
            let upstream = &work.rows.steps[&(run, from)];
            let why = match upstream.state {
                StepState::Failed => "failed",
                StepState::Skipped => "was skipped",
                _ => "was cancelled",
            };
            let reason = format!("`{}`, which it depends on, {why}", upstream.name);
            end_step(work, run, to, StepState::Skipped, Some(reason));
            ended.push(to);
        }
    }
}

fn end_if_done(work: &mut Work, id: RunId) {
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
    let now = work.now;
    let run = work.run(id);
    run.state = state;
    run.ended_at = now;
    work.tell(Stream::Run(id), Event::RunEnded { state });
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
    if !run.flags.has(RunFlags::CANCELLING) {
        let run = work.run(id);
        run.flags = run.flags.with(RunFlags::CANCELLING);
        work.tell(Stream::Run(id), Event::RunCancelling);
    }
    let mut at_work = Vec::new();
    for (no, (state, task)) in open_steps(work, id) {
        match (state, task) {
            (StepState::Running, Some(task)) => at_work.push(task),
            _ => {
                let reason = Some("the run was cancelled".into());
                end_step(work, id, no, StepState::Cancelled, reason);
            }
        }
    }
    task::cancel_families(work, at_work);
    end_if_done(work, id);
    Ok(Outcome::RunState(work.rows.runs[&id].state))
}

/// The steps that have not ended: those that wait first, so that none is released while the
/// others are cancelled.
fn open_steps(work: &Work, id: RunId) -> Vec<(u32, (StepState, Option<TaskId>))> {
    let steps = work.rows.steps.range((id, 0)..=(id, u32::MAX)).map(|(_, step)| step);
    let open: BTreeMap<_, _> = steps
        .filter(|step| !step.state.is_terminal())
        .map(|step| ((step.state, step.no), step.task))
        .collect();
    open.into_iter().map(|((state, no), task)| (no, (state, task))).collect()
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
    for task in open_steps(work, id).into_iter().filter_map(|(_, (_, task))| task) {
        let Some(known) = work.rows.tasks.get(&task) else {
            continue;
        };
        let waits = matches!(known.phase, Phase::Ready | Phase::Scheduled | Phase::Paused);
        if waits && !known.flags.has(TaskFlags::PAUSED) {
            work.make_pending(task, known.run_at);
        }
    }
    Ok(Outcome::RunState(RunState::Running))
}

fn find(work: &Work, id: RunId) -> Result<&Run, Rejection> {
    work.rows.runs.get(&id).ok_or_else(|| Rejection::not_found("run", id))
}
