//! What an engine costs: the processor when it is idle, memory when much waits.

use std::{sync::Arc, time::Duration};

use segue::Failure;
use tokio::sync::Semaphore;

use super::{
    super::{
        Result,
        place::{Address, Kind, Place},
        ratio::Bench,
        raw,
        table::{Row, Target},
    },
    Counter,
    child::{Player, say},
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

/// In a process of its own, so that nothing but the engine is in its memory.
fn memory(bench: &mut Bench, kind: Kind) -> Result<()> {
    let row = format!("{}: memory of 100,000 pending and 100 running, MiB", kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let place = Place::new(&Arc::clone(&bench.runtime), kind)?;
    let mut player = Player::start(kind, "memory", &place.address)?;
    raw::fill(&place, 0, 100_000)?;
    player.order("1")?;
    let answer = player.wait()?;
    player.end()?;
    let (idle, used) = answer.split_once(' ').ok_or("two numbers")?;
    let (idle, used): (f64, f64) = (idle.parse()?, used.parse()?);
    let detail = format!("idle: {idle:.0} MiB, in a process of its own");
    bench.table.add(Row::figure(&row, Target::AtMost(100.0), used, detail));
    Ok(())
}

/// The other process: an idle engine, and the same one when much waits. It is told when the
/// tasks are there, and says how many MiB it had and how many came to them.
pub async fn remember(address: &Address) -> Result<()> {
    let (gate, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (behind, inside) = (Arc::clone(&gate), Arc::clone(&entered));
    let builder = address.builder().concurrency(100).task("count", move |_, (): ()| {
        let (gate, inside) = (Arc::clone(&behind), Arc::clone(&inside));
        async move {
            inside.add_permits(1);
            gate.acquire().await.map(drop).map_err(|error| Failure::fatal(error.to_string()))
        }
    });
    let engine = builder.paused().start().await?;
    super::enqueue_from(&engine, 1, 1).await?;
    let idle = resident()?;
    say("ready")?;
    std::io::stdin().read_line(&mut String::new())?;
    engine.resume();
    entered.acquire_many(100).await?.forget();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    say(&format!("{idle} {}", resident()? - idle))?;
    engine.pause();
    gate.close();
    Ok(engine.shutdown().await?)
}
