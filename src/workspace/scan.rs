//! What the file system says of everything below a folder.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// What is known of one file, folder or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    /// Kind and permissions.
    pub mode: u32,
    pub owner: (u32, u32),
    pub inode: u64,
    pub size: u64,
    /// When it was written, in nanoseconds.
    pub written: i128,
    /// When anything of it was changed, in nanoseconds. No program can set this.
    pub changed: i128,
    /// What it says, where that was asked for: a hash of the bytes, or where a link leads to.
    pub content: Option<Vec<u8>>,
}

pub(super) type Facts = BTreeMap<PathBuf, Fact>;

/// Adds all that is below `folder`, and the folder itself. Folders called as in `without` are left out.
pub(super) fn scan(
    folder: &Path,
    without: &[&str],
    with_content: bool,
    facts: &mut Facts,
) -> io::Result<()> {
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // It went while it was looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                let left_out = without.iter().any(|name| entry.file_name() == OsStr::new(name));
                if !left_out {
                    open.push(entry.path());
                }
            }
        }
        let content = match with_content || metadata.is_symlink() {
            true => content(&path, &metadata)?,
            false => None,
        };
        facts.insert(path, Fact::of(&metadata, content));
    }
    Ok(())
}

impl Fact {
    fn of(metadata: &fs::Metadata, content: Option<Vec<u8>>) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            inode: metadata.ino(),
            size: metadata.size(),
            written: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            content,
        }
    }
}

fn content(path: &Path, metadata: &fs::Metadata) -> io::Result<Option<Vec<u8>>> {
    if metadata.is_symlink() {
        return Ok(Some(fs::read_link(path)?.into_os_string().into_encoded_bytes()));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    match fs::File::open(path) {
        Ok(mut file) => {
            let mut hash = Sha256::new();
            io::copy(&mut file, &mut hash)?;
            Ok(Some(hash.finalize().to_vec()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
