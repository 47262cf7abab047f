//! What a look into the tree says about a citation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a look into the tree said about a [`Citation`](super::Citation).
///
/// Only [`Verified`](Self::Verified) is good. As JSON a verdict is a word, or an object of one
/// field: `"verified"`, `{"moved": {"first": 7, "last": 9}}`, `{"outside": "link"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All cited lines exist, and the quote stands within them.
    Verified,
    /// The quote stands in the file, but not within the cited lines. Where it stands more than
    /// once, this is the place nearest to the first cited line, and the earlier of two.
    Moved {
        /// The line where the quote begins, from 1.
        first: u64,
        /// The line where it ends.
        last: u64,
    },
    /// The lines exist, and the quote stands nowhere in the file.
    QuoteDiffers,
    /// The lines exist, but nothing is quoted, so nothing could be compared.
    Unquoted,
    /// The cited lines are none of this file, or not all of them are, and the quote stands
    /// nowhere in it.
    NoSuchLines {
        /// How many lines the file has.
        lines: u64,
    },
    /// There is no file of that name: there is nothing, or a folder.
    NoSuchFile,
    /// The path leads out of the tree. Nothing outside was looked at.
    Outside(Outside),
    /// The file is there, but can't be compared: it is binary (it has a NUL byte in its first
    /// 8 KiB), it is special, or reading it failed. In words.
    Unreadable(String),
}

/// How a path leads out of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outside {
    /// It is absolute, even if it then leads into the tree.
    Absolute,
    /// It goes up (`..`) from the root.
    Upwards,
    /// It goes through a symbolic link whose target is absolute or lies above the root.
    Link,
}

impl Verdict {
    /// Whether it is [`Verified`](Self::Verified).
    pub fn is_verified(&self) -> bool {
        *self == Self::Verified
    }
}

/// In words, on one line: `the lines say something else`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified => f.write_str("verified"),
            Self::Moved { first, last } if first == last => {
                write!(f, "the quote stands at line {first}")
            }
            Self::Moved { first, last } => write!(f, "the quote stands at lines {first}-{last}"),
            Self::QuoteDiffers => f.write_str("the lines say something else"),
            Self::Unquoted => f.write_str("nothing is quoted"),
            Self::NoSuchLines { lines } => write!(f, "no such lines, the file has {lines}"),
            Self::NoSuchFile => f.write_str("there is no such file"),
            Self::Outside(outside) => write!(f, "outside of the tree: {outside}"),
            Self::Unreadable(reason) => write!(f, "the file can't be read: {reason}"),
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absolute => "the path is absolute",
            Self::Upwards => "the path goes up from the root",
            Self::Link => "the path goes through a link that leads out",
        })
    }
}
