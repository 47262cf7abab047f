//! What was covered, and every gap by name.

use super::{Report, line};
use crate::evidence::{Coverage, End, Ledger, markdown};

/// The sections on coverage and gaps.
pub(super) fn coverage(text: &mut String, report: &Report) {
    let units = if report.units.is_empty() { "units" } else { &report.units };
    let units = &markdown::escape(units);
    let mut ledger = report.ledger.clone();
    let readers: Vec<String> =
        ledger.coverage().iter().filter_map(|row| row.reader).map(str::to_owned).collect();
    let (reading, other): (Vec<_>, Vec<_>) =
        report.steps.iter().partition(|step| readers.contains(&step.name));
    reading.iter().for_each(|step| ledger.end(&step.name, step.end.clone()));

    let (covered, expected) = ledger.covered_of();
    line(text, format_args!("\n## Coverage\n\n{covered} of {expected} {units} are covered.\n"));
    let rows = ledger.coverage();
    table(text, &rows);
    let mut gaps: Vec<_> = rows.iter().filter_map(|row| gap(row, units)).collect();
    gaps.extend(other.iter().filter(|step| step.end != End::Completed).map(|step| {
        let (name, end) = (markdown::escape(&step.name), markdown::escape(&step.end.to_string()));
        format!("- **Gap**: step {name} {end}")
    }));
    line(text, format_args!("\n## Gaps\n"));
    match gaps.is_empty() {
        true => text.push_str("No reader or step failed, and nothing is missing.\n"),
        false => gaps.iter().for_each(|gap| line(text, format_args!("{gap}"))),
    }
    missing(text, &ledger, report.limits.names);
    skipped(text, &ledger);
}

fn table(text: &mut String, rows: &[Coverage<'_>]) {
    if rows.is_empty() {
        return;
    }
    text.push_str("| reader | expected | covered | missing | end |\n|---|---|---|---|---|\n");
    for row in rows {
        let reader = row.reader.map_or("(nobody)".into(), markdown::escape);
        let end = row.end.map_or("", End::verb);
        let (expected, covered, missing) = (row.expected, row.covered, row.missing.len());
        line(text, format_args!("| {reader} | {expected} | {covered} | {missing} | {end} |"));
    }
}

/// What a reader left open: one that did not complete is a gap, whatever it covered.
fn gap(row: &Coverage<'_>, units: &str) -> Option<String> {
    let failed = row.end.filter(|end| **end != End::Completed);
    if failed.is_none() && row.missing.is_empty() {
        return None;
    }
    let reader = row.reader.map_or("nobody was given some".into(), markdown::escape);
    let did = match (failed, row.end, row.reader) {
        (Some(end), ..) => format!(" {}", end.verb()),
        (None, Some(_), _) => " completed, but left some out".into(),
        (None, None, Some(_)) => " did not say how it ended".into(),
        (None, None, None) => String::new(),
    };
    let reason = failed.and_then(End::reason).map(markdown::escape);
    let reason = reason.map(|reason| format!(" {reason}")).unwrap_or_default();
    Some(format!("- **Gap**: {reader}{did}, {}.{reason}", left(row, units)))
}

fn left(row: &Coverage<'_>, units: &str) -> String {
    let (expected, missing) = (row.expected, row.missing.len() as u64);
    let span = match (row.missing.first(), row.missing.last()) {
        (Some(first), Some(last)) if first != last => {
            format!(" ({} to {})", markdown::code(first), markdown::code(last))
        }
        (Some(one), _) => format!(" ({})", markdown::code(one)),
        _ => String::new(),
    };
    match (missing, row.reader) {
        (0, _) if expected == 0 => format!("no {units} were expected of it"),
        (0, _) => format!("all of its {expected} {units} are covered nevertheless"),
        (_, None) => format!("so {missing} {units} are not covered{span}"),
        _ if missing == expected => format!("so its {expected} {units} are not covered{span}"),
        _ => format!("so {missing} of its {expected} {units} are not covered{span}"),
    }
}

/// Each unit that is missing, with its reasons.
fn missing(text: &mut String, ledger: &Ledger, names: usize) {
    let mut missing = ledger.missing();
    let shown: Vec<_> = missing.by_ref().take(names).collect();
    if !shown.is_empty() {
        text.push_str("\nNot covered:\n\n");
    }
    for (name, reasons) in shown {
        let reasons = markdown::escape(&reasons.join("; "));
        line(text, format_args!("- {}: {reasons}", markdown::code(name)));
    }
    and_more(text, missing.count() as u64);
}

fn skipped(text: &mut String, ledger: &Ledger) {
    let skipped = &ledger.skipped;
    if skipped.total() == 0 {
        text.push_str("\nNothing was skipped.\n");
        return;
    }
    line(text, format_args!("\nSkipped: {}.\n", markdown::escape(&skipped.in_words())));
    for (path, reason) in &skipped.named {
        line(text, format_args!("- {}: {}", markdown::code(path), markdown::escape(reason)));
    }
    and_more(text, skipped.total().saturating_sub(skipped.named.len() as u64));
}

fn and_more(text: &mut String, more: u64) {
    if more > 0 {
        line(text, format_args!("- and {more} more"));
    }
}
