//! `investigate --agent`: on a repository whose files are edited meanwhile; killed, and resumed.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use segue::testing::model::{Ask, Entry, ModelServer, Reply, Script};
use serde_json::{Value, json};

use crate::{
    cli::LIMIT,
    examples::{Running, program},
    process::{self, Place},
    recipes::{self, Recipe},
};

const QUESTION: &str = "Where are the widgets?";

/// An investigation's folders, and the model that plays all of its roles.
struct Inquiry {
    recipe: &'static Recipe,
    place: Place,
    server: ModelServer,
    /// The second reader gets no answer.
    held: Arc<AtomicBool>,
}

impl Inquiry {
    async fn new(recipe: &'static Recipe) -> Self {
        let held = Arc::new(AtomicBool::new(false));
        let is_held = Arc::clone(&held);
        let play = move |ask: &Ask| answer(recipe, ask, is_held.load(SeqCst));
        let server = ModelServer::start(Script::by(play)).await.expect("a port");
        let inquiry = Self { recipe, place: Place::new(recipe), server, held };
        for (name, content) in settings(recipe) {
            let path = inquiry.place.path("home").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, process::fill(content, &inquiry.place, &inquiry.server))
                .expect("a file of the home");
        }
        let text: String = (1..=20).map(|no| format!("{}\n", line(no))).collect();
        fs::create_dir(inquiry.repository().join("src")).expect("a folder");
        fs::write(inquiry.file(), text).expect("a file");
        crate::held::commit(&inquiry.repository());
        inquiry
    }

    fn repository(&self) -> PathBuf {
        self.place.path("repository")
    }

    fn file(&self) -> PathBuf {
        self.repository().join("src/lib.rs")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("investigate"));
        command.env_clear().envs(process::environment(self.recipe, &self.place, &self.server));
        command.arg("--db").arg(self.place.path("work.db")).args(arguments);
        command
    }

    fn investigate(&self) -> Command {
        let folder = self.repository().to_string_lossy().into_owned();
        self.command(&["--agent", self.recipe.name, &folder, QUESTION])
    }

    /// Runs it to its end. Returns its report, and what it told meanwhile.
    async fn report(&self, mut command: Command) -> (String, String) {
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends");
        let output = output.expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (report, told) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{told}\n{:#?}", self.asked());
        (report, told)
    }

    /// How often the model was asked in a role.
    fn asked_as(&self, wanted: &str) -> usize {
        let asks = self.server.records().into_iter().filter_map(|record| record.ask);
        asks.filter(|ask| role(ask).as_deref() == Some(wanted)).count()
    }

    fn asked(&self) -> Vec<String> {
        let asks = self.server.records().into_iter().filter_map(|record| record.ask);
        asks.map(|ask| format!("{:?}, {} results", role(&ask), ask.results().len())).collect()
    }

    /// Waits until nothing of the agents works on.
    async fn expect_gone(&self) {
        let began = Instant::now();
        while !self.place.at_home().is_empty() {
            assert!(began.elapsed() < LIMIT, "{:?}", self.place.at_home());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What an agent has in its home that its program can't be told by its environment.
fn settings(recipe: &Recipe) -> &'static [(&'static str, &'static str)] {
    match recipe.name {
        "codex" => &[(
            ".codex/config.toml",
            "model = \"scripted\"\nmodel_provider = \"scripted\"\n\n[features]\nplugins = false\n\
             apps = false\n\n[analytics]\nenabled = false\n\n[model_providers.scripted]\n\
             name = \"scripted\"\nbase_url = \"{url}/v1\"\nwire_api = \"responses\"\n\
             env_key = \"OPENAI_API_KEY\"\n",
        )],
        "qwen" => &[(
            ".qwen/settings.json",
            r#"{"privacy": {"usageStatisticsEnabled": false},
                "security": {"auth": {"selectedType": "openai"}}}"#,
        )],
        _ => &[],
    }
}

fn line(no: usize) -> String {
    format!("pub fn widget_{no}() {{}}")
}

/// The role that an agent is asked in, by anything that was said to it before.
fn role(ask: &Ask) -> Option<String> {
    let said = ask.entries.iter().filter_map(|entry| match entry {
        Entry::User(text) => Some(text),
        _ => None,
    });
    let roles =
        ["You are reader 1 of", "You are reader 2 of", "You conclude", "You are a validator"];
    let mut said = said.flat_map(|text| roles.iter().filter(move |role| text.contains(**role)));
    said.next_back().filter(|_| !ask.tools.is_empty()).map(|role| (*role).to_owned())
}

fn answer(recipe: &Recipe, ask: &Ask, is_held: bool) -> Reply {
    let Some(role) = role(ask) else {
        return Reply::text("ok");
    };
    if is_held && role.contains("reader 2") {
        return Reply::never();
    }
    // Everyone looks first.
    if ask.results().is_empty() {
        let pattern = json!({"pattern": "widget"});
        return match recipe.name {
            "claude" => Reply::call("Grep", pattern),
            "codex" => Reply::call("exec_command", json!({"cmd": "cat src/lib.rs"})),
            "qwen" => Reply::call("grep_search", pattern),
            // What it searches with it fetches from the network.
            "opencode" => Reply::call("read", json!({"filePath": "src/lib.rs"})),
            other => panic!("{other} is not known"),
        };
    }
    Reply::text(said(&role).to_string())
}

fn citation(no: usize) -> Value {
    json!({"path": "src/lib.rs", "first": no, "last": no, "quote": line(no)})
}

fn said(role: &str) -> Value {
    let finding = |no| json!({"text": format!("widget {no}"), "citations": [citation(no)]});
    match role {
        "You are reader 1 of" => json!({"findings": [finding(1)]}),
        "You are reader 2 of" => json!({"findings": [finding(2), finding(1)]}),
        "You conclude" => json!({"answer": "They are in one file.", "points": [
            {"text": "The first one is there.", "rests_on": ["C1"]},
            {"text": "There are two.", "rests_on": ["C1", "C2"]},
        ]}),
        _ => json!({"verdicts": [
            {"point": 1, "verdict": "confirmed", "why": "it is"},
            {"point": 2, "verdict": "refuted", "why": "a third", "citations": [citation(3)]},
        ]}),
    }
}

fn expect_whole(report: &str) {
    assert!(report.contains("They are in one file."), "{report}");
    assert!(report.contains("2 citations verified, 0 unverified."), "{report}");
    assert!(report.contains("The first one is there. (C1): confirmed."), "{report}");
    assert!(report.contains("There are two. (C1, C2): REFUTED."), "{report}");
    assert!(report.contains("a third, see `src/lib.rs:3`"), "{report}");
}

/// What is checked out is another text from the beginning to the end, and never the same for long.
async fn ends_while_files_are_edited(recipe: &'static Recipe) {
    let inquiry = Inquiry::new(recipe).await;
    let (file, stop) = (inquiry.file(), Arc::new(AtomicBool::new(false)));
    let (is_over, edits) = (Arc::clone(&stop), Arc::new(AtomicUsize::new(0)));
    fs::write(&file, "nothing of the kind\n").expect("a file");
    let count = Arc::clone(&edits);
    let editor = std::thread::spawn(move || {
        while !is_over.load(SeqCst) {
            let no = count.fetch_add(1, SeqCst);
            fs::write(&file, format!("edited {no}\n").repeat(no % 30 + 1)).expect("a file");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let (report, told) = inquiry.report(inquiry.investigate()).await;
    stop.store(true, SeqCst);
    editor.join().expect("it edits");
    println!("{}: {} edits meanwhile", recipe.name, edits.load(SeqCst));
    expect_whole(&report);
    for step in ["read 1", "read 2", "conclude", "validate 1"] {
        assert!(told.contains(&format!("{step}: completed after")), "{told}");
    }
    let with_results = |ask: &Ask| role(ask).is_some() && !ask.results().is_empty();
    let asks = inquiry.server.records().into_iter().filter_map(|record| record.ask);
    let looked: Vec<_> = asks
        .filter(with_results)
        .flat_map(|ask| {
            ask.results().into_iter().map(|result| result.text.clone()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(looked.len(), 4, "each of them looks once: {looked:#?}");
    let shown = |text: &String| text.contains("widget_1()") || text.contains("src/lib.rs");
    assert!(looked.iter().all(shown), "what they see is of the commit: {looked:#?}");
    inquiry.expect_gone().await;
}

async fn goes_on_when_it_was_killed(recipe: &'static Recipe) {
    let inquiry = Inquiry::new(recipe).await;
    inquiry.held.store(true, SeqCst);
    let running = Running::start(&mut inquiry.investigate());
    let running = tokio::task::spawn_blocking(move || {
        running.wait_for("read 1: completed after");
        running
    });
    let running = running.await.expect("the first reader comes back");
    running.signal(Signal::KILL);
    assert!(!running.end().0.success());
    inquiry.expect_gone().await;
    let first = inquiry.asked_as("You are reader 1 of");
    assert_eq!(first, 2, "{:#?}", inquiry.asked());

    inquiry.held.store(false, SeqCst);
    let (report, told) = inquiry.report(inquiry.command(&["--resume"])).await;
    expect_whole(&report);
    assert!(told.contains("read 1: completed before, not repeated"), "{told}");
    assert!(told.contains("read 2: completed after"), "{told}");
    assert_eq!(inquiry.asked_as("You are reader 1 of"), first, "{:#?}", inquiry.asked());
    for later in ["You conclude", "You are a validator"] {
        assert_eq!(inquiry.asked_as(later), 2, "{:#?}", inquiry.asked());
    }
    inquiry.expect_gone().await;
}

macro_rules! each {
    ($($name:ident: $recipe:ident,)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn takes_a_turn_in_each_role_while_files_are_edited() {
                ends_while_files_are_edited(&recipes::$recipe).await;
            }

            #[tokio::test]
            async fn takes_a_turn_that_was_recorded_once_though_it_was_killed() {
                goes_on_when_it_was_killed(&recipes::$recipe).await;
            }
        }
    )*};
}

each! {
    claude: CLAUDE,
    codex: CODEX,
    qwen: QWEN,
    opencode: OPENCODE,
}
