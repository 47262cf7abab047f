//! The agents over the Agent Client Protocol: Qwen Code and opencode.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    time::Duration,
};

use segue::{
    agents::{Agent, Outcome, Resume, ToolStatus, Update, acp::Acp},
    model::Access,
    testing::{
        Recorder,
        model::{Entry, Script, Usage},
    },
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    cli::{Chat, LIMIT, take, text},
    ledger::booked,
    process,
    recipes::{self, Recipe},
};

/// The agent of a chat: what it may do without being asked stands in its configuration.
pub fn agent(chat: &Chat) -> Acp {
    agent_that(chat, json!({}))
}

/// One that has these permissions, where it takes them from its environment.
fn agent_that(chat: &Chat, permission: Value) -> Acp {
    let agent = match chat.recipe.name {
        "qwen" => Acp::qwen(),
        "opencode" => Acp::opencode(),
        other => panic!("{other} is not known"),
    };
    let (own, env) = own_with(chat, permission);
    let agent = own.into_iter().fold(agent, Acp::argument);
    agent.program(process::program(chat.recipe).0).env(move |_| Ok(env.clone()))
}

/// The arguments and the environment of the agent of a chat.
pub fn own(chat: &Chat) -> (Vec<String>, BTreeMap<OsString, OsString>) {
    own_with(chat, json!({}))
}

fn own_with(chat: &Chat, permission: Value) -> (Vec<String>, BTreeMap<OsString, OsString>) {
    let (own, mut env) = chat.own();
    if let Some(configuration) = env.get_mut(OsStr::new("OPENCODE_CONFIG_CONTENT")) {
        let text = configuration.to_str().expect("text");
        let mut value: Value = serde_json::from_str(text).expect("JSON");
        value["permission"] = permission;
        // No server tells of what a title has cost.
        value["agent"] = json!({"title": {"disable": true}});
        *configuration = value.to_string().into();
    }
    if chat.recipe.name == "qwen" {
        // What it asks its model beside the conversation it tells nobody over the protocol.
        let settings = json!({
            "privacy": {"usageStatisticsEnabled": false},
            "memory": {"enableManagedAutoMemory": false, "enableManagedAutoDream": false},
            "ui": {"enableFollowupSuggestions": false},
        });
        let file = chat.place.path("home/.qwen/settings.json");
        std::fs::write(file, settings.to_string()).expect("a file");
    }
    (own, env)
}

/// The mode in which it asks nobody, or somebody.
fn mode(chat: &Chat, asks: bool) -> Option<String> {
    let mode = if asks { "default" } else { "yolo" };
    (chat.recipe.name == "qwen").then(|| mode.to_owned())
}

/// All that was billed, as chat completions count: what is written into a cache is read.
pub fn billed(chat: &Chat) -> Usage {
    let sum = chat.server.billed();
    Usage { input: sum.input + sum.cache_write, cache_write: 0, ..sum }
}

/// What the model was asked, in short.
fn asked(chat: &Chat) -> Vec<String> {
    let asks = chat.server.records().into_iter().filter_map(|record| record.ask);
    let short = asks.map(|ask| {
        let prompt: String = ask.prompt().chars().take(200).collect();
        format!("{} tools, {} results: {prompt}", ask.tools.len(), ask.results().len())
    });
    short.collect()
}

async fn goes_on(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (agent(&chat), Recorder::default());
    let first = chat.shell("echo seven times six is $((7 * 6))");
    let mut turn = chat.turn(&first, Resume::Fresh);
    turn.mode = mode(&chat, false);
    let answer = text(take(&agent, turn, &recorder).await, &recorder);
    assert!(answer.contains("seven times six is 42"), "{answer}");
    assert!(answer.starts_with("The tool said"), "only the last message: {answer}");
    assert_eq!(recorder.tools().len(), 1, "{recorder:#?}");
    assert_eq!(recorder.tools()[0].status, Some(ToolStatus::Completed));
    assert_eq!(booked(&recorder.usage()), billed(&chat), "{:?}", asked(&chat));

    // The next turn is of another process, which tells nothing of the first.
    assert!(!chat.place.processes().is_empty(), "it is kept warm");
    timeout(LIMIT, chat.place.kill()).await.expect("it dies");
    let [session] = &recorder.sessions()[..] else { panic!("{recorder:#?}") };
    let second = Recorder::default();
    let mut turn = chat.turn("And again. <<SAY as I said>>", Resume::Continue(session.clone()));
    turn.mode = mode(&chat, false);
    assert_eq!(text(take(&agent, turn, &second).await, &second), "as I said");
    assert_eq!(second.messages(), ["as I said"]);
    assert!(second.tools().is_empty(), "{second:#?}");
    let asks = chat.server.records().into_iter().filter_map(|record| record.ask);
    let mut seen = asks.filter(|ask| ask.prompt().contains("And again."));
    let earlier = |entry: &Entry| matches!(entry, Entry::User(text) if text.contains(&first));
    assert!(
        seen.next_back().is_some_and(|ask| ask.entries.iter().any(earlier)),
        "it has forgotten"
    );
    let mut reports = recorder.usage();
    reports.extend(second.usage());
    assert_eq!(booked(&reports), billed(&chat), "{:?}", asked(&chat));
    let all: Vec<_> = recorder.updates().into_iter().chain(second.updates()).collect();
    assert!(all.iter().all(|it| !matches!(it, Update::Unknown { .. })), "{all:#?}");

    agent.close(chat.chat).await;
    assert!(chat.place.processes().is_empty(), "{:?}", chat.place.processes());
}

