//! Citations: where something is written, and how.

mod parse;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::markdown;

/// Where something is written, and how. Nothing of it is trusted: it is what someone says, until
/// it is [checked](super::check).
///
/// Its text form is the place, and below it the quote, if there is one, in a fence:
///
/// ````text
/// src/limits.rs:10-11
/// ```
/// /// How many are allowed.
/// const LIMIT: u32 = 5;
/// ```
/// ````
///
/// It is [printed](fmt::Display) so and [parsed](FromStr) from this and the other usual forms.
/// What was printed is parsed to the same, unless its path holds line breaks, or begins or ends
/// with spaces, quotes or brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// The file, relative to the root of the tree, with `/` between its parts.
    pub path: String,
    /// The first line, from 1.
    pub first: u64,
    /// The last line, not before the first.
    pub last: u64,
    /// The text of these lines, or a part of it. Empty: nothing is quoted, so nothing can be
    /// verified.
    #[serde(default)]
    pub quote: String,
    /// The quote ends before the lines do, perhaps within a word.
    #[serde(default)]
    pub cut: bool,
}

impl Citation {
    /// The citations in a text that somebody wrote.
    ///
    /// * A place is `src/a.rs:10`, `src/a.rs:10-12`, `src/a.rs:10:5` (the column is passed over),
    ///   `src/a.rs#L10` or `src/a.rs#L10-L12`. Its path has a letter, no spaces, and a `.` or
    ///   `/`; in backticks it may be anything, such as `` `Makefile:10` `` or `` `my notes:3` ``.
    /// * Its quote follows it on the same line, in double quotes or backticks, or stands below it
    ///   in a fence or as a block quote. There may be a colon, a dash or a bracket between.
    ///
    /// Numbers are taken as they are, so that the check says what is wrong with `a.rs:0` or
    /// `a.rs:9-3`. Places within a quote are none.
    pub fn all_in(text: &str) -> Vec<Self> {
        parse::all_in(text)
    }

    /// `path:line`, or `path:line-line`.
    pub fn place(&self) -> String {
        let Self { path, first, last, .. } = self;
        let short = format!("{path}:{first}");
        let is_plain = first == last
            && parse::whole_place(&short).is_some_and(|(found, ..)| found == path.as_str());
        if is_plain { short } else { format!("{path}:{first}-{last}") }
    }
}

impl fmt::Display for Citation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        if self.cut {
            f.write_str(parse::CUT)?;
        }
        if !self.quote.is_empty() {
            let fence = markdown::fence(&self.quote);
            write!(f, "\n{fence}\n{}\n{fence}", self.quote)?;
        }
        Ok(())
    }
}

impl FromStr for Citation {
    type Err = NotACitation;

    /// A place, alone or with its quote below it. The place may be in backticks, quotes or
    /// brackets; its path may hold spaces.
    fn from_str(text: &str) -> Result<Self, NotACitation> {
        parse::whole(text).ok_or(NotACitation)
    }
}

/// The text is no citation: there is no path in it, or no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no citation: it is `path:line` or `path:line-line`")]
pub struct NotACitation;
