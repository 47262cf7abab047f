//! Worktrees that are pinned to a commit and shared by all who read it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use super::git;

/// Why git must leave the worktrees alone, as `git worktree list` shows it.
const REASON: &str = "pinned by segue while it is read";

/// A folder of pinned worktrees. Processes share it: a worktree that someone has a [`Pin`] of is
/// never taken away, and the system drops the pins of a process that dies.
#[derive(Clone, Debug)]
pub struct Pins {
    folder: PathBuf,
}

/// A worktree of one commit, with no branch. It is there as long as this is held.
#[derive(Debug)]
pub struct Pin {
    repository: PathBuf,
    path: PathBuf,
    commit: String,
    /// Locked, shared with others who read the same.
    lease: File,
}

impl Pin {
    /// The worktree: what is to be read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The full id of its commit.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The folder of git that it shares with the checkout that it was made from.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// Keeps the worktree as it is, as evidence: it is no longer given to anybody, nor taken away.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn keep(&self, why: &str) -> io::Result<()> {
        let file = beside(&self.path, "kept");
        fs::write(&file, why)?;
        File::open(&file)?.sync_all()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // Its age counts from here. Where that can't be noted it counts from when it was pinned.
        let _ = self.lease.set_modified(SystemTime::now());
    }
}

impl Pins {
    /// The pinned worktrees in this folder, which is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where a folder is within the repository that it is in; None where it is in none.
    ///
    /// # Errors
    /// When there is no git.
    pub fn within(folder: &Path) -> io::Result<Option<PathBuf>> {
        match git::path(folder, &["rev-parse", "--show-prefix"]) {
            Ok(within) => Ok(Some(within)),
            Err(error) if error.kind() == io::ErrorKind::Other => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A worktree of a revision (an id, a branch, `HEAD`) of the repository that `folder` is in. One
    /// that is there already is shared.
    ///
    /// # Errors
    /// When there is no git, no repository or no such commit, and when the worktree can't be made.
    pub fn pin(&self, folder: &Path, revision: &str) -> io::Result<Pin> {
        let commit = git::commit(folder, revision)?;
        let repository = git::common_dir(folder)?;
        fs::create_dir_all(&self.folder)?;
        let name = Sha256::digest(repository.as_os_str().as_encoded_bytes());
        let name = format!("{:.12}", format!("{name:x}"));
        for turn in 0_u32.. {
            let path = self.folder.join(format!("{name}-{commit}-{turn}"));
            if beside(&path, "kept").exists() {
                continue;
            }
            let lease = lease(&path)?;
            lease.lock_shared()?;
            if is_whole(&path, &commit) {
                return Ok(Pin { repository, path, commit, lease });
            }
            // One makes it; whoever else wants it waits, and finds it made.
            lease.unlock()?;
            lease.lock()?;
            if !is_whole(&path, &commit) {
                make(&repository, &path, &commit)?;
            }
            lease.unlock()?;
            lease.lock_shared()?;
            if is_whole(&path, &commit) {
                return Ok(Pin { repository, path, commit, lease });
            }
        }
        Err(io::Error::other("there are too many worktrees of one commit"))
    }

    /// Takes away the worktrees that nobody reads and that nobody has read for so long, and those that
    /// nobody has made to their end. Those that are kept as evidence stay, and so does all that is not
    /// of this. Says which went; what could not be taken away is tried again the next time.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn reap(&self, unused: Duration) -> io::Result<Vec<PathBuf>> {
        let mut gone = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(gone),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            match reap_one(&path, unused) {
                Ok(true) => gone.push(path),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "a worktree can't be taken away");
                }
            }
        }
        Ok(gone)
    }
}

/// Takes a worktree away, where nobody needs it. Whether it went.
fn reap_one(path: &Path, unused: Duration) -> io::Result<bool> {
    if !path.is_dir() || beside(path, "kept").exists() {
        return Ok(false);
    }
    // What has none is not a worktree of ours.
    let lease = match File::options().append(true).open(beside(path, "lease")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        lease => lease?,
    };
    match lease.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let used = lease.metadata()?.modified()?;
    let age = SystemTime::now().duration_since(used).unwrap_or_default();
    let is_made = beside(path, "made").exists();
    if is_made && age < unused {
        return Ok(false);
    }
    remove(path)?;
    Ok(true)
}

/// The file whose lock says that a worktree is in use. It outlives the worktree, so that nobody locks
/// one that is no longer in the folder.
fn lease(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(beside(path, "lease"))?;
    file.set_modified(SystemTime::now())?;
    Ok(file)
}

fn beside(path: &Path, what: &str) -> PathBuf {
    path.with_extension(what)
}

/// Whether the worktree was made to its end.
fn is_whole(path: &Path, commit: &str) -> bool {
    let made = fs::read_to_string(beside(path, "made"));
    made.is_ok_and(|made| made == commit) && path.join(".git").exists()
}

fn make(repository: &Path, path: &Path, commit: &str) -> io::Result<()> {
    // What a process that died in the middle of it has left.
    remove(path)?;
    let place = path.as_os_str();
    git::run(
        repository,
        &[
            "worktree".as_ref(),
            "add".as_ref(),
            "--quiet".as_ref(),
            // Also where git still has it on its list, and locked, of one that was taken away by a
            // process that died before it could tell.
            "--force".as_ref(),
            "--force".as_ref(),
            "--detach".as_ref(),
            "--lock".as_ref(),
            "--reason".as_ref(),
            REASON.as_ref(),
            place,
            commit.as_ref(),
        ],
    )?;
    fs::write(beside(path, "made"), commit)
}

fn remove(path: &Path) -> io::Result<()> {
    let made = beside(path, "made");
    if made.exists() {
        fs::remove_file(made)?;
    }
    if !path.exists() {
        return Ok(());
    }
    let repository = git::common_dir(path);
    fs::remove_dir_all(path)?;
    // Where the repository is gone as well, there is nobody to tell.
    if let Ok(repository) = repository {
        git::run(&repository, &["worktree".as_ref(), "unlock".as_ref(), path.as_os_str()])?;
        git::run(&repository, &["worktree", "prune", "--expire=now"])?;
    }
    Ok(())
}
