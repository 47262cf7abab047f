//! How the program of an adapter is started: its arguments, its environment, what confines it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::process::{Rules, Sandbox, Spawn};
use crate::{failure::Failure, model::Access};

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
    sandbox: Option<(Arc<dyn Sandbox>, Rules)>,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, arguments, sandbox, .. } = self;
        let mut shown = f.debug_struct("Launch");
        shown.field("program", program).field("arguments", arguments).field("sandbox", sandbox);
        shown.finish_non_exhaustive()
    }
}

impl Launch {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), env: None, sandbox: None }
    }

    pub fn env(
        &mut self,
        give: impl Fn(&Spawn) -> Result<Environment, Failure> + Send + Sync + 'static,
    ) {
        self.env = Some(Arc::new(give));
    }

    pub fn sandbox(&mut self, sandbox: Arc<dyn Sandbox>, rules: Rules) {
        self.sandbox = Some((sandbox, rules));
    }

    /// Whether files are kept as they are by the system where nothing may be changed.
    pub fn confines(&self) -> bool {
        self.sandbox.is_some()
    }

    /// The program, ready to be started. What the host gives wins.
    pub fn spawn(&self, folder: &Path, access: Access) -> Result<Spawn, Failure> {
        let confined = self.sandbox.clone().filter(|_| access == Access::ReadOnly);
        let mut spawn = Spawn {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            env: passed(),
            folder: folder.to_owned(),
            confined,
        };
        if let Some(give) = &self.env {
            let given = give(&spawn)?;
            spawn.env.extend(given);
        }
        Ok(spawn)
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
        let mut launch = Launch::new("agent");
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
