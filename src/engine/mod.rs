//! The running parts: they move rows between the backend and the host's code, and decide
//! nothing about states.
//!
//! * the **dispatcher** claims tasks, starts them, and hands in what they return;
//! * a **worker** attends to one attempt: timeout, panic, cancel;
//! * the **committer** gathers commands of many callers into few commits;
//! * the **keeper** answers what is due: timers, foreign rows, cancels, dead owners;
//! * the **pulse** raises this instance's beat, on a thread of its own;
//! * the **waiters** wake whoever awaits a task or a run.

mod committer;
mod dispatcher;
mod hosts;
#[cfg(all(feature = "programs", target_os = "linux"))]
pub(crate) mod inventory;
mod keeper;
mod observer;
mod outputs;
#[cfg(all(feature = "programs", target_os = "linux"))]
mod pinned;
#[cfg(all(feature = "programs", target_os = "linux"))]
mod programs;
mod pulse;
mod registry;
mod turns;
mod waiters;
mod worker;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use dispatcher::Control;
pub(crate) use hosts::here;
pub use keeper::Repaired;
pub(crate) use registry::{Done, Handler, Job, Registry, Working};
pub use turns::Delta;
pub(crate) use turns::{Prompt, check_schema, json_in, take};

use crate::{
    agents::warm::{Limits, Room},
    backend::Backend,
    clock::Timestamp,
    error::{Error, Result},
    id::{InstanceId, RunId, TaskId},
    model::{Command, Committed, Outcome, Payload, Prune, RunSpec},
};
use committer::Committer;
use dispatcher::Dispatcher;
use outputs::Outputs;
use waiters::Waiters;

/// What must be known of an agent before it takes a turn that may only read.
///
/// Whatever is chosen, its program is started in its own way to only read, the system keeps it from
/// writing (unless the host's adapter is told to let nothing confine it), what it read is compared with
/// what was there before, and one that has changed something when it was tried out is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadOnly {
    /// A version that nobody has tried out may read: the system keeps it from writing.
    #[default]
    Strict,
    /// It was tried out whether this version keeps to reading, and it did: see `Engine::canary`.
    Proven,
}

/// How an engine behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many tasks run at once.
    pub concurrency: u32,
    /// How often the beat is raised.
    pub beat: Duration,
    /// How long a beat must have been seen unchanged before its instance counts as dead.
    pub lapse: Duration,
    /// How often to look for work without being told to.
    pub poll: Duration,
    /// How long a handler that was told to stop may take.
    pub grace: Duration,
    /// How long a shutdown waits for handlers before it tells them to stop.
    pub drain: Duration,
    /// Where agents work that are not told otherwise. None: where this process does.
    pub folder: Option<PathBuf>,
    /// What must be known of an agent that only reads.
    pub read_only: ReadOnly,
    /// Where worktrees are kept that are only read. None: in the user's folder for state.
    pub worktrees: Option<PathBuf>,
    /// How long a worker waits for the answer to what its agent asks, before the task gives its
    /// place away.
    pub permission: Duration,
    /// How many programs of agents are kept warm, and for how long.
    pub warm: Limits,
    /// How long a worktree is kept that nobody reads.
    pub keep_worktrees: Duration,
    /// How long a caller's command is tried while the database is away.
    pub patience: Duration,
    /// How long finished things are kept. None: for ever.
    pub keep: Keep,
}

/// How long finished things are kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    pub tasks: Option<Duration>,
    pub runs: Option<Duration>,
    pub entries: Option<Duration>,
    /// How many bytes of the database may be in use. None: any number.
    pub bytes: Option<u64>,
}

