//! Trees of files, and how a path is found in one without leaving it.

mod commit;
mod folder;

use std::io::{self, Read};

pub use commit::Commit;
pub use folder::Folder;

use super::{Outside, Verdict};

/// How many links are followed on the way to one file.
const LINKS: usize = 40;

/// Files and folders that citations are looked up in.
///
/// It answers for single names and follows no links: that is done by [`resolve`], which asks for
/// each part of a path and never for one outside of the tree. Paths are relative to the root,
/// with `/` between parts of which none is empty, `.` or `..`.
pub trait Tree {
    /// What is at `path`. Its parents were asked for before, and are folders.
    ///
    /// # Errors
    /// When it can't be told. That nothing is there is no error.
    fn entry(&self, path: &str) -> io::Result<Entry>;

    /// Reads the file at `path`, which was said to be one, from its beginning.
    ///
    /// # Errors
    /// When it can't be opened. Reading may also fail later; then the reader must say so, and
    /// not end as if the file did.
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>>;
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file with contents.
    File,
    /// A folder.
    Folder,
    /// A symbolic link with this target. What of it is not UTF-8 is replaced.
    Link(String),
    /// Something else: a device, a pipe, a submodule of git.
    Special,
    /// Nothing.
    Missing,
}

/// Finds a file in a tree: from the path that someone cites to the path of the file itself,
/// through the links between them.
///
/// `.`, `..` and doubled slashes mean what they mean in a shell. On Windows `\` is a slash.
///
/// # Errors
/// Why there is no such file to be read: [`NoSuchFile`](Verdict::NoSuchFile),
/// [`Outside`](Verdict::Outside) or [`Unreadable`](Verdict::Unreadable).
pub fn resolve(tree: &dyn Tree, path: &str) -> Result<String, Verdict> {
    if is_absolute(path) {
        return Err(Verdict::Outside(Outside::Absolute));
    }
    let (mut left, mut done, mut links) = (parts(path), Vec::new(), 0);
    let mut found = Entry::Folder;
    while let Some(part) = left.pop() {
        if found != Entry::Folder {
            return Err(Verdict::NoSuchFile);
        }
        if part == ".." {
            let outside = if links > 0 { Outside::Link } else { Outside::Upwards };
            done.pop().ok_or(Verdict::Outside(outside))?;
            continue;
        }
        done.push(part);
        found = entry(tree, &done.join("/"))?;
        if let Entry::Link(target) = &found {
            links += 1;
            if is_absolute(target) {
                return Err(Verdict::Outside(Outside::Link));
            }
            if links > LINKS {
                return Err(Verdict::Unreadable("too many links".into()));
            }
            done.pop();
            left.extend(parts(target));
            found = Entry::Folder;
        }
    }
    match found {
        Entry::File => Ok(done.join("/")),
        _ => Err(Verdict::NoSuchFile),
    }
}

/// What is there, if one can go on from it.
fn entry(tree: &dyn Tree, path: &str) -> Result<Entry, Verdict> {
    if path.contains('\0') {
        return Err(Verdict::NoSuchFile);
    }
    match tree.entry(path) {
        Ok(Entry::Missing) => Err(Verdict::NoSuchFile),
        Ok(Entry::Special) => Err(Verdict::Unreadable("it is no regular file".into())),
        Ok(entry) => Ok(entry),
        Err(error) => Err(Verdict::Unreadable(error.to_string())),
    }
}

/// The parts of a path that lead somewhere, the last one first.
fn parts(path: &str) -> Vec<String> {
    let parts = path.split(is_separator).rev();
    parts.filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
}

/// Whether a path begins at a root: of Unix, of Windows, of a drive. A name on Windows has no
/// colon but that of a drive, or of what is hidden in a file.
fn is_absolute(path: &str) -> bool {
    let on_drive =
        matches!(path.as_bytes(), [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic());
    path.starts_with(['/', '\\']) || on_drive || (cfg!(windows) && path.contains(':'))
}

fn is_separator(c: char) -> bool {
    c == '/' || (cfg!(windows) && c == '\\')
}
