//! The one thread that writes, and how it gathers commits: every batch that waits goes into
//! one transaction, so that many callers share one sync.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Instant,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    Durability, Heard,
    claim::{self, Lanes},
    conn,
    fold::fold_back,
    load,
    neighbours::{Bell, Turnstile},
    save, sql,
};
use crate::{
    clock::Clock,
    error::{Error, Result},
    model::{Batch, Committed, Split},
};

/// Batches that share one transaction at most.
const GROUP: usize = 256;
/// The log is folded back into the database when it is larger than this.
const WAL_BYTES: u64 = 64 << 20;
/// How many transactions pass between looks at its size.
const WAL_LOOK: u32 = 256;

/// Something to do on the writing connection.
pub(super) enum Job {
    /// A batch, and where its answer goes.
    Commit(Batch, oneshot::Sender<Result<Committed>>),
    /// Anything else, outside a transaction, while it is our turn to write.
    Run(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// The writing thread's own things.
pub(super) struct Writer {
    conn: Connection,
    turnstile: Turnstile,
    bell: Arc<Bell>,
    clock: Clock,
    lanes: Lanes,
    path: PathBuf,
    schema: i64,
    commits: u32,
    heard: Arc<Heard>,
    /// Changes when another connection commits, never with our own commits.
    version: i64,
    /// When it was looked at.
    looked: Instant,
}

impl Writer {
    /// Opens the writing connection. Two processes may open a fresh file at once.
    pub fn open(
        path: PathBuf,
        durability: Durability,
        clock: Clock,
        bell: Arc<Bell>,
        heard: Arc<Heard>,
    ) -> Result<Self> {
        let turnstile = Turnstile::open(&path)?;
        let turn = turnstile.enter()?;
        let conn = conn::writer(&path, durability)?;
        drop(turn);
        let schema = super::migrate::newest();
        let version = version(&conn)?;
        Ok(Self {
            conn,
            turnstile,
            bell,
            clock,
            lanes: Lanes::new(),
            path,
            schema,
            commits: 0,
            heard,
            version,
            looked: Instant::now(),
        })
    }

    /// Starts the thread. It ends when the last sender is dropped.
    pub fn start(mut self, jobs: mpsc::Receiver<Job>) -> Result<thread::JoinHandle<()>> {
        let thread = thread::Builder::new().name("segue-writer".into());
        thread.spawn(move || self.work(&jobs)).map_err(|error| {
            Error::unavailable(format!("can't start the writing thread: {error}")).caused_by(error)
        })
    }

    fn work(&mut self, jobs: &mpsc::Receiver<Job>) {
        let mut group = Vec::new();
        loop {
            let mut next = match jobs.recv_timeout(self.heard.poll) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Some(job) = next {
                match job {
                    Job::Commit(batch, reply) => group.push((batch, reply)),
                    Job::Run(run) => {
                        self.commit(&mut group);
                        self.run(run);
                    }
                }
                next = (group.len() < GROUP).then(|| jobs.try_recv().ok()).flatten();
            }
            self.commit(&mut group);
            if self.looked.elapsed() >= self.heard.poll {
                self.look();
            }
        }
    }

    /// Looks for commits of writers that ring no bell.
    fn look(&mut self) {
        self.looked = Instant::now();
        // An error here is one of the next commit too, which reports it.
        if let Ok(now) = version(&self.conn)
            && now != self.version
        {
            self.version = now;
            self.heard.tell();
        }
    }

    fn run(&mut self, run: Box<dyn FnOnce(&mut Connection) + Send>) {
        match self.turnstile.enter() {
            Ok(_turn) => run(&mut self.conn),
            Err(error) => tracing::error!(%error, "can't take a turn at writing"),
        }
    }

    /// Commits the group as one. When that fails each batch is tried alone, so that a
    /// failing one does not take its neighbours along.
    fn commit(&mut self, group: &mut Vec<(Batch, oneshot::Sender<Result<Committed>>)>) {
        if group.is_empty() {
            return;
        }
        let (batches, replies): (Vec<_>, Vec<_>) = group.drain(..).unzip();
        let answers = self.answers(batches);
        let rings = answers.iter().flatten().any(Committed::is_news);
        if rings {
            let made_ready = |done: &Committed| done.woke && done.claimed.is_empty();
            self.bell.ring(answers.iter().flatten().any(made_ready));
        }
        for (answer, reply) in answers.into_iter().zip(replies) {
            // A caller that went away does not want its answer.
            let _ = reply.send(answer);
        }
        self.bound_wal();
    }

    fn answers(&mut self, batches: Vec<Batch>) -> Vec<Result<Committed>> {
        // A group of one has nobody to be parted from, so no copy of it is kept.
        let together = (batches.len() > 1).then(|| self.transaction(batches.clone()));
        match together {
            Some(Ok(committed)) => committed.into_iter().map(Ok).collect(),
            _ => batches.into_iter().map(|batch| self.alone(batch)).collect(),
        }
    }

    fn alone(&mut self, batch: Batch) -> Result<Committed> {
        let mut committed = self.transaction(vec![batch])?;
        committed.pop().ok_or_else(|| Error::database("a commit without an answer"))
    }

    fn transaction(&mut self, batches: Vec<Batch>) -> Result<Vec<Committed>> {
        let _turn = self.turnstile.enter()?;
        let transaction =
            self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        may_write(&transaction, self.schema)?;
        let (clock, lanes) = (&self.clock, &mut self.lanes);
        let committed: Result<Vec<_>> =
            batches.into_iter().map(|batch| caught(&transaction, lanes, batch, clock)).collect();
        let committed = committed?;
        transaction.commit()?;
        Ok(committed)
    }

    /// Folds a log back that readers have let grow.
    fn bound_wal(&mut self) {
        self.commits += 1;
        if self.commits.is_multiple_of(WAL_LOOK) && super::wal_bytes(&self.path) > WAL_BYTES {
            match fold_back(&self.conn) {
                Ok(true) => {}
                Ok(false) => tracing::debug!("the log grows: an old snapshot is being read"),
                Err(error) => tracing::warn!(%error, "the log can't be folded back yet"),
            }
        }
    }
}

fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(sql::DATA_VERSION)?.query_row([], |row| row.get(0))
}

/// Whether a program that knows `schema` may still write here.
pub(super) fn may_write(conn: &Connection, schema: i64) -> Result<()> {
    let oldest = load::one(conn, sql::WRITER_MIN, [], |row| row.get::<_, i64>(0))?.unwrap_or(0);
    if oldest <= schema {
        return Ok(());
    }
    Err(Error::schema_moved_on(format!(
        "a newer program has moved this database to schema {oldest}; this one knows {schema} and \
         may no longer write. Restart it with the newer version"
    )))
}

/// Carries out one batch inside a transaction. A panic of the rules fails it, and the thread
/// goes on.
fn caught(conn: &Connection, lanes: &mut Lanes, batch: Batch, clock: &Clock) -> Result<Committed> {
    let work = AssertUnwindSafe(|| carry_out(conn, lanes, batch, clock));
    catch_unwind(work).unwrap_or_else(|panic| Err(Error::panicked(&*panic)))
}

/// Carries out one batch inside a transaction.
pub(super) fn carry_out(
    conn: &Connection,
    lanes: &mut Lanes,
    batch: Batch,
    clock: &Clock,
) -> Result<Committed> {
    let mut split = Split::new(batch.commands, clock.now());
    let mut done = Committed::default();
    let missed = save::guarded(conn, split.changes())?;
    done.note(split.changes());
    let planned = match split.plan(&missed) {
        None => Vec::new(),
        Some(mut plan) => {
            while let Some(needs) = plan.needs() {
                plan.supply(load::load(conn, &needs)?, clock.now());
            }
            let (changes, receipts) = plan.finish();
            save::save(conn, &changes)?;
            done.note(&changes);
            receipts
        }
    };
    done.receipts = split.finish(planned);
    if let Some(wish) = batch.claim {
        done.claimed = claim::claim(conn, lanes, &wish, clock.now())?;
    }
    Ok(done)
}
