//! The agent that concludes: ranks the evidence, groups it, and says what it comes to.

use std::collections::BTreeMap;

use segue::{
    Failure,
    agents::{Reply, Turn},
    evidence::markdown,
};

use crate::evidence::{Brief, Checked, Synthesis};

/// How many files and definitions the conclusions speak of.
const SPOKEN_OF: usize = 3;

/// Takes a turn.
///
/// # Errors
/// When its prompt is no brief.
pub async fn turn(turn: Turn) -> Result<Reply, Failure> {
    let brief: Brief = serde_json::from_str(&turn.prompt)?;
    let synthesis = tokio::task::spawn_blocking(move || conclude(brief)).await?;
    Reply::value(&synthesis)
}

/// Only verified evidence is ranked and concluded from; what is unverified comes last.
fn conclude(brief: Brief) -> Synthesis {
    let weights = Weights::of(&brief);
    let Brief { question, evidence, hits, .. } = brief;
    let (mut findings, unverified): (Vec<_>, Vec<_>) =
        evidence.into_iter().partition(Checked::is_verified);
    // Stable: equals stay in the order of paths and lines.
    findings.sort_by_key(|checked| std::cmp::Reverse(weights.score(checked)));
    let by_file = by_file(&findings, &weights);
    let by_term: Vec<_> =
        question.terms.iter().map(|term| (term.clone(), having(&findings, term))).collect();
    let mut conclusions = vec![overview(&findings, &by_file, unverified.len())];
    conclusions.extend(together(&findings, question.terms.len()));
    conclusions.extend(definitions(&findings));
    conclusions.extend(by_file.iter().take(SPOKEN_OF).map(|file| of_file(file, &findings)));
    let missing =
        question.terms.iter().filter(|term| hits.get(*term).is_none_or(|hits| *hits == 0));
    conclusions.extend(missing.map(|term| format!("No line that was read mentions `{term}`.")));
    findings.extend(unverified);
    Synthesis { conclusions, findings, by_file, by_term }
}

/// What a term is worth: the rarer, the more.
struct Weights(BTreeMap<String, u64>);

impl Weights {
    fn of(brief: &Brief) -> Self {
        let weight = |hits: u64| 1 + u64::from((brief.lines / hits.max(1)).max(1).ilog2());
        let weights = brief.hits.iter().map(|(term, hits)| (term.clone(), weight(*hits)));
        Self(weights.collect())
    }

    fn score(&self, checked: &Checked) -> u64 {
        let terms = &checked.finding.terms;
        let sum: u64 = terms.iter().filter_map(|term| self.0.get(term)).sum();
        let definition = u64::from(checked.finding.defines.is_some());
        sum * (2 * terms.len() as u64 + definition)
    }
}

/// Files by the sum of their findings' scores.
fn by_file(findings: &[Checked], weights: &Weights) -> Vec<(String, Vec<usize>)> {
    let mut files: BTreeMap<&str, (u64, Vec<usize>)> = BTreeMap::new();
    for (no, checked) in findings.iter().enumerate() {
        let (score, places) = files.entry(&checked.finding.citation.path).or_default();
        *score += weights.score(checked);
        places.push(no);
    }
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_by_key(|(path, (score, _))| (std::cmp::Reverse(*score), *path));
    let places = files.into_iter().map(|(path, (_, places))| (path.to_owned(), places));
    places.collect()
}

fn having(findings: &[Checked], term: &String) -> Vec<usize> {
    let with = findings.iter().enumerate();
    with.filter(|(_, checked)| checked.finding.terms.contains(term)).map(|(no, _)| no).collect()
}

fn overview(findings: &[Checked], by_file: &[(String, Vec<usize>)], unverified: usize) -> String {
    let Some((best, _)) = by_file.first() else {
        return "Nothing that was read has to do with the question.".into();
    };
    let doubt = match unverified {
        0 => String::new(),
        count => format!(" {count} more could not be verified and are left out of account."),
    };
    format!(
        "{} verified findings in {} files have to do with the question; the most telling file \
         is {}.{doubt}",
        findings.len(),
        by_file.len(),
        markdown::code(best),
    )
}

/// The place where most of the terms meet.
fn together(findings: &[Checked], terms: usize) -> Option<String> {
    let most = findings.iter().map(|checked| checked.finding.terms.len()).max()?;
    let best = findings.iter().find(|checked| checked.finding.terms.len() == most)?;
    (most > 1).then(|| {
        format!(
            "{most} of {terms} terms ({}) meet at {}.",
            best.finding.terms.join(", "),
            markdown::code(&best.finding.citation.place()),
        )
    })
}

fn definitions(findings: &[Checked]) -> Option<String> {
    let defining = findings.iter().filter_map(|checked| {
        let name = checked.finding.defines.as_ref()?;
        let place = checked.finding.citation.place();
        Some(format!("{} ({})", markdown::code(name), markdown::code(&place)))
    });
    let named: Vec<_> = defining.take(2 * SPOKEN_OF).collect();
    (!named.is_empty()).then(|| format!("Defined there: {}.", named.join(", ")))
}

fn of_file((path, places): &(String, Vec<usize>), findings: &[Checked]) -> String {
    let best = &findings[places[0]].finding;
    let first = best.citation.quote.lines().next().unwrap_or("").trim();
    format!(
        "{} has {} of the findings; the best of them is {}: {}.",
        markdown::code(path),
        places.len(),
        markdown::code(&best.citation.place()),
        markdown::code(&markdown::shortened(first, 100)),
    )
}
