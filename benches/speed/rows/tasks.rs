//! Tasks: enqueue, drain, settle and claim, against the raw loops.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use segue::{
    NewTask,
    backend::Backend,
    id::InstanceId,
    model::{Batch, Claim, Claimed, Command, Decision, Payload, Settle},
};

use super::{
    super::{
        Result,
        place::{Kind, Place},
        ratio::{Bench, Rate},
        raw,
        table::Target,
    },
    Counter, drain, enqueue_from,
};

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    enqueue(bench, kind)?;
    drains(bench, kind)?;
    exchanges(bench, kind)
}

fn enqueue(bench: &mut Bench, kind: Kind) -> Result<()> {
    let name = |row: &str| format!("{}: {row}", kind.name());
    let runtime = Arc::clone(&bench.runtime);
    let (place, other) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let engine = runtime.block_on(Counter::default().on(place.engine()).paused().start())?;
    let mut raw = raw::own(&other)?;
    let least = match kind {
        Kind::Sqlite => 0.8,
        Kind::Postgres => 0.7,
    };

    let row = name("enqueue one by one, against raw");
    if bench.wants(&row) {
        let count = bench.size(600);
        bench.ratio(&row, Target::AtLeast(least), || {
            let own = Rate::time(count, || runtime.block_on(enqueue_from(&engine, 1, count)))?;
            let raw = Rate::time(count, || (0..count).try_for_each(|_| raw.enqueue(1)))?;
            Ok((own, raw))
        })?;
    }
    let row = name("enqueue from 64 callers, against 1");
    if bench.wants(&row) {
        let (count, each) = (bench.size(400), bench.size(80));
        bench.ratio(&row, Target::AtLeast(8.0), || {
            let one = Rate::time(count, || runtime.block_on(enqueue_from(&engine, 1, count)))?;
            let work = || runtime.block_on(enqueue_from(&engine, 64, each));
            Ok((Rate::time(64 * each, work)?, one))
        })?;
    }
    let row = name("enqueue in bulk, 1,000 a call, against raw");
    if bench.wants(&row) {
        let calls = bench.size(16);
        bench.ratio(&row, Target::AtLeast(0.6), || {
            let own = Rate::time(calls * 1000, || {
                runtime.block_on(async {
                    for _ in 0..calls {
                        let tasks = (0..1000).map(|_| NewTask::new("count", &()));
                        engine.enqueue_all(tasks).await?;
                    }
                    Ok(())
                })
            })?;
            let raw = Rate::time(calls * 1000, || (0..calls).try_for_each(|_| raw.enqueue(1000)))?;
            Ok((own, raw))
        })?;
    }
    Ok(runtime.block_on(engine.shutdown())?)
}

fn drains(bench: &mut Bench, kind: Kind) -> Result<()> {
    let name = |row: &str| format!("{}: {row}", kind.name());
    let runtime = Arc::clone(&bench.runtime);
    let (place, other) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let counter = Counter::default();
    let engine = runtime.block_on(counter.on(place.engine()).paused().start())?;
    let (mut own, mut least) = (raw::own(&other)?, raw::minimal(&other)?);
    let tasks = 200 * bench.size(16_000).div_ceil(200);
    let rows = [
        (name("drain of no-ops, against raw fused 100"), 0.6, &mut own),
        (name("drain of no-ops, against raw fused 100 on a minimal table"), 0.35, &mut least),
    ];
    let limit = name("raw fused 100 on segue's tables, against a minimal table");
    bench.table.limit(&rows[1].0, &limit);
    for (row, target, raw) in rows {
        if !bench.wants(&row) {
            continue;
        }
        bench.ratio(&row, Target::AtLeast(target), || {
            runtime.block_on(enqueue_from(&engine, 200, tasks / 200))?;
            let own = Rate::of(tasks, runtime.block_on(drain(&engine, &counter, tasks))?);
            Ok((own, drained(&mut **raw, tasks)?))
        })?;
    }
    if bench.wants(&limit) {
        bench.ratio(&limit, Target::Shown, || {
            Ok((drained(&mut *own, tasks)?, drained(&mut *least, tasks)?))
        })?;
    }
    Ok(runtime.block_on(engine.shutdown())?)
}

/// Fills a raw queue, and says how fast it drains.
fn drained(raw: &mut dyn raw::Queue, tasks: usize) -> Result<Rate> {
    for _ in 0..tasks.div_ceil(1000) {
        raw.enqueue(1000)?;
    }
    let (mut drained, start) = (0, Instant::now());
    loop {
        match raw.exchange(100)? {
            0 => return Ok(Rate::of(drained, start.elapsed())),
            more => drained += more,
        }
    }
}

/// A worker without an engine: settles what it holds and claims more, in one commit.
pub struct Worker {
    backend: Arc<dyn Backend>,
    instance: InstanceId,
    serves: Arc<BTreeSet<String>>,
    seq: i64,
    held: Vec<Claimed>,
}

impl Worker {
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let serves = Arc::new(BTreeSet::from(["task:count".to_owned()]));
        Self { backend, instance: InstanceId::new(), serves, seq: 0, held: Vec::new() }
    }

    pub async fn exchange(&mut self, limit: u32) -> Result<usize> {
        let commands = self.held.drain(..).map(|claimed| {
            Command::Settle(Box::new(Settle {
                retry: claimed.spec.options.retry,
                held: claimed.task,
                decision: Decision::Complete(Payload::null()),
                usage: None,
                said: None,
                grow: None,
                memo: None,
                turn: None,
            }))
        });
        let commands = commands.collect();
        self.seq += 1;
        let serves = Arc::clone(&self.serves);
        let claim = Claim { instance: self.instance, seq: self.seq, limit, serves, again: false };
        let claim = (limit > 0).then_some(claim);
        let done = self.backend.commit(Batch { commands, claim }).await?;
        self.held = done.claimed;
        Ok(self.held.len())
    }
}

fn exchanges(bench: &mut Bench, kind: Kind) -> Result<()> {
    let runtime = Arc::clone(&bench.runtime);
    let (place, other) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let engine = runtime.block_on(Counter::default().on(place.engine()).paused().start())?;
    let backend = runtime.block_on(place.address.backend())?;
    let (mut worker, mut raw) = (Worker::new(backend), raw::own(&other)?);
    for (batch, rounds) in [(1, 400), (100, 80)] {
        let row = format!("{}: settle and claim {batch}, against raw", kind.name());
        if !bench.wants(&row) {
            continue;
        }
        let rounds = bench.size(rounds);
        let count = rounds * batch;
        bench.ratio(&row, Target::Shown, || {
            runtime.block_on(enqueue_from(&engine, 50, (count + batch).div_ceil(50)))?;
            (0..(count + batch).div_ceil(1000)).try_for_each(|_| raw.enqueue(1000))?;
            runtime.block_on(worker.exchange(batch as u32))?;
            raw.exchange(batch)?;
            let own = Rate::time(count, || {
                runtime.block_on(async {
                    for _ in 0..rounds {
                        worker.exchange(batch as u32).await?;
                    }
                    Ok(())
                })
            })?;
            let raw =
                Rate::time(count, || (0..rounds).try_for_each(|_| raw.exchange(batch).map(drop)))?;
            Ok((own, raw))
        })?;
    }
    Ok(runtime.block_on(engine.shutdown())?)
}
