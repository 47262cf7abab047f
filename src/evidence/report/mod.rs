//! The report: a pure function of what a run brought.

mod gaps;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Checked, Citation, End, Ledger, Standing, Verdict, markdown};

/// All that a report is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// What was asked. It becomes the title.
    pub question: String,
    /// What stands below the title, in Markdown, as it is: make text of others safe by
    /// [`markdown`].
    pub opening: String,
    /// What is claimed, with the verdicts. Claims are numbered in this order, from `C1`.
    pub claims: Vec<Checked>,
    /// The host's own sections, between the claims and the quotes.
    pub sections: Vec<Section>,
    /// What was read, and what was not.
    pub ledger: Ledger,
    /// What the ledger's units are called, as a plural: `files`. Empty: `units`.
    pub units: String,
    /// How the steps of the run ended, readers or not. One that is named as a reader of the
    /// ledger ended so there too.
    pub steps: Vec<StepEnd>,
    /// How much is shown.
    pub limits: Limits,
}

/// A section of the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its title, as plain text.
    pub title: String,
    /// What stands in it, in Markdown, as it is.
    pub body: String,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnd {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub end: End,
}

/// How much a report shows. What it leaves out it counts. What is not verified is never left out,
/// nor are readers and steps that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Verified claims in the table, the first ones.
    pub claims: usize,
    /// Characters of a claim in the table.
    pub claim_chars: usize,
    /// Verified quotes in full, the first ones.
    pub quotes: usize,
    /// Lines of a quote.
    pub quote_lines: usize,
    /// Characters of a quote's line.
    pub quote_chars: usize,
    /// Names of units that are missing.
    pub names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            claims: 40,
            claim_chars: 500,
            quotes: 12,
            quote_lines: 60,
            quote_chars: 400,
            names: 40,
        }
    }
}

/// How the report calls a claim, by its place among the claims: `C1` is the first.
pub fn claim_name(place: usize) -> String {
    format!("C{}", place + 1)
}

/// How much of a quote stands in the table.
const BEGINNING_CHARS: usize = 90;

impl Report {
    /// The report in Markdown. The same report gives the same bytes.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n", markdown::escape(&self.question));
        if !self.opening.trim().is_empty() {
            line(&mut text, format_args!("\n{}", self.opening.trim_end()));
        }
        self.claims(&mut text);
        for section in &self.sections {
            let title = markdown::escape(&section.title);
            line(&mut text, format_args!("\n## {title}\n\n{}", section.body.trim_end()));
        }
        self.quotes(&mut text);
        gaps::coverage(&mut text, self);
        text
    }

    fn claims(&self, text: &mut String) {
        let verdicts = || self.claims.iter().flat_map(Checked::citations);
        let verified = verdicts().filter(|(_, verdict)| is_verified(*verdict)).count();
        let unverified = verdicts().count() - verified;
        let of_standing =
            |standing| self.claims.iter().filter(move |claim| claim.standing() == standing).count();
        let uncited = match of_standing(Standing::Uncited) {
            0 => String::new(),
            1 => " 1 claim cites nothing.".into(),
            count => format!(" {count} claims cite nothing."),
        };
        line(
            text,
            format_args!(
                "\n## Claims\n\n{} verified, {unverified} unverified.{uncited}",
                counted(verified, "citation")
            ),
        );
        if !self.claims.is_empty() {
            text.push_str("\n| no | claim | where | begins with | citation |\n");
            text.push_str("|---|---|---|---|---|\n");
        }
        let (good, others): (Vec<_>, Vec<_>) = (self.claims.iter().enumerate())
            .partition(|(_, claim)| claim.standing() == Standing::Verified);
        for (no, claim) in good.iter().take(self.limits.claims).chain(&others) {
            self.claim(text, *no, claim);
        }
        if good.len() > self.limits.claims {
            let more = good.len() - self.limits.claims;
            line(text, format_args!("\n{more} more of which all citations are verified."));
        }
    }

    /// A row for each citation of a claim, or one that says that there is none.
    fn claim(&self, text: &mut String, no: usize, checked: &Checked) {
        let name = claim_name(no);
        let said = markdown::shortened(&checked.claim.text, self.limits.claim_chars);
        let mut said = markdown::escape(&said);
        if !checked.claim.is_cited() {
            line(text, format_args!("| {name} | {said} | | | NO CITATION |"));
        }
        for (citation, verdict) in checked.citations() {
            let first = citation.quote.lines().map(str::trim).find(|line| !line.is_empty());
            let first = markdown::shortened(first.unwrap_or(""), BEGINNING_CHARS);
            line(
                text,
                format_args!(
                    "| {name} | {} | {} | {} | {} |",
                    std::mem::take(&mut said),
                    markdown::cell(&citation.place()),
                    markdown::cell(&first),
                    in_words(verdict)
                ),
            );
        }
    }

    /// The first verified quotes.
    fn quotes(&self, text: &mut String) {
        let all = self.claims.iter().enumerate();
        let all = all.flat_map(|(no, checked)| checked.citations().map(move |of| (no, of)));
        let verified = all.filter(|(_, (_, verdict))| is_verified(*verdict));
        let mut quotes = verified.map(|(no, (citation, _))| (no, citation)).peekable();
        if quotes.peek().is_some() && self.limits.quotes > 0 {
            text.push_str("\n## Evidence\n");
        }
        for (no, citation) in quotes.by_ref().take(self.limits.quotes) {
            self.quote(text, no, citation);
        }
        let more = quotes.count();
        if more > 0 && self.limits.quotes > 0 {
            line(text, format_args!("\n{more} more verified quotes are not shown."));
        }
    }

    fn quote(&self, text: &mut String, no: usize, citation: &Citation) {
        let (name, place) = (claim_name(no), markdown::code(&citation.place()));
        let cut = if citation.cut { " (the quote is cut)" } else { "" };
        let Limits { quote_lines, quote_chars, .. } = self.limits;
        let block = markdown::block(&citation.quote, quote_lines, quote_chars);
        line(text, format_args!("\n{name} {place}{cut}\n\n{block}"));
    }
}

fn is_verified(verdict: Option<&Verdict>) -> bool {
    verdict.is_some_and(Verdict::is_verified)
}

fn in_words(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict::Verified) => "verified".into(),
        Some(verdict) => format!("UNVERIFIED: {}", markdown::escape(&verdict.to_string())),
        None => "UNVERIFIED: not checked".into(),
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing into a string can't fail.
    let _ = writeln!(text, "{arguments}");
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