impl Keep {
    /// What to remove as of `now`; None when everything is kept.
    fn prune(&self, now: Timestamp) -> Option<Prune> {
        let before = |keep: Option<Duration>| {
            // Longer than the clock can count back is for ever.
            let micros = keep.and_then(|keep| i64::try_from(keep.as_micros()).ok());
            let before = micros.and_then(|micros| now.as_micros().checked_sub(micros));
            before.map_or(Timestamp::ZERO, Timestamp::from_micros)
        };
        let wanted = [self.tasks, self.runs, self.entries].iter().any(Option::is_some);
        wanted.then(|| Prune {
            tasks_before: before(self.tasks),
            runs_before: before(self.runs),
            entries_before: before(self.entries),
            limit: 1_000,
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 8,
            beat: Duration::from_secs(3),
            lapse: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(5),
            drain: Duration::from_secs(30),
            folder: None,
            read_only: ReadOnly::default(),
            worktrees: None,
            permission: Duration::from_secs(600),
            warm: Limits::default(),
            keep_worktrees: Duration::from_secs(24 * 60 * 60),
            patience: Duration::from_secs(10),
            keep: Keep::default(),
        }
    }
}

/// What all parts of a running engine share.
#[derive(Debug)]
pub(crate) struct Core {
    pub backend: Arc<dyn Backend>,
    pub settings: Settings,
    pub registry: Registry,
    pub instance: InstanceId,
    serves: Arc<BTreeSet<String>>,
    committer: Committer,
    waiters: Waiters,
    /// Attempts in this process: from their claim until their settling is durable.
    held: Mutex<HashMap<(TaskId, i64), CancellationToken>>,
    /// Claims that have not been answered.
    open_claims: Mutex<BTreeSet<i64>>,
    run_specs: Mutex<HashMap<RunId, Arc<RunSpec>>>,
    outputs: Mutex<Outputs>,
    /// Wakes the dispatcher: there may be something to claim.
    look: Notify,
    /// Wakes the keeper: something may be due.
    due: Notify,
    /// When the keeper must look at the latest, in microseconds.
    next: AtomicI64,
    paused: AtomicBool,
    /// The database has forgotten this instance.
    announce: AtomicBool,
    /// This instance says goodbye: it announces itself no more.
    leaving: AtomicBool,
    /// Held during a round of the keeper.
    rounds: tokio::sync::Mutex<()>,
    /// Counts changes that watchers may want to see.
    changes: watch::Sender<u64>,
    /// What agents say, before it is durable.
    live: turns::Live,
    /// Room for the programs that agents keep warm.
    room: Room,
    /// Ends the programs that are started here with this process.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    guard: programs::Guard,
    /// Why the engine can't go on, once it can't.
    fatal: watch::Sender<Option<Arc<Error>>>,
    /// Handlers are told to stop.
    pub stopping: CancellationToken,
    /// Everything has stopped.
    pub stopped: CancellationToken,
    control: mpsc::UnboundedSender<Control>,
}

impl Core {
    /// The shared state, and what the dispatcher is told through.
    pub fn new(
        backend: Arc<dyn Backend>,
        settings: Settings,
        registry: Registry,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Control>) {
        let (control, controls) = mpsc::unbounded_channel();
        let room = Room::new(settings.warm);
        let core = Self {
            committer: Committer::new(Arc::clone(&backend), settings.patience),
            serves: Arc::new(registry.serves()),
            backend,
            settings,
            registry,
            instance: InstanceId::new(),
            #[cfg(all(feature = "programs", target_os = "linux"))]
            guard: programs::Guard::default(),
            waiters: Waiters::default(),
            held: Mutex::default(),
            open_claims: Mutex::default(),
            run_specs: Mutex::default(),
            outputs: Mutex::default(),
            look: Notify::new(),
            due: Notify::new(),
            next: AtomicI64::new(i64::MAX),
            paused: AtomicBool::new(false),
            announce: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            rounds: tokio::sync::Mutex::default(),
            changes: watch::Sender::new(0),
            live: turns::Live::default(),
            room,
            fatal: watch::Sender::new(None),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            control,
        };
        (Arc::new(core), controls)
    }

    /// Starts to work: announces the instance, repairs what the past left, then dispatches.
    pub async fn start(
        self: &Arc<Self>,
        controls: mpsc::UnboundedReceiver<Control>,
    ) -> Result<Repaired> {
        self.submit(Command::Register(Box::new(self.announcement()))).await?;
        let mut keeper = keeper::Keeper::new(Arc::clone(self));
        let repaired = keeper.reconcile().await?;
        pulse::start(Arc::clone(self))?;
        tokio::spawn(keeper.run());
        tokio::spawn(Dispatcher::new(Arc::clone(self), controls).run());
        self.follow();
        Ok(repaired)
    }

    /// Starts what a connection without a dispatcher needs: to hear of changes.
    pub fn follow(self: &Arc<Self>) {
        tokio::spawn(waiters::sweep(Arc::clone(self)));
        tokio::spawn(listen(Arc::clone(self)));
    }

    fn announcement(&self) -> crate::model::Instance {
        crate::model::Instance {
            id: self.instance,
            host: hosts::here(),
            beat: 0,
            serves: self.serves.as_ref().clone(),
            started_at: self.backend.clock().now(),
        }
    }

    /// Carries out a command together with whatever else waits to be committed.
    pub async fn submit(&self, command: Command) -> Result<Outcome> {
        if let Some(error) = self.fatal.borrow().as_ref() {
            return Err(error.share());
        }
        let (receipt, committed) = self.committer.submit(command).await?;
        if let Some(committed) = committed {
            self.publish(&committed);
            // Who is paused looks when it goes on.
            if committed.woke && !self.paused.load(Ordering::SeqCst) {
                self.look.notify_one();
            }
        }
        Ok(receipt?)
    }

