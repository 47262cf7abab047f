//! Answers what is due: timers, rows of other programs, cancels, dead owners, old rows.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;

use super::{
    Core, Keep, dispatcher,
    hosts::{self, Life},
    lock,
    observer::Observer,
};
use crate::{
    error::{Error, Result},
    id::InstanceId,
    model::{
        Claimed, Command, Disk, Due, Host, Instance, Outcome, Page, Prune, Query, Task, TaskFlags,
        TaskState,
    },
};

/// How much of each kind one look takes on at least.
const BATCH: u32 = 500;
/// How many of each kind are removed at once when room must be made.
const ROOM: u32 = 10;
/// The time between two rounds of tidying.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// What a starting engine found and put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// Tasks taken back from instances of this host that are dead.
    pub rescued: u64,
    /// Rows of other programs that were taken in.
    pub adopted: u64,
    /// Instances that were found dead.
    pub dead_instances: u64,
    /// Worktrees that were pinned for agents, and that nobody reads any more.
    pub worktrees: u64,
    /// Programs of agents that engines of this host had started, and of which nothing is left now.
    pub programs: u64,
}

pub(super) struct Keeper {
    core: Arc<Core>,
    here: Host,
    /// Watches those who hold tasks.
    observer: Observer,
    /// Watches all, less often.
    idle_observer: Observer,
    tidied: Duration,
}

impl Keeper {
    pub fn new(core: Arc<Core>) -> Self {
        let observer = Observer::new(core.settings.lapse, core.settings.poll);
        let idle_observer = Observer::new(core.settings.lapse, TIDY_EVERY);
        Self { core, here: hosts::here(), observer, idle_observer, tidied: Duration::ZERO }
    }

    /// How much of each kind one look takes on: everything that this engine runs, so that no
    /// cancelled task is overlooked, and more.
    fn batch(&self) -> u32 {
        self.core.settings.concurrency.saturating_add(BATCH)
    }

