//! A step that is a run of another flow.

use super::{Definition, FlowPlan};
use crate::{
    api::{context::Context, run::output_of},
    clock::Timestamp,
    engine::Done,
    failure::Failure,
    id::{RunId, TaskId},
    model::{
        Budget, Command, Needs, NewRun, Payload, RetryRun, Rows, RunFlags, RunSpec, RunState, Usage,
    },
};

/// Launches the run, waits for its end without a worker, and returns what it returned. Where
/// it failed and the step is tried again, what failed of it is.
pub(super) async fn attend(
    context: &Context,
    plan: &FlowPlan,
    input: Payload,
) -> Result<Done, Failure> {
    let core = &context.job().core;
    let owner = context.run().ok_or_else(|| Failure::fatal("a run under no run"))?;
    let id = RunId::under(owner, context.task());
    let needs = Needs {
        runs: [id].into(),
        run_specs: [id].into(),
        graphs: [id].into(),
        attempts: [context.task()].into(),
        ..Needs::default()
    };
    let mut rows = core.backend.read(&needs).await?;
    let Some(run) = rows.runs.get(&id) else {
        core.submit(Command::Launch(Box::new(launch(context, plan, id, input).await?))).await?;
        return Err(Failure::await_run(id));
    };
    if run.state.is_terminal() {
        let used = run.budget.as_ref().map(|budget| budget.used).unwrap_or_default();
        context.used(&used.minus(told(&rows, context.task())))?;
    }
    match run.state {
        RunState::Running => return Err(Failure::await_run(id)),
        RunState::Cancelled => return Err(Failure::fatal(format!("run {id} was cancelled"))),
        RunState::Failed if run.attempt <= context.job().claimed.task.failures => {
            let how = RetryRun::FailedOnly;
            core.submit(Command::RetryRun { run: id, attempt: run.attempt, how }).await?;
            return Err(Failure::await_run(id));
        }
        RunState::Failed => {
            return Err(Failure::new(crate::api::report::failure(id, run.state, &rows)));
        }
        RunState::Completed => {}
    }
    let spec = rows.run_specs.remove(&id).ok_or_else(|| Failure::fatal("a run without its row"))?;
    let definition: Definition = spec.definition.decode()?;
    let Some(no) = definition.returns else { return Ok(Done::new(spec.input)) };
    let task = rows.steps.get(&(id, no)).and_then(|step| step.task);
    let needs = Needs { attempts: task.into_iter().collect(), ..Needs::default() };
    let rows = core.backend.read(&needs).await?;
    let output = task.and_then(|task| output_of(&rows, task)).cloned();
    output.map(Done::new).ok_or_else(|| Failure::fatal(format!("run {id} has no output")))
}

/// What earlier attempts of the step have said that the run has used.
fn told(rows: &Rows, task: TaskId) -> Usage {
    let attempts = rows.attempts.range((task, 0)..=(task, i64::MAX)).map(|(_, attempt)| attempt);
    let usage = attempts.filter_map(|attempt| attempt.usage.as_ref()).map(Usage::of);
    usage.fold(Usage::default(), Usage::plus)
}

/// What a run has of the one that it is launched by.
#[derive(Default)]
struct Share {
    /// What the step has reserved of its own run's budget.
    budget: Option<Budget>,
    fresh: bool,
}

async fn share(context: &Context) -> Result<Share, Failure> {
    let Some((id, no)) = context.job().claimed.task.step else { return Ok(Share::default()) };
    let needs = Needs { runs: [id].into(), steps: [(id, no)].into(), ..Needs::default() };
    let mut rows = context.job().core.backend.read(&needs).await?;
    let run = rows.runs.remove(&id);
    let fresh = run.as_ref().is_some_and(|run| run.flags.has(RunFlags::FRESH));
    let reserved = rows.steps.remove(&(id, no)).and_then(|step| step.reserved);
    let budget = run.and_then(|run| run.budget).zip(reserved);
    Ok(Share { budget: budget.map(|(budget, reserved)| budget.share(reserved)), fresh })
}

async fn launch(
    context: &Context,
    plan: &FlowPlan,
    id: RunId,
    input: Payload,
) -> Result<NewRun, Failure> {
    let job = context.job();
    let band = match context.run() {
        Some(run) => job.core.run_spec(run).await?.band,
        None => Default::default(),
    };
    let share = share(context).await?;
    let shape = plan.shape(band);
    let spec = RunSpec {
        id,
        project: context.spec().project.clone(),
        flow: plan.name.clone(),
        version: plan.version,
        band,
        model: context.spec().model.clone(),
        input,
        definition: Payload::of(&shape.definition())?,
        labels: context.spec().labels.clone(),
        meta: None,
        forked_from: None,
        fingerprint: shape.fingerprint.clone(),
        base: context.base().map(str::to_owned),
        created_at: Timestamp::ZERO,
    };
    let steps = shape.new_steps(&spec.need());
    let (parent, budget, fresh) = (Some(context.task()), share.budget, share.fresh);
    Ok(NewRun { spec, priority: job.claimed.task.priority, steps, parent, budget, fresh })
}
