//! Whether agents keep to reading is tried out, by a model that asks for writes; and what they say of
//! themselves is listed.

use segue::{
    ChatSpec, Engine, ReadOnly,
    agents::{Agent, acp::Acp, cli::Cli, opencode::Opencode},
    id::ChatId,
    model::{AvailableAgent, Canary, TaskState, TaskView},
    testing::model::Script,
};

use crate::{
    cli::Chat,
    held::{builder, claude, error, permissive},
    recipes::{self, Recipe},
};

/// As a host has it, that is careful.
fn cli(chat: &Chat) -> Cli {
    chat.cli()
}

fn server(chat: &Chat) -> Opencode {
    crate::opencode::agent(chat)
}

fn acp(chat: &Chat) -> Acp {
    crate::acp::agent(chat)
}

async fn row(engine: &Engine) -> AvailableAgent {
    let rows = engine.agents().await.expect("rows");
    rows.into_iter().find(|row| row.name == "a").expect("a row")
}

async fn reads(engine: &Engine, recipe: &Recipe) -> TaskView {
    let talk = engine.chat(ChatId::new(), ChatSpec::default()).await.expect("a chat");
    let task = talk.send("a", "Hi. <<SAY hello>>").read_only().model(recipe.model).await;
    task.expect("a task").ended().await.expect("an end")
}

/// Before anybody has tried it out it may not read where that is asked for, and then it may.
async fn keeps_to_reading(
    recipe: &'static Recipe,
    agent: impl Fn(&Chat) -> Box<dyn Agent>,
    itself: bool,
) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let engine = builder(&chat).read_only(ReadOnly::Proven).agent("a", agent(&chat));
    let engine = engine.start().await.expect("an engine");
    let unseen = reads(&engine, recipe).await;
    assert_eq!(unseen.state(), TaskState::Failed);
    assert!(error(&unseen).contains("nobody has shown that"), "{unseen:?}");
    assert_eq!(chat.server.asked(), 0, "it was not started");

    let canary = engine.canary("a").await.expect("a trial");
    assert!(canary.is_passed(), "{canary:#?}");
    assert_eq!((canary.by_itself.is_some(), canary.by_kernel.is_some()), (itself, true));
    assert_eq!(canary.version.as_deref(), Some(recipe.version));
    let kept = row(&engine).await.canary.expect("it is kept").decode::<Canary>();
    assert_eq!(kept.expect("a canary"), canary);
    assert_eq!(chat.server.asked(), 0, "no provider was asked");
    let task = reads(&engine, recipe).await;
    assert_eq!(task.state(), TaskState::Completed, "{}", error(&task));
    engine.shutdown().await.expect("an end");
    assert!(chat.place.processes().is_empty() && chat.place.at_home().is_empty());
}

#[tokio::test]
async fn who_writes_when_it_is_tried_takes_a_turn_that_only_reads_no_more() {
    let chat = Chat::new(&recipes::QWEN, Script::markers()).await;
    let engine = builder(&chat).agent("a", permissive(&chat)).start().await.expect("an engine");
    assert_eq!(reads(&engine, &recipes::QWEN).await.state(), TaskState::Completed, "unseen");
    let canary = engine.canary("a").await.expect("a trial");
    let itself = canary.by_itself.clone().expect("it was tried");
    for name in ["made-by-its-tool", "made-by-its-shell", "README.md"] {
        assert!(itself.changes.iter().any(|it| it.contains(name)), "{canary:#?}");
    }
    assert!(canary.by_kernel.as_ref().is_some_and(|trial| trial.is_passed()), "{canary:#?}");
    assert!(canary.is_failed());
    let refused = reads(&engine, &recipes::QWEN).await;
    assert_eq!(refused.state(), TaskState::Failed);
    assert!(error(&refused).contains("has changed something when it was tried"), "{refused:?}");
    assert_eq!(row(&engine).await.quarantined, None, "it may write where it may write");
    let talk = engine.chat(ChatId::new(), ChatSpec::default()).await.expect("a chat");
    let task = talk.send("a", "Hi. <<SAY hello>>").await.expect("a task");
    assert_eq!(task.ended().await.expect("an end").state(), TaskState::Completed);
}

/// What was found of a real agent.
async fn is_listed(
    recipe: &'static Recipe,
    agent: impl Fn(&Chat) -> Box<dyn Agent>,
    says: [bool; 4],
) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let engine = builder(&chat).agent("a", agent(&chat)).start().await.expect("an engine");
    engine.probe().await.expect("a look");
    let row = row(&engine).await;
    assert_eq!(row.version.as_deref(), Some(recipe.version), "{row:#?}");
    assert_eq!(row.last_error, None);
    assert!(row.capabilities.is_some());
    let named = |fact: &Option<segue::model::Payload>| {
        let all = fact.as_ref().map(|fact| fact.decode::<Vec<serde_json::Value>>());
        all.is_some_and(|all| !all.expect("a list").is_empty())
    };
    let told = [row.supports_acp, named(&row.models), named(&row.modes), named(&row.commands)];
    assert_eq!(told, says, "{row:#?}");
    assert_eq!(row.can_ask, agent(&chat).profile().can_ask);
    assert_eq!(chat.server.asked(), 0, "nothing is prompted");
    assert!(chat.place.processes().is_empty() && chat.place.at_home().is_empty());
    // What has not changed is not started again.
    let again = engine.probe().await.expect("a look");
    assert!(again.contains(&row), "{again:#?}");
}

macro_rules! each {
    ($($name:ident: $recipe:ident $agent:ident $itself:literal $says:expr,)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn takes_a_turn_that_reads_when_it_was_tried_out() {
                keeps_to_reading(&recipes::$recipe, |chat| Box::new($agent(chat)), $itself).await;
            }

            #[tokio::test]
            async fn takes_a_turn_after_it_was_listed() {
                is_listed(&recipes::$recipe, |chat| Box::new($agent(chat)), $says).await;
            }
        }
    )*};
}

// Whether it speaks the protocol, and tells its models, its modes and its commands.
each! {
    claude_cli: CLAUDE cli true [false, false, false, false],
    codex_cli: CODEX cli true [false, false, false, false],
    qwen_cli: QWEN cli true [false, false, false, false],
    opencode_cli: OPENCODE cli true [false, false, false, false],
    claude_warm: CLAUDE claude true [false, true, false, true],
    qwen_acp: QWEN acp true [true, true, true, true],
    opencode_acp: OPENCODE acp true [true, true, true, true],
    opencode_server: OPENCODE server false [false, true, true, true],
}
