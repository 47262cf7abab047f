//! A task: its states, its rows, and the only moves between the states.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Lane, LaneId, Payload, Retry};
use crate::{
    clock::Timestamp,
    id::{ArenaId, ChatId, InstanceId, RunId, SessionId, TaskId},
};

/// The state of a task, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// It waits: for a worker, a time, a dependency, a pause to end.
    Pending,
    /// A worker has it.
    Running,
    /// It waits for a person's answer.
    Blocked,
    /// It ended well.
    Completed,
    /// It ended badly, and waits for a person to look at it.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// The only legal moves. Nothing else changes a task's state.
pub const TASK_MOVES: [(TaskState, &[TaskState]); 6] = {
    use TaskState::*;
    [
        (Pending, &[Running, Blocked, Failed, Cancelled]),
        (Running, &[Completed, Failed, Blocked, Cancelled, Pending]),
        (Blocked, &[Pending, Failed, Cancelled]),
        (Failed, &[Pending]),
        (Completed, &[]),
        (Cancelled, &[]),
    ]
};

impl TaskState {
    /// Whether a task may go from here to `to`.
    pub fn may_become(self, to: Self) -> bool {
        TASK_MOVES.iter().any(|(from, ends)| *from == self && ends.contains(&to))
    }

    /// Whether it has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A task's state as it is stored: `Pending` split by what it waits for, so that readiness
/// is never computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Phase {
    /// Pending: something else must end first.
    Waiting = 0,
    /// Pending: any worker of its lane may take it.
    Ready = 1,
    /// Pending: until `run_at`.
    Scheduled = 2,
    /// Pending: a person paused it, or its run.
    Paused = 3,
    /// A worker has it.
    Running = 4,
    /// It waits for an answer.
    Blocked = 5,
    /// It ended well.
    Completed = 6,
    /// It ended badly.
    Failed = 7,
    /// It was cancelled.
    Cancelled = 8,
}

impl Phase {
    /// The phase with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        use Phase::*;
        [Waiting, Ready, Scheduled, Paused, Running, Blocked, Completed, Failed, Cancelled]
            .get(usize::try_from(number).ok()?)
            .copied()
    }

    /// The state that people see.
    pub const fn state(self) -> TaskState {
        match self {
            Self::Waiting | Self::Ready | Self::Scheduled | Self::Paused => TaskState::Pending,
            Self::Running => TaskState::Running,
            Self::Blocked => TaskState::Blocked,
            Self::Completed => TaskState::Completed,
            Self::Failed => TaskState::Failed,
            Self::Cancelled => TaskState::Cancelled,
        }
    }
}

/// Facts about a task that its hot row carries as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskFlags(u16);

impl TaskFlags {
    /// Someone asked to cancel it while it ran.
    pub const CANCEL: Self = Self(1);
    /// It holds slots of capacity keys while it runs.
    pub const KEYED: Self = Self(2);
    /// Its unique key is free again when it ends.
    pub const UNIQUE: Self = Self(4);
    /// Something was asked of a person on its behalf.
    pub const ASKED: Self = Self(8);
    /// A person paused it.
    pub const PAUSED: Self = Self(16);
    /// It waits, or has waited, for the end of another run: a pause of its own run holds it
    /// back no more than one that is at work.
    pub const AWAITS: Self = Self(32);
    /// An agent takes its turn in the attempt at work.
    pub const TURN: Self = Self(64);
    /// It is a prompt: it stands in its agent's line in a chat.
    pub const PROMPT: Self = Self(128);

