//! Claims tasks, starts them, and hands in what they return, in as few commits as possible.
//!
//! What was finished and the wish for more go into one commit. Commits are partitioned by
//! run, one in flight for each, so that a run whose commits are slow holds nobody up.
//!
//! While nothing is in flight and places are free, the claim is offered to the committer: the
//! commit that makes a task then takes it as well.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{Core, Job, answer, committer::Offer, lock, worker};
use crate::{
    error::{Error, Result},
    id::{RunId, TaskId},
    model::{
        Batch, Claim, Claimed, Command, Committed, Decision, Fault, FaultKind, Outcome, Payload,
        Receipt, Settle, TaskState,
    },
};

/// What the dispatcher is told.
#[derive(Debug)]
pub(crate) enum Control {
    /// Answer when nothing runs and nothing that is ready could be claimed.
    Idle(oneshot::Sender<()>),
    /// Claim no more, wait for what runs, then answer and end.
    Stop(oneshot::Sender<()>),
}

/// Commits that must not be in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Partition {
    /// Only a claim.
    Claim,
    /// Tasks of no run.
    Plain,
    /// Steps of a run.
    Run(RunId),
}

/// A task, and the lease of the attempt.
type Held = (TaskId, i64);

struct Finished {
    held: Held,
    run: Option<RunId>,
    command: Command,
}

/// What was handed in, and what a step returns to those behind it.
struct Settled {
    held: Held,
    output: Option<Payload>,
}

struct Answer {
    partition: Partition,
    claim: Option<Claim>,
    settled: Vec<Settled>,
    result: Result<Committed>,
}

/// The number of a claim that was offered, its places, and what it took.
struct Offered {
    seq: i64,
    limit: u32,
    claimed: oneshot::Receiver<Vec<Claimed>>,
}

pub(crate) struct Dispatcher {
    core: Arc<Core>,
    controls: mpsc::UnboundedReceiver<Control>,
    done: mpsc::UnboundedReceiver<Finished>,
    report: mpsc::UnboundedSender<Finished>,
    /// Handlers at work.
    running: u32,
    /// Places that claims in flight may fill.
    reserved: u32,
    waiting: HashMap<Partition, Vec<Finished>>,
    busy: HashSet<Partition>,
    commits: JoinSet<Answer>,
    /// A claim that a commit of the committer may carry.
    offered: Option<Offered>,
    /// There may be something to claim.
    hungry: bool,
    claims: i64,
    idle: Vec<oneshot::Sender<()>>,
    stop: Option<Vec<oneshot::Sender<()>>>,
    deadline: Option<Instant>,
}

impl Dispatcher {
    pub fn new(core: Arc<Core>, controls: mpsc::UnboundedReceiver<Control>) -> Self {
        let (report, done) = mpsc::unbounded_channel();
        Self {
            core,
            controls,
            done,
            report,
            running: 0,
            reserved: 0,
            waiting: HashMap::new(),
            busy: HashSet::new(),
            commits: JoinSet::new(),
            offered: None,
            hungry: true,
            claims: 0,
            idle: Vec::new(),
            stop: None,
            deadline: None,
        }
    }

    pub async fn run(mut self) {
        let core = Arc::clone(&self.core);
        loop {
            self.withdraw();
            self.send();
            let idle = self.is_idle();
            if self.is_over() {
                break;
            }
            // Whoever waits for an idle engine finds the offer.
            self.offer();
            if idle {
                self.idle.drain(..).for_each(answer);
            }
            let deadline = self.deadline;
            let drained = async {
                match deadline {
                    Some(time) => sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(finished) = self.done.recv() => {
                    // Handlers that are about to return share its commit.
                    tokio::task::yield_now().await;
                    self.finish(finished);
                }
                Some(answer) = self.commits.join_next() => self.answer(answer),
                claimed = carried(&mut self.offered) => self.carried(claimed),
                () = core.look.notified() => self.hungry = true,
                Some(control) = self.controls.recv() => self.obey(control),
                () = drained => {
                    core.stopping.cancel();
                    self.deadline = None;
                }
                () = core.stopped.cancelled() => break,
            }
        }
        self.end().await;
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Idle(reply) => {
                self.hungry = true;
                self.idle.push(reply);
            }
            Control::Stop(reply) => {
                // A time that no clock reaches is no deadline.
                let deadline = Instant::now().checked_add(self.core.settings.drain);
                if self.stop.is_none() {
                    self.deadline = deadline;
                }
                self.stop.get_or_insert_default().push(reply);
            }
        }
    }

