//! What people and user interfaces ask for.

use serde::Serialize;

use super::{
    Account, AgentSession, Attempt, AvailableAgent, Booking, CapacityKey, Chat, Instance, Item,
    ItemState, Message, Part, Phase, Process, Run, RunSpec, RunState, Session, Spent, Task,
    TaskSpec, TaskState, Turn,
};
use crate::{
    clock::Timestamp,
    id::{
        AgentSessionId, ArenaId, ChatId, ItemId, MessageId, ProcessId, RunId, SessionId, TaskId,
        TurnId,
    },
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

/// Which items of the inbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemFilter {
    /// Of tasks of this project.
    pub project: Option<String>,
    /// Of this task.
    pub task: Option<TaskId>,
    /// In one of these states; empty: any.
    pub states: Vec<ItemState>,
}

impl ItemFilter {
    /// Those that wait for a person.
    pub fn open() -> Self {
        Self { states: vec![ItemState::Open], ..Self::default() }
    }

    /// Whether only items that wait are asked for. They come in the order in which they were
    /// asked; every other list of items is a history, the newest first.
    pub fn is_open(&self) -> bool {
        !self.states.is_empty() && self.states.iter().all(|state| *state == ItemState::Open)
    }
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
    /// Items of the inbox: the [open](ItemFilter::is_open) ones oldest first.
    Inbox {
        /// Which.
        filter: ItemFilter,
        /// After this one.
        after: Option<ItemId>,
        /// How many at most.
        limit: u32,
    },
    /// Capacity keys that were given a limit or parked, by name, in the order of their bytes.
    Capacity {
        /// This one only.
        key: Option<String>,
        /// After this one.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// Messages of a chat, oldest first, with the parts that they were written in.
    Messages {
        /// The chat.
        chat: ChatId,
        /// After this place.
        after: i64,
        /// How many at most.
        limit: u32,
    },
    /// Parts of a message, in order.
    Parts {
        /// The message.
        message: MessageId,
        /// From this one on.
        from: u32,
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
    /// Sessions of agents in a chat, of all generations. What the chat has used is the sum of
    /// theirs.
    AgentSessions {
        /// The chat.
        chat: ChatId,
        /// After this one.
        after: Option<AgentSessionId>,
        /// How many at most.
        limit: u32,
    },
    /// Turns of agents in a chat.
    Turns {
        /// The chat.
        chat: ChatId,
        /// After this one.
        after: Option<TurnId>,
        /// How many at most.
        limit: u32,
    },
    /// Rows of the ledger, by agent's session and number: in the order in which they were booked
    /// for each session.
    Ledger {
        /// Of what.
        of: Account,
        /// After this one.
        after: Option<(AgentSessionId, u32)>,
        /// How many at most.
        limit: u32,
    },
    /// Programs that were started on a host by engines that are gone: whose instance is not
    /// registered any more.
    Orphans {
        /// The host.
        host: String,
        /// After this one.
        after: Option<ProcessId>,
        /// How many at most.
        limit: u32,
    },
    /// Agents of a host, by name, in the order of their bytes.
    Agents {
        /// The host.
        host: String,
        /// After this one.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// The sum of an account; one page.
    Spent {
        /// Of what.
        of: Account,
    },
    /// Counts for one project; one page.
    Stats {
        /// The project.
        project: String,
    },
    /// Sizes; one page. It reads no table.
    Disk,
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

/// A capacity key and what it holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CapacityView {
    /// Its limit, and until when it is parked.
    pub key: CapacityKey,
    /// Running tasks that hold it: more than its limit after that was lowered. Who holds a key
    /// without a limit is not recorded.
    pub held: u64,
    /// Ready tasks that carry it, whatever else they wait for.
    pub waiting: u64,
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
    /// Parts of a message.
    Parts(Vec<Part>),
    /// Sessions.
    Sessions(Vec<Session>),
    /// Chats.
    Chats(Vec<Chat>),
    /// Instances.
    Instances(Vec<Instance>),
    /// Sessions of agents.
    AgentSessions(Vec<AgentSession>),
    /// Turns.
    Turns(Vec<Turn>),
    /// Rows of the ledger.
    Ledger(Vec<Booking>),
    /// Programs.
    Orphans(Vec<Process>),
    /// Agents of a host.
    Agents(Vec<AvailableAgent>),
    /// The sum of an account.
    Spent(Spent),
    /// Capacity keys.
    Capacity(Vec<CapacityView>),
    /// Counts.
    Stats(Stats),
    /// Sizes.
    Disk(Disk),
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
}

impl Stats {
    /// Adds tasks that are stored in the phase with this number, for backends.
    pub fn add_tasks(&mut self, phase: i64, count: u64) {
        let state = Phase::from_number(phase).map_or(TaskState::Pending, Phase::state);
        if count > 0 {
            *self.tasks.entry(state).or_default() += count;
        }
    }

    /// Adds runs that are stored in the state with this number, for backends.
    pub fn add_runs(&mut self, state: i64, count: u64) {
        self.runs.extend(RunState::from_number(state).map(|state| (state, count)));
    }
}

/// How large the database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The database: the whole file on SQLite, with what the host keeps in it; segue's tables
    /// and their indexes on PostgreSQL.
    pub database_bytes: u64,
    /// How much of it is in use; the rest is free, and taken again before it grows. None where
    /// that can't be told without reading the tables: on PostgreSQL.
    pub used_bytes: Option<u64>,
    /// The file of its log, which holds what is not yet in the database proper: SQLite's WAL.
    /// 0 on PostgreSQL, whose log belongs to the server.
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
