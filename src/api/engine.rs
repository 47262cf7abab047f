//! The engine's handle.

use std::sync::Arc;

use serde::Serialize;

use super::{
    chat::{Chat, ChatSpec},
    enqueue::{Enqueue, NewTask},
    flow::{Flow, Verdict},
    prompt::Live,
    run::{Launch, Run},
    session::{Session, SessionSpec},
    task::Task,
    watch::Watch,
    why::{self, Waiting},
};
use crate::{
    backend::Backend,
    clock::Timestamp,
    engine::{Core, Repaired},
    error::{Error, Result},
    id::{ChatId, InstanceId, ItemId, RunId, SessionId, TaskId},
    model::{
        self, Answer, CapacityView, Command, Cursor, Disk, Import, Instance, Item, ItemFilter,
        Needs, Outcome, Page, Payload, Prune, Pruned, Query, RunFilter, RunView, Stats, Stream,
        TaskFilter, TaskView,
    },
};
#[cfg(all(feature = "programs", target_os = "linux"))]
use crate::{engine::inventory, model::AvailableAgent};

/// A running engine, or a connection to a database on which others run. Clones share it;
/// when the last is dropped, what runs is finished and nothing more is started.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    /// None for a connection that does not dispatch.
    repaired: Option<Repaired>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        match self.repaired {
            Some(_) => self.core.drain(),
            None => self.core.stopped.cancel(),
        }
    }
}

impl Engine {
    pub(super) fn new(core: Arc<Core>, repaired: Option<Repaired>) -> Self {
        Self(Arc::new(Handle { core, repaired }))
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    /// What the start found and put right; nothing for a connection.
    pub fn repaired(&self) -> Repaired {
        self.0.repaired.unwrap_or_default()
    }

    /// The backend, for what this handle does not offer.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.core().backend
    }

    // ---- tasks

    /// Enqueues a task for the handler `kind`: await what this returns. See [`NewTask`] and
    /// [`Engine::submit`] for everything that a task can have.
    pub fn enqueue<T: Serialize + ?Sized>(&self, kind: impl Into<String>, input: &T) -> Enqueue {
        self.submit(NewTask::new(kind, input))
    }

    /// Enqueues a task.
    ///
    /// When it is awaited: a refusal when a limit or reference does not hold, a
    /// [transient](Error::is_transient) error when the database was away for too long (it is
    /// safe to enqueue the same task again).
    pub fn submit(&self, task: NewTask) -> Enqueue {
        Enqueue::new(Arc::clone(self.core()), task)
    }

    /// Enqueues tasks, 10,000 at most, in one commit: all of them or, where one is refused,
    /// none. Their handles come in the order of the tasks. A parent must exist before the
    /// call. Calls of about 1,000 cost the least for each task.
    ///
    /// # Errors
    /// As for [`submit`](Engine::submit); nothing was made then, unless the error is
    /// [transient](Error::is_transient), and enqueuing the same tasks again is safe.
    pub async fn enqueue_all(&self, tasks: impl IntoIterator<Item = NewTask>) -> Result<Vec<Task>> {
        let clock = self.core().backend.clock();
        let specs = tasks.into_iter().map(|task| task.into_spec_at(&clock));
        let specs: Vec<_> = specs.collect::<Result<_>>()?;
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        match self.core().submit(Command::EnqueueAll(specs)).await? {
            Outcome::Tasks(tasks) => {
                let handle = |(id, created)| Task::new(Arc::clone(self.core()), id, created);
                Ok(tasks.into_iter().map(handle).collect())
            }
            other => Err(Error::database(format!("new tasks were answered with {other:?}"))),
        }
    }

    /// The handle of a task.
    pub fn task(&self, id: TaskId) -> Task {
        Task::new(Arc::clone(self.core()), id, false)
    }

    /// Tasks, newest first, a page at a time: `after` is the last id of the page before.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn tasks(
        &self,
        filter: TaskFilter,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<TaskView>> {
        match self.list(Query::Tasks { filter, after, limit }).await? {
            Page::Tasks(tasks) => Ok(tasks),
            other => Err(unexpected(&other)),
        }
    }

