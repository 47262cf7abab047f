//! Programs that are started for each turn, with shells in the place of agents.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use segue::{
    Failure,
    agents::{
        Agent, Answer, Block, Listener, Outcome, Request, Resume, Sessions, Turn, Update,
        cli::{Cli, Flags, Limits, Prompt, Recipe, Schema, Way},
        process::{Custody, Mark},
        read::Format,
    },
    id::{ChatId, TaskId},
    model::{Access, Payload, TaskSpec},
    testing::{Heard, Recorder},
};
use serde_json::json;

use super::mark;

/// Custody that keeps the one mark that it gives.
#[derive(Debug)]
struct One(Mark);

#[async_trait]
impl Custody for One {
    async fn intend(&self, _: &str) -> Result<Mark, Failure> {
        Ok(self.0)
    }

    async fn started(&self, _: Mark, _: u32) -> Result<(), Failure> {
        Ok(())
    }

    async fn ended(&self, _: Mark) {}
}

const READ_ONLY: Way = Way { arguments: &["read-only"], env: &[("KEPT", "by the recipe")] };

/// An agent that is this script. What follows are its arguments.
pub(super) const fn recipe(first: &'static [&'static str]) -> Recipe {
    Recipe {
        name: "shell",
        program: "sh",
        format: Format::Claude,
        terminal: false,
        sessions: Sessions::Ours,
        prompt: Prompt::Input,
        first,
        last: &["last"],
        env: &[("GIVEN", "by the recipe"), ("WON", "by the recipe")],
        write: Way { arguments: &["write"], env: &[] },
        read_only: Some(READ_ONLY),
        confined: None,
        flags: Flags {
            model: &["--model", "{}"],
            mode: &["--mode={}"],
            thinking: &["-c", "effort=\"{}\""],
            new: &["--new", "{}"],
            resume: &["resume", "{}"],
            schema: Schema::File(&["--schema", "{}"]),
            ..Flags::NONE
        },
    }
}

/// Says what its arguments are.
const ARGUMENTS: &[&str] = &[
    "-c",
    r#"cat > /dev/null; printf '{"type":"result","subtype":"success","result":"%s"}' "$(printf '%s|' "$@" | tr -d '"')""#,
    "sh",
];

pub(super) fn cli(recipe: Recipe) -> Cli {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Cli::new(recipe).env(move |_| {
        Ok([
            ("PATH".into(), path.clone()),
            ("WON".into(), "by the host".into()),
            ("KEPT".into(), "not".into()),
        ]
        .into())
    })
}

pub(super) fn turn(mark: Mark) -> Turn {
    let task = TaskSpec::new(TaskId::new(), "agent", Payload::text(""));
    let mut turn = Turn::new(ChatId::new(), task, vec![Block::text("Do it.")]);
    turn.folder = "/".into();
    turn.custody = Some(Arc::new(One(mark)));
    turn
}

pub(super) fn text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed(reply) => reply.text,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn says(cli: &Cli, change: impl FnOnce(&mut Turn)) -> String {
    let mut turn = turn(mark());
    change(&mut turn);
    text(cli.turn(turn, &Recorder::default()).await)
}

#[tokio::test]
async fn arguments_have_their_order() {
    let cli = cli(recipe(ARGUMENTS)).argument("own");
    assert_eq!(says(&cli, |_| {}).await, "write|own|last|");
    let all = |turn: &mut Turn| {
        turn.model = Some("m".into());
        turn.mode = Some("free".into());
        turn.thinking = Some("high".into());
        turn.resume = Resume::Continue("s".into());
    };
    let written = "--mode=free|--model|m|-c|effort=high|own|resume|s|last|";
    assert_eq!(says(&cli, all).await, written);
    let reads = |turn: &mut Turn| {
        all(turn);
        turn.access = Access::ReadOnly;
        turn.resume = Resume::New("n".into());
    };
    // No mode takes the place of the one that keeps it from writing.
    assert_eq!(says(&cli, reads).await, "read-only|--model|m|-c|effort=high|own|--new|n|last|");
}

#[tokio::test]
async fn what_a_program_can_not_be_told_it_is_not_started_with() {
    let bare = Recipe { read_only: None, flags: Flags::NONE, ..recipe(ARGUMENTS) };
    let steps = Limits { steps: Some(3), ..Limits::default() };
    let refused = async |cli: Cli, change: fn(&mut Turn)| {
        let (mut turn, recorder) = (turn(mark()), Recorder::default());
        change(&mut turn);
        let outcome = cli.turn(turn, &recorder).await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        assert!(recorder.heard().is_empty(), "{recorder:?}");
    };
    refused(cli(bare).limits(steps), |_| {}).await;
    refused(cli(bare), |turn| turn.model = Some("m".into())).await;
    refused(cli(bare), |turn| turn.access = Access::ReadOnly).await;
    refused(cli(bare), |turn| turn.resume = Resume::Continue("s".into())).await;
    refused(cli(recipe(ARGUMENTS)), |turn| turn.model = Some("--free".into())).await;
}

#[tokio::test]
async fn the_hosts_variables_win_but_for_those_that_keep_it_from_writing() {
    const ENVIRONMENT: &[&str] = &[
        "-c",
        r#"printf '{"type":"result","subtype":"success","result":"%s"}' "$GIVEN, $WON, $KEPT""#,
    ];
    let cli = cli(recipe(ENVIRONMENT));
    assert_eq!(says(&cli, |_| {}).await, "by the recipe, by the host, not");
    let reads = says(&cli, |turn| turn.access = Access::ReadOnly).await;
    assert_eq!(reads, "by the recipe, by the host, by the recipe");
}

