//! Agents: one turn in, one reply out.
//!
//! An agent is registered under a name. Tasks and flow steps that name it are given to it
//! by whichever worker has it.

#[cfg(all(feature = "programs", target_os = "linux"))]
pub mod process;

use std::{fmt, future::Future};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    model::{Access, Message, Payload, TaskSpec},
};

/// Something that answers a prompt.
///
/// A turn may be run again: after a failure as the task's retry policy says, and after the
/// death of its worker as its [`Interrupted`](crate::model::Interrupted) policy says.
#[async_trait]
pub trait Agent: fmt::Debug + Send + Sync + 'static {
    /// Takes one turn.
    ///
    /// # Errors
    /// Any failure; [`Failure::park`] for a provider's rate limit.
    async fn turn(&self, turn: Turn) -> Result<Reply, Failure>;
}

/// What an agent is given.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What to do.
    pub prompt: String,
    /// What was said in the chat before, oldest first, without the prompt.
    pub history: Vec<Message>,
    /// The task: its project, model, mode, labels and so on.
    pub task: TaskSpec,
    /// The model to use, where the task or its run names one.
    pub model: Option<String>,
    /// Whether files may be changed.
    pub access: Access,
    /// Fires when the turn is to stop.
    pub stop: CancellationToken,
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

    /// The answer as the value that a task returns.
    pub(crate) fn output(&self) -> Payload {
        self.output.clone().unwrap_or_else(|| Payload::text(&self.text))
    }
}

/// An agent that is a Rust async function.
pub fn native<F, Fut>(function: F) -> impl Agent
where
    F: Fn(Turn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    Native(function)
}

struct Native<F>(F);

impl<F> fmt::Debug for Native<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native")
    }
}

#[async_trait]
impl<F, Fut> Agent for Native<F>
where
    F: Fn(Turn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    async fn turn(&self, turn: Turn) -> Result<Reply, Failure> {
        (self.0)(turn).await
    }
}
