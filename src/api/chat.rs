//! Chats and their messages.

use std::sync::Arc;

use serde::Serialize;

use super::watch::Watch;
use crate::{
    clock::Timestamp,
    engine::Core,
    error::{Error, Result},
    id::{ChatId, MessageId, SessionId},
    model::{self, Command, Message, Needs, NewMessage, Page, Payload, Query, Role, Stream},
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

    /// Follows what is said.
    pub fn watch(&self) -> Watch {
        Watch::new(Arc::clone(&self.core), Stream::Chat(self.id))
    }

    /// Deletes it with its messages. Its tasks stay.
    ///
    /// # Errors
    /// When the database is away for too long.
    pub async fn delete(&self) -> Result<()> {
        self.core.submit(Command::DeleteChat(self.id)).await.map(drop)
    }
}
