//! The desk's own tables, in the same file as segue's, by the desk's own connection.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use segue::{
    ChatSpec, NewTask,
    backend::sqlite::enqueue_in,
    id::{ChatId, TaskId},
};

use crate::Outcome;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS desk_tabs (
    name   TEXT PRIMARY KEY,
    chat   TEXT NOT NULL UNIQUE,
    agent  TEXT NOT NULL,
    folder TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS desk_prompts (
    task TEXT PRIMARY KEY,
    tab  TEXT NOT NULL REFERENCES desk_tabs (name)
) STRICT;
";

/// A tab: a chat with an agent.
#[derive(Debug)]
pub struct Tab {
    pub name: String,
    pub chat: ChatId,
    pub agent: String,
    pub folder: String,
}

impl Tab {
    /// What segue is to know of its chat. To say it again changes nothing.
    pub fn spec(&self) -> ChatSpec {
        ChatSpec { title: self.name.clone(), ..ChatSpec::default() }
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let chat: String = row.get("chat")?;
        let chat = chat.parse().map_err(|_| rusqlite::Error::InvalidQuery)?;
        let (name, agent, folder) = (row.get("name")?, row.get("agent")?, row.get("folder")?);
        Ok(Self { name, chat, agent, folder })
    }
}

/// The tables.
pub struct Store(Connection);

impl Store {
    /// Opens the file, which segue has made. Writers wait for each other; segue's are short, and so
    /// should the host's be.
    pub fn open(file: &Path) -> Outcome<Self> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute_batch(TABLES)?;
        Ok(Self(connection))
    }

    /// Opens a tab, or gives one that is open another agent and folder.
    pub fn put(&self, name: &str, agent: &str, folder: &Path) -> Outcome<Tab> {
        let folder = folder.to_str().ok_or("the folder's name is no text")?;
        self.0.execute(
            "INSERT INTO desk_tabs (name, chat, agent, folder) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET agent = excluded.agent, folder = excluded.folder",
            params![name, ChatId::new().to_string(), agent, folder],
        )?;
        self.tab(name)
    }

    pub fn tab(&self, name: &str) -> Outcome<Tab> {
        let found = self.0.query_row("SELECT * FROM desk_tabs WHERE name = ?1", [name], Tab::of);
        Ok(found.optional()?.ok_or_else(|| format!("there is no tab `{name}`"))?)
    }

    pub fn tabs(&self) -> Outcome<Vec<Tab>> {
        let mut query = self.0.prepare("SELECT * FROM desk_tabs ORDER BY name")?;
        let tabs = query.query_map([], Tab::of)?;
        Ok(tabs.collect::<Result<_, _>>()?)
    }

    /// The tab that a task was made for.
    pub fn tab_of(&self, task: TaskId) -> Outcome<Option<String>> {
        let query = "SELECT tab FROM desk_prompts WHERE task = ?1";
        Ok(self.0.query_row(query, [task.to_string()], |row| row.get(0)).optional()?)
    }

    /// Says something to the agent of a tab. The desk's row and the task are there both, or neither
    /// is.
    pub fn say(&mut self, tab: &Tab, text: &str) -> Outcome<TaskId> {
        let task = NewTask::agent(&tab.agent, text).chat(tab.chat).folder(&tab.folder);
        let spec = task.into_spec()?;
        let id = spec.id;
        let own = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        own.execute(
            "INSERT INTO desk_prompts (task, tab) VALUES (?1, ?2)",
            [id.to_string(), tab.name.clone()],
        )?;
        enqueue_in(&own, spec)?;
        own.commit()?;
        Ok(id)
    }
}
