//! opencode by its server.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use segue::{
    agents::{Outcome, Resume, ToolStatus, opencode::Opencode},
    model::Access,
    testing::{
        Heard, Recorder,
        model::{Entry, Record, Reply, Script, Usage},
    },
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    cli::{Chat, LIMIT, take, text},
    ledger::booked,
    process, recipes,
};

/// The server takes its configuration from a file.
fn configured(chat: &Chat, permission: Value) -> BTreeMap<OsString, OsString> {
    let (_, mut env) = chat.own();
    let own = env.remove(OsStr::new("OPENCODE_CONFIG_CONTENT")).expect("a configuration");
    let mut configuration: Value = serde_json::from_str(own.to_str().expect("text")).expect("JSON");
    configuration["permission"] = permission;
    let file = chat.place.path("home/.config/opencode/opencode.json");
    fs::write(file, configuration.to_string()).expect("a file");
    env
}

fn agent_that(chat: &Chat, permission: Value) -> Opencode {
    let env = configured(chat, permission);
    Opencode::new().program(process::program(chat.recipe).0).env(move |_| Ok(env.clone()))
}

async fn chat() -> (Chat, Opencode) {
    let chat = Chat::new(&recipes::OPENCODE, Script::markers()).await;
    let agent = agent(&chat);
    (chat, agent)
}

/// The agent of a chat.
pub fn agent(chat: &Chat) -> Opencode {
    agent_that(chat, json!({}))
}

/// The environment of the agent of a chat.
pub fn own(chat: &Chat) -> BTreeMap<OsString, OsString> {
    configured(chat, json!({}))
}

/// All that was billed, as the server counts.
pub fn billed(chat: &Chat) -> Usage {
    (chat.recipe.booked)(chat.server.billed())
}

fn prompts(recorder: &Recorder) -> usize {
    recorder.heard().iter().filter(|heard| **heard == Heard::Prompting).count()
}

#[tokio::test]
async fn opencode_takes_a_turn_by_its_server_and_goes_on() {
    let (chat, agent) = chat().await;
    let recorder = Recorder::default();
    let first = chat.shell("echo seven times six is $((7 * 6))");
    let turn = chat.turn(&first, Resume::Fresh);
    let answer = text(take(&agent, turn, &recorder).await, &recorder);
    assert!(answer.starts_with("The tool said: seven times six is 42"), "{answer}");
    assert_eq!(recorder.tools().len(), 1, "{recorder:#?}");
    assert_eq!(recorder.tools()[0].status, Some(ToolStatus::Completed));
    assert!(!chat.place.processes().is_empty(), "it is kept warm");

    // The next turn is of another server.
    timeout(LIMIT, chat.place.kill()).await.expect("it dies");
    let [session] = &recorder.sessions()[..] else { panic!("{recorder:#?}") };
    let second = Recorder::default();
    let turn = chat.turn("And again. <<SAY as I said>>", Resume::Continue(session.clone()));
    let again = turn.clone();
    assert_eq!(text(take(&agent, turn, &second).await, &second), "as I said");
    assert_eq!((second.messages(), second.tools().len()), (vec!["as I said".to_owned()], 0));
    let asks = chat.server.records().into_iter().filter_map(|record| record.ask);
    let mut seen = asks.filter(|ask| ask.prompt().contains("And again."));
    let earlier = |entry: &Entry| matches!(entry, Entry::User(text) if text.contains(&first));
    assert!(
        seen.next_back().is_some_and(|ask| ask.entries.iter().any(earlier)),
        "it has forgotten"
    );
    let mut reports = recorder.usage();
    reports.extend(second.usage());
    assert_eq!(booked(&reports), billed(&chat), "{reports:#?}");

    // The same task again: it was answered, and is not prompted.
    let asked = chat.server.asked();
    let third = Recorder::default();
    assert_eq!(text(take(&agent, again, &third).await, &third), "as I said");
    assert_eq!((chat.server.asked(), prompts(&second), prompts(&third)), (asked, 1, 0));
    reports.extend(third.usage());
    assert_eq!(booked(&reports), billed(&chat), "its usage is booked once");
    agent.stop().await.expect("it ends");
    assert!(chat.place.processes().is_empty(), "{:?}", chat.place.processes());
}

