//! Claude Code, kept warm between the turns of a chat.

use std::time::Duration;

use segue::{
    agents::{
        Agent, Answer, ChoiceKind, Outcome, Resume, ToolKind, ToolStatus, Turn, claude::ClaudeCode,
    },
    model::Access,
    testing::{
        Heard, Recorder,
        model::{Ask, Entry, Reply, Script, Usage},
    },
};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    cli::{Chat, LIMIT, take, text},
    ledger::booked,
    process, recipes,
};

async fn chat(script: Script) -> (Chat, ClaudeCode) {
    let chat = Chat::new(&recipes::CLAUDE, script).await;
    let (own, env) = chat.own();
    let claude = ClaudeCode::new().program(process::program(chat.recipe).0);
    let claude = own.into_iter().fold(claude, ClaudeCode::argument);
    // It asks before it changes anything.
    (chat, claude.mode("default").env(move |_| Ok(env.clone())))
}

fn new() -> Resume {
    Resume::New(Uuid::now_v7().to_string())
}

/// The same session, in another turn.
fn next(chat: &Chat, prompt: &str, recorder: &Recorder) -> Turn {
    let session = recorder.sessions().pop().expect("its session was noted");
    chat.turn(prompt, Resume::Continue(session))
}

/// The processes of the program itself.
fn programs(chat: &Chat) -> Vec<String> {
    let mut lines = chat.place.processes();
    lines.retain(|line| line.contains("--input-format"));
    lines
}

/// What was billed, but for questions without tools: when it is told another model, it asks that one
/// whether it is there, and reports nothing of it.
fn billed_for_turns(chat: &Chat) -> Usage {
    let mut sum = Usage::default();
    for record in chat.server.records() {
        let is_turn = record.ask.as_ref().is_some_and(|ask| !ask.tools.is_empty());
        if is_turn && record.is_billed() {
            sum += record.usage.unwrap_or_default();
        }
    }
    sum
}

/// What a script of two prompts says: it calls a tool, and at the second it is fine.
fn tool_then_fine(name: &'static str, input: serde_json::Value) -> Script {
    Script::by(move |ask: &Ask| {
        // Behind the result of a tool it is a note.
        let is_second = |entry: &Entry| match entry {
            Entry::User(text) | Entry::Note(text) => text.contains("Well?"),
            _ => false,
        };
        if ask.tools.is_empty() || ask.entries.iter().any(is_second) {
            return Reply::text("fine");
        }
        match ask.results().last() {
            None => Reply::call(name, input.clone()),
            Some(result) => Reply::text(format!("It says: {}", result.text)),
        }
    })
}

#[tokio::test]
async fn claude_takes_a_turn_and_stays() {
    let (chat, claude) = chat(Script::markers()).await;
    let recorder = Recorder::allowing();
    let turn = chat.turn(&chat.shell("touch made; echo it is $((7 * 6))"), new());
    let answer = text(take(&claude, turn, &recorder).await, &recorder);
    assert!(answer.contains("it is 42"), "{answer}");
    assert!(chat.place.path("repository/made").exists());
    let asked = recorder.heard().into_iter().find_map(|heard| match heard {
        Heard::Asked(request, _) => Some(request),
        _ => None,
    });
    let asked = asked.expect("it asks before it runs a command");
    assert_eq!(asked.call.kind, Some(ToolKind::Execute));
    assert_eq!(asked.call.id, recorder.tools()[0].id);
    let first = programs(&chat);
    assert_eq!(first.len(), 1, "{first:?}");

    let mut turn = next(&chat, "And <<THINK hm>> <<SAY one two three>> <<PIECES 3>>", &recorder);
    turn.model = Some("claude-opus-4-5".to_owned());
    assert_eq!(text(take(&claude, turn, &recorder).await, &recorder), "one two three");
    assert_eq!(recorder.messages().last().map(String::as_str), Some("one two three"));
    assert_eq!(recorder.sessions().len(), 1);
    assert_eq!(programs(&chat), first, "it is the same program");
    let mut last = chat.server.records().into_iter().filter_map(|record| record.ask);
    let last = last.rfind(|ask| !ask.tools.is_empty()).expect("it was asked");
    assert_eq!(last.model, "claude-opus-4-5");
    assert_eq!(booked(&recorder.usage()), billed_for_turns(&chat), "{:#?}", recorder.usage());

    claude.close(chat.chat).await;
    assert!(chat.place.processes().is_empty());
    // Another program goes on with the session.
    let turn = next(&chat, "Again <<SAY as I said>>", &recorder);
    assert_eq!(text(take(&claude, turn, &recorder).await, &recorder), "as I said");
    let last = chat.server.records().into_iter().filter_map(|record| record.ask).next_back();
    let earlier = |entry: &Entry| matches!(entry, Entry::Model(text) if text == "one two three");
    assert!(last.is_some_and(|ask| ask.entries.iter().any(earlier)), "it has forgotten");
    assert_eq!(booked(&recorder.usage()), billed_for_turns(&chat), "{:#?}", recorder.usage());
    claude.close_all().await;
    assert!(chat.place.processes().is_empty());
}

