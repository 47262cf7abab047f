//! The one thread that writes, and how it gathers commits: every batch that waits goes into
//! one transaction, so that many callers share one sync.

use std::{
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
    Heard, Options,
    neighbours::{Bell, Turnstile},
    pen::Pen,
    syncs::Syncs,
};
use crate::{
    error::{Error, Result},
    model::{Batch, Committed},
};

/// Batches that share one transaction at most.
const GROUP: usize = 256;

/// A batch, and where its answer goes.
type Wanted = (Batch, oneshot::Sender<Result<Committed>>);

/// Something to do on the writing connection.
pub(super) enum Job {
    /// A batch, and where its answer goes.
    Commit(Batch, oneshot::Sender<Result<Committed>>),
    /// Anything else.
    Run(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// The writing thread's own things.
pub(super) struct Writer {
    pen: Pen,
    turnstile: Turnstile,
    bell: Arc<Bell>,
    heard: Arc<Heard>,
    /// Changes when another connection commits, never with our own commits.
    version: i64,
    /// When it was looked at.
    looked: Instant,
}

impl Writer {
    /// Opens the writing connection.
    pub fn open(
        options: &Options,
        syncs: Arc<Syncs>,
        bell: Arc<Bell>,
        heard: Arc<Heard>,
    ) -> Result<Self> {
        let turnstile = Turnstile::open(&options.path)?;
        let turn = turnstile.enter()?;
        let pen = Pen::open(options, syncs)?;
        drop(turn);
        let version = pen.version()?;
        Ok(Self { pen, turnstile, bell, heard, version, looked: Instant::now() })
    }

    /// Starts the thread. It ends when the last sender is dropped.
    pub fn start(mut self, jobs: mpsc::Receiver<Job>) -> Result<thread::JoinHandle<()>> {
        let thread = thread::Builder::new().name("segue-writer".into());
        thread.spawn(move || self.work(&jobs)).map_err(|error| {
            Error::unavailable(format!("can't start the writing thread: {error}")).caused_by(error)
        })
    }

    fn work(&mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            let mut next = match jobs.recv_timeout(self.heard.poll) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Some(job) = next {
                next = match job {
                    Job::Commit(batch, reply) => self.commit((batch, reply), jobs),
                    Job::Run(run) => {
                        run(self);
                        None
                    }
                };
            }
            if self.looked.elapsed() >= self.heard.poll {
                self.look();
            }
        }
    }

    /// Looks for commits of writers that ring no bell, and for what a failed sync has left.
    fn look(&mut self) {
        self.looked = Instant::now();
        // An error here is one of the next commit too, which reports it.
        if let Ok(now) = self.pen.version()
            && now != self.version
        {
            self.version = now;
            self.heard.tell();
        }
        if self.pen.is_in_doubt()
            && let Err(error) = self.mend()
        {
            tracing::warn!(%error, "the log can't be brought to the disk");
        }
    }

    fn mend(&self) -> Result<()> {
        let _turn = self.turnstile.enter()?;
        self.pen.mend()
    }

    /// Runs something outside a transaction, while it is our turn to write. What it commits is
    /// on the disk when this returns.
    pub fn run<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let turn = self.turnstile.enter()?;
        let result = self.pen.run(work)?;
        drop(turn);
        self.pen.cover()?;
        Ok(result)
    }

    /// Commits whatever waits by the time it is our turn, and returns what must come after it.
    fn commit(&mut self, first: Wanted, jobs: &mpsc::Receiver<Job>) -> Option<Job> {
        let turn = self.turnstile.enter();
        let (mut group, mut after) = (vec![first], None);
        while after.is_none() && group.len() < GROUP {
            match jobs.try_recv() {
                Ok(Job::Commit(batch, reply)) => group.push((batch, reply)),
                Ok(run) => after = Some(run),
                Err(_) => break,
            }
        }
        let (batches, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let answers = match &turn {
            Ok(_) => answers(&mut self.pen, batches),
            Err(error) => batches.iter().map(|_| Err(error.share())).collect(),
        };
        drop(turn);
        // Others may claim it at once: their claim is on the disk no sooner than what it claims.
        if answers.iter().flatten().any(Committed::is_news) {
            let made_ready = |done: &Committed| done.woke && done.claimed.is_empty();
            self.bell.ring(answers.iter().flatten().any(made_ready));
        }
        let covered = self.pen.cover();
        for (answer, reply) in answers.into_iter().zip(replies) {
            let answer = match &covered {
                Ok(()) => answer,
                Err(error) => answer.and_then(|_| Err(error.share())),
            };
            // A caller that went away does not want its answer.
            let _ = reply.send(answer);
        }
        self.pen.bound_wal();
        after
    }
}

/// Commits batches as one. When that fails each is tried alone, so that a failing one does not
/// take its neighbours along.
fn answers(pen: &mut Pen, batches: Vec<Batch>) -> Vec<Result<Committed>> {
    // A group of one has nobody to be parted from, so no copy of it is kept.
    let together = (batches.len() > 1).then(|| pen.write(batches.clone()));
    match together {
        Some(Ok(committed)) => committed.into_iter().map(Ok).collect(),
        _ => batches.into_iter().map(|batch| alone(pen, batch)).collect(),
    }
}

fn alone(pen: &mut Pen, batch: Batch) -> Result<Committed> {
    let mut committed = pen.write(vec![batch])?;
    committed.pop().ok_or_else(|| Error::database("a commit without an answer"))
}
