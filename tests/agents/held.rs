//! The agents in the hands of an engine: what they may only read stays as it is, what they use is booked,
//! and their sessions are continued.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use segue::{
    Builder, ChatSpec, Engine,
    agents::{
        Agent,
        claude::ClaudeCode,
        cli::{Cli, Recipe as Program, Way},
        process::{Rules, Sandbox},
    },
    id::ChatId,
    model::{PartKind, TaskState, Tokens, TurnState},
    testing::model::{Script, Usage},
    workspace::Receipt,
};
use tokio::time::timeout;

use crate::{
    acp,
    cli::{Chat, LIMIT},
    hosts::{self, By, Setup},
    opencode, process,
    recipes::{self, Recipe},
};

/// A command line in its most permissive mode also where it may only read: nothing but the kernel
/// keeps it from writing.
pub fn permissive(chat: &Chat) -> Cli {
    let (own, env) = chat.own();
    let cli = own.into_iter().fold(Cli::new(permissive_recipe(chat.recipe.name)), Cli::argument);
    cli.program(process::program(chat.recipe).0).env(move |_| Ok(env.clone()))
}

/// A recipe that reads in the most permissive mode too.
pub fn permissive_recipe(name: &str) -> Program {
    match name {
        "claude" => Program { read_only: Some(CLAUDE), ..Cli::claude().recipe() },
        "codex" => Program { read_only: Some(CODEX), ..Cli::codex().recipe() },
        "qwen" => Program { read_only: Some(Cli::qwen().recipe().write), ..Cli::qwen().recipe() },
        "opencode" => {
            Program { read_only: Some(Cli::opencode().recipe().write), ..Cli::opencode().recipe() }
        }
        other => panic!("{other} is not known"),
    }
}

const CLAUDE: Way = Way {
    arguments: &["--permission-mode", "acceptEdits", "--allowedTools=Bash,Write,Edit"],
    env: &[],
};

const CODEX: Way = Way { arguments: &["--sandbox", "danger-full-access"], env: &[] };

pub fn claude(chat: &Chat) -> ClaudeCode {
    let (own, env) = chat.own();
    let agent = own.into_iter().fold(ClaudeCode::new(), ClaudeCode::argument);
    agent.program(process::program(chat.recipe).0).env(move |_| Ok(env.clone()))
}

pub fn builder(chat: &Chat) -> Builder {
    let builder = Engine::sqlite(chat.place.path("work.db"));
    builder.worktrees(chat.place.path("worktrees")).folder(chat.place.path("repository"))
}

