//! Sessions of agents: what an agent keeps of a chat by itself.
//!
//! An agent has one session in a chat at a time. One that can't be continued is closed, and the
//! agent's next turn begins another: the next *generation*. That is always told.

use serde::{Deserialize, Serialize};

use super::{Counters, Tokens};
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId},
};

/// How an agent is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// It is a function of this program.
    #[serde(rename = "native")]
    Native,
    /// A program that is started for each turn.
    #[serde(rename = "cli")]
    Cli,
    /// The Agent Client Protocol, over the standard input and output of a program that is kept warm.
    #[serde(rename = "acp_warm")]
    Acp,
    /// The server of opencode.
    #[serde(rename = "opencode_server")]
    OpencodeServer,
    /// Claude Code's stream of JSON in both directions, kept warm.
    #[serde(rename = "claude_sdk")]
    ClaudeStream,
}

impl Transport {
    /// Its name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cli => "cli",
            Self::Acp => "acp_warm",
            Self::OpencodeServer => "opencode_server",
            Self::ClaudeStream => "claude_sdk",
        }
    }

    /// The transport with this name, for backends.
    pub fn from_name(name: &str) -> Option<Self> {
        use Transport::*;
        [Native, Cli, Acp, OpencodeServer, ClaudeStream]
            .into_iter()
            .find(|transport| transport.name() == name)
    }
}

/// Whether an agent keeps what was said in a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sessions {
    /// It keeps nothing: each turn is given the history.
    None,
    /// The engine chooses the id of a new session, so that it is known before the agent starts.
    Ours,
    /// The agent says what it calls a new session.
    Theirs,
}

/// Where an agent's session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AgentSessionState {
    /// It waits for the next turn.
    Idle = 0,
    /// A turn is taken in it.
    Active = 1,
    /// Its last turn broke off.
    Crashed = 2,
    /// It is not continued any more.
    Closed = 3,
}

impl AgentSessionState {
    /// The state with this number, for backends.
    pub fn from_number(number: i64) -> Option<Self> {
        use AgentSessionState::*;
        [Idle, Active, Crashed, Closed].get(usize::try_from(number).ok()?).copied()
    }
}

/// What a session of an agent knows of its chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentContext {
    /// All that the agent was told and did in the chat.
    Full,
    /// It was begun in place of another, and told what was said before.
    Carried,
    /// It was begun in place of another, and knows nothing of what was said before.
    Lost,
    /// The agent has summarised what it knew.
    Partial,
}

impl AgentContext {
    /// Its name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Carried => "carried",
            Self::Lost => "lost",
            Self::Partial => "partial",
        }
    }

    /// The context with this name, for backends.
    pub fn from_name(name: &str) -> Option<Self> {
        use AgentContext::*;
        [Full, Carried, Lost, Partial].into_iter().find(|context| context.name() == name)
    }
}

/// A session of an agent in a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSession {
    /// Its id here.
    pub id: AgentSessionId,
    /// The chat; None when that was deleted.
    pub chat: Option<ChatId>,
    /// The agent.
    pub agent: String,
    /// Which of the agent's sessions in the chat, counted from 1.
    pub generation: u32,
    /// How the agent is spoken to.
    pub transport: Transport,
    /// What the agent calls it. None as long as it has not said so.
    pub token: Option<String>,
    /// The port of its server, on its host.
    pub port: Option<u16>,
    /// The folder that the last turn was taken in.
    pub worktree: Option<String>,
    /// The host that has it.
    pub host: String,
    /// Where it stands.
    pub state: AgentSessionState,
    /// What it depends on besides the turn: it is not continued by an agent with another one.
    pub fingerprint: String,
    /// What it knows.
    pub context: AgentContext,
    /// The last message of the chat that it has read.
    pub seen: i64,
    /// How many prompts it was given.
    pub turns: u32,
    /// What it has used.
    pub tokens: Tokens,
    /// What that cost, in millionths of a dollar, as far as it is known.
    pub cost: i64,
    /// How many reports of it were booked.
    pub bookings: u32,
    /// The last numbers of its counters. They begin anew when the agent begins a session.
    pub counters: Counters,
    /// Why it is closed.
    pub reason: Option<String>,
    /// When its last turn began or ended.
    pub last_active_at: Timestamp,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was closed.
    pub closed_at: Timestamp,
}

impl AgentSession {
    /// Whether a turn may be taken in it.
    pub fn is_open(&self) -> bool {
        self.state != AgentSessionState::Closed
    }
}
