//! Setting up an engine.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    agent::AgentHandler,
    context::Context,
    engine::Engine,
    flow::{Flow, FlowHandler, FlowPlan},
};
use crate::{
    agents,
    backend::Backend,
    clock::Clock,
    engine::{Core, Done, Handler, Job, ReadOnly, Registry, Settings, Working},
    error::{Error, Result},
    failure::Failure,
    model::{Command, Message, Payload},
};

/// The host's own state: one value of each type.
#[derive(Clone, Default)]
pub(crate) struct HostState(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl HostState {
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.get(&TypeId::of::<T>())?).downcast().ok()
    }

    /// Whether there was none of this type.
    fn insert<T: Send + Sync + 'static>(&mut self, state: T) -> bool {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(state)).is_none()
    }
}

impl fmt::Debug for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostState({} values)", self.0.len())
    }
}

/// Where the rows are kept.
#[derive(Debug)]
enum Store {
    #[cfg(feature = "sqlite")]
    Sqlite(crate::backend::sqlite::Options),
    #[cfg(feature = "postgres")]
    Postgres(crate::backend::postgres::Options),
    Other(Arc<dyn Backend>),
}

type Registered = Box<dyn FnOnce(&mut Registry, HostState) + Send>;

/// An engine about to be started.
#[must_use = "an engine begins with start() or connect()"]
pub struct Builder {
    store: Store,
    clock: Option<Clock>,
    settings: Settings,
    registered: Vec<Registered>,
    flows: Vec<Arc<FlowPlan>>,
    capacity: Vec<(String, Option<u32>)>,
    host: HostState,
    /// The type of which the host gave two values.
    twice: Option<&'static str>,
    paused: bool,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine on one SQLite file, which is made where there is none.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(path: impl Into<std::path::PathBuf>) -> Builder {
        Builder::new(Store::Sqlite(crate::backend::sqlite::Options::new(path)))
    }

    /// An engine on SQLite with other options.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_with(options: crate::backend::sqlite::Options) -> Builder {
        Builder::new(Store::Sqlite(options))
    }

    /// An engine on PostgreSQL, by URL or key-value string.
    #[cfg(feature = "postgres")]
    pub fn postgres(url: impl Into<String>) -> Builder {
        Builder::new(Store::Postgres(crate::backend::postgres::Options::new(url)))
    }

    /// An engine on PostgreSQL with other options.
    #[cfg(feature = "postgres")]
    pub fn postgres_with(options: crate::backend::postgres::Options) -> Builder {
        Builder::new(Store::Postgres(options))
    }

    /// An engine on any backend.
    pub fn on(backend: Arc<dyn Backend>) -> Builder {
        Builder::new(Store::Other(backend))
    }
}

impl Builder {
    fn new(store: Store) -> Self {
        Self {
            store,
            clock: None,
            settings: Settings::default(),
            registered: Vec::new(),
            flows: Vec::new(),
            capacity: Vec::new(),
            host: HostState::default(),
            twice: None,
            paused: false,
        }
    }

    /// Code for tasks of this kind.
    pub fn task<I, O, F, Fut>(mut self, kind: impl Into<String>, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let name = format!("task:{}", kind.into());
        let code = move |context: Context| -> Working {
            let input = context.spec().input.decode::<I>();
            let work = input.map(|input| function(context, input));
            Box::pin(async move {
                let work = work.map_err(|error| Failure::payload("the task's input", &error))?;
                let output = Payload::of(&work.await?);
                output.map(Done::new).map_err(|error| Failure::payload("the task's output", &error))
            })
        };
        self.registered.push(Box::new(move |registry, host| {
            registry.insert(name, Arc::new(TaskHandler { code, host }));
        }));
        self
    }

    /// A flow. Runs of versions that are not registered wait until they are.
    pub fn flow<I, O>(mut self, flow: &Flow<I, O>) -> Self {
        self.insert_flow(&flow.plan);
        self
    }

    /// A flow with those that its steps launch, each once.
    fn insert_flow(&mut self, plan: &Arc<FlowPlan>) {
        if self.flows.iter().any(|known| Arc::ptr_eq(known, plan)) {
            return;
        }
        self.flows.push(Arc::clone(plan));
        let own = Arc::clone(plan);
        self.registered.push(Box::new(move |registry, host| {
            registry.insert_flow(
                own.label(),
                own.needs(),
                Arc::new(FlowHandler { plan: own, host }),
            );
        }));
        plan.nested.iter().for_each(|nested| self.insert_flow(nested));
    }

