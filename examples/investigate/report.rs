//! The report: a pure function of what the steps returned, written by `segue::evidence`.

use std::path::Path;

use segue::evidence::{self, Claim, End, Ledger, Limits, Section, claim_name, markdown};

use crate::evidence::{Checked, Question, Reading, Survey, Synthesis};

/// How many groups are shown, and how many findings of each.
const GROUPS: usize = 12;
const OF_A_GROUP: usize = 8;

/// Writes the report in Markdown.
pub fn report(
    question: &Question,
    survey: &Survey,
    readings: &[Reading],
    synthesis: &Synthesis,
) -> String {
    let by_term = with_hits(&synthesis.by_term, readings);
    let by_file = synthesis.by_file.iter();
    let by_file = by_file.map(|(path, places)| (markdown::code(path), places.clone())).collect();
    evidence::Report {
        question: question.text.clone(),
        opening: opening(question, survey, readings, synthesis),
        claims: synthesis.findings.iter().map(claim).collect(),
        sections: vec![
            groups("By file", by_file),
            groups("By term", by_term),
            by_reader(survey, readings),
        ],
        ledger: ledger(survey, readings),
        units: "files".into(),
        ..evidence::Report::default()
    }
    .markdown()
}

fn opening(
    question: &Question,
    survey: &Survey,
    readings: &[Reading],
    synthesis: &Synthesis,
) -> String {
    let files: u64 = survey.areas.iter().map(|area| area.files).sum();
    let read: u64 = readings.iter().map(|reading| reading.files).sum();
    let lines: u64 = readings.iter().map(|reading| reading.lines).sum();
    let conclusions = synthesis.conclusions.iter().map(|it| format!("- {it}\n"));
    format!(
        "In {}, searched for: {}. {read} of {files} text files were read, {lines} lines.\n\n\
         ## Summary\n\n{}",
        markdown::code(&question.folder),
        markdown::escape(&question.terms.join(", ")),
        conclusions.collect::<String>(),
    )
}

/// What a finding claims, with its one citation.
fn claim(checked: &Checked) -> evidence::Checked {
    let Checked { finding, verdict } = checked;
    let has = format!("has {}", finding.terms.join(", "));
    let text = match &finding.defines {
        Some(name) => format!("{has}; defines {name}"),
        None => has,
    };
    let claim = Claim { text, citations: vec![finding.citation.clone()] };
    evidence::Checked { claim, verdicts: vec![verdict.clone()] }
}

fn groups(title: &str, groups: Vec<(String, Vec<usize>)>) -> Section {
    let mut body = String::new();
    for (name, places) in groups.iter().take(GROUPS) {
        let shown = places.iter().filter(|no| **no < Limits::default().claims);
        let best: Vec<_> = shown.take(OF_A_GROUP).map(|no| claim_name(*no)).collect();
        let best = match best.is_empty() {
            true => String::new(),
            false => format!(" ({})", best.join(", ")),
        };
        body.push_str(&format!("- {name}: {} findings{best}\n", places.len()));
    }
    if groups.len() > GROUPS {
        body.push_str(&format!("- {} more\n", groups.len() - GROUPS));
    }
    Section { title: title.into(), body }
}

/// Terms with the number of lines that have them.
fn with_hits(terms: &[(String, Vec<usize>)], readings: &[Reading]) -> Vec<(String, Vec<usize>)> {
    let hits = |term| {
        let of_readers = readings.iter().filter_map(|reading| reading.hits.get(term));
        of_readers.sum::<u64>()
    };
    let named = terms.iter().map(|(term, places)| {
        let name = format!("{} (in {} lines)", markdown::escape(term), hits(term));
        (name, places.clone())
    });
    named.collect()
}

fn by_reader(survey: &Survey, readings: &[Reading]) -> Section {
    let mut body = "| reader | bytes | lines | findings |\n|---|---|---|---|\n".to_owned();
    for (no, (area, reading)) in survey.areas.iter().zip(readings).enumerate() {
        let (lines, found) = (reading.lines, reading.findings.len());
        body.push_str(&format!("| {} | {} | {lines} | {found} |\n", no + 1, area.bytes));
    }
    Section { title: "By reader".into(), body }
}

/// Every file that the survey gave to a reader, and what became of it.
fn ledger(survey: &Survey, readings: &[Reading]) -> Ledger {
    let mut ledger = Ledger { skipped: survey.skipped.clone(), ..Ledger::default() };
    for (no, (area, reading)) in survey.areas.iter().zip(readings).enumerate() {
        let reader = format!("reader {}", no + 1);
        for (folder, names) in &area.folders {
            for name in names {
                let path = Path::new(folder).join(name).to_string_lossy().into_owned();
                ledger.expect(&path, &reader);
                match (reading.unread.get(&path), &reading.gap) {
                    (Some(reason), _) => ledger.miss(path, &reader, reason),
                    (None, None) => ledger.cover(path, &reader),
                    (None, Some(_)) => {}
                }
            }
        }
        ledger.end(reader, reading.gap.clone().map_or(End::Completed, End::Failed));
    }
    ledger
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::evidence::Area;

    #[test]
    fn a_reader_that_failed_covers_nothing() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let folders = BTreeMap::from([("f".to_owned(), names)]);
        let area = Area { files: 2, bytes: 9, folders };
        let survey = Survey { areas: vec![area], skipped: Default::default() };
        let whole = Reading::default();
        assert_eq!(ledger(&survey, std::slice::from_ref(&whole)).covered_of(), (2, 2));
        let failed = Reading { gap: Some("it panicked".into()), ..whole };
        assert_eq!(ledger(&survey, &[failed]).covered_of(), (0, 2));
    }
}
