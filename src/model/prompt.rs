//! Prompts: what is said to an agent in a chat, from when it is sent until it is answered.
//!
//! The prompts of one agent in one chat make a *line*: they are taken one at a time, by place.

use serde::{Deserialize, Serialize};

use super::{TaskFlags, TaskSpec};
use crate::id::{ChatId, RunId, TaskId};

/// Whose line it is: an agent's in a chat.
pub type LineId = (ChatId, String);

/// A prompt that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The task that takes the turn.
    pub task: TaskId,
    /// The chat.
    pub chat: ChatId,
    /// The agent.
    pub agent: String,
    /// Its place in line, smaller first. None: it is not in line, because its time has not come
    /// or someone paused it.
    pub place: Option<i64>,
}

impl Prompt {
    /// The line that it belongs to.
    pub fn line(&self) -> LineId {
        (self.chat, self.agent.clone())
    }

    /// Whether it belongs to a line.
    pub fn is_of(&self, line: &LineId) -> bool {
        (self.chat, &self.agent) == (line.0, &line.1)
    }
}

/// Where a task belongs: what never changes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The run and step that it is the task of.
    pub step: Option<(RunId, u32)>,
    /// The line that it stands in as long as it has not ended, where it is a prompt.
    pub line: Option<LineId>,
}

impl Route {
    /// Of a task with these columns, for backends.
    pub fn of(
        id: TaskId,
        step: Option<(RunId, u32)>,
        flags: TaskFlags,
        (chat, agent): (Option<ChatId>, Option<String>),
    ) -> Self {
        let agent = agent.filter(|_| flags.has(TaskFlags::PROMPT));
        Self { step, line: agent.map(|agent| (chat.unwrap_or(ChatId::of_task(id)), agent)) }
    }
}

impl TaskSpec {
    /// The line of a prompt: of a task for an agent that is no step. The chat of one that was
    /// made outside any chat is its own.
    pub fn line(&self) -> Option<LineId> {
        let is_prompt = self.kind == "agent" && self.step.is_none();
        let chat = self.chat.unwrap_or(ChatId::of_task(self.id));
        self.agent.clone().filter(|_| is_prompt).map(|agent| (chat, agent))
    }
}
