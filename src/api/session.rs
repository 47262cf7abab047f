//! Sessions.

use std::sync::Arc;

use super::chat::project_or_default;
use crate::{
    clock::Timestamp,
    engine::Core,
    error::Result,
    id::SessionId,
    model::{self, Command, Needs, Payload},
};

/// What a session is.
#[derive(Clone, Debug, Default)]
pub struct SessionSpec {
    /// The host's project; empty: `default`, as everywhere.
    pub project: String,
    /// Its title.
    pub title: String,
    /// The host's own data, up to 4 KiB of JSON.
    pub meta: Option<serde_json::Value>,
    /// When it was made, for one of the host's own past.
    pub created_at: Option<Timestamp>,
}

impl SessionSpec {
    pub(super) fn into_row(self, id: SessionId) -> Result<model::Session> {
        Ok(model::Session {
            id,
            project: project_or_default(self.project),
            title: self.title,
            meta: self.meta.as_ref().map(Payload::of).transpose()?,
            created_at: self.created_at.unwrap_or_default(),
        })
    }
}

/// A session. The [chats](super::Engine::chats) of it are listed by its id.
#[derive(Clone, Debug)]
pub struct Session {
    core: Arc<Core>,
    id: SessionId,
}

impl Session {
    pub(super) fn new(core: Arc<Core>, id: SessionId) -> Self {
        Self { core, id }
    }

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its project, title and meta.
    ///
    /// # Errors
    /// [Not found](crate::Error::is_not_found) when there is no such session.
    pub async fn view(&self) -> Result<model::Session> {
        let needs = Needs { sessions: [self.id].into(), ..Needs::default() };
        let found = self.core.backend.read(&needs).await?.sessions.remove(&self.id);
        found.ok_or_else(|| Core::missing("session", self.id))
    }

    /// Deletes it. Its chats and tasks stay, and belong to no session. Nothing happens where it
    /// is gone already.
    ///
    /// # Errors
    /// When the database is away for too long.
    pub async fn delete(&self) -> Result<()> {
        self.core.submit(Command::DeleteSession(self.id)).await.map(drop)
    }
}
