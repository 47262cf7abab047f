//! Several processes on one database, and notifications.

use std::sync::Arc;

use segue::{Engine, backend::postgres};

use super::{
    super::{
        Result,
        place::{Address, Kind, Place},
        ratio::{Bench, Rate},
        table::Target,
    },
    Counter,
    child::Player,
    enqueue_from, limits,
};

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    several(bench, kind)?;
    match kind {
        Kind::Sqlite => limits::enqueue(bench),
        Kind::Postgres => {
            several_raw(bench, kind)?;
            notifications(bench, kind)
        }
    }
}

fn several(bench: &mut Bench, kind: Kind) -> Result<()> {
    let row = format!("{}: enqueue from 4 processes of 16, against 1 of 64", kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let place = Place::new(&Arc::clone(&bench.runtime), kind)?;
    let start = |_| Player::start(kind, "enqueue", &place.address);
    let mut four = (0..4).map(start).collect::<Result<Vec<_>>>()?;
    let mut one = start(0)?;
    let each = bench.size(120);
    let target = match kind {
        Kind::Sqlite => Target::AtLeast(1.0),
        Kind::Postgres => Target::AtLeast(1.3),
    };
    bench.ratio(&row, target, || {
        let many = Rate::time(64 * each, || {
            four.iter_mut().try_for_each(|player| player.order(&format!("16 {each}")))?;
            four.iter_mut().try_for_each(|player| player.wait().map(drop))
        })?;
        let alone = Rate::time(64 * each, || {
            one.order(&format!("64 {each}"))?;
            one.wait().map(drop)
        })?;
        Ok((many, alone))
    })?;
    four.into_iter().chain([one]).try_for_each(Player::end)
}

/// The same without an engine: each process sends statements of 16 tasks, the one statements of
/// 64. One at a time, and some in flight.
fn several_raw(bench: &mut Bench, kind: Kind) -> Result<()> {
    let engine = format!("{}: enqueue from 4 processes of 16, against 1 of 64", kind.name());
    let head =
        format!("{}: raw statements of 16 from 4 processes, against of 64 from 1", kind.name());
    bench.table.limit(&engine, &head);
    for (row, in_flight) in [(head.clone(), 1), (format!("{head}, 4 in flight"), 4)] {
        if !bench.wants(&row) {
            continue;
        }
        let place = Place::new(&Arc::clone(&bench.runtime), kind)?;
        let start = |_| Player::start(kind, "raw", &place.address);
        let mut four = (0..4).map(start).collect::<Result<Vec<_>>>()?;
        let mut one = start(0)?;
        let statements = bench.size(240);
        bench.ratio(&row, Target::Shown, || {
            let many = Rate::time(64 * statements, || {
                let order = format!("16 {statements} {in_flight}");
                four.iter_mut().try_for_each(|player| player.order(&order))?;
                four.iter_mut().try_for_each(|player| player.wait().map(drop))
            })?;
            let alone = Rate::time(64 * statements, || {
                one.order(&format!("64 {statements} {in_flight}"))?;
                one.wait().map(drop)
            })?;
            Ok((many, alone))
        })?;
        four.into_iter().chain([one]).try_for_each(Player::end)?;
    }
    Ok(())
}

/// With and without telling a process that listens.
fn notifications(bench: &mut Bench, kind: Kind) -> Result<()> {
    let row = format!("{}: enqueue from 64 callers, told to others against untold", kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let runtime = Arc::clone(&bench.runtime);
    let (told, untold) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let engine = |place: &Place, notify| {
        let Address::Schema { url, schema } = &place.address else {
            return Err("it is a file".into());
        };
        let options = postgres::Options::new(url).schema(schema).notify(notify);
        let builder = Engine::postgres_with(options);
        let own = runtime.block_on(Counter::default().on(builder).paused().start())?;
        // It hears what the other enqueues, and has no handler for it.
        let other = runtime.block_on(place.engine().start())?;
        Ok::<_, super::super::Error>((own, other))
    };
    let (with, without) = (engine(&told, true)?, engine(&untold, false)?);
    let each = bench.size(80);
    bench.ratio(&row, Target::AtLeast(0.9), || {
        let rate = |engine: &Engine| {
            Rate::time(64 * each, || runtime.block_on(enqueue_from(engine, 64, each)))
        };
        Ok((rate(&with.0)?, rate(&without.0)?))
    })?;
    for engine in [with.0, with.1, without.0, without.1] {
        runtime.block_on(engine.shutdown())?;
    }
    Ok(())
}