    /// An agent, under the name by which tasks and steps ask for it.
    pub fn agent(mut self, name: impl Into<String>, agent: impl agents::Agent) -> Self {
        let (name, agent) = (name.into(), Arc::new(agent));
        self.registered.push(Box::new(move |registry, _| {
            let own = Arc::clone(&agent) as Arc<dyn agents::Agent>;
            let handler = AgentHandler { name: name.clone(), agent: own };
            registry.insert(format!("agent:{name}"), Arc::new(handler));
            registry.insert_agent(name, agent);
        }));
        self
    }

    /// What makes a short text of what was said in a chat, for an agent that is asked with
    /// [`HandOff::Summary`](crate::HandOff::Summary). The text becomes a message of the chat, so that
    /// it is made once for each prompt.
    pub fn summarizer<F, Fut>(mut self, summarize: F) -> Self
    where
        F: Fn(Vec<Message>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, Failure>> + Send + 'static,
    {
        self.registered.push(Box::new(move |registry, _| {
            registry.summarizer = Some(Arc::new(move |said| Box::pin(summarize(said))));
        }));
        self
    }

    /// The host's own state, which handlers get by its type from [`Context::host`]. Values of
    /// different types live beside each other; a second one of the same type is a
    /// [usage error](Error::is_usage) at the start.
    pub fn host<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        if !self.host.insert(state) {
            self.twice = Some(std::any::type_name::<T>());
        }
        self
    }

