//! How kinds, states and outcomes look: the one place to extend when there is a new one.

use super::record::StepRecord;
use crate::model::{AttemptOutcome, StepKind, StepState, TaskState};

/// How a kind of step looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub name: &'static str,
    /// One character, in pictures and texts.
    pub icon: char,
    /// What a node of a Mermaid flowchart stands between.
    pub shape: [&'static str; 2],
}

/// The look of a kind.
pub(super) const fn kind(kind: StepKind) -> Kind {
    match kind {
        StepKind::Code => Kind { name: "code", icon: '\u{3bb}', shape: ["[", "]"] },
        StepKind::Agent => Kind { name: "agent", icon: '\u{25c6}', shape: ["([", "])"] },
        StepKind::Gate => Kind { name: "gate", icon: '?', shape: ["{{", "}}"] },
        StepKind::Map => Kind { name: "map", icon: '\u{2261}', shape: ["[/", "/]"] },
        StepKind::Flow => Kind { name: "flow", icon: '\u{25b7}', shape: ["[[", "]]"] },
        StepKind::Timer => Kind { name: "timer", icon: '\u{25f7}', shape: ["((", "))"] },
        StepKind::Join => Kind { name: "join", icon: '+', shape: ["((", "))"] },
    }
}

/// Where a step stands: its state, with what its task does while it is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Standing {
    Pending,
    /// Its task waits: for a worker, a time, a slot.
    Queued,
    /// Its task waits for a person.
    Blocked,
    /// Its task is at work, or the run under it is.
    Running,
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

impl Standing {
    pub const ALL: [Self; 8] = {
        use Standing::*;
        [Completed, Failed, Running, Blocked, Queued, Pending, Skipped, Cancelled]
    };

    pub fn of(step: &StepRecord) -> Self {
        let task = step.task.as_ref().map(|task| task.state);
        match (step.state, task) {
            (StepState::Pending, _) => Self::Pending,
            (StepState::Running, Some(TaskState::Pending)) if step.awaits() => Self::Running,
            (StepState::Running, Some(TaskState::Pending)) => Self::Queued,
            (StepState::Running, Some(TaskState::Blocked)) => Self::Blocked,
            (StepState::Running, _) => Self::Running,
            (StepState::Completed, _) => Self::Completed,
            (StepState::Failed, _) => Self::Failed,
            (StepState::Skipped, _) => Self::Skipped,
            (StepState::Cancelled, _) => Self::Cancelled,
        }
    }

    /// Its name, which is also its class.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Blocked => "blocked",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// The style of its class in a Mermaid flowchart. The text has a colour of its own, so
    /// that it can be read on light and dark pages.
    pub const fn style(self) -> &'static str {
        match self {
            Self::Pending => "fill:#f6f8fa,stroke:#8c959f,color:#1f2328",
            Self::Queued => "fill:#ddf4ff,stroke:#54aeff,color:#1f2328,stroke-dasharray:4 3",
            Self::Blocked => "fill:#ecd8ff,stroke:#8250df,color:#1f2328",
            Self::Running => "fill:#b6e3ff,stroke:#0969da,color:#1f2328,stroke-width:2px",
            Self::Completed => "fill:#c6efce,stroke:#2da44e,color:#1f2328",
            Self::Failed => "fill:#ffcecb,stroke:#cf222e,color:#1f2328,stroke-width:2px",
            Self::Skipped => "fill:#eaeef2,stroke:#8c959f,color:#57606a,stroke-dasharray:2 2",
            Self::Cancelled => "fill:#f3e2cb,stroke:#9a6700,color:#1f2328",
        }
    }

    /// Whether someone should look at it first.
    pub const fn is_striking(self) -> bool {
        matches!(self, Self::Failed | Self::Blocked | Self::Running)
    }
}

/// How an attempt looks in a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Its name, which is also its class.
    pub name: &'static str,
    /// What a text puts at the end of its bar. None: nothing.
    pub mark: Option<char>,
}

/// The look of an outcome. None: the attempt still runs.
pub(super) const fn outcome(outcome: Option<AttemptOutcome>) -> Outcome {
    let (name, mark) = match outcome {
        None => ("running", Some('>')),
        Some(AttemptOutcome::Completed) => ("completed", None),
        Some(AttemptOutcome::Failed) => ("failed", Some('x')),
        Some(AttemptOutcome::Snoozed) => ("snoozed", Some('z')),
        Some(AttemptOutcome::Blocked) => ("blocked", Some('?')),
        Some(AttemptOutcome::Cancelled) => ("cancelled", Some('c')),
        Some(AttemptOutcome::Interrupted) => ("interrupted", Some('!')),
        Some(AttemptOutcome::Parked) => ("parked", Some('p')),
        Some(AttemptOutcome::Awaited) => ("awaited", Some('w')),
    };
    Outcome { name, mark }
}
