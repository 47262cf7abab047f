//! Steps with their code: what an engine registers of a flow.

use std::{fmt, marker::PhantomData};

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
