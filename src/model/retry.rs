//! When a failed attempt is made again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::TaskId;

/// A retry policy: data, so that it survives with the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// How many failures a task may have before it stays failed. 1: never again.
    pub attempts_max: u32,
    /// The wait after the first failure, in milliseconds.
    pub delay_ms: u64,
    /// What each further failure multiplies the wait by.
    pub factor: f64,
    /// The longest wait, in milliseconds.
    pub delay_max_ms: u64,
    /// The part of the wait, 0 to 1, that differs from task to task. It is drawn from the
    /// task's id, so the same task waits the same time on every run of a test.
    pub jitter: f64,
}

impl Retry {
    /// One attempt, no second.
    pub const NEVER: Self =
        Self { attempts_max: 1, delay_ms: 0, factor: 2.0, delay_max_ms: 3_600_000, jitter: 0.0 };

    /// Up to `attempts_max` attempts, one second apart at first, doubling up to an hour,
    /// with a fifth of jitter.
    pub const fn times(attempts_max: u32) -> Self {
        Self { attempts_max, delay_ms: 1_000, factor: 2.0, delay_max_ms: 3_600_000, jitter: 0.2 }
    }

    /// Up to `attempts_max` attempts, always `delay` apart.
    pub const fn every(attempts_max: u32, delay: Duration) -> Self {
        let delay_ms = delay.as_millis() as u64;
        Self { attempts_max, delay_ms, factor: 1.0, delay_max_ms: delay_ms, jitter: 0.0 }
    }

    /// Whether a task with so many failures is tried again.
    pub const fn allows(&self, failures: u32) -> bool {
        failures < self.attempts_max
    }

    /// The wait after failure number `failures` (from 1) of `task`.
    pub fn delay(&self, failures: u32, task: TaskId) -> Duration {
        let grown = self.factor.max(1.0).powi(failures.saturating_sub(1).min(1_000) as i32);
        let full = (self.delay_ms as f64 * grown).min(self.delay_max_ms as f64);
        let (high, low) = task.as_uuid().as_u64_pair();
        let drawn = fastrand::Rng::with_seed(high ^ low ^ u64::from(failures)).f64();
        let share = 1.0 - self.jitter.clamp(0.0, 1.0) * drawn;
        Duration::from_micros((full * share * 1_000.0) as u64)
    }
}

impl Default for Retry {
    /// [`Retry::NEVER`]: an agent's turn is paid for, so the host chooses to repeat it.
    fn default() -> Self {
        Self::NEVER
    }
}