#[tokio::test]
async fn claude_takes_a_turn_that_is_interrupted_and_stays() {
    let input = json!({"command": "while :; do sleep 600; done", "description": "x"});
    let (chat, claude) = chat(tool_then_fine("Bash", input)).await;
    let recorder = Recorder::allowing();
    let turn = chat.turn("Do it.", new());
    let stop = turn.stop.clone();
    let sleeping = async {
        let is_there = || chat.place.processes().iter().any(|line| line.starts_with("sleep 600"));
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        std::time::Instant::now()
    };
    let (outcome, since) = tokio::join!(take(&claude, turn, &recorder), timeout(LIMIT, sleeping));
    let left = chat.place.processes();
    println!("warm claude: stopped after {:?}", since.expect("the tool runs").elapsed());
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    let programs = programs(&chat);
    assert_eq!(left, programs, "nothing but the program is left");
    assert_eq!(programs.len(), 1);
    assert!(recorder.tools().iter().all(|call| !call.denied), "it was stopped, not refused");
    let turn = next(&chat, "Well?", &recorder);
    assert_eq!(text(take(&claude, turn, &recorder).await, &recorder), "fine");
    assert_eq!(booked(&recorder.usage()), chat.server.billed(), "{:#?}", recorder.usage());
}

#[tokio::test]
async fn claude_takes_a_turn_and_what_its_tools_leave_is_ended() {
    let command = "setsid sleep 600 > /dev/null 2>&1 < /dev/null & echo begun";
    let input = json!({"command": command, "description": "x"});
    let (chat, claude) = chat(tool_then_fine("Bash", input)).await;
    let recorder = Recorder::allowing();
    let answer = text(take(&claude, chat.turn("Do it.", new()), &recorder).await, &recorder);
    assert!(answer.contains("begun"), "{answer}");
    assert_eq!(chat.place.processes(), programs(&chat));
    let turn = next(&chat, "Well?", &recorder);
    assert_eq!(text(take(&claude, turn, &recorder).await, &recorder), "fine");
}

#[tokio::test]
async fn claude_takes_a_turn_in_which_nothing_is_allowed() {
    let input = json!({"command": "touch made", "description": "x"});
    for (recorder, access) in
        [(Recorder::default(), Access::Write), (Recorder::allowing(), Access::ReadOnly)]
    {
        let (chat, claude) = chat(tool_then_fine("Bash", input.clone())).await;
        let mut turn = chat.turn("Do it.", new());
        turn.access = access;
        text(take(&claude, turn, &recorder).await, &recorder);
        assert!(!chat.place.path("repository/made").exists());
        let tools = recorder.tools();
        assert!(tools[0].denied && tools[0].status == Some(ToolStatus::Failed), "{tools:?}");
        let is_asked = recorder.heard().iter().any(|heard| matches!(heard, Heard::Asked(..)));
        assert_eq!(is_asked, access == Access::Write);
    }
}

#[tokio::test]
async fn claude_takes_a_turn_and_nobody_answers() {
    let input = json!({"command": "touch made", "description": "x"});
    let (chat, claude) = chat(tool_then_fine("Bash", input)).await;
    let recorder = Recorder::answering(|_| Answer::Cancelled);
    let outcome = take(&claude, chat.turn("Do it.", new()), &recorder).await;
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    assert!(!chat.place.path("repository/made").exists());
}

#[tokio::test]
async fn claude_takes_a_turn_and_asks_a_question() {
    let options =
        json!([{"label": "Red", "description": "r"}, {"label": "Blue", "description": "b"}]);
    let question = json!({"question": "Which colour?", "header": "Colour", "options": options,
        "multiSelect": false});
    let (chat, claude) =
        chat(tool_then_fine("AskUserQuestion", json!({"questions": [question]}))).await;
    let recorder = Recorder::answering(|request| {
        assert_eq!(request.question, "Which colour?");
        assert!(request.options.iter().all(|option| option.kind == ChoiceKind::Answer));
        Answer::Chosen("Blue".to_owned())
    });
    let answer = text(take(&claude, chat.turn("Do it.", new()), &recorder).await, &recorder);
    assert!(answer.contains("Blue"), "{answer}");
}

#[tokio::test]
async fn claude_takes_a_turn_of_a_session_that_it_does_not_know() {
    let (chat, claude) = chat(Script::markers()).await;
    let recorder = Recorder::default();
    let turn = chat.turn("Hi.", Resume::Continue(Uuid::now_v7().to_string()));
    let outcome = take(&claude, turn, &recorder).await;
    assert!(matches!(outcome, Outcome::SessionLost { .. }), "{outcome:?}");
    assert!(!recorder.heard().contains(&Heard::Prompting));
    assert!(chat.place.processes().is_empty());
}

#[tokio::test]
async fn claude_takes_a_turn_while_its_provider_is_limited() {
    let limit = |ask: &Ask| match ask.number {
        0 => Reply::limit(Duration::from_secs(7200)),
        _ => Reply::text("fine"),
    };
    let (chat, claude) = chat(Script::by(limit)).await;
    let recorder = Recorder::default();
    let outcome = take(&claude, chat.turn("Hi.", new()), &recorder).await;
    let wait = Some(Duration::from_secs(7200));
    assert!(
        matches!(&outcome, Outcome::RateLimited { wait: it, .. } if *it == wait),
        "{outcome:?}"
    );
    let turn = next(&chat, "Well?", &recorder);
    assert_eq!(text(take(&claude, turn, &recorder).await, &recorder), "fine");
}

#[tokio::test]
async fn claude_takes_a_turn_and_says_nothing() {
    let (chat, claude) = chat(Script::by(|_| Reply::never())).await;
    let (claude, recorder) = (claude.silence(Duration::from_secs(4)), Recorder::default());
    let outcome = take(&claude, chat.turn("Hi.", new()), &recorder).await;
    assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
    assert!(chat.place.processes().is_empty());
}
