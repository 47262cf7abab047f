//! One SQLite file, shared by the processes of one host.
//!
//! One thread writes and gathers whatever waits into one transaction; a few connections
//! read. Through small files beside the database, processes on the same file take turns at
//! writing, share the syncs of what they wrote, and wake each other.

mod agents;
mod claim;
mod conn;
mod fold;
mod hosts;
mod list;
mod load;
mod log;
mod migrate;
mod neighbours;
mod pen;
mod rows;
mod save;
mod sql;
mod syncs;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Notify, Semaphore, oneshot};

use self::{
    neighbours::{Bell, Page as Neighbours, Turnstile},
    syncs::Syncs,
    writer::{Job, Writer},
};
use crate::{
    backend::Backend,
    clock::Clock,
    error::{Error, Result},
    id::InstanceId,
    model::{
        Batch, Command, Committed, Cursor, Due, Entry, Needs, Outcome, Page, Prune, Pruned, Query,
        Receipt, Rows, Stats, Stream, TaskSpec,
    },
};

/// How much a power cut may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was acknowledged: each commit is synced to the disk.
    #[default]
    Full,
    /// The commits of the last moments, whole and from the end; never the database. A killed
    /// process loses nothing either way.
    Normal,
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    path: PathBuf,
    durability: Durability,
    clock: Clock,
    readers: usize,
    poll: Duration,
    temporary: bool,
    existing: bool,
}

impl Options {
    /// Full durability, the system clock, 4 connections that read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::Full,
            clock: Clock::System,
            readers: 4,
            poll: Duration::from_millis(250),
            temporary: false,
            existing: false,
        }
    }

    /// What a power cut may take.
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// The clock that gives the time to rows.
    #[must_use]
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        Self { clock: clock.into(), ..self }
    }

    /// How many connections read at once.
    #[must_use]
    pub fn readers(self, readers: usize) -> Self {
        Self { readers: readers.max(1), ..self }
    }

    /// How often writers that know nothing of segue are looked for.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }

    /// Refuses a file that is not there, instead of making one.
    #[must_use]
    pub fn existing(self) -> Self {
        Self { existing: true, ..self }
    }

    /// Opens the file, and creates it where there is none. The tables are made by
    /// [`Backend::migrate`].
    ///
    /// # Errors
    /// When the file can't be opened, or a setting that the guarantees rest on does not take.
    pub fn open(self) -> Result<SqliteBackend> {
        SqliteBackend::open(self)
    }
}

/// A database in one SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteBackend(Arc<Shared>);

struct Shared {
    options: Options,
    jobs: mpsc::Sender<Job>,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    pulse: Mutex<Option<(Connection, Turnstile)>>,
    bell: Arc<Bell>,
    syncs: Arc<Syncs>,
    heard: Arc<Heard>,
    stop: Arc<AtomicBool>,
}

/// Tells whoever waits that another writer has committed.
#[derive(Debug)]
struct Heard {
    notify: Notify,
    /// Whether some task was made ready.
    ready: AtomicBool,
    /// How often to look for writers that ring no bell.
    poll: Duration,
}

impl Heard {
    fn tell(&self) {
        self.notify.notify_waiters();
        self.notify.notify_one();
    }
}

impl SqliteBackend {
    fn open(options: Options) -> Result<Self> {
        if options.existing && !options.path.exists() {
            let path = options.path.display();
            return Err(Error::usage(format!(
                "there is no database {path}; start an engine on it first"
            )));
        }
        let page = Arc::new(Neighbours::open(&options.path)?);
        let syncs = Arc::new(Syncs::open(&options.path, Arc::clone(&page))?);
        let bell = Arc::new(Bell::new(page));
        let heard = Arc::new(Heard {
            notify: Notify::new(),
            ready: AtomicBool::new(false),
            poll: Bell::poll(options.poll),
        });
        let listener = Arc::clone(&heard);
        let writer = Writer::open(&options, Arc::clone(&syncs), Arc::clone(&bell), listener)?;
        let (jobs, receiver) = mpsc::channel();
        writer.start(receiver)?;
        let shared = Shared {
            permits: Semaphore::new(options.readers),
            options,
            jobs,
            idle: Mutex::default(),
            pulse: Mutex::default(),
            bell,
            syncs,
            heard,
            stop: Arc::default(),
        };
        shared.listen()?;
        Ok(Self(Arc::new(shared)))
    }