    /// Puts right what the past left, before anything is dispatched.
    pub async fn reconcile(&mut self) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        loop {
            let due = self.core.backend.due(self.core.instance, self.batch()).await?;
            let full = due.foreign.len() == self.batch() as usize;
            let more = self.answer(due).await?;
            repaired.rescued += more.rescued;
            repaired.adopted += more.adopted;
            repaired.dead_instances += more.dead_instances;
            if !full {
                break;
            }
        }
        repaired.dead_instances += self.forget_dead().await?;
        #[cfg(all(feature = "programs", target_os = "linux"))]
        {
            repaired.programs += super::programs::sweep_orphans(&self.core).await?;
            repaired.worktrees += self.reap().await;
        }
        if repaired != Repaired::default() {
            tracing::info!(?repaired, "repaired what the past left");
        }
        Ok(repaired)
    }

    pub async fn run(mut self) {
        while !self.core.stopped.is_cancelled() {
            let clock = self.core.backend.clock();
            let next = self.core.next.load(Ordering::SeqCst);
            let until =
                Duration::from_micros(next.saturating_sub(clock.now().as_micros()).max(0) as u64);
            tokio::select! {
                () = self.core.due.notified() => {}
                () = clock.sleep(until.min(self.core.settings.poll)) => {}
                () = self.core.stopped.cancelled() => return,
            }
            // Whoever leaves waits for a round that is under way, and no other begins.
            let core = Arc::clone(&self.core);
            let _round = core.rounds.lock().await;
            if core.leaving.load(Ordering::SeqCst) {
                return;
            }
            match self.round().await {
                Err(error) if error.is_schema_moved_on() => self.core.fail(error),
                Err(error) => {
                    tracing::warn!(%error, "a look at what is due failed");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(()) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<()> {
        // Set before the look: a time that is noted meanwhile stays noted.
        self.core.next.store(i64::MAX, Ordering::SeqCst);
        let due = self.core.backend.due(self.core.instance, self.batch()).await?;
        if let Some(next) = due.next {
            self.core.next.fetch_min(next.as_micros(), Ordering::SeqCst);
        }
        let full = [due.ripe.len(), due.foreign.len()].contains(&(self.batch() as usize));
        let ready = due.ready;
        self.answer(due).await?;
        if ready {
            self.core.look.notify_one();
        }
        if full {
            self.core.due.notify_one();
        }
        if self.core.announce.swap(false, Ordering::SeqCst) {
            self.core.submit(Command::Register(Box::new(self.core.announcement()))).await?;
        }
        self.tidy().await
    }

    /// Answers each fact with the command it calls for.
    async fn answer(&mut self, due: Due) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        let ripe = due.ripe.into_iter().map(|task| Command::Ripen(Box::new(task)));
        self.carry_out(ripe).await?;
        let adopted = self.carry_out(due.foreign.into_iter().map(Command::Adopt)).await?;
        repaired.adopted = adopted.iter().flatten().count() as u64;
        self.look_after_held(&due.held).await?;
        for dead in self.dead(&due.holders) {
            repaired.rescued += self.rescue(dead).await?;
            repaired.dead_instances += 1;
        }
        Ok(repaired)
    }

    /// Sends commands together. A refusal means that someone else was faster.
    async fn carry_out(
        &self,
        commands: impl Iterator<Item = Command>,
    ) -> Result<Vec<Option<Outcome>>> {
        let results = join_all(commands.map(|command| self.core.submit(command))).await;
        let refused_or_done = |result: Result<Outcome>| match result {
            Ok(outcome) => Ok(Some(outcome)),
            Err(error) if error.rejection().is_some() => Ok(None),
            Err(error) => Err(error),
        };
        results.into_iter().map(refused_or_done).collect()
    }

    /// Tells handlers to stop whose task was cancelled, and gives back tasks that the
    /// database says we hold and we know nothing of: the answer to their claim was lost.
    async fn look_after_held(&self, held: &[Task]) -> Result<()> {
        let mut lost = Vec::new();
        for task in held {
            // In this order: a claim is closed after what it took is held.
            let first_open = lock(&self.core.open_claims).first().copied();
            let known = lock(&self.core.held).get(&(task.id, task.lease)).cloned();
            match known {
                Some(token) if task.flags.has(TaskFlags::CANCEL) => token.cancel(),
                Some(_) => {}
                None if first_open.is_some_and(|open| open <= task.claim) => {}
                None => lost.push(task.clone()),
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        let ids = || lost.iter().map(|task| task.id).collect();
        let needs = crate::model::Needs { tasks: ids(), specs: ids(), ..Default::default() };
        let mut rows = self.core.backend.read(&needs).await?;
        // One that runs no more was settled between the two looks.
        let runs = |task: &Task| rows.tasks.get(&task.id).is_some_and(|row| row == task);
        lost.retain(runs);
        let commands = lost.into_iter().filter_map(|task| {
            let spec = rows.specs.remove(&task.id)?;
            Some(dispatcher::give_back(&Claimed { task, spec }))
        });
        self.carry_out(commands).await.map(drop)
    }

    /// Those of the holders that are dead.
    fn dead(&mut self, holders: &[(InstanceId, Option<Instance>)]) -> Vec<InstanceId> {
        let now = self.core.backend.clock().monotonic();
        let holders = holders.iter().map(|(id, instance)| (*id, instance.as_ref()));
        let beats = beats(self.core.instance, &self.here, holders);
        self.observer.look(now, beats)
    }

    /// Forgets instances that died while they held nothing. Returns how many.
    async fn forget_dead(&mut self) -> Result<u64> {
        let page = self.core.backend.list(&Query::Instances).await?;
        let Page::Instances(all) = page else {
            return Err(Error::database("a list of instances was answered with another"));
        };
        let now = self.core.backend.clock().monotonic();
        let all = all.iter().map(|instance| (instance.id, Some(instance)));
        let beats = beats(self.core.instance, &self.here, all);
        let dead = self.idle_observer.look(now, beats);
        for id in &dead {
            self.rescue(*id).await?;
        }
        Ok(dead.len() as u64)
    }

    /// Takes back everything that a dead instance holds.
    async fn rescue(&self, dead: InstanceId) -> Result<u64> {
        // Before anyone else takes up its work, nothing of it is at work any more.
        #[cfg(all(feature = "programs", target_os = "linux"))]
        super::programs::sweep(dead).await?;
        let mut rescued = 0;
        loop {
            let held = self.core.backend.due(dead, BATCH).await?.held;
            let full = held.len() == BATCH as usize;
            let rescue = |task: Task| Command::Rescue { task: task.id, lease: task.lease };
            let outcomes = self.carry_out(held.into_iter().map(rescue)).await?;
            let back = |outcome: &&Outcome| !matches!(outcome, Outcome::State(TaskState::Running));
            rescued += outcomes.iter().flatten().filter(back).count() as u64;
            if !full {
                break;
            }
        }
        tracing::warn!(instance = %dead, rescued, "an instance is dead; its tasks were taken back");
        metrics::counter!("segue_rescued_tasks_total").increment(rescued);
        self.core.submit(Command::Retire(dead)).await?;
        Ok(rescued)
    }

    /// What need not be done in each round.
    async fn tidy(&mut self) -> Result<()> {
        let now = self.core.backend.clock().monotonic();
        if now.saturating_sub(self.tidied) < TIDY_EVERY && self.tidied != Duration::ZERO {
            return Ok(());
        }
        self.tidied = now;
        self.forget_dead().await?;
        #[cfg(all(feature = "programs", target_os = "linux"))]
        self.reap().await;
        self.prune().await
    }

    /// Takes away worktrees that nobody reads. That it can't keeps the engine from nothing else.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    async fn reap(&self) -> u64 {
        super::pinned::reap(&self.core).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "worktrees that nobody reads were not taken away");
            0
        })
    }

    /// Removes what is kept no longer.
    async fn prune(&mut self) -> Result<()> {
        let clock = self.core.backend.clock();
        while let Some(prune) = self.core.settings.keep.prune(clock.now()) {
            let pruned = self.core.backend.prune(&prune).await?;
            let most = pruned.tasks.max(pruned.runs).max(pruned.entries);
            if most < u64::from(prune.limit) || self.core.stopped.is_cancelled() {
                break;
            }
        }
        match self.core.settings.keep.bytes {
            Some(bytes) => self.make_room(bytes).await,
            None => Ok(()),
        }
    }

    /// Removes the oldest of what has ended until no more than `bytes` are in use: first what
    /// ended two years ago, then a quarter of that, and so on to a minute, a few rows at a time.
    async fn make_room(&self, bytes: u64) -> Result<()> {
        let now = self.core.backend.clock().now();
        for age in (0..=10).rev().map(|n| Duration::from_secs(60 << (2 * n))) {
            let keep = Keep { tasks: Some(age), runs: Some(age), ..Keep::default() };
            let prune = keep.prune(now).map(|prune| Prune { limit: ROOM, ..prune });
            while let Some(prune) = &prune {
                let used = self.core.disk().await?.used_bytes;
                if used.is_none_or(|used| used <= bytes) || self.core.stopped.is_cancelled() {
                    return Ok(());
                }
                let pruned = self.core.backend.prune(prune).await?;
                if pruned.tasks + pruned.runs == 0 {
                    break;
                }
            }
        }
        tracing::warn!(bytes, "what has not ended needs more room than the database may use");
        Ok(())
    }
}

/// What the observer looks at: the beats of other instances than `own`.
fn beats<'a>(
    own: InstanceId,
    here: &'a Host,
    instances: impl Iterator<Item = (InstanceId, Option<&'a Instance>)>,
) -> impl Iterator<Item = (InstanceId, i64, Life)> {
    let others = instances.filter(move |(id, _)| *id != own);
    others.map(|(id, instance)| match instance {
        Some(instance) => (id, instance.beat, hosts::life(here, &instance.host)),
        None => (id, -1, Life::Unknown),
    })
}

impl Core {
    /// How large the database is.
    pub(crate) async fn disk(&self) -> Result<Disk> {
        match self.backend.list(&Query::Disk).await? {
            Page::Disk(disk) => Ok(disk),
            _ => Err(Error::database("a question for sizes was answered with a list")),
        }
    }

    /// The database does not know this instance: the keeper announces it again.
    pub(super) fn announce_again(&self) {
        self.announce.store(true, Ordering::SeqCst);
        self.due.notify_one();
    }

    /// The error of a task that was waited for and is not there.
    pub(crate) fn missing(what: &str, id: impl ToString) -> Error {
        crate::model::Rejection::not_found(what, id).into()
    }
}
