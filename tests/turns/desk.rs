//! The example `desk`: an app and its command line on one file, and the agents of two tabs.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use rusqlite::Connection;
use segue::{
    Chat, Engine,
    model::{ItemFilter, ItemState, Role, TaskState, TurnState},
};

use super::{
    examples,
    place::{Place, audited, database, deserted, eventually, processes, run},
    program, read,
};

/// A desk with two tabs, each with an agent and a folder of its own.
struct Desk {
    place: Place,
    app: Option<Child>,
}

impl Desk {
    fn new() -> Self {
        let mut desk = Self { place: Place::new(), app: None };
        desk.begin();
        for (tab, agent) in [("left", "one"), ("right", "two")] {
            let folder = desk.folder(tab);
            desk.said(&["open", tab, agent, folder.to_str().unwrap()]);
        }
        desk
    }

    fn folder(&self, tab: &str) -> PathBuf {
        self.place.folder(tab)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(examples::program("desk"));
        command.arg("--db").arg(database(self.place.path())).stdin(Stdio::null());
        command
    }

    /// Starts the app, and waits until it is at work.
    fn begin(&mut self) {
        let agent = program::program();
        let mut command = self.command();
        command.arg("app");
        for name in ["one", "two"] {
            command.arg("--agent").arg(format!("{name}={}", agent.display()));
        }
        command.stdout(File::create(self.place.path().join("printed")).unwrap());
        let mut app = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let errors = app.stderr.take().unwrap();
        BufReader::new(errors).read_line(&mut line).expect("a line");
        assert!(line.starts_with("at work"), "{line}");
        self.app = Some(app);
    }

    /// Kills the app, and waits until nothing of it works on.
    async fn kill(&mut self) {
        let mut app = self.app.take().expect("it works");
        app.kill().unwrap();
        app.wait().unwrap();
        for tab in ["left", "right"] {
            deserted(&self.folder(tab)).await;
        }
    }

    /// What one command of the command line does.
    fn does(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("it starts")
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.does(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn beside(&self) -> Engine {
        Engine::sqlite(database(self.place.path())).connect().await.unwrap()
    }

    /// The chat of a tab, by the desk's own table.
    fn chat(&self, beside: &Engine, tab: &str) -> Chat {
        let own = Connection::open(database(self.place.path())).unwrap();
        let query = "SELECT chat FROM desk_tabs WHERE name = ?1";
        let chat: String = own.query_row(query, [tab], |row| row.get(0)).unwrap();
        beside.chat_handle(chat.parse().unwrap())
    }

    /// All that an agent was prompted with, by its own files.
    fn prompts(&self, tab: &str) -> Vec<String> {
        let folder = self.folder(tab).join(".acp_agent");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let sessions =
            files.filter(|path| path.extension().is_none() && !path.ends_with("reported"));
        sessions
            .flat_map(|path| read(&path).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(app) = &mut self.app {
            let _ = app.kill();
            let _ = app.wait();
        }
    }
}

/// What was said in a chat so far: the prompt, and what came of it.
async fn answers(chat: &Chat) -> Vec<String> {
    let history = chat.history(0, 100).await.unwrap();
    let answers = history.into_iter().filter(|message| message.role == Role::Assistant);
    answers.map(|message| message.content.decode().unwrap()).collect()
}

async fn completed(beside: &Engine, count: u64) {
    eventually("all turns are taken", async || {
        let tasks = beside.stats().await.unwrap().tasks;
        assert_eq!(tasks.get(&TaskState::Failed), None);
        tasks.get(&TaskState::Completed) == Some(&count)
    })
    .await;
}

/// How many commits all processes have made on a database: the count by which they share syncs.
fn commits(database: &Path) -> u64 {
    let mut bell = database.as_os_str().to_owned();
    bell.push("-segue-bell");
    let mut count = [0; 8];
    File::open(bell).unwrap().read_exact_at(&mut count, 8 * 8).unwrap();
    u64::from_ne_bytes(count)
}

#[test]
fn fifty_deltas_a_second_in_two_tabs_cost_fewer_than_ten_commits() {
    const DELTAS: u64 = 300;
    run(async {
        let desk = Desk::new();
        let (beside, file) = (desk.beside().await, database(desk.place.path()));
        for tab in ["left", "right"] {
            desk.said(&["say", tab, &format!("count {DELTAS} 20")]);
        }
        let chats = ["left", "right"].map(|tab| desk.chat(&beside, tab));
        // What is durable, in deltas, which are of one length; and the commits until then.
        let durable = async || {
            let before = commits(&file);
            let [left, right] =
                [answers(&chats[0]).await.concat(), answers(&chats[1]).await.concat()];
            (left.len() / "word00000 ".len(), right.len() / "word00000 ".len(), before)
        };
        let mut first = durable().await;
        eventually("both speak", async || {
            first = durable().await;
            first.0 > 0 && first.1 > 0
        })
        .await;
        let mut last = first;
        eventually("one has said all", async || {
            let now = durable().await;
            if now.0.max(now.1) < DELTAS as usize {
                last = now;
            }
            now.0.max(now.1) == DELTAS as usize
        })
        .await;
        let deltas = (last.0 + last.1 - first.0 - first.1) as u64;
        let commits = last.2 - first.2;
        println!("{deltas} deltas in {commits} commits");
        assert!(deltas > DELTAS, "both speak beside each other");
        // Fifty a second in each of two tabs are a hundred.
        assert!(commits * 100 < deltas * 10, "{deltas} deltas cost {commits} commits");
        completed(&beside, 2).await;
        audited(&beside).await;
        // The app has printed it all meanwhile, and the command line shows it.
        let all: String = (0..DELTAS).map(|no| format!("word{no:05} ")).collect();
        for (tab, agent) in [("left", "one"), ("right", "two")] {
            let shown = desk.said(&["show", tab]);
            assert!(shown.contains(&format!("{agent}: {all}")), "{shown}");
        }
        let printed = read(&desk.place.path().join("printed"));
        assert_eq!(printed.matches("word00150 ").count(), 2, "{printed}");
    });
}

/// What a command that goes on has printed so far.
fn follow(mut command: Command) -> (Child, Arc<Mutex<String>>) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let (mut pipe, printed) = (child.stdout.take().unwrap(), Arc::new(Mutex::default()));
    let own: Arc<Mutex<String>> = Arc::clone(&printed);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            own.lock().unwrap().push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
        }
    });
    (child, printed)
}

