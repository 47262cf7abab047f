//! Gathers commands: while a commit is in flight, what arrives waits for the next one.
//!
//! A caller that finds nothing in flight commits by itself, which spares two changes of task.
//! Nobody waits for such a caller: whether its future is polled is not ours to say. A commit
//! that carries a claim is therefore made by a task of its own: whoever claims must start what
//! was claimed.

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
    model::{Batch, Claim, Claimed, Command, Committed, Receipt, TaskSpec},
};

/// Commands that share one commit at most.
const GATHER: usize = 1_000;
/// Commits of commands that concern no run may be in flight side by side.
const PLAIN: usize = 2;
/// But none beside the first while fewer wait for that one: few large commits cost less than many
/// small ones, most of all where several processes share a server.
const MANY: usize = 16;

/// Commands that must not overtake each other: those of a run, and shares of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Partition {
    Plain(usize),
    Run(RunId),
}

/// An answer, and with the first answer of each commit what the commit did.
type Answer = Result<(Receipt, Option<Committed>)>;
type Queue = Vec<(Command, oneshot::Sender<Answer>)>;

/// A claim that the next commit of new work may carry. Dropped without a reply when it was
/// not made, or nobody knows whether it was.
pub(super) struct Offer {
    pub claim: Claim,
    /// Where the claimed tasks go.
    pub reply: oneshot::Sender<Vec<Claimed>>,
}

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
    offer: Option<Offer>,
}

impl Waiting {
    /// The partition that a command joins. A new task opens no second share while the first has
    /// few that wait.
    fn join(&self, command: &Command) -> Partition {
        let (own, first) = (partition(command), Partition::Plain(0));
        let opens = matches!(command, Command::Enqueue(_)) && !self.queues.contains_key(&own);
        let has_few = self.queues.get(&first).is_none_or(|queue| queue.len() < MANY);
        if opens && has_few { first } else { own }
    }
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
        if let Some(_alone) = self.shared.alone(&command) {
            return self.shared.commit_one(command).await;
        }
        let (reply, answer) = oneshot::channel();
        self.push(command, reply);
        answer.await.map_err(|_| Error::closed())?
    }

    /// Has the next commit of new work carry a claim.
    pub fn offer(&self, offer: Offer) {
        lock(&self.shared.waiting).offer = Some(offer);
    }

    /// Takes the offer back, unless a commit has taken it.
    pub fn withdraw(&self) -> Option<Offer> {
        lock(&self.shared.waiting).offer.take()
    }

    fn push(&self, command: Command, reply: oneshot::Sender<Answer>) {
        let mut waiting = lock(&self.shared.waiting);
        let partition = waiting.join(&command);
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

/// Whether it makes new work, which a worker may start at once.
fn makes_work(command: &Command) -> bool {
    matches!(command, Command::Enqueue(_) | Command::EnqueueAll(_) | Command::Launch(_))
}

/// The share of a new task, by its id, which is random at its end.
fn share(spec: &TaskSpec) -> Partition {
    Partition::Plain(spec.id.as_uuid().as_u128() as usize % PLAIN)
}

impl Shared {
    /// Granted while no commit is in flight, to a command that carries no claim.
    fn alone(&self, command: &Command) -> Option<Alone<'_>> {
        let mut waiting = lock(&self.waiting);
        let carries = waiting.offer.is_some() && makes_work(command);
        let free = !carries && !waiting.alone && waiting.queues.is_empty();
        waiting.alone |= free;
        free.then(|| Alone(self))
    }

    async fn commit_one(&self, command: Command) -> Answer {
        metrics::counter!("segue_commits_total").increment(1);
        let mut batch = Batch { commands: vec![command], claim: None };
        let mut committed = self.persist(&mut batch).await?;
        let receipt = committed.receipts.pop();
        let receipt = receipt.ok_or_else(|| Error::database("a command without an answer"))?;
        Ok((receipt, Some(committed)))
    }

    /// Commits what waits in a partition until nothing does.
    async fn drain(&self, partition: Partition, mut gathered: Queue) {
        while !gathered.is_empty() {
            self.commit(gathered).await;
            // Those who were answered may have more, which shares the next commit.
            tokio::task::yield_now().await;
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
        let offer = self.take_offer(&commands);
        let (claim, starts) = offer.map(|offer| (offer.claim, offer.reply)).unzip();
        let mut batch = Batch { commands, claim };
        match self.persist(&mut batch).await {
            Ok(mut committed) => {
                if let Some(starts) = starts {
                    // Without a dispatcher the engine has failed, and another one will rescue.
                    let _ = starts.send(std::mem::take(&mut committed.claimed));
                    // The claim has seen what woke.
                    committed.woke = false;
                }
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

    fn take_offer(&self, commands: &[Command]) -> Option<Offer> {
        let makes_work = commands.iter().any(makes_work);
        makes_work.then(|| lock(&self.waiting).offer.take()).flatten()
    }

    /// Commits, and tries again while the database is away, for as long as callers wait.
    async fn persist(&self, batch: &mut Batch) -> Result<Committed> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            match self.backend.commit(batch.clone()).await {
                Err(error) if error.is_transient() && start.elapsed() < self.patience => {
                    tracing::warn!(%error, "a commit will be tried again");
                    batch.claim.iter_mut().for_each(|claim| claim.again = true);
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
