//! Databases, signals and limits that the tests share.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use segue::{
    Builder, Context, Engine, Error, Failure, Result,
    backend::{Backend, sqlite::Options},
    clock::Clock,
    id::InstanceId,
    model::{
        Batch, Command, Committed, Cursor, Due, Entry, Needs, Page, Prune, Pruned, Query, Rows,
        Stats, Stream, audit,
    },
};
use serde_json::Value;
use tokio::sync::Semaphore;

/// How long anything may take before a test has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The backends that the tests run on.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// Makes a test of each function, for each backend. A function that is not listed is dead
/// code, which the compiler reports.
macro_rules! each_backend {
    ($($name:ident),+ $(,)?) => {
        on_sqlite!($($name),+);
        #[cfg(feature = "postgres")]
        mod postgres {
            $(
                #[test]
                fn $name() {
                    crate::engine::support::check(crate::engine::support::Kind::Postgres, super::$name);
                }
            )+
        }
    };
}

/// The same, for what only a file can do.
macro_rules! on_sqlite {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[test]
                fn $name() {
                    crate::engine::support::check(crate::engine::support::Kind::Sqlite, super::$name);
                }
            )+
        }
    };
}

/// Runs a test on a fresh database, then checks what must always hold between its rows.
pub fn check<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce(Store) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Store::fresh(kind).await;
        let limit = tokio::time::timeout(LIMIT, test(store.clone()));
        limit.await.expect("the test takes too long");
        store.audit().await;
    });
}

/// A fresh database. A file goes with its last clone, a schema with the server.
#[derive(Clone)]
pub struct Store {
    kind: Kind,
    folder: Arc<tempfile::TempDir>,
    #[cfg(feature = "postgres")]
    schema: String,
}

impl Store {
    async fn fresh(kind: Kind) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self {
            kind,
            folder,
            #[cfg(feature = "postgres")]
            schema: crate::support::cluster::schema(),
        }
    }

    /// The SQLite file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("work.db")
    }

    /// An engine about to be started, which looks often.
    pub fn builder(&self) -> Builder {
        let builder = match self.kind {
            Kind::Sqlite => Engine::sqlite_with(self.sqlite(Clock::System)),
            #[cfg(feature = "postgres")]
            Kind::Postgres => Engine::postgres_with(self.postgres()),
        };
        builder.poll(Duration::from_millis(50))
    }

    fn sqlite(&self, clock: impl Into<Clock>) -> Options {
        let poll = Duration::from_millis(20);
        Options::new(self.path()).poll(poll).clock(clock)
    }

    /// A handle of the database without an engine.
    pub async fn backend(&self, clock: impl Into<Clock>) -> Arc<dyn Backend> {
        let backend: Arc<dyn Backend> = match self.kind {
            Kind::Sqlite => Arc::new(self.sqlite(clock).open().expect("a database")),
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                let backend = self.postgres().clock(clock).connect();
                Arc::new(backend.await.expect("the test server can be reached"))
            }
        };
        backend.migrate().await.expect("tables");
        backend
    }

    #[cfg(feature = "postgres")]
    fn postgres(&self) -> segue::backend::postgres::Options {
        let options = crate::support::cluster::options();
        options.schema(&self.schema).poll(Duration::from_millis(20))
    }

    async fn audit(&self) {
        let backend = self.backend(Clock::System).await;
        let rows = backend.read(&Needs::everything()).await.expect("all rows");
        assert_eq!(audit(&rows), [], "what must hold between rows");
    }
}

/// Waits until `condition` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let limit = tokio::time::timeout(LIMIT / 2, wait);
    limit.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// What handlers do and see, shared with the test. Give it to [`Builder::host`].
#[derive(Clone, Default)]
pub struct Probe(Arc<Shared>);

struct Shared {
    arrived: Semaphore,
    leave: Semaphore,
    left: Semaphore,
    inside: AtomicUsize,
    most: AtomicUsize,
    log: Mutex<Vec<String>>,
}

impl Default for Shared {
    fn default() -> Self {
        let closed = || Semaphore::new(0);
        Self {
            arrived: closed(),
            leave: closed(),
            left: closed(),
            inside: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            log: Mutex::default(),
        }
    }
}

/// A handler is at work as long as this lives, however it ends.
pub struct Inside(Probe);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.inside.fetch_sub(1, Ordering::SeqCst);
        self.0.0.left.add_permits(1);
    }
}

impl Probe {
    /// Called by a handler: it has begun.
    pub fn enter(&self) -> Inside {
        let inside = self.0.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(inside, Ordering::SeqCst);
        self.0.arrived.add_permits(1);
        Inside(self.clone())
    }

    /// Called by a handler: waits to be let go.
    pub async fn wait(&self) {
        self.0.leave.acquire().await.expect("open").forget();
    }

