//! What the steps hand to each other. All of it is kept in the database as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a run is launched with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// The folder, absolute.
    pub folder: String,
    /// The question.
    pub text: String,
    /// The words of the question that are searched for.
    pub terms: Vec<String>,
}

/// What is in the folder, and who reads what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Survey {
    /// One for each reader.
    pub areas: Vec<Area>,
    /// What is not read.
    pub skipped: Skipped,
}

/// The part of the folder that one reader reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Area {
    /// How many files it has.
    pub files: u64,
    /// How large they are together.
    pub bytes: u64,
    /// The files' names by folder, both relative to the folder that is investigated.
    pub folders: BTreeMap<String, Vec<String>>,
}

/// Things that were not read: all are counted, some are named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many, by reason.
    pub counts: BTreeMap<String, u64>,
    /// The first of them: path and reason.
    pub named: Vec<(String, String)>,
}

/// How many skipped things are named.
const NAMED: usize = 40;

impl Skipped {
    /// Notes one more.
    pub fn add(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        let reason = reason.into();
        *self.counts.entry(reason.clone()).or_default() += 1;
        if self.named.len() < NAMED {
            self.named.push((path.into(), reason));
        }
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        for (reason, count) in &other.counts {
            *self.counts.entry(reason.clone()).or_default() += count;
        }
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.iter().take(room).cloned());
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The counts in words: `binary: 3, empty: 1`.
    pub fn in_words(&self) -> String {
        let words: Vec<_> =
            self.counts.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
        words.join(", ")
    }
}

/// Where something is written, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// The file, relative to the folder.
    pub path: String,
    /// Its first line, from 1.
    pub first: u64,
    /// Its last line.
    pub last: u64,
    /// The text of these lines, without the last line's end.
    pub quote: String,
    /// The quote ends before the lines do.
    pub cut: bool,
}

impl Citation {
    /// `path:first-last`.
    pub fn place(&self) -> String {
        format!("{}:{}-{}", self.path, self.first, self.last)
    }
}

/// Something that a reader found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Where.
    pub citation: Citation,
    /// The terms that are there.
    pub terms: Vec<String>,
    /// What these lines define, if they define something that has to do with a term.
    pub defines: Option<String>,
}

/// What one reader brings back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Files that were read.
    pub files: u64,
    /// Their lines.
    pub lines: u64,
    /// How many lines have each term.
    pub hits: BTreeMap<String, u64>,
    /// The best findings.
    pub findings: Vec<Finding>,
    /// Files of its area that could not be read.
    pub unread: Skipped,
    /// Why the reader failed, if it did: its area is a gap.
    pub gap: Option<String>,
}

/// What a look into the file said about a citation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The lines are there, and say what is quoted.
    Verified,
    /// They are not, or don't, for this reason.
    Unverified(String),
}

/// A finding with the verdict on its citation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The finding.
    pub finding: Finding,
    /// The verdict.
    pub verdict: Verdict,
}

impl Checked {
    /// Whether its citation was verified.
    pub fn is_verified(&self) -> bool {
        self.verdict == Verdict::Verified
    }
}

/// What is given to the agent that concludes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Brief {
    /// The question.
    pub question: Question,
    /// All lines that were read.
    pub lines: u64,
    /// How many lines have each term.
    pub hits: BTreeMap<String, u64>,
    /// The evidence.
    pub evidence: Vec<Checked>,
}

/// What it all says: what a run returns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Synthesis {
    /// In sentences, each with its evidence.
    pub conclusions: Vec<String>,
    /// Verified findings, best first, then those that could not be verified.
    pub findings: Vec<Checked>,
    /// Files by how much they have to do with the question, best first: the file and its
    /// findings, as places in `findings`.
    pub by_file: Vec<(String, Vec<usize>)>,
    /// The same by term, in the order of the question.
    pub by_term: Vec<(String, Vec<usize>)>,
}
