//! The same with much in the tables as with little, and under an old snapshot.

use std::sync::Arc;

use segue::{Engine, backend::Backend};

use super::{
    super::{
        Result,
        place::{Kind, Place},
        ratio::{Bench, Rate},
        raw,
        table::{Row, Target, quantile},
    },
    Counter, drain, enqueue_from,
    tasks::Worker,
    waking,
};

const WITHIN: Target = Target::AtLeast(1.0 / 1.2);

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    large(bench, kind)?;
    old_snapshot(bench, kind)
}

/// An engine that has seen a task, so that there is a lane; paused.
fn start(bench: &Bench, place: &Place) -> Result<(Engine, Arc<dyn Backend>)> {
    let engine = bench.runtime.block_on(Counter::default().on(place.engine()).paused().start())?;
    bench.runtime.block_on(enqueue_from(&engine, 1, 1))?;
    let backend = bench.runtime.block_on(place.address.backend())?;
    Ok((engine, backend))
}

fn large(bench: &mut Bench, kind: Kind) -> Result<()> {
    let runtime = Arc::clone(&bench.runtime);
    let (finished, waiting) =
        if bench.is_quick() { (100_000, 20_000) } else { (1_000_000, 100_000) };
    let head = format!("{}: {finished} finished, {waiting} waiting against 0, 100: ", kind.name());
    let rows = ["enqueue one by one", "settle and claim 100", "pickup of another process, p50"];
    if !rows.iter().any(|row| bench.wants(&format!("{head}{row}"))) {
        return Ok(());
    }
    let (full, empty) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let (engine, backend) = start(bench, &full)?;
    let (other, beside) = start(bench, &empty)?;
    raw::fill(&full, finished, waiting)?;
    raw::fill(&empty, 0, 100)?;
    let row = format!("{head}{}", rows[0]);
    if bench.wants(&row) {
        let count = bench.size(500);
        bench.ratio(&row, WITHIN, || {
            let enqueue = |engine: &Engine| {
                Rate::time(count, || runtime.block_on(enqueue_from(engine, 1, count)))
            };
            Ok((enqueue(&engine)?, enqueue(&other)?))
        })?;
    }
    let row = format!("{head}{}", rows[1]);
    if bench.wants(&row) {
        let (mut worker, mut idle) = (Worker::new(backend), Worker::new(beside));
        let rounds = bench.size(40);
        bench.ratio(&row, WITHIN, || {
            let mut rates = Vec::new();
            for (worker, engine) in [(&mut worker, &engine), (&mut idle, &other)] {
                runtime.block_on(enqueue_from(engine, 100, rounds))?;
                rates.push(Rate::time(100 * rounds, || {
                    (0..rounds).try_for_each(|_| runtime.block_on(worker.exchange(100)).map(drop))
                })?);
            }
            Ok((rates[0], rates[1]))
        })?;
        runtime.block_on(worker.exchange(0))?;
        runtime.block_on(idle.exchange(0))?;
    }
    runtime.block_on(engine.shutdown())?;
    runtime.block_on(other.shutdown())?;
    let row = format!("{head}{}", rows[2]);
    if bench.wants(&row) {
        let (much, little) =
            (waking::measure(bench, &full, true)?, waking::measure(bench, &empty, true)?);
        let (much, little) = (quantile(&much, 0.5), quantile(&little, 0.5));
        let detail = format!("{much:.2} ms : {little:.2} ms");
        bench.table.add(Row::figure(&row, Target::AtMost(1.2), much / little, detail));
    }
    Ok(())
}

/// A reader that keeps what it saw before all that follows.
enum Snapshot {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
}

impl Snapshot {
    fn take(bench: &Bench, place: &Place) -> Result<Self> {
        match place.kind {
            Kind::Sqlite => {
                let conn = place.connection()?;
                conn.execute_batch("BEGIN; SELECT count(*) FROM segue_meta")?;
                Ok(Self::Sqlite(conn))
            }
            Kind::Postgres => {
                let client = place.client()?;
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM meta";
                bench.runtime.block_on(client.batch_execute(begin))?;
                Ok(Self::Postgres(client))
            }
        }
    }

    fn release(self, bench: &Bench) -> Result<()> {
        match self {
            Self::Sqlite(conn) => Ok(conn.execute_batch("COMMIT")?),
            Self::Postgres(client) => Ok(bench.runtime.block_on(client.batch_execute("COMMIT"))?),
        }
    }
}

/// Two databases that do the same, one of them under a snapshot that is older than all of it.
fn old_snapshot(bench: &mut Bench, kind: Kind) -> Result<()> {
    let row = format!("{}: drain under an old snapshot, against none", kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let runtime = Arc::clone(&bench.runtime);
    let (old, young) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let (counter, other) = (Counter::default(), Counter::default());
    let engine = runtime.block_on(counter.on(old.engine()).paused().start())?;
    let beside = runtime.block_on(other.on(young.engine()).paused().start())?;
    let snapshot = Snapshot::take(bench, &old)?;
    let each = bench.size(40);
    // What ten minutes of work leave behind.
    let before = if bench.is_quick() { 50 } else { 500 };
    for (engine, counter) in [(&engine, &counter), (&beside, &other)] {
        runtime.block_on(async {
            enqueue_from(engine, 200, before).await?;
            drain(engine, counter, 200 * before).await
        })?;
    }
    bench.ratio(&row, Target::AtLeast(0.5), || {
        let mut rates = Vec::new();
        for (engine, counter) in [(&engine, &counter), (&beside, &other)] {
            let took = runtime.block_on(async {
                enqueue_from(engine, 200, each).await?;
                drain(engine, counter, 200 * each).await
            })?;
            rates.push(Rate::of(200 * each, took));
        }
        Ok((rates[0], rates[1]))
    })?;
    snapshot.release(bench)?;
    runtime.block_on(engine.shutdown())?;
    Ok(runtime.block_on(beside.shutdown())?)
}
