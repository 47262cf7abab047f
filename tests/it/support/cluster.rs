//! PostgreSQL for tests: a private cluster, started once per process and stopped with it, or
//! the server that `SEGUE_TEST_POSTGRES_URL` names.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use segue::{
    backend::{
        Backend,
        postgres::{Options, PostgresBackend},
    },
    clock::Clock,
};

/// Makes a cluster in a folder of its own, and takes it down when its input ends: that is when
/// the test process ends, however it ends.
const SUPERVISOR: &str = r#"
trap '' INT TERM HUP
dir=$(mktemp -d "${TMPDIR:-/tmp}/segue-pg-XXXXXX") || exit 1
finish() {
    "$1/pg_ctl" stop -w -m immediate -D "$dir/data" >"$dir/stop.log" 2>&1
    rm -rf "$dir"
}
"$1/initdb" -A trust -U postgres -E UTF8 --no-sync -D "$dir/data" >"$dir/init.log" 2>&1 \
    && "$1/pg_ctl" start -w -D "$dir/data" -l "$dir/log" -o "$2 -k $dir" >"$dir/start.log" 2>&1 </dev/null
if [ $? -ne 0 ]; then
    cat "$dir"/*log >&2
    finish "$1"
    exit 1
fi
echo "$dir"
cat >/dev/null
finish "$1"
"#;

/// No network, and no disk to wait for: a test kills processes, not the machine.
const SETTINGS: &str = "-c listen_addresses= -c fsync=off -c max_connections=300";
/// No network; what is committed is on the disk.
const DURABLE: &str = "-c listen_addresses= -c max_connections=300";

/// A cluster that lives as long as the value.
#[derive(Debug)]
pub struct Cluster {
    supervisor: Child,
    dir: PathBuf,
    programs: PathBuf,
    settings: &'static str,
}

impl Cluster {
    /// Starts one. Panics with what is missing where it can't.
    pub fn start() -> Self {
        Self::start_with(SETTINGS)
    }

    /// One that waits for the disk.
    pub fn durable() -> Self {
        Self::start_with(DURABLE)
    }

    fn start_with(settings: &'static str) -> Self {
        let programs = programs();
        let mut command = as_server("sh");
        command.args(["-c", SUPERVISOR, "segue-pg"]).arg(&programs).arg(settings);
        command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut supervisor = command.spawn().expect("`sh` starts");
        let stdout = supervisor.stdout.as_mut().expect("it is piped");
        let mut dir = String::new();
        BufReader::new(stdout).read_line(&mut dir).expect("its output can be read");
        if dir.is_empty() {
            let mut log = String::new();
            let stderr = supervisor.stderr.as_mut().expect("it is piped");
            stderr.read_to_string(&mut log).expect("its errors can be read");
            panic!("PostgreSQL could not be started with the programs in {programs:?}:\n{log}");
        }
        Self { supervisor, dir: dir.trim().into(), programs, settings }
    }

    /// How to connect, in key and value form.
    pub fn url(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.dir.display())
    }

    /// Stops the server as a crash would, and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Stops the server as a crash would.
    pub fn stop(&self) {
        self.control(&["stop", "-w", "-m", "immediate"]);
    }

    pub fn start_again(&self) {
        self.control(&[
            "start",
            "-w",
            "-o",
            &format!("{} -k {}", self.settings, self.dir.display()),
        ]);
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.join("log")).expect("the server has a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = as_server(self.programs.join("pg_ctl"));
        command.args(arguments).arg("-D").arg(self.dir.join("data"));
        command.arg("-l").arg(self.dir.join("log"));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().expect("pg_ctl starts");
        assert!(status.success(), "pg_ctl {arguments:?}: {status}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let ended = self.supervisor.wait();
        assert!(ended.is_ok(), "the supervisor can't be waited for: {ended:?}");
    }
}

/// The address of the server that tests share.
pub fn url() -> String {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    match std::env::var("SEGUE_TEST_POSTGRES_URL") {
        Ok(url) => url,
        // A static is not dropped: its pipe closes when the process ends.
        Err(_) => SHARED.get_or_init(Cluster::start).url(),
    }
}

/// Runs statements with PostgreSQL's own client program. Returns what it printed.
pub fn psql(url: &str, sql: &str) -> String {
    let mut program = Command::new(programs().join("psql"));
    let done = program.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, url]);
    let done = done.output().expect("psql starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Settings for a schema that no other test uses.
pub fn options() -> Options {
    Options::new(url()).schema(schema()).pool(4)
}

/// A name for such a schema.
pub fn schema() -> String {
    format!("t_{}", segue::id::TaskId::new().as_uuid().simple())
}

/// A backend on a fresh schema with all tables.
pub async fn fresh_schema(clock: impl Into<Clock>) -> PostgresBackend {
    let backend = options().clock(clock).connect().await.expect("the test server can be reached");
    backend.migrate().await.expect("a fresh schema can be migrated");
    backend
}

/// The folder of PostgreSQL's programs.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).filter_map(|folder| resolved(&folder));
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<_> = installed.map(|version| version.path().join("bin")).collect();
    installed.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    let found = in_path.chain(installed).find(|folder| folder.join("pg_ctl").exists());
    found.expect(
        "these tests need PostgreSQL 14 or newer: install the server (Debian, Ubuntu: \
         `apt install postgresql`), so that initdb and pg_ctl are in PATH or in \
         /usr/lib/postgresql/*/bin, or set SEGUE_TEST_POSTGRES_URL to a server",
    )
}

/// Where `initdb` of this folder really is: links to single programs are no installation.
fn resolved(folder: &Path) -> Option<PathBuf> {
    let program = std::fs::canonicalize(folder.join("initdb")).ok()?;
    program.parent().map(Path::to_owned)
}

fn version(folder: &Path) -> u32 {
    let name = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}

/// The server refuses to run as root: then its programs run as `postgres`.
fn as_server(program: impl AsRef<std::ffi::OsStr>) -> Command {
    use std::os::unix::fs::MetadataExt;
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}
