//! What is taken in that was said elsewhere: a chat of the host's own past, or the beginning of
//! another chat.

use serde::{Deserialize, Serialize};

use super::{Counters, Payload, Role, Transport};
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, MessageId, TaskId},
};

/// A message that was said before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastMessage {
    /// Its id. A second message with this id is not taken in.
    pub id: MessageId,
    /// Who spoke.
    pub role: Role,
    /// What was said: a string, or content blocks.
    pub content: Payload,
    /// The task in which it was said.
    pub task: Option<TaskId>,
    /// When it was said.
    pub created_at: Timestamp,
}

/// A session that an agent has of a chat of the host's own past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastSession {
    /// Its id here. Where the agent has a session in the chat already, this one is not taken in.
    pub id: AgentSessionId,
    /// The agent.
    pub agent: String,
    /// How the agent was spoken to.
    pub transport: Transport,
    /// What the agent calls the session: its next turn continues it.
    pub token: String,
    /// The host that has the session: elsewhere it is not continued.
    pub host: String,
    /// The folder that the session belongs to, absolute. In another one it is not continued. None:
    /// it is continued in any.
    pub worktree: Option<String>,
    /// The last message that the agent has read. None: it has read all that there are.
    pub seen: Option<MessageId>,
    /// Where its counters stand, of an agent that reports sums. What they have counted by then is not
    /// booked.
    pub counters: Counters,
    /// When its last turn ended.
    pub last_active_at: Timestamp,
}

/// What is taken in of a chat of the host's own past.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportChat {
    /// The chat, which exists.
    pub chat: ChatId,
    /// What was said, oldest first: appended, each once.
    pub messages: Vec<PastMessage>,
    /// The agents' sessions: one of each.
    pub sessions: Vec<PastSession>,
}

/// What is copied into a new chat of what was said in another.
#[derive(Clone, Debug, PartialEq)]
pub struct ForkChat {
    /// The new chat. It is of the same project and session as the other one, with the same title and
    /// meta.
    pub chat: ChatId,
    /// The chat that it begins like.
    pub from: ChatId,
    /// The last place in that chat of which it has a copy.
    pub seq: i64,
    /// Copies of what was said there, oldest first, with ids of their own: appended, each once.
    pub messages: Vec<PastMessage>,
}
