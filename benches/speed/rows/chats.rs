//! Streams of messages, and opening a database.

use std::{sync::Arc, time::Instant};

use segue::{ChatSpec, Engine, id::ChatId, model::Role};

use super::super::{
    Result,
    place::{Kind, Place},
    ratio::{Bench, Rate},
    raw,
    table::{Row, Target, median, sorted},
};

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    let runtime = Arc::clone(&bench.runtime);
    let (place, other) = (Place::new(&runtime, kind)?, Place::new(&runtime, kind)?);
    let mut raw = raw::chat(&other)?;
    let engine = runtime.block_on(place.engine().start())?;
    let chat = runtime.block_on(engine.chat(ChatId::new(), ChatSpec::default()))?;
    let row = format!("{}: append to a chat, against raw", kind.name());
    let count = bench.size(400);
    if bench.wants(&row) {
        bench.ratio(&row, Target::Shown, || {
            let own = Rate::time(count, || {
                runtime.block_on(async {
                    for _ in 0..count {
                        chat.append(Role::User, "hello").await?;
                    }
                    Ok(())
                })
            })?;
            Ok((own, Rate::time(count, || (0..count).try_for_each(|_| raw.append()))?))
        })?;
    }
    let row = format!("{}: tail of a chat, against raw", kind.name());
    if bench.wants(&row) {
        runtime.block_on(async {
            for _ in 0..count {
                chat.append(Role::User, "hello").await?;
            }
            Ok::<_, segue::Error>(())
        })?;
        (0..count).try_for_each(|_| raw.append())?;
        bench.ratio(&row, Target::Shown, || {
            let start = Instant::now();
            let told = runtime.block_on(follow(&engine, chat.id()))?;
            let own = Rate::of(told, start.elapsed());
            let start = Instant::now();
            Ok((own, Rate::of(raw.tail()?, start.elapsed())))
        })?;
    }
    runtime.block_on(engine.shutdown())?;
    open(bench, &place)
}

/// How many entries a chat's stream has by now.
async fn follow(engine: &Engine, chat: ChatId) -> Result<usize> {
    let (mut watch, mut told) = (engine.chat_handle(chat).watch(), 0);
    while watch.try_next().await?.is_some() {
        told += 1;
    }
    Ok(told)
}

fn open(bench: &mut Bench, place: &Place) -> Result<()> {
    let row = format!("{}: open a database that has its tables, ms", place.kind.name());
    if !bench.wants(&row) {
        return Ok(());
    }
    let mut times = Vec::new();
    for _ in 0..bench.size(24) {
        let start = Instant::now();
        let engine = bench.runtime.block_on(place.engine().start())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        bench.runtime.block_on(engine.shutdown())?;
    }
    let times = sorted(times);
    let detail = format!("start() of an engine, {} times", times.len());
    bench.table.add(Row::figure(&row, Target::Shown, median(&times), detail));
    Ok(())
}
