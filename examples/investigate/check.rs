//! Are the citations true? Code decides, not the one who cites.

use std::{collections::BTreeMap, io, path::Path};

use segue::Failure;
use tokio_util::sync::CancellationToken;

use crate::{
    evidence::{Checked, Citation, Finding, Reading, Verdict},
    lines::{self, Lines},
};

/// Looks every citation up in its file. All findings come back, in the order of the readers,
/// each with its verdict.
///
/// # Errors
/// When it was told to stop.
pub fn check(
    root: &Path,
    readings: Vec<Reading>,
    stop: &CancellationToken,
) -> Result<Vec<Checked>, Failure> {
    let mut files: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in readings.into_iter().flat_map(|reading| reading.findings) {
        files.entry(finding.citation.path.clone()).or_default().push(finding);
    }
    let mut checked = Vec::new();
    for (path, findings) in files {
        if stop.is_cancelled() {
            return Err(Failure::cancelled());
        }
        let verdicts = judge(root, &path, &findings);
        let pairs = findings.into_iter().zip(verdicts);
        checked.extend(pairs.map(|(finding, verdict)| Checked { finding, verdict }));
    }
    Ok(checked)
}

fn judge(root: &Path, path: &str, findings: &[Finding]) -> Vec<Verdict> {
    match cited_lines(root, path, findings) {
        Ok(lines) => findings.iter().map(|finding| compare(&finding.citation, &lines)).collect(),
        Err(error) => {
            let verdict = Verdict::Unverified(format!("the file can't be read: {error}"));
            vec![verdict; findings.len()]
        }
    }
}

/// The lines that are cited, by number. None: not UTF-8.
fn cited_lines(
    root: &Path,
    path: &str,
    findings: &[Finding],
) -> io::Result<BTreeMap<u64, Option<String>>> {
    let mut cited = BTreeMap::new();
    for finding in findings {
        let Citation { first, last, .. } = finding.citation;
        cited.extend((first..=last).map(|no| (no, None)));
    }
    let mut found = BTreeMap::new();
    let mut lines = Lines::open(&root.join(path))?;
    let (mut no, most) = (0, cited.last_key_value().map_or(0, |(no, _): (&u64, &Option<()>)| *no));
    while no < most
        && let Some(line) = lines.next()?
    {
        no += 1;
        if cited.contains_key(&no) {
            found.insert(no, lines::text(line).map(str::to_owned));
        }
    }
    Ok(found)
}

fn compare(citation: &Citation, lines: &BTreeMap<u64, Option<String>>) -> Verdict {
    let mut there = Vec::new();
    for no in citation.first..=citation.last {
        match lines.get(&no) {
            Some(Some(line)) => there.push(line.as_str()),
            Some(None) => return Verdict::Unverified(format!("line {no} is not UTF-8")),
            None => return Verdict::Unverified(format!("there is no line {no}")),
        }
    }
    let there = there.join("\n");
    let same = match citation.cut {
        true => there.starts_with(&citation.quote),
        false => there == citation.quote,
    };
    match same {
        true => Verdict::Verified,
        false => Verdict::Unverified("the lines say something else".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_must_match_exactly() {
        let lines = BTreeMap::from([
            (1, Some("one".to_owned())),
            (2, Some("two and more".to_owned())),
            (3, None),
        ]);
        for (first, last, quote, cut, good) in [
            (1, 1, "one", false, true),
            (1, 2, "one\ntwo and more", false, true),
            (1, 2, "one\ntwo", true, true),
            (1, 2, "one\ntwo", false, false),
            (1, 1, "One", false, false),
            (2, 3, "two and more", true, false),
            (4, 4, "four", false, false),
        ] {
            let path = "file".to_owned();
            let quote = quote.to_owned();
            let citation = Citation { path, first, last, quote, cut };
            let verdict = compare(&citation, &lines);
            assert_eq!(verdict == Verdict::Verified, good, "{citation:?} {verdict:?}");
        }
    }
}
