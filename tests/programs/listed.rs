//! The agents of a host, as an engine finds and remembers them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use segue::{
    Builder, Engine, Failure,
    agents::{Agent, Installed, Listener, Outcome, Turn, cli::Cli},
    model::{AvailableAgent, Batch, Command, Payload},
};
use tempfile::TempDir;

/// How long a program may take to answer.
const LIMIT: Duration = Duration::from_secs(2);

/// A folder of programs that are shell scripts, each of which notes how often it was started.
struct Programs(TempDir);

impl Programs {
    fn new() -> Self {
        Self(TempDir::with_prefix("segue-listed-").expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, script: &str) -> Cli {
        let (file, starts) = (self.path(name), self.path(&format!("{name}.starts")));
        let script = format!("#!/bin/sh\necho >> {}\n{script}\n", starts.display());
        fs::write(&file, script).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
        Cli::claude().program(file)
    }

    /// As `write`, where it is not there yet.
    fn write_once(&self, name: &str, script: &str) -> Cli {
        let file = self.path(name);
        if file.exists() { Cli::claude().program(file) } else { self.write(name, script) }
    }

    fn starts(&self, name: &str) -> usize {
        let starts = fs::read_to_string(self.path(&format!("{name}.starts")));
        starts.map_or(0, |starts| starts.lines().count())
    }

    fn engine(&self) -> Builder {
        Engine::sqlite(self.path("work.db"))
    }
}

async fn row(engine: &Engine, name: &str) -> AvailableAgent {
    let rows = engine.agents().await.expect("rows");
    rows.into_iter().find(|row| row.name == name).expect("a row")
}

/// An agent whose host has a mistake.
#[derive(Debug)]
struct Panics;

#[async_trait]
impl Agent for Panics {
    async fn turn(&self, _: Turn, _: &dyn Listener) -> Outcome {
        Outcome::Cancelled
    }