    /// From the stored bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The stored bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With `other` set.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// With `other` cleared.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Where a task stands: the hot row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its state.
    pub phase: Phase,
    /// The lane it waits in.
    pub lane: LaneId,
    /// Smaller runs first.
    pub priority: i16,
    /// Not before this time.
    pub run_at: Timestamp,
    /// How often it was started, for people. Returned work is not counted.
    pub attempt: u32,
    /// How often it failed since it was enqueued or retried by a person.
    pub failures: u32,
    /// How often its worker died.
    pub interruptions: u32,
    /// The fence: raised by each claim, never reset. A write with an older one is refused.
    pub lease: i64,
    /// Raised by each write of this row. A change is guarded by the one it was planned on.
    pub rev: i64,
    /// The instance that runs it.
    pub holder: Option<InstanceId>,
    /// The claim, counted by the holder, that took it.
    pub claim: i64,
    /// The run and the number of the step that it is the task of.
    pub step: Option<(RunId, u32)>,
    /// Facts as bits.
    pub flags: TaskFlags,
    /// When the current or last attempt started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl Task {
    /// The state that people see.
    pub const fn state(&self) -> TaskState {
        self.phase.state()
    }
}

/// Whether a task's agent may change files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It may write in its worktree.
    #[default]
    Write,
    /// It may only read.
    ReadOnly,
}

/// What an agent is told of what was said in its chat while it was not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandOff {
    /// Nothing.
    None,
    /// Everything since its last turn; in a new session, everything.
    #[default]
    SinceLastTurn,
    /// What the host's [summarizer](crate::Builder::summarizer) makes of it.
    Summary,
}

/// What becomes of a task whose worker died in the middle of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interrupted {
    /// It runs again.
    #[default]
    RunAgain,
    /// A person is asked: run again, or fail.
    Ask,
    /// It fails.
    Fail,
}

/// What is rarely set, and never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskOptions {
    /// When a failed attempt is made again.
    #[serde(skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// How long one attempt may take, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout_ms: Option<u64>,
    /// Tags that a worker must carry.
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// Capacity keys that it holds while it runs.
    #[serde(skip_serializing_if = "is_default")]
    pub capacity: Vec<String>,
    /// Whether its agent may write.
    #[serde(skip_serializing_if = "is_default")]
    pub access: Access,
    /// What becomes of it when its worker dies.
    #[serde(skip_serializing_if = "is_default")]
    pub interrupted: Interrupted,
    /// The folder that its agent works in, absolute.
    #[serde(skip_serializing_if = "is_default")]
    pub folder: Option<String>,
    /// The JSON schema that its agent's answer must satisfy.
    #[serde(skip_serializing_if = "is_default")]
    pub schema: Option<Payload>,
    /// What its agent is told of what was said in the chat without it.
    #[serde(skip_serializing_if = "is_default")]
    pub hand_off: HandOff,
    /// Its unique key is free again when it ends; else as long as the task is kept.
    #[serde(skip_serializing_if = "is_default")]
    pub unique_until_done: bool,
    /// Why the stored options could not be read, for a row of another program.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

impl TaskOptions {
    /// The options of a stored row. What another program wrote wrongly is kept as the
    /// reason for the task to fail, not as an error of whoever reads it.
    pub fn from_row(text: Option<&str>) -> Self {
        let Some(text) = text else {
            return Self::default();
        };
        serde_json::from_str(text).unwrap_or_else(|error| Self {
            unreadable: Some(format!("its options are not what segue expects: {error}")),
            ..Self::default()
        })
    }

