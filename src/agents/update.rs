//! What an agent tells while it works.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{failure::Failure, model::UsageReport};

/// One thing that an agent tells in the course of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Update {
    /// More of its answer. Texts with another `message` are another message.
    Text {
        /// The agent's own name for the message, where it has one.
        message: Option<String>,
        /// What is added.
        text: String,
    },
    /// More of its thoughts.
    Thought {
        /// What is added.
        text: String,
    },
    /// A tool is called, or a call that was told before has gone on.
    Tool(ToolCall),
    /// What it plans to do, as a whole.
    Plan {
        /// The entries, in order.
        entries: Vec<PlanEntry>,
    },
    /// What it used.
    Usage(UsageReport),
    /// The commands that its session has now, as a whole.
    Commands {
        /// The commands.
        commands: Vec<CommandInfo>,
    },
    /// Its session is in this mode now.
    Mode {
        /// The mode's id.
        mode: String,
    },
    /// It waits before it asks its provider again.
    Retrying {
        /// Why.
        reason: String,
    },
    /// What it knew is gone in part: it summarised what was said before.
    Compacted,
    /// Something that belongs to the protocol and that this version does not know.
    Unknown {
        /// The name of the event.
        event: String,
    },
}

/// A call of a tool, by the agent's own id for it. What is `None` or empty is as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolCall {
    /// The agent's id of the call.
    pub id: String,
    /// The tool, or what it does in words.
    pub title: Option<String>,
    /// What kind of tool.
    pub kind: Option<ToolKind>,
    /// Where the call stands.
    pub status: Option<ToolStatus>,
    /// The files that it is about.
    pub locations: Vec<Location>,
    /// What it was called with.
    pub input: Option<Value>,
    /// What it answered, in words.
    pub output: Option<String>,
    /// What it changes in files, where it says so.
    pub diffs: Vec<Diff>,
    /// It was not allowed: by the user, by a rule, or by the system.
    pub denied: bool,
}

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The file.
    pub path: PathBuf,
    /// What it said, or the part of it that is changed; None where it was not there.
    pub before: Option<String>,
    /// What it says then.
    pub after: String,
}

/// What a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// Reads files.
    Read,
    /// Changes files.
    Edit,
    /// Removes files.
    Delete,
    /// Moves files.
    Move,
    /// Searches.
    Search,
    /// Runs a command.
    Execute,
    /// Thinks.
    Think,
    /// Fetches something from a network.
    Fetch,
    /// Changes the session's mode.
    SwitchMode,
    /// Something else.
    Other,
}

impl ToolKind {
    /// Whether changing files is what it is for.
    pub const fn changes_files(self) -> bool {
        matches!(self, Self::Edit | Self::Delete | Self::Move)
    }

    /// Whether it may change something.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::Search | Self::Think | Self::Fetch)
    }
}

/// Where a tool's call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It has not begun.
    Pending,
    /// It is at work.
    Running,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: Option<u32>,
}

/// One entry of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// What is to be done.
    pub text: String,
    /// Where it stands.
    pub status: ToolStatus,
}

/// A command that an agent's session offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Its name, without a slash.
    pub name: String,
    /// What it does.
    pub description: String,
}

/// What an agent asks leave for, or wants to know, before it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What it wants to do; for a question, a call without a tool.
    pub call: ToolCall,
    /// The question in words.
    pub question: String,
    /// What may be answered.
    pub options: Vec<Choice>,
}

/// One of the answers to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The agent's id of it.
    pub id: String,
    /// As people see it.
    pub name: String,
    /// What it means.
    pub kind: ChoiceKind,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceKind {
    /// This once.
    AllowOnce,
    /// From now on, whatever comes. It is never chosen by the engine.
    AllowAlways,
    /// Not this once.
    RejectOnce,
    /// Never.
    RejectAlways,
    /// An answer to a question.
    Answer,
}

/// How a [`Request`] was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The option with this id.
    Chosen(String),
    /// Nobody answers: the turn ends.
    Cancelled,
}

/// Who hears what an agent tells in a turn, and answers it.
#[async_trait]
pub trait Listener: Send + Sync {
    /// Takes an update. What it says is seen at once and durable soon.
    async fn tell(&self, update: Update);

    /// Notes the agent's own id of the session of this turn. It is durable when this returns: an
    /// agent that chooses its id before the first prompt waits for it.
    ///
    /// # Errors
    /// When it can't be written, or the turn is not this worker's any more. Then nothing is prompted.
    async fn session(&self, id: &str) -> Result<(), Failure>;

    /// Says that the prompt is handed to the agent now. It is durable when this returns: from here on
    /// an interruption has an unknown effect.
    ///
    /// # Errors
    /// As of [`session`](Self::session).
    async fn prompting(&self) -> Result<(), Failure>;

    /// Asks a person, and waits for the answer.
    async fn ask(&self, request: Request) -> Answer;
}
