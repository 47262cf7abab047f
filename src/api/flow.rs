//! Flows: typed steps, and the edges between them.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    slice::Iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};

use super::{agent::Agent, context::Context};
use crate::{
    engine::Done,
    error::{Error, Result},
    failure::Failure,
    model::{Band, Dag, Lane, NewStep, Payload, StepKind, TaskOptions},
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
        let plan = FlowPlan { name, version: small.version, shapes: shapes.collect(), fault };
        Flow { plan: Arc::new(plan), types: PhantomData }
    }
}

impl<I, O> Flow<I, O> {
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
    /// What is wrong with it, told when it is used.
    pub fault: Option<String>,
}

impl FlowPlan {
    /// The steps of a band: a flow that is not banded has the same for all.
    pub fn shape(&self, band: Band) -> &Arc<Shape> {
        let own = self.shapes.iter().find(|shape| shape.band == band);
        own.unwrap_or(&self.shapes[0])
    }

    /// How lanes and registries call it.
    pub fn need(&self) -> String {
        format!("flow:{}@{}", self.name, self.version)
    }

    /// # Errors
    /// What is wrong with it, by step and edge.
    pub fn check(&self) -> Result<()> {
        if let Some(fault) = &self.fault {
            return Err(Error::usage(format!("flow `{}`: {fault}", self.name)));
        }
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
    band: Band,
    pub steps: Vec<StepPlan>,
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
                Source::Input => None,
                Source::Step(no) => Some(no),
            },
            reports: self.reports,
        }
    }

    /// The steps to launch, each in its lane.
    pub fn new_steps(&self, need: &str) -> Vec<NewStep> {
        let lane = |step: &StepPlan| {
            let agent = step.new.agent.iter().map(|agent| format!("agent:{agent}"));
            let tags = step.new.options.tags.iter().map(|tag| format!("tag:{tag}"));
            let needs = std::iter::once(need.to_owned()).chain(agent).chain(tags).collect();
            Lane::new(needs, step.new.options.capacity.clone())
        };
        let steps = self.steps.iter();
        steps.map(|step| NewStep { lane: Some(lane(step)), ..step.new.clone() }).collect()
    }
}

/// Where a step's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Source {
    /// The run's own input.
    Input,
    /// The output of a step.
    Step(u32),
}

type Working = Pin<Box<dyn Future<Output = Result<Done, Failure>> + Send>>;
type Code = dyn Fn(Context, Vec<Payload>) -> Working + Send + Sync;

/// A step with its code.
pub(crate) struct StepPlan {
    new: NewStep,
    pub sources: Vec<Source>,
    pub code: Box<Code>,
}

impl fmt::Debug for StepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.new.fmt(f)
    }
}

/// A step of a draft, or its input: the promise of a `T`. Where it is used as another step's
/// input, that is an edge.
pub struct Step<T> {
    draft: u64,
    source: Source,
    output: PhantomData<fn() -> T>,
}

impl<T> Clone for Step<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Step<T> {}

impl<T> fmt::Debug for Step<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// What a step can take: a step, an array, vector or tuple of them, or `()` for nothing.
pub trait Inputs: Clone + Send + Sync + 'static {
    /// What the step's code gets.
    type Value: Send + 'static;
    #[doc(hidden)]
    fn sources(&self, add: &mut dyn FnMut(u64, Source));
    #[doc(hidden)]
    fn decode(&self, outputs: &mut Iter<'_, Payload>) -> serde_json::Result<Self::Value>;
}

impl<T: DeserializeOwned + Send + 'static> Inputs for Step<T> {
    type Value = T;

    fn sources(&self, add: &mut dyn FnMut(u64, Source)) {
        add(self.draft, self.source);
    }

    fn decode(&self, outputs: &mut Iter<'_, Payload>) -> serde_json::Result<T> {
        outputs.next().map_or_else(|| serde_json::from_str("null"), Payload::decode)
    }
}

impl<S: Inputs> Inputs for Vec<S> {
    type Value = Vec<S::Value>;

    fn sources(&self, add: &mut dyn FnMut(u64, Source)) {
        self.iter().for_each(|step| step.sources(add));
    }

    fn decode(&self, outputs: &mut Iter<'_, Payload>) -> serde_json::Result<Self::Value> {
        self.iter().map(|step| step.decode(outputs)).collect()
    }
}

impl<S: Inputs, const N: usize> Inputs for [S; N] {
    type Value = [S::Value; N];

    fn sources(&self, add: &mut dyn FnMut(u64, Source)) {
        self.iter().for_each(|step| step.sources(add));
    }

    fn decode(&self, outputs: &mut Iter<'_, Payload>) -> serde_json::Result<Self::Value> {
        let values: Vec<_> =
            self.iter().map(|step| step.decode(outputs)).collect::<Result<_, _>>()?;
        Ok(values.try_into().unwrap_or_else(|_| unreachable!("as many values as steps")))
    }
}

