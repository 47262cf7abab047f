//! Whether anything was changed that should not have been.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    git,
    scan::{Fact, Facts, scan},
};

/// Of a repository's shared folder, what is not read file by file.
const OBJECTS: &str = "objects";
/// Of a repository's shared folder, the folders of other worktrees.
const WORKTREES: &str = "worktrees";

/// Of a worktree's own folder of git, what others shorten.
const LOGS: &str = "logs";

/// How a worktree and its repository stood at one moment: names, kinds, modes, owners, sizes and times
/// of all that is in them, with the time of the last change of anything, which no program can set;
/// and of what the repository shares (refs, configuration, hooks) also the contents.
#[derive(Clone, Debug)]
pub struct Receipt {
    own: Facts,
    shared: Facts,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub what: Changed,
}

/// What became of a file, folder or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was not there.
    Created,
    /// It is no longer there.
    Removed,
    /// What it says, or what it is.
    Content,
    /// Who may do what with it, or whose it is.
    Mode,
    /// Its times, and nothing else that can be told.
    Times,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Changed::Created => "created",
            Changed::Removed => "removed",
            Changed::Content => "changed",
            Changed::Mode => "given another mode or owner",
            Changed::Times => "given other times",
        };
        write!(f, "`{}` was {what}", self.path.display())
    }
}

/// What lies between two receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What nobody but the reader can have done: anything in the worktree and its own folder of git, and
    /// modes and times of what the repository shares.
    pub own: Vec<Change>,
    /// What others may have done in the repository meanwhile: commits, fetches, a collection of garbage.
    pub shared: Vec<Change>,
}

impl Changes {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }
}

impl Receipt {
    /// Looks at a worktree, its own folder of git, and what the repository shares. A folder that is in
    /// no repository is looked at alone.
    ///
    /// # Errors
    /// When something can't be read.
    pub fn take(worktree: &Path) -> io::Result<Self> {
        let (mut own, mut shared) = (Facts::new(), Facts::new());
        scan(worktree, &[], false, &mut own)?;
        let Ok(git_dir) = git::git_dir(worktree) else {
            return Ok(Self { own, shared });
        };
        let common = git::common_dir(worktree)?;
        // A checkout's folder of git is within it, and others write there.
        own.retain(|path, _| !path.starts_with(&common));
        if git_dir != common {
            let mut private = Facts::new();
            scan(&git_dir, &[LOGS], true, &mut private)?;
            // Whoever collects garbage locks files there and shortens the logs.
            private.retain(|_, fact| !is_folder(fact));
            own.extend(private);
        }
        scan(&common, &[OBJECTS, WORKTREES], true, &mut shared)?;
        scan(&common.join(OBJECTS), &[], false, &mut shared)?;
        Ok(Self { own, shared })
    }

    /// What is different in `after`.
    pub fn changes(&self, after: &Self) -> Changes {
        let mut changes = Changes { own: differences(&self.own, &after.own), shared: Vec::new() };
        for change in differences(&self.shared, &after.shared) {
            let facts = (self.shared.get(&change.path), after.shared.get(&change.path));
            match is_tampering(&change.path, facts) {
                true => changes.own.push(change),
                false => changes.shared.push(change),
            }
        }
        changes
    }
}

/// Whether a change of what is shared can't come from git: the file is the same and says the same, and
/// yet its mode or its times are others. Objects that are written again get a new time.
fn is_tampering(path: &Path, facts: (Option<&Fact>, Option<&Fact>)) -> bool {
    let (Some(before), Some(after)) = facts else {
        return false;
    };
    let same = before.inode == after.inode
        && before.size == after.size
        && before.content == after.content
        && before.mode & S_IFMT == after.mode & S_IFMT;
    let is_object = path.components().any(|part| part.as_os_str() == OBJECTS);
    let times = !is_object && !is_folder(before) && before.written != after.written;
    same && (times || before.mode != after.mode || before.owner != after.owner)
}

/// The bits of a mode that are the kind.
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;

fn is_folder(fact: &Fact) -> bool {
    fact.mode & S_IFMT == S_IFDIR
}

fn differences(before: &Facts, after: &Facts) -> Vec<Change> {
    let change = |path: &PathBuf, what| Change { path: path.clone(), what };
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let gone = gone.map(|path| change(path, Changed::Removed));
    let now = after.iter().filter_map(|(path, now)| match before.get(path) {
        None => Some(change(path, Changed::Created)),
        Some(was) => difference(was, now).map(|what| change(path, what)),
    });
    let mut all: Vec<_> = gone.chain(now).collect();
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

fn difference(was: &Fact, now: &Fact) -> Option<Changed> {
    let is_other = was.mode & S_IFMT != now.mode & S_IFMT
        || was.inode != now.inode
        || was.size != now.size && !is_folder(now)
        || was.content != now.content;
    if is_other {
        return Some(Changed::Content);
    }
    if was.mode != now.mode || was.owner != now.owner {
        return Some(Changed::Mode);
    }
    (was.written != now.written || was.changed != now.changed).then_some(Changed::Times)
}
