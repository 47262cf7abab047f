//! What is in a folder, and how it is divided among readers.
//!
//! The walk is in the order of names, so the same folder is always divided alike. Symbolic
//! links are not followed, so there are no loops, and nothing outside of the folder is read.

use std::{
    fs::{self, DirEntry, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use segue::{Failure, evidence::Skipped};
use tokio_util::sync::CancellationToken;

use crate::evidence::{Area, Survey};

/// Folders that hold what others made.
const PASSED_OVER: [&str; 3] = [".git", "target", "node_modules"];

/// How many files are read at most.
const FILES: usize = 100_000;

/// How many bytes the names of these may have together.
const NAME_BYTES: usize = 8 << 20;

/// How much of a file is looked at to tell text from binary data.
const PROBE_BYTES: usize = 8 << 10;

/// What opening a file costs, in bytes that could be read meanwhile.
const OPEN_BYTES: u64 = 4 << 10;

/// Walks `folder` and divides its text files into as many areas as there are readers.
///
/// # Errors
/// A fatal failure when there is nothing to read; another one when it was told to stop.
pub fn survey(folder: &Path, readers: usize, stop: &CancellationToken) -> Result<Survey, Failure> {
    let mut walk =
        Walk { root: folder, files: Vec::new(), name_bytes: 0, skipped: Skipped::default() };
    walk.run(stop)?;
    if walk.files.is_empty() {
        let found = match walk.skipped.total() {
            0 => "it is empty".to_owned(),
            _ => walk.skipped.in_words(),
        };
        let message = format!("there is no text to read in {}: {found}", folder.display());
        return Err(Failure::fatal(message));
    }
    walk.files.sort();
    Ok(Survey { areas: divide(&walk.files, readers), skipped: walk.skipped })
}

/// A text file: its folder and name, relative to the root, and its size.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Text {
    folder: String,
    name: String,
    bytes: u64,
}

struct Walk<'a> {
    root: &'a Path,
    files: Vec<Text>,
    name_bytes: usize,
    skipped: Skipped,
}

impl Walk<'_> {
    fn run(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let entries = match sorted(&self.root.join(&folder)) {
                Ok(entries) => entries,
                Err(error) => {
                    self.skip(&folder, unreadable(&error));
                    continue;
                }
            };
            let mut inner = Vec::new();
            for entry in entries {
                if stop.is_cancelled() {
                    return Err(Failure::cancelled());
                }
                if self.is_full() {
                    self.skip(&folder, "folder from which on the limit of files was reached");
                    return Ok(());
                }
                inner.extend(self.visit(&folder, &entry));
            }
            folders.extend(inner.into_iter().rev());
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.files.len() >= FILES || self.name_bytes >= NAME_BYTES
    }

    /// Takes in a file, or returns the folder to go into.
    fn visit(&mut self, folder: &Path, entry: &DirEntry) -> Option<PathBuf> {
        let path = folder.join(entry.file_name());
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return self.skip(&path, unreadable(&error)),
        };
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            return self.skip(&path, "name that is not UTF-8");
        };
        match kind {
            kind if kind.is_symlink() => self.skip(&path, "symbolic link"),
            kind if kind.is_dir() && PASSED_OVER.contains(&name.as_str()) => {
                self.skip(&path, "folder of other programs")
            }
            kind if kind.is_dir() => Some(path),
            kind if kind.is_file() => self.visit_file(folder, &path, name),
            _ => self.skip(&path, "special file"),
        }
    }

    fn visit_file(&mut self, folder: &Path, path: &Path, name: String) -> Option<PathBuf> {
        let bytes = match probe(&self.root.join(path)) {
            Ok(Probe::Text(bytes)) => bytes,
            Ok(Probe::Empty) => return self.skip(path, "empty"),
            Ok(Probe::Binary) => return self.skip(path, "binary"),
            Err(error) => return self.skip(path, unreadable(&error)),
        };
        let folder = folder.to_str()?.to_owned();
        self.name_bytes += name.len() + 4;
        if self.files.last().is_none_or(|last| last.folder != folder) {
            self.name_bytes += folder.len() + 8;
        }
        self.files.push(Text { folder, name, bytes });
        None
    }

    /// Notes that something is not read. Returns that there is no folder to go into.
    fn skip(&mut self, path: &Path, reason: impl Into<String>) -> Option<PathBuf> {
        let path = match path.as_os_str().is_empty() {
            true => ".".into(),
            false => path.to_string_lossy(),
        };
        self.skipped.add(path, reason);
        None
    }
}

/// How a file that can't be read is counted.
pub fn unreadable(error: &io::Error) -> String {
    format!("unreadable ({})", error.kind())
}

fn sorted(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

enum Probe {
    Text(u64),
    Empty,
    Binary,
}

/// A file with a zero byte near its beginning is not text.
fn probe(path: &Path) -> io::Result<Probe> {
    let mut file = File::open(path)?;
    let mut start = [0; PROBE_BYTES];
    let length = file.read(&mut start)?;
    Ok(match &start[..length] {
        [] => Probe::Empty,
        start if start.contains(&0) => Probe::Binary,
        _ => Probe::Text(file.metadata()?.len()),
    })
}

/// Cuts the sorted files into areas of about the same cost. With fewer files than readers
/// some areas are empty.
fn divide(files: &[Text], readers: usize) -> Vec<Area> {
    let cost = |file: &Text| u128::from(file.bytes + OPEN_BYTES);
    let total: u128 = files.iter().map(cost).sum();
    let mut areas = vec![Area::default(); readers];
    let mut before = 0;
    for file in files {
        let middle = before + cost(file) / 2;
        let no = (middle * readers as u128 / total) as usize;
        before += cost(file);
        let area = &mut areas[no.min(readers - 1)];
        area.files += 1;
        area.bytes += file.bytes;
        let folder = area.folders.entry(file.folder.clone()).or_default();
        folder.push(file.name.clone());
    }
    areas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_balanced_and_complete() {
        let file = |no: u64| Text {
            folder: format!("f{:02}", no / 5),
            name: format!("{no:03}"),
            bytes: 10_000 + no % 7 * 1_000,
        };
        let files: Vec<_> = (0..100).map(file).collect();
        let areas = divide(&files, 4);
        assert_eq!(areas.iter().map(|area| area.files).sum::<u64>(), 100);
        assert!(areas.iter().all(|area| (20..=30).contains(&area.files)));
        assert_eq!(divide(&files[..1], 6).iter().filter(|area| area.files == 0).count(), 5);
    }
}
