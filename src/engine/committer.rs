//! Gathers commands: while a commit is in flight, what arrives waits for the next one.
//!
//! A caller that finds nothing in flight commits by itself, which spares two changes of task.
//! Nobody waits for such a caller: whether its future is polled is not ours to say.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::lock;
use crate::{
    backend::Backend,
    error::{Error, Result},
    id::RunId,
    model::{Batch, Command, Committed, Receipt, TaskSpec},
};

/// Commands that share one commit at most.
const GATHER: usize = 1_000;
/// Commits of commands that concern no run may be in flight side by side.
const PLAIN: usize = 2;

/// Commands that must not overtake each other: those of a run, and shares of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Partition {
    Plain(usize),
    Run(RunId),
}

/// An answer, and with the first answer of each commit what the commit did.
type Answer = Result<(Receipt, Option<Committed>)>;
type Queue = Vec<(Command, oneshot::Sender<Answer>)>;

pub(super) struct Committer {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn Backend>,
    patience: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// A caller commits by itself.
    alone: bool,
    /// A partition that is present has a commit in flight.
    queues: HashMap<Partition, Queue>,
}

/// The right of a caller to commit by itself.
struct Alone<'a>(&'a Shared);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        lock(&self.0.waiting).alone = false;
    }
}

impl Committer {
    pub fn new(backend: Arc<dyn Backend>, patience: Duration) -> Self {
        Self { shared: Arc::new(Shared { backend, patience, waiting: Mutex::default() }) }
    }

    /// Commits a command and returns its receipt.
    pub async fn submit(&self, command: Command) -> Answer {
        if let Some(_alone) = self.shared.alone() {
            return self.shared.commit_one(command).await;
        }
        let (reply, answer) = oneshot::channel();
        self.push(command, reply);
        answer.await.map_err(|_| Error::closed())?
    }

    fn push(&self, command: Command, reply: oneshot::Sender<Answer>) {
        let partition = partition(&command);
        let mut waiting = lock(&self.shared.waiting);
        if let Some(queue) = waiting.queues.get_mut(&partition) {
            return queue.push((command, reply));
        }
        waiting.queues.insert(partition, Vec::new());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { shared.drain(partition, vec![(command, reply)]).await });
    }
}

fn partition(command: &Command) -> Partition {
    match command {
        Command::Launch(run) => Partition::Run(run.spec.id),
        Command::CancelRun(id) | Command::PauseRun(id) | Command::ResumeRun(id) => {
            Partition::Run(*id)
        }
        Command::CancelStep { run, .. }
        | Command::RetryRun { run, .. }
        | Command::Fork { run, .. } => Partition::Run(*run),
        Command::Enqueue(spec) => share(spec.as_ref()),
        Command::EnqueueAll(specs) => specs.first().map_or(Partition::Plain(0), share),
        _ => Partition::Plain(0),
    }
}

/// The share of a new task, by its id, which is random at its end.
fn share(spec: &TaskSpec) -> Partition {
    Partition::Plain(spec.id.as_uuid().as_u128() as usize % PLAIN)
}

impl Shared {
    /// Granted while no commit is in flight.
    fn alone(&self) -> Option<Alone<'_>> {
        let mut waiting = lock(&self.waiting);
        let free = !waiting.alone && waiting.queues.is_empty();
        waiting.alone |= free;
        free.then(|| Alone(self))
    }

    async fn commit_one(&self, command: Command) -> Answer {
        metrics::counter!("segue_commits_total").increment(1);
        let batch = Batch { commands: vec![command], claim: None };
        let mut committed = self.persist(&batch).await?;
        let receipt = committed.receipts.pop();
        let receipt = receipt.ok_or_else(|| Error::database("a command without an answer"))?;
        Ok((receipt, Some(committed)))
    }

    /// Commits what waits in a partition until nothing does.
    async fn drain(&self, partition: Partition, mut gathered: Queue) {
        while !gathered.is_empty() {
            self.commit(gathered).await;
            let mut waiting = lock(&self.waiting);
            let queue = waiting.queues.entry(partition).or_default();
            let rest = queue.split_off(queue.len().min(GATHER));
            gathered = std::mem::replace(queue, rest);
            if gathered.is_empty() {
                waiting.queues.remove(&partition);
            }
        }
    }

    async fn commit(&self, gathered: Queue) {
        let (commands, replies): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
        metrics::counter!("segue_commits_total").increment(1);
        let batch = Batch { commands, claim: None };
        match self.persist(&batch).await {
            Ok(mut committed) => {
                let receipts = std::mem::take(&mut committed.receipts);
                let mut committed = Some(committed);
                for (reply, receipt) in replies.into_iter().zip(receipts) {
                    // A caller that went away does not want its receipt; what the commit did
                    // goes to the first that is still there.
                    if let Err(Ok((_, unsent))) = reply.send(Ok((receipt, committed.take()))) {
                        committed = unsent;
                    }
                }
            }
            // One of them brings out a bug: the others need not suffer.
            Err(error) if error.is_bug() && replies.len() > 1 => {
                for (command, reply) in batch.commands.into_iter().zip(replies) {
                    let _ = reply.send(self.commit_one(command).await);
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.share()));
                }
            }
        }
    }

    /// Commits, and tries again while the database is away, for as long as callers wait.
    async fn persist(&self, batch: &Batch) -> Result<Committed> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            match self.backend.commit(batch.clone()).await {
                Err(error) if error.is_transient() && start.elapsed() < self.patience => {
                    tracing::warn!(%error, "a commit will be tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                result => return result,
            }
        }
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").finish_non_exhaustive()
    }
}
