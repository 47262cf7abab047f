//! Sessions, chats and their messages.

use serde::{Deserialize, Serialize};

use super::{Part, Payload};
use crate::{
    clock::Timestamp,
    id::{ChatId, MessageId, SessionId, TaskId},
};

/// A workspace conversation of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The host's project.
    pub project: String,
    /// Its title.
    pub title: String,
    /// The host's own data, up to 4 KiB.
    pub meta: Option<Payload>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A tab of a session: the unit of context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// Its id.
    pub id: ChatId,
    /// The host's project.
    pub project: String,
    /// The session it is a tab of.
    pub session: Option<SessionId>,
    /// Its title.
    pub title: String,
    /// The host's own data, up to 4 KiB.
    pub meta: Option<Payload>,
    /// The number of its next message or event.
    pub next_seq: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The chat that it began like, and up to which place of that.
    #[serde(default)]
    pub forked_from: Option<(ChatId, i64)>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person, or a flow in their place.
    User,
    /// The agent.
    Assistant,
    /// The engine.
    System,
}

impl Role {
    /// Its name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }

    /// The role with this name, for backends.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Assistant, Self::System].into_iter().find(|role| role.name() == name)
    }
}

/// A message to be appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewMessage {
    /// Its id. A second message with this id is not appended.
    pub id: MessageId,
    /// Who speaks.
    pub role: Role,
    /// What is said: a string, or content blocks.
    pub content: Payload,
    /// The task in which it was said.
    pub task: Option<TaskId>,
}

/// A message of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The chat.
    pub chat: ChatId,
    /// Its place in the chat: grows, without promise of density.
    pub seq: i64,
    /// Its id.
    pub id: MessageId,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Payload,
    /// The task in which it was said.
    pub task: Option<TaskId>,
    /// When it was appended.
    pub created_at: Timestamp,
    /// The parts that it was written in, where an agent wrote it while it spoke: its words are
    /// those of `content`. Only lists have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}
