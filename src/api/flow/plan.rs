//! Steps with their code: what an engine registers of a flow.

use std::{fmt, marker::PhantomData};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::inputs::{Given, Source};
use crate::{
    api::context::Context,
    engine::Working,
    model::{Lane, NewStep},
};

pub(crate) type Code = dyn Fn(Context, Vec<Given>) -> Working + Send + Sync;

/// A step with its code.
pub(crate) struct StepPlan {
    pub new: NewStep,
    pub sources: Vec<Source>,
    pub code: Box<Code>,
}

impl fmt::Debug for StepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.new.fmt(f)
    }
}

/// Code for steps that are added while a run goes on.
pub(crate) struct TemplatePlan {
    /// What such a step is like: without a name and an input.
    pub step: NewStep,
    pub code: Box<Code>,
}

impl TemplatePlan {
    pub fn name(&self) -> &str {
        &self.step.name
    }
}

impl fmt::Debug for TemplatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.step.fmt(f)
    }
}

/// A step as it is stored, in the lane of those who have its code.
pub(crate) fn in_lane(step: &NewStep, need: &str) -> NewStep {
    let agent = step.agent.iter().map(|agent| format!("agent:{agent}"));
    let tags = step.options.tags.iter().map(|tag| format!("tag:{tag}"));
    let needs = std::iter::once(need.to_owned()).chain(agent).chain(tags).collect();
    let lane = Lane::new(needs, step.options.capacity.clone());
    NewStep { lane: Some(lane), ..step.clone() }
}

/// A hash of all that the code of steps relies on: which there are, what does them, and what
/// they take. A run's steps are done by code with the fingerprint that it was launched with.
/// The text that is hashed never changes for a flow that does not: runs outlive programs.
pub(super) fn fingerprint(
    steps: &[StepPlan],
    templates: &[TemplatePlan],
    returns: Source,
) -> String {
    let source = |source: &Source| match source {
        Source::Input => Value::Null,
        Source::Step(no) => json!(no),
        Source::Items(no) => json!([no]),
    };
    let step = |step: &NewStep, sources: &[Source]| {
        let tolerated: Vec<_> =
            step.terms.iter().map(|(no, terms)| (no, terms.tolerates)).collect();
        let sources: Vec<_> = sources.iter().map(source).collect();
        json!([step.name, step.kind as u8, step.agent, step.after, tolerated, sources])
    };
    let of_steps: Vec<_> = steps.iter().map(|plan| step(&plan.new, &plan.sources)).collect();
    let of_templates: Vec<_> = templates.iter().map(|plan| step(&plan.step, &[])).collect();
    let text = json!([1, of_steps, of_templates, source(&returns)]).to_string();
    format!("{:.12}", format!("{:x}", Sha256::digest(text)))
}

/// Code for steps that are added while a run goes on: each takes an `I` and returns a `T`.
/// Made by [`Draft::template`](super::Draft::template).
pub struct Template<I, T> {
    pub(crate) draft: u64,
    pub(crate) at: usize,
    types: PhantomData<fn(I) -> T>,
}

impl<I, T> Template<I, T> {
    pub(super) fn new(draft: u64, at: usize) -> Self {
        Self { draft, at, types: PhantomData }
    }
}

impl<I, T> Clone for Template<I, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, T> Copy for Template<I, T> {}

impl<I, T> fmt::Debug for Template<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.at)
    }
}
