//! Flow runs, their steps, and the states of both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Budget, Lane, LaneId, Payload, Policy, TaskOptions, Terms, Usage};
use crate::{
    clock::Timestamp,
    id::{RunId, TaskId},
};

/// How wide a flow's run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    /// A few readers.
    #[default]
    Small,
    /// Some.
    Medium,
    /// Many.
    Large,
}

impl Band {
    /// Its name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    /// The band with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Small, Self::Medium, Self::Large].into_iter().find(|band| band.name() == name)
    }
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum RunState {
    /// Some of its steps have not ended.
    Running = 0,
    /// All of its steps completed or were skipped for no one's fault.
    Completed = 1,
    /// A step failed.
    Failed = 2,
    /// It was cancelled, and its last step has stopped.
    Cancelled = 3,
}

impl RunState {
    /// The state with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Failed, Self::Cancelled]
            .get(usize::try_from(number).ok()?)
            .copied()
    }

    /// Whether the run has ended.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// Facts about a run as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunFlags(u16);

impl RunFlags {
    /// Nothing of it starts until it is resumed.
    pub const PAUSED: Self = Self(1);
    /// Someone asked to cancel it.
    pub const CANCELLING: Self = Self(2);
    /// One of its steps was cancelled.
    pub const LOST_STEP: Self = Self(4);
    /// One of its steps failed and stops the rest.
    pub const STOPPING: Self = Self(8);
    /// Its steps take nothing that was returned before: their work is done again.
    pub const FRESH: Self = Self(16);

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

/// Where a run stands: the hot row, and the lock that its settles queue on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its state.
    pub state: RunState,
    /// Facts as bits.
    pub flags: RunFlags,
    /// The host's project.
    pub project: String,
    /// Of its tasks: smaller runs first.
    pub priority: i16,
    /// Steps that have not ended.
    pub open_steps: u32,
    /// Steps whose failure counts.
    pub failed_steps: u32,
    /// The number of its next step.
    pub next_no: u32,
    /// How often it was begun: 1, and one more with each retry.
    pub attempt: u32,
    /// The task that waits for its end: a step of another run.
    pub parent: Option<TaskId>,
    /// What it may use, where that is limited.
    pub budget: Option<Budget>,
    /// The number of its next entry.
    pub next_seq: i64,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// What a run was launched with: written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Its id.
    pub id: RunId,
    /// The host's project.
    pub project: String,
    /// The flow's name.
    pub flow: String,
    /// The flow's version.
    pub version: u32,
    /// How wide.
    pub band: Band,
    /// The model that its agents use unless a step says otherwise.
    pub model: Option<String>,
    /// What it was launched with.
    pub input: Payload,
    /// The steps it started with, as JSON: name, kind, dependencies, agent.
    pub definition: Payload,
    /// The fingerprint of the code that its steps need: empty where any of the version will do.
    pub fingerprint: String,
    /// The state of the files that it works on, as the host names it.
    pub base: Option<String>,
    /// The host's labels.
    pub labels: BTreeMap<String, String>,
    /// The host's own data, up to 4 KiB.
    pub meta: Option<Payload>,
    /// The run and step that it was forked from.
    pub forked_from: Option<(RunId, u32)>,
    /// When it was launched.
    pub created_at: Timestamp,
}

/// One time that a run was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAttempt {
    /// The run.
    pub run: RunId,
    /// Which time, from 1.
    pub attempt: u32,
    /// What was done again; None for the first.
    pub retry: Option<RetryRun>,
    /// How it ended; running until it has.
    pub state: RunState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// What of a run that has ended is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryRun {
    /// Every step.
    All,
    /// The steps that did not complete.
    FailedOnly,
    /// The steps that did not complete, and whatever depends on them.
    FailedAndDownstream,
}

/// What does a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum StepKind {
    /// A function.
    Code = 0,
    /// An agent.
    Agent = 1,
    /// A person, who approves, rejects or edits.
    Gate = 2,
    /// A function that adds a step for each item of a list.
    Map = 3,
    /// A run of another flow.
    Flow = 4,
    /// Time that passes.
    Timer = 5,
    /// Nothing: it ends at once when its dependencies are met.
    Join = 6,
}

