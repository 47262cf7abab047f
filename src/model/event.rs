//! What watchers are told.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{RetryRun, Role, RunState, StepState, TurnState};
use crate::{
    clock::Timestamp,
    id::{ChatId, ItemId, MessageId, RunId, TaskId, TurnId},
};

/// A sequence of entries that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// All runs and chats together.
    All,
    /// One run.
    Run(RunId),
    /// One chat.
    Chat(ChatId),
}

/// A place in a stream. Keep it, as text or JSON, to go on from there later, also in another
/// process. Cursors of different streams or databases are not comparable.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Cursor {
    /// The more significant part.
    pub major: i64,
    /// The less significant part.
    pub minor: i64,
}

impl Cursor {
    /// Before the first entry.
    pub const START: Self = Self { major: 0, minor: 0 };
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self { major: major.parse()?, minor: minor.parse()? })
    }
}

/// Everything that one commit did to one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The run or chat.
    pub stream: Stream,
    /// Its number in the stream of that run or chat: grows without gaps for a run.
    pub seq: i64,
    /// Where it stands in the stream it was read from: the cursor to continue after it.
    pub cursor: Cursor,
    /// When it was committed.
    pub at: Timestamp,
    /// What happened.
    pub events: Vec<Event>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run began.
    RunLaunched {
        /// The flow's name.
        flow: String,
        /// How many steps it has.
        steps: u32,
    },
    /// Someone paused the run.
    RunPaused,
    /// Someone resumed it.
    RunResumed,
    /// Someone asked to cancel it.
    RunCancelling,
    /// It had ended and is done again, or some of it.
    RunRetried {
        /// Which time this is.
        attempt: u32,
        /// What of it.
        how: RetryRun,
    },
    /// It ended.
    RunEnded {
        /// How.
        state: RunState,
    },
    /// A step's dependencies are met: its task is in the queue.
    StepReleased {
        /// The step's number.
        no: u32,
        /// Its name.
        name: String,
        /// Its task.
        task: TaskId,
    },
    /// A step's attempt failed and will be made again, or waits for an answer.
    StepWaits {
        /// The step's number.
        no: u32,
        /// Its name.
        name: String,
        /// For what.
        reason: String,
    },
    /// A step's work was done before: it takes what that returned.
    StepRecalled {
        /// The step's number.
        no: u32,
        /// Its name.
        name: String,
        /// The task that did it.
        from: TaskId,
    },
    /// A step ended.
    StepEnded {
        /// The step's number.
        no: u32,
        /// Its name.
        name: String,
        /// How.
        state: StepState,
        /// Why, where it did not complete.
        reason: Option<String>,
    },
    /// An agent asks a person, and waits.
    Asked {
        /// The item of the inbox.
        item: ItemId,
        /// The task.
        task: TaskId,
    },
    /// The chat begins like another one.
    ChatForked {
        /// The other one.
        from: ChatId,
        /// The last place in that of which it has a copy.
        seq: i64,
    },
    /// A message was appended to the chat.
    MessageAppended {
        /// The message.
        id: MessageId,
        /// Its place in the chat.
        seq: i64,
        /// Who speaks.
        role: Role,
    },
    /// A message that an agent is writing has grown.
    MessageGrew {
        /// The message.
        id: MessageId,
        /// Its place in the chat.
        seq: i64,
        /// The number of the first part that is new.
        no: u32,
        /// How much was said in it before, in characters (Unicode scalar values).
        offset: u64,
        /// How much was added to that.
        length: u64,
    },
    /// An agent begins its turn.
    TurnBegan {
        /// The turn.
        turn: TurnId,
        /// The agent.
        agent: String,
        /// Which of its sessions in this chat, counted from 1.
        generation: u32,
        /// The task that it is taken for.
        task: TaskId,
    },
    /// A turn ended.
    TurnEnded {
        /// The turn.
        turn: TurnId,
        /// The agent.
        agent: String,
        /// How.
        state: TurnState,
        /// Why, where it did not complete.
        reason: Option<String>,
    },
    /// An agent has a new session and knows nothing of what was said before.
    ContextLost {
        /// The agent.
        agent: String,
        /// The new session.
        generation: u32,
        /// Why the one before is not continued.
        reason: String,
    },
    /// An agent has a new session, and is told what was said before.
    ContextCarried {
        /// The agent.
        agent: String,
        /// The new session.
        generation: u32,
        /// Why the one before is not continued.
        reason: String,
    },
    /// An agent's session is continued that had broken off in the middle of a turn: what that turn
    /// did last is not known.
    ContextResumed {
        /// The agent.
        agent: String,
        /// The session.
        generation: u32,
    },
}
