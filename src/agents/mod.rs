//! Agents: one turn in, what happens meanwhile, one outcome out.
//!
//! An agent is registered under a name. Tasks and flow steps that name it are given to it
//! by whichever worker has it. A Rust function is an agent by [`native`]; programs are agents by
//! the adapters here, or by a host's own [`Agent`].

#[cfg(all(feature = "acp", target_os = "linux"))]
pub mod acp;
#[cfg(all(feature = "claude", target_os = "linux"))]
pub mod claude;
#[cfg(all(feature = "cli", target_os = "linux"))]
pub mod cli;
mod content;
#[cfg(all(
    any(feature = "cli", feature = "claude", feature = "acp", feature = "opencode"),
    target_os = "linux"
))]
mod launch;
mod look;
mod native;
#[cfg(all(feature = "opencode", target_os = "linux"))]
pub mod opencode;
mod outcome;
#[cfg(all(feature = "programs", target_os = "linux"))]
pub mod probe;
#[cfg(all(feature = "programs", target_os = "linux"))]
pub mod process;
#[cfg(any(feature = "cli", feature = "claude"))]
pub mod read;
#[cfg(all(
    any(feature = "cli", feature = "claude", feature = "acp", feature = "opencode"),
    target_os = "linux"
))]
mod state;
#[cfg(all(any(feature = "cli", feature = "claude"), target_os = "linux"))]
mod telling;
#[cfg(all(
    any(feature = "cli", feature = "claude", feature = "acp", feature = "opencode"),
    target_os = "linux"
))]
mod trial;
#[cfg(any(feature = "cli", feature = "claude", feature = "acp", feature = "opencode"))]
mod trouble;
mod turn;
mod update;
pub mod warm;

use std::fmt;

use async_trait::async_trait;

pub use self::{
    content::{Block, blocks, words},
    look::{Facts, Ground, Installed, Kept, Look, OnTrial},
    native::native,
    outcome::Outcome,
    turn::Turn,
    update::{
        Answer, Choice, ChoiceKind, CommandInfo, Diff, Listener, Location, PlanEntry, Request,
        ToolCall, ToolKind, ToolStatus, Update,
    },
};
pub use crate::model::{Resume, Sessions, Transport};
use crate::{failure::Failure, id::ChatId, model::Payload};

/// Something that answers a prompt.
///
/// A turn may be run again: after a failure as the task's retry policy says, and after the
/// death of its worker as its [`Interrupted`](crate::model::Interrupted) policy says.
#[async_trait]
pub trait Agent: fmt::Debug + Send + Sync + 'static {
    /// Takes one turn, and tells the listener what happens meanwhile. When the turn's `stop` fires
    /// it ends soon. When it returns, nothing that it has started works on, other than what is kept
    /// warm and idle for the next turn of the chat.
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome;

    /// What is to be known of it before a turn.
    fn profile(&self) -> Profile {
        Profile::default()
    }

    /// The program that it starts, as it would be looked up now. None: it starts none.
    ///
    /// # Errors
    /// When the host gives no environment for it.
    fn installed(&self) -> Result<Option<Installed>, Failure> {
        Ok(None)
    }

    /// Asks it what it is and what it can do, without a prompt. Nothing that it starts for this is
    /// left when it returns.
    ///
    /// # Errors
    /// When it can't be started, says something that it can't, or takes too long.
    async fn facts(&self, _look: Look) -> Result<Facts, Failure> {
        Ok(Facts::default())
    }

    /// The agent as it is tried out, for the [canary](crate::Engine). None: it can't be, or nothing
    /// keeps it from writing in this way.
    ///
    /// # Errors
    /// When its ground can't be prepared.
    fn on_trial(&self, _ground: &Ground) -> Result<Option<OnTrial>, Failure> {
        Ok(None)
    }

    /// Ends what is kept warm for a chat. Its session can be continued later.
    async fn close(&self, _chat: ChatId) {}

    /// Ends all that is kept warm: the engine stops.
    async fn close_all(&self) {}
}

#[async_trait]
impl<A: Agent + ?Sized> Agent for Box<A> {
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        (**self).turn(turn, listener).await
    }

    fn profile(&self) -> Profile {
        (**self).profile()
    }

    fn installed(&self) -> Result<Option<Installed>, Failure> {
        (**self).installed()
    }

    async fn facts(&self, look: Look) -> Result<Facts, Failure> {
        (**self).facts(look).await
    }

    fn on_trial(&self, ground: &Ground) -> Result<Option<OnTrial>, Failure> {
        (**self).on_trial(ground)
    }

    async fn close(&self, chat: ChatId) {
        (**self).close(chat).await;
    }

    async fn close_all(&self) {
        (**self).close_all().await;
    }
}

/// What is to be known of an agent before a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How it is spoken to.
    pub transport: Transport,
    /// Whether it has sessions of its own, and who names them.
    pub sessions: Sessions,
    /// Whether it can ask for leave in the middle of a turn.
    pub can_ask: bool,
    /// What an agent's session depends on besides the turn: version, tools, configuration. When it
    /// changes, the session is not continued.
    pub fingerprint: String,
}

impl Default for Profile {
    /// Of a function: it has no sessions and asks nobody.
    fn default() -> Self {
        Self {
            transport: Transport::Native,
            sessions: Sessions::None,
            can_ask: false,
            fingerprint: String::new(),
        }
    }
}

/// What an agent answers.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The answer in words, for the transcript.
    pub text: String,
    /// The answer as a value, where it has one. Without it the words are the value: a string
    /// for a task, and for a step of a flow whatever type the step has, read from the words
    /// as JSON if it is not a string.
    pub output: Option<Payload>,
    /// What it used: `{"tokens": n, ...}`.
    pub usage: Option<Payload>,
}

impl Reply {
    /// An answer in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// An answer that is a value.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn value<T: serde::Serialize>(value: &T) -> Result<Self, Failure> {
        let output = Payload::of(value).map_err(|error| Failure::payload("the reply", &error))?;
        Ok(Self { text: output.as_str().to_owned(), output: Some(output), usage: None })
    }

    /// With what it used: `{"tokens": n, ...}`.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn usage<T: serde::Serialize>(self, usage: &T) -> Result<Self, Failure> {
        let usage = Payload::of(usage).map_err(|error| Failure::payload("the usage", &error))?;
        Ok(Self { usage: Some(usage), ..self })
    }
}
