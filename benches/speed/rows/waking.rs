//! From the commit of a task to the start of its handler, when nothing else happens.

use std::{sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use super::{
    super::{
        Result,
        place::{Kind, Place},
        ratio::Bench,
        table::{Row, Target, quantile, sorted},
    },
    child::Player,
    limits,
};

/// Nanoseconds of the host's clock, the same in all processes.
pub fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The median and the 99th percentile that are to be reached, in milliseconds.
fn targets(kind: Kind, other: bool) -> (f64, f64) {
    match (kind, other) {
        (Kind::Sqlite, false) => (0.2, 3.0),
        (Kind::Sqlite, true) => (0.3, 3.0),
        (Kind::Postgres, _) => (2.0, 8.0),
    }
}

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    pickup(bench, kind)?;
    match kind {
        Kind::Sqlite => limits::pickup(bench),
        Kind::Postgres => Ok(()),
    }
}

fn pickup(bench: &mut Bench, kind: Kind) -> Result<()> {
    let row = format!("{}: pickup when idle", kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let place = Place::new(&Arc::clone(&bench.runtime), kind)?;
    for other in [false, true] {
        let waits = measure(bench, &place, other)?;
        let (middle, late) = targets(kind, other);
        let who = if other { "other process" } else { "same process" };
        for (what, share, most) in [("p50", 0.5, middle), ("p99", 0.99, late)] {
            let row = format!("{row}, {who}, {what}, ms");
            let detail = format!("{} tasks", waits.len());
            let value = quantile(&waits, share);
            bench.table.add(Row::figure(&row, Target::AtMost(most), value, detail));
        }
    }
    Ok(())
}

/// The waits of tasks that this process or another enqueues, in milliseconds.
pub fn measure(bench: &Bench, place: &Place, other: bool) -> Result<Vec<f64>> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let note = move |_, (): ()| {
        let _ = started.send(monotonic());
        async { Ok(()) }
    };
    let runtime = &bench.runtime;
    let engine = runtime.block_on(place.engine().task("note", note).start())?;
    let mut player = match other {
        true => Some(Player::start(place.kind, "once", &place.address)?),
        false => None,
    };
    let mut waits = Vec::new();
    for _ in 0..bench.size(800) {
        let committed = match &mut player {
            Some(player) => {
                player.order("1")?;
                player.wait()?.parse()?
            }
            None => runtime.block_on(async {
                engine.enqueue("note", &()).await?;
                Ok::<_, segue::Error>(monotonic())
            })?,
        };
        let start = runtime.block_on(starts.recv()).ok_or("the engine has stopped")?;
        // A handler may have started before its enqueuer was told of the commit.
        waits.push((start - committed).max(0) as f64 / 1e6);
        std::thread::sleep(Duration::from_millis(4));
    }
    player.map_or(Ok(()), Player::end)?;
    runtime.block_on(engine.shutdown())?;
    Ok(sorted(waits))
}
