//! Chats and their messages.

use std::sync::Arc;

use serde::Serialize;

use super::{
    NewTask,
    past::{self, At, History},
    prompt::{self, Live, SendPrompt},
    watch::Watch,
};
use crate::{
    clock::Timestamp,
    engine::Core,
    error::{Error, Result},
    id::{ChatId, MessageId, SessionId},
    model::{
        self, AgentSession, Command, Message, Needs, NewMessage, Page, Payload, Prompt, Query,
        Role, Stream, Turn,
    },
};

/// What a chat is.
#[derive(Clone, Debug, Default)]
pub struct ChatSpec {
    /// The host's project; empty: `default`, as everywhere.
    pub project: String,
    /// The session it is a tab of.
    pub session: Option<SessionId>,
    /// Its title.
    pub title: String,
    /// The host's own data, up to 4 KiB of JSON.
    pub meta: Option<serde_json::Value>,
    /// When it was made, for one of the host's own past.
    pub created_at: Option<Timestamp>,
}

impl ChatSpec {
    pub(super) fn into_row(self, id: ChatId) -> Result<model::Chat> {
        Ok(model::Chat {
            id,
            project: project_or_default(self.project),
            session: self.session,
            title: self.title,
            meta: self.meta.as_ref().map(Payload::of).transpose()?,
            next_seq: 1,
            created_at: self.created_at.unwrap_or_default(),
            forked_from: None,
        })
    }
}

pub(super) fn project_or_default(project: String) -> String {
    if project.is_empty() { "default".to_owned() } else { project }
}

/// A chat.
#[derive(Clone, Debug)]
pub struct Chat {
    core: Arc<Core>,
    id: ChatId,
}

impl Chat {
    pub(crate) fn new(core: Arc<Core>, id: ChatId) -> Self {
        Self { core, id }
    }

    /// Its id.
    pub fn id(&self) -> ChatId {
        self.id
    }

    /// Its session, title and meta.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such chat.
    pub async fn view(&self) -> Result<model::Chat> {
        let needs = Needs { chats: [self.id].into(), ..Needs::default() };
        let found = self.core.backend.read(&needs).await?.chats.remove(&self.id);
        found.ok_or_else(|| Core::missing("chat", self.id))
    }

    /// Appends a message: a string, or content blocks. Returns its id.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such chat.
    pub async fn append<T: Serialize + ?Sized>(
        &self,
        role: Role,
        content: &T,
    ) -> Result<MessageId> {
        let id = MessageId::new();
        let message = NewMessage { id, role, content: Payload::of(content)?, task: None };
        self.append_all(vec![message]).await?;
        Ok(id)
    }

    /// Appends messages with the host's ids, each once, in one commit.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such chat.
    pub async fn append_all(&self, messages: Vec<NewMessage>) -> Result<()> {
        self.core.submit(Command::Append { chat: self.id, messages }).await.map(drop)
    }

    /// Messages, oldest first, a page at a time: `after` is the last
    /// [`seq`](Message::seq) of the page before, 0 for the first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn history(&self, after: i64, limit: u32) -> Result<Vec<Message>> {
        let query = Query::Messages { chat: self.id, after, limit };
        match self.core.backend.list(&query).await? {
            Page::Messages(messages) => Ok(messages),
            _ => Err(Error::database("a list of messages was answered with another")),
        }
    }

    /// Says something to an agent: a string, or content blocks. The agent's turn is a task, and what
    /// it answers is appended here. An agent takes the prompts of a chat one at a time, in the order in
    /// which they were sent, whatever their priority; one with a time of its own is in line from then
    /// on.
    pub fn send<T: Serialize + ?Sized>(&self, agent: impl Into<String>, content: &T) -> SendPrompt {
        let agent = agent.into();
        let task = NewTask::new("agent", content).with(|spec| spec.agent = Some(agent));
        SendPrompt::new(Arc::clone(&self.core), self.id, task)
    }

    /// What was sent and is not answered yet. Each agent takes what is in line here one at a time,
    /// by [place](Prompt::place); prompts that are paused or for later are not in line and come
    /// last. To withdraw one, cancel its task.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn queue(&self) -> Result<Vec<Prompt>> {
        prompt::queue(&self.core, self.id).await
    }

    /// What agents say here while they say it, as far as they are at work in this process.
    pub fn live(&self) -> Live {
        Live::new(&self.core, Some(self.id))
    }

    /// The turns that agents have taken here, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn turns(&self) -> Result<Vec<Turn>> {
        prompt::turns(&self.core, self.id).await
    }

    /// The sessions that agents have or had of this chat, of all generations, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn agent_sessions(&self) -> Result<Vec<AgentSession>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = Query::AgentSessions { chat: self.id, after, limit: 500 };
            let Page::AgentSessions(page) = self.core.backend.list(&query).await? else {
                return Err(Error::database(
                    "a list of agents' sessions was answered with another",
                ));
            };
            match page.last() {
                Some(last) => after = Some(last.id),
                None => return Ok(all),
            }
            all.extend(page);
        }
    }

    /// Follows what is said.
    pub fn watch(&self) -> Watch {
        Watch::new(Arc::clone(&self.core), Stream::Chat(self.id))
    }

    /// Takes in what was said here before the chat was segue's, and the sessions that agents have of
    /// it: the next prompt to such an agent goes on in its session. What was taken in before is not
    /// taken in again. A long history takes several commits, the sessions come with the last; when
    /// it breaks off, import it again.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such chat; a refusal for a message that is too
    /// long, or a session without a name.
    pub async fn import(&self, history: History) -> Result<()> {
        past::import(&self.core, self.id, history).await
    }

    /// Makes a new chat, with an id of the host's, that begins like this one: with copies of its
    /// messages up to a message or a [`seq`](Message::seq), which keep their times. Agents know of
    /// them what they are told in their first turn. A long chat takes several commits; when it breaks
    /// off, fork it again with the same id.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such chat or message; a refusal when there
    /// is another chat with this id.
    pub async fn fork_at(&self, at: impl Into<At>, id: ChatId) -> Result<Self> {
        past::fork(&self.core, self, at.into(), id).await?;
        Ok(Self::new(Arc::clone(&self.core), id))
    }

    /// Deletes it with its messages, and cancels what was sent here and is not answered yet. Its
    /// tasks stay.
    ///
    /// # Errors
    /// When the database is away for too long.
    pub async fn delete(&self) -> Result<()> {
        self.core.submit(Command::DeleteChat(self.id)).await.map(drop)
    }
}
