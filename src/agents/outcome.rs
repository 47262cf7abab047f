//! How a turn ends.

use std::time::Duration;

use super::Reply;
use crate::failure::Failure;

/// How a turn ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The agent answered.
    Completed(Reply),
    /// The agent or its model refused to answer.
    Refused {
        /// In its words.
        message: String,
    },
    /// A limit of the turn itself is reached: tokens, steps, money. What was said so far is kept.
    LimitReached {
        /// Which limit, in the agent's words.
        limit: String,
    },
    /// The provider takes no more requests for now.
    RateLimited {
        /// For how long, where that is said.
        wait: Option<Duration>,
        /// In the provider's words.
        message: String,
    },
    /// It stopped because it was told to.
    Cancelled,
    /// The agent does not know the session that was to be continued. Nothing was prompted.
    SessionLost {
        /// In its words.
        message: String,
    },
    /// The agent failed before the prompt was handed to it, or says itself that it failed.
    Crashed {
        /// What it said last.
        message: String,
    },
    /// The agent was gone, or went silent, in the middle of the turn: what it did is unknown.
    Interrupted {
        /// What is known.
        message: String,
    },
    /// Something else, as of any handler.
    Failed(Failure),
}

impl Outcome {
    /// The name by which it is stored and shown.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Refused { .. } => "refused",
            Self::LimitReached { .. } => "limit_reached",
            Self::RateLimited { .. } => "rate_limited",
            Self::Cancelled => "cancelled",
            Self::SessionLost { .. } => "session_lost",
            Self::Crashed { .. } => "crashed",
            Self::Interrupted { .. } => "interrupted",
            Self::Failed(_) => "failed",
        }
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self::Completed(reply)
    }
}

impl From<Result<Reply, Failure>> for Outcome {
    fn from(result: Result<Reply, Failure>) -> Self {
        result.map_or_else(Self::Failed, Self::Completed)
    }
}