#[test]
fn a_turn_that_is_killed_loses_no_character_and_is_prompted_once() {
    run(async {
        let mut desk = Desk::new();
        let beside = desk.beside().await;
        let chat = desk.chat(&beside, "left");
        let mut command = desk.command();
        command.args(["show", "left", "--follow"]);
        let (mut watcher, printed) = follow(command);
        let prompt = "count 150 20\nsay and that was all";
        desk.said(&["say", "left", prompt]);
        // What a watcher in another process has seen by then is durable.
        eventually("it is in the middle", async || {
            let printed = printed.lock().unwrap();
            printed.split_once("one: ").is_some_and(|(_, said)| said.contains("word00030"))
        })
        .await;
        desk.kill().await;
        let seen = printed.lock().unwrap().split_once("one: ").unwrap().1.to_owned();
        let durable = answers(&chat).await;
        assert!(durable[0].starts_with(&seen), "{seen:?} {durable:?}");
        assert!(!durable[0].contains("word00149"));

        desk.begin();
        completed(&beside, 1).await;
        let said = answers(&chat).await;
        assert_eq!(said[0], durable[0], "what was said stays said");
        assert_eq!(said.len(), 2, "it went on in a message of its own");
        assert!(!said[1].contains("word00000") && said[1].ends_with("word00149 and that was all"));
        let prompts = desk.prompts("left");
        assert_eq!(prompts[0], prompt.replace('\n', "; "));
        assert!(prompts[1].starts_with("The turn was interrupted"), "{prompts:?}");
        assert!(prompts.len() == 2 && !prompts[1].contains("count"), "{prompts:?}");
        let states: Vec<_> = chat.turns().await.unwrap().iter().map(|turn| turn.state).collect();
        assert_eq!(states, [TurnState::Completed, TurnState::Interrupted]);
        assert_eq!(chat.agent_sessions().await.unwrap().len(), 1, "in the same session");
        eventually("the watcher has seen it all", async || {
            printed.lock().unwrap().contains("and that was all\n[Completed]")
        })
        .await;
        watcher.kill().unwrap();
        watcher.wait().unwrap();
        audited(&beside).await;
    });
}

/// Kills the app while an agent asks, and answers by the command line: while nothing works, or when
/// it works again.
async fn answered(while_dead: bool) {
    let mut desk = Desk::new();
    let beside = desk.beside().await;
    let prompt = "tool t1 edit\nask t1 edit\nsay  is the answer";
    desk.said(&["say", "left", "say I have nothing to do with it"]);
    desk.said(&["say", "right", prompt]);
    eventually("it asks", async || !beside.inbox(None, 9).await.unwrap().is_empty()).await;
    completed(&beside, 1).await;
    let line = desk.said(&["inbox"]);
    assert!(line.contains(" right: may I t1? [allow|reject]\n"), "{line}");
    let item = line.split(' ').next().unwrap().to_owned();
    desk.kill().await;
    let answer =
        || assert_eq!(desk.said(&["answer", &item, "allow", "--by", "Ada"]), "recorded: allow\n");
    if while_dead {
        answer();
    }
    desk.begin();
    if !while_dead {
        let again = desk.said(&["inbox"]);
        assert!(again.starts_with(&item), "it is the same question: {again}");
        desk.said(&["answer", &item, "allow", "--by", "Ada"]);
    }
    completed(&beside, 2).await;
    let late = desk.does(&["answer", &item, "reject", "--by", "Eve"]);
    assert!(!late.status.success() && String::from_utf8_lossy(&late.stderr).contains("Ada"));

    let chat = desk.chat(&beside, "right");
    assert_eq!(answers(&chat).await.concat(), "once is the answer", "it reached the agent, once");
    let prompts = desk.prompts("right");
    assert_eq!(prompts[0], prompt.replace('\n', "; "));
    let again = prompts.iter().filter(|it| it.contains("t1")).count();
    assert!(prompts.len() == 2 && again == 1, "{prompts:?}");
    let items = beside.items(ItemFilter::default(), None, 9).await.unwrap();
    let states: Vec<_> = items.iter().map(|item| item.state).collect();
    assert_eq!(states, [ItemState::Used]);
    assert_eq!(chat.agent_sessions().await.unwrap().len(), 1);
    audited(&beside).await;
    assert!(processes(&desk.folder("right")).len() <= 1);
}

#[test]
fn an_answer_that_is_given_while_the_app_is_dead_reaches_the_turn_that_asked() {
    run(answered(true));
}

#[test]
fn an_answer_that_is_given_to_the_app_that_goes_on_reaches_the_turn_that_asked() {
    run(answered(false));
}
