//! How the program of an adapter is started: its arguments, its environment, what confines it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Ground, Installed, Kept,
    process::{Landlock, Rules, Sandbox, Scratch, Spawn, Terminal},
    state,
    trial::Pointing,
};
use crate::{failure::Failure, model::Access, workspace};

/// What of this process' environment a program gets, where the host does not say otherwise.
const PASSED: &str = "PATH HOME USER LOGNAME SHELL LANG TERM TMPDIR TZ SSL_CERT_FILE SSL_CERT_DIR \
    NODE_EXTRA_CA_CERTS HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy \
    no_proxy";

/// The variables of a program: what the host adds to those that are passed on.
pub(super) type Environment = BTreeMap<OsString, OsString>;

type GiveEnvironment = dyn Fn(&Spawn) -> Result<Environment, Failure> + Send + Sync;

/// How a program is started.
#[derive(Clone)]
pub(super) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    env: Option<Arc<GiveEnvironment>>,
    /// The agent, for what it keeps.
    agent: String,
    /// What keeps it from writing. None: the host relies on what is found out afterwards.
    sandbox: Option<Arc<dyn Sandbox>>,
    writable: Vec<PathBuf>,
    /// Whether one that may write is kept in its folder.
    keeps_within: bool,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, arguments, sandbox, writable, .. } = self;
        let mut shown = f.debug_struct("Launch");
        shown.field("program", program).field("arguments", arguments);
        shown.field("sandbox", sandbox).field("writable", writable);
        shown.finish_non_exhaustive()
    }
}

impl Launch {
    /// The program of an agent. The kernel keeps it from writing where it may only read.
    pub fn new(agent: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            env: None,
            agent: agent.into(),
            sandbox: Some(Arc::new(Landlock)),
            writable: Vec::new(),
            keeps_within: false,
        }
    }

    pub fn env(
        &mut self,
        give: impl Fn(&Spawn) -> Result<Environment, Failure> + Send + Sync + 'static,
    ) {
        self.env = Some(Arc::new(give));
    }

    pub fn sandbox(&mut self, sandbox: Arc<dyn Sandbox>, rules: Rules) {
        self.sandbox = Some(sandbox);
        self.writable = rules.writable;
    }

    /// Nothing keeps it from writing but itself.
    pub fn unconfined(&mut self) {
        self.sandbox = None;
    }

    /// One that may write does so in its folder only, and where else it is allowed to.
    pub fn keep_within(&mut self) {
        self.keeps_within = true;
    }

    /// Whether files are kept as they are by the system where nothing may be changed.
    pub fn confines(&self) -> bool {
        self.sandbox.is_some()
    }

    /// The same program with another model and another home. Nothing confines it where it is to keep
    /// itself from writing. None: it is to be confined, and nothing can.
    pub fn pointed(&self, at: &Pointing, ground: &Ground) -> Result<Option<Self>, Failure> {
        let mut pointed = self.clone();
        match ground.kept {
            Kept::ByKernel if !self.confines() => return Ok(None),
            Kept::ByKernel => {}
            Kept::ByItself => pointed.unconfined(),
        }
        pointed.arguments.extend(at.arguments(&ground.url).map(OsString::from));
        let mut env = at.environment(&ground.url, &ground.home)?;
        env.extend(self.installed()?.map(|own| ("PATH".into(), own.path)));
        pointed.env(move |_| Ok(env.clone()));
        Ok(Some(pointed))
    }

    /// The program, and where it is looked for.
    pub fn installed(&self) -> Result<Option<Installed>, Failure> {
        let path = self.free(Path::new("/"))?.env.remove(OsStr::new("PATH")).unwrap_or_default();
        Ok(Some(Installed { program: self.program.clone(), path }))
    }

    /// The program, ready to be started. What the host gives wins.
    pub fn spawn(&self, folder: &Path, access: Access) -> Result<Spawn, Failure> {
        let mut spawn = self.free(folder)?;
        let reads = access == Access::ReadOnly;
        if let Some(sandbox) = self.sandbox.as_ref().filter(|_| reads || self.keeps_within) {
            let rules = self.rules(&mut spawn, !reads)?;
            spawn.confined = Some((Arc::clone(sandbox), rules));
        }
        Ok(spawn)
    }

    /// The program, which nothing confines.
    fn free(&self, folder: &Path) -> Result<Spawn, Failure> {
        let mut spawn = Spawn {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            env: passed(),
            folder: folder.to_owned(),
            confined: None,
            scratch: None,
            terminal: Terminal::None,
        };
        if let Some(give) = &self.env {
            let given = give(&spawn)?;
            spawn.env.extend(given);
        }
        Ok(spawn)
    }

    /// Where a program may write: what is the agent's own, a folder for what is temporary that nobody
    /// else uses, devices, and the folder of a turn that may write.
    fn rules(&self, spawn: &mut Spawn, writes: bool) -> Result<Rules, Failure> {
        let scratch = Scratch::new()?;
        spawn.env.insert("TMPDIR".into(), scratch.path().into());
        let mut writable = self.writable.clone();
        writable.extend(state::of(&self.agent, &spawn.env));
        writable.extend([PathBuf::from("/dev"), scratch.path().to_owned()]);
        if writes {
            writable.push(spawn.folder.clone());
            writable.extend(workspace::git_dirs(&spawn.folder));
        }
        spawn.scratch = Some(Arc::new(scratch));
        Ok(Rules { writable })
    }

    /// The program and its arguments, as a text that is another one where these are.
    pub fn fingerprint(&self) -> String {
        format!("{:?} {:?}", self.program, self.arguments)
    }
}

fn passed() -> Environment {
    std::env::vars_os().filter(|(name, _)| is_passed(name)).collect()
}

fn is_passed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let is_family = name.starts_with("LC_") || name.starts_with("XDG_");
    is_family || PASSED.split_whitespace().any(|passed| passed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_what_it_needs_and_what_the_host_gives() {
        assert!(is_passed(OsStr::new("PATH")) && is_passed(OsStr::new("LC_ALL")));
        assert!(!is_passed(OsStr::new("CARGO_HOME")) && !is_passed(OsStr::new("OPENAI_API_KEY")));
        let mut launch = Launch::new("agent", "agent");
        launch.env(|spawn| {
            assert_eq!(spawn.folder, Path::new("/"));
            Ok([("PATH".into(), "/nowhere".into()), ("KEY".into(), "secret".into())].into())
        });
        let spawn = launch.spawn(Path::new("/"), Access::Write).expect("an environment");
        assert_eq!(spawn.env[OsStr::new("PATH")], "/nowhere");
        assert_eq!(spawn.env[OsStr::new("KEY")], "secret");
        assert!(!format!("{launch:?}").contains("secret"));
        launch.env(|_| Err(Failure::fatal("no key")));
        assert!(launch.spawn(Path::new("/"), Access::Write).is_err());
    }
}
