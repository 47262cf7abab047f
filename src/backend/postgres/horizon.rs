//! Entries that can't be followed yet.
//!
//! The stream of all shows an entry when every transaction that began before its commit has
//! ended; until then another entry could still slip in before it. The end of such a
//! transaction is announced by nobody, so who waits looks again: soon at first, then at
//! longer and longer times.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

const FIRST: Duration = Duration::from_millis(5);
const LAST: Duration = Duration::from_millis(500);

/// Whether a reader of all entries has some still to see.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    since: Mutex<Option<Instant>>,
    /// Whether a reader was told of less than there is since the last look.
    behind: watch::Sender<bool>,
}

impl Horizon {
    /// Notes what a reader of all entries was told.
    pub fn note(&self, hidden: bool) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        match hidden {
            true => drop(since.get_or_insert_with(Instant::now)),
            false => *since = None,
        }
        drop(since);
        self.behind.send_if_modified(|behind| {
            let changed = *behind != hidden;
            *behind = hidden;
            changed
        });
    }

    /// Waits until it is worth looking again; for ever while nothing is hidden.
    pub async fn moves(&self) {
        let mut behind = self.behind.subscribe();
        if behind.wait_for(|behind| *behind).await.is_err() {
            // The sender lives in self, so this can't be.
            return std::future::pending().await;
        }
        tokio::time::sleep(self.next_look()).await;
        self.behind.send_replace(false);
    }

    /// As long again as it has been hidden.
    fn next_look(&self) -> Duration {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(FIRST, |since| since.elapsed()).clamp(FIRST, LAST)
    }
}