impl StepKind {
    /// The kind with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        use StepKind::*;
        [Code, Agent, Gate, Map, Flow, Timer, Join].get(usize::try_from(number).ok()?).copied()
    }
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum StepState {
    /// Something that it depends on has not ended.
    Pending = 0,
    /// Its task is in the queue or at work; the task's own state says which.
    Running = 1,
    /// It ended well.
    Completed = 2,
    /// It ended badly.
    Failed = 3,
    /// It will not run, for the reason that it states.
    Skipped = 4,
    /// It was cancelled.
    Cancelled = 5,
}

impl StepState {
    /// The state with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        use StepState::*;
        [Pending, Running, Completed, Failed, Skipped, Cancelled]
            .get(usize::try_from(number).ok()?)
            .copied()
    }

    /// Whether the step has ended.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The run.
    pub run: RunId,
    /// Its number in the run, from 0.
    pub no: u32,
    /// Its name, unique in the run.
    pub name: String,
    /// What does it.
    pub kind: StepKind,
    /// Its state.
    pub state: StepState,
    /// How many of its edges must still be met.
    pub waiting_on: u32,
    /// How many of its edges come from steps that have not ended.
    pub open_edges: u32,
    /// The attempt of the run in which it was last begun. 0: in the run that this one was
    /// forked from.
    pub attempt: u32,
    /// Its task, once it was released.
    pub task: Option<TaskId>,
    /// The lane of its task.
    pub lane: LaneId,
    /// The agent that does it.
    pub agent: Option<String>,
    /// The options of its task.
    pub options: TaskOptions,
    /// What it was told besides its dependencies.
    pub policy: Policy,
    /// What it may still use of its run's budget.
    pub reserved: Option<Usage>,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A step of a run to be launched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewStep {
    /// Its name, unique in the run.
    pub name: String,
    /// What does it.
    pub kind: StepKind,
    /// The numbers of the steps that it depends on.
    pub after: Vec<u32>,
    /// What it asks of them, where that is more or less than completion.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub terms: BTreeMap<u32, Terms>,
    /// What it is told besides.
    #[serde(skip_serializing_if = "is_default", default)]
    pub policy: Policy,
    /// An input of its own, besides what its dependencies return.
    #[serde(skip)]
    pub input: Option<Payload>,
    /// The agent that does it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<String>,
    /// The lane of its task. None: that of workers with the flow's code and the step's tags.
    #[serde(skip)]
    pub lane: Option<Lane>,
    /// The options of its task.
    #[serde(skip)]
    pub options: TaskOptions,
}

/// A run to be launched.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// What it is launched with.
    pub spec: RunSpec,
    /// Of its tasks: smaller runs first.
    pub priority: i16,
    /// Its steps; a step's number is its place.
    pub steps: Vec<NewStep>,
    /// The task that waits for its end: a step of another run.
    pub parent: Option<TaskId>,
    /// What it may use, where that is limited.
    pub budget: Option<Budget>,
    /// Whether its steps take nothing that was returned before.
    pub fresh: bool,
}

impl RunSpec {
    /// What workers of its flow say they have.
    pub fn need(&self) -> String {
        flow_need(&self.flow, self.version, &self.fingerprint)
    }
}

/// What workers say they have of a flow in this version, with this fingerprint.
pub(crate) fn flow_need(flow: &str, version: u32, fingerprint: &str) -> String {
    match fingerprint {
        "" => format!("flow:{flow}@{version}"),
        _ => format!("flow:{flow}@{version}#{fingerprint}"),
    }
}

/// What a worker says it has, without the fingerprint.
pub(crate) fn flow_label(need: &str) -> &str {
    let flow = need.starts_with("flow:").then(|| need.rsplit_once('#')).flatten();
    flow.map_or(need, |(label, _)| label)
}

impl NewStep {
    /// A step that starts when all of these have completed.
    pub fn new(name: impl Into<String>, kind: StepKind, after: Vec<u32>) -> Self {
        Self {
            name: name.into(),
            kind,
            after,
            terms: BTreeMap::new(),
            policy: Policy::default(),
            input: None,
            agent: None,
            lane: None,
            options: TaskOptions::default(),
        }
    }
}

/// Steps and edges that a step adds to its own run when it completes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Growth {
    /// The new steps. What they depend on may be old, by its number, or new, by [`Growth::NEW`]
    /// and its place here. In the run their names begin with that of the step that adds them.
    pub steps: Vec<NewStep>,
    /// Edges from new steps to old ones that have not started: (place among `steps`, number).
    pub into: Vec<(u32, u32, Terms)>,
}

impl Growth {
    /// Added to the place of a new step, it stands for the number that the step will have.
    pub const NEW: u32 = 1 << 31;
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
