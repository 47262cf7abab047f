//! What an engine costs: the processor when it is idle, memory when much waits.

use std::{sync::Arc, time::Duration};

use segue::Failure;
use tokio::sync::Semaphore;

use super::{
    super::{
        Result,
        place::{Kind, Place},
        ratio::Bench,
        raw,
        table::{Row, Target},
    },
    Counter,
};

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    idle(bench, kind)?;
    memory(bench, kind)
}

/// Nanoseconds that the threads of this process have run.
fn processor() -> Result<f64> {
    let mut all = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let spent = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        all += spent.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(all)
}

fn idle(bench: &mut Bench, kind: Kind) -> Result<()> {
    let row = format!("{}: processor of an idle engine, % of a core", kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let runtime = Arc::clone(&bench.runtime);
    let place = Place::new(&runtime, kind)?;
    let engine = runtime.block_on(Counter::default().on(place.engine()).start())?;
    runtime.block_on(async {
        super::enqueue_from(&engine, 10, 10).await?;
        Ok::<_, super::super::Error>(engine.run_until_idle().await?)
    })?;
    let seconds = if bench.is_quick() { 4 } else { 20 };
    let before = processor()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let used = (processor()? - before) / 1e9 / seconds as f64 * 100.0;
    runtime.block_on(engine.shutdown())?;
    let detail = format!("over {seconds} s");
    bench.table.add(Row::figure(&row, Target::AtMost(0.2), used, detail));
    Ok(())
}

/// MiB of memory that only this process has.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no such line")?.parse()?;
    Ok(kib / 1024.0)
}

fn memory(bench: &mut Bench, kind: Kind) -> Result<()> {
    let row = format!("{}: memory of 100,000 pending and 100 running, MiB", kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let runtime = Arc::clone(&bench.runtime);
    let place = Place::new(&runtime, kind)?;
    let gate = Arc::new(Semaphore::new(0));
    let (entered, behind) = (Arc::new(Semaphore::new(0)), Arc::clone(&gate));
    let inside = Arc::clone(&entered);
    let builder = place.engine().concurrency(100).task("count", move |_, (): ()| {
        let (gate, inside) = (Arc::clone(&behind), Arc::clone(&inside));
        async move {
            inside.add_permits(1);
            gate.acquire().await.map(drop).map_err(|error| Failure::fatal(error.to_string()))
        }
    });
    let engine = runtime.block_on(builder.paused().start())?;
    runtime.block_on(async { super::enqueue_from(&engine, 1, 1).await })?;
    let idle = resident()?;
    raw::fill(&place, 0, 100_000)?;
    engine.resume();
    runtime.block_on(async { entered.acquire_many(100).await.map(drop) })?;
    std::thread::sleep(Duration::from_millis(1500));
    let used = resident()? - idle;
    let detail = format!("idle: {idle:.0} MiB, all benches before included");
    bench.table.add(Row::figure(&row, Target::AtMost(100.0), used, detail));
    engine.pause();
    gate.close();
    Ok(runtime.block_on(engine.shutdown())?)
}
