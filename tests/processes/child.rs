//! A child is this test binary again, with a role in its environment.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdin, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// A child, which dies with its handle.
pub struct Child {
    process: std::process::Child,
    pub stdin: Option<ChildStdin>,
    lines: BufReader<std::process::ChildStdout>,
}

impl Child {
    pub fn start(folder: &Path, role: &str) -> Self {
        let mut child = Self::spawn(folder, role);
        child.hear("ready");
        child
    }

    /// Does not wait until it is ready.
    pub fn spawn(folder: &Path, role: &str) -> Self {
        let own = std::env::current_exe().expect("this program");
        let mut process = Command::new(own)
            .args(["a_child_plays_its_role", "--exact", "--nocapture"])
            .env("SEGUE_ROLE", role)
            .env("SEGUE_FOLDER", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let stdin = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, stdin, lines }
    }

    /// Tells it a line, and waits until it has obeyed.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("a child that listens");
        writeln!(stdin, "{line}").expect("a child that lives");
        self.hear("so be it");
    }

    /// Reads until a line has this word in it, and returns the line.
    pub fn hear(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("a line");
            assert!(read > 0, "the child ended without saying {word}");
        }
        line
    }

    /// Tells it a line that it does not survive.
    pub fn dies_of(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("a child that listens");
        writeln!(stdin, "{line}").expect("a child that lives");
        let status = self.process.wait().expect("its end");
        assert!(!status.success(), "{status}");
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("a child that lives");
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("a child that lives");
        self.process.wait().expect("its end");
    }

    /// Lets it end in order.
    pub fn finish(mut self) {
        drop(self.stdin.take());
        let status = self.process.wait().expect("its end");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("a pipe");
}

/// Waits for a line, or for the end, of what the parent says.
pub async fn told() -> String {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    tokio::task::spawn_blocking(read).await.expect("a thread").expect("a pipe")
}