/// The tool that writes a file, and its input.
fn edit(recipe: &Recipe, file: &Path) -> String {
    let file = file.display();
    match recipe.name {
        "claude" => format!(r#"<<TOOL Write {{"file_path": "{file}", "content": "x"}}>>"#),
        "qwen" => format!(r#"<<TOOL write_file {{"file_path": "{file}", "content": "x"}}>>"#),
        // Its server's tool has another name for the path.
        "opencode" => {
            format!(r#"<<TOOL write {{"filePath": "{file}", "path": "{file}", "content": "x"}}>>"#)
        }
        // It edits by its shell.
        _ => shell(recipe, &format!("echo x > {file}")),
    }
}

fn shell(recipe: &Recipe, command: &str) -> String {
    format!("<<TOOL {} {}>>", recipe.shell, (recipe.shell_input)(command))
}

/// The worktree that was pinned for readers.
fn pinned(chat: &Chat) -> PathBuf {
    let worktrees = fs::read_dir(chat.place.path("worktrees")).expect("worktrees");
    let mut folders = worktrees.map(|it| it.expect("an entry").path()).filter(|it| it.is_dir());
    folders.next().expect("a worktree")
}

/// What its tools would write changes nothing, and the turn says that they were kept from it.
async fn changes_nothing(recipe: &'static Recipe, agent: impl FnOnce(&Chat) -> Box<dyn Agent>) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let repository = chat.place.path("repository");
    // What a project's own settings would do.
    fs::create_dir(repository.join(".claude")).expect("a folder");
    let hook = r#"{"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "touch hooked"}]}]}}"#;
    fs::write(repository.join(".claude/settings.json"), hook).expect("a file");
    fs::create_dir(repository.join(".codex")).expect("a folder");
    fs::write(repository.join(".codex/config.toml"), "sandbox_mode = \"danger-full-access\"\n")
        .expect("a file");
    commit(&repository);
    let engine = builder(&chat).agent("a", agent(&chat)).start().await.expect("an engine");
    let talk = engine.chat(ChatId::new(), ChatSpec::default()).await.expect("a chat");
    // The first turn makes the worktree.
    let task =
        talk.send("a", "Hi. <<SAY hello>>").read_only().model(recipe.model).await.expect("a task");
    assert_eq!(task.ended().await.expect("an end").state(), TaskState::Completed);
    let before = Receipt::take(&pinned(&chat)).expect("a receipt");
    let users = Receipt::take(&repository).expect("a receipt");
    let file = pinned(&chat).join("made");
    for prompt in [
        edit(recipe, &file),
        shell(recipe, "touch by-shell; echo x >> README.md; git commit -qam x --allow-empty"),
        shell(recipe, &format!("echo x > {}", repository.join("elsewhere").display())),
    ] {
        let prompt = format!("Write. {prompt}");
        let task = talk.send("a", &prompt).read_only().model(recipe.model).await.expect("a task");
        let view = task.ended().await.expect("an end");
        let turn = talk.turns().await.expect("turns").remove(0);
        assert_eq!(view.state(), TaskState::Completed, "{turn:?} {:?}", error(&view));
        let told = turn.reason.clone().unwrap_or_default();
        let said = talk.history(0, 50).await;
        assert!(told.starts_with("denied: "), "{}: {turn:?} {said:#?}", recipe.name);
    }
    let after = Receipt::take(&pinned(&chat)).expect("a receipt");
    assert!(before.changes(&after).is_empty(), "{:?}", before.changes(&after));
    let after = Receipt::take(&repository).expect("a receipt");
    assert!(users.changes(&after).is_empty(), "{:?}", users.changes(&after));
    engine.shutdown().await.expect("an end");
    assert!(chat.place.processes().is_empty());
}

pub fn commit(repository: &Path) {
    for arguments in
        [&["add", "."][..], &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "two"]]
    {
        let mut git = Command::new("git");
        git.arg("-C").arg(repository).args(arguments);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        assert!(git.status().expect("git is installed").success());
    }
}

/// One that can't confine.
#[derive(Debug)]
struct Unable;

impl Sandbox for Unable {
    fn confine(&self, _: &Rules) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[tokio::test]
async fn nothing_takes_a_turn_that_reads_where_the_kernel_keeps_nobody_from_writing() {
    let chat = Chat::new(&recipes::QWEN, Script::markers()).await;
    let agent = permissive(&chat).sandbox(std::sync::Arc::new(Unable), Rules::default());
    let engine = builder(&chat).agent("a", agent).start().await.expect("an engine");
    let talk = engine.chat(ChatId::new(), ChatSpec::default()).await.expect("a chat");
    let task = talk.send("a", "Hi.").read_only().await.expect("a task");
    let view = task.ended().await.expect("an end");
    assert_eq!(view.state(), TaskState::Failed);
    assert!(error(&view).contains("can't be started"), "{view:?}");
    assert_eq!(chat.server.asked(), 0, "it was not started");
}

#[tokio::test]
async fn who_takes_a_turn_and_changes_what_it_may_only_read_is_used_no_more() {
    let chat = Chat::new(&recipes::QWEN, Script::markers()).await;
    let agent = permissive(&chat).unconfined();
    let engine = builder(&chat).agent("a", agent).start().await.expect("an engine");
    let talk = engine.chat(ChatId::new(), ChatSpec::default()).await.expect("a chat");
    let prompt = format!("Write. {}", shell(&recipes::QWEN, "touch made"));
    let task = talk.send("a", &prompt).read_only().await.expect("a task");
    let view = task.ended().await.expect("an end");
    assert_eq!(view.state(), TaskState::Failed);
    assert!(error(&view).contains("made` was created"), "{view:?}");
    assert!(pinned(&chat).join("made").exists(), "the evidence is kept");
    let asked = chat.server.asked();
    let task = talk.send("a", "Hi.").read_only().await.expect("a task");
    let view = task.ended().await.expect("an end");
    assert!(error(&view).contains("quarantine"), "{view:?}");
    assert_eq!(chat.server.asked(), asked, "it was not started");
}

/// Two turns, and the host of the first was killed after it: what was said is known, nothing of the
/// agent is left, and what was billed is booked.
async fn goes_on(recipe: &'static Recipe, by: By, billed: fn(&Chat) -> Usage) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let (id, setup) = (ChatId::new(), Setup::of(&chat, by));
    let first = format!("Run. {}", shell(recipe, "echo seven times six is $((7 * 6))"));
    let mut host = None;
    for (prompt, answer) in
        [(&*first, "seven times six is 42"), ("And? <<SAY as I said>>", "as I said")]
    {
        let engine = match prompt == first {
            true => {
                host = Some(hosts::start(&chat.place.path(""), &setup));
                builder(&chat).connect().await.expect("a connection")
            }
            false => builder(&chat).agent("a", setup.agent()).start().await.expect("an engine"),
        };
        let talk = engine.chat(id, ChatSpec::default()).await.expect("a chat");
        let task = talk.send("a", prompt).model(recipe.model);
        // In its other modes it asks a person.
        let mode = (recipe.name == "qwen").then(|| "yolo".to_owned());
        let task = task.with(|task| task.with(|spec| spec.mode = mode.clone()));
        let task = task.await.expect("a task");
        let said: String = task.output().await.expect("an answer");
        assert!(said.contains(answer), "{said}");
        let turn = talk.turns().await.expect("turns").remove(0);
        assert_eq!((turn.state, turn.generation), (TurnState::Completed, 1), "{turn:?}");
        engine.shutdown().await.expect("an end");
        if let Some(mut host) = host.take() {
            host.kill();
            let nobody = chat.place.deserted();
            timeout(LIMIT, nobody).await.expect("who watches the host ends its agents");
        }
    }
    let engine = builder(&chat).connect().await.expect("a connection");
    let talk = engine.chat_handle(id);
    let history = talk.history(0, 100).await.expect("messages");
    let parts = history.iter().flat_map(|message| &message.parts);
    assert!(parts.clone().any(|part| part.kind == PartKind::Tool), "{history:#?}");
    let [session] = &talk.agent_sessions().await.expect("sessions")[..] else {
        panic!("one session");
    };
    assert_eq!(session.turns, 2);
    let mut booked = Usage::default();
    let Tokens { input, cache_read, cache_write, output, reasoning } = session.tokens;
    booked += Usage { input, cache_read, cache_write, output, reasoning };
    assert_eq!(booked, billed(&chat));
    assert_ne!(booked, Usage::default());
    assert!(chat.place.processes().is_empty());
}

/// A turn that may write, of an agent that is kept in its folder: it writes there, by its tools and by
/// its shell, and nowhere else.
async fn writes_in_its_folder_only(
    recipe: &'static Recipe,
    agent: impl FnOnce(&Chat) -> Box<dyn Agent>,
) {
    let chat = Chat::new(recipe, Script::markers()).await;
    let engine = builder(&chat).agent("a", agent(&chat)).start().await.expect("an engine");
    let talk = engine.chat(ChatId::new(), ChatSpec::default()).await.expect("a chat");
    let (repository, outside) = (chat.place.path("repository"), chat.place.path("elsewhere"));
    fs::create_dir(&outside).expect("a folder");
    for prompt in [
        edit(recipe, &repository.join("by-tool")),
        shell(
            recipe,
            "echo x > by-shell; git add by-shell; git -c user.name=t -c user.email=t@t commit -qm two",
        ),
        edit(recipe, &outside.join("by-tool")),
        shell(recipe, &format!("echo x > {}", outside.join("by-shell").display())),
    ] {
        let task = talk.send("a", &format!("Write. {prompt}")).model(recipe.model);
        let mode = (recipe.name == "qwen").then(|| "yolo".to_owned());
        let task = task.with(|task| task.with(|spec| spec.mode = mode.clone()));
        let view = task.await.expect("a task").ended().await.expect("an end");
        assert_eq!(view.state(), TaskState::Completed, "{:?}", error(&view));
    }
    let said = talk.history(0, 50).await;
    assert_eq!(fs::read_to_string(repository.join("by-tool")).expect("a file").trim(), "x");
    assert_eq!(fs::read_to_string(repository.join("by-shell")).expect("a file").trim(), "x");
    let head = fs::read_to_string(repository.join(".git/logs/HEAD")).expect("git's log");
    assert_eq!(head.lines().count(), 2, "it has committed");
    assert_eq!(fs::read_dir(outside).expect("a folder").count(), 0, "{said:#?}");
    engine.shutdown().await.expect("an end");
    assert!(chat.place.processes().is_empty());
}

#[tokio::test]
async fn qwen_takes_a_turn_and_writes_in_its_folder_only() {
    writes_in_its_folder_only(&recipes::QWEN, |chat| Box::new(acp::agent(chat).keep_within()))
        .await;
}

#[tokio::test]
async fn claude_takes_a_turn_and_writes_in_its_folder_only() {
    let agent = |chat: &Chat| {
        let cli = Cli::new(Program { write: CLAUDE, ..Cli::claude().recipe() });
        let (own, env) = chat.own();
        let cli = own.into_iter().fold(cli, Cli::argument).keep_within();
        cli.program(process::program(chat.recipe).0).env(move |_| Ok(env.clone()))
    };
    writes_in_its_folder_only(&recipes::CLAUDE, |chat| Box::new(agent(chat))).await;
}

/// What was billed, as a command line tells it.
fn by_command_line(chat: &Chat) -> Usage {
    (chat.recipe.booked)(chat.server.billed())
}

macro_rules! held {
    ($($name:ident: $recipe:ident $by:ident, $billed:path;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn takes_a_turn_and_goes_on_when_its_host_was_killed() {
                goes_on(&recipes::$recipe, By::$by, $billed).await;
            }

            #[tokio::test]
            async fn takes_a_turn_and_changes_nothing_that_it_may_only_read() {
                let agent = |chat: &Chat| Setup::of(chat, By::$by).agent();
                changes_nothing(&recipes::$recipe, agent).await;
            }
        }
    )*};
}

held! {
    claude_cli: CLAUDE CommandLine, by_command_line;
    codex_cli: CODEX CommandLine, by_command_line;
    qwen_cli: QWEN CommandLine, by_command_line;
    opencode_cli: OPENCODE CommandLine, by_command_line;
    claude_warm: CLAUDE Warm, by_command_line;
    qwen_acp: QWEN Acp, acp::billed;
    opencode_acp: OPENCODE Acp, acp::billed;
    opencode_server: OPENCODE Server, opencode::billed;
}

/// What went wrong in the last attempt.
pub fn error(view: &segue::model::TaskView) -> String {
    view.attempt.as_ref().and_then(|attempt| attempt.error.clone()).unwrap_or_default()
}
