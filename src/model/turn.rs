//! Turns: an agent answers one prompt in a chat, for one attempt of a task.

use serde::{Deserialize, Serialize};

use super::{AgentContext, Sessions, Tokens, Transport};
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, TaskId, TurnId},
};

/// Where a turn stands, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TurnState {
    /// It is begun. The agent has no prompt yet.
    Begun = 0,
    /// The agent has its prompt.
    Prompted = 1,
    /// The agent answered.
    Completed = 2,
    /// The agent or its model refused to answer.
    Refused = 3,
    /// A limit of the turn itself was reached.
    LimitReached = 4,
    /// The provider took no more requests for the time being.
    RateLimited = 5,
    /// It was told to stop.
    Cancelled = 6,
    /// The agent did not know the session that was to be continued.
    SessionLost = 7,
    /// It broke off before the agent had its prompt.
    Crashed = 8,
    /// It broke off afterwards: what it did is unknown.
    Interrupted = 9,
    /// It failed otherwise.
    Failed = 10,
}

impl TurnState {
    /// The state with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        use TurnState::*;
        [
            Begun,
            Prompted,
            Completed,
            Refused,
            LimitReached,
            RateLimited,
            Cancelled,
            SessionLost,
            Crashed,
            Interrupted,
            Failed,
        ]
        .get(usize::try_from(number).ok()?)
        .copied()
    }

    /// Whether the turn has not ended.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Begun | Self::Prompted)
    }
}

/// A turn of an agent. It is open exactly as long as its task is held under its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Its id, which follows from the task and the lease: [`TurnId::of`].
    pub id: TurnId,
    /// The chat.
    pub chat: ChatId,
    /// The agent.
    pub agent: String,
    /// The agent's session.
    pub session: AgentSessionId,
    /// Which of the agent's sessions in the chat that is.
    pub generation: u32,
    /// The task that it is taken for.
    pub task: TaskId,
    /// The lease of the attempt.
    pub lease: i64,
    /// Where it stands.
    pub state: TurnState,
    /// Why it ended so, where it did not complete.
    pub reason: Option<String>,
    /// What was used in it, as far as it was booked.
    pub tokens: Tokens,
    /// What that cost, in millionths of a dollar, as far as it is known.
    pub cost: i64,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// When the agent was given its prompt.
    pub prompted_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// A wish to begin a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginTurn {
    /// The task that it is taken for.
    pub task: TaskId,
    /// The lease under which that is held.
    pub lease: i64,
    /// The chat to speak in.
    pub chat: ChatId,
    /// The agent.
    pub agent: String,
    /// How the agent is spoken to.
    pub transport: Transport,
    /// Whether the agent has sessions of its own, and who names them.
    pub sessions: Sessions,
    /// What a session of it depends on: one with another fingerprint is not continued.
    pub fingerprint: String,
    /// The host that takes the turn: a session of another one is not continued.
    pub host: String,
    /// The folder it is taken in.
    pub worktree: Option<String>,
    /// The id here of a session that is begun: a new one for each wish.
    pub session: AgentSessionId,
    /// What the agent is to call a new session, where [we say so](Sessions::Ours).
    pub proposed: String,
    /// Whether the agent is told in a new session what was said before.
    pub carries: bool,
    /// The agent does not know the session that it calls so, though the turn was begun to continue
    /// it: the turn goes on in a new one.
    pub lost: Option<String>,
}

/// What a turn is begun with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The turn.
    pub turn: TurnId,
    /// The agent's session.
    pub session: AgentSessionId,
    /// Which of the agent's sessions in the chat that is, counted from 1.
    pub generation: u32,
    /// What the agent is to do about a session of its own.
    pub resume: Resume,
    /// What the session knows.
    pub context: AgentContext,
    /// The last message of the chat that the agent has read; 0: none.
    pub seen: i64,
}

/// Whether an agent's session is to be continued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// The agent keeps no session, or what it has is not to be continued: a new one.
    #[default]
    Fresh,
    /// A new session with this id.
    New(String),
    /// The session with this id is continued.
    Continue(String),
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnEnd {
    /// How: nothing that is [open](TurnState::is_open).
    pub state: TurnState,
    /// Why, where it did not complete.
    pub reason: Option<String>,
    /// The last message of the chat that the agent has read by now, its own among them.
    pub seen: i64,
    /// The agent has summarised what it knew.
    pub compacted: bool,
}

impl TurnEnd {
    /// An end of which nothing else is known.
    pub const fn new(state: TurnState) -> Self {
        Self { state, reason: None, seen: 0, compacted: false }
    }
}
