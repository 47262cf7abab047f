//! Several processes on one SQLite file: sharing, killing, stopping, waking.
//!
//! These tests are a program of their own, since they want the machine for themselves.

#![cfg(all(feature = "sqlite", target_os = "linux"))]

mod budgets;
mod child;
#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "this program needs but a server")]
#[path = "../it/support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "other tests need the rest of it")]
#[path = "../it/support/disk.rs"]
mod disk;
mod dying;
mod gates;
mod hardship;
mod killing;
mod large;
#[path = "../it/support/ordeal.rs"]
mod ordeal;
mod place;
mod sharing;
#[path = "../it/support/spending.rs"]
mod spending;

use std::path::{Path, PathBuf};

use child::{say, told};
use futures_util::future::join_all;
use place::{by_bell, chain, count, engine, hold, run_beside};
use segue::Builder;

#[test]
fn a_child_plays_its_role() {
    let Ok(role) = std::env::var("SEGUE_ROLE") else {
        return;
    };
    let folder = PathBuf::from(std::env::var("SEGUE_FOLDER").expect("a folder"));
    run_beside(async {
        match role.as_str() {
            "open" => open(&folder).await,
            "write" => write(&folder).await,
            "ordeal" => killing::work(&folder).await,
            "spend" => budgets::work(&folder).await,
            "gate" => gates::work(&folder).await,
            "judge" => gates::judge(&folder).await,
            "large" => large::work(&folder).await,
            "die" => dying::work(&folder).await,
            "bell" => work(&folder, by_bell(&folder)).await,
            "hold" => work(&folder, engine(&folder).concurrency(4)).await,
            _ => work(&folder, engine(&folder)).await,
        }
    });
}

/// Works until the parent closes the pipe. What the parent says before that sets the clock: so
/// many seconds ahead.
async fn work(folder: &Path, builder: Builder) {
    let builder = builder.task("count", count).task("hold", hold);
    let builder = builder.flow(&chain()).host(folder.to_owned());
    let engine = builder.start().await.expect("an engine");
    say("ready");
    while let Ok(seconds) = told().await.trim().parse() {
        hardship::set_clock(seconds);
        say("so be it");
    }
    engine.shutdown().await.expect("an orderly end");
}

/// Makes the database together with others, as soon as the parent says so.
async fn open(folder: &Path) {
    say("ready");
    told().await;
    let builder = engine(folder).task("count", count).host(folder.to_owned());
    let engine = builder.start().await.expect("an engine");
    let task = engine.enqueue("count", &()).await.expect("a task");
    task.output::<()>().await.expect("its end");
    engine.shutdown().await.expect("an orderly end");
}

/// Enqueues and works until the parent closes the pipe; says how much, or what went wrong.
async fn write(folder: &Path) {
    let builder = engine(folder).task("count", count).host(folder.to_owned());
    let engine = builder.start().await.expect("an engine");
    say("ready");
    let one = async || -> segue::Result<()> {
        let task = engine.enqueue("count", &()).await?;
        engine.backend().beat(engine.instances().await?[0].id).await?;
        task.output().await
    };
    let mut done = 0;
    let writing = async {
        loop {
            let round = join_all((0..8).map(|_| one())).await;
            done += round.len();
            if let Some(error) = round.into_iter().find_map(Result::err) {
                return error.to_string();
            }
        }
    };
    let error = tokio::select! {
        error = writing => Some(error),
        _ = told() => None,
    };
    say(&error.map_or(format!("wrote {done}"), |error| format!("wrong: {error}")));
}
