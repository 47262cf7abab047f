//! Time: the only place that reads a clock.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// A moment, in microseconds since 1970 (UTC).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01: stands for "never" in columns that are not filled yet.
    pub const ZERO: Self = Self(0);

    /// A moment from microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(time: Timestamp) -> Self {
        DateTime::from_timestamp_micros(time.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", DateTime::<Utc>::from(*self).format("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where an engine and its backend take the time from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that only moves when it is told to: for tests.
    Manual(ManualClock),
    /// The machine's clock, corrected to that of a server.
    Shifted(ShiftedClock),
}

impl Clock {
    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Utc::now().into(),
            Self::Manual(clock) => clock.now(),
            Self::Shifted(clock) => clock.now(),
        }
    }

    /// Time that only grows, whatever happens to the time of day.
    pub fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        match self {
            Self::System | Self::Shifted(_) => START.elapsed(),
            Self::Manual(clock) => Duration::from_micros(clock.now().0.max(0) as u64),
        }
    }

    /// Waits until `limit` has passed on this clock.
    pub async fn sleep(&self, limit: Duration) {
        match self {
            Self::System | Self::Shifted(_) => tokio::time::sleep(limit).await,
            Self::Manual(clock) => clock.reached(clock.now() + limit).await,
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self::Manual(clock)
    }
}

/// The machine's clock and how far a server's is from it. Clones share the correction.
#[derive(Clone, Debug, Default)]
pub struct ShiftedClock(Arc<AtomicI64>);

impl ShiftedClock {
    /// What the server's clock shows, as far as is known.
    pub fn now(&self) -> Timestamp {
        let machine: Timestamp = Utc::now().into();
        Timestamp(machine.0.saturating_add(self.0.load(Ordering::SeqCst)))
    }

    /// Sets how far, in microseconds, the server's clock is ahead of the machine's.
    pub fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

/// A clock that moves when told to. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug)]
struct Manual {
    micros: AtomicI64,
    moved: Notify,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(Manual { micros: AtomicI64::new(start.0), moved: Notify::new() }))
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.micros.load(Ordering::SeqCst))
    }

    /// Moves it forward and wakes whoever waits for the new time.
    pub fn advance(&self, by: Duration) {
        self.0.micros.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    async fn reached(&self, end: Timestamp) {
        loop {
            let moved = self.0.moved.notified();
            if self.now() >= end {
                return;
            }
            moved.await;
        }
    }
}

impl Default for ManualClock {
    /// 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp(1_767_225_600_000_000))
    }
}
