//! What the steps hand to each other. All of it is kept in the database as JSON.

use std::collections::BTreeMap;

use segue::evidence::{Citation, Skipped, Verdict};
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
    /// Files of its area that could not be read to their end, with the reason.
    pub unread: BTreeMap<String, String>,
    /// Why the reader failed, if it did: nothing of its area is covered.
    pub gap: Option<String>,
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
        self.verdict.is_verified()
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
