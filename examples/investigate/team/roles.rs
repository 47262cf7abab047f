//! What the agent is asked in each of its roles, and what it answers.

use segue::evidence::{Checked, Citation, Claim, Standing, claim_name};
use serde::{Deserialize, Serialize};

use crate::evidence::Question;

/// What readers look for, one each.
const ANGLES: [&str; 6] = [
    "Where it is: the definitions, and the way that control takes through them.",
    "What goes wrong: errors, limits, retries, what is refused and what is not handled.",
    "The data: what is stored, who changes it, and what must hold of it.",
    "Who uses it: callers, tests, examples, and what they take for granted.",
    "What it is told: configuration, defaults, the environment, documentation that says otherwise.",
    "What happens at the same time: concurrency, order, shutdown, crashes.",
];

/// How much of the evidence one is told.
const TOLD: usize = 60;

/// What a reader brings back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// What it found, with where it is written.
    pub findings: Vec<Claim>,
}

/// What it all comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// The answer in a few sentences.
    pub answer: String,
    /// What it consists of.
    pub points: Vec<Point>,
}

/// A part of the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What is said.
    pub text: String,
    /// The evidence that it rests on, by its names.
    #[serde(default)]
    pub rests_on: Vec<String>,
}

/// What a validator makes of the points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// One for each point.
    pub verdicts: Vec<Judgement>,
}

/// What a validator makes of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Which point, from 1.
    pub point: usize,
    /// What it says.
    pub verdict: Verdict,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// Where that is written.
    #[serde(default)]
    pub citations: Vec<Citation>,
}

/// What became of a point that someone tried to refute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It can't be refuted.
    Confirmed,
    /// A part of it is wrong.
    Partly,
    /// It is wrong.
    Refuted,
}

/// How a citation is asked for.
const CITATION: &str = r#"{"path": "folder/file", "first": 10, "last": 12, "quote": "..."}"#;

const HOW_TO_CITE: &str = "Paths are relative to the folder that you work in. A quote is copied from \
    the lines first to last, character for character; code checks each of them, and what it does \
    not find counts for nothing. Change no file. End with nothing but the JSON.";

/// The prompt of a reader.
pub fn reader(question: &Question, no: usize, of: usize) -> String {
    let angle = ANGLES[(no - 1) % ANGLES.len()];
    format!(
        "You are reader {no} of {of}. Each has an angle of its own, and they work side by side.\n\
         Question: {}\n\
         Your angle: {angle}\n\n\
         Read the files of the folder that you work in, and answer with up to ten findings as JSON:\n\
         {{\"findings\": [{{\"text\": \"what you found\", \"citations\": [{CITATION}]}}]}}\n\n\
         {HOW_TO_CITE}",
        question.text
    )
}

/// The prompt of who concludes. Evidence that could not be verified is left out.
pub fn synthesizer((question, evidence): (Question, Vec<Checked>)) -> String {
    format!(
        "You conclude an investigation. Say nothing that the evidence does not carry.\n\
         Question: {}\n\n\
         The evidence, verified by code:\n{}\n\
         Answer as JSON:\n\
         {{\"answer\": \"in a few sentences\", \"points\": [{{\"text\": \"a part of the answer\", \
         \"rests_on\": [\"C1\"]}}]}}\n\n\
         Change no file. End with nothing but the JSON.",
        question.text,
        listed(&evidence)
    )
}

/// The prompt of a validator. They all get the same, and know nothing of each other.
pub fn validator(told: (Question, Vec<Checked>, Conclusion)) -> String {
    let (question, evidence, conclusion) = told;
    let points = conclusion.points.iter().enumerate();
    let points = points
        .map(|(no, point)| format!("{}. {} ({})\n", no + 1, point.text, point.rests_on.join(", ")));
    format!(
        "You are a validator: try to refute each point of an answer by what the files say.\n\
         Question: {}\n\n\
         The points, with the evidence that they rest on:\n{}\n\
         The evidence, verified by code:\n{}\n\
         Look into the files yourself. Answer as JSON, with a verdict of `confirmed`, `partly` or \
         `refuted` for each point:\n\
         {{\"verdicts\": [{{\"point\": 1, \"verdict\": \"confirmed\", \"why\": \"...\", \
         \"citations\": [{CITATION}]}}]}}\n\n\
         A point is refuted by a citation only. {HOW_TO_CITE}",
        question.text,
        points.collect::<String>(),
        listed(&evidence)
    )
}

/// The evidence that was verified, by its names.
fn listed(evidence: &[Checked]) -> String {
    let all = evidence.iter().enumerate();
    let good = all.filter(|(_, checked)| checked.standing() == Standing::Verified);
    let told = good.take(TOLD).map(|(no, checked)| {
        let citations = checked.claim.citations.iter().map(|citation| format!("{citation}\n"));
        format!("{}: {}\n{}", claim_name(no), checked.claim.text, citations.collect::<String>())
    });
    told.collect()
}

/// What readers found, each thing once.
pub fn merged(notes: Vec<Notes>) -> Vec<Claim> {
    let mut all: Vec<Claim> = Vec::new();
    for claim in notes.into_iter().flat_map(|notes| notes.findings) {
        let places =
            |claim: &Claim| claim.citations.iter().map(Citation::place).collect::<Vec<_>>();
        let is_known = |known: &Claim| {
            let is_cited = claim.is_cited() && places(known) == places(&claim);
            is_cited || known.text == claim.text
        };
        if !all.iter().any(is_known) {
            all.push(claim);
        }
    }
    all
}

/// What validators say, as claims that can be checked, in the order of their verdicts.
pub fn objections(reviews: &[Review]) -> Vec<Claim> {
    let verdicts = reviews.iter().flat_map(|review| &review.verdicts);
    let claim = |it: &Judgement| Claim { text: it.why.clone(), citations: it.citations.clone() };
    verdicts.map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(text: &str, place: &str) -> Claim {
        Claim { text: text.into(), citations: vec![place.parse().expect("a citation")] }
    }

    #[test]
    fn what_two_readers_found_is_told_once() {
        let first = Notes { findings: vec![claim("it is here", "a.rs:1"), claim("b", "b.rs:2")] };
        let second = Notes { findings: vec![claim("the place", "a.rs:1"), claim("c", "b.rs:3")] };
        let texts = merged(vec![first, second]).into_iter().map(|claim| claim.text);
        assert_eq!(texts.collect::<Vec<_>>(), ["it is here", "b", "c"]);
    }
}
