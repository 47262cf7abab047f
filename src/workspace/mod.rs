//! Folders that agents work in: worktrees of git that are pinned to a commit, and receipts that tell
//! whether anything in them was changed.
//!
//! A step that may only read is given a [`Pin`]: a worktree of its commit, beside the user's own
//! checkout, so that the user goes on editing meanwhile. A [`Receipt`] before and one after say what
//! became of it: contents, names, modes, times, and the refs of the repository.
//!
//! The functions here wait for the disk and for git. Call them where blocking is allowed.

mod git;
mod pin;
mod receipt;
mod scan;
#[cfg(feature = "scripted-model")]
mod stage;

pub use self::{
    pin::{Pin, Pins},
    receipt::{Change, Changed, Changes, Receipt},
};

#[cfg(feature = "scripted-model")]
pub(crate) use self::stage::stage;

/// The folders of git that belong to a folder: what it shares with others, and what is its own. None
/// where it is in no repository.
#[cfg(any(feature = "cli", feature = "claude", feature = "acp", feature = "opencode"))]
pub(crate) fn git_dirs(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    [git::common_dir(folder), git::git_dir(folder)].into_iter().flatten().collect()
}
