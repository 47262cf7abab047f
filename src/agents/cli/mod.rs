//! Programs that are started for each turn.
//!
//! A [`Cli`] starts its program, gives it the prompt, reads its events, and ends it with all that it
//! has started. What is different between programs is data: a [`Recipe`]. Those of five programs
//! come with the crate.
//!
//! ```
//! use std::time::Duration;
//!
//! use segue::agents::cli::Cli;
//!
//! let codex = Cli::codex()
//!     .env(|_| Ok([("OPENAI_API_KEY".into(), "from the host's vault".into())].into()))
//!     .silence(Duration::from_secs(900));
//! ```

mod recipe;
mod recipes;
mod run;
mod schema;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;

pub use self::recipe::{Flags, Limits, Prompt, Recipe, Schema, Way, Words};
use super::{
    Agent, Facts, Ground, Installed, Kept, Listener, Look, OnTrial, Outcome, Profile, Transport,
    Turn,
    launch::Launch,
    process::{Rules, Sandbox, Spawn, Terminal},
    trial,
};
use crate::failure::Failure;

/// How long one may be silent that is tried out.
const TRIED: Duration = Duration::from_secs(60);

/// An agent that is a program which is started for each turn.
#[derive(Clone, Debug)]
pub struct Cli {
    recipe: Recipe,
    launch: Launch,
    limits: Limits,
    silence: Duration,
    grace: Duration,
    version: String,
}

impl Cli {
    /// By a recipe of the host's own.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            launch: Launch::new(recipe.name, recipe.program),
            limits: Limits::default(),
            silence: Duration::from_secs(1800),
            grace: Duration::from_millis(300),
            version: String::new(),
        }
    }

    /// Claude Code: `claude -p`. See `ClaudeCode` for one that is kept warm and can ask.
    pub fn claude() -> Self {
        Self::new(recipes::CLAUDE)
    }

    /// Codex: `codex exec`.
    pub fn codex() -> Self {
        Self::new(recipes::CODEX)
    }

    /// Qwen Code: `qwen`.
    pub fn qwen() -> Self {
        Self::new(recipes::QWEN)
    }

    /// opencode: `opencode run`.
    pub fn opencode() -> Self {
        Self::new(recipes::OPENCODE)
    }

    /// Gemini CLI: `gemini`.
    pub fn gemini() -> Self {
        Self::new(recipes::GEMINI)
    }

    /// How its program is told to take a turn.
    pub const fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// Starts this program. Without it, the one of the recipe is looked up in the `PATH`.
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

    /// Ends a turn in which the program prints nothing for so long. Half an hour, if not said. Most
    /// programs print nothing while a tool runs.
    pub fn silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// How long the program may take to end when it is told to, before it is killed.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// How much a turn may use. A program that has no flag for a limit is not started.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The program's version, where the host knows it: sessions of another one are not continued.
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }

    /// The program of a turn, ready to be started.
    fn spawn(&self, turn: &Turn, schema: Option<&Path>) -> Result<Spawn, Failure> {
        let schema = schema.map(|path| path.to_string_lossy());
        let own = &self.launch.arguments;
        let recipe = self.recipe.where_confined(self.launch.confines());
        let mut arguments = recipe.arguments(turn, self.limits, own, schema.as_deref())?;
        if self.recipe.prompt == Prompt::Argument {
            arguments.push(self.recipe.prompt(turn).into());
        }
        let mut launch = self.launch.clone();
        launch.arguments = arguments;
        let mut spawn = launch.spawn(&turn.folder, turn.access)?;
        spawn.terminal = match (self.recipe.terminal, self.recipe.prompt) {
            (false, _) => Terminal::None,
            (true, Prompt::Input) => Terminal::Output,
            (true, Prompt::Argument) => Terminal::All,
        };
        let pairs = |env: &[(&str, &str)]| {
            env.iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>()
        };
        for (name, value) in pairs(self.recipe.env) {
            spawn.env.entry(name).or_insert(value);
        }
        spawn.env.extend(pairs(recipe.way(turn.access)?.env));
        Ok(spawn)
    }
}

#[async_trait]
impl Agent for Cli {
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        run::turn(self, turn, listener).await.unwrap_or_else(Outcome::Failed)
    }

    fn installed(&self) -> Result<Option<Installed>, Failure> {
        self.launch.installed()
    }

    async fn facts(&self, _: Look) -> Result<Facts, Failure> {
        Ok(self.recipe.facts())
    }

    fn on_trial(&self, ground: &Ground) -> Result<Option<OnTrial>, Failure> {
        let Some(at) = trial::of(self.recipe.name) else {
            return Ok(None);
        };
        let Some(launch) = self.launch.pointed(at, ground)? else {
            return Ok(None);
        };
        let mut cli = Self { launch, silence: TRIED, ..self.clone() };
        match ground.kept {
            Kept::ByItself if self.recipe.read_only.is_none() => return Ok(None),
            Kept::ByItself => {}
            Kept::ByKernel => {
                cli.recipe.read_only = Some(Way { arguments: at.free, env: &[] });
                cli.recipe.confined = None;
            }
        }
        let (model, calls) = (Some(at.model.to_owned()), (at.calls)(&ground.folder));
        Ok(Some(OnTrial { agent: Box::new(cli), model, calls }))
    }

    fn profile(&self) -> Profile {
        Profile {
            transport: Transport::Cli,
            sessions: self.recipe.sessions,
            can_ask: false,
            fingerprint: format!(
                "{} {} {}",
                self.recipe.name,
                self.launch.fingerprint(),
                self.version
            ),
        }
    }
}
