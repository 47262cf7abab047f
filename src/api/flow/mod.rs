//! Flows: typed steps, and the edges between them.

mod draft;
mod given;
mod grow;
mod handler;
mod inputs;
mod kinds;
mod plan;
mod subrun;
mod tell;

use std::{collections::BTreeSet, marker::PhantomData, sync::Arc};

use serde::Serialize;

pub use self::{
    draft::Draft,
    grow::Added,
    inputs::{Ended, Inputs, Items, Step, any, at_least},
    kinds::{ItemPolicy, Verdict},
    plan::Template,
    tell::Steps,
};
pub(crate) use self::{grow::Growing, handler::FlowHandler};
use self::{
    inputs::Source,
    plan::{StepPlan, TemplatePlan, in_lane},
};
use crate::{
    error::{Error, Result},
    model::{Band, Dag, NewStep, RunSpec, flow_need},
};

/// A flow that can be launched with an `I` and returns an `O`.
#[derive(Debug)]
pub struct Flow<I = (), O = ()> {
    pub(crate) plan: Arc<FlowPlan>,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> Clone for Flow<I, O> {
    fn clone(&self) -> Self {
        Self { plan: Arc::clone(&self.plan), types: PhantomData }
    }
}

impl Flow {
    /// Begins a flow. It ends with [`Draft::returns`].
    #[allow(clippy::new_ret_no_self, reason = "a flow is drafted before it is one")]
    pub fn new(name: impl Into<String>) -> Draft {
        Draft::new(name.into(), Band::Small)
    }

    /// A flow whose width follows the band it is launched with: `draw` is called once for
    /// each band, and ends the draft it is given with [`Draft::returns`].
    pub fn banded<I, O>(
        name: impl Into<String>,
        draw: impl Fn(Draft, Band) -> Flow<I, O>,
    ) -> Flow<I, O> {
        let name = name.into();
        let drawn = [Band::Small, Band::Medium, Band::Large]
            .map(|band| draw(Draft::new(name.clone(), band), band));
        let [small, medium, large] = drawn.map(|flow| flow.plan);
        let shapes = [&small, &medium, &large].into_iter().flat_map(|plan| plan.shapes.clone());
        let plans = [&small, &medium, &large];
        let fault = plans.iter().find_map(|plan| plan.fault.clone()).or_else(|| {
            let differ = plans.iter().any(|plan| plan.version != small.version);
            differ.then(|| "its bands have different versions".to_owned())
        });
        let nested = plans.iter().flat_map(|plan| plan.nested.clone()).collect();
        let shapes = shapes.collect();
        Flow::of(FlowPlan { name, version: small.version, shapes, nested, fault })
    }
}

impl<I, O> Flow<I, O> {
    fn of(plan: FlowPlan) -> Self {
        Self { plan: Arc::new(plan), types: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its version.
    pub fn version(&self) -> u32 {
        self.plan.version
    }

    /// The steps and edges of a band as a Mermaid flowchart. A large one is folded like that
    /// of [a run](crate::view::RunRecord::mermaid).
    pub fn mermaid(&self, band: Band) -> String {
        crate::view::plan(&self.plan.shape(band).definition().steps)
    }
}

/// A flow without its types: what an engine registers.
#[derive(Debug)]
pub(crate) struct FlowPlan {
    pub name: String,
    pub version: u32,
    shapes: Vec<Arc<Shape>>,
    /// The flows that its steps launch.
    pub nested: Vec<Arc<FlowPlan>>,
    /// What is wrong with it, told when it is used.
    pub fault: Option<String>,
}

impl FlowPlan {
    /// The steps of a band: a flow that is not banded has the same for all.
    pub fn shape(&self, band: Band) -> &Arc<Shape> {
        let own = self.shapes.iter().find(|shape| shape.band == band);
        own.unwrap_or(&self.shapes[0])
    }

    /// The steps of a run. Its fingerprint says which, whatever its band has become since.
    pub fn shape_of(&self, run: &RunSpec) -> &Arc<Shape> {
        let launched = self.shapes.iter().find(|shape| shape.fingerprint == run.fingerprint);
        launched.unwrap_or_else(|| self.shape(run.band))
    }

    /// Its name and version.
    pub fn label(&self) -> String {
        flow_need(&self.name, self.version, "")
    }

    /// How lanes and registries call the code of each of its shapes.
    pub fn needs(&self) -> BTreeSet<String> {
        let need = |shape: &Arc<Shape>| flow_need(&self.name, self.version, &shape.fingerprint);
        self.shapes.iter().map(need).collect()
    }

    /// # Errors
    /// What is wrong with it, by step and edge.
    pub fn check(&self) -> Result<()> {
        if let Some(fault) = &self.fault {
            return Err(Error::usage(format!("flow `{}`: {fault}", self.name)));
        }
        self.nested.iter().try_for_each(|flow| flow.check())?;
        self.shapes.iter().try_for_each(|shape| {
            if shape.steps.is_empty() {
                let message = format!("flow `{}` has no steps", self.name);
                return Err(Error::usage(message));
            }
            let steps: Vec<_> = shape.steps.iter().map(|step| step.new.clone()).collect();
            Dag::check(&steps)
                .map_err(|fault| Error::usage(format!("flow `{}`: {fault}", self.name)))
        })
    }
}

/// The steps of a flow in one band.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The draft that it was.
    draft: u64,
    band: Band,
    /// Of all that the code of its steps relies on.
    pub fingerprint: String,
    pub steps: Vec<StepPlan>,
    /// Code for steps that are added while a run goes on.
    pub templates: Vec<TemplatePlan>,
    returns: Source,
    reports: Option<u32>,
}

/// What a run keeps of the flow it was launched from.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub(crate) struct Definition {
    pub steps: Vec<NewStep>,
    /// The step whose output the run returns; None: its input.
    pub returns: Option<u32>,
    /// The step whose output is the report.
    pub reports: Option<u32>,
}

impl Shape {
    pub fn definition(&self) -> Definition {
        Definition {
            steps: self.steps.iter().map(|step| step.new.clone()).collect(),
            returns: match self.returns {
                Source::Step(no) => Some(no),
                Source::Input | Source::Items(_) => None,
            },
            reports: self.reports,
        }
    }

    /// The steps to launch, each in its lane.
    pub fn new_steps(&self, need: &str) -> Vec<NewStep> {
        self.steps.iter().map(|step| in_lane(&step.new, need)).collect()
    }
}
