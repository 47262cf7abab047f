//! Agents that speak the Agent Client Protocol over the standard input and output of a program.
//!
//! A program is started at the first turn of a chat and kept warm for the next ones. When it is gone
//! by then, a new one continues the session. The client offers neither files nor terminals: an
//! agent uses its own tools, in its own program, where they are found and confined.
//!
//! The messages are read field by field: agents deviate from the protocol, each in its own way, and
//! the official crates allow one exact version of themselves, which is the host's to choose.

#[cfg(feature = "opencode")]
mod beside;
mod course;
mod ending;
mod link;
mod options;
mod permission;
mod presets;
mod probe;
mod quirks;
mod read;
mod session;
mod wire;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::timeout;
use uuid::Uuid;

use self::{
    course::{Course, End},
    link::Link,
    session::{Session, Setup, Trouble, with_last_words},
};
pub use self::{
    probe::Probed,
    quirks::{Meter, Quirks, ReadOnly},
};
use super::{
    Agent, Facts, Ground, Installed, Kept, Listener, Look, OnTrial, Outcome, Profile, Sessions,
    Transport, Turn,
    launch::Launch,
    process::{Custody, Rules, Sandbox, Spawn, Unwatched},
    trial,
    warm::{Limits, Pool, Seat},
};
use crate::{failure::Failure, id::ChatId, model::Access};

/// How long one may be silent that is tried out.
const TRIED: Duration = Duration::from_secs(60);
/// How long a program that is no longer wanted may take to end by itself.
const END: Duration = Duration::from_millis(500);

/// An agent that speaks the Agent Client Protocol.
///
/// ```
/// use segue::agents::acp::Acp;
///
/// let agent = Acp::new("my agent", "my-agent").argument("--acp");
/// # let _ = agent;
/// ```
#[derive(Clone, Debug)]
pub struct Acp {
    name: String,
    launch: Launch,
    quirks: Quirks,
    login: Option<String>,
    starting: Duration,
    silence: Duration,
    pool: Pool<Session>,
}