#[tokio::test]
async fn opencode_takes_a_turn_by_its_server_that_is_cancelled() {
    let (chat, agent) = chat().await;
    let recorder = Recorder::default();
    let turn = chat.turn(&chat.shell("while :; do sleep 600; done"), Resume::Fresh);
    let stop = turn.stop.clone();
    let is_there = || chat.place.processes().iter().any(|line| line.starts_with("sleep 600"));
    let sleeping = async {
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let (outcome, slept) = tokio::join!(take(&agent, turn, &recorder), timeout(LIMIT, sleeping));
    slept.expect("the tool runs");
    assert!(!is_there(), "{:?}", chat.place.processes());
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    assert!(!chat.place.processes().is_empty(), "the server goes on");
    let [session] = &recorder.sessions()[..] else { panic!("{recorder:#?}") };
    let turn = chat.turn("Go on. <<SAY on it goes>>", Resume::Continue(session.clone()));
    assert_eq!(text(take(&agent, turn, &recorder).await, &recorder), "on it goes");
    agent.stop().await.expect("it ends");
}

/// A server that dies in the middle of a turn: the next turn of the task prompts again.
#[tokio::test]
async fn opencode_takes_a_turn_by_its_server_that_is_killed() {
    let first = AtomicBool::new(true);
    let script = Script::by(move |ask| match ask.tools.is_empty() {
        true => Reply::text("ok"),
        false if first.swap(false, Ordering::Relaxed) => Reply::never(),
        false => Reply::text("here I am"),
    });
    let chat = Chat::new(&recipes::OPENCODE, script).await;
    let (agent, recorder) = (agent_that(&chat, json!({})), Recorder::default());
    let turn = chat.turn("Hi.", Resume::Fresh);
    let mut again = turn.clone();
    let killing = async {
        let is_asked =
            |record: &Record| record.ask.as_ref().is_some_and(|ask| !ask.tools.is_empty());
        chat.server.until(|records| records.iter().any(is_asked)).await;
        chat.place.kill().await;
    };
    let (outcome, killed) = tokio::join!(take(&agent, turn, &recorder), timeout(LIMIT, killing));
    killed.expect("the model is asked");
    assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
    let [session] = &recorder.sessions()[..] else { panic!("{recorder:#?}") };
    again.resume = Resume::Continue(session.clone());
    assert_eq!(text(take(&agent, again, &recorder).await, &recorder), "here I am");
    assert_eq!(prompts(&recorder), 2);
    agent.stop().await.expect("it ends");
}

#[tokio::test]
async fn opencode_takes_a_turn_by_its_server_and_asks() {
    for (allows, recorder) in [(true, Recorder::allowing()), (false, Recorder::default())] {
        let chat = Chat::new(&recipes::OPENCODE, Script::markers()).await;
        let agent = agent_that(&chat, json!({"bash": "ask"}));
        let turn = chat.turn(&chat.shell("touch made"), Resume::Fresh);
        let outcome = take(&agent, turn, &recorder).await;
        let asked = recorder.heard().into_iter().filter(|it| matches!(it, Heard::Asked(..)));
        assert_eq!(asked.count(), 1, "{outcome:?} {recorder:#?}");
        let is_made = chat.place.path("repository/made").exists();
        assert_eq!(is_made, allows, "{outcome:?} {recorder:#?}");
        let is_denied = recorder.tools().iter().any(|call| call.denied);
        assert_eq!(is_denied, !allows, "{recorder:#?}");
        agent.stop().await.expect("it ends");
    }
}

#[tokio::test]
async fn opencode_takes_a_turn_by_its_server_that_only_reads() {
    let (chat, agent) = chat().await;
    let recorder = Recorder::allowing();
    let mut turn = chat.turn(&chat.shell("touch made"), Resume::Fresh);
    turn.access = Access::ReadOnly;
    let answer = text(take(&agent, turn, &recorder).await, &recorder);
    assert!(answer.contains("ermission denied"), "the tool ran, and could not: {answer}");
    assert!(!chat.place.path("repository/made").exists());
    agent.stop().await.expect("it ends");
    assert!(chat.place.processes().is_empty(), "{:?}", chat.place.processes());
}

#[tokio::test]
async fn opencode_takes_a_turn_by_its_server_that_is_refused() {
    let (chat, agent) = chat().await;
    let recorder = Recorder::default();
    // Without a model it would ask its makers'.
    let mut turn = chat.turn("Hi.", Resume::Fresh);
    turn.model = None;
    let outcome = take(&agent, turn, &recorder).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    // Nothing keeps it from writing.
    let mut turn = chat.turn("Hi.", Resume::Fresh);
    turn.access = Access::ReadOnly;
    let outcome = take(&agent.clone().unconfined(), turn, &recorder).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    for id in ["ses_00000000000000000000000001", "01890000-0000-7000-8000-000000000000"] {
        let outcome = take(&agent, chat.turn("Hi.", Resume::Continue(id.into())), &recorder).await;
        assert!(matches!(outcome, Outcome::SessionLost { .. }), "{outcome:?}");
    }
    // It has no such model, and says so to nobody.
    let mut turn = chat.turn("Hi.", Resume::Fresh);
    turn.model = Some("scripted/other".into());
    let outcome = take(&agent, turn, &recorder).await;
    assert!(matches!(outcome, Outcome::Crashed { .. }), "{outcome:?}");
    assert_eq!(chat.server.asked(), 0);
    agent.stop().await.expect("it ends");
}
