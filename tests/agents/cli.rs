//! The agents as programs that are started for each turn, by their adapter.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use segue::{
    agents::{
        Agent, Block, Outcome, Resume, Sessions, ToolStatus, Turn, Update, cli::Cli,
        process::Unwatched,
    },
    id::{ChatId, TaskId},
    model::{Access, Payload, TaskSpec},
    testing::{
        Recorder,
        model::{Entry, ModelServer, Reply, Script, Usage},
    },
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    ledger::booked,
    process::{self, Place},
    recipes::{self, Recipe},
};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A chat with an agent: where it works, and what answers it.
pub struct Chat {
    pub recipe: &'static Recipe,
    pub server: ModelServer,
    pub place: Place,
    pub chat: ChatId,
}

impl Chat {
    pub async fn new(recipe: &'static Recipe, script: Script) -> Self {
        let server = ModelServer::start(script).await.expect("a port");
        Self { recipe, server, place: Place::new(recipe), chat: ChatId::new() }
    }

    /// The arguments and the environment that a host gives its adapter.
    pub fn own(&self) -> (Vec<String>, BTreeMap<std::ffi::OsString, std::ffi::OsString>) {
        let own = self.recipe.own.iter();
        let own = own.map(|text| process::fill(text, &self.place, &self.server)).collect();
        (own, process::environment(self.recipe, &self.place, &self.server))
    }

    pub fn cli(&self) -> Cli {
        let cli = match self.recipe.name {
            "claude" => Cli::claude(),
            "codex" => Cli::codex(),
            "qwen" => Cli::qwen(),
            "opencode" => Cli::opencode(),
            other => panic!("{other} is not known"),
        };
        let (own, env) = self.own();
        let cli = own.into_iter().fold(cli, Cli::argument);
        cli.program(process::program(self.recipe).0).env(move |_| Ok(env.clone()))
    }

    pub fn turn(&self, prompt: &str, resume: Resume) -> Turn {
        let mut turn = Turn::new(self.chat, task(), vec![Block::text(prompt)]);
        turn.model = Some(self.recipe.model.to_owned());
        turn.folder = self.place.path("repository");
        turn.resume = resume;
        turn.custody = Some(Arc::new(Unwatched::new(Uuid::now_v7())));
        turn
    }

    /// A prompt whose model calls the shell with this command.
    pub fn shell(&self, command: &str) -> String {
        format!("Run. <<TOOL {} {}>>", self.recipe.shell, (self.recipe.shell_input)(command))
    }

    /// How its first turn begins a session.
    pub fn fresh(&self, sessions: Sessions) -> Resume {
        match sessions {
            Sessions::Ours => Resume::New(Uuid::now_v7().to_string()),
            _ => Resume::Fresh,
        }
    }
}

fn task() -> TaskSpec {
    TaskSpec::new(TaskId::new(), "agent", Payload::text(""))
}

/// Takes a turn, with a limit.
pub async fn take(agent: &dyn Agent, turn: Turn, recorder: &Recorder) -> Outcome {
    let taken = timeout(LIMIT, agent.turn(turn, recorder)).await;
    taken.unwrap_or_else(|_| panic!("the turn takes too long: {recorder:?}"))
}

pub fn text(outcome: Outcome, recorder: &Recorder) -> String {
    match outcome {
        Outcome::Completed(reply) => reply.text,
        other => panic!("it did not complete: {other:?}\n{recorder:#?}"),
    }
}

async fn goes_on(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (chat.cli(), Recorder::default());
    let first = chat.shell("echo seven times six is $((7 * 6))");
    let turn = chat.turn(&first, chat.fresh(agent.profile().sessions));
    let answer = text(take(&agent, turn, &recorder).await, &recorder);
    assert!(answer.contains("seven times six is 42"), "{answer}");
    assert_eq!(recorder.messages().last(), Some(&answer), "{recorder:#?}");
    assert_eq!(recorder.tools().len(), 1, "{recorder:#?}");
    assert_eq!(recorder.tools()[0].status, Some(ToolStatus::Completed));
    assert!(chat.place.processes().is_empty());

    let [session] = &recorder.sessions()[..] else { panic!("{recorder:#?}") };
    let turn = chat.turn("And again. <<SAY as I said>>", Resume::Continue(session.clone()));
    let answer = text(take(&agent, turn, &recorder).await, &recorder);
    assert_eq!(answer, "as I said");
    assert_eq!(recorder.sessions().len(), 1, "it goes on under its name");
    let asks = chat.server.records().into_iter().filter_map(|record| record.ask);
    let mut seen = asks.filter(|ask| ask.prompt().contains("And again."));
    let earlier = |entry: &Entry| matches!(entry, Entry::User(text) if text.contains(&first));
    assert!(
        seen.next_back().is_some_and(|ask| ask.entries.iter().any(earlier)),
        "it has forgotten"
    );

    let billed: Usage = (recipe.booked)(chat.server.billed());
    assert_eq!(booked(&recorder.usage()), billed, "{:#?}", recorder.usage());
}

async fn is_cancelled(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (chat.cli(), Recorder::default());
    let turn = chat.turn(&chat.shell("while :; do sleep 600; done"), Resume::Fresh);
    let stop = turn.stop.clone();
    let sleeping = async {
        let is_there = || chat.place.processes().iter().any(|line| line.starts_with("sleep 600"));
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        std::time::Instant::now()
    };
    let (outcome, since) = tokio::join!(take(&agent, turn, &recorder), timeout(LIMIT, sleeping));
    let left = chat.place.processes();
    println!("{}: ended after {:?}", recipe.name, since.expect("the tool runs").elapsed());
    assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
    assert!(left.is_empty(), "{left:?}");
}