macro_rules! tuples {
    ($( ($($name:ident $at:tt),*) )+) => {$(
        impl<$($name: Inputs),*> Inputs for ($($name,)*) {
            type Value = ($($name::Value,)*);

            fn sources(&self, _add: &mut dyn FnMut(u64, Source)) {
                $( self.$at.sources(_add); )*
            }

            #[allow(clippy::unused_unit, reason = "the empty tuple")]
            fn decode(&self, _outputs: &mut Iter<'_, Payload>) -> serde_json::Result<Self::Value> {
                Ok(($( self.$at.decode(_outputs)?, )*))
            }
        }
    )+};
}
tuples! {
    () (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// A flow in the making.
#[derive(Debug)]
pub struct Draft {
    id: u64,
    name: String,
    version: u32,
    band: Band,
    steps: Vec<StepPlan>,
    reports: Option<Source>,
    fault: Option<String>,
}

impl Draft {
    fn new(name: String, band: Band) -> Self {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let id = DRAFTS.fetch_add(1, Ordering::Relaxed);
        Self { id, name, version: 1, band, steps: Vec::new(), reports: None, fault: None }
    }

    /// The flow's version, 1 unless it is said. Runs keep the version they were launched
    /// with; code of another version does not touch them.
    pub fn version(&mut self, version: u32) -> &mut Self {
        self.version = version;
        self
    }

    /// What the flow is launched with.
    pub fn input<I>(&mut self) -> Step<I> {
        Step { draft: self.id, source: Source::Input, output: PhantomData }
    }

    /// A step that is a function. It starts when all of `inputs` have completed.
    pub fn code<S, T, F, Fut>(&mut self, name: impl Into<String>, inputs: S, function: F) -> Step<T>
    where
        S: Inputs,
        T: Serialize + Send + 'static,
        F: Fn(Context, S::Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let decode = inputs.clone();
        let code = move |context: Context, outputs: Vec<Payload>| -> Working {
            let value = decode.decode(&mut outputs.iter());
            let work = value.map(|value| function(context, value));
            Box::pin(async move {
                let work = work.map_err(|error| Failure::payload("the step's input", &error))?;
                let output = Payload::of(&work.await?);
                output.map(Done::new).map_err(|error| Failure::payload("the step's output", &error))
            })
        };
        self.add(name.into(), StepKind::Code, &inputs, Box::new(code), TaskOptions::default(), None)
    }

    /// A step that an agent does, told by what `prompt` makes of the inputs.
    pub fn agent<S, T, F>(
        &mut self,
        name: impl Into<String>,
        inputs: S,
        agent: &Agent,
        prompt: F,
    ) -> Step<T>
    where
        S: Inputs,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(S::Value) -> String + Send + Sync + 'static,
    {
        let (decode, recipe) = (inputs.clone(), agent.clone());
        let code = move |context: Context, outputs: Vec<Payload>| -> Working {
            let prompt = decode.decode(&mut outputs.iter()).map(&prompt);
            let recipe = recipe.clone();
            Box::pin(async move {
                let prompt =
                    prompt.map_err(|error| Failure::payload("the step's input", &error))?;
                super::agent::turn::<T>(&context, &recipe, prompt).await
            })
        };
        let options = agent.options();
        let name = name.into();
        self.add(name, StepKind::Agent, &inputs, Box::new(code), options, Some(agent.name()))
    }

    /// Changes a step's options: retry, timeout, tags, capacity keys.
    pub fn options<T>(&mut self, step: Step<T>, change: impl FnOnce(&mut TaskOptions)) {
        if let Some(no) = self.own(step.draft, step.source, "options") {
            change(&mut self.steps[no as usize].new.options);
        }
    }

    /// Makes a step's output, Markdown, the report of the run.
    pub fn reports(&mut self, step: Step<String>) {
        if self.own(step.draft, step.source, "reports").is_some() {
            self.reports = Some(step.source);
        }
    }

    /// Ends the draft: launched with `input`, the flow returns what `output` does.
    pub fn returns<I, O>(mut self, input: Step<I>, output: Step<O>) -> Flow<I, O> {
        self.own(input.draft, input.source, "input");
        self.own(output.draft, output.source, "returns");
        let reports = self.reports.and_then(|source| match source {
            Source::Input => None,
            Source::Step(no) => Some(no),
        });
        let shape = Shape { band: self.band, steps: self.steps, returns: output.source, reports };
        let plan = FlowPlan {
            name: self.name,
            version: self.version,
            shapes: vec![Arc::new(shape)],
            fault: self.fault,
        };
        Flow { plan: Arc::new(plan), types: PhantomData }
    }

    fn add<T>(
        &mut self,
        name: String,
        kind: StepKind,
        inputs: &impl Inputs,
        code: Box<Code>,
        options: TaskOptions,
        agent: Option<&str>,
    ) -> Step<T> {
        let mut sources = Vec::new();
        inputs.sources(&mut |draft, source| sources.push((draft, source)));
        let mut after = Vec::new();
        for (draft, source) in &sources {
            after.extend(self.own(*draft, *source, &name));
        }
        after.sort_unstable();
        after.dedup();
        let new =
            NewStep { name, kind, after, agent: agent.map(str::to_owned), lane: None, options };
        let sources = sources.into_iter().map(|(_, source)| source).collect();
        self.steps.push(StepPlan { new, sources, code });
        let source = Source::Step(self.steps.len() as u32 - 1);
        Step { draft: self.id, source, output: PhantomData }
    }

    /// The number of a step of this draft. One of another is a fault of the flow: it would
    /// never start, or start with something else.
    fn own(&mut self, draft: u64, source: Source, user: &str) -> Option<u32> {
        if draft != self.id {
            let fault = format!("`{user}` uses a step of another flow");
            self.fault.get_or_insert(fault);
            return None;
        }
        match source {
            Source::Input => None,
            Source::Step(no) => Some(no),
        }
    }
}