impl Acp {
    /// An agent by this name, and its program: a path, or a name that is looked up in the `PATH` of
    /// its environment.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        let name = name.into();
        Self {
            launch: Launch::new(&*name, program),
            name,
            quirks: Quirks::default(),
            login: None,
            starting: Duration::from_secs(120),
            silence: Duration::from_secs(30 * 60),
            pool: Pool::new(Limits::default()),
        }
    }

    /// With another program.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.launch.program = program.into();
        self
    }

    /// With one more argument of the program.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.launch.arguments.push(argument.into());
        self
    }

    /// With these variables in the environment of the program, besides those that every program
    /// needs. The host is asked at each start, and what it gives is stored nowhere.
    #[must_use]
    pub fn env(
        mut self,
        give: impl Fn(&Spawn) -> Result<BTreeMap<OsString, OsString>, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.launch.env(give);
        self
    }

    /// Keeps it from writing by this, in turns that may only read, and lets it write in these places
    /// besides its own. If not said, Landlock does so.
    #[must_use]
    pub fn sandbox(mut self, sandbox: Arc<dyn Sandbox>, rules: Rules) -> Self {
        self.launch.sandbox(sandbox, rules);
        self
    }

    /// Lets nothing but itself keep it from writing in turns that may only read: what it does
    /// nevertheless is found out afterwards. Where the kernel can't confine programs this is the only
    /// way to start them.
    #[must_use]
    pub fn unconfined(mut self) -> Self {
        self.launch.unconfined();
        self
    }

    /// Keeps it in the folder of a turn that may write, with what is its own and what the
    /// [sandbox](Self::sandbox) lets it write.
    #[must_use]
    pub fn keep_within(mut self) -> Self {
        self.launch.keep_within();
        self
    }

    /// With what is known of it.
    #[must_use]
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Logs in first, in this way of those that the agent offers.
    #[must_use]
    pub fn login(mut self, method: impl Into<String>) -> Self {
        self.login = Some(method.into());
        self
    }

    /// How long it may take from the start of the program until the session is open. Two minutes,
    /// if not said.
    #[must_use]
    pub const fn starting(mut self, limit: Duration) -> Self {
        self.starting = limit;
        self
    }

    /// How long the agent may say nothing in the middle of a turn before it counts as hung. A tool
    /// at work may say nothing for as long as it takes. Half an hour, if not said.
    #[must_use]
    pub const fn silence(mut self, limit: Duration) -> Self {
        self.silence = limit;
        self
    }

    /// Starts the program for a turn.
    async fn start(&self, turn: &Turn) -> Result<Session, Failure> {
        let mut spawn = self.launch.spawn(&turn.folder, turn.access)?;
        if turn.access == Access::ReadOnly {
            match &self.quirks.read_only {
                Some(recipe) => recipe.apply(&mut spawn),
                None if self.launch.confines() => {}
                None => {
                    let message =
                        format!("nothing is known that keeps `{}` from writing", self.name);
                    return Err(Failure::fatal(message));
                }
            }
        }
        #[cfg(feature = "opencode")]
        let beside = (self.quirks.meter == Meter::Messages)
            .then(|| beside::Beside::of(&mut spawn))
            .transpose()?;
        let custody = turn.custody.clone();
        let unwatched = || -> Arc<dyn Custody> { Arc::new(Unwatched::new(Uuid::now_v7())) };
        let link = Link::start(spawn, custody.unwrap_or_else(unwatched)).await?;
        let session = Session::new(link, turn);
        #[cfg(feature = "opencode")]
        let session = session.with(beside);
        Ok(session)
    }

    /// The mode that a turn's session must stay in.
    fn mode(&self, turn: &Turn) -> Option<&str> {
        match &self.quirks.read_only {
            Some(ReadOnly::Mode(mode)) if turn.access == Access::ReadOnly => Some(mode),
            _ => None,
        }
    }

    /// A session that is ready for the turn's prompt.
    async fn session(
        &self,
        seat: &mut Seat<Session>,
        turn: &Turn,
        listener: &dyn Listener,
    ) -> Result<Session, Outcome> {
        let warm = match seat.take() {
            Some(session) if session.fits(turn) => Some(session),
            Some(other) => {
                let _ = other.finish(END).await;
                None
            }
            None => None,
        };
        let mut session = match warm {
            Some(mut session) => {
                session.link.hear(true);
                session
            }
            None => self.start(turn).await.map_err(Outcome::Failed)?,
        };
        let setup = Setup { login: self.login.as_deref(), mode: self.mode(turn) };
        let ready = tokio::select! {
            biased;
            () = turn.stop.cancelled() => Err(Trouble::Stopped),
            ready = timeout(self.starting, session.ready(turn, &setup, listener)) => {
                ready.unwrap_or(Err(Trouble::Slow(self.starting)))
            }
        };
        match ready {
            Ok(()) => Ok(session),
            Err(trouble) => Err(trouble.outcome(session.finish(END).await)),
        }
    }

    /// Prompts, and names the end. The session is left for the next turn where it is sound.
    async fn prompt(
        &self,
        mut session: Session,
        seat: Seat<Session>,
        turn: &Turn,
        listener: &dyn Listener,
    ) -> Outcome {
        if let Err(failure) = listener.prompting().await {
            let _ = session.finish(END).await;
            return Outcome::Failed(failure);
        }
        let how = (self.quirks.meter, self.mode(turn));
        let mut course = Course::new(&mut session, turn, listener, how);
        let end = course.run(self.silence).await;
        let words = std::mem::take(&mut course.words);
        course.reckon().await;
        drop(course);
        let outcome = match end {
            End::Answered(answer) => {
                let (outcome, is_sound) = ending::of_answer(&answer, words);
                if is_sound {
                    session.link.hear(false);
                    seat.leave(session).await;
                    return outcome;
                }
                Ok(outcome)
            }
            End::Failed(error) => Ok(ending::of_error(&error, "the prompt failed")),
            End::Stopped => Ok(Outcome::Cancelled),
            End::Silent => Err(format!("the agent said nothing for {:?}", self.silence)),
            End::Gone => Err("the agent ended in the middle of the turn".to_owned()),
            End::Escaped(mode) => {
                let message = format!("the agent left its read-only mode for `{mode}`");
                Ok(Outcome::Failed(Failure::fatal(message)))
            }
        };
        let finish = session.finish(END).await;
        match (outcome, finish) {
            // A turn that may have left something running is not over in any orderly way.
            (Ok(_), Err(failure)) => Outcome::Failed(failure),
            (Ok(outcome), Ok(_)) => outcome,
            (Err(how), finish) => Outcome::Interrupted { message: with_last_words(how, finish) },
        }
    }
}

#[async_trait]
impl Agent for Acp {
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        let mut seat = self.pool.seat(turn.chat, turn.room.as_ref()).await;
        match self.session(&mut seat, &turn, listener).await {
            Ok(session) => self.prompt(session, seat, &turn, listener).await,
            Err(outcome) => outcome,
        }
    }

    fn installed(&self) -> Result<Option<Installed>, Failure> {
        self.launch.installed()
    }

    async fn facts(&self, look: Look) -> Result<Facts, Failure> {
        Ok(self.probe(look.limit, look.custody).await?.into())
    }

    fn on_trial(&self, ground: &Ground) -> Result<Option<OnTrial>, Failure> {
        let Some(at) = trial::of(&self.name) else {
            return Ok(None);
        };
        let Some(launch) = self.launch.pointed(at, ground)? else {
            return Ok(None);
        };
        let (pool, silence) = (Pool::new(Limits::default()), TRIED);
        let mut acp = Self { launch, pool, silence, login: None, ..self.clone() };
        match ground.kept {
            Kept::ByItself if self.quirks.read_only.is_none() => return Ok(None),
            Kept::ByItself => {}
            Kept::ByKernel => acp.quirks.read_only = None,
        }
        // The model is chosen by its configuration: agents call it by names of their own.
        Ok(Some(OnTrial { agent: Box::new(acp), model: None, calls: (at.calls)(&ground.folder) }))
    }

    fn profile(&self) -> Profile {
        Profile {
            transport: Transport::Acp,
            sessions: Sessions::Theirs,
            can_ask: true,
            fingerprint: format!("acp {} {}", self.name, self.launch.fingerprint()),
        }
    }

    async fn close(&self, chat: ChatId) {
        self.pool.close(chat).await;
    }

    async fn close_all(&self) {
        self.pool.close_all().await;
    }
}