    /// Waits until so many handlers more have begun.
    pub async fn arrived(&self, count: u32) {
        let all = self.0.arrived.acquire_many(count);
        all.await.expect("open").forget();
    }

    /// Waits until so many handlers more have ended or were dropped.
    pub async fn left(&self, count: u32) {
        self.0.left.acquire_many(count).await.expect("open").forget();
    }

    /// Lets so many handlers go.
    pub fn let_go(&self, count: usize) {
        self.0.leave.add_permits(count);
    }

    /// How many handlers were at work at once, at most.
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }

    pub fn note(&self, text: impl Into<String>) {
        self.0.log.lock().expect("a log").push(text.into());
    }

    /// What was noted, in order.
    pub fn log(&self) -> Vec<String> {
        self.0.log.lock().expect("a log").clone()
    }
}

/// A handler that waits to be let go, or to be told to stop.
pub async fn hold(context: Context, input: Value) -> Result<Value, Failure> {
    let probe = context.host::<Probe>()?;
    let _inside = probe.enter();
    tokio::select! {
        () = probe.wait() => Ok(input),
        () = context.stop().cancelled() => {
            probe.note("told to stop");
            Err(Failure::cancelled())
        }
    }
}

/// A handler that waits to be let go, whatever it is told.
pub async fn ignore(context: Context, input: Value) -> Result<Value, Failure> {
    let probe = context.host::<Probe>()?;
    let _inside = probe.enter();
    probe.wait().await;
    Ok(input)
}

/// A handler that notes its input and returns it.
pub async fn note(context: Context, input: Value) -> Result<Value, Failure> {
    let probe = context.host::<Probe>()?;
    let _inside = probe.enter();
    probe.note(input.as_str().map_or(input.to_string(), str::to_owned));
    Ok(input)
}

/// A backend that behaves badly on demand.
#[derive(Debug)]
pub struct Faulty {
    pub inner: Arc<dyn Backend>,
    /// It says nothing of what other processes do.
    pub deaf: bool,
    /// So many answers to claims that took something get lost.
    pub lost_claims: AtomicU32,
    /// So many answers to commits that settle something get lost.
    pub lost_settles: AtomicU32,
    /// Claims that took something wait here before they are answered.
    pub claims: Semaphore,
    /// A permit for each claim that waits, or has waited.
    pub claimed: Semaphore,
    /// Commits that carried commands or took something.
    pub commits: AtomicU32,
    /// Reads of what attempts left behind.
    pub output_reads: AtomicU32,
}

impl Faulty {
    pub fn on(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            deaf: false,
            lost_claims: AtomicU32::new(0),
            lost_settles: AtomicU32::new(0),
            claims: Semaphore::new(Semaphore::MAX_PERMITS >> 1),
            claimed: Semaphore::new(0),
            commits: AtomicU32::new(0),
            output_reads: AtomicU32::new(0),
        }
    }
}

fn one_of(count: &AtomicU32) -> bool {
    let less = |count: u32| count.checked_sub(1);
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
}

#[async_trait]
impl Backend for Faulty {
    fn clock(&self) -> Clock {
        self.inner.clock()
    }

    async fn migrate(&self) -> Result<()> {
        self.inner.migrate().await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let settles = batch.commands.iter();
        let settles = settles.filter(|command| matches!(command, Command::Settle(_)));
        let settles = settles.count() > 0;
        let committed = self.inner.commit(batch).await?;
        if !committed.receipts.is_empty() || !committed.claimed.is_empty() {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        if !committed.claimed.is_empty() {
            self.claimed.add_permits(1);
            self.claims.acquire().await.expect("open").forget();
        }
        let lost = (!committed.claimed.is_empty() && one_of(&self.lost_claims))
            || (settles && one_of(&self.lost_settles));
        match lost {
            true => Err(Error::unavailable("the answer was lost")),
            false => Ok(committed),
        }
    }

    async fn beat(&self, instance: InstanceId) -> Result<bool> {
        self.inner.beat(instance).await
    }

    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due> {
        self.inner.due(of, limit).await
    }

    async fn read(&self, needs: &Needs) -> Result<Rows> {
        if !needs.attempts.is_empty() {
            self.output_reads.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.read(needs).await
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        self.inner.list(query).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.inner.stats().await
    }

    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>> {
        self.inner.tail(stream, after, limit).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned> {
        self.inner.prune(prune).await
    }

    async fn wait(&self, limit: Duration) -> bool {
        match self.deaf {
            true => {
                self.clock().sleep(limit).await;
                false
            }
            false => self.inner.wait(limit).await,
        }
    }

    fn wake(&self) {
        self.inner.wake();
    }
}
