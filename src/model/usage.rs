//! What agents use: tokens and money, as each source reports them.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use super::Payload;

/// Tokens, each counted in one field only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Read, and not from a cache.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written into a cache.
    pub cache_write: u64,
    /// Written, without thoughts where those are told apart.
    pub output: u64,
    /// Thought.
    pub reasoning: u64,
}

impl Tokens {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.all_input().saturating_add(self.output).saturating_add(self.reasoning)
    }

    /// All that was read, caches included.
    pub const fn all_input(self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// What is more here than in `before`; None where something is less: its counter began anew.
    pub fn since(self, before: Self) -> Option<Self> {
        Some(Self {
            input: self.input.checked_sub(before.input)?,
            cache_read: self.cache_read.checked_sub(before.cache_read)?,
            cache_write: self.cache_write.checked_sub(before.cache_write)?,
            output: self.output.checked_sub(before.output)?,
            reasoning: self.reasoning.checked_sub(before.reasoning)?,
        })
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Metering {
    /// Its name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Cumulative => "cumulative",
        }
    }

    /// The metering with this name, for backends.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Delta, Self::Cumulative].into_iter().find(|metering| metering.name() == name)
    }
}

/// What a report's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metering {
    /// What was used since the report before.
    Delta,
    /// What the agent's session has used in all. It is booked as the difference to the last one;
    /// a number that is smaller begins a new count.
    Cumulative,
}

/// What one event of an agent says was used. The same event may arrive twice and is booked once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageReport {
    /// The event, by a name that no other event of the agent's session has.
    pub source: String,
    /// The model that used it, where that is said.
    pub model: Option<String>,
    /// What `tokens` are; None where the report has none.
    pub metering: Metering,
    /// The tokens.
    pub tokens: Tokens,
    /// The price in millionths of a dollar, and what that number is: agents report tokens and
    /// prices in different ways within one event.
    pub cost: Option<(Metering, i64)>,
    /// The event's own words.
    pub raw: Payload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_is_less_has_begun_anew() {
        let tokens = |input, output| Tokens { input, output, ..Tokens::default() };
        assert_eq!(tokens(30, 4).since(tokens(10, 4)), Some(tokens(20, 0)));
        assert_eq!(tokens(30, 3).since(tokens(10, 4)), None);
        assert_eq!(tokens(u64::MAX, 1) + tokens(1, 1), tokens(u64::MAX, 2));
    }
}
