//! Making tasks.

use std::{future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use serde::Serialize;

use super::task::Task;
use crate::{
    clock::{Clock, Timestamp},
    engine::Core,
    error::{Error, Result},
    id::{ArenaId, ChatId, SessionId, TaskId},
    model::{Access, Command, HandOff, Interrupted, Outcome, Payload, Retry, TaskSpec},
};

/// A task to be made: what it is, and whatever differs from the defaults.
#[derive(Debug)]
pub struct NewTask {
    spec: TaskSpec,
    delay: Option<Duration>,
    fault: Option<serde_json::Error>,
}

impl NewTask {
    /// A task for the handler `kind`.
    pub fn new<T: Serialize + ?Sized>(kind: impl Into<String>, input: &T) -> Self {
        let (input, fault) = match Payload::of(input) {
            Ok(input) => (input, None),
            Err(error) => (Payload::null(), Some(error)),
        };
        Self { spec: TaskSpec::new(TaskId::new(), kind, input), delay: None, fault }
    }

    /// A turn for an agent.
    pub fn agent(agent: impl Into<String>, prompt: &str) -> Self {
        let mut task = Self::new("agent", prompt);
        task.spec.agent = Some(agent.into());
        task
    }

    /// Changes anything of the task.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut TaskSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// The host's own id. A second task with the same id is not made.
    #[must_use]
    pub fn id(self, id: TaskId) -> Self {
        self.with(|spec| spec.id = id)
    }

    /// The host's project.
    #[must_use]
    pub fn project(self, project: impl Into<String>) -> Self {
        self.with(|spec| spec.project = project.into())
    }

    /// Smaller runs first; 0 unless it is said.
    #[must_use]
    pub fn priority(self, priority: i16) -> Self {
        self.with(|spec| spec.priority = priority)
    }

    /// Not before `delay` has passed.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Not before this time.
    #[must_use]
    pub fn run_at(self, time: impl Into<Timestamp>) -> Self {
        self.with(|spec| spec.run_at = Some(time.into()))
    }

    /// When a failed attempt is made again.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|spec| spec.options.retry = retry)
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        self.with(|spec| spec.options.timeout_ms = Some(limit.as_millis() as u64))
    }

    /// A capacity key that it holds while it runs.
    #[must_use]
    pub fn capacity(self, key: impl Into<String>) -> Self {
        self.with(|spec| spec.options.capacity.push(key.into()))
    }

    /// A tag that its worker must have.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.with(|spec| spec.options.tags.push(tag.into()))
    }

    /// As long as a task of the project with this key is kept, that one is returned instead.
    #[must_use]
    pub fn unique(self, key: impl Into<String>) -> Self {
        self.with(|spec| spec.unique_key = Some(key.into()))
    }

    /// As long as a task of the project with this key has not ended, that one is returned
    /// instead.
    #[must_use]
    pub fn unique_until_done(self, key: impl Into<String>) -> Self {
        self.unique(key).with(|spec| spec.options.unique_until_done = true)
    }

    /// What becomes of it when its worker dies.
    #[must_use]
    pub fn interrupted(self, policy: Interrupted) -> Self {
        self.with(|spec| spec.options.interrupted = policy)
    }

    /// The task it is a child of: it is cancelled with it.
    #[must_use]
    pub fn parent(self, parent: TaskId) -> Self {
        self.with(|spec| spec.parent = Some(parent))
    }

    /// The arena in which it competes with others.
    #[must_use]
    pub fn arena(self, arena: ArenaId) -> Self {
        self.with(|spec| spec.arena = Some(arena))
    }

    /// The session it belongs to.
    #[must_use]
    pub fn session(self, session: SessionId) -> Self {
        self.with(|spec| spec.session = Some(session))
    }

    /// The chat it speaks in.
    #[must_use]
    pub fn chat(self, chat: ChatId) -> Self {
        self.with(|spec| spec.chat = Some(chat))
    }

    /// The agent's model.
    #[must_use]
    pub fn model(self, model: impl Into<String>) -> Self {
        self.with(|spec| spec.model = Some(model.into()))
    }

    /// The folder that its agent works in: absolute.
    #[must_use]
    pub fn folder(self, folder: impl Into<String>) -> Self {
        let folder = Some(folder.into());
        self.with(|spec| spec.options.folder = folder)
    }

    /// The JSON schema that its agent's answer must satisfy: the task's output is the value that does.
    /// The agent is told of it, and asked once more where its answer does not.
    #[cfg(feature = "json-schema")]
    #[must_use]
    pub fn schema<S: Serialize + ?Sized>(mut self, schema: &S) -> Self {
        match Payload::of(schema) {
            Ok(schema) => self.spec.options.schema = Some(schema),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// What its agent is told of what was said in the chat without it.
    #[must_use]
    pub fn hand_off(self, hand_off: HandOff) -> Self {
        self.with(|spec| spec.options.hand_off = hand_off)
    }

    /// Its agent may only read.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.with(|spec| spec.options.access = Access::ReadOnly)
    }

    /// One of the host's labels.
    #[must_use]
    pub fn label(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|spec| drop(spec.labels.insert(name.into(), value.into())))
    }

    /// The host's own data, up to 4 KiB of JSON.
    #[must_use]
    pub fn meta<T: Serialize + ?Sized>(mut self, meta: &T) -> Self {
        match Payload::of(meta) {
            Ok(meta) => self.spec.meta = Some(meta),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// The row it becomes, for a transaction of the host's own. A delay counts from now.
    ///
    /// # Errors
    /// When its input, meta or schema has no JSON form, or the schema is none.
    pub fn into_spec(self) -> Result<TaskSpec> {
        self.into_spec_at(&Clock::System)
    }

    /// The row it becomes, by the engine's clock.
    pub(crate) fn into_spec_at(self, clock: &Clock) -> Result<TaskSpec> {
        if let Some(error) = self.fault {
            return Err(error.into());
        }
        if let Some(schema) = &self.spec.options.schema {
            crate::engine::check_schema(schema).map_err(Error::usage)?;
        }
        let run_at = self.delay.map(|delay| clock.now() + delay);
        Ok(TaskSpec { run_at: run_at.or(self.spec.run_at), ..self.spec })
    }
}

/// A task about to be enqueued: await it.
#[derive(Debug)]
#[must_use = "a task is enqueued when this is awaited"]
pub struct Enqueue {
    core: Arc<Core>,
    task: NewTask,
}

impl Enqueue {
    pub(crate) fn new(core: Arc<Core>, task: NewTask) -> Self {
        Self { core, task }
    }
}

impl IntoFuture for Enqueue {
    type Output = Result<Task>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Task>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let spec = self.task.into_spec_at(&self.core.backend.clock())?;
            submit(&self.core, spec).await
        })
    }
}

/// Enqueues a task and returns its handle.
pub(crate) async fn submit(core: &Arc<Core>, spec: TaskSpec) -> Result<Task> {
    make(core, Command::Enqueue(Box::new(spec))).await
}

/// Makes a task and returns its handle.
pub(super) async fn make(core: &Arc<Core>, command: Command) -> Result<Task> {
    match core.submit(command).await? {
        Outcome::Task { id, created } => Ok(Task::new(Arc::clone(core), id, created)),
        other => Err(Error::database(format!("a new task was answered with {other:?}"))),
    }
}
