//! What a run may use, and what it has.

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::clock::Timestamp;

/// What work uses, as agents report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens, in and out together.
    pub tokens: u64,
    /// Money, in millionths of a unit.
    pub cost_micros: u64,
}

impl Usage {
    /// What a usage says of tokens and cost: `{"tokens": n, "cost_micros": n}`, whatever else
    /// it has. What it does not say is nothing.
    pub fn of(payload: &Payload) -> Self {
        payload.decode().unwrap_or_default()
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
        }
    }

    /// What is left of this without the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost_micros: self.cost_micros.saturating_sub(other.cost_micros),
        }
    }
}

/// How much may be used. What is not said has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money, in millionths of a unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Time from the launch, or from the last retry, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
}

/// What becomes of a step for which the budget has nothing left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBreach {
    /// A person is asked, who raises the budget or lets the step fail.
    #[default]
    Ask,
    /// It fails.
    Fail,
}

/// What a person says of a budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Raise {
    /// So much more may be used.
    By(Limits),
    /// The step fails.
    Fail,
}

/// The budget of a run, and where it stands. A step reserves what it may use before its task
/// is in the queue, so what is used beyond the limits is at most what the steps at work used
/// beyond what they had reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// How much may be used.
    pub limits: Limits,
    /// What becomes of a step for which nothing is left.
    pub on_breach: OnBreach,
    /// When the time is up; zero where it is without limit.
    pub until: Timestamp,
    /// What attempts that ended have used.
    pub used: Usage,
    /// What the steps in the queue and at work may still use.
    pub reserved: Usage,
    /// How many steps could start and wait for what others give back.
    pub waiting: u32,
}

/// What a wish to use something is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// So much is reserved.
    Reserved(Usage),
    /// Nothing now; others may give something back.
    Wait,
    /// Nothing any more.
    Breach,
}

impl Budget {
    /// A budget that nothing has been used of.
    pub fn new(limits: Limits, on_breach: OnBreach) -> Self {
        Self { limits, on_breach, ..Self::default() }
    }

    /// Lets the time run from now on.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        // A run under another has the other's end of time.
        if let Some(wall) = self.limits.wall_ms {
            self.until = now + std::time::Duration::from_millis(wall);
        }
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.until != Timestamp::ZERO && now >= self.until
    }

    /// Whether all of it has been used, of one thing or the other.
    pub(crate) fn is_spent(&self) -> bool {
        let spent = |limit: Option<u64>, used| limit.is_some_and(|limit| used >= limit);
        spent(self.limits.tokens, self.used.tokens)
            || spent(self.limits.cost_micros, self.used.cost_micros)
    }

    /// Whether a step may use what it says, or, where it does not say, all that is left.
    pub(crate) fn grant(&self, uses: Limits, now: Timestamp) -> Grant {
        if self.is_over(now) {
            return Grant::Breach;
        }
        let part = |limit: Option<u64>, used: u64, reserved: u64, wish: Option<u64>| {
            let Some(limit) = limit else { return Grant::Reserved(Usage::default()) };
            let unused = limit.saturating_sub(used);
            let left = unused.saturating_sub(reserved);
            let wish = wish.unwrap_or(left.max(1));
            match wish {
                wish if wish <= left => Grant::Reserved(Usage { tokens: wish, ..Usage::default() }),
                wish if wish <= unused && reserved > 0 => Grant::Wait,
                _ => Grant::Breach,
            }
        };
        let Limits { tokens, cost_micros, .. } = self.limits;
        let (used, reserved) = (self.used, self.reserved);
        let tokens = part(tokens, used.tokens, reserved.tokens, uses.tokens);
        let cost = part(cost_micros, used.cost_micros, reserved.cost_micros, uses.cost_micros);
        match (tokens, cost) {
            (Grant::Breach, _) | (_, Grant::Breach) => Grant::Breach,
            (Grant::Wait, _) | (_, Grant::Wait) => Grant::Wait,
            (Grant::Reserved(tokens), Grant::Reserved(cost)) => {
                Grant::Reserved(Usage { tokens: tokens.tokens, cost_micros: cost.tokens })
            }
        }
    }

    /// The budget of a run under this one: what the step that launches it has reserved.
    pub(crate) fn share(&self, reserved: Usage) -> Self {
        let limits = Limits {
            tokens: self.limits.tokens.map(|_| reserved.tokens),
            cost_micros: self.limits.cost_micros.map(|_| reserved.cost_micros),
            wall_ms: None,
        };
        Self { until: self.until, ..Self::new(limits, self.on_breach) }
    }

    /// Raises the limits.
    pub(crate) fn raise(&mut self, by: Limits, now: Timestamp) {
        let more = |limit: &mut Option<u64>, by: Option<u64>| {
            *limit = limit.map(|limit| limit.saturating_add(by.unwrap_or(0)));
        };
        more(&mut self.limits.tokens, by.tokens);
        more(&mut self.limits.cost_micros, by.cost_micros);
        if let Some(wall) = by.wall_ms.filter(|_| self.until != Timestamp::ZERO) {
            self.until = now + std::time::Duration::from_millis(wall);
        }
    }
}
