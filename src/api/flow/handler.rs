//! Running a step: finding its code and what it takes.

use std::sync::Arc;

use super::{
    FlowPlan, given,
    grow::Growing,
    inputs::{Given, Source},
    plan::{StepPlan, TemplatePlan},
};
use crate::{
    api::{builder::HostState, context::Context, memo::Memory},
    engine::{Core, Done, Handler, Job, Working},
    failure::Failure,
    id::RunId,
    model::{Needs, Payload},
};

/// The code of a flow's steps.
pub(crate) struct FlowHandler {
    pub plan: Arc<FlowPlan>,
    pub host: HostState,
}

impl Handler for FlowHandler {
    fn handle(&self, job: Job) -> Working {
        let (plan, host) = (Arc::clone(&self.plan), self.host.clone());
        Box::pin(async move {
            let missing = || Failure::fatal("a step that its flow does not have");
            let (run, no) = job.claimed.task.step.ok_or_else(missing)?;
            let spec = job.core.run_spec(run).await?;
            let shape = Arc::clone(plan.shape_of(&spec));
            let task = job.claimed.task.id;
            let own = match no as usize >= shape.steps.len() || spec.forked_from.is_some() {
                true => own_input(&job.core, run, no).await?,
                false => None,
            };
            let (code, policy, name, given) = match shape.steps.get(no as usize) {
                Some(StepPlan { new, sources, code }) => {
                    let given = match own {
                        Some((_, input)) => instead(sources, &input)?,
                        None => given::find(&job.core, (run, task), &spec.input, sources).await?,
                    };
                    (code, &new.policy, &new.name, given)
                }
                None => {
                    let (name, input) = own.ok_or_else(missing)?;
                    let template = shape.templates.iter().find(|known| known.name() == name);
                    let TemplatePlan { step, code } = template.ok_or_else(missing)?;
                    (code, &step.policy, &step.name, vec![Given::Output(input)])
                }
            };
            let memory = policy.memo.map(|number| Memory::of(&spec, name, number));
            let growing = Growing::new(Arc::clone(&shape), spec);
            let context = Context::of_step(job, host, growing.clone(), memory);
            let done = code(context, given).await?;
            let grow = growing.take();
            // Steps that it added are not part of what is remembered.
            let memo = done.memo.filter(|_| grow.is_none());
            Ok(Done { grow, memo, ..done })
        })
    }
}

/// The input that a step has of its own, and the name of its code.
async fn own_input(core: &Core, run: RunId, no: u32) -> Result<Option<(String, Payload)>, Failure> {
    let key = (run, no);
    let needs = Needs { steps: [key].into(), step_inputs: [key].into(), ..Needs::default() };
    let mut rows = core.backend.read(&needs).await?;
    let code = rows.steps.remove(&key).and_then(|step| step.policy.code).unwrap_or_default();
    Ok(rows.step_inputs.remove(&key).map(|input| (code, input)))
}

/// What a step takes instead of what its dependencies return: one value, or as many as it
/// takes.
fn instead(sources: &[Source], input: &Payload) -> Result<Vec<Given>, Failure> {
    if sources.len() == 1 {
        return Ok(vec![Given::Output(input.clone())]);
    }
    let values: Vec<Box<serde_json::value::RawValue>> =
        input.decode().map_err(|error| Failure::payload("the edited input", &error))?;
    if values.len() != sources.len() {
        let (has, takes) = (values.len(), sources.len());
        return Err(Failure::fatal(format!(
            "the edited input has {has} values, and the step takes {takes}"
        )));
    }
    let given = values.into_iter().map(|value| Payload::trusted(value.get().to_owned()));
    Ok(given.map(Given::Output).collect())
}
