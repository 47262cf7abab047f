//! A commit of git as a tree, read by the user's own git.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::{Entry, Tree};

/// What points git elsewhere than to the folder it is started in.
const ELSEWHERE: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
];

/// The files of a commit, such as the one that a run began with: whatever has become of the
/// folder since.
///
/// It needs the `git` program, and reads objects as they are: no filters, no line ends, no
/// replaced objects, and nothing is fetched. Names that are not UTF-8 can't be cited, and are
/// not in it.
#[derive(Clone, Debug)]
pub struct Commit {
    folder: PathBuf,
    id: String,
    objects: BTreeMap<String, Object>,
}

#[derive(Clone, Debug)]
struct Object {
    mode: Mode,
    id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    File,
    Link,
    Submodule,
}

impl Commit {
    /// The files below `folder` at a revision: an id, a branch, `HEAD~2`. The folder is that of a
    /// repository, or one in it, which is then the root. The names of all files are read here.
    ///
    /// # Errors
    /// When there is no git, no repository or no such revision; with what git says.
    pub fn open(folder: impl Into<PathBuf>, revision: &str) -> io::Result<Self> {
        let folder = folder.into();
        if revision.starts_with('-') {
            let message = format!("`{revision}` is no revision");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let revision = format!("{revision}^{{commit}}");
        let id = output(&folder, &["rev-parse", "--verify", &revision])?;
        let id = String::from_utf8_lossy(&id).trim().to_owned();
        let list = output(&folder, &["ls-tree", "-r", "-z", &id])?;
        let objects = list.split(|byte| *byte == 0).filter_map(object).collect();
        Ok(Self { folder, id, objects })
    }

    /// The full id of the commit.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn is_folder(&self, path: &str) -> bool {
        let start = format!("{path}/");
        let mut next = self.objects.range(start.clone()..);
        next.next().is_some_and(|(name, _)| name.starts_with(&start))
    }
}

impl Tree for Commit {
    fn entry(&self, path: &str) -> io::Result<Entry> {
        Ok(match self.objects.get(path) {
            Some(Object { mode: Mode::File, .. }) => Entry::File,
            Some(Object { mode: Mode::Submodule, .. }) => Entry::Special,
            Some(Object { mode: Mode::Link, id }) => {
                let mut target = Vec::new();
                Blob::open(&self.folder, id)?.read_to_end(&mut target)?;
                Entry::Link(String::from_utf8_lossy(&target).into_owned())
            }
            None if self.is_folder(path) => Entry::Folder,
            None => Entry::Missing,
        })
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        let object = self.objects.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Blob::open(&self.folder, &object.id)?))
    }
}

/// `<mode> <type> <id>\t<name>`, as `git ls-tree` prints it.
fn object(line: &[u8]) -> Option<(String, Object)> {
    let (about, name) = std::str::from_utf8(line).ok()?.split_once('\t')?;
    let mut about = about.split(' ');
    let mode = match about.next()? {
        "120000" => Mode::Link,
        "160000" => Mode::Submodule,
        _ => Mode::File,
    };
    let id = about.nth(1)?.to_owned();
    Some((name.to_owned(), Object { mode, id }))
}

/// The contents of an object, while git prints them.
struct Blob {
    git: Child,
    from: ChildStdout,
}

impl Blob {
    fn open(folder: &Path, id: &str) -> io::Result<Self> {
        let mut git = git(folder, &["cat-file", "blob", id]);
        let mut git = git.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let from = git.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { git, from })
    }
}

impl Read for Blob {
    /// The end is one only when git says that it was.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        if length == 0 && !buffer.is_empty() && !self.git.wait()?.success() {
            return Err(io::Error::other("git could not read the object"));
        }
        Ok(length)
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        // It may be gone already, or be printing to nobody.
        let _ = self.git.kill();
        let _ = self.git.wait();
    }
}

/// What git prints.
fn output(folder: &Path, arguments: &[&str]) -> io::Result<Vec<u8>> {
    let output = git(folder, arguments).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("git {}: {}", arguments[0], said.trim())))
}

fn git(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    for name in ELSEWHERE {
        git.env_remove(name);
    }
    git.env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_NO_LAZY_FETCH", "1");
    git.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    git
}
