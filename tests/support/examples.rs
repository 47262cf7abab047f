//! The examples as programs: built where they are older than their sources, started, watched.

#![allow(dead_code, reason = "each test that has this uses its own part")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, OnceLock, mpsc},
    time::{Duration, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long a program may be silent.
const LIMIT: Duration = Duration::from_secs(120);

/// An example's program. It is built when it is missing or older than its sources.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let deps = std::env::current_exe().expect("the path of this test");
    let profile = deps.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let path = |name: &str| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        profile.join("examples").join(file)
    };
    BUILT.get_or_init(|| {
        let mut names = vec!["quickstart", "crash_and_resume", "investigate"];
        names.extend(["approval", "map_reduce", "upgrade"]);
        names.extend(cfg!(feature = "postgres").then_some("workers"));
        names.extend(cfg!(feature = "programs").then_some("own_agent"));
        let desk = cfg!(all(feature = "acp", feature = "claude", feature = "cli"));
        names.extend(desk.then_some("desk"));
        let built: Vec<_> = names.iter().map(|name| changed(&path(name))).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let newest = newest(&root.join("src")).max(newest(&root.join("examples")));
        if built.iter().any(|built| built.is_none() || *built < newest) {
            build(profile);
        }
    });
    path(name)
}

fn build(profile: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--examples", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    // As this test is built, so that nothing is built twice.
    if cfg!(feature = "postgres") {
        cargo.arg("--all-features");
    } else if cfg!(feature = "scripted-model") {
        cargo.args(["--features", "scripted-model,replay,cli,claude,acp,opencode"]);
    }
    // What cargo tells this test; some build scripts would run anew for it.
    let told = std::env::vars().map(|(name, _)| name);
    let told = told.filter(|name| name.starts_with("CARGO_PKG") || name.starts_with("CARGO_MAN"));
    for name in told {
        cargo.env_remove(name);
    }
    cargo.arg("--target-dir").arg(profile.parent().expect("target/PROFILE"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo").success(), "the examples don't build");
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).expect("a source folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| if path.is_dir() { newest(&path) } else { changed(&path) }).max().flatten()
}

/// A program at work, whose stderr is read line by line.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Mutex<Vec<String>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (tell, lines) = mpsc::channel();
        let stderr = child.stderr.take().expect("it is piped");
        std::thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.for_each(|line| drop(tell.send(line)));
        });
        Self { child, lines, seen: Mutex::default() }
    }

    /// Waits for a line that begins so.
    pub fn wait_for(&self, start: &str) {
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let mut seen = self.seen.lock().expect("no one panicked");
            let line = line.unwrap_or_else(|_| panic!("no line `{start}` in {seen:#?}"));
            seen.push(line.clone());
            if line.starts_with(start) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it lives");
    }

    /// Waits for its end. Returns its status, all of its stderr, and its stdout.
    pub fn end(mut self) -> (ExitStatus, String, String) {
        let mut stdout = String::new();
        let pipe = self.child.stdout.as_mut().expect("it is piped");
        pipe.read_to_string(&mut stdout).expect("stdout is text");
        let status = self.child.wait().expect("it ends");
        let mut lines = self.seen.into_inner().expect("no one panicked");
        lines.extend(self.lines.iter());
        (status, lines.join("\n"), stdout)
    }
}
