//! Runs: chains, fans, many at once.

use std::{sync::Arc, time::Instant};

use segue::{Engine, Flow};

use super::{
    super::{
        Result,
        place::{Kind, Place},
        ratio::{Bench, Rate},
        raw,
        table::Target,
    },
    CONCURRENCY,
};

/// Steps one after the other.
fn chain(length: usize) -> Flow<u64, u64> {
    let mut draft = Flow::new("chain");
    let input = draft.input::<u64>();
    let mut last = input;
    for n in 0..length {
        last = draft.code(format!("step {n}"), last, async |_, n| Ok(n + 1));
    }
    draft.returns(input, last)
}

/// So many steps between one and one.
fn fan(width: usize) -> Flow<u64, u64> {
    let mut draft = Flow::new(format!("fan {width}"));
    let input = draft.input::<u64>();
    let root = draft.code("root", input, async |_, n| Ok(n));
    let steps: Vec<_> =
        (0..width).map(|n| draft.code(format!("s{n}"), root, async |_, n| Ok(n))).collect();
    let sum = draft.code("sum", steps, async |_, all: Vec<u64>| Ok(all.len() as u64));
    draft.returns(input, sum)
}

async fn runs(engine: &Engine, flow: &Flow<u64, u64>, times: usize) -> Result<()> {
    for _ in 0..times {
        engine.launch(flow, 0).await?.output().await?;
    }
    Ok(())
}

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    chains(bench, kind)?;
    fans(bench, kind)
}

fn chains(bench: &mut Bench, kind: Kind) -> Result<()> {
    let runtime = Arc::clone(&bench.runtime);
    let (place, other) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let mut raw = raw::own(&other)?;
    let flow = chain(10);
    let engine = runtime.block_on(place.engine().concurrency(CONCURRENCY).flow(&flow).start())?;
    let row = format!("{}: steps of chains of 10, against raw commits of 1", kind.name());
    if bench.wants(&row) {
        let times = bench.size(40);
        bench.ratio(&row, Target::Shown, || {
            let own = Rate::time(10 * times, || runtime.block_on(runs(&engine, &flow, times)))?;
            raw.enqueue(10 * times + 1)?;
            let exchange = || (0..10 * times).try_for_each(|_| raw.exchange(1).map(drop));
            Ok((own, Rate::time(10 * times, exchange)?))
        })?;
    }
    let row = format!("{}: steps of 100 chains of 10 at once, against one", kind.name());
    if bench.wants(&row) {
        let times = bench.size(24);
        bench.ratio(&row, Target::Shown, || {
            let one = Rate::time(10 * times, || runtime.block_on(runs(&engine, &flow, times)))?;
            let many = Rate::time(1000, || {
                runtime.block_on(async {
                    let all = (0..100).map(|_| runs(&engine, &flow, 1));
                    futures_util::future::try_join_all(all).await.map(drop)
                })
            })?;
            Ok((many, one))
        })?;
    }
    Ok(runtime.block_on(engine.shutdown())?)
}

fn fans(bench: &mut Bench, kind: Kind) -> Result<()> {
    let runtime = Arc::clone(&bench.runtime);
    let place = Place::new(&runtime, kind)?;
    let narrow = fan(50);
    for width in [1000, 10_000] {
        let row = format!("{}: steps of a fan of {width}, against one of 50", kind.name());
        if !bench.wants(&row) {
            continue;
        }
        let wide = fan(width);
        let builder = place.engine().concurrency(CONCURRENCY).flow(&narrow).flow(&wide);
        let engine = runtime.block_on(builder.start())?;
        let times = bench.size(32);
        bench.ratio(&row, Target::AtLeast(1.0 / 1.5), || {
            let one = Rate::time(52 * times, || runtime.block_on(runs(&engine, &narrow, times)))?;
            let start = Instant::now();
            runtime.block_on(runs(&engine, &wide, 1))?;
            Ok((Rate::of(width + 2, start.elapsed()), one))
        })?;
        runtime.block_on(engine.shutdown())?;
    }
    Ok(())
}
