//! Evidence: what agents claim about a source tree, checked by code.
//!
//! An agent that reads a project answers with [`Claim`]s, and each of them [cites](Citation) lines
//! of files. [`check`] looks the citations up in a [`Tree`]: the [`Folder`] that the agents read,
//! or the git [`Commit`] that their run began with. A [`Ledger`] says what was to be read, what
//! was, by whom, and what is missing and why. [`Report::markdown`] makes one text of all of it.
//!
//! ```
//! use segue::evidence::{Claim, Folder, Ledger, Report, check_claims};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::fs::write(folder.path().join("limits.rs"), "\nconst LIMIT: u32 = 5;\n")?;
//! let claims = vec![
//!     Claim::parse("Five are allowed, see `limits.rs:2`: \"LIMIT: u32 = 5\""),
//!     Claim::parse("Nobody ever needs more."),
//! ];
//! let stop = tokio_util::sync::CancellationToken::new();
//! let claims = check_claims(&Folder::new(folder.path()), claims, &stop).expect("nobody stops it");
//!
//! let mut ledger = Ledger::default();
//! ledger.expect("limits.rs", "reader 1");
//! ledger.cover("limits.rs", "reader 1");
//!
//! let question = "How many are allowed?".into();
//! let report = Report { question, claims, ledger, ..Report::default() }.markdown();
//! assert!(report.contains("1 citation verified, 0 unverified. 1 claim cites nothing."));
//! # Ok(())
//! # }
//! ```
//!
//! What is cited is input from outside: paths may lead out of the tree, quotes may hold Markdown,
//! and line numbers may be anything. All of that ends in a [`Verdict`] or is escaped.
//!
//! Invariant: only [`check`] and what stands behind [`Tree`] read files or start programs.
//! All else is pure: the same values give the same bytes.

mod check;
mod citation;
mod claim;
mod ledger;
mod lines;
pub mod markdown;
mod needle;
mod report;
mod skipped;
mod tree;
mod verdict;

pub use check::{check, check_claims};
pub use citation::{Citation, NotACitation};
pub use claim::{Checked, Claim, Standing};
pub use ledger::{Coverage, End, Ledger, Unit};
pub use report::{Limits, Report, Section, StepEnd, claim_name};
pub use skipped::Skipped;
pub use tree::{Commit, Entry, Folder, Tree, resolve};
pub use verdict::{Outside, Verdict};