    /// A handler returned; so may have others.
    fn finish(&mut self, finished: Finished) {
        let mut next = Some(finished);
        while let Some(finished) = next {
            self.running -= 1;
            let partition = finished.run.map_or(Partition::Plain, Partition::Run);
            self.waiting.entry(partition).or_default().push(finished);
            next = self.done.try_recv().ok();
        }
    }

    /// Sends whatever may be committed now.
    fn send(&mut self) {
        let ready: Vec<_> =
            self.waiting.keys().filter(|key| !self.busy.contains(*key)).copied().collect();
        for partition in ready {
            let finished = self.waiting.remove(&partition).unwrap_or_default();
            self.commit(partition, finished);
        }
        if self.hungry && self.free() > 0 && !self.busy.contains(&Partition::Claim) {
            self.commit(Partition::Claim, Vec::new());
        }
    }

    /// Whether nothing more may be started.
    fn is_closed(&self) -> bool {
        self.stop.is_some() || self.core.paused.load(Ordering::SeqCst)
    }

    /// How many more tasks may be claimed.
    fn free(&self) -> u32 {
        let used = self.running + self.reserved;
        if self.is_closed() { 0 } else { self.core.settings.concurrency.saturating_sub(used) }
    }

    fn commit(&mut self, partition: Partition, finished: Vec<Finished>) {
        let claim = self.claim();
        self.busy.insert(partition);
        let (settled, commands): (Vec<_>, Vec<_>) =
            finished.into_iter().map(|finished| (settled(&finished), finished.command)).unzip();
        let core = Arc::clone(&self.core);
        self.commits.spawn(async move {
            let batch = Batch { commands, claim: claim.clone() };
            match persist(&core, batch.clone()).await {
                Err(error) if error.is_bug() => {
                    let (settled, result) = apart(&core, batch, settled).await;
                    Answer { partition, claim, settled, result }
                }
                result => Answer { partition, claim, settled, result },
            }
        });
    }

    /// Offers a claim to whoever makes a task, while there is nothing to commit here.
    fn offer(&mut self) {
        let is_waiting = self.offered.is_none() && self.commits.is_empty() && !self.hungry;
        if is_waiting && let Some(claim) = self.claim() {
            let (reply, claimed) = oneshot::channel();
            self.offered = Some(Offered { seq: claim.seq, limit: claim.limit, claimed });
            self.core.committer.offer(Offer { claim, reply });
            // Who pauses withdraws the offer; it may have looked before this one was made.
            if self.is_closed() {
                self.withdraw();
            }
        }
    }

    /// Takes the offer back, unless a commit carries it.
    fn withdraw(&mut self) {
        if self.core.committer.withdraw().is_some() {
            self.close_offer();
        }
    }

    fn close_offer(&mut self) {
        if let Some(offered) = self.offered.take() {
            self.reserved -= offered.limit;
            lock(&self.core.open_claims).remove(&offered.seq);
        }
    }

    /// A commit has carried the claim, or nobody knows: what it took then is given back by the
    /// keeper, which finds tasks of a closed claim that are not held.
    fn carried(&mut self, claimed: Option<Vec<Claimed>>) {
        let limit = self.offered.as_ref().map_or(0, |offered| offered.limit as usize);
        self.hungry |= claimed.as_ref().is_none_or(|claimed| claimed.len() == limit);
        // Held before the claim is closed.
        claimed.into_iter().flatten().for_each(|claimed| self.start(claimed));
        self.close_offer();
    }

