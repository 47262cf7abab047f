//! Claude Code, kept warm between the turns of a chat.
//!
//! One program has one chat. It is given prompts and answers to what it asks on its standard input,
//! and prints its events, both as lines of JSON. A turn that is stopped interrupts it, and it goes on
//! with the next. What its tools have left running is ended with the turn.
//!
//! ```
//! use segue::agents::claude::ClaudeCode;
//!
//! let claude = ClaudeCode::new()
//!     .env(|_| Ok([("ANTHROPIC_API_KEY".into(), "from the host's vault".into())].into()))
//!     .argument("--strict-mcp-config");
//! ```

mod asking;
mod facts;
mod link;
mod turn;
mod wire;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

use self::link::Link;
use super::{
    Agent, Facts, Ground, Installed, Kept, Listener, Look, OnTrial, Outcome, Profile, Sessions,
    Transport, Turn,
    launch::Launch,
    process::{Rules, Sandbox, Spawn},
    trial,
    warm::{Limits, Pool},
};
use crate::{failure::Failure, id::ChatId};

/// How long one may be silent that is tried out.
const TRIED: Duration = Duration::from_secs(60);

/// Claude Code as an agent. As of 2.1.330.
#[derive(Clone, Debug)]
pub struct ClaudeCode {
    launch: Launch,
    pool: Pool<Link>,
    mode: String,
    silence: Duration,
    grace: Duration,
    version: String,
    /// What it has instead of what keeps it from writing: it is tried out.
    free: Option<&'static [&'static str]>,
}

impl Default for ClaudeCode {
    fn default() -> Self {
        Self::new()
    }
}

impl ClaudeCode {
    /// The program `claude` of the `PATH`.
    pub fn new() -> Self {
        Self {
            launch: Launch::new("claude", "claude"),
            pool: Pool::new(Limits::default()),
            mode: "acceptEdits".to_owned(),
            silence: Duration::from_secs(1800),
            grace: Duration::from_millis(700),
            version: String::new(),
            free: None,
        }
    }

    /// Starts this program.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.launch.program = path.into();
        self
    }

    /// With one more argument.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.launch.arguments.push(argument.into());
        self
    }

    /// With these variables, asked for at each start and kept nowhere. A program gets them, and of
    /// this process' own those that say where things are: `PATH`, `HOME`, the language, proxies.
    pub fn env<F>(mut self, give: F) -> Self
    where
        F: Fn(&Spawn) -> Result<BTreeMap<OsString, OsString>, Failure> + Send + Sync + 'static,
    {
        self.launch.env(give);
        self
    }

    /// Keeps the program from writing by this, in turns that may only read, and lets it write in these
    /// places besides its own. If not said, Landlock does so.
    pub fn sandbox(mut self, sandbox: Arc<dyn Sandbox>, rules: Rules) -> Self {
        self.launch.sandbox(sandbox, rules);
        self
    }

    /// Lets nothing but itself keep it from writing in turns that may only read: what it does
    /// nevertheless is found out afterwards. Where the kernel can't confine programs this is the only
    /// way to start them.
    pub fn unconfined(mut self) -> Self {
        self.launch.unconfined();
        self
    }

    /// Keeps it in the folder of a turn that may write, with what is its own and what the
    /// [sandbox](Self::sandbox) lets it write.
    pub fn keep_within(mut self) -> Self {
        self.launch.keep_within();
        self
    }

    /// The mode of turns that may write and name none: `acceptEdits`, if not said, in which it asks
    /// before it runs a command, and does not before it changes a file of its folder.
    pub fn mode(self, mode: impl Into<String>) -> Self {
        Self { mode: mode.into(), ..self }
    }

    /// Ends a turn in which the program prints nothing for so long, other than while it waits for an
    /// answer. Half an hour, if not said. It prints nothing while a tool runs.
    pub fn silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// How long it may take to stop when it is told to, before it is killed.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The program's version, where the host knows it: sessions of another one are not continued.
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }
}

#[async_trait]
impl Agent for ClaudeCode {
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        turn::turn(self, &turn, listener).await.unwrap_or_else(Outcome::Failed)
    }

    fn installed(&self) -> Result<Option<Installed>, Failure> {
        self.launch.installed()
    }

    async fn facts(&self, look: Look) -> Result<Facts, Failure> {
        facts::facts(self, look).await
    }

    fn on_trial(&self, ground: &Ground) -> Result<Option<OnTrial>, Failure> {
        let Some(at) = trial::of("claude") else {
            return Ok(None);
        };
        let Some(launch) = self.launch.pointed(at, ground)? else {
            return Ok(None);
        };
        let (pool, silence) = (Pool::new(Limits::default()), TRIED);
        let free = (ground.kept == Kept::ByKernel).then_some(at.free);
        let claude = Self { launch, pool, silence, free, ..self.clone() };
        let (model, calls) = (Some(at.model.to_owned()), (at.calls)(&ground.folder));
        Ok(Some(OnTrial { agent: Box::new(claude), model, calls }))
    }

    fn profile(&self) -> Profile {
        Profile {
            transport: Transport::ClaudeStream,
            sessions: Sessions::Ours,
            can_ask: true,
            fingerprint: format!("claude {} {}", self.launch.fingerprint(), self.version),
        }
    }

    async fn close(&self, chat: ChatId) {
        self.pool.close(chat).await;
    }

    async fn close_all(&self) {
        self.pool.close_all().await;
    }
}
