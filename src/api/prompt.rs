//! What is said to an agent in a chat, and what it says while it says it.

use std::{future::IntoFuture, pin::Pin, sync::Arc};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{NewTask, enqueue::make, task::Task};
use crate::{
    engine::{Core, Delta},
    error::{Error, Result},
    id::{ChatId, TaskId, TurnId},
    model::{Command, HandOff, Needs, Page, Prompt, Query, Turn},
};

/// What becomes of a prompt when the agent has others to answer in the chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenBusy {
    /// It is taken after those that were sent before.
    #[default]
    Queue,
    /// The agent is told to stop what it has begun, also where that waits for another attempt or
    /// for an answer, and takes this one next. The others stay in line behind it, in their order.
    Interrupt,
}

/// A prompt about to be sent: await it. The task that it returns is the agent's turn.
#[derive(Debug)]
#[must_use = "a prompt is sent when this is awaited"]
pub struct SendPrompt {
    core: Arc<Core>,
    chat: ChatId,
    task: NewTask,
    busy: WhenBusy,
}

impl SendPrompt {
    pub(super) fn new(core: Arc<Core>, chat: ChatId, task: NewTask) -> Self {
        Self { core, chat, task: task.chat(chat), busy: WhenBusy::default() }
    }

    /// What becomes of it when the agent is at work in this chat; it waits unless it is said.
    pub fn when_busy(self, busy: WhenBusy) -> Self {
        Self { busy, ..self }
    }

    /// The host's own id for it. A prompt that is sent again with the same id is not sent twice.
    pub fn id(self, id: TaskId) -> Self {
        Self { task: self.task.id(id), ..self }
    }

    /// The agent's model.
    pub fn model(self, model: impl Into<String>) -> Self {
        Self { task: self.task.model(model), ..self }
    }

    /// The folder that the agent works in: absolute.
    pub fn folder(self, folder: impl Into<String>) -> Self {
        Self { task: self.task.folder(folder), ..self }
    }

    /// The agent may only read.
    pub fn read_only(self) -> Self {
        Self { task: self.task.read_only(), ..self }
    }

    /// The JSON schema that the answer must satisfy: see [`NewTask::schema`].
    #[cfg(feature = "json-schema")]
    pub fn schema<S: serde::Serialize + ?Sized>(self, schema: &S) -> Self {
        Self { task: self.task.schema(schema), ..self }
    }

    /// What the agent is told of what was said here without it.
    pub fn hand_off(self, hand_off: HandOff) -> Self {
        Self { task: self.task.hand_off(hand_off), ..self }
    }

    /// Changes anything of the task that the turn is.
    pub fn with(self, change: impl FnOnce(NewTask) -> NewTask) -> Self {
        Self { task: change(self.task), ..self }
    }
}

impl IntoFuture for SendPrompt {
    type Output = Result<Task>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Task>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let needs = Needs { chats: [self.chat].into(), ..Needs::default() };
            let chat = self.core.backend.read(&needs).await?.chats.remove(&self.chat);
            let chat = chat.ok_or_else(|| Core::missing("chat", self.chat))?;
            let task = self.task.project(chat.project);
            let task = task.with(|spec| spec.session = spec.session.or(chat.session));
            let spec = task.into_spec_at(&self.core.backend.clock())?;
            let spec = Box::new(spec);
            let command = match self.busy {
                WhenBusy::Queue => Command::Enqueue(spec),
                WhenBusy::Interrupt => Command::Interject(spec),
            };
            make(&self.core, command).await
        })
    }
}

/// The prompts of a chat that have not ended, those in line first, in the order in which each agent
/// takes them.
pub(super) async fn queue(core: &Core, chat: ChatId) -> Result<Vec<Prompt>> {
    let needs = Needs { prompts_of: [chat].into(), ..Needs::default() };
    let found = core.backend.read(&needs).await?.prompts;
    let mut prompts: Vec<Prompt> = found.into_values().collect();
    prompts.sort_by_key(|prompt| (prompt.place.is_none(), prompt.place, prompt.task));
    Ok(prompts)
}

/// The turns of a chat, newest first.
pub(super) async fn turns(core: &Core, chat: ChatId) -> Result<Vec<Turn>> {
    let (mut all, mut after): (Vec<Turn>, Option<TurnId>) = (Vec::new(), None);
    loop {
        let query = Query::Turns { chat, after, limit: 500 };
        let Page::Turns(page) = core.backend.list(&query).await? else {
            return Err(Error::database("a list of turns was answered with another"));
        };
        match page.last() {
            Some(last) => after = Some(last.id),
            None => return Ok(all),
        }
        all.extend(page);
    }
}

/// What agents say, in a chat or in all, as they say it, in this process.
///
/// It is not durable yet, and nothing is told twice. To show a message from its start, begin to
/// listen, then read the [history](super::Chat::history), and leave out of each delta what the
/// history has already: a delta says how many characters came before it.
#[derive(Debug)]
pub struct Live {
    /// None: all.
    chat: Option<ChatId>,
    deltas: Receiver<Delta>,
}

/// What a [`Live`] has for its listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// More of a message.
    More(Delta),
    /// The listener was too slow, and missed so many deltas of all chats. The history has what
    /// they said, or will have soon.
    Missed(u64),
}

impl Live {
    pub(super) fn new(core: &Core, chat: Option<ChatId>) -> Self {
        Self { chat, deltas: core.listen() }
    }

    /// The next thing that is said; None when the engine has stopped.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.deltas.recv().await {
                Ok(delta) if self.chat.is_none_or(|chat| delta.chat == chat) => {
                    return Some(Heard::More(delta));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => return Some(Heard::Missed(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
