//! Who is dead: told by beats that do not rise, or by the operating system.
//!
//! Wall clocks are never compared. An instance lapses when this observer has watched the
//! same beat for long enough on its own monotonic clock. Time in which the observer did not
//! look (it slept, or the database was away) does not count: each look adds at most a little
//! more than the usual time between two looks.

use std::{collections::HashMap, time::Duration};

use super::hosts::Life;
use crate::id::InstanceId;

/// What was seen of one instance.
#[derive(Debug)]
struct Seen {
    beat: i64,
    unchanged: Duration,
}

/// Watches the beats of other instances.
#[derive(Debug)]
pub(super) struct Observer {
    lapse: Duration,
    /// The most that one look may add.
    step: Duration,
    looked: Option<Duration>,
    seen: HashMap<InstanceId, Seen>,
}

impl Observer {
    /// An instance lapses when its beat was seen unchanged for `lapse`, by looks that are
    /// usually `every` apart, and never by fewer than four.
    pub fn new(lapse: Duration, every: Duration) -> Self {
        Self { lapse, step: (every * 2).min(lapse / 4), looked: None, seen: HashMap::new() }
    }

    /// Takes a look at `now` (monotonic). Returns those that are dead.
    pub fn look(
        &mut self,
        now: Duration,
        beats: impl Iterator<Item = (InstanceId, i64, Life)>,
    ) -> Vec<InstanceId> {
        let passed = self.looked.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        let passed = passed.min(self.step);
        self.looked = Some(now);
        let mut before = std::mem::take(&mut self.seen);
        let mut dead = Vec::new();
        for (id, beat, life) in beats {
            let unchanged = match before.remove(&id) {
                Some(seen) if seen.beat == beat && life != Life::Stopped => seen.unchanged + passed,
                _ => Duration::ZERO,
            };
            if life == Life::Dead || unchanged >= self.lapse {
                dead.push(id);
            }
            self.seen.insert(id, Seen { beat, unchanged });
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many looks, `gap` apart, until an instance that looks like this is dead.
    fn looks_until_dead(gap: Duration, life: Life, beat: fn(i64) -> i64) -> Option<i64> {
        let mut observer = Observer::new(SECOND * 30, SECOND);
        let id = InstanceId::new();
        (0..200).find(|n| {
            let now = gap * u32::try_from(*n).expect("small");
            !observer.look(now, std::iter::once((id, beat(*n), life))).is_empty()
        })
    }

    #[test]
    fn a_beat_that_does_not_rise_lapses_after_thirty_seconds_of_looking() {
        assert_eq!(looks_until_dead(SECOND, Life::Unknown, |_| 7), Some(30));
        assert_eq!(looks_until_dead(SECOND, Life::Running, |_| 7), Some(30));
    }

    #[test]
    fn a_beat_that_rises_never_lapses() {
        assert_eq!(looks_until_dead(SECOND, Life::Unknown, |n| n / 3), None);
    }

    #[test]
    fn the_dead_are_dead_at_once_and_the_stopped_never_lapse() {
        assert_eq!(looks_until_dead(SECOND, Life::Dead, |_| 7), Some(0));
        assert_eq!(looks_until_dead(SECOND, Life::Stopped, |_| 7), None);
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let hour = SECOND * 3600;
        assert_eq!(looks_until_dead(hour, Life::Unknown, |_| 7), Some(15), "two seconds a look");
    }
}