async fn has_forgotten(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (chat.cli(), Recorder::default());
    let id = match recipe.name {
        "opencode" => "ses_00000000000000000000000001".to_owned(),
        _ => Uuid::now_v7().to_string(),
    };
    let outcome = take(&agent, chat.turn("Hi.", Resume::Continue(id)), &recorder).await;
    assert!(matches!(outcome, Outcome::SessionLost { .. }), "{outcome:?}");
    assert_eq!(chat.server.asked(), 0, "nothing is prompted");
    assert!(recorder.usage().is_empty());
}

/// Not for Qwen Code and opencode: they try again for minutes without a word of it.
async fn is_limited(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::by(|_| Reply::limit(Duration::from_secs(7200)))).await;
    // Some wait as long as they are told to.
    let agent = chat.cli().silence(Duration::from_secs(8));
    let recorder = Recorder::default();
    let outcome = take(&agent, chat.turn("Hi.", Resume::Fresh), &recorder).await;
    println!("{}: {outcome:?}", recipe.name);
    assert!(matches!(outcome, Outcome::RateLimited { .. }), "{outcome:?} {recorder:#?}");
    assert!(chat.place.processes().is_empty());
}

/// The first answer breaks off: the agent asks again, or the turn is interrupted.
async fn is_cut_off(recipe: &'static Recipe) {
    let script = Script::by(|ask| match ask.number {
        _ if ask.tools.is_empty() => Reply::text("ok"),
        0 | 1 => Reply::text("one two three four").pieces(4).cut(4),
        _ => Reply::text("whole"),
    });
    let chat = Chat::new(recipe, script).await;
    let (agent, recorder) = (chat.cli(), Recorder::default());
    let outcome = take(&agent, chat.turn("Hi.", Resume::Fresh), &recorder).await;
    println!("{}: {outcome:?}", recipe.name);
    match outcome {
        Outcome::Completed(reply) => {
            // Qwen Code repeats what it has told before.
            assert!(reply.text.ends_with("whole"), "{}", reply.text);
        }
        Outcome::Interrupted { .. } | Outcome::Crashed { .. } => {}
        other => panic!("{other:?}"),
    }
    assert!(chat.place.processes().is_empty());
}

async fn hangs(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::by(|_| Reply::never())).await;
    let (agent, recorder) = (chat.cli().silence(Duration::from_secs(4)), Recorder::default());
    let outcome = take(&agent, chat.turn("Hi.", Resume::Fresh), &recorder).await;
    assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
    assert!(chat.place.processes().is_empty());
}

async fn only_reads(recipe: &'static Recipe) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (agent, recorder) = (chat.cli(), Recorder::default());
    let mut turn = chat.turn(&chat.shell("echo begun; touch made"), Resume::Fresh);
    turn.access = Access::ReadOnly;
    let answer = text(take(&agent, turn, &recorder).await, &recorder);
    assert!(!chat.place.path("repository/made").exists());
    println!("{}: {answer}", recipe.name);
    let is_told = recorder.tools().iter().any(|call| call.denied);
    // Codex tells of a command that is at work, and has confined this one.
    assert!(is_told || recipe.name == "codex", "{recorder:#?}");
    assert!(recorder.updates().iter().all(|it| !matches!(it, Update::Unknown { .. })));
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
    claude_takes_a_turn_and_goes_on: goes_on CLAUDE,
    codex_takes_a_turn_and_goes_on: goes_on CODEX,
    qwen_takes_a_turn_and_goes_on: goes_on QWEN,
    opencode_takes_a_turn_and_goes_on: goes_on OPENCODE,
    claude_takes_a_turn_that_is_cancelled: is_cancelled CLAUDE,
    codex_takes_a_turn_that_is_cancelled: is_cancelled CODEX,
    qwen_takes_a_turn_that_is_cancelled: is_cancelled QWEN,
    opencode_takes_a_turn_that_is_cancelled: is_cancelled OPENCODE,
    claude_takes_a_turn_of_a_session_that_is_lost: has_forgotten CLAUDE,
    codex_takes_a_turn_of_a_session_that_is_lost: has_forgotten CODEX,
    qwen_takes_a_turn_of_a_session_that_is_lost: has_forgotten QWEN,
    opencode_takes_a_turn_of_a_session_that_is_lost: has_forgotten OPENCODE,
    claude_takes_a_turn_and_is_limited: is_limited CLAUDE,
    codex_takes_a_turn_and_is_limited: is_limited CODEX,
    claude_takes_a_turn_and_is_cut_off: is_cut_off CLAUDE,
    codex_takes_a_turn_and_is_cut_off: is_cut_off CODEX,
    qwen_takes_a_turn_and_is_cut_off: is_cut_off QWEN,
    opencode_takes_a_turn_and_is_cut_off: is_cut_off OPENCODE,
    claude_takes_a_turn_that_hangs: hangs CLAUDE,
    codex_takes_a_turn_that_hangs: hangs CODEX,
    qwen_takes_a_turn_that_hangs: hangs QWEN,
    opencode_takes_a_turn_that_hangs: hangs OPENCODE,
    claude_takes_a_turn_that_only_reads: only_reads CLAUDE,
    codex_takes_a_turn_that_only_reads: only_reads CODEX,
    qwen_takes_a_turn_that_only_reads: only_reads QWEN,
    opencode_takes_a_turn_that_only_reads: only_reads OPENCODE,
}
