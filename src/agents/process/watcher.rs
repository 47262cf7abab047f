//! What ends the programs of this process when it dies itself.

use std::{
    io,
    process::{Child, ChildStdin, Command, Stdio},
};

use uuid::Uuid;

use super::mark::VARIABLE;

/// Waits until its input is closed, which the death of the process that holds the other end does,
/// then kills whatever carries the mark until it was nowhere for a second. A program that was being
/// started when that process died appears late.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r line
[ "$line" = done ] && exit 0
quiet=0
while [ "$quiet" -lt 20 ]; do
    quiet=$((quiet + 1))
    for process in $(grep -la -- "$1" /proc/[0-9]*/environ 2>/dev/null); do
        process=${process#/proc/}
        kill -KILL "${process%/environ}" 2>/dev/null && quiet=0
    done
    sleep 0.05
done
"#;

/// A process beside this one that ends all programs of an engine when this process is gone,
/// however it went. Dropped in order, it ends without doing anything.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    input: Option<ChildStdin>,
}

impl Watcher {
    /// Starts it, for the programs whose marks are of this owner.
    ///
    /// # Errors
    /// When there is no `sh`.
    pub fn start(owner: Uuid) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let pattern = format!("{VARIABLE}={owner}\\.");
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "segue-watcher", &pattern])
            .env_remove(VARIABLE)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Of a group of its own: what is sent to the terminal's is not for it.
            .process_group(0)
            .spawn()?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        use io::Write;
        if let Some(mut input) = self.input.take() {
            // Where it is gone, there is nobody to tell.
            let _ = input.write_all(b"done\n");
        }
        let _ = self.child.wait();
    }
}
