//! What an agent is given.

use std::path::PathBuf;
#[cfg(all(feature = "programs", target_os = "linux"))]
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

#[cfg(all(feature = "programs", target_os = "linux"))]
use super::process::Custody;
use super::{Block, warm::Room, words};
use crate::{
    id::ChatId,
    model::{Access, Message, Payload, Resume, TaskSpec},
};

/// What an agent is given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Turn {
    /// What to do, in words.
    pub prompt: String,
    /// What to do, in blocks. What the agent is told about what it has missed comes first.
    pub content: Vec<Block>,
    /// What was said in the chat before, oldest first, without the prompt.
    pub history: Vec<Message>,
    /// The chat that it speaks in.
    pub chat: ChatId,
    /// The task: its project, labels and so on.
    pub task: TaskSpec,
    /// The model to use, where the task or its run names one.
    pub model: Option<String>,
    /// The mode of the agent's session, where the task names one.
    pub mode: Option<String>,
    /// How much it is to think, where the task says so.
    pub thinking: Option<String>,
    /// Whether files may be changed.
    pub access: Access,
    /// The folder to work in: absolute.
    pub folder: PathBuf,
    /// Whether a session of the agent is to be continued.
    pub resume: Resume,
    /// The JSON schema that the answer must satisfy, where it must.
    pub schema: Option<Payload>,
    /// Fires when the turn is to stop.
    pub stop: CancellationToken,
    /// The room for programs that are kept warm, which all agents of an engine share. None: the agent
    /// has its own.
    pub room: Option<Room>,
    /// Who answers for the programs that are started.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    pub custody: Option<Arc<dyn Custody>>,
}

impl Turn {
    /// A turn that does what `content` says, in the current folder, with nothing else set.
    pub fn new(chat: ChatId, task: TaskSpec, content: Vec<Block>) -> Self {
        Self {
            prompt: words(&content),
            content,
            history: Vec::new(),
            chat,
            model: task.model.clone(),
            mode: task.mode.clone(),
            thinking: task.thinking.clone(),
            access: task.options.access,
            schema: task.options.schema.clone(),
            task,
            folder: std::env::current_dir().unwrap_or_default(),
            resume: Resume::Fresh,
            stop: CancellationToken::new(),
            room: None,
            #[cfg(all(feature = "programs", target_os = "linux"))]
            custody: None,
        }
    }

    /// The content, and the schema of the answer in words: for an agent that has no other way to be
    /// told of it.
    pub fn content_with_schema(&self) -> Vec<Block> {
        let asked = self.schema.as_ref().map(|schema| {
            Block::text(format!(
                "Answer with nothing but JSON that satisfies this JSON schema:\n{schema}"
            ))
        });
        self.content.iter().cloned().chain(asked).collect()
    }
}
