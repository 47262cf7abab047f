//! The ledger: what agents have used, one row for each event that said so.
//!
//! Rows are never changed and stay when their task or chat goes: the money was spent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Metering, Payload, Tokens, UsageReport};
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, RunId, TaskId, TurnId},
};

/// A wish to book what an agent has said that it used. Facts are taken under any lease, also after
/// the turn has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Book {
    /// The agent's session: its counters are continued.
    pub session: AgentSessionId,
    /// The turn.
    pub turn: TurnId,
    /// The task of the turn.
    pub task: TaskId,
    /// The reports, in order. One whose source was booked before books nothing.
    pub reports: Vec<UsageReport>,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Booking {
    /// The agent's session.
    pub session: AgentSessionId,
    /// Its number among those of the session, from 1.
    pub no: u32,
    /// The event, by a name that no other of the session has.
    pub source: String,
    /// The chat; None when that had been deleted by then.
    pub chat: Option<ChatId>,
    /// The agent.
    pub agent: String,
    /// Which of the agent's sessions in the chat.
    pub generation: u32,
    /// The task.
    pub task: TaskId,
    /// The run that the task is a step of.
    pub run: Option<RunId>,
    /// The turn.
    pub turn: TurnId,
    /// The model, where that was said.
    pub model: Option<String>,
    /// What the tokens of the event were.
    pub metering: Metering,
    /// How many tokens were booked: those since the last report.
    pub tokens: Tokens,
    /// What was booked of the price, in millionths of a dollar. None: the event names none.
    pub cost: Option<i64>,
    /// The event's own words.
    pub raw: Payload,
    /// When it was booked.
    pub at: Timestamp,
}

/// The last cumulative numbers that an agent's session has reported, of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counter {
    /// Tokens.
    pub tokens: Tokens,
    /// The price, in millionths of a dollar.
    pub cost: i64,
}

/// The counters of a session, by model; '' for reports that name none.
pub type Counters = BTreeMap<String, Counter>;

/// What has used something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// A chat, whichever agents spoke in it.
    Chat(ChatId),
    /// A task, with all of its attempts.
    Task(TaskId),
    /// A run, with all of its steps. Runs under it have accounts of their own.
    Run(RunId),
}

/// The sum of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// How many rows it is the sum of.
    pub bookings: u64,
    /// The tokens.
    pub tokens: Tokens,
    /// What they cost, in millionths of a dollar, as far as it is known.
    pub cost: i64,
}

impl Booking {
    /// Whether it belongs to an account.
    pub fn is_of(&self, account: Account) -> bool {
        match account {
            Account::Chat(id) => self.chat == Some(id),
            Account::Task(id) => self.task == id,
            Account::Run(id) => self.run == Some(id),
        }
    }
}

impl Spent {
    /// With one row more.
    #[must_use]
    pub fn plus(self, row: &Booking) -> Self {
        Self {
            bookings: self.bookings + 1,
            tokens: self.tokens + row.tokens,
            cost: self.cost.saturating_add(row.cost.unwrap_or(0)),
        }
    }
}