    /// Every task that will not move by itself, with what it waits for: an answer, a person
    /// to resume it, capacity, a parking to end, code or a tag that no living worker has.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn stuck(&self) -> Result<Vec<(TaskId, Waiting)>> {
        why::stuck(self.core()).await
    }

    // ---- flows

    /// Launches a flow: await what this returns.
    pub fn launch<I: Serialize, O>(&self, flow: &Flow<I, O>, input: I) -> Launch<O> {
        Launch::new(Arc::clone(self.core()), flow, &input)
    }

    /// The handle of a run whose flow returns JSON of any kind.
    pub fn run(&self, id: RunId) -> Run {
        Run::new(Arc::clone(self.core()), id)
    }

    /// The handle of a run of `flow`.
    pub fn run_of<I, O>(&self, _flow: &Flow<I, O>, id: RunId) -> Run<O> {
        Run::new(Arc::clone(self.core()), id)
    }

    /// Runs, newest first, a page at a time: `after` is the last id of the page before. New
    /// runs do not shift the pages that follow.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn runs(
        &self,
        filter: RunFilter,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<RunView>> {
        match self.list(Query::Runs { filter, after, limit }).await? {
            Page::Runs(runs) => Ok(runs),
            other => Err(unexpected(&other)),
        }
    }

    // ---- people

    /// What waits for a person, oldest first. See [`Engine::items`] for more pages, and for
    /// what was answered.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn inbox(&self, project: Option<&str>, limit: u32) -> Result<Vec<Item>> {
        let project = project.map(str::to_owned);
        self.items(ItemFilter { project, ..ItemFilter::open() }, None, limit).await
    }

    /// Items of the inbox, also those that were answered or withdrawn, a page at a time: `after`
    /// is the last id of the page before. The newest comes first, unless only
    /// [open](ItemFilter::is_open) items are asked for: of those the oldest does.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn items(
        &self,
        filter: ItemFilter,
        after: Option<ItemId>,
        limit: u32,
    ) -> Result<Vec<Item>> {
        match self.list(Query::Inbox { filter, after, limit }).await? {
            Page::Inbox(items) => Ok(items),
            other => Err(unexpected(&other)),
        }
    }

    /// An item of the inbox, wherever it stands.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such item.
    pub async fn item(&self, id: ItemId) -> Result<Item> {
        let needs = Needs { items: [id].into(), ..Needs::default() };
        let found = self.core().backend.read(&needs).await?.items.remove(&id);
        found.ok_or_else(|| Core::missing("item", id))
    }

    /// Answers an item of the inbox, once.
    ///
    /// # Errors
    /// A refusal when someone answered otherwise before, when the answer is none of the
    /// options, or when nobody waits for it any more.
    pub async fn answer<T: Serialize + ?Sized>(
        &self,
        item: ItemId,
        value: &T,
        by: impl Into<String>,
    ) -> Result<()> {
        let answer = Answer { value: Payload::of(value)?, by: by.into() };
        self.command(Command::Answer { item, answer }).await
    }

    /// Says what is to become of what a gate shows: see [`Draft::gate`](crate::Draft::gate).
    /// An answer for an earlier attempt of its run is refused.
    ///
    /// # Errors
    /// As for [`answer`](Engine::answer).
    pub async fn judge<T: Serialize>(
        &self,
        item: ItemId,
        verdict: &Verdict<T>,
        by: impl Into<String>,
    ) -> Result<()> {
        self.answer(item, verdict, by).await
    }

    // ---- capacity

    /// Sets how many tasks with a capacity key may run at once; None: any number.
    ///
    /// # Errors
    /// When the database is away for too long.
    pub async fn set_capacity(&self, key: impl Into<String>, slots: Option<u32>) -> Result<()> {
        self.command(Command::SetCapacity { key: key.into(), slots }).await
    }

    /// Lets no task with a capacity key start before `until`.
    ///
    /// # Errors
    /// When the database is away for too long.
    pub async fn park(&self, key: impl Into<String>, until: impl Into<Timestamp>) -> Result<()> {
        self.command(Command::Park { key: key.into(), until: until.into() }).await
    }

    /// The capacity keys that were given a limit or parked, by name, a page at a time: `after`
    /// is the last name of the page before. To count who waits it reads the index of all ready
    /// tasks once.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn capacities(&self, after: Option<&str>, limit: u32) -> Result<Vec<CapacityView>> {
        let after = after.map(str::to_owned);
        match self.list(Query::Capacity { key: None, after, limit }).await? {
            Page::Capacity(keys) => Ok(keys),
            other => Err(unexpected(&other)),
        }
    }

    /// A capacity key, as [`Engine::capacities`] lists it.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) for a key that nobody gave a limit or parked.
    pub async fn capacity(&self, key: &str) -> Result<CapacityView> {
        let query = Query::Capacity { key: Some(key.to_owned()), after: None, limit: 1 };
        match self.list(query).await? {
            Page::Capacity(mut keys) => {
                keys.pop().ok_or_else(|| Core::missing("capacity key", key))
            }
            other => Err(unexpected(&other)),
        }
    }

    // ---- agents

    /// Looks at the agents of this host: those that are registered here, and the programs of known
    /// agents in the `PATH`. Each program is found, hashed and asked for its version, and those that
    /// are registered for their models, modes and commands, without a prompt. What was looked at
    /// before, and is the same file still, is not asked again. A program that is missing, hangs or
    /// says something else says so in [`last_error`](AvailableAgent::last_error), and keeps nobody
    /// from the others.
    ///
    /// Returns the rows of all that were looked at and found, or registered, by name. Functions have
    /// none.
    ///
    /// # Errors
    /// When the database is away for too long.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    pub async fn probe(&self) -> Result<Vec<AvailableAgent>> {
        self.probe_within(std::time::Duration::from_secs(60)).await
    }

    /// As [`probe`](Self::probe), with another limit to each answer than a minute.
    ///
    /// # Errors
    /// As of [`probe`](Self::probe).
    #[cfg(all(feature = "programs", target_os = "linux"))]
    pub async fn probe_within(&self, limit: std::time::Duration) -> Result<Vec<AvailableAgent>> {
        inventory::probe(self.core(), limit).await
    }

    /// What is known of the agents of this host, by name, as they were last looked at.
    ///
    /// # Errors
    /// When the database can't be read.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    pub async fn agents(&self) -> Result<Vec<AvailableAgent>> {
        inventory::list(self.core()).await
    }

    /// Lets an agent of this host be used again that is in quarantine. Nothing else does: another
    /// version of it stays there.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when nothing is known of it.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    pub async fn allow_agent(&self, name: &str) -> Result<()> {
        inventory::allow(self.core(), name).await
    }

    // ---- sessions and chats

    /// Makes a session with the host's id, or changes it, and returns its handle.
    ///
    /// # Errors
    /// When a limit does not hold, or the database is away for too long.
    pub async fn session(&self, id: SessionId, spec: SessionSpec) -> Result<Session> {
        self.command(Command::OpenSession(spec.into_row(id)?)).await?;
        Ok(self.session_handle(id))
    }

    /// The handle of a session that exists.
    pub fn session_handle(&self, id: SessionId) -> Session {
        Session::new(Arc::clone(self.core()), id)
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn sessions(
        &self,
        project: Option<&str>,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<model::Session>> {
        let project = project.map(str::to_owned);
        match self.list(Query::Sessions { project, after, limit }).await? {
            Page::Sessions(sessions) => Ok(sessions),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a chat with the host's id, or changes it, and returns its handle.
    ///
    /// # Errors
    /// When its session does not exist, or the database is away for too long.
    pub async fn chat(&self, id: ChatId, spec: ChatSpec) -> Result<Chat> {
        self.command(Command::OpenChat(spec.into_row(id)?)).await?;
        Ok(Chat::new(Arc::clone(self.core()), id))
    }

    /// The handle of a chat that exists.
    pub fn chat_handle(&self, id: ChatId) -> Chat {
        Chat::new(Arc::clone(self.core()), id)
    }

    /// Chats, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn chats(
        &self,
        project: Option<&str>,
        session: Option<SessionId>,
        after: Option<ChatId>,
        limit: u32,
    ) -> Result<Vec<model::Chat>> {
        let project = project.map(str::to_owned);
        match self.list(Query::Chats { project, session, after, limit }).await? {
            Page::Chats(chats) => Ok(chats),
            other => Err(unexpected(&other)),
        }
    }

    // ---- watching and operating

    /// Follows a run, a chat, or everything.
    pub fn watch(&self, stream: Stream) -> Watch {
        Watch::new(Arc::clone(self.core()), stream)
    }

    /// What agents say in all chats while they say it, as far as they are at work in this process.
    pub fn live(&self) -> Live {
        Live::new(self.core(), None)
    }

    /// The end of the stream of everything, to watch only what comes. What is committed and was not told
    /// yet comes as well: on PostgreSQL an entry is told when no transaction of the server is open that
    /// began before it.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn now(&self) -> Result<Cursor> {
        Ok(self.core().backend.due(self.core().instance, 1).await?.tail)
    }

    /// How many tasks and runs there are in each state. It reads all of their states.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn stats(&self) -> Result<Stats> {
        self.core().backend.stats().await
    }

    /// The same for one project. It reads the states of the project's tasks and runs, which an
    /// index finds, and all open items of the inbox.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn project_stats(&self, project: &str) -> Result<Stats> {
        match self.list(Query::Stats { project: project.to_owned() }).await? {
            Page::Stats(stats) => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    /// How large the database is. It reads no table.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn disk(&self) -> Result<Disk> {
        self.core().disk().await
    }

    /// The id of this engine among the [instances](Engine::instances): new at each start. A
    /// connection that does not dispatch has one too, and is not listed.
    pub fn instance(&self) -> InstanceId {
        self.core().instance
    }

    /// The engines that work on this database: where they live, what they serve, and their
    /// beats. One whose beat does not rise any more is listed until another has found it dead.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        match self.list(Query::Instances).await? {
            Page::Instances(instances) => Ok(instances),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes what ended before the given times. The engine does it by itself where the
    /// builder said how long things are kept.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn prune(&self, prune: Prune) -> Result<Pruned> {
        self.core().backend.prune(&prune).await
    }

    /// Takes in a task of the host's own past, with its id and times.
    ///
    /// # Errors
    /// A refusal for a task that runs, or one that ended without a time.
    pub async fn import(&self, import: Import) -> Result<Task> {
        match self.core().submit(Command::Import(Box::new(import))).await? {
            Outcome::Task { id, created } => Ok(Task::new(Arc::clone(self.core()), id, created)),
            other => Err(Error::database(format!("an import was answered with {other:?}"))),
        }
    }

    /// Looks for work at once: after the host committed a transaction of its own that
    /// enqueued tasks.
    pub fn wake(&self) {
        self.core().woken_by_host();
    }

    /// Starts no more tasks in this process until [`resume`](Engine::resume). What runs goes
    /// on.
    pub fn pause(&self) {
        self.core().pause();
    }

    /// Starts tasks again.
    pub fn resume(&self) {
        self.core().resume();
    }

    /// Waits until this engine has nothing to do: nothing runs, nothing that it serves is
    /// ready or due. With a [`ManualClock`](crate::clock::ManualClock) a test drives an
    /// engine step by step.
    ///
    /// # Errors
    /// [Closed](Error::is_closed) for a connection that does not dispatch, or after a
    /// shutdown.
    pub async fn run_until_idle(&self) -> Result<()> {
        self.core().idle().await
    }

    /// Claims no more, waits for what runs, returns what was not started, and stops.
    ///
    /// # Errors
    /// What kept the engine from stopping in order.
    pub async fn shutdown(&self) -> Result<()> {
        match self.0.repaired {
            Some(_) => self.core().shutdown().await,
            None => {
                self.core().stopped.cancel();
                Ok(())
            }
        }
    }

    async fn command(&self, command: Command) -> Result<()> {
        self.core().submit(command).await.map(drop)
    }

    async fn list(&self, query: Query) -> Result<Page> {
        self.core().backend.list(&query).await
    }
}

fn unexpected(page: &Page) -> Error {
    Error::database(format!("the backend answered a list with another: {page:?}"))
}
