//! What is installed: where a program is, which one it is, and what it says of itself.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use super::process::{Custody, Finish, Line, Program, Scratch, Spawn, Terminal, Unwatched};
use crate::failure::Failure;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(20);
/// The longest line that is read.
const LINE: usize = 64 << 10;

/// A program that was found, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is, links resolved.
    pub path: PathBuf,
    /// The SHA-256 of the file, as hexadecimal digits. Of a script, that is the script alone.
    pub sha256: String,
    /// The version that it says.
    pub version: String,
}

/// Why there is nothing to say of a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It is not installed.
    #[error("there is no program `{0}` in the path; install it, or say where it is")]
    Missing(String),
    /// It can't be read or started.
    #[error("`{path}` can't be looked at: {why}")]
    Unusable {
        /// The program.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// It said nothing in time.
    #[error("`{path}` did not answer within {} seconds", limit.as_secs())]
    Hangs {
        /// The program.
        path: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// What it said is no version.
    #[error("`{path}` said no version but {said:?}")]
    Strange {
        /// The program.
        path: PathBuf,
        /// The begin of what it said.
        said: String,
    },
}

/// Looks for a program as a shell does, and asks it for its version with `--version`, in a folder and
/// a home of its own, both empty.
///
/// # Errors
/// When it is missing, can't be started, hangs, or says no version.
pub async fn probe(program: &OsStr, path: &OsStr) -> Result<Found, ProbeError> {
    probe_within(program, path, LIMIT).await
}

/// As [`probe`], with another limit.
///
/// # Errors
/// As of [`probe`].
pub async fn probe_within(
    program: &OsStr,
    path: &OsStr,
    limit: Duration,
) -> Result<Found, ProbeError> {
    let file = ProgramFile::locate(program, path)?;
    let sha256 = file.sha256().await?;
    let version = file.version(path, limit, Arc::new(Unwatched::new(Uuid::now_v7()))).await?;
    Ok(Found { path: file.resolved, sha256, version })
}

/// A program that is there.
#[derive(Clone, Debug)]
pub(crate) struct ProgramFile {
    /// As it was found.
    place: PathBuf,
    /// Links resolved.
    pub resolved: PathBuf,
    /// What is another one where the file is: it is read in no time.
    pub stamp: String,
}

impl ProgramFile {
    /// The file that would be started.
    pub fn locate(program: &OsStr, path: &OsStr) -> Result<Self, ProbeError> {
        let place = which(program, path)
            .ok_or_else(|| ProbeError::Missing(program.to_string_lossy().into_owned()))?;
        let resolve = || {
            let resolved = fs::canonicalize(&place)?;
            let about = fs::metadata(&resolved)?;
            let (changed, nanos) = (about.ctime(), about.ctime_nsec());
            let (file, bytes) = (about.ino(), about.size());
            let stamp = format!(
                "{file} {bytes} {}.{} {changed}.{nanos}",
                about.mtime(),
                about.mtime_nsec()
            );
            Ok((resolved, stamp))
        };
        let (resolved, stamp) = resolve().map_err(|error: io::Error| unusable(&place, &error))?;
        Ok(Self { place, resolved, stamp })
    }

    /// Its hash, as hexadecimal digits.
    pub async fn sha256(&self) -> Result<String, ProbeError> {
        hash(self.resolved.clone()).await.map_err(|error| unusable(&self.place, &error))
    }

    /// The version that it says, in a folder and a home of its own.
    pub async fn version(
        &self,
        path: &OsStr,
        limit: Duration,
        custody: Arc<dyn Custody>,
    ) -> Result<String, ProbeError> {
        let place = &self.place;
        let scratch = Scratch::new().map_err(|error| unusable(place, &error))?;
        let env: BTreeMap<OsString, OsString> = [
            ("PATH".into(), path.to_owned()),
            ("HOME".into(), scratch.path().into()),
            ("TMPDIR".into(), scratch.path().into()),
        ]
        .into();
        let spawn = Spawn {
            program: place.clone(),
            arguments: vec!["--version".into()],
            env,
            folder: scratch.path().to_owned(),
            confined: None,
            scratch: None,
            terminal: Terminal::None,
        };
        let (said, finish) = first_line(spawn, limit, custody).await.map_err(|why| match why {
            Silence::Failed(failure) => unusable(place, &format!("{failure:?}")),
            Silence::Hung => ProbeError::Hangs { path: place.clone(), limit },
        })?;
        match (version_in(&said), finish.ended.status.success()) {
            (Some(version), true) => Ok(version),
            _ => {
                let said = if said.is_empty() { finish.errors } else { said };
                let said = said.chars().take(200).collect();
                Err(ProbeError::Strange { path: place.clone(), said })
            }
        }
    }
}

fn unusable(place: &Path, error: &dyn std::fmt::Display) -> ProbeError {
    ProbeError::Unusable { path: place.to_owned(), why: error.to_string() }
}

/// The file that a shell would start: a path as it is, a name by the folders of `path`.
pub fn which(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let is_program = |file: &Path| {
        fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let given = Path::new(program);
    if given.components().count() > 1 {
        return is_program(given).then(|| given.to_owned());
    }
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| is_program(file))
}

/// The first thing in a line that looks like a version: numbers with points between them, and what
/// follows without a space.
fn version_in(line: &str) -> Option<String> {
    let words = line.split(|c: char| c.is_whitespace() || c == '(' || c == ')' || c == ',');
    let words = words.map(|word| word.trim_start_matches('v'));
    let mut versions = words.filter(|word| {
        let mut numbers = word.split(['.', '-', '+']);
        let first = numbers.next().unwrap_or_default();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        is_number(first) && word.contains('.') && numbers.next().is_some_and(is_number)
    });
    versions.next().map(str::to_owned)
}

enum Silence {
    Failed(Failure),
    Hung,
}

/// Starts a program, reads its first line that is not empty, and ends it.
async fn first_line(
    spawn: Spawn,
    limit: Duration,
    custody: Arc<dyn Custody>,
) -> Result<(String, Finish), Silence> {
    let mut program = Program::start(spawn, custody).await.map_err(Silence::Failed)?;
    program.close_input();
    let lines = program.lines(LINE);
    let read = async {
        let Some(mut lines) = lines else {
            return String::new();
        };
        let mut first = String::new();
        while let Ok(Some(line)) = lines.next().await {
            match line {
                Line::Whole(line) if first.is_empty() => first = line.trim().to_owned(),
                _ => {}
            }
        }
        first
    };
    let Ok(first) = timeout(limit, read).await else {
        program.finish(Duration::ZERO).await.map_err(Silence::Failed)?;
        return Err(Silence::Hung);
    };
    // Its output is closed: it has ended, or is about to.
    if timeout(limit, program.exited()).await.is_err() {
        program.finish(Duration::ZERO).await.map_err(Silence::Failed)?;
        return Err(Silence::Hung);
    }
    Ok((first, program.ended().await.map_err(Silence::Failed)?))
}

async fn hash(path: PathBuf) -> io::Result<String> {
    let read = move || {
        let mut hash = Sha256::new();
        io::copy(&mut File::open(path)?, &mut hash)?;
        Ok(format!("{:x}", hash.finalize()))
    };
    tokio::task::spawn_blocking(read).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        for (said, version) in [
            ("2.1.330 (Claude Code)", Some("2.1.330")),
            ("codex-cli 0.169.0", Some("0.169.0")),
            ("v20.20.2", Some("20.20.2")),
            ("goose version 1.0.0-beta.2", Some("1.0.0-beta.2")),
            ("Error: 3 things went wrong", None),
            ("", None),
        ] {
            assert_eq!(version_in(said).as_deref(), version, "{said}");
        }
    }
}