    /// The options for a row: nothing where nothing is set.
    pub fn to_row(&self) -> Option<String> {
        let empty = *self == Self::default();
        (!empty).then(|| serde_json::to_string(self).expect("options have a JSON form"))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What was asked for: written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The task.
    pub id: TaskId,
    /// The host's project.
    pub project: String,
    /// The handler's name; `agent` for an agent's turn, `step` for a step of a run.
    pub kind: String,
    /// What the handler gets.
    pub input: Payload,
    /// Smaller runs first.
    pub priority: i16,
    /// Not before this time. None: at once.
    pub run_at: Option<Timestamp>,
    /// The task that made it.
    pub parent: Option<TaskId>,
    /// Tasks that compete on the same input.
    pub arena: Option<ArenaId>,
    /// The workspace conversation it belongs to.
    pub session: Option<SessionId>,
    /// The chat it speaks in.
    pub chat: Option<ChatId>,
    /// The run and step it is the task of.
    pub step: Option<(RunId, u32)>,
    /// The agent that does it.
    pub agent: Option<String>,
    /// The agent's model.
    pub model: Option<String>,
    /// The agent session's mode.
    pub mode: Option<String>,
    /// The agent session's reasoning option.
    pub thinking: Option<String>,
    /// A second task of the project with this key is not made: the first is returned.
    pub unique_key: Option<String>,
    /// What is rarely set.
    pub options: TaskOptions,
    /// The host's labels.
    pub labels: BTreeMap<String, String>,
    /// The host's own data, up to 4 KiB.
    pub meta: Option<Payload>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl TaskSpec {
    /// A task of `kind` with nothing else set.
    pub fn new(id: TaskId, kind: impl Into<String>, input: Payload) -> Self {
        Self {
            id,
            project: "default".into(),
            kind: kind.into(),
            input,
            priority: 0,
            run_at: None,
            parent: None,
            arena: None,
            session: None,
            chat: None,
            step: None,
            agent: None,
            model: None,
            mode: None,
            thinking: None,
            unique_key: None,
            options: TaskOptions::default(),
            labels: BTreeMap::new(),
            meta: None,
            created_at: Timestamp::ZERO,
        }
    }

    /// The labels of a stored row. A member that is no string, which another program may have
    /// written, is no label.
    pub fn labels_from_row(text: Option<&str>) -> BTreeMap<String, String> {
        use serde_json::Value;
        let stored: Option<BTreeMap<String, Value>> =
            text.and_then(|text| serde_json::from_str(text).ok());
        let label = |(name, value)| match value {
            Value::String(value) => Some((name, value)),
            _ => None,
        };
        stored.into_iter().flatten().filter_map(label).collect()
    }

    /// Whether this task and another, neither of them a step, have one [lane](Self::lane).
    pub fn shares_lane(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.agent == other.agent
            && self.model == other.model
            && self.options.tags == other.options.tags
            && self.options.capacity == other.options.capacity
    }

    /// The lane of a task that is not a step: its kind or agent, its tags, and its capacity
    /// keys, to which an agent adds `agent:NAME` and `model:NAME`.
    pub fn lane(&self) -> Lane {
        let mut keys = self.options.capacity.clone();
        let own = match &self.agent {
            Some(agent) if self.kind == "agent" => {
                keys.push(format!("agent:{agent}"));
                keys.extend(self.model.as_ref().map(|model| format!("model:{model}")));
                format!("agent:{agent}")
            }
            _ => format!("task:{}", self.kind),
        };
        let tags = self.options.tags.iter().map(|tag| format!("tag:{tag}"));
        Lane::new(std::iter::once(own).chain(tags).collect(), keys)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AttemptOutcome {
    /// Its handler returned a result.
    Completed = 1,
    /// Its handler failed.
    Failed = 2,
    /// It asked to be run later.
    Snoozed = 3,
    /// It asked a person.
    Blocked = 4,
    /// It stopped because it was told to.
    Cancelled = 5,
    /// Its worker died.
    Interrupted = 6,
    /// Its provider's limit was reached; the key is parked.
    Parked = 7,
    /// It launched a run and waits for its end.
    Awaited = 8,
}

impl AttemptOutcome {
    /// The outcome with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        use AttemptOutcome::*;
        [Completed, Failed, Snoozed, Blocked, Cancelled, Interrupted, Parked, Awaited]
            .get(usize::try_from(number).ok()?.checked_sub(1)?)
            .copied()
    }
}

/// One attempt: inserted once, when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// The lease it ran under.
    pub lease: i64,
    /// Its number, for people.
    pub attempt: u32,
    /// Who ran it.
    pub holder: Option<InstanceId>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: AttemptOutcome,
    /// What it returned.
    pub output: Option<Payload>,
    /// What went wrong.
    pub error: Option<String>,
    /// What it used: `{"tokens": n, ...}`.
    pub usage: Option<Payload>,
    /// The task whose output it took instead of doing the work again.
    pub recalled: Option<TaskId>,
}
