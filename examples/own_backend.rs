//! A backend of one's own: rows in memory. It keeps rows and takes every decision from the
//! model. Run it to see it work and pass the conformance kit:
//!
//! ```text
//! cargo run --example own_backend --features conformance
//! ```

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use segue::{
    Result,
    backend::{Backend, conformance},
    clock::{Clock, ManualClock},
    id::{InstanceId, TaskId},
    model::{
        Batch, Changes, Claim, Command, Committed, Cursor, Decision, Due, Entry, Needs, Page,
        Payload, Prune, Pruned, Query, Retry, Rows, Settle, Split, Stats, Stream, TaskSpec,
    },
};

/// Rows in memory, gone with the process.
#[derive(Debug)]
pub struct OwnBackend {
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    rows: Rows,
    /// The cursor of the last entry. It never goes back, whatever is pruned.
    cursor: Cursor,
}

impl OwnBackend {
    /// An empty backend.
    pub fn new(clock: impl Into<Clock>) -> Self {
        Self { clock: clock.into(), kept: Mutex::default() }
    }

    /// What another program does that inserts a task by itself.
    pub fn insert_foreign(&self, spec: TaskSpec) {
        let mut kept = self.kept();
        kept.rows.foreign.insert(spec.id);
        kept.rows.specs.insert(spec.id, spec);
    }

    /// The lock is the transaction: nothing in it can fail halfway.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no one panics while holding the rows")
    }
}

impl Kept {
    /// Saves the changes, and notes what the caller must know of them.
    fn save(&mut self, mut changes: Changes, committed: &mut Committed) {
        for entry in &mut changes.entries {
            self.cursor.major += 1;
            entry.cursor = self.cursor;
        }
        committed.note(&changes);
        self.rows.apply(changes);
    }
}

#[async_trait::async_trait]
impl Backend for OwnBackend {
    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    async fn migrate(&self) -> Result<()> {
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let mut kept = self.kept();
        let now = self.clock.now();
        let mut committed = Committed::default();
        let mut split = Split::new(batch.commands, now);
        let missed = kept.rows.missed(split.changes());
        kept.save(split.changes().clone(), &mut committed);
        let planned = match split.plan(&missed) {
            None => Vec::new(),
            Some(mut plan) => {
                while let Some(needs) = plan.needs() {
                    plan.supply(kept.rows.load(&needs), now);
                }
                let (changes, receipts) = plan.finish();
                kept.save(changes, &mut committed);
                receipts
            }
        };
        committed.receipts = split.finish(planned);
        if let Some(claim) = &batch.claim {
            committed.claimed = kept.rows.claim(claim, now);
        }
        Ok(committed)
    }

    async fn beat(&self, instance: InstanceId) -> Result<bool> {
        let mut kept = self.kept();
        let row = kept.rows.instances.get_mut(&instance);
        Ok(row.map(|row| row.beat += 1).is_some())
    }

    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due> {
        let kept = self.kept();
        Ok(Due { tail: kept.cursor, ..kept.rows.due(of, limit as usize, self.clock.now()) })
    }

    async fn read(&self, needs: &Needs) -> Result<Rows> {
        Ok(self.kept().rows.load(needs))
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        Ok(self.kept().rows.list(query))
    }

    async fn stats(&self) -> Result<Stats> {
        Ok(self.kept().rows.stats())
    }

    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>> {
        Ok(self.kept().rows.tail(stream, after, limit as usize))
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned> {
        Ok(self.kept().rows.prune(prune))
    }
}

/// An empty backend for each clause of the kit, with a clock that the clause moves.
async fn fresh() -> OwnBackend {
    OwnBackend::new(ManualClock::default())
}

/// Shows a task on its way, then lets the kit judge the backend.
#[tokio::main]
async fn main() -> Result<()> {
    let backend = fresh().await;
    let greet = TaskSpec::new(TaskId::new(), "greet", Payload::text("Ada"));
    let claim = Claim {
        instance: InstanceId::new(),
        seq: 1,
        limit: 10,
        serves: Arc::new(BTreeSet::from(["task:greet".to_owned()])),
        again: false,
    };
    let commands = vec![Command::Enqueue(Box::new(greet))];
    let taken = backend.commit(Batch { commands, claim: Some(claim) }).await?;
    println!("enqueued: {:?}", taken.receipts);
    for claimed in taken.claimed {
        println!("claimed:  {} with input {}", claimed.spec.kind, claimed.spec.input);
        let decision = Decision::Complete(Payload::text("hello Ada"));
        let (held, retry) = (claimed.task, Retry::NEVER);
        let settle = Settle::new(held, retry, decision);
        let commands = vec![Command::Settle(Box::new(settle)); 2];
        let settled = backend.commit(Batch { commands, claim: None }).await?;
        println!("settled twice: {:?}", settled.receipts);
    }
    println!("tasks:    {:?}", backend.stats().await?.tasks);
    for (name, _) in conformance::CLAUSES {
        conformance::check(name, conformance::Kit::new(Arc::new(fresh().await))).await;
        println!("keeps:    {}", name.replace('_', " "));
    }
    Ok(())
}
