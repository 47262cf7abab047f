//! The examples, run as programs.

#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "the server is not restarted here")]
#[path = "it/support/cluster.rs"]
mod cluster;
#[path = "support/examples.rs"]
mod programs;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use programs::{Running, program};
use rustix::process::Signal;
use segue::{
    Engine,
    model::{AttemptOutcome, Needs, RunFilter, RunState, StepState},
};
use serde_json::Value;
use tempfile::TempDir;

const QUESTION: &str = "How are the tasks of a dead worker rescued?";

// ---- investigations

/// A folder with a database in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    fn db(&self) -> PathBuf {
        self.path("state/work.db")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("investigate"));
        command.arg("--db").arg(self.db()).args(arguments);
        command
    }

    fn investigate(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Like `investigate`, for one that must succeed. Returns the report.
    fn report(&self, arguments: &[&str]) -> String {
        let output = self.investigate(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("the report is text")
    }

    /// What the latest run returned.
    async fn output(&self) -> Value {
        let engine = Engine::sqlite(self.db()).connect().await.expect("connects");
        let runs = engine.runs(RunFilter::default(), None, 1).await.expect("a list");
        engine.run(runs[0].spec.id).output().await.expect("it completed")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn own_sources() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/src")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Looks up what a run cites, independently of the example. Returns how many were right.
fn check_citations(root: &Path, output: &Value) -> usize {
    let findings = output["findings"].as_array().expect("findings");
    for finding in findings {
        assert_eq!(finding["verdict"], "verified", "{finding}");
        let citation = &finding["finding"]["citation"];
        let number = |name: &str| citation[name].as_u64().expect("a line number") as usize;
        let path = root.join(citation["path"].as_str().expect("a path"));
        let file = fs::read_to_string(path).expect("a text file");
        let lines = file.lines().skip(number("first") - 1);
        let lines: Vec<_> = lines.take(number("last") + 1 - number("first")).collect();
        let (lines, quote) = (lines.join("\n"), citation["quote"].as_str().expect("a quote"));
        match citation["cut"] == true {
            true => assert!(lines.starts_with(quote), "{citation}"),
            false => assert_eq!(lines, quote),
        }
    }
    findings.len()
}

#[tokio::test]
async fn what_is_cited_is_there() {
    let place = Place::new();
    let report = place.report(&["--band", "medium", own_sources(), QUESTION]);
    let right = check_citations(Path::new(own_sources()), &place.output().await);
    assert!(right > 20, "{right} citations");
    assert!(report.contains(&format!("{right} citations verified, 0 unverified.")), "{report}");
    assert!(report.contains("engine/keeper.rs"), "{report}");
    let again = Place::new();
    assert_eq!(report, again.report(&["--band", "medium", own_sources(), QUESTION]));
}

#[tokio::test]
async fn a_killed_investigation_is_continued() {
    let (whole, killed) = (Place::new(), Place::new());
    let report = whole.report(&[own_sources(), QUESTION]);

    let running = Running::start(&mut killed.command(&["--slow", "100", own_sources(), QUESTION]));
    running.wait_for("read 2: started");
    running.signal(Signal::KILL);
    let (status, _, stdout) = running.end();
    assert!(!status.success() && stdout.is_empty());

    let resumed = killed.investigate(&["--resume"]);
    let told = stderr(&resumed);
    assert!(resumed.status.success(), "{told}");
    assert!(told.contains("survey: completed before, not repeated"), "{told}");
    assert!(told.contains("read 1: completed after"), "{told}");
    assert_eq!(String::from_utf8_lossy(&resumed.stdout), report);
    assert_eq!(whole.output().await, killed.output().await);
    recorded_once(&killed.db()).await;

    let nothing = killed.investigate(&["--resume"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("nothing to resume"));
}

/// Every step has completed, exactly once. The kill interrupted readers at most: a step that
/// was released may not have been taken up yet.
async fn recorded_once(db: &Path) {
    let engine = Engine::sqlite(db).connect().await.expect("connects");
    let filter = RunFilter { states: vec![RunState::Completed], ..RunFilter::default() };
    let runs = engine.runs(filter, None, 10).await.expect("a list");
    assert_eq!(runs.len(), 1);
    let steps = engine.run(runs[0].spec.id).steps().await.expect("steps");
    let attempts = steps.iter().filter_map(|step| step.task).collect();
    let needs = Needs { attempts, ..Needs::default() };
    let rows = engine.backend().read(&needs).await.expect("rows");
    let mut interrupted = BTreeMap::new();
    for step in &steps {
        assert_eq!(step.state, StepState::Completed, "{}", step.name);
        let with = |outcome| {
            let own = rows.attempts.values().filter(|attempt| Some(attempt.task) == step.task);
            own.filter(|attempt| attempt.outcome == outcome).count()
        };
        assert_eq!(with(AttemptOutcome::Completed), 1, "{}", step.name);
        interrupted.insert(step.name.as_str(), with(AttemptOutcome::Interrupted));
    }
    assert!(
        interrupted
            .iter()
            .all(|(name, count)| { *count <= usize::from(name.starts_with("read ")) })
    );
}

/// One file for the first reader, many for the second; killed when the first has finished.
fn killed_between_readers(place: &Place) -> PathBuf {
    let folder = place.folder("project");
    place.folder("project/a");
    place.folder("project/b");
    let big = "the widget is here\n\nnothing else\n".repeat(15_000);
    fs::write(folder.join("a/big.txt"), big).expect("a file");
    for no in 0..100 {
        fs::write(folder.join(format!("b/{no}.txt")), "a widget too\n").expect("a file");
    }
    let question = "where is the widget?";
    let running = Running::start(&mut place.command(&["--slow", "50", text(&folder), question]));
    running.wait_for("read 1: completed");
    running.signal(Signal::KILL);
    assert!(!running.end().0.success());
    folder
}

#[test]
fn what_changed_meanwhile_is_told() {
    let place = Place::new();
    let folder = killed_between_readers(&place);
    let big = folder.join("a/big.txt");
    let moved = format!("a new first line\n{}", fs::read_to_string(&big).expect("the file"));
    fs::write(&big, moved).expect("the file");
    fs::remove_dir_all(folder.join("b")).expect("the folder");

    let report = place.report(&["--resume"]);
    assert!(report.contains("0 citations verified, 40 unverified."), "{report}");
    let elsewhere = report.matches("UNVERIFIED: the quote stands at line ").count();
    assert_eq!(elsewhere, 40, "{report}");
    assert!(report.contains("**Gap**: reader 2 failed, so its 100 files"), "{report}");
    assert!(report.contains("1 of 101 text files were read"), "{report}");
}

#[test]
fn ctrl_c_stops_in_order() {
    let place = Place::new();
    let running = Running::start(&mut place.command(&["--slow", "100", own_sources(), QUESTION]));
    running.wait_for("read 1: started");
    running.signal(Signal::INT);
    let (status, told, stdout) = running.end();
    assert_eq!(status.code(), Some(130), "{told}");
    assert!(told.contains("Continue with: investigate --resume --db"), "{told}");
    assert_eq!(stdout, "");
    assert!(place.report(&["--resume"]).contains("0 unverified"));
}

#[test]
fn a_pipe_gets_plain_lines() {
    let place = Place::new();
    let output = place.investigate(&[own_sources(), QUESTION]);
    let told = stderr(&output);
    assert!(!told.contains('\x1b'), "{told}");
    for step in ["survey", "read 1", "read 2", "check", "conclude", "report"] {
        let count = |start: String| told.lines().filter(|line| line.starts_with(&start)).count();
        assert_eq!(count(format!("{step}: started")), 1, "{told}");
        assert_eq!(count(format!("{step}: completed after ")), 1, "{told}");
    }
}

#[test]
fn earlier_investigations_are_listed() {
    let place = Place::new();
    let none = place.investigate(&["--history"]);
    assert!(none.status.success() && none.stdout.is_empty());
    assert!(!place.db().exists(), "looking makes no database");
    let folder = place.folder("small");
    fs::write(folder.join("a"), "first and second widget\n").expect("a file");
    for question in ["first?", "second?"] {
        let out = place.path("report.md");
        place.report(&["--out", text(&out), "--band", "large", text(&folder), question]);
        assert!(fs::read_to_string(out).expect("the report").contains(question));
    }
    let history = place.report(&["--history"]);
    let lines: Vec<_> = history.lines().collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(lines[0].ends_with("second?") && lines[1].ends_with("first?"), "{history}");
    assert!(lines.iter().all(|line| line.contains("completed") && line.contains("large")));
}

/// A folder that has one program of an agent, which says a version.
#[cfg(all(feature = "cli", target_os = "linux"))]
#[test]
fn an_agent_that_is_not_there_is_told_with_those_that_are() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    let (folder, programs) = (place.folder("small"), place.folder("programs"));
    fs::write(folder.join("a"), "a widget\n").expect("a file");
    let qwen = programs.join("qwen");
    fs::write(&qwen, "#!/bin/sh\necho 1.2.3\n").expect("a program");
    fs::set_permissions(&qwen, fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!("{}:/usr/bin:/bin", text(&programs));
    for (agent, why) in [
        ("claude", "there is no program `claude` in the path"),
        ("nobody", "`nobody` is no agent that this program knows how to ask"),
    ] {
        let mut command = place.command(&["--agent", agent, text(&folder), "Where is the widget?"]);
        let output = command.env("PATH", &path).output().expect("it starts");
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(why), "{told}");
        let found = told.split_once("found here:").expect("it tells who is there").1;
        let qwen = format!("qwen 1.2.3 ({})", text(&qwen));
        assert_eq!(found.trim(), qwen, "{told}");
    }
    let graph = place.report(&["--graph", "--agent", "claude", "--band", "large"]);
    assert_eq!(graph.matches("(claude)").count(), 6 + 1 + 2, "{graph}");
}

#[test]
fn the_graph_follows_the_band() {
    for (band, readers) in [("small", 2), ("medium", 4), ("large", 6)] {
        let graph = Place::new().report(&["--graph", "--band", band]);
        assert!(graph.starts_with("flowchart TD"), "{graph}");
        assert_eq!(graph.matches("(reader)").count(), readers, "{graph}");
    }
}

#[test]
fn nothing_to_read_is_told() {
    let place = Place::new();
    let (empty, binary) = (place.folder("empty"), place.folder("binary"));
    fs::write(binary.join("a"), b"widget\0").expect("a file");
    let missing = place.path("missing");
    for (folder, code, words) in [
        (&missing, 1, "can't look into"),
        (&empty, 1, "it is empty"),
        (&binary, 1, "binary: 1"),
        (&binary.join("a"), 1, "is not a folder"),
    ] {
        let output = place.investigate(&[text(folder), "where is the widget?"]);
        assert_eq!(output.status.code(), Some(code));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert_eq!(output.stdout, b"");
    }
    for arguments in [&["--band", "huge"][..], &["one"], &["--resume", "--graph"], &["--what"]] {
        assert_eq!(place.investigate(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn odd_files_are_read_or_skipped() {
    let place = Place::new();
    let folder = place.folder("odd");
    let million = fs::File::create(folder.join("million.txt")).expect("a file");
    let mut million = std::io::BufWriter::new(million);
    (0..1_000_000).for_each(|no| writeln!(million, "widget {no}").expect("room"));
    million.flush().expect("room");
    fs::write(folder.join("long.txt"), "widget ".repeat(1_000_000)).expect("a file");
    fs::write(folder.join("windows.txt"), "a widget\r\nthe widget\r\n").expect("a file");
    fs::write(folder.join("latin.txt"), b"widget caf\xe9\nwidget cafe\n").expect("a file");
    #[cfg(target_os = "linux")]
    odd_names(&folder);

    let report = place.report(&[text(&folder), "where is the widget?"]);
    assert!(report.contains("4 of 4 text files were read, 1000005 lines"), "{report}");
    assert!(report.contains("0 unverified"), "{report}");
    assert!(report.contains("`latin.txt:2`"), "{report}");
    #[cfg(target_os = "linux")]
    for words in ["symbolic link: 1", "name that is not UTF-8: 1"] {
        assert!(report.contains(words), "{report}");
    }
    let output = place.output().await;
    for finding in output["findings"].as_array().expect("findings") {
        let quote = finding["finding"]["citation"]["quote"].as_str().expect("a quote");
        assert!(quote.len() <= 410, "{} bytes", quote.len());
    }
}

#[cfg(target_os = "linux")]
fn odd_names(folder: &Path) {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};
    symlink(".", folder.join("loop")).expect("a link");
    let name = std::ffi::OsStr::from_bytes(b"bad\xff.txt");
    fs::write(folder.join(name), "widget").expect("a file");
}

// ---- the others

#[cfg(all(feature = "programs", target_os = "linux"))]
#[test]
fn an_agent_of_the_hosts_own_goes_on_in_its_session() {
    let place = Place::new();
    let said = |prompt: &str| {
        let mut command = Command::new(program("own_agent"));
        let output = command.arg(place.path("work.db")).arg(prompt).output();
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(said("I am Ada."), "I am Ada.\n1 turns, 10 tokens\n");
    // Another engine, and another program: the agent has its session still.
    let again = said("What is my name?");
    assert_eq!(again, "I am Ada. What is my name?\n2 turns, 37 tokens\n");
}

#[test]
fn quickstart_says_hello() {
    let place = Place::new();
    let mut command = Command::new(program("quickstart"));
    let output = command.current_dir(place.0.path()).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(output.stdout, b"hello Ada\n");
}

#[test]
fn a_crash_repeats_nothing_that_was_recorded() {
    let output = Command::new(program("crash_and_resume")).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("as it must be"));
}

/// Waits at the gate, in a process that is killed and one that goes on, and gives this answer
/// from a third. What it said when it had ended, and what one more answer was told.
fn approved(answer: &[&str]) -> (String, String) {
    let place = Place::new();
    let work = || {
        let mut command = Command::new(program("approval"));
        command.arg(place.path("work.db"));
        command
    };
    let first = Running::start(&mut work());
    first.wait_for("approve: waits for an answer to");
    first.signal(Signal::KILL);
    assert!(!first.end().0.success());
    let second = Running::start(&mut work());
    second.wait_for("goes on with run");
    let answered = work().args(answer).output().expect("it starts");
    assert!(answered.status.success(), "{}", stderr(&answered));
    assert!(answered.stdout.starts_with(b"recorded: "));
    let (status, told, said) = second.end();
    assert!(status.success(), "{told}");
    let late = work().args(["--approve", "Eve"]).output().expect("it starts");
    (said, String::from_utf8(late.stdout).expect("text"))
}

#[test]
fn a_gate_is_answered_from_another_process_after_a_kill() {
    let letter = "Dear all, this is about the summer party.";
    let (approve, edit) = (["--approve", "Ada"], ["--edit", "Ada", "Hello"]);
    assert_eq!(approved(&approve).0, format!("sent: {letter}\n"));
    assert_eq!(approved(&edit), ("sent: Hello\n".into(), "nobody asks anything\n".into()));
    let (said, _) = approved(&["--reject", "Bob", "too short"]);
    assert!(said.starts_with("not sent: ") && said.contains("by Bob: too short"), "{said}");
}

#[test]
fn a_folder_is_counted_by_as_many_steps_as_it_has_files() {
    let place = Place::new();
    let folder = place.folder("texts");
    for no in 0..30 {
        let end = ["x", "y", "z"][no % 3];
        let words: String = ('a'..='z').map(|c| format!("widget{c}{end} gadget ")).collect();
        fs::write(folder.join(format!("{no}.txt")), words).expect("a file");
    }
    fs::write(folder.join("alone.txt"), "unique gadget").expect("a file");
    fs::write(folder.join("binary"), b"gadget\xff").expect("a file");
    let mut command = Command::new(program("map_reduce"));
    let output = command.arg(&folder).arg(place.path("work.db")).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let words = 3 * 26 + 2;
    for line in [
        &format!("31 files, 1 that are no text, {words} different words"),
        "in one file only: 1",
        "steps: 7 planned, 32 added by `count`, 1 by `locate`",
        "tell",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(said.contains("most frequent: gadget (781)"), "{said}");
}

#[test]
fn a_run_ends_with_the_version_that_it_began_with() {
    let output = Command::new(program("upgrade")).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = said.lines().filter(|line| !line.contains("process")).collect();
    let expected = [
        "version 1:",
        "  it dies in the step `hello`",
        "version 2 alone:",
        "  the old run waits for: `hello`: a worker that has the code of `flow:greet@1`",
        "  a new run returned: Hello dear Bob, says version 2",
        "both, side by side:",
        "  the old run returned: HELLO ADA, says version 1",
        "  a new run returned: Hello dear Cid, says version 2",
    ];
    assert_eq!(lines, expected);
}

/// The program itself checks each result, and that each is recorded once.
#[cfg(feature = "postgres")]
#[test]
fn workers_do_everything_though_one_is_killed() {
    let schema = cluster::schema();
    let output = Command::new(program("workers")).args([cluster::url(), schema]).output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", stderr(&output));
    let count = |after: &str| {
        let line = said.lines().find(|line| line.contains(after)).expect("it is said");
        line.split(' ').next().and_then(|word| word.parse::<u32>().ok()).expect("a number")
    };
    assert_eq!(count("tasks are recorded as done"), 300);
    assert!(count("attempts were interrupted") <= 4, "one worker runs four at once: {said}");
    assert!(said.contains("before it was killed"), "{said}");
}
