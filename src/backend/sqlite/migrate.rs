//! Migrations: applied in one transaction, or not at all.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior, params};

use super::{load, sql};
use crate::error::{Error, Result};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The newest schema that this program knows.
pub(super) fn newest() -> i64 {
    let runner = embedded::migrations::runner();
    runner
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0)
}

/// Brings the tables to this program's version. The caller holds the turn to write.
pub(super) fn migrate(conn: &mut Connection, path: &Path) -> Result<()> {
    let (found, newest) = (version(conn)?, newest());
    if found > newest {
        return Err(Error::migration(format!(
            "{} has schema {found}, and this program knows {newest} at most. It was not changed; \
             use the newer program",
            path.display()
        )));
    }
    if found == newest {
        return Ok(());
    }
    check_history(conn, path)?;
    let copy = (found > 0).then(|| back_up(conn, path, found)).transpose()?;
    apply(conn, found).map_err(|error| {
        // The file is as it was: a copy for each try would only fill the disk.
        copy.iter().for_each(|copy| remove(copy));
        let message = format!(
            "{} could not be brought from schema {found} to {newest}, and is as it was: {}. \
             Put that right, and start again",
            path.display(),
            reason(&error)
        );
        Error::migration(message).caused_by(error)
    })
}

/// Applies what is missing, and remembers it, in one transaction.
fn apply(conn: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql::CREATE_HISTORY)?;
    let runner = embedded::migrations::runner();
    let mut steps: Vec<_> = runner.get_migrations().iter().collect();
    steps.sort_by_key(|step| step.version());
    for step in steps {
        let version = i64::from(step.version());
        if version <= found {
            continue;
        }
        tracing::info!(version, name = step.name(), "migrating");
        transaction.execute_batch(step.sql().unwrap_or_default())?;
        let (now, checksum) = (chrono::Utc::now().to_rfc3339(), step.checksum().to_string());
        let applied = params![version, step.name(), now, checksum];
        transaction.execute(sql::ADD_HISTORY, applied)?;
    }
    transaction.commit()
}

/// Refuses to build on migrations that are not this program's.
fn check_history(conn: &Connection, path: &Path) -> Result<()> {
    if version(conn)? == 0 {
        return Ok(());
    }
    let runner = embedded::migrations::runner();
    let applied = load::all(conn, sql::HISTORY, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (version, checksum) in applied {
        let (version, checksum): (i64, String) = (version, checksum);
        let mut known = runner.get_migrations().iter();
        let same = known.any(|step| {
            (step.version().into(), step.checksum().to_string()) == (version, checksum.clone())
        });
        if !same {
            return Err(Error::migration(format!(
                "migration {version} of {} is not the one that this program knows. The file was \
                 not changed",
                path.display()
            )));
        }
    }
    Ok(())
}

/// What SQLite said, without the statements that it said it of.
fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// Whether the tables are of this program's version.
pub(super) fn check(conn: &Connection, path: &Path) -> Result<()> {
    let (found, newest) = (version(conn)?, newest());
    if found == newest {
        return Ok(());
    }
    Err(Error::migration(format!(
        "{} has schema {found}, and this program needs {newest}: start an engine of this version \
         on it first, which brings it up to date",
        path.display()
    )))
}

/// The newest migration that was applied; 0 for a database without segue's tables.
pub(super) fn version(conn: &Connection) -> Result<i64> {
    let known = load::one(conn, sql::HAS_SCHEMA, [], |row| row.get::<_, i64>(0))?;
    if known == Some(0) {
        return Ok(0);
    }
    let version = load::one(conn, sql::SCHEMA_VERSION, [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(version.flatten().unwrap_or(0))
}

/// A copy of the database beside it, before it is changed. Returns where it is.
fn back_up(conn: &Connection, path: &Path, version: i64) -> Result<PathBuf> {
    let copy = free_name(path, version);
    tracing::info!(copy = %copy.display(), "backing the database up before it is migrated");
    let copied = conn.execute(sql::BACK_UP, [copy.to_string_lossy()]);
    copied.map_err(|error| {
        remove(&copy);
        let message = format!(
            "{} could not be backed up to {} before its migration, and is as it was: {error}. \
             Put that right, and start again",
            path.display(),
            copy.display()
        );
        Error::migration(message).caused_by(error)
    })?;
    Ok(copy)
}

/// Removes a copy that is not needed, or not whole.
fn remove(copy: &Path) {
    match std::fs::remove_file(copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, copy = %copy.display(), "can't remove a copy");
        }
        _ => {}
    }
}

fn free_name(path: &Path, version: i64) -> PathBuf {
    let name = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let first = name(format!(".backup-v{version}"));
    let others = (2..).map(|n| name(format!(".backup-v{version}-{n}")));
    std::iter::once(first).chain(others).find(|path| !path.exists()).expect("the names never end")
}
