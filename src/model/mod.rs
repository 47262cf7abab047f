//! The model: rows, states, commands and all rules.
//!
//! Invariant: nothing in here performs I/O, reads a clock or draws a random number. A
//! backend keeps the rows; [`Plan`] alone decides how they change; [`audit`](audit()) says
//! what must hold between them.

mod agent_session;
mod audit;
mod available;
mod budget;
mod capacity;
mod chat;
mod claim;
mod command;
mod dag;
mod event;
mod flow;
mod inbox;
mod instance;
mod ledger;
mod memo;
mod part;
mod past;
mod payload;
mod plan;
mod policy;
mod program;
mod prompt;
mod prune;
mod query;
mod retry;
mod rows;
mod select;
mod task;
mod turn;
mod usage;

pub use agent_session::{AgentContext, AgentSession, AgentSessionState, Sessions, Transport};
pub use audit::{Violation, audit};
pub use available::{AvailableAgent, Canary, Quarantine, Trial};
pub(crate) use budget::Grant;
pub use budget::{Budget, Limits, OnBreach, Raise, Usage};
pub use capacity::{CapacityKey, Lane, LaneId, Slot};
pub use chat::{Chat, Message, NewMessage, Role, Session};
pub use claim::{Claim, Claimed, choose};
pub use command::{
    Batch, Command, Committed, Decision, Fault, FaultKind, Import, Outcome, Receipt, Rejection,
    Settle,
};
pub(crate) use dag::check_quorum;
pub use dag::{Dag, DagError};
pub use event::{Cursor, Entry, Event, Stream};
pub use flow::{
    Band, Growth, NewRun, NewStep, RetryRun, Run, RunAttempt, RunFlags, RunSpec, RunState, Step,
    StepKind, StepState,
};
pub(crate) use flow::{flow_label, flow_need};
pub use inbox::{Answer, Ask, Item, ItemKind, ItemState};
pub use instance::{Due, Host, Instance};
pub use ledger::{Account, Book, Booking, Counter, Counters, Spent};
pub use memo::{Memo, MemoKey, Recall};
pub use part::{NewPart, Part, PartKind, Write};
pub use past::{ForkChat, ImportChat, PastMessage, PastSession};
pub use payload::Payload;
pub use plan::{Plan, Split};
pub use policy::{Condition, OnFailure, Otherwise, Policy, Quorum, Terms, Tolerance};
pub use program::Process;
pub use prompt::{LineId, Prompt, Route};
pub use query::{
    CapacityView, Disk, ItemFilter, Page, Prune, Pruned, Query, RunFilter, RunView, Stats,
    TaskFilter, TaskView,
};
pub use retry::Retry;
pub use rows::{Changes, Needs, Rows};
pub use task::{
    Access, Attempt, AttemptOutcome, HandOff, Interrupted, Phase, TASK_MOVES, Task, TaskFlags,
    TaskOptions, TaskSpec, TaskState,
};
pub use turn::{BeginTurn, Begun, Resume, Turn, TurnEnd, TurnState};
pub use usage::{Metering, Tokens, UsageReport};

/// Sizes that a host can rely on; larger values are refused, never cut.
pub mod limits {
    /// Input, output or message, in bytes of JSON.
    pub const PAYLOAD_BYTES: usize = 16 << 20;
    /// The host's own `meta`, in bytes of JSON.
    pub const META_BYTES: usize = 4 << 10;
    /// The JSON schema of an answer, in bytes.
    pub const SCHEMA_BYTES: usize = 64 << 10;
    /// A name: project, kind, label, capacity key, unique key, step.
    pub const NAME_BYTES: usize = 255;
    /// Tasks that one command makes.
    pub const TASKS_AT_ONCE: usize = 10_000;
    /// Steps of one run.
    pub const STEPS: usize = 100_000;
    /// Interruptions (the worker died) after which a task fails instead of running again.
    pub const INTERRUPTIONS: u32 = 10;
}