async fn is_cancelled(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (agent(&chat), Recorder::default());
    let mut turn = chat.turn(&chat.shell("while :; do sleep 600; done"), Resume::Fresh);
    turn.mode = mode(&chat, false);
    let stop = turn.stop.clone();
    let sleeping = async {
        let is_there = || chat.place.processes().iter().any(|line| line.starts_with("sleep 600"));
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        let since = std::time::Instant::now();
        while is_there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        since.elapsed()
    };
    let (outcome, lived) = tokio::join!(take(&agent, turn, &recorder), timeout(LIMIT, sleeping));
    let left = chat.place.processes();
    println!("{}: the tool lived for {:?}", recipe.name, lived.expect("the tool runs, and ends"));
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    assert!(left.is_empty(), "{left:?}");
    // The session is there to be continued.
    let [session] = &recorder.sessions()[..] else { panic!("{recorder:#?}") };
    let mut turn = chat.turn("Go on. <<SAY on it goes>>", Resume::Continue(session.clone()));
    turn.mode = mode(&chat, false);
    assert_eq!(text(take(&agent, turn, &recorder).await, &recorder), "on it goes");
}

async fn asks(recipe: &'static Recipe) {
    for (allows, recorder) in [(true, Recorder::allowing()), (false, Recorder::default())] {
        let chat = Chat::new(recipe, Script::markers()).await;
        let agent = agent_that(&chat, json!({"bash": "ask"}));
        let mut turn = chat.turn(&chat.shell("touch made"), Resume::Fresh);
        turn.mode = mode(&chat, true);
        let outcome = take(&agent, turn, &recorder).await;
        let asked = recorder
            .heard()
            .into_iter()
            .filter(|heard| matches!(heard, segue::testing::Heard::Asked(..)));
        assert_eq!(asked.count(), 1, "{recorder:#?}");
        let is_made = chat.place.path("repository/made").exists();
        assert_eq!(is_made, allows, "{outcome:?} {recorder:#?}");
        let is_denied = recorder.tools().iter().any(|call| call.denied);
        assert_eq!(is_denied, !allows, "{recorder:#?}");
    }
}

async fn only_reads(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (agent_that(&chat, json!({"bash": "allow"})), Recorder::allowing());
    let mut turn = chat.turn(&chat.shell("echo begun; touch made"), Resume::Fresh);
    turn.access = Access::ReadOnly;
    let outcome = take(&agent, turn, &recorder).await;
    assert!(!chat.place.path("repository/made").exists(), "{outcome:?} {recorder:#?}");
    let ran = recorder.tools().iter().any(|it| it.status == Some(ToolStatus::Completed));
    assert!(!ran, "{outcome:?} {recorder:#?}");
}

async fn has_forgotten(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (agent(&chat), Recorder::default());
    let id = match recipe.name {
        "opencode" => "ses_00000000000000000000000001",
        _ => "01890000-0000-7000-8000-000000000000",
    };
    let outcome = take(&agent, chat.turn("Hi.", Resume::Continue(id.into())), &recorder).await;
    assert!(matches!(outcome, Outcome::SessionLost { .. }), "{outcome:?}");
    assert_eq!(chat.server.asked(), 0, "nothing is prompted");
    assert!(chat.place.processes().is_empty());
}

async fn is_probed(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let probed = agent(&chat).probe(LIMIT, None).await.expect("an agent");
    assert_eq!(probed.protocol, 1);
    assert_eq!(probed.version.as_deref(), Some(recipe.version));
    assert_eq!(probed.capabilities["loadSession"], true);
    assert!(probed.modes.iter().any(|mode| mode == "plan"), "{probed:?}");
    assert!(probed.models.iter().any(|model| model.contains("scripted")), "{probed:?}");
    assert!(!probed.commands.is_empty(), "{probed:?}");
    assert_eq!(chat.server.asked(), 0, "nothing is prompted");
    assert!(chat.place.processes().is_empty());
}

macro_rules! each {
    ($($name:ident: $what:ident $recipe:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            $what(&recipes::$recipe).await;
        }
    )*};
}

each! {
    qwen_takes_a_turn_over_acp_and_goes_on: goes_on QWEN,
    opencode_takes_a_turn_over_acp_and_goes_on: goes_on OPENCODE,
    qwen_takes_a_turn_over_acp_that_is_cancelled: is_cancelled QWEN,
    opencode_takes_a_turn_over_acp_that_is_cancelled: is_cancelled OPENCODE,
    qwen_takes_a_turn_over_acp_and_asks: asks QWEN,
    opencode_takes_a_turn_over_acp_and_asks: asks OPENCODE,
    qwen_takes_a_turn_over_acp_that_only_reads: only_reads QWEN,
    opencode_takes_a_turn_over_acp_that_only_reads: only_reads OPENCODE,
    qwen_takes_a_turn_over_acp_of_a_session_that_is_lost: has_forgotten QWEN,
    opencode_takes_a_turn_over_acp_of_a_session_that_is_lost: has_forgotten OPENCODE,
    qwen_takes_a_turn_over_acp_when_it_was_probed: is_probed QWEN,
    opencode_takes_a_turn_over_acp_when_it_was_probed: is_probed OPENCODE,
}
