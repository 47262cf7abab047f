//! The user's own git, asked for one thing at a time.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What holds for every call: no hook runs, nothing is collected or signed, and what is written is on
/// the disk when git returns.
const SETTINGS: [&str; 5] = [
    "core.hooksPath=/dev/null",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.fsmonitor=false",
    "core.fsync=committed,loose-object,reference",
];

/// Runs git in a folder and returns what it prints.
///
/// # Errors
/// When there is no git, and when it fails; with what it says.
pub(super) fn run<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> io::Result<Vec<u8>> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder);
    for setting in SETTINGS {
        git.args(["-c", setting]);
    }
    git.args(arguments).stdin(Stdio::null());
    // What points git elsewhere than to the folder, or asks somebody, is not for here.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            git.env_remove(name);
        }
    }
    git.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    let output = git.output().map_err(|error| {
        io::Error::new(error.kind(), format!("the program `git` can't be started: {error}"))
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let what = arguments.first().map(|word| word.as_ref().to_string_lossy().into_owned());
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("git {}: {}", what.unwrap_or_default(), said.trim())))
}

/// A path that git prints, as the only line.
pub(super) fn path(folder: &Path, arguments: &[&str]) -> io::Result<PathBuf> {
    let mut printed = run(folder, arguments)?;
    printed.pop_if(|last| *last == b'\n');
    Ok(PathBuf::from(std::ffi::OsString::from_vec(printed)))
}

/// The folder that all worktrees of a repository share.
pub(super) fn common_dir(folder: &Path) -> io::Result<PathBuf> {
    path(folder, &["rev-parse", "--path-format=absolute", "--git-common-dir"])
}

/// The folder that belongs to one worktree.
pub(super) fn git_dir(folder: &Path) -> io::Result<PathBuf> {
    path(folder, &["rev-parse", "--path-format=absolute", "--git-dir"])
}

/// The id of the commit that a revision names.
pub(super) fn commit(folder: &Path, revision: &str) -> io::Result<String> {
    if revision.starts_with('-') {
        let message = format!("`{revision}` is no revision");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let id = run(folder, &["rev-parse", "--verify", &format!("{revision}^{{commit}}")])?;
    Ok(String::from_utf8_lossy(&id).trim().to_owned())
}
