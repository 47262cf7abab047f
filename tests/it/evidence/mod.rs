//! Evidence: citations looked up in folders, commits and odd trees; ledgers; reports.

mod checks;
mod ledger;
mod report;
mod trees;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use segue::evidence::{Citation, Tree, Verdict, check};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Folders of a test: `root` is the tree, what is beside it is outside.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().expect("a temporary folder"));
        fs::create_dir(place.root()).expect("a folder");
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// Writes a file, from the folder that `root` is in.
    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, contents).expect("a file");
    }

    #[cfg(unix)]
    fn link(&self, target: impl AsRef<Path>, path: &str) {
        std::os::unix::fs::symlink(target, self.root().join(path)).expect("a link");
    }

    /// Runs git in the tree, with nothing of the user's own settings.
    fn git(&self, arguments: &[&str]) -> String {
        git(&self.root(), arguments)
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder);
    for setting in ["user.name=a", "user.email=a@b", "init.defaultBranch=main"] {
        git.args(["-c", setting]);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = git.args(arguments).output().expect("git is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// `a.rs:1-2 "the quote"`, without whatever else a citation can have.
fn cite(place: &str, quote: &str) -> Citation {
    let citation: Citation = place.parse().expect("a place");
    Citation { quote: quote.into(), ..citation }
}

fn verdicts(tree: &dyn Tree, citations: &[Citation]) -> Vec<Verdict> {
    check(tree, citations, &CancellationToken::new()).expect("nobody stops it")
}

fn verdict(tree: &dyn Tree, place: &str, quote: &str) -> Verdict {
    verdicts(tree, &[cite(place, quote)]).remove(0)
}