    /// A fresh database in a file that is deleted with the last clone: for tests.
    ///
    /// # Errors
    /// When the file can't be made.
    pub async fn temporary(clock: impl Into<Clock>) -> Result<Self> {
        let name = format!("segue-{}.db", crate::id::TaskId::new());
        let mut options = Options::new(std::env::temp_dir().join(name)).clock(clock);
        options.temporary = true;
        let backend = Self::open(options)?;
        backend.migrate().await?;
        Ok(backend)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.options.path
    }

    /// Runs something on the writing connection.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Run(Box::new(move |writer| {
            let _ = reply.send(writer.run(work));
        }));
        self.0.jobs.send(job).map_err(|_| writer_gone())?;
        answer.await.map_err(|_| writer_gone())?
    }

    /// Runs something in one read transaction.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _permit = self.0.permits.acquire().await.map_err(|_| writer_gone())?;
        let shared = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || shared.reading(work));
        task.await.map_err(|error| Error::database(format!("a read panicked: {error}")))?
    }
}

fn writer_gone() -> Error {
    Error::database("the writing thread has ended")
}

impl Shared {
    fn reading<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = lock(&self.idle).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => conn::reader(&self.options.path)?,
        };
        let transaction = conn.transaction()?;
        let result = work(&transaction);
        drop(transaction);
        // Nothing is shown before it is on the disk.
        let covered = self.syncs.cover(&conn, self.syncs.newest());
        lock(&self.idle).push(conn);
        let result = result?;
        covered?;
        Ok(result)
    }

    /// Starts the thread that hears the bell of other processes.
    fn listen(&self) -> Result<()> {
        let (bell, heard) = (Arc::clone(&self.bell), Arc::clone(&self.heard));
        let stop = Arc::clone(&self.stop);
        let work = move || {
            let (mut rung, mut made_ready) = (bell.rung_by_others(), bell.made_ready());
            while !stop.load(Ordering::SeqCst) {
                bell.listen(rung, heard.poll);
                let now = (bell.rung_by_others(), bell.made_ready());
                if now.0 != rung {
                    heard.ready.fetch_or(now.1 != made_ready, Ordering::SeqCst);
                    (rung, made_ready) = now;
                    heard.tell();
                }
            }
        };
        let spawned = thread::Builder::new().name("segue-listener".into()).spawn(work);
        spawned.map(drop).map_err(|error| {
            Error::unavailable(format!("can't start the listening thread: {error}"))
        })
    }

    fn beat(&self, instance: InstanceId) -> Result<bool> {
        let mut pulse = lock(&self.pulse);
        let (conn, turnstile) = match pulse.take() {
            Some(own) => own,
            None => {
                // A beat need not survive a power cut: it does not wait for the disk.
                let conn = conn::writer(&self.options.path)?;
                (conn, Turnstile::open(&self.options.path)?)
            }
        };
        let turn = turnstile.enter()?;
        let known = save::run(&conn, sql::BEAT, [instance])? > 0;
        drop(turn);
        *pulse = Some((conn, turnstile));
        Ok(known)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if self.options.temporary {
            let path = &self.options.path;
            let own = ["gate", "turn", "sync", "bell"].map(|name| neighbours::beside(path, name));
            let database = ["", "-wal", "-shm"].map(|suffix| with_suffix(path, suffix));
            for file in own.iter().chain(&database) {
                // A file that is not there needs no deleting.
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Bytes of the log. It is only looked at, never opened.
fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(with_suffix(path, "-wal")).map_or(0, |file| file.len())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBackend").field("path", &self.0.options.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for SqliteBackend {
    fn clock(&self) -> Clock {
        self.0.options.clock.clone()
    }

    async fn migrate(&self) -> Result<()> {
        let path = self.0.options.path.clone();
        self.write(move |conn| migrate::migrate(conn, &path)).await
    }

    async fn check_schema(&self) -> Result<()> {
        let path = self.0.options.path.clone();
        self.reading(move |conn| migrate::check(conn, &path)).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let (reply, answer) = oneshot::channel();
        self.0.jobs.send(Job::Commit(batch, reply)).map_err(|_| writer_gone())?;
        answer.await.map_err(|_| writer_gone())?
    }

    async fn beat(&self, instance: InstanceId) -> Result<bool> {
        // Waiting for the turn to write blocks: the caller's time limit must still work.
        let shared = Arc::clone(&self.0);
        let beat = tokio::task::spawn_blocking(move || shared.beat(instance));
        beat.await.map_err(|error| Error::database(format!("a beat panicked: {error}")))?
    }

    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due> {
        let now = self.0.options.clock.now();
        self.reading(move |conn| list::due(conn, of, limit, now)).await
    }

    async fn read(&self, needs: &Needs) -> Result<Rows> {
        let needs = needs.clone();
        self.reading(move |conn| Ok(load::load(conn, &needs)?)).await
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let query = query.clone();
        let mut page = self.reading(move |conn| list::list(conn, &query)).await?;
        if let Page::Disk(disk) = &mut page {
            disk.wal_bytes = wal_bytes(self.path());
        }
        Ok(page)
    }

    async fn stats(&self) -> Result<Stats> {
        self.reading(list::stats).await
    }

    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>> {
        self.reading(move |conn| list::tail(conn, stream, after, limit)).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned> {
        let (prune, schema) = (*prune, migrate::newest());
        self.write(move |conn| {
            let behavior = rusqlite::TransactionBehavior::Immediate;
            let transaction = conn.transaction_with_behavior(behavior)?;
            pen::may_write(&transaction, schema)?;
            let pruned = list::prune(&transaction, &prune)?;
            transaction.commit()?;
            if pruned != Pruned::default() {
                conn.prepare(sql::SHRINK)?.raw_query().next()?;
            }
            Ok(pruned)
        })
        .await
    }

    async fn rest(&self) -> Result<()> {
        self.write(|conn| Ok(conn.query_row(sql::CHECKPOINT, [], |_| Ok(()))?)).await
    }

    async fn wait(&self, limit: Duration) -> bool {
        tokio::select! {
            () = self.0.heard.notify.notified() => {}
            () = self.0.options.clock.sleep(limit) => {}
        }
        self.0.heard.ready.swap(false, Ordering::SeqCst)
    }

    fn wake(&self) {
        self.0.bell.ring(true);
    }
}

/// Enqueues a task in the host's own transaction on the same file: it exists if and only if
/// that transaction commits. Fire the wake after the commit, so that workers look at once
/// (without it they find the task at their next poll).
///
/// Begin the transaction with [`Immediate`](rusqlite::TransactionBehavior::Immediate): SQLite
/// refuses at once to let a transaction write that has read before another one wrote.
///
/// # Errors
/// When the rules refuse the task, or a newer program has changed the tables.
pub fn enqueue_in(transaction: &rusqlite::Transaction<'_>, spec: TaskSpec) -> Result<Outcome> {
    pen::may_write(transaction, migrate::newest())?;
    let before = transaction.total_changes();
    let batch = Batch { commands: vec![Command::Enqueue(Box::new(spec))], claim: None };
    let done = pen::carry_out(transaction, &mut claim::Lanes::new(), batch, &Clock::System)?;
    if transaction.total_changes() == before {
        // A commit that changes nothing syncs nothing, and the answer may rest on what another
        // process is about to sync.
        log::sync(transaction)?;
    }
    let receipt: Option<Receipt> = done.receipts.into_iter().next();
    Ok(receipt.ok_or_else(|| Error::database("a command without an answer"))??)
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let message = format!("SQLite: {error}");
        let transient = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
            )
        );
        let error_of = if transient { Self::unavailable } else { Self::database };
        error_of(message).caused_by(error)
    }
}
