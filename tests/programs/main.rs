//! Programs that are started, confined and ended: with real processes.

#![cfg(target_os = "linux")]

#[cfg(all(feature = "cli", feature = "replay"))]
mod adapter;
#[path = "../processes/child.rs"]
#[allow(dead_code, reason = "a part of it is for other tests")]
mod child;
mod confined;
#[cfg(all(feature = "cli", feature = "sqlite"))]
mod listed;
mod owned;
mod pinned;
#[cfg(feature = "replay")]
mod played;
mod probed;
#[cfg(all(feature = "cli", feature = "replay"))]
mod terminal;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use segue::agents::process::{Mark, Owned, Spawn, Terminal};
use tokio::io::{AsyncBufReadExt, BufReader};
use uuid::Uuid;

/// A shell that carries out a script.
fn shell(folder: &Path, script: &str) -> Spawn {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let env: BTreeMap<OsString, OsString> = [("PATH".into(), path)].into();
    Spawn {
        program: PathBuf::from("sh"),
        arguments: vec!["-c".into(), script.into()],
        env,
        folder: folder.to_owned(),
        confined: None,
        scratch: None,
        terminal: Terminal::None,
    }
}

fn mark() -> Mark {
    Mark::new(Uuid::now_v7())
}

/// Reads what the program says up to a line.
async fn heard(owned: &mut Owned, line: &str) -> Vec<String> {
    let mut lines = BufReader::new(owned.output().expect("its output")).lines();
    let mut heard = Vec::new();
    while let Some(said) = lines.next_line().await.expect("text") {
        if said == line {
            return heard;
        }
        heard.push(said);
    }
    panic!("it ended without saying {line}: {heard:?}");
}

/// Whether a process is there and is no zombie.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until something holds, and fails when it takes longer than anything may.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_child_plays_its_role() {
    let Ok(role) = std::env::var("SEGUE_ROLE") else {
        return;
    };
    assert_eq!(role, "host");
    let folder = PathBuf::from(std::env::var("SEGUE_FOLDER").expect("a folder"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(owned::host(&folder));
}
