//! A PostgreSQL cluster that lives as long as the value: unix socket only, fsync on.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Result;

pub struct Cluster {
    dir: tempfile::TempDir,
}

impl Cluster {
    pub fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("segue-raw-").tempdir()?;
        if is_root() {
            check(Command::new("chown").arg("postgres").arg(dir.path()))?;
        }
        let cluster = Self { dir };
        let data = cluster.data();
        check(
            cluster
                .server("initdb")
                .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "-D"])
                .arg(&data),
        )?;
        let options = format!("-k {} -c listen_addresses=", cluster.socket().display());
        let log = cluster.dir.path().join("log");
        check(
            cluster
                .server("pg_ctl")
                .args(["start", "-w", "-D"])
                .arg(&data)
                .arg("-l")
                .arg(log)
                .args(["-o", &options]),
        )?;
        Ok(cluster)
    }

    /// The folder of the unix socket.
    pub fn socket(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The server refuses to run as root: then its programs run as `postgres`.
    fn server(&self, program: &str) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", program]);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.dir.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data();
        let stopped =
            check(self.server("pg_ctl").args(["stop", "-w", "-m", "immediate", "-D"]).arg(data));
        if let Err(error) = stopped {
            eprintln!("{error}");
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn check(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
