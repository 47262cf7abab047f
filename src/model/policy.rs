//! What an edge tolerates, how many dependencies a step needs, and what its end does to the
//! run: few words that compose.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Limits, Payload, StepState};

/// The ends of a step, other than completion, that an edge takes for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tolerance(u8);

impl Tolerance {
    /// Completion alone.
    pub const NONE: Self = Self(0);
    /// A step that failed.
    pub const FAILED: Self = Self(1);
    /// A step that was skipped.
    pub const SKIPPED: Self = Self(2);
    /// A step that was cancelled.
    pub const CANCELLED: Self = Self(4);
    /// Any end.
    pub const ANY: Self = Self(7);

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a step that ended so is tolerated. Completion always is.
    pub const fn has(self, end: StepState) -> bool {
        let bit = match end {
            StepState::Completed => return true,
            StepState::Failed => Self::FAILED.0,
            StepState::Skipped => Self::SKIPPED.0,
            StepState::Cancelled => Self::CANCELLED.0,
            StepState::Pending | StepState::Running => return false,
        };
        self.0 & bit != 0
    }
}

/// What an edge asks of the step that it comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Which ends it takes besides completion.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tolerates: Tolerance,
    /// What must hold of the output of a step that completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

impl Terms {
    /// An edge that takes these ends too.
    pub fn tolerating(tolerates: Tolerance) -> Self {
        Self { tolerates, when: None }
    }

    /// Whether a step that ended so, with this output, is what the edge asks for.
    pub fn are_met(&self, end: StepState, output: Option<&Payload>) -> bool {
        match (&self.when, end) {
            (Some(when), StepState::Completed) => when.holds(output),
            _ => self.tolerates.has(end),
        }
    }

    /// Whether they are those of a plain edge.
    pub fn are_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A condition on the output of a step. Places are JSON pointers (`/findings/0`); the empty
/// pointer is the whole output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The value at a place is this one.
    Is(String, Value),
    /// There is a value at a place, and it is not null.
    Exists(String),
    /// The number at a place is this or more.
    AtLeast(String, f64),
    /// The number at a place is this or less.
    AtMost(String, f64),
    /// The other way round.
    Not(Box<Condition>),
    /// All of them.
    All(Vec<Condition>),
    /// One of them.
    Any(Vec<Condition>),
}

impl Condition {
    /// Whether it holds. Of a step without an output, or of one that is no JSON, nothing does.
    pub fn holds(&self, output: Option<&Payload>) -> bool {
        let value = output.and_then(|output| output.decode::<Value>().ok());
        value.is_some_and(|value| self.holds_of(&value))
    }

    fn holds_of(&self, value: &Value) -> bool {
        let number = |at: &str| value.pointer(at).and_then(Value::as_f64);
        match self {
            Self::Is(at, wanted) => value.pointer(at) == Some(wanted),
            Self::Exists(at) => value.pointer(at).is_some_and(|found| !found.is_null()),
            Self::AtLeast(at, least) => number(at).is_some_and(|found| found >= *least),
            Self::AtMost(at, most) => number(at).is_some_and(|found| found <= *most),
            Self::Not(other) => !other.holds_of(value),
            Self::All(all) => all.iter().all(|one| one.holds_of(value)),
            Self::Any(any) => any.iter().any(|one| one.holds_of(value)),
        }
    }
}

/// How many of its edges must be met before a step starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quorum {
    /// All of them.
    #[default]
    All,
    /// One of them: the first.
    Any,
    /// So many of them: the first.
    AtLeast(u32),
}

impl Quorum {
    /// How many of `edges` must be met.
    pub const fn of(self, edges: u32) -> u32 {
        match self {
            Self::All => edges,
            Self::Any => 1,
            Self::AtLeast(count) => count,
        }
    }
}

/// What becomes of a step that can't start any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// It is skipped: nobody's fault.
    #[default]
    Skip,
    /// It is cancelled, and with it the run counts as cancelled.
    Cancel,
}

/// What a step that failed or was cancelled does to its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// What does not depend on it goes on; then the run has failed.
    #[default]
    FailRun,
    /// Nothing: the run may complete.
    Ignore,
    /// Everything else of the run is cancelled, and the run has failed.
    StopRun,
}

/// What a step is told besides its dependencies. Kept with the step and never changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// How many of its edges must be met.
    #[serde(skip_serializing_if = "is_default")]
    pub quorum: Quorum,
    /// What becomes of it when they can't be.
    #[serde(skip_serializing_if = "is_default")]
    pub otherwise: Otherwise,
    /// What its failure does to the run.
    #[serde(skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    /// How long it waits, in milliseconds, once it could start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// The name of its code, where that is not the step's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What it may use of its run's budget; unless it is said, all that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<Limits>,
    /// Its work is taken from an earlier attempt, of any run, that has this number and the same
    /// input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memo: Option<u32>,
    /// The step that added it to the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grown_by: Option<u32>,
}

impl Policy {
    /// The text of its column: NULL for one that says nothing.
    pub fn to_row(&self) -> Option<String> {
        (*self != Self::default()).then(|| serde_json::to_string(self).expect("plain data"))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