    /// A claim for all places that are free.
    fn claim(&mut self) -> Option<Claim> {
        let limit = self.free();
        if limit == 0 {
            return None;
        }
        self.hungry = false;
        self.reserved += limit;
        self.claims += 1;
        lock(&self.core.open_claims).insert(self.claims);
        let (instance, serves) = (self.core.instance, Arc::clone(&self.core.serves));
        Some(Claim { instance, seq: self.claims, limit, serves, again: false })
    }

    fn answer(&mut self, answer: Result<Answer, tokio::task::JoinError>) {
        let Ok(Answer { partition, claim, settled, result }) = answer else {
            return;
        };
        self.busy.remove(&partition);
        match result {
            Ok(committed) => {
                self.settled(&settled, &committed.receipts);
                self.core.publish(&committed);
                let full = claim
                    .as_ref()
                    .is_some_and(|claim| committed.claimed.len() == claim.limit as usize);
                self.hungry |= full || (committed.woke && claim.is_none());
                committed.claimed.into_iter().for_each(|claimed| self.start(claimed));
            }
            Err(error) => self.core.fail(error),
        }
        let mut held = lock(&self.core.held);
        settled.iter().for_each(|settled| drop(held.remove(&settled.held)));
        drop(held);
        if let Some(claim) = claim {
            self.reserved -= claim.limit;
            lock(&self.core.open_claims).remove(&claim.seq);
        }
    }

    /// Wakes those who wait for tasks that have ended, and keeps what steps returned.
    fn settled(&self, settled: &[Settled], receipts: &[Receipt]) {
        for (Settled { held: (task, lease), output }, receipt) in settled.iter().zip(receipts) {
            match receipt {
                Ok(Outcome::State(state)) if state.is_terminal() => {
                    self.core.waiters.task_ended(*task);
                    if let (TaskState::Completed, Some(output)) = (state, output) {
                        lock(&self.core.outputs).keep(*task, output.clone());
                    }
                }
                Ok(_) => {}
                Err(refusal) => {
                    tracing::warn!(%task, lease, %refusal, "what an attempt handed in was refused");
                    metrics::counter!("segue_refused_settles_total").increment(1);
                }
            }
        }
    }

    fn start(&mut self, claimed: Claimed) {
        let held = (claimed.task.id, claimed.task.lease);
        let run = claimed.task.step.map(|(run, _)| run);
        let token = self.core.stopping.child_token();
        if lock(&self.core.held).insert(held, token.clone()).is_some() {
            return;
        }
        self.running += 1;
        let report = self.report.clone();
        if self.is_closed() {
            let _ = report.send(Finished { held, run, command: give_back(&claimed) });
            return;
        }
        let job = Job {
            core: Arc::clone(&self.core),
            claimed: Arc::new(claimed),
            token,
            used: Arc::default(),
            ended: Arc::default(),
        };
        tokio::spawn(async move {
            let command = worker::attend(job).await;
            // The dispatcher is gone only when the engine has failed.
            let _ = report.send(Finished { held, run, command });
        });
    }

    fn is_quiet(&self) -> bool {
        let in_flight = !self.commits.is_empty() || self.offered.is_some();
        self.running == 0 && self.waiting.is_empty() && !in_flight
    }

    fn is_idle(&self) -> bool {
        let can_claim = self.hungry && self.free() > 0;
        self.is_quiet() && !can_claim
    }

    fn is_over(&self) -> bool {
        self.stop.is_some() && self.is_quiet()
    }

