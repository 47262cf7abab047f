//! Are the citations true? Code decides, not the one who cites.

use std::{collections::BTreeMap, io};

use tokio_util::sync::CancellationToken;

use super::{Checked, Citation, Claim, Tree, Verdict, lines::Lines, needle::Needle, resolve};

/// Looks citations up in a tree. One verdict comes back for each, in their order; None when it
/// was told to stop.
///
/// It reads files and blocks the thread meanwhile: in an async function, run it by
/// `spawn_blocking`.
///
/// # What is compared
///
/// * A citation is [verified](Verdict::Verified) when all of its lines exist and its quote stands
///   within them. It may be a part of them, and may leave out the beginning or the end of a line.
/// * Whitespace is compared as such: any run of spaces, tabs and line breaks, in the quote as in
///   the file, is one space. Indentation, line ends and where a line is broken don't count.
///   Whether there is whitespace at all does: `a+b` is not `a + b`.
/// * All else is compared byte for byte. A quote neither begins nor ends within a word (letters,
///   digits, `_`): `x = 1` is not quoted from `max = 10`. Only the end of a quote that says that
///   it is [cut](Citation::cut) may.
///
/// # What it costs
///
/// A file is read in pieces, never as a whole, in time that grows with its size and the number of
/// its citations. It is read up to the last cited line, and once more when a quote was not found
/// there. A binary file is given up after its first 8 KiB.
pub fn check<'a>(
    tree: &dyn Tree,
    citations: impl IntoIterator<Item = &'a Citation>,
    stop: &CancellationToken,
) -> Option<Vec<Verdict>> {
    let citations: Vec<_> = citations.into_iter().collect();
    let mut files: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (no, citation) in citations.iter().enumerate() {
        files.entry(&citation.path).or_default().push(no);
    }
    let mut verdicts = BTreeMap::new();
    for (path, places) in files {
        let searches = places.iter().map(|no| Search::new(citations[*no])).collect();
        verdicts.extend(places.into_iter().zip(judge(tree, path, searches, stop)?));
    }
    Some(verdicts.into_values().collect())
}

/// Like [`check`], for the citations of claims.
pub fn check_claims(
    tree: &dyn Tree,
    claims: Vec<Claim>,
    stop: &CancellationToken,
) -> Option<Vec<Checked>> {
    let verdicts = check(tree, claims.iter().flat_map(|claim| &claim.citations), stop)?;
    let mut verdicts = verdicts.into_iter();
    let checked = claims.into_iter().map(|claim| {
        let own = verdicts.by_ref().take(claim.citations.len()).collect();
        Checked { claim, verdicts: own }
    });
    Some(checked.collect())
}

/// Why a file was not read to where it should be.
enum Halt {
    Stopped,
    Unreadable(String),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The verdicts on all citations of one path.
fn judge(
    tree: &dyn Tree,
    path: &str,
    mut searches: Vec<Search<'_>>,
    stop: &CancellationToken,
) -> Option<Vec<Verdict>> {
    let count = searches.len();
    let looked = match resolve(tree, path) {
        Ok(path) => look(tree, &path, &mut searches, stop),
        Err(verdict) => return Some(vec![verdict; count]),
    };
    match looked {
        Ok(lines) => Some(searches.iter().map(|search| search.verdict(lines)).collect()),
        Err(Halt::Unreadable(reason)) => Some(vec![Verdict::Unreadable(reason); count]),
        Err(Halt::Stopped) => None,
    }
}

/// Looks at the cited lines, and where that is not enough everywhere. Returns how many lines there
/// are, or so many that all that were cited are there.
fn look(
    tree: &dyn Tree,
    path: &str,
    searches: &mut [Search<'_>],
    stop: &CancellationToken,
) -> Result<u64, Halt> {
    let last = searches.iter().map(|search| search.citation.last).max().unwrap_or(0);
    let lines = pass(tree, path, searches, stop, |lines, searches| {
        searches.iter_mut().for_each(|search| search.look_there(lines));
        lines.is_past(last)
    })?;
    if searches.iter().all(|search| search.is_settled(lines)) {
        return Ok(lines);
    }
    pass(tree, path, searches, stop, |lines, searches| {
        searches.iter_mut().for_each(|search| search.look_anywhere(lines));
        false
    })
}

/// Reads a file until `see` has seen enough, or to its end.
fn pass<'a>(
    tree: &dyn Tree,
    path: &str,
    searches: &mut [Search<'a>],
    stop: &CancellationToken,
    mut see: impl FnMut(&Lines<'_>, &mut [Search<'a>]) -> bool,
) -> Result<u64, Halt> {
    let longest = searches.iter().filter_map(|search| search.needle.as_ref()).map(Needle::len);
    let longest = longest.max().unwrap_or(0);
    let Some(mut lines) = Lines::new(tree.open(path)?, longest)? else {
        return Err(Halt::Unreadable("it is binary".into()));
    };
    while lines.next()? {
        if stop.is_cancelled() {
            return Err(Halt::Stopped);
        }
        if see(&lines, searches) {
            break;
        }
    }
    Ok(lines.count())
}

/// The search for one quote.
struct Search<'a> {
    citation: &'a Citation,
    needle: Option<Needle>,
    is_there: bool,
    /// The lines of the place that is nearest to the cited ones.
    nearest: Option<(u64, u64)>,
}

impl<'a> Search<'a> {
    fn new(citation: &'a Citation) -> Self {
        let needle = Needle::new(&citation.quote, citation.cut);
        Self { citation, needle, is_there: false, nearest: None }
    }

    fn look_there(&mut self, lines: &Lines<'_>) {
        let Some(needle) = self.needle.as_ref().filter(|_| !self.is_there) else { return };
        let part = lines.within(self.citation.first, self.citation.last);
        let mut places = needle.places(lines.text(), part);
        self.is_there = places.any(|at| lines.shows_around(&(at..at + needle.len())));
    }

    fn look_anywhere(&mut self, lines: &Lines<'_>) {
        let Some(needle) = self.needle.as_ref() else { return };
        for at in needle.places(lines.text(), 0..lines.text().len()) {
            let end = at + needle.len();
            if lines.shows_around(&(at..end)) {
                let place = (lines.line_of(at), lines.line_of(end - 1));
                let known = self.nearest.into_iter().chain([place]);
                let far = |(first, _): &(u64, u64)| first.abs_diff(self.citation.first);
                self.nearest = known.min_by_key(far);
            }
        }
    }

    /// Whether the file has the cited lines, when it has so many.
    fn has_lines(&self, lines: u64) -> bool {
        let Citation { first, last, .. } = *self.citation;
        1 <= first && first <= last && last <= lines
    }

    /// Whether reading on would change nothing.
    fn is_settled(&self, lines: u64) -> bool {
        self.has_lines(lines) && (self.needle.is_none() || self.is_there)
    }

    fn verdict(&self, lines: u64) -> Verdict {
        match (self.has_lines(lines), self.nearest) {
            (true, _) if self.is_there => Verdict::Verified,
            (_, Some((first, last))) => Verdict::Moved { first, last },
            (false, None) => Verdict::NoSuchLines { lines },
            (true, None) if self.needle.is_none() => Verdict::Unquoted,
            (true, None) => Verdict::QuoteDiffers,
        }
    }
}
