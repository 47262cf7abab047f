//! A flow in the making: its steps, in the order in which they are said.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Flow, FlowPlan, Shape,
    inputs::{Given, Inputs, Items, Joined, Link, Source, Step, value_of},
    plan::{Code, StepPlan, Template, TemplatePlan, fingerprint},
};
use crate::{
    api::{agent::Agent, context::Context, memo},
    engine::{Done, Working},
    failure::Failure,
    model::{Band, NewStep, Payload, Policy, StepKind, TaskOptions, Terms},
};

/// A flow in the making.
#[derive(Debug)]
pub struct Draft {
    pub(super) id: u64,
    name: String,
    version: u32,
    band: Band,
    pub(super) steps: Vec<StepPlan>,
    pub(super) templates: Vec<TemplatePlan>,
    pub(super) nested: Vec<Arc<FlowPlan>>,
    reports: Option<Source>,
    pub(super) fault: Option<String>,
}

/// What a step is made of besides its inputs.
pub(super) struct NewCode {
    pub name: String,
    pub kind: StepKind,
    pub code: Box<Code>,
    pub options: TaskOptions,
    pub agent: Option<String>,
    pub policy: Policy,
}

impl NewCode {
    pub fn new(name: String, kind: StepKind, code: Box<Code>) -> Self {
        let (options, policy) = (TaskOptions::default(), Policy::default());
        Self { name, kind, code, options, agent: None, policy }
    }
}

/// A function as the code of a step that takes `inputs`.
pub(super) fn code_of<S, T, F, Fut>(inputs: S, function: F) -> Box<Code>
where
    S: Inputs,
    T: Serialize + Send + 'static,
    F: Fn(Context, S::Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let function = Arc::new(function);
    Box::new(move |context: Context, given: Vec<Given>| -> Working {
        let (value, function) = (inputs.decode(&mut given.iter()), Arc::clone(&function));
        Box::pin(async move {
            let (value, own) = (value?, context.clone());
            let work = async move { done(&function(own, value).await?) };
            memo::once(&context, || value_of(&given), work).await
        })
    })
}

pub(super) fn done<T: Serialize>(output: &T) -> Result<Done, Failure> {
    let output = Payload::of(output);
    output.map(Done::new).map_err(|error| Failure::payload("the step's output", &error))
}

/// A prompt for an agent as the code of a step that takes `inputs`.
pub(super) fn turn_of<S, T, F>(inputs: S, agent: &Agent, prompt: F) -> Box<Code>
where
    S: Inputs,
    T: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(S::Value) -> String + Send + Sync + 'static,
{
    let recipe = agent.clone();
    Box::new(move |context: Context, given: Vec<Given>| -> Working {
        let prompt = inputs.decode(&mut given.iter()).map(&prompt);
        let recipe = recipe.clone();
        Box::pin(async move { crate::api::agent::turn::<T>(&context, &recipe, prompt?).await })
    })
}