    /// Tells watchers, waiters and the keeper what a commit of this process did.
    fn publish(&self, committed: &Committed) {
        if let Some(next) = committed.next {
            self.look_at(next);
        }
        if !committed.streams.is_empty() {
            self.changed();
        }
        if committed.stops {
            self.due.notify_one();
        }
        committed.ended_runs.iter().for_each(|run| self.waiters.run_ended(*run));
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Makes the keeper look at `time` at the latest.
    fn look_at(&self, time: Timestamp) {
        if self.next.fetch_min(time.as_micros(), Ordering::SeqCst) > time.as_micros() {
            self.due.notify_one();
        }
    }

    /// What agents say from now on.
    pub fn listen(&self) -> tokio::sync::broadcast::Receiver<Delta> {
        self.live.listen()
    }

    /// Resolves when something that watchers may want to see has changed.
    pub fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until a task has ended.
    pub async fn task_ended(&self, id: TaskId) -> Result<()> {
        self.or_fatal(self.waiters.task(id)).await
    }

    /// Waits until a run has ended.
    pub async fn run_ended(&self, id: RunId) -> Result<()> {
        self.or_fatal(self.waiters.run(id)).await
    }

    /// Waits for `end`, unless the engine stops first.
    async fn or_fatal(&self, end: impl Future<Output = ()>) -> Result<()> {
        let mut fatal = self.fatal.subscribe();
        tokio::select! {
            biased;
            () = end => Ok(()),
            Ok(error) = fatal.wait_for(Option::is_some) => {
                Err(error.as_ref().map_or_else(Error::closed, |error| error.share()))
            }
            () = self.stopped.cancelled() => Err(self.ended()),
        }
    }

    /// Why nobody is there to ask any more.
    pub fn ended(&self) -> Error {
        let fatal = self.fatal.borrow();
        fatal.as_ref().map_or_else(Error::closed, |error| error.share())
    }

    /// Stops for good: nothing of this engine may write any more.
    fn fail(&self, error: Error) {
        tracing::error!(%error, "the engine stops");
        self.fatal.send_replace(Some(Arc::new(error)));
        self.stopping.cancel();
        self.stopped.cancel();
    }

    /// What a run was launched with. Kept, since each of its steps needs it.
    pub async fn run_spec(&self, id: RunId) -> Result<Arc<RunSpec>> {
        if let Some(spec) = lock(&self.run_specs).get(&id) {
            return Ok(Arc::clone(spec));
        }
        let needs = crate::model::Needs { run_specs: [id].into(), ..Default::default() };
        let spec = self.backend.read(&needs).await?.run_specs.remove(&id);
        let spec = spec.ok_or_else(|| crate::model::Rejection::not_found("run", id))?;
        let spec = Arc::new(spec);
        let mut known = lock(&self.run_specs);
        if known.len() >= 1_000 {
            known.clear();
        }
        known.insert(id, Arc::clone(&spec));
        Ok(spec)
    }

    /// What a step returned, where this process knows it.
    pub fn known_output(&self, step: TaskId) -> Option<Payload> {
        lock(&self.outputs).get(step)
    }

    /// The host committed something by itself.
    pub fn woken_by_host(&self) {
        self.backend.wake();
        self.look.notify_one();
        self.due.notify_one();
    }

    /// Starts no more tasks until [`Core::resume`].
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        drop(self.committer.withdraw());
    }

    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.look.notify_one();
    }

    /// Waits until this engine has nothing to do: nothing ready that it serves, nothing
    /// running, nothing due.
    pub async fn idle(&self) -> Result<()> {
        // Twice in a row: what ripened after the first look is ready by the second question.
        let mut before = false;
        loop {
            self.due.notify_one();
            self.ask(Control::Idle).await?;
            let due = self.backend.due(self.instance, 1).await?;
            let quiet = due.ripe.is_empty() && due.foreign.is_empty() && due.held.is_empty();
            if quiet && before {
                return Ok(());
            }
            before = quiet;
            tokio::task::yield_now().await;
        }
    }

    /// Finishes what runs, returns what does not, and stops.
    pub async fn shutdown(&self) -> Result<()> {
        // Having stopped, or been stopped meanwhile, is what was asked for.
        match self.ask(Control::Stop).await {
            Err(error) if error.is_closed() => Ok(()),
            result => result,
        }
    }

    /// Begins a shutdown that nobody waits for.
    pub fn drain(&self) {
        // Without a dispatcher there is nothing to drain.
        let _ = self.control.send(Control::Stop(oneshot::channel().0));
    }

    async fn ask(&self, control: fn(oneshot::Sender<()>) -> Control) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.control.send(control(reply)).map_err(|_| self.ended())?;
        self.or_fatal(async {
            // The dispatcher drops the question when it has stopped.
            let _ = answer.await;
        })
        .await
    }
}

/// Passes on what other processes and programs did.
async fn listen(core: Arc<Core>) {
    while !core.stopped.is_cancelled() {
        tokio::select! {
            is_ready = core.backend.wait(core.settings.poll) => {
                if is_ready {
                    core.look.notify_one();
                }
            }
            () = core.stopped.cancelled() => return,
        }
        core.due.notify_one();
        core.waiters.look();
        core.changed();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells someone who may have gone away.
fn answer(reply: oneshot::Sender<()>) {
    let _ = reply.send(());
}
