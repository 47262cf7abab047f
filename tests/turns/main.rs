//! Turns of a scripted agent in the hands of engines that are real processes: killed, kept within
//! bounds, cleaned up after. And the example `desk`, which is such a program.

#![cfg(target_os = "linux")]

mod cap;
#[allow(dead_code, reason = "other tests need the rest of it")]
#[path = "../processes/child.rs"]
mod child;
mod desk;
#[path = "../support/examples.rs"]
mod examples;
mod killing;
mod place;
#[path = "../acp/program.rs"]
mod program;
mod queue;
mod reaping;
mod within;

use std::path::{Path, PathBuf};

use child::{say, told};
use segue::Builder;

#[test]
fn a_child_plays_its_role() {
    let Ok(role) = std::env::var("SEGUE_ROLE") else {
        return;
    };
    let folder = PathBuf::from(std::env::var("SEGUE_FOLDER").expect("a folder"));
    place::block_on(async {
        match role.as_str() {
            "turns" => work(killing::builder(&folder)).await,
            "cap" => work(cap::builder(&folder)).await,
            "clean" => work(reaping::builder(&folder)).await,
            "read" => {
                let reader = reaping::reader(&folder);
                work(reaping::builder(&folder).agent("reader", reader)).await;
            }
            other => panic!("there is no role {other}"),
        }
    });
}

/// Works until the parent closes the pipe.
async fn work(builder: Builder) {
    let engine = builder.start().await.expect("an engine");
    say(&format!("ready {:?}", engine.repaired()));
    told().await;
    engine.shutdown().await.expect("an orderly end");
}

/// A file, or nothing where there is none.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
