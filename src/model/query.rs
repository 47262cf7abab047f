//! What people and user interfaces ask for.

use serde::Serialize;

use super::{
    Attempt, Chat, Instance, Item, Message, Run, RunSpec, RunState, Session, Task, TaskSpec,
    TaskState,
};
use crate::{
    clock::Timestamp,
    id::{ArenaId, ChatId, RunId, SessionId, TaskId},
};

/// Which tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    /// Of this project.
    pub project: Option<String>,
    /// In one of these states; empty: any.
    pub states: Vec<TaskState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Children of this task.
    pub parent: Option<TaskId>,
    /// Of this arena.
    pub arena: Option<ArenaId>,
    /// Of this chat.
    pub chat: Option<ChatId>,
    /// Steps of this run.
    pub run: Option<RunId>,
    /// With this label.
    pub label: Option<(String, String)>,
}

/// Which runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    /// Of this project.
    pub project: Option<String>,
    /// In one of these states; empty: any.
    pub states: Vec<RunState>,
    /// Of the flow with this name, of any version.
    pub flow: Option<String>,
}

/// A list, newest first unless it says otherwise, a page at a time. `after` is the last id
/// of the page before.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Tasks.
    Tasks {
        /// Which.
        filter: TaskFilter,
        /// After this one.
        after: Option<TaskId>,
        /// How many at most.
        limit: u32,
    },
    /// Runs.
    Runs {
        /// Which.
        filter: RunFilter,
        /// After this one.
        after: Option<RunId>,
        /// How many at most.
        limit: u32,
    },
    /// Open items of the inbox, oldest first.
    Inbox {
        /// Of this project.
        project: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// Messages of a chat, oldest first.
    Messages {
        /// The chat.
        chat: ChatId,
        /// After this place.
        after: i64,
        /// How many at most.
        limit: u32,
    },
    /// Sessions.
    Sessions {
        /// Of this project.
        project: Option<String>,
        /// After this one.
        after: Option<SessionId>,
        /// How many at most.
        limit: u32,
    },
    /// Chats.
    Chats {
        /// Of this project.
        project: Option<String>,
        /// Of this session.
        session: Option<SessionId>,
        /// After this one.
        after: Option<ChatId>,
        /// How many at most.
        limit: u32,
    },
    /// Instances.
    Instances,
}

/// A task with its last attempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskView {
    /// Where it stands. None: another program inserted it and no engine has seen it yet.
    pub task: Option<Task>,
    /// What was asked for.
    pub spec: TaskSpec,
    /// Its last finished attempt.
    pub attempt: Option<Attempt>,
}

impl TaskView {
    /// Its state.
    pub fn state(&self) -> TaskState {
        self.task.as_ref().map_or(TaskState::Pending, Task::state)
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunView {
    /// Where it stands.
    pub run: Run,
    /// What it was launched with.
    pub spec: RunSpec,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// Tasks.
    Tasks(Vec<TaskView>),
    /// Runs.
    Runs(Vec<RunView>),
    /// Items.
    Inbox(Vec<Item>),
    /// Messages.
    Messages(Vec<Message>),
    /// Sessions.
    Sessions(Vec<Session>),
    /// Chats.
    Chats(Vec<Chat>),
    /// Instances.
    Instances(Vec<Instance>),
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Tasks by state. Foreign rows that no engine has seen count as pending.
    pub tasks: std::collections::BTreeMap<TaskState, u64>,
    /// Runs by state.
    pub runs: std::collections::BTreeMap<RunState, u64>,
    /// Open items of the inbox.
    pub inbox: u64,
    /// Bytes of the database.
    pub disk_bytes: u64,
    /// Bytes of its log that are not yet in the database proper (SQLite's WAL).
    pub wal_bytes: u64,
}

/// What to remove: only what ended before a time, and only whole runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Finished tasks that are not steps, with their attempts and items.
    pub tasks_before: Timestamp,
    /// Finished runs, with their steps, tasks and entries.
    pub runs_before: Timestamp,
    /// Entries for watchers, except those of runs that have not ended.
    pub entries_before: Timestamp,
    /// How many of each to remove at most.
    pub limit: u32,
}

/// What pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Tasks removed.
    pub tasks: u64,
    /// Runs removed.
    pub runs: u64,
    /// Entries removed.
    pub entries: u64,
}