    /// The last words of this instance.
    async fn end(mut self) {
        self.withdraw();
        self.core.registry.close_agents().await;
        if !self.core.stopped.is_cancelled() {
            self.core.leaving.store(true, Ordering::SeqCst);
            drop(self.core.rounds.lock().await);
            let retire = Command::Retire(self.core.instance);
            // In turn with the keeper's announcements.
            if let Err(error) = self.core.submit(retire).await {
                tracing::warn!(%error, "can't say goodbye; another engine will notice");
            }
            if let Err(error) = self.core.backend.rest().await {
                tracing::warn!(%error, "the database could not be put in order");
            }
        }
        // Whoever asked is answered before everyone else learns that the engine has stopped.
        let replies = self.stop.take().into_iter().flatten().chain(self.idle.drain(..));
        replies.for_each(answer);
        self.core.stopping.cancel();
        self.core.stopped.cancel();
    }
}

/// What a commit took for the claim that was offered; None when that is not known.
async fn carried(offered: &mut Option<Offered>) -> Option<Vec<Claimed>> {
    match offered {
        Some(offered) => (&mut offered.claimed).await.ok(),
        None => std::future::pending().await,
    }
}

fn settled(finished: &Finished) -> Settled {
    let output = match &finished.command {
        Command::Settle(settle) if finished.run.is_some() => match &settle.decision {
            Decision::Complete(output) => Some(output.clone()),
            _ => None,
        },
        _ => None,
    };
    Settled { held: finished.held, output }
}

/// The command that returns a task that was not started.
pub(super) fn give_back(claimed: &Claimed) -> Command {
    Command::Settle(Box::new(Settle::new(
        claimed.task.clone(),
        claimed.spec.options.retry.clone(),
        Decision::Release,
    )))
}

/// Commits each result for itself, since one of them brings out a bug. That one is handed in as
/// a failure. Where even that can't be recorded the task stays held, so that it is not done
/// again and again; the others go on.
async fn apart(
    core: &Core,
    batch: Batch,
    settled: Vec<Settled>,
) -> (Vec<Settled>, Result<Committed>) {
    let (mut all, mut kept) = (Committed::default(), Vec::new());
    let claim = batch.claim.map(|claim| (Batch { commands: vec![], claim: Some(claim) }, None));
    let each = batch.commands.into_iter().zip(settled);
    let each = each
        .map(|(command, settled)| (Batch { commands: vec![command], claim: None }, Some(settled)));
    for (batch, settled) in each.chain(claim) {
        let mut result = persist(core, batch.clone()).await;
        if let Err(error) = &result
            && error.is_bug()
        {
            result = persist(core, failed(batch, error)).await;
        }
        match result {
            Ok(committed) => {
                all.extend(committed);
                kept.extend(settled);
            }
            Err(error) if error.is_bug() => {
                let task = settled.map(|settled| settled.held.0.to_string());
                tracing::error!(task, %error, "what an attempt handed in can't be recorded");
            }
            Err(error) => return (kept, Err(error)),
        }
    }
    (kept, Ok(all))
}

/// The same attempts, which have failed.
fn failed(mut batch: Batch, error: &Error) -> Batch {
    for command in &mut batch.commands {
        if let Command::Settle(settle) = command {
            let message = error.to_string();
            let fault = Fault { kind: FaultKind::Error, message, retryable: false };
            settle.decision = Decision::Fail(fault);
            (settle.grow, settle.said, settle.memo) = (None, None, None);
        }
    }
    batch
}

/// Commits, for as long as it takes: results are not given up because the database is away.
async fn persist(core: &Core, mut batch: Batch) -> Result<Committed> {
    let mut pause = Duration::from_millis(20);
    loop {
        metrics::counter!("segue_commits_total").increment(1);
        let error = match core.backend.commit(batch.clone()).await {
            Ok(committed) => return Ok(committed),
            Err(error) => error,
        };
        if !error.is_transient() {
            return Err(error);
        }
        tracing::warn!(%error, "a commit will be tried again");
        batch.claim.iter_mut().for_each(|claim| claim.again = true);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = core.stopped.cancelled() => return Err(Error::closed()),
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
