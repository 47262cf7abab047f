//! Things that were passed over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Things that were seen, and deliberately not expected to be read: binary files, links, folders
/// of other programs. All are counted, some are named, so that it stays small whatever is in a
/// tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many, by reason.
    pub counts: BTreeMap<String, u64>,
    /// Path and reason of those that come first in the order of names, [`NAMED`](Self::NAMED) at
    /// most.
    pub named: BTreeSet<(String, String)>,
}

impl Skipped {
    /// How many are named.
    pub const NAMED: usize = 40;

    /// Notes one more.
    pub fn add(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        let reason = reason.into();
        self.count(&reason, 1);
        self.name(path.into(), reason);
    }

    /// Adds what another counted. The order in which many are merged does not matter. What is
    /// merged twice counts twice.
    pub fn merge(&mut self, other: Self) {
        other.counts.iter().for_each(|(reason, count)| self.count(reason, *count));
        other.named.into_iter().for_each(|(path, reason)| self.name(path, reason));
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The counts in words: `binary: 3, empty: 1`.
    pub fn in_words(&self) -> String {
        let words = self.counts.iter().map(|(reason, count)| format!("{reason}: {count}"));
        words.collect::<Vec<_>>().join(", ")
    }

    fn count(&mut self, reason: &str, count: u64) {
        let sum = self.counts.entry(reason.to_owned()).or_default();
        *sum = sum.saturating_add(count);
    }

    fn name(&mut self, path: String, reason: String) {
        self.named.insert((path, reason));
        if self.named.len() > Self::NAMED {
            self.named.pop_last();
        }
    }
}
