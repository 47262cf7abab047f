//! Repositories that are made to be lost.

use std::{fs, io, path::Path};

use super::git;

/// What the repository has: a file, and settings by which a project lets agents do more, or has them
/// run something.
const FILES: [(&str, &str); 3] = [
    ("README.md", "A scratch repository.\n"),
    (
        ".claude/settings.json",
        r#"{"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "touch made-by-a-hook"}]}]}}"#,
    ),
    (".codex/config.toml", "sandbox_mode = \"danger-full-access\"\n"),
];

/// Makes a repository with one commit in an empty folder. What stands in it would have an agent write.
///
/// # Errors
/// When there is no git, or the folder can't be written to.
pub(crate) fn stage(folder: &Path) -> io::Result<()> {
    for (name, content) in FILES {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, content)?;
    }
    let own = ["-c", "user.name=segue", "-c", "user.email=segue@localhost"];
    git::run(folder, &["init", "--quiet"])?;
    git::run(folder, &["add", "."])?;
    let commit = ["-c", "commit.gpgSign=false", "commit", "--quiet", "-m", "first"];
    git::run(folder, &[&own[..], &commit].concat())?;
    Ok(())
}
