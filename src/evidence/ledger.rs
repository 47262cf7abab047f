//! The ledger of coverage: what was to be read, by whom, and what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::Skipped;

/// What was expected, what was covered by whom, and what is missing and why.
///
/// A *unit* is whatever coverage is counted in, by name: a file, a folder, an area. A *reader* is
/// whoever covers units, by name: a step, an agent. Each part of a run may keep a ledger of its
/// own; they are [merged](Self::merge) in any order. A unit that was expected once never
/// disappears: it is covered, or it is [missing](Self::missing) with a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The units by name, those that were covered without being expected too.
    pub units: BTreeMap<String, Unit>,
    /// How readers ended. One that failed and completed when it was tried again has both.
    pub ends: BTreeMap<String, BTreeSet<End>>,
    /// What was seen and is not expected to be read.
    pub skipped: Skipped,
}

/// What is known of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unit {
    /// Whether it was to be covered.
    pub expected: bool,
    /// The readers that were to cover it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub assigned: BTreeSet<String>,
    /// The readers that did.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub covered: BTreeSet<String>,
    /// The readers that could not, with their reasons.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub missed: BTreeSet<(String, String)>,
}

/// How a reader or a step ended, the best end first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It returned something.
    Completed,
    /// It failed, for this reason.
    Failed(String),
    /// It was never started, for this reason.
    Skipped(String),
    /// Someone cancelled it, for this reason.
    Cancelled(String),
}

/// What one reader was to do, and did. Those that nobody was to cover have no reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage<'a> {
    /// The reader. None: of no one.
    pub reader: Option<&'a str>,
    /// The best of its ends. None: nothing is known of it.
    pub end: Option<&'a End>,
    /// How many units were expected of it.
    pub expected: u64,
    /// How many units it covered, expected or not.
    pub covered: u64,
    /// The expected units that nobody covered, in order.
    pub missing: Vec<&'a str>,
}

impl Ledger {
    /// A unit is to be covered by this reader.
    pub fn expect(&mut self, unit: impl Into<String>, reader: impl Into<String>) {
        let unit = self.unit(unit);
        unit.expected = true;
        unit.assigned.insert(reader.into());
    }

    /// A unit is to be covered, and nobody is to do it. It is missing until someone does.
    pub fn expect_of_nobody(&mut self, unit: impl Into<String>) {
        self.unit(unit).expected = true;
    }

    /// A reader covered a unit.
    pub fn cover(&mut self, unit: impl Into<String>, reader: impl Into<String>) {
        self.unit(unit).covered.insert(reader.into());
    }

    /// A reader could not cover a unit. If no other does, it is missing, for this reason.
    pub fn miss(
        &mut self,
        unit: impl Into<String>,
        reader: impl Into<String>,
        reason: impl Into<String>,
    ) {
        self.unit(unit).missed.insert((reader.into(), reason.into()));
    }

    /// A reader ended. What it did not cover by then is missing; what it did stays covered.
    pub fn end(&mut self, reader: impl Into<String>, end: End) {
        self.ends.entry(reader.into()).or_default().insert(end);
    }

    /// Adds what another ledger says. It does not matter which is merged into which, in which
    /// order, and how they are grouped. Merging the same one twice changes nothing but the counts
    /// of what was skipped.
    pub fn merge(&mut self, other: Self) {
        for (name, unit) in other.units {
            let own = self.units.entry(name).or_default();
            own.expected |= unit.expected;
            own.assigned.extend(unit.assigned);
            own.covered.extend(unit.covered);
            own.missed.extend(unit.missed);
        }
        for (reader, ends) in other.ends {
            self.ends.entry(reader).or_default().extend(ends);
        }
        self.skipped.merge(other.skipped);
    }

    /// How many units were expected, and how many of them were covered.
    pub fn covered_of(&self) -> (u64, u64) {
        let expected = self.units.values().filter(|unit| unit.expected);
        let covered = expected.clone().filter(|unit| !unit.covered.is_empty());
        (covered.count() as u64, expected.count() as u64)
    }

    /// The expected units that nobody covered, with the reasons, in the order of names.
    pub fn missing(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let missing = self.units.iter().filter(|(_, unit)| unit.is_missing());
        missing.map(|(name, unit)| (name.as_str(), self.reasons(unit)))
    }

    /// What each reader did, in the order of names, and last, if there are any, the units that
    /// nobody was to cover.
    pub fn coverage(&self) -> Vec<Coverage<'_>> {
        let mut rows: BTreeMap<Option<&str>, Coverage<'_>> = BTreeMap::new();
        for reader in self.ends.keys() {
            self.row(&mut rows, Some(reader));
        }
        for (name, unit) in &self.units {
            let mut readers: Vec<_> = unit.assigned.iter().map(|it| Some(it.as_str())).collect();
            if readers.is_empty() && unit.expected {
                readers.push(None);
            }
            for reader in readers {
                let row = self.row(&mut rows, reader);
                row.expected += 1;
                row.missing.extend(unit.is_missing().then_some(name.as_str()));
            }
            for reader in &unit.covered {
                self.row(&mut rows, Some(reader)).covered += 1;
            }
            for (reader, _) in &unit.missed {
                self.row(&mut rows, Some(reader));
            }
        }
        let of_nobody = rows.remove(&None);
        rows.into_values().chain(of_nobody).collect()
    }

    /// The best of a reader's ends: the one that counts when it was tried more than once.
    pub fn end_of(&self, reader: &str) -> Option<&End> {
        self.ends.get(reader)?.first()
    }

    fn unit(&mut self, name: impl Into<String>) -> &mut Unit {
        self.units.entry(name.into()).or_default()
    }

    fn row<'a, 'b>(
        &'a self,
        rows: &'b mut BTreeMap<Option<&'a str>, Coverage<'a>>,
        reader: Option<&'a str>,
    ) -> &'b mut Coverage<'a> {
        rows.entry(reader).or_insert_with(|| Coverage {
            reader,
            end: reader.and_then(|reader| self.end_of(reader)),
            expected: 0,
            covered: 0,
            missing: Vec::new(),
        })
    }

    /// Why a unit is missing: what its readers said, or how they ended, or that nothing is known.
    fn reasons(&self, unit: &Unit) -> Vec<String> {
        let said = unit.missed.iter().map(|(reader, reason)| format!("{reader}: {reason}"));
        let silent = unit.assigned.iter().filter(|reader| {
            let mut said = unit.missed.iter().map(|(name, _)| name);
            !said.any(|name| name == *reader)
        });
        let silent = silent.map(|reader| match self.end_of(reader) {
            Some(End::Completed) | None => format!("{reader} did not say why"),
            Some(end) => format!("{reader} {end}"),
        });
        let mut reasons: Vec<_> = said.chain(silent).collect();
        if reasons.is_empty() {
            reasons.push("nobody was to cover it".into());
        }
        reasons
    }
}

impl Unit {
    /// Whether it was expected, and nobody covered it.
    pub fn is_missing(&self) -> bool {
        self.expected && self.covered.is_empty()
    }
}

impl End {
    /// Why it did not complete, if it did not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Completed => None,
            Self::Failed(reason) | Self::Skipped(reason) | Self::Cancelled(reason) => Some(reason),
        }
    }

    /// What it did, to follow its name: `failed`, `was skipped`.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "was skipped",
            Self::Cancelled(_) => "was cancelled",
        }
    }
}

/// The verb, and the reason if there is one: `failed: out of tokens`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason().filter(|reason| !reason.trim().is_empty()) {
            Some(reason) => write!(f, "{}: {reason}", self.verb()),
            None => f.write_str(self.verb()),
        }
    }
}