#[tokio::test]
async fn a_schema_is_a_file_for_as_long_as_the_turn() {
    const SCHEMA: &[&str] = &[
        "-c",
        r#"printf '{"type":"result","subtype":"success","result":"%s","structured_output":%s}' "$3" "$(cat "$3")""#,
        "sh",
    ];
    let schema = Payload::of(&json!({"type": "object"})).unwrap();
    let mut turn = turn(mark());
    turn.schema = Some(schema.clone());
    let outcome = cli(recipe(SCHEMA)).turn(turn, &Recorder::default()).await;
    let Outcome::Completed(reply) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reply.output, Some(schema.clone()));
    assert!(reply.text.ends_with(".json") && !Path::new(&reply.text).exists(), "{}", reply.text);

    // Without a flag for it, it is told in words.
    const PROMPT: &[&str] =
        &["-c", r#"printf '{"type":"result","subtype":"success","result":"%s"}' "$(tr -d '"\n')""#];
    let told = Recipe { flags: Flags::NONE, ..recipe(PROMPT) };
    let told = says(&cli(told), |turn| turn.schema = Some(schema)).await;
    assert!(told.starts_with("Do it.") && told.ends_with("{type:object}"), "{told}");
}

#[tokio::test]
async fn a_program_that_ends_without_a_word_is_interrupted_or_says_why() {
    const WELL: &[&str] = &[
        "-c",
        r#"cat > /dev/null; echo '{"type":"system","subtype":"init"}'; printf '{"type":"res'"#,
    ];
    let outcome = cli(recipe(WELL)).turn(turn(mark()), &Recorder::default()).await;
    assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
    // It reads nothing of a prompt that no pipe holds.
    const BADLY: &[&str] = &["-c", "echo 'no such flag' >&2; exit 2"];
    let mut long = turn(mark());
    long.content = vec![Block::text("word ".repeat(1 << 20))];
    let outcome = cli(recipe(BADLY)).turn(long, &Recorder::default()).await;
    let Outcome::Crashed { message } = outcome else { panic!("{outcome:?}") };
    assert!(message.ends_with("no such flag"), "{message}");
}

#[tokio::test]
async fn what_holds_its_output_open_ends_with_it() {
    const HOLDS: &[&str] = &[
        "-c",
        r#"cat > /dev/null; setsid sleep 1000 & echo '{"type":"result","subtype":"success","result":"done"}'"#,
    ];
    let mark = mark();
    let outcome = cli(recipe(HOLDS)).turn(turn(mark), &Recorder::default()).await;
    assert_eq!(text(outcome), "done");
    assert!(mark.processes().is_empty());
}

#[tokio::test]
async fn a_line_that_is_too_long_is_left_out() {
    const LONG: &[&str] = &[
        "-c",
        r#"head -c 70000000 /dev/zero | tr '\0' x; echo; echo '{"type":"result","subtype":"success","result":"done"}'"#,
    ];
    let recorder = Recorder::default();
    assert_eq!(text(cli(recipe(LONG)).turn(turn(mark()), &recorder).await), "done");
    assert!(recorder.updates().iter().any(|update| matches!(update, Update::Unknown { .. })));
}

#[tokio::test]
async fn a_turn_that_is_stopped_ends_a_program_that_does_not_listen() {
    const DEAF: &[&str] = &[
        "-c",
        r#"trap '' TERM; echo '{"type":"assistant","message":{"id":"a","content":[{"type":"text","text":"begun"}]}}'; while :; do sleep 1000; done"#,
    ];
    let (mark, recorder) = (mark(), Recorder::default());
    let turn = turn(mark);
    let stop = turn.stop.clone();
    let cli = cli(recipe(DEAF)).grace(Duration::from_millis(20));
    let begun = async {
        recorder.until(|heard| heard.iter().any(|it| matches!(it, Heard::Told(_)))).await;
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(cli.turn(turn.clone(), &recorder), begun);
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    assert!(mark.processes().is_empty());
    // What is stopped before it begins starts nothing.
    let recorder = Recorder::default();
    assert!(matches!(cli.turn(turn, &recorder).await, Outcome::Cancelled));
    assert!(recorder.heard().is_empty());
}

/// A listener that can't write down what it is told at one place.
#[derive(Debug)]
struct Deaf {
    to_sessions: bool,
}

#[async_trait]
impl Listener for Deaf {
    async fn tell(&self, _: Update) {}

    async fn session(&self, _: &str) -> Result<(), Failure> {
        if self.to_sessions { Err(Failure::new("not now")) } else { Ok(()) }
    }

    async fn prompting(&self) -> Result<(), Failure> {
        if self.to_sessions { Ok(()) } else { Err(Failure::new("not now")) }
    }

    async fn ask(&self, _: Request) -> Answer {
        Answer::Cancelled
    }
}

#[tokio::test]
async fn what_can_not_be_written_down_does_not_happen() {
    // It would leave a file if it was given its prompt.
    const READS: &[&str] = &["-c", r#"read -r line && touch "$MADE""#];
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let env = [("PATH".into(), path), ("MADE".into(), made.clone().into())];
    let cli = Cli::new(recipe(READS)).env(move |_| Ok(env.clone().into()));
    for to_sessions in [true, false] {
        let mark = mark();
        let mut turn = turn(mark);
        turn.resume = Resume::New("n".into());
        let outcome = cli.turn(turn, &Deaf { to_sessions }).await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        assert!(mark.processes().is_empty() && !made.exists());
    }
    // An id that the program says is noted before it goes on.
    const SAYS: &[&str] =
        &["-c", r#"echo '{"session_id":"s","type":"system","subtype":"init"}'; sleep 1000"#];
    let mark = mark();
    let cli = self::cli(recipe(SAYS));
    let outcome = cli.turn(turn(mark), &Deaf { to_sessions: true }).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert!(mark.processes().is_empty());
}