    fn installed(&self) -> Result<Option<Installed>, Failure> {
        panic!("nobody knows where it is");
    }
}

#[tokio::test]
async fn who_is_missing_hangs_lies_or_panics_keeps_nobody_from_the_others() {
    let programs = Programs::new();
    let hangs = "echo $$ > \"$0.process\"; sleep 600";
    let builder = programs.engine();
    let builder = builder.agent("good", programs.write("good", "echo 'good (1.2.3)'"));
    let builder = builder.agent("hangs", programs.write("hangs", hangs));
    let builder = builder.agent("lies", programs.write("lies", "echo the best of all"));
    let builder = builder.agent("gone", Cli::codex().program(programs.path("nowhere")));
    let refused = Cli::qwen().env(|_| Err(Failure::fatal("the vault is shut")));
    let builder = builder.agent("refused", refused).agent("panics", Panics);
    let engine = builder.start().await.expect("an engine");
    let found = engine.probe_within(LIMIT).await.expect("a look");
    let of = |name: &str| found.iter().find(|row| row.name == name).expect("a row");
    let error = |name: &str| of(name).last_error.clone().unwrap_or_default();
    let good = of("good");
    assert_eq!((good.version.as_deref(), &good.last_error), (Some("1.2.3"), &None));
    assert_eq!(good.install_path.as_deref().map(Path::new), Some(&*programs.path("good")));
    assert_eq!(good.sha256.as_deref().map(str::len), Some(64));
    assert!(error("hangs").contains("did not answer within 2 seconds"), "{found:#?}");
    assert!(error("lies").contains("said no version but \"the best of all\""), "{found:#?}");
    assert!(error("gone").contains("there is no program"), "{found:#?}");
    assert!(error("refused").contains("the vault is shut"), "{found:#?}");
    assert!(found.iter().all(|row| row.name != "panics"));
    for name in ["hangs", "lies", "gone", "refused"] {
        assert_eq!(of(name).version, None, "{found:#?}");
    }
    let hung = fs::read_to_string(programs.path("hangs.process")).expect("it was started");
    assert!(!super::lives(hung.trim().parse().expect("a number")), "it was ended");
    assert_eq!(row(&engine, "good").await, *good);
}

#[tokio::test]
async fn what_is_known_is_asked_again_when_it_is_another_file() {
    let programs = Programs::new();
    for _ in 0..2 {
        // Another engine knows what this one has found.
        let good = programs.write_once("good", "echo 1.2.3");
        let lies = programs.write_once("lies", "echo nothing");
        let engine = programs.engine().agent("good", good).agent("lies", lies);
        let engine = engine.start().await.expect("an engine");
        engine.probe_within(LIMIT).await.expect("a look");
        engine.probe_within(LIMIT).await.expect("a look");
        engine.shutdown().await.expect("an end");
    }
    assert_eq!((programs.starts("good"), programs.starts("lies")), (1, 4));

    let engine = programs.engine().agent("good", programs.write("good", "echo 1.3.0"));
    let engine = engine.start().await.expect("an engine");
    let before = row(&engine, "good").await;
    engine.probe_within(LIMIT).await.expect("a look");
    let after = row(&engine, "good").await;
    assert_eq!(after.version.as_deref(), Some("1.3.0"));
    assert_ne!((before.sha256, before.capabilities), (after.sha256, after.capabilities));

    // The same file with another configuration is asked once more.
    let engine = programs
        .engine()
        .agent("good", Cli::claude().program(programs.path("good")).argument("--x"));
    let engine = engine.start().await.expect("an engine");
    engine.probe_within(LIMIT).await.expect("a look");
    assert_eq!(programs.starts("good"), 3);
    fs::remove_file(programs.path("good")).expect("it was there");
    engine.probe_within(LIMIT).await.expect("a look");
    let gone = row(&engine, "good").await;
    assert_eq!((gone.version, gone.install_path), (None, None), "nothing is told of what is gone");
}

/// The file of a script stays as it is when what it starts is updated.
#[tokio::test]
async fn what_was_judged_of_a_version_is_not_known_of_the_next() {
    let programs = Programs::new();
    let script = "cat \"$0.version\"";
    fs::write(programs.path("good.version"), "1.2.3\n").expect("a file");
    let engine = programs.engine().agent("good", programs.write("good", script));
    let engine = engine.start().await.expect("an engine");
    engine.probe_within(LIMIT).await.expect("a look");
    let canary = Some(Payload::text("it keeps to reading"));
    let judged = AvailableAgent { canary: canary.clone(), ..row(&engine, "good").await };
    let commands = vec![Command::PutAgent(Box::new(judged))];
    engine.backend().commit(Batch { commands, claim: None }).await.expect("a commit");
    for (version, known) in [("1.2.3", canary), ("1.3.0", None)] {
        fs::write(programs.path("good.version"), version).expect("a file");
        drop(programs.write("good", script));
        engine.probe_within(LIMIT).await.expect("a look");
        let row = row(&engine, "good").await;
        assert_eq!((row.version.as_deref(), row.canary), (Some(version), known));
    }
    assert_eq!(programs.starts("good"), 3);
}

#[tokio::test]
async fn an_update_lifts_no_quarantine() {
    let programs = Programs::new();
    let engine = programs.engine().agent("good", programs.write("good", "echo 1.2.3"));
    let engine = engine.start().await.expect("an engine");
    engine.probe_within(LIMIT).await.expect("a look");
    let host = row(&engine, "good").await.host;
    let reason = Some("it wrote".to_owned());
    let forbid = Command::Quarantine { host, name: "good".into(), reason };
    engine.backend().commit(Batch { commands: vec![forbid], claim: None }).await.expect("a commit");
    drop(programs.write("good", "echo 1.3.0"));
    engine.probe_within(LIMIT).await.expect("a look");
    let updated = row(&engine, "good").await;
    assert_eq!(updated.version.as_deref(), Some("1.3.0"));
    assert_eq!(updated.quarantined.map(|it| it.reason).as_deref(), Some("it wrote"));
    engine.allow_agent("good").await.expect("it is allowed");
    assert_eq!(row(&engine, "good").await.quarantined, None);
    assert!(engine.allow_agent("nobody").await.is_err_and(|error| error.is_not_found()));
}
