//! A folder on disk as a tree.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::PathBuf,
};

use super::{Entry, Tree};

/// A folder as it is now.
///
/// Nothing outside of it is read as long as nobody replaces folders by links during the check.
/// Against someone who does that, check against a [`Commit`](super::Commit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, which may be a link itself. It is not looked at yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Tree for Folder {
    fn entry(&self, path: &str) -> io::Result<Entry> {
        let path = self.root.join(path);
        let kind = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) => return missing(error),
        };
        if kind.is_symlink() {
            return match fs::read_link(&path) {
                Ok(target) => Ok(Entry::Link(target.to_string_lossy().into_owned())),
                Err(error) => missing(error),
            };
        }
        let entry = if kind.is_dir() { Entry::Folder } else { Entry::Special };
        Ok(if kind.is_file() { Entry::File } else { entry })
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(self.root.join(path))?))
    }
}

/// Nothing is there, or the look failed. A name that is too long is nobody's.
fn missing(error: io::Error) -> io::Result<Entry> {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
            Ok(Entry::Missing)
        }
        _ => Err(error),
    }
}
