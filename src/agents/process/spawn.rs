//! Starting a program, and ending it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, ChildStderr, ChildStdin},
    runtime::Handle,
    time::timeout,
};

use super::{
    mark::{Mark, Survivors, VARIABLE},
    output::{Output, Terminal, terminal},
    sandbox::{Rules, Sandbox},
    scratch::Scratch,
};

/// A program to be started. Its environment is what is said here, and the mark: nothing of this
/// process' own is passed on.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// The program: a path, or a name that is looked up in the `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The folder that it works in.
    pub folder: PathBuf,
    /// What keeps it from writing elsewhere, and where it may. None: it may do what its user may.
    pub confined: Option<(Arc<dyn Sandbox>, Rules)>,
    /// A folder of its own, which goes when the program has ended.
    pub scratch: Option<Arc<Scratch>>,
    /// Which of its streams are a terminal.
    pub terminal: Terminal,
}

/// A program that was started, with all that it has started since.
#[derive(Debug)]
pub struct Owned {
    mark: Mark,
    child: Child,
    /// What it prints onto, where that is a terminal.
    terminal: Option<Output>,
    group: Option<Pid>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// What it left to its parent.
    pub status: ExitStatus,
    /// How many processes were still there when it had ended, and were killed.
    pub swept: usize,
}

impl Spawn {
    /// Starts it, with its input, output and errors as pipes or as the terminal that it wants.
    ///
    /// # Errors
    /// When it can't be started, or can't be confined: then nothing was.
    pub async fn start(self, mark: Mark) -> io::Result<Owned> {
        let runtime = Handle::current();
        // Whoever is confined stays so: a thread of its own, which ends at once.
        let spawned = std::thread::Builder::new().name("segue-spawn".into()).spawn(move || {
            let _guard = runtime.enter();
            if let Some((sandbox, rules)) = &self.confined {
                sandbox.confine(rules)?;
            }
            self.spawn(mark)
        })?;
        let joined = tokio::task::spawn_blocking(move || spawned.join()).await?;
        let (child, terminal) =
            joined.unwrap_or_else(|_| Err(io::Error::other("starting it panicked")))?;
        let group = child.id().and_then(|id| Pid::from_raw(id as i32));
        Ok(Owned { mark, child, terminal, group })
    }

    fn spawn(&self, mark: Mark) -> io::Result<(Child, Option<Output>)> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.env)
            .env(VARIABLE, mark.to_string())
            .current_dir(&self.folder)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if self.terminal == Terminal::None {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
            return Ok((command.spawn()?, None));
        }
        let (pty, pts) = terminal()?;
        // It begins a session of its own, and so a group.
        let mut command = pty_process::Command::from(command).stderr(Stdio::piped());
        if self.terminal == Terminal::Output {
            command = command.stdin(Stdio::piped());
        }
        let child = command.spawn(pts).map_err(|error| match error {
            pty_process::Error::Io(error) => error,
            other => io::Error::other(other),
        })?;
        Ok((child, Some(Output::Terminal(pty))))
    }
}

impl Owned {
    /// What it and all that it starts carry.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended. What it has started may go on.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until it has ended, and ends nothing. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Its input: once. Dropped, it is closed.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its output: once.
    pub fn output(&mut self) -> Option<Output> {
        let terminal = self.terminal.take();
        terminal.or_else(|| self.child.stdout.take().map(Output::Pipe))
    }

    /// Its errors: once.
    pub fn errors(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits until the program has ended by itself, then kills what it has left behind.
    ///
    /// # Errors
    /// When it can't be waited for, or something can't be killed.
    pub async fn ended(mut self) -> io::Result<Ended> {
        let status = self.child.wait().await?;
        let swept = self.mark.sweep().await.map_err(survived)?;
        Ok(Ended { status, swept })
    }

    /// Asks the program to end, with its group, and kills after `grace` whatever is left of it
    /// and all that it started.
    ///
    /// # Errors
    /// When it can't be waited for, or something can't be killed.
    pub async fn end(mut self, grace: Duration) -> io::Result<Ended> {
        if let Some(group) = self.group.filter(|_| self.child.id().is_some()) {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::TERM);
        }
        let in_time = timeout(grace, self.child.wait()).await;
        let swept = self.mark.sweep().await.map_err(survived)?;
        let status = match in_time {
            Ok(status) => status?,
            Err(_) => self.child.wait().await?,
        };
        Ok(Ended { status, swept })
    }
}

fn survived(survivors: Survivors) -> io::Error {
    io::Error::other(survivors)
}
