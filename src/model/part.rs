//! Messages that are written while an agent speaks: they grow by parts, none of which is ever
//! written again.

use serde::{Deserialize, Serialize};

use super::{Message, Payload};
use crate::id::{ChatId, MessageId, TurnId};

/// What a part of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum PartKind {
    /// More of what is said.
    Text = 0,
    /// More of what is thought.
    Thought = 1,
    /// A call of a tool, or how it has gone on, as JSON.
    Tool = 2,
    /// What is planned, as a whole, as JSON.
    Plan = 3,
}

impl PartKind {
    /// The kind with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Text, Self::Thought, Self::Tool, Self::Plan]
            .get(usize::try_from(number).ok()?)
            .copied()
    }
}

/// A part to be appended to a message of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPart {
    /// The message. The first part of one makes it.
    pub message: MessageId,
    /// The part's number, from 0: a second part with this number is not appended.
    pub no: u32,
    /// What it is.
    pub kind: PartKind,
    /// The words, or JSON.
    pub body: String,
}

/// A wish to write down what an agent says in its turn. It is refused when the turn has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The turn.
    pub turn: TurnId,
    /// The chat of the turn.
    pub chat: ChatId,
    /// The parts, in order.
    pub parts: Vec<NewPart>,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The message.
    pub message: MessageId,
    /// Its number in the message, from 0.
    pub no: u32,
    /// What it is.
    pub kind: PartKind,
    /// How much was said in the message before it, in characters (Unicode scalar values).
    pub offset: u64,
    /// The words, or JSON.
    pub body: String,
}

impl Part {
    /// How much it adds to what is said, in characters.
    pub fn length(&self) -> u64 {
        match self.kind {
            PartKind::Text => self.body.chars().count() as u64,
            _ => 0,
        }
    }
}

impl Message {
    /// The message with the parts that it was written in: its content is what they say. One that
    /// was appended as a whole has none, and is as it is.
    #[must_use]
    pub fn with_parts(self, parts: Vec<Part>) -> Self {
        if parts.is_empty() {
            return self;
        }
        let said = parts.iter().filter(|part| part.kind == PartKind::Text);
        let said: String = said.map(|part| part.body.as_str()).collect();
        Self { content: Payload::text(&said), parts, ..self }
    }
}
