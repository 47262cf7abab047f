//! What agents say, to those who watch in this process, before it is durable.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::id::{ChatId, MessageId};

/// How many deltas a watcher may be behind before it misses some.
const BACKLOG: usize = 4096;

/// More of a message that is being written. It is not durable yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The chat.
    pub chat: ChatId,
    /// The message.
    pub message: MessageId,
    /// Whether it is of the agent's thoughts, which are no part of its answer.
    pub thought: bool,
    /// How many characters (Unicode scalar values) of its kind the message had before.
    pub offset: u64,
    /// What is added.
    pub text: String,
}

/// Where deltas go.
pub(crate) struct Live(broadcast::Sender<Delta>);

impl Default for Live {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.0.receiver_count()).finish()
    }
}

impl Live {
    pub fn tell(&self, delta: Delta) {
        // Nobody may be watching.
        let _ = self.0.send(delta);
    }

    pub fn listen(&self) -> broadcast::Receiver<Delta> {
        self.0.subscribe()
    }
}
