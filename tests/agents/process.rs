//! Agents as processes: where they run, and that nothing of them is left.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command as Plain, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use segue::testing::model::ModelServer;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::recipes::Recipe;

/// How long a turn may take.
const LIMIT: Duration = Duration::from_secs(180);

/// How long what an agent started may outlive it.
const LINGER: Duration = Duration::from_secs(10);

/// The environment variable by which all processes of a test are found.
const MARK: &str = "SEGUE_TEST_MARK";

/// Folders of one test: a home, a folder for what is temporary, and a git repository.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
    mark: String,
}

impl Place {
    pub fn new(recipe: &Recipe) -> Self {
        let folder = TempDir::with_prefix("segue-agents-").expect("a folder for the test");
        let path = folder.path().to_str().expect("a path in Unicode");
        let mark = format!("{} {path}", recipe.name);
        let place = Self { folder, mark };
        for name in ["home", "tmp", "repository"] {
            fs::create_dir(place.path(name)).expect("a folder of the test");
        }
        for (name, content) in recipe.files {
            let path = place.path("home").join(name);
            let folder = path.parent().expect("a file is in a folder");
            fs::create_dir_all(folder).expect("a folder of the home");
            fs::write(path, content).expect("a file of the home");
        }
        fs::write(place.path("repository/README.md"), "A scratch repository.\n").expect("a file");
        for arguments in [
            &["init", "--quiet", "--initial-branch", "main"][..],
            &["add", "."],
            &["-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", "first"],
        ] {
            let mut git = Plain::new("git");
            git.args(arguments).current_dir(place.path("repository"));
            git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
            assert!(git.status().expect("git is installed").success(), "git {arguments:?}");
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The processes of the test that are there now, with their command lines.
    pub fn processes(&self) -> Vec<String> {
        marked(&self.mark).into_iter().map(|(_, command)| command).collect()
    }

    /// The processes that have the home of the test, whoever started them.
    pub fn at_home(&self) -> Vec<String> {
        let home = format!("HOME={}", self.text("home"));
        with_variable(&home).into_iter().map(|(_, command)| command).collect()
    }

    /// Waits until there are none.
    pub async fn deserted(&self) {
        while !self.processes().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills all processes of the test, and waits until nothing of them works on.
    pub async fn kill(&self) {
        let killed: Vec<Pid> = marked(&self.mark).into_iter().map(|(pid, _)| pid).collect();
        for pid in &killed {
            let _ = kill_process(*pid, Signal::KILL);
        }
        // Another one may have been started since, by whoever misses them.
        while killed.iter().any(|pid| is_dying(*pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

impl Drop for Place {
    /// Whatever way the test ends, its processes end with it.
    fn drop(&mut self) {
        for (pid, _) in marked(&self.mark) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// A process that has ended, and all that it said.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Processes that it started and that did not end.
    pub left: Vec<String>,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr, .. } = self;
        write!(f, "exit code {code:?}\n---- stdout\n{stdout}\n---- stderr\n{stderr}\n----")
    }
}

/// Runs one turn to its end.
pub async fn run(recipe: &Recipe, place: &Place, server: &ModelServer, prompt: &str) -> Finished {
    let child = command(recipe, place, server).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", recipe.name));
    let mut input = child.stdin.take().expect("its standard input is a pipe");
    // One that ends before it reads says why on its standard error.
    let _ = input.write_all(prompt.as_bytes()).await;
    drop(input);
    let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let left = leftovers(&place.mark).await;
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let output = ended.unwrap_or_else(|_| {
        panic!("{} took longer than {LIMIT:?}; asked {:#?}", recipe.name, server.records())
    });
    let output = output.expect("its output can be read");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    Finished { code: output.status.code(), stdout, stderr, left }
}

/// The command of a turn: in a process group of its own.
fn command(recipe: &Recipe, place: &Place, server: &ModelServer) -> Command {
    let mut command = Command::new(program(recipe).0);
    command.args(recipe.arguments.iter().map(|text| fill(text, place, server)));
    command.current_dir(place.path("repository")).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().envs(environment(recipe, place, server));
    command
}

/// A text of a recipe, with what is different each time.
pub fn fill(text: &str, place: &Place, server: &ModelServer) -> String {
    text.replace("{url}", &server.url()).replace("{home}", &place.text("home"))
}

/// The environment of an agent: nothing of ours but where to look for programs.
pub fn environment(
    recipe: &Recipe,
    place: &Place,
    server: &ModelServer,
) -> BTreeMap<OsString, OsString> {
    let (_, path) = program(recipe);
    let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
    let mut set = |name: &str, value: OsString| env.insert(name.into(), value);
    set("PATH", path.into());
    set(MARK, place.mark.clone().into());
    set("LANG", "C.UTF-8".into());
    for (name, folder) in [
        ("HOME", "home"),
        ("XDG_CONFIG_HOME", "home/.config"),
        ("XDG_DATA_HOME", "home/.local/share"),
        ("XDG_STATE_HOME", "home/.local/state"),
        ("XDG_CACHE_HOME", "home/.cache"),
        ("XDG_RUNTIME_DIR", "tmp"),
        ("TMPDIR", "tmp"),
    ] {
        set(name, place.path(folder).into());
    }
    // What is meant for the world is recorded by the server, and refused.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"] {
        set(name, server.url().into());
    }
    set("NO_PROXY", "127.0.0.1,localhost".into());
    set("no_proxy", "127.0.0.1,localhost".into());
    for (name, value) in recipe.environment {
        set(name, fill(value, place, server).into());
    }
    env
}

/// The program, and the path to search for others.
pub fn program(recipe: &Recipe) -> (PathBuf, String) {
    let folder = programs();
    let program = folder.join(recipe.name);
    assert!(
        program.exists(),
        "{} is not installed in {}: run scripts/agents, and set SEGUE_AGENTS_DIR if it was set there",
        recipe.name,
        folder.display()
    );
    let path = env::var("PATH").expect("a path");
    (program, format!("{}:{path}", folder.display()))
}

/// Where `scripts/agents` links the programs.
fn programs() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = env::var_os("SEGUE_AGENTS_DIR").map(|folder| root.join(folder));
    let folder = own.unwrap_or_else(|| {
        let target = env::var_os("CARGO_TARGET_DIR").map(|folder| root.join(folder));
        target.unwrap_or_else(|| root.join("target")).join("agents")
    });
    folder.join("bin")
}

/// Processes with this mark that don't end, given some time to.
async fn leftovers(mark: &str) -> Vec<String> {
    let gone = async {
        while !marked(mark).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(LINGER, gone).await;
    marked(mark).into_iter().map(|(_, command)| command).collect()
}

/// The processes whose environment has this mark, with their command lines.
fn marked(mark: &str) -> Vec<(Pid, String)> {
    with_variable(&format!("{MARK}={mark}"))
}

/// The processes whose environment has this variable, with their command lines.
fn with_variable(wanted: &str) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

/// Whether a process is there, as more than the last of its threads that nobody has waited for.
fn is_dying(pid: Pid) -> bool {
    let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let threads = fs::read_dir(folder.join("task")).map_or(0, Iterator::count);
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    threads > 1 || (threads == 1 && !status.contains("State:\tZ"))
}
