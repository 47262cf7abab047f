//! Rows in memory, of which a plan is given all, whatever it asks for. What a plan asks for must
//! be enough to come to the same.

use std::sync::{Mutex, MutexGuard};

use segue::{Result, backend::Backend, clock::Clock, id::*, model::*};

#[derive(Debug)]
pub struct Whole {
    clock: Clock,
    kept: Mutex<(Rows, Cursor)>,
}

impl Whole {
    pub fn new(clock: impl Into<Clock>) -> Self {
        Self { clock: clock.into(), kept: Mutex::default() }
    }

    pub fn insert_foreign(&self, spec: TaskSpec) {
        let (rows, _) = &mut *self.kept();
        rows.foreign.insert(spec.id);
        rows.specs.insert(spec.id, spec);
    }

    fn kept(&self) -> MutexGuard<'_, (Rows, Cursor)> {
        self.kept.lock().unwrap()
    }
}

fn save((rows, cursor): &mut (Rows, Cursor), mut changes: Changes, committed: &mut Committed) {
    for entry in &mut changes.entries {
        cursor.major += 1;
        entry.cursor = *cursor;
    }
    committed.note(&changes);
    rows.apply(changes);
}

#[async_trait::async_trait]
impl Backend for Whole {
    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let mut kept = self.kept();
        let now = self.clock.now();
        let mut committed = Committed::default();
        let mut split = Split::new(batch.commands, now);
        let missed = kept.0.missed(split.changes());
        save(&mut kept, split.changes().clone(), &mut committed);
        let mut planned = Vec::new();
        if let Some(mut plan) = split.plan(&missed) {
            while let Some(needs) = plan.needs() {
                // Whether a task is there is asked in two ways.
                let Rows { routes, turn_routes, .. } = kept.0.load(&needs);
                plan.supply(Rows { routes, turn_routes, ..kept.0.clone() }, now);
            }
            let (changes, receipts) = plan.finish();
            save(&mut kept, changes, &mut committed);
            planned = receipts;
        }
        committed.receipts = split.finish(planned);
        if let Some(claim) = &batch.claim {
            committed.claimed = kept.0.claim(claim, now);
        }
        Ok(committed)
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    async fn migrate(&self) -> Result<()> {
        Ok(())
    }

    async fn beat(&self, instance: InstanceId) -> Result<bool> {
        let mut kept = self.kept();
        Ok(kept.0.instances.get_mut(&instance).map(|row| row.beat += 1).is_some())
    }

    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due> {
        let kept = self.kept();
        Ok(Due { tail: kept.1, ..kept.0.due(of, limit as usize, self.clock.now()) })
    }

    async fn read(&self, needs: &Needs) -> Result<Rows> {
        Ok(self.kept().0.load(needs))
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        Ok(self.kept().0.list(query))
    }

    async fn stats(&self) -> Result<Stats> {
        Ok(self.kept().0.stats())
    }

    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>> {
        Ok(self.kept().0.tail(stream, after, limit as usize))
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned> {
        Ok(self.kept().0.prune(prune))
    }
}
