//! The real agents, against the scripted model: each takes a turn that calls a tool.
//!
//! `scripts/agents` installs them; without them every test here fails and says so. Their
//! homes are new and empty, and what they ask of the network comes to the scripted model or
//! nowhere.

mod acp;
mod canary;
#[allow(dead_code, reason = "other tests need the rest of it")]
#[path = "../processes/child.rs"]
mod child;
mod cli;
#[path = "../support/examples.rs"]
mod examples;
mod golden;
mod held;
mod hosts;
mod investigate;
mod ledger;
mod opencode;
mod process;
mod recipes;
mod streams;
mod warm;

use std::time::Instant;

use segue::testing::model::{ModelServer, Record, Script};
use serde_json::Value;

use process::{Finished, Place};
use recipes::Recipe;
use streams::Turn;

#[test]
fn a_child_plays_its_role() {
    let Ok(role) = std::env::var("SEGUE_ROLE") else {
        return;
    };
    assert_eq!(role, "agents");
    let folder = std::env::var("SEGUE_FOLDER").expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(hosts::host(folder.as_ref()));
}

#[tokio::test]
async fn claude_takes_a_turn() {
    takes_a_turn(&recipes::CLAUDE).await;
}

#[tokio::test]
async fn codex_takes_a_turn() {
    takes_a_turn(&recipes::CODEX).await;
}

#[tokio::test]
async fn qwen_takes_a_turn() {
    takes_a_turn(&recipes::QWEN).await;
}

#[tokio::test]
async fn opencode_takes_a_turn() {
    takes_a_turn(&recipes::OPENCODE).await;
}

/// What the tool prints, and the prompt does not have.
const PRINTED: &str = "seven times six is 42";

async fn takes_a_turn(recipe: &Recipe) {
    let server = ModelServer::start(Script::markers()).await.expect("a port");
    let place = Place::new(recipe);
    let prompt = format!(
        "Multiply. <<TOOL {} {}>>",
        recipe.shell,
        (recipe.shell_input)("echo seven times six is $((7 * 6))")
    );

    let began = Instant::now();
    let finished = process::run(recipe, &place, &server, &prompt).await;
    println!("{} {}: a turn in {:?}", recipe.name, recipe.version, began.elapsed());
    judge(recipe, &server, &finished);
    golden::keep(recipe, &place, &finished);
}

fn judge(recipe: &Recipe, server: &ModelServer, finished: &Finished) {
    let records = server.records();
    let told = || format!("{finished}\n{}", summary(&records));
    assert_eq!(finished.code, Some(0), "{}", told());
    assert!(finished.left.is_empty(), "it left processes: {:?}\n{}", finished.left, told());

    let asks = records.iter().filter_map(|record| record.ask.as_ref());
    let results: Vec<_> = asks.flat_map(|ask| ask.results()).collect();
    assert!(results.iter().any(|it| it.text.contains(PRINTED)), "{results:?}\n{}", told());

    let turn = (recipe.read)(&finished.stdout);
    assert!(turn.text.contains("The tool said: "), "{turn:?}\n{}", told());
    assert!(turn.text.contains(PRINTED), "{turn:?}\n{}", told());
    assert_eq!(turn.usage, (recipe.booked)(server.billed()), "{turn:?}\n{}", told());
    assert_eq!(turn.shells, [PRINTED], "{turn:?}\n{}", told());
    expect_nobody_else_was_asked(recipe, &records);
}

/// Every request that went anywhere came to the server: as the model, or as the proxy.
fn expect_nobody_else_was_asked(recipe: &Recipe, records: &[Record]) {
    let strange = records.iter().filter(|record| !record.path.starts_with("/v1/"));
    let strange: Vec<_> = strange.map(|record| (&record.method, &record.path)).collect();
    assert!(strange.is_empty(), "{} asked for {strange:?}", recipe.name);
}

fn summary(records: &[Record]) -> String {
    let lines = records.iter().map(|record| {
        let ask = record.ask.as_ref();
        let ask = ask.map(|ask| (ask.tools.join(" "), ask.prompt(), ask.results().len()));
        format!("{} {} {:?} {:?} {ask:?}", record.method, record.path, record.end, record.usage)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_installed_has_the_versions_of_the_recipes() {
    let lock: Value = serde_json::from_str(include_str!("package-lock.json")).expect("JSON");
    for recipe in recipes::ALL {
        let package = &lock["packages"][format!("node_modules/{}", recipe.package)];
        assert_eq!(package["version"], recipe.version, "{}", recipe.package);
    }
}

/// Recorded streams are read as live ones are, so that a reader can be changed without agents.
#[test]
fn recorded_streams_are_read() {
    for recipe in recipes::ALL {
        let turn: Turn = (recipe.read)(&golden::stream(recipe));
        assert!(turn.text.contains(PRINTED), "{}: {turn:?}", recipe.name);
        assert_eq!(turn.shells, [PRINTED], "{}", recipe.name);
        assert_ne!(turn.usage, Default::default(), "{}", recipe.name);
    }
}
