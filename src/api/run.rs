//! Launching flows, and a run's handle.

use std::{collections::BTreeMap, future::IntoFuture, marker::PhantomData, pin::Pin, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    flow::{Definition, Flow, FlowPlan},
    report,
    watch::Watch,
};
use crate::{
    engine::Core,
    error::{Error, Result},
    id::{RunId, TaskId},
    model::{
        Attempt, AttemptOutcome, Band, Budget, Command, Limits, Needs, NewRun, OnBreach, Outcome,
        Payload, Rows, RunSpec, RunState, RunView, Step, Stream,
    },
};

/// A run about to be launched: await it.
#[derive(Debug)]
#[must_use = "a run is launched when this is awaited"]
pub struct Launch<O> {
    core: Arc<Core>,
    plan: Arc<FlowPlan>,
    input: Result<Payload>,
    spec: RunSpec,
    priority: i16,
    budget: Option<Budget>,
    fresh: bool,
    output: PhantomData<fn() -> O>,
}

impl<O> Launch<O> {
    pub(crate) fn new<I: Serialize>(core: Arc<Core>, flow: &Flow<I, O>, input: &I) -> Self {
        let spec = RunSpec {
            id: RunId::new(),
            project: "default".into(),
            flow: flow.name().into(),
            version: flow.version(),
            band: Band::Small,
            model: None,
            input: Payload::null(),
            definition: Payload::null(),
            labels: BTreeMap::new(),
            meta: None,
            forked_from: None,
            fingerprint: String::new(),
            base: None,
            created_at: crate::clock::Timestamp::ZERO,
        };
        let input = Payload::of(input).map_err(Error::from);
        let plan = Arc::clone(&flow.plan);
        Self {
            core,
            plan,
            input,
            spec,
            priority: 0,
            budget: None,
            fresh: false,
            output: PhantomData,
        }
    }

    /// What it may use. Agents' steps and runs under it reserve what they may use before they
    /// start: what [`Draft::uses`](crate::Draft::uses) says, else all that is left.
    pub fn budget(mut self, limits: Limits, on_breach: OnBreach) -> Self {
        self.budget = Some(Budget::new(limits, on_breach));
        self
    }

    /// The host's own id. A second run with the same id is not launched.
    pub fn id(mut self, id: RunId) -> Self {
        self.spec.id = id;
        self
    }

    /// The host's project.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.spec.project = project.into();
        self
    }

    /// How wide.
    pub fn band(mut self, band: Band) -> Self {
        self.spec.band = band;
        self
    }

    /// Of its tasks: smaller runs first; 0 unless it is said.
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// The model that its agents use unless a step says otherwise.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.spec.model = Some(model.into());
        self
    }

    /// The state of the files that it works on, as the host names it: the id of a commit or
    /// tree. Steps find it in [`Context::base`](crate::Context::base); it decides what
    /// [remembered](crate::Draft::memo) work is the same; runs under the run have the same.
    pub fn base(mut self, base: impl Into<String>) -> Self {
        self.spec.base = Some(base.into());
        self
    }

    /// Does all work again that was [remembered](crate::Draft::memo), and remembers it anew.
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// One of the host's labels.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.labels.insert(name.into(), value.into());
        self
    }

    /// The host's own data, up to 4 KiB of JSON.
    pub fn meta<T: Serialize + ?Sized>(mut self, meta: &T) -> Self {
        match Payload::of(meta) {
            Ok(meta) => self.spec.meta = Some(meta),
            Err(error) => self.input = Err(error.into()),
        }
        self
    }

    async fn launch(self) -> Result<Run<O>> {
        self.plan.check()?;
        let shape = self.plan.shape(self.spec.band);
        let definition = Payload::of(&shape.definition())?;
        let fingerprint = shape.fingerprint.clone();
        let spec = RunSpec { input: self.input?, definition, fingerprint, ..self.spec };
        let id = spec.id;
        let steps = shape.new_steps(&spec.need());
        let (priority, budget, fresh) = (self.priority, self.budget, self.fresh);
        let new = NewRun { spec, priority, steps, parent: None, budget, fresh };
        self.core.submit(Command::Launch(Box::new(new))).await?;
        Ok(Run::new(self.core, id))
    }
}

impl<O: 'static> IntoFuture for Launch<O> {
    type Output = Result<Run<O>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.launch())
    }
}

/// A run of a flow that returns an `O`.
#[derive(Debug)]
pub struct Run<O = serde_json::Value> {
    pub(super) core: Arc<Core>,
    id: RunId,
    output: PhantomData<fn() -> O>,
}

impl<O> Clone for Run<O> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.core), self.id)
    }
}

impl<O> Run<O> {
    pub(crate) fn new(core: Arc<Core>, id: RunId) -> Self {
        Self { core, id, output: PhantomData }
    }

    /// Its id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// What it was launched with, and where it stands.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such run.
    pub async fn view(&self) -> Result<RunView> {
        let rows = self.read(Needs::default()).await?;
        self.view_of(&rows)
    }