    /// A tag of this worker: it may serve tasks that ask for it.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        self.registered.push(Box::new(move |registry, _| registry.tag(&tag)));
        self
    }

    /// How many tasks with this capacity key may run at once, on all hosts together. Each
    /// start sets it anew.
    pub fn capacity(mut self, key: impl Into<String>, slots: u32) -> Self {
        self.capacity.push((key.into(), Some(slots)));
        self
    }

    /// How many tasks run at once in this process; 8 unless it is said.
    pub fn concurrency(mut self, tasks: u32) -> Self {
        self.settings.concurrency = tasks;
        self
    }

    /// The clock, for tests: see [`ManualClock`](crate::clock::ManualClock). A backend that
    /// was made elsewhere keeps its own.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = Some(clock.into());
        self
    }

    /// Where agents work whose task names no folder; where this process does unless it is said.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.folder = Some(folder.into());
        self
    }

    /// Where the worktrees are kept that agents only read; `segue/worktrees` in the user's folder
    /// for state unless it is said. It should not be a folder that others clean up.
    pub fn worktrees(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.worktrees = Some(folder.into());
        self
    }

    /// What must be known of an agent before it takes a turn that may only read;
    /// [`ReadOnly::Strict`] unless it is said.
    pub fn read_only(mut self, wanted: ReadOnly) -> Self {
        self.settings.read_only = wanted;
        self
    }

    /// How long a worktree is kept that agents have read and nobody reads any more; a day unless it is
    /// said. It should not be shorter than programs are kept [warm](Self::warm), which stay where they
    /// have worked. One that nobody has made to its end goes at once, and one that is kept as evidence
    /// stays.
    pub fn keep_worktrees(mut self, keep: Duration) -> Self {
        self.settings.keep_worktrees = keep;
        self
    }

    /// How many programs of agents there may be at once, and how long one may wait for its next turn;
    /// eight, and ten minutes, unless it is said. It counts the programs of all agents of this engine
    /// that stay between turns. Where there are more, those that have been idle for longest are
    /// closed; their sessions are continued by others. One that a turn is at work in is never closed,
    /// and no turn waits for room: how many turns are at work is bounded by
    /// [`concurrency`](Self::concurrency) and [`capacity`](Self::capacity).
    pub fn warm(mut self, limits: agents::warm::Limits) -> Self {
        self.settings.warm = limits;
        self
    }

    /// How long a worker waits for the answer to what its agent asks, before the task gives its place
    /// to others until there is one; ten minutes unless it is said.
    pub fn permission_wait(mut self, wait: Duration) -> Self {
        self.settings.permission = wait;
        self
    }

    /// How often to look for work that no one announced; a second unless it is said.
    pub fn poll(mut self, every: Duration) -> Self {
        self.settings.poll = every;
        self
    }

    /// How long another instance's beat must have been seen unchanged before it counts as
    /// dead, and how often this one raises its own. 30 and 3 seconds unless it is said. All
    /// engines on a database should agree.
    pub fn lease(mut self, lapse: Duration, beat: Duration) -> Self {
        self.settings.lapse = lapse;
        self.settings.beat = beat;
        self
    }

    /// How long a handler that was told to stop may take before it is dropped; 5 seconds
    /// unless it is said.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// How long a shutdown waits for handlers before it tells them to stop; 30 seconds unless
    /// it is said.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.settings.drain = drain;
        self
    }

    /// How long a call tries while the database is away; 10 seconds unless it is said. What
    /// handlers return is tried for ever.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// How long finished tasks are kept; for ever unless it is said.
    pub fn keep_tasks(mut self, keep: Duration) -> Self {
        self.settings.keep.tasks = Some(keep);
        self
    }

    /// How long finished runs are kept, with their steps; for ever unless it is said.
    pub fn keep_runs(mut self, keep: Duration) -> Self {
        self.settings.keep.runs = Some(keep);
        self
    }

    /// How long entries for watchers are kept; for ever unless it is said. Those of a run
    /// that has not ended always are.
    pub fn keep_entries(mut self, keep: Duration) -> Self {
        self.settings.keep.entries = Some(keep);
        self
    }

    /// How many bytes of the database may be in use, with what the host keeps in the same file;
    /// any number unless it is said. Above that the oldest of the finished tasks and runs are
    /// removed until the rest fits, at most once a minute. What has not ended stays, and so does
    /// what ended within the last minute; chats and their messages stay too. [`Engine::disk`]
    /// tells how many bytes are in use; the file shrinks as they become fewer.
    ///
    /// SQLite only: where the database can't tell, [`start`](Self::start) fails.
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.settings.keep.bytes = Some(bytes);
        self
    }

    /// Starts nothing until [`Engine::resume`]: to look at what is there first.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Opens the database, brings its tables up to date, repairs what the past left, and
    /// begins to work.
    ///
    /// # Errors
    /// A [usage error](Error::is_usage) for a flow that is none or a bound that this database
    /// can't keep, a
    /// [migration error](Error::is_migration) for tables that can't be brought up to date,
    /// and whatever keeps the database from being opened.
    pub async fn start(self) -> Result<Engine> {
        self.flows.iter().try_for_each(|flow| flow.check())?;
        let (capacity, paused) = (self.capacity.clone(), self.paused);
        let (core, controls) = self.open().await?;
        core.backend.migrate().await?;
        if core.settings.keep.bytes.is_some() && core.disk().await?.used_bytes.is_none() {
            return Err(Error::usage(
                "this database can't tell how many bytes are in use; bound it by keep_tasks() \
                 and keep_runs()",
            ));
        }
        for (key, slots) in capacity {
            core.submit(Command::SetCapacity { key, slots }).await?;
        }
        if paused {
            core.pause();
        }
        let repaired = core.start(controls).await?;
        Ok(Engine::new(core, Some(repaired)))
    }

    /// Opens the database beside engines that work on it: to enqueue, launch, look, watch,
    /// answer and cancel. It never dispatches, migrates or sweeps.
    ///
    /// # Errors
    /// When the database can't be opened, or its tables are not this program's version.
    pub async fn connect(self) -> Result<Engine> {
        let store = match self.store {
            #[cfg(feature = "sqlite")]
            Store::Sqlite(options) => Store::Sqlite(options.existing()),
            other => other,
        };
        let (core, _) = Self { store, ..self }.open().await?;
        core.backend.check_schema().await?;
        core.follow();
        Ok(Engine::new(core, None))
    }

    async fn open(
        self,
    ) -> Result<(Arc<Core>, tokio::sync::mpsc::UnboundedReceiver<crate::engine::Control>)> {
        let mut registry = Registry::default();
        for register in self.registered {
            register(&mut registry, self.host.clone());
        }
        if let Some(name) = self.twice {
            return Err(Error::usage(format!(
                "host() was given two values of type {name}; give each a type of its own"
            )));
        }
        if let Some(name) = registry.twice() {
            return Err(Error::usage(format!(
                "`{name}` was registered twice; give each its own name or version"
            )));
        }
        if self.settings.concurrency == 0 {
            return Err(Error::usage(
                "an engine with a concurrency of 0 would never work; use connect()",
            ));
        }
        let backend: Arc<dyn Backend> = match (self.store, self.clock) {
            #[cfg(feature = "sqlite")]
            (Store::Sqlite(options), clock) => {
                let clocked =
                    clock.into_iter().fold(options, |options, clock| options.clock(clock));
                Arc::new(clocked.open()?)
            }
            #[cfg(feature = "postgres")]
            (Store::Postgres(options), clock) => {
                let clocked =
                    clock.into_iter().fold(options, |options, clock| options.clock(clock));
                Arc::new(clocked.connect().await?)
            }
            (Store::Other(backend), _) => backend,
        };
        Ok(Core::new(backend, self.settings, registry))
    }
}

/// Code for one kind of task.
struct TaskHandler<F> {
    code: F,
    host: HostState,
}

impl<F: Fn(Context) -> Working + Send + Sync> Handler for TaskHandler<F> {
    fn handle(&self, job: Job) -> Working {
        (self.code)(Context::new(job, self.host.clone()))
    }
}
