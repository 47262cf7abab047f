//! The report: a pure function of what the steps returned.

use std::fmt::Write;

use crate::evidence::{Area, Checked, Question, Reading, Skipped, Survey, Synthesis, Verdict};

/// How many verified findings are shown. The run keeps all.
const SHOWN: usize = 40;

/// How many of them are quoted in full.
const QUOTED: usize = 12;

/// Writes the report in Markdown.
pub fn report(
    question: &Question,
    survey: &Survey,
    readings: &[Reading],
    synthesis: &Synthesis,
) -> String {
    let mut text = format!(
        "# {}\n\nIn `{}`, searched for: {}.\n\n## Summary\n\n",
        one_line(&question.text),
        question.folder,
        question.terms.join(", "),
    );
    for conclusion in &synthesis.conclusions {
        line(&mut text, format_args!("- {conclusion}"));
    }
    findings(&mut text, &synthesis.findings);
    groups(&mut text, "By file", &synthesis.by_file);
    groups(&mut text, "By term", &with_hits(&synthesis.by_term, readings));
    evidence(&mut text, &synthesis.findings);
    coverage(&mut text, survey, readings);
    text
}

/// The beginning of a text, with a sign where it was cut.
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing into a string can't fail.
    let _ = writeln!(text, "{arguments}");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text within a cell of a table, as code.
fn cell(text: &str) -> String {
    let plain = one_line(text).replace('|', "\\|").replace('`', "'");
    format!("`{}`", shortened(&plain, 90))
}

fn findings(text: &mut String, findings: &[Checked]) {
    let (verified, unverified): (Vec<_>, Vec<_>) =
        findings.iter().enumerate().partition(|(_, checked)| checked.is_verified());
    line(
        text,
        format_args!(
            "\n## Findings\n\n{} citations verified, {} unverified.\n",
            verified.len(),
            unverified.len()
        ),
    );
    text.push_str(
        "| no | where | terms | defines | begins with | citation |\n|---|---|---|---|---|---|\n",
    );
    for (no, checked) in verified.iter().take(SHOWN).chain(&unverified) {
        let finding = &checked.finding;
        let verdict = match &checked.verdict {
            Verdict::Verified => "verified".to_owned(),
            Verdict::Unverified(reason) => format!("UNVERIFIED: {}", one_line(reason)),
        };
        let defines = finding.defines.as_deref().map(cell).unwrap_or_default();
        let first = finding.citation.quote.lines().next().unwrap_or("");
        line(
            text,
            format_args!(
                "| F{} | {} | {} | {defines} | {} | {verdict} |",
                no + 1,
                cell(&finding.citation.place()).trim_matches('`'),
                finding.terms.join(", "),
                cell(first),
            ),
        );
    }
    if verified.len() > SHOWN {
        let more = verified.len() - SHOWN;
        line(text, format_args!("\n{more} more verified findings are kept in the run."));
    }
}

fn groups(text: &mut String, title: &str, groups: &[(String, Vec<usize>)]) {
    line(text, format_args!("\n## {title}\n"));
    for (name, places) in groups.iter().take(12) {
        let shown = places.iter().filter(|no| **no < SHOWN).take(8);
        let shown: Vec<_> = shown.map(|no| format!("F{}", no + 1)).collect();
        let best = match shown.is_empty() {
            true => String::new(),
            false => format!(" ({})", shown.join(", ")),
        };
        line(text, format_args!("- {name}: {} findings{best}", places.len()));
    }
    if groups.len() > 12 {
        line(text, format_args!("- {} more", groups.len() - 12));
    }
}

/// Terms with the number of lines that have them.
fn with_hits(terms: &[(String, Vec<usize>)], readings: &[Reading]) -> Vec<(String, Vec<usize>)> {
    let hits = |term| {
        let of_readers = readings.iter().filter_map(|reading| reading.hits.get(term));
        of_readers.sum::<u64>()
    };
    let named = terms.iter();
    named
        .map(|(term, places)| (format!("{term} (in {} lines)", hits(term)), places.clone()))
        .collect()
}

fn evidence(text: &mut String, findings: &[Checked]) {
    text.push_str("\n## Evidence\n");
    let verified = findings.iter().enumerate().filter(|(_, checked)| checked.is_verified());
    for (no, checked) in verified.take(QUOTED) {
        let citation = &checked.finding.citation;
        let fence = "`".repeat(3.max(1 + longest_run(&citation.quote)));
        let cut = if citation.cut { " (the quote is cut)" } else { "" };
        line(
            text,
            format_args!(
                "\nF{} {}{cut}\n{fence}text\n{}\n{fence}",
                no + 1,
                citation.place(),
                citation.quote
            ),
        );
    }
}

/// The longest run of backticks, which a fence must exceed.
fn longest_run(quote: &str) -> usize {
    quote.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn coverage(text: &mut String, survey: &Survey, readings: &[Reading]) {
    let files: u64 = survey.areas.iter().map(|area| area.files).sum();
    let read: u64 = readings.iter().map(|reading| reading.files).sum();
    let lines: u64 = readings.iter().map(|reading| reading.lines).sum();
    line(
        text,
        format_args!("\n## Coverage\n\n{read} of {files} text files were read, {lines} lines.\n"),
    );
    text.push_str("| reader | files | read | bytes | findings |\n|---|---|---|---|---|\n");
    for (no, (area, reading)) in survey.areas.iter().zip(readings).enumerate() {
        let (read, found) = (reading.files, reading.findings.len());
        let row =
            format_args!("| {} | {} | {read} | {} | {found} |", no + 1, area.files, area.bytes);
        line(text, row);
    }
    gaps(text, &survey.areas, readings);
    let mut skipped = survey.skipped.clone();
    readings.iter().for_each(|reading| skipped.merge(&reading.unread));
    not_read(text, &skipped);
}

/// Areas of readers that failed.
fn gaps(text: &mut String, areas: &[Area], readings: &[Reading]) {
    for (no, (area, reading)) in areas.iter().zip(readings).enumerate() {
        let Some(reason) = &reading.gap else {
            continue;
        };
        let first = area.folders.keys().next().map_or("", String::as_str);
        let last = area.folders.keys().next_back().map_or("", String::as_str);
        line(
            text,
            format_args!(
                "\n**Gap**: reader {} failed, so its {} files (folders `./{first}` to \
                 `./{last}`) are not covered. {}",
                no + 1,
                area.files,
                one_line(reason)
            ),
        );
    }
}

fn not_read(text: &mut String, skipped: &Skipped) {
    if skipped.total() == 0 {
        text.push_str("\nNothing was skipped.\n");
        return;
    }
    line(text, format_args!("\nSkipped: {}.\n", skipped.in_words()));
    for (path, reason) in &skipped.named {
        line(text, format_args!("- {}: {reason}", cell(path)));
    }
    let more = skipped.total().saturating_sub(skipped.named.len() as u64);
    if more > 0 {
        line(text, format_args!("- and {more} more"));
    }
}