    /// Its state.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such run.
    pub async fn state(&self) -> Result<RunState> {
        Ok(self.view().await?.run.state)
    }

    /// Its steps, by number.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn steps(&self) -> Result<Vec<Step>> {
        let needs = Needs { graphs: [self.id].into(), ..Needs::default() };
        Ok(self.read(needs).await?.steps.into_values().collect())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such run, [closed](Error::is_closed)
    /// when the engine shuts down first.
    pub async fn ended(&self) -> Result<RunState> {
        loop {
            self.core.run_ended(self.id).await?;
            let state = self.state().await?;
            if state.is_terminal() {
                return Ok(state);
            }
        }
    }

    /// The report in Markdown: the output of the step that [reports](super::Draft::reports),
    /// or what is known of each step. A pure function of the outputs: it can be rendered
    /// at any time, also of a run that has not ended.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such run.
    pub async fn report(&self) -> Result<String> {
        let all = self.whole().await?;
        let view = self.view_of(&all)?;
        let definition: Definition = view.spec.definition.decode()?;
        let reported = definition.reports.and_then(|no| self.completed(&all, no));
        match reported.map(Payload::decode) {
            Some(report) => Ok(report?),
            None => Ok(report::markdown(&view, &all)),
        }
    }

    /// Follows what happens in it.
    pub fn watch(&self) -> Watch {
        Watch::new(Arc::clone(&self.core), Stream::Run(self.id))
    }

    /// Cancels it: what has not started never will, what runs is told to stop, and it is
    /// cancelled when its last step has stopped.
    ///
    /// # Errors
    /// A refusal when it has ended otherwise.
    pub async fn cancel(&self) -> Result<RunState> {
        self.command(Command::CancelRun(self.id)).await
    }

    /// Lets nothing of it start. What runs goes on, also a run that one of its steps has launched:
    /// that is paused by itself.
    ///
    /// # Errors
    /// A refusal when it has ended.
    pub async fn pause(&self) -> Result<RunState> {
        self.command(Command::PauseRun(self.id)).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// A refusal when it has ended.
    pub async fn resume(&self) -> Result<RunState> {
        self.command(Command::ResumeRun(self.id)).await
    }

    pub(super) async fn command(&self, command: Command) -> Result<RunState> {
        match self.core.submit(command).await? {
            Outcome::RunState(state) => Ok(state),
            other => Err(Error::database(format!("a run's command was answered with {other:?}"))),
        }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) async fn read(&self, needs: Needs) -> Result<Rows> {
        let ids = || [self.id].into();
        self.core.backend.read(&Needs { runs: ids(), run_specs: ids(), ..needs }).await
    }

    /// The run with all of its steps and what they left.
    async fn whole(&self) -> Result<Rows> {
        let graph = self.steps().await?;
        let attempts = graph.iter().filter_map(|step| step.task).collect();
        self.read(Needs { graphs: [self.id].into(), attempts, ..Needs::default() }).await
    }

    pub(super) fn view_of(&self, rows: &Rows) -> Result<RunView> {
        let run = rows.runs.get(&self.id).cloned();
        let view = run.zip(rows.run_specs.get(&self.id).cloned());
        let (run, spec) = view.ok_or_else(|| Core::missing("run", self.id))?;
        Ok(RunView { run, spec })
    }

    /// The output of a step that completed.
    fn completed<'a>(&self, rows: &'a Rows, no: u32) -> Option<&'a Payload> {
        rows.steps.get(&(self.id, no)).and_then(|step| output_of(rows, step.task?))
    }
}

/// What a task returned, if it completed.
pub(crate) fn output_of(rows: &Rows, task: TaskId) -> Option<&Payload> {
    let attempts = rows.attempts.range((task, 0)..=(task, i64::MAX)).map(|(_, attempt)| attempt);
    let completed = |attempt: &&Attempt| attempt.outcome == AttemptOutcome::Completed;
    attempts.rev().find(completed).and_then(|attempt| attempt.output.as_ref())
}

impl<O: DeserializeOwned> Run<O> {
    /// Waits until it has ended, and returns what it returned.
    ///
    /// # Errors
    /// [A task error](Error::is_task) that names the steps that failed when it did not
    /// complete, [a payload error](Error::is_payload) when its output is not an `O`.
    pub async fn output(&self) -> Result<O> {
        let state = self.ended().await?;
        let rows = self.whole().await?;
        if state != RunState::Completed {
            return Err(Error::task(report::failure(self.id, state, &rows)));
        }
        let view = self.view_of(&rows)?;
        let definition: Definition = view.spec.definition.decode()?;
        let output = match definition.returns {
            None => Some(&view.spec.input),
            Some(no) => self.completed(&rows, no),
        };
        let missing = || Error::database(format!("run {} completed without its output", self.id));
        Ok(output.ok_or_else(missing)?.decode()?)
    }
}

impl<O: DeserializeOwned + 'static> IntoFuture for Run<O> {
    type Output = Result<O>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.output().await })
    }
}
