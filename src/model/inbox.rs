//! What waits for a person.

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::{
    clock::Timestamp,
    id::{ItemId, TaskId},
};

/// Why a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// An agent wants to do something that needs leave.
    Permission,
    /// A handler asks something.
    Question,
    /// A task failed.
    Failure,
    /// A budget is used up.
    Budget,
    /// Two changes do not fit together.
    Conflict,
    /// Something is to be looked at.
    Review,
    /// A worker died in a task that must not run twice unasked.
    Interrupted,
}

impl ItemKind {
    /// Its name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Question => "question",
            Self::Failure => "failure",
            Self::Budget => "budget",
            Self::Conflict => "conflict",
            Self::Review => "review",
            Self::Interrupted => "interrupted",
        }
    }

    /// The kind with this name, for backends.
    pub fn from_name(name: &str) -> Option<Self> {
        use ItemKind::*;
        [Permission, Question, Failure, Budget, Conflict, Review, Interrupted]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ItemState {
    /// It waits.
    Open = 0,
    /// Someone answered.
    Answered = 1,
    /// Nobody needs the answer any more.
    Withdrawn = 2,
    /// Someone answered, and the work that asked went on with the answer.
    Used = 3,
}

impl ItemState {
    /// The state with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Open, Self::Answered, Self::Withdrawn, Self::Used]
            .get(usize::try_from(number).ok()?)
            .copied()
    }
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The item's id.
    pub id: ItemId,
    /// Why.
    pub kind: ItemKind,
    /// The asker's own name for the question: when the task runs again it finds the answer
    /// under this key.
    pub key: String,
    /// What is asked, in words or as the host's own JSON.
    pub body: Payload,
    /// The answers to choose from; empty: any.
    pub options: Vec<String>,
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The answer: one of the options where there are some.
    pub value: Payload,
    /// Who gave it.
    pub by: String,
}

/// A row of the inbox: what is asked, answered once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// The task it belongs to.
    pub task: TaskId,
    /// The lease of the attempt that asked.
    pub lease: i64,
    /// Why.
    pub kind: ItemKind,
    /// The asker's name for it.
    pub key: String,
    /// What is asked.
    pub body: Payload,
    /// The answers to choose from.
    pub options: Vec<String>,
    /// Where it stands.
    pub state: ItemState,
    /// The answer.
    pub answer: Option<Answer>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it was answered or withdrawn.
    pub answered_at: Timestamp,
}