impl Draft {
    pub(super) fn new(name: String, band: Band) -> Self {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: DRAFTS.fetch_add(1, Ordering::Relaxed),
            name,
            version: 1,
            band,
            steps: Vec::new(),
            templates: Vec::new(),
            nested: Vec::new(),
            reports: None,
            fault: None,
        }
    }

    /// The flow's version, 1 unless it is said. Runs keep the version they were launched
    /// with; code of another version does not touch them.
    pub fn version(&mut self, version: u32) -> &mut Self {
        self.version = version;
        self
    }

    /// What the flow is launched with.
    pub fn input<I>(&mut self) -> Step<I> {
        Step::new(self.id, Source::Input)
    }

    /// A step that is a function. It starts when all of `inputs` have completed, unless they
    /// say otherwise.
    pub fn code<S, T, F, Fut>(&mut self, name: impl Into<String>, inputs: S, function: F) -> Step<T>
    where
        S: Inputs,
        T: Serialize + Send + 'static,
        F: Fn(Context, S::Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let code = code_of(inputs.clone(), function);
        self.add(NewCode::new(name.into(), StepKind::Code, code), &inputs)
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
        let code = turn_of::<S, T, F>(inputs.clone(), agent, prompt);
        let step = self.turn(name.into(), agent, code);
        self.add(step, &inputs)
    }

    /// Several inputs as one: what takes the join starts when the inputs are as they say.
    /// A group of alternatives is `draft.join("either", any([a, b]))`.
    pub fn join<S: Inputs>(&mut self, name: impl Into<String>, inputs: S) -> Joined<S> {
        let no = self.add_join(name.into(), &inputs);
        Joined { draft: self.id, no, inputs }
    }

    /// A place for steps that are added while the run goes on to lead to: see
    /// [`Added::into`](super::Added::into). It waits for `growers`, the steps that add them,
    /// and for all that lead to it.
    pub fn collect<T, S: Inputs>(&mut self, name: impl Into<String>, growers: S) -> Items<T> {
        let no = self.add_join(name.into(), &growers);
        Items { step: Step::new(self.id, Source::Items(no)) }
    }

    pub(super) fn add_join<S: Inputs>(&mut self, name: String, inputs: &S) -> u32 {
        let code: Box<Code> = Box::new(|_, _| Box::pin(async { done(&()) }));
        let _: Step<()> = self.add(NewCode::new(name, StepKind::Join, code), inputs);
        self.steps.len() as u32 - 1
    }

    /// Code for steps that are added while a run goes on: see
    /// [`Context::add`](crate::Context::add).
    pub fn template<I, T, F, Fut>(&mut self, name: impl Into<String>, function: F) -> Template<I, T>
    where
        I: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let code = code_of(Step::<I>::new(self.id, Source::Input), function);
        self.add_template(NewCode::new(name.into(), StepKind::Code, code))
    }

    /// Code for steps that an agent does, added while a run goes on.
    pub fn agent_template<I, T, F>(
        &mut self,
        name: impl Into<String>,
        agent: &Agent,
        prompt: F,
    ) -> Template<I, T>
    where
        I: DeserializeOwned + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(I) -> String + Send + Sync + 'static,
    {
        let code = turn_of::<_, T, F>(Step::<I>::new(self.id, Source::Input), agent, prompt);
        let step = self.turn(name.into(), agent, code);
        self.add_template(step)
    }

    /// The code of a step that an agent does.
    fn turn(&mut self, name: String, agent: &Agent, code: Box<Code>) -> NewCode {
        if let Some(fault) = agent.fault() {
            self.fault.get_or_insert(format!("the agent of `{name}`: {fault}"));
        }
        let (options, agent) = (agent.options(), Some(agent.name().to_owned()));
        NewCode { options, agent, ..NewCode::new(name, StepKind::Agent, code) }
    }

    pub(super) fn add_template<I, T>(&mut self, new: NewCode) -> Template<I, T> {
        let NewCode { name, kind, code, options, agent, policy } = new;
        if self.templates.iter().any(|known| known.name() == name) {
            self.fault.get_or_insert(format!("two templates are called `{name}`"));
        }
        let policy = Policy { code: Some(name.clone()), ..policy };
        let step = NewStep { options, agent, policy, ..NewStep::new(name, kind, Vec::new()) };
        self.templates.push(TemplatePlan { step, code });
        Template::new(self.id, self.templates.len() - 1)
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
            Source::Step(no) => Some(no),
            _ => None,
        });
        let shape = Shape {
            draft: self.id,
            band: self.band,
            fingerprint: fingerprint(&self.steps, &self.templates, output.source),
            steps: self.steps,
            templates: self.templates,
            returns: output.source,
            reports,
        };
        let plan = FlowPlan {
            name: self.name,
            version: self.version,
            shapes: vec![Arc::new(shape)],
            nested: self.nested,
            fault: self.fault,
        };
        Flow::of(plan)
    }

    pub(super) fn add<T>(&mut self, new: NewCode, inputs: &impl Inputs) -> Step<T> {
        let NewCode { name, kind, code, options, agent, policy } = new;
        let (mut terms, mut sources) = (BTreeMap::<u32, Terms>::new(), Vec::new());
        let mut links = Vec::new();
        inputs.links(&mut |link| links.push(link));
        for link in links {
            match link {
                Link::Read { draft, source } => {
                    self.own(draft, source, &name);
                    sources.push(source);
                }
                Link::Edge { draft, no, terms: asked } => {
                    self.own(draft, Source::Step(no), &name);
                    let known = terms.entry(no).or_insert_with(|| asked.clone());
                    if *known != asked {
                        let fault = format!("`{name}` takes one step in two ways");
                        self.fault.get_or_insert(fault);
                    }
                }
            }
        }
        let quorum = inputs.quorum().unwrap_or(policy.quorum);
        let mixed = inputs.quorum().is_some() && terms.len() != sources.len();
        if mixed {
            let fault = format!("`{name}` takes some of several steps and others; join the some");
            self.fault.get_or_insert(fault);
        }
        let after = terms.keys().copied().collect();
        terms.retain(|_, terms| !terms.are_plain());
        let policy = Policy { quorum, ..policy };
        let new = NewStep { terms, policy, agent, options, ..NewStep::new(name, kind, after) };
        self.steps.push(StepPlan { new, sources, code });
        Step::new(self.id, Source::Step(self.steps.len() as u32 - 1))
    }

    /// The number of a step of this draft. One of another is a fault of the flow: it would
    /// never start, or start with something else.
    pub(super) fn own(&mut self, draft: u64, source: Source, user: &str) -> Option<u32> {
        if draft != self.id {
            let fault = format!("`{user}` uses a step of another flow");
            self.fault.get_or_insert(fault);
            return None;
        }
        match source {
            Source::Input => None,
            Source::Step(no) | Source::Items(no) => Some(no),
        }
    }
}
