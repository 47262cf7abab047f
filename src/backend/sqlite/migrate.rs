//! Migrations: applied in one transaction, or not at all.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{load, sql};
use crate::error::{Error, Result};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The table that remembers which migrations were applied.
pub(super) const HISTORY: &str = "segue_schema_history";

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
    if found > 0 {
        back_up(conn, path, found)?;
    }
    let mut runner = embedded::migrations::runner().set_grouped(true);
    runner.set_migration_table_name(HISTORY);
    runner.run(conn).map(drop).map_err(|error| {
        let message = format!(
            "{} could not be brought from schema {found} to {newest}, and is as it was: {error}",
            path.display()
        );
        Error::migration(message).caused_by(error)
    })
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

/// A copy of the database beside it, before it is changed.
fn back_up(conn: &Connection, path: &Path, version: i64) -> Result<()> {
    let copy = free_name(path, version);
    tracing::info!(copy = %copy.display(), "backing the database up before it is migrated");
    conn.execute(sql::BACK_UP, [copy.to_string_lossy()]).map(drop).map_err(|error| {
        let message = format!(
            "{} could not be backed up to {} before its migration, and is as it was: {error}",
            path.display(),
            copy.display()
        );
        Error::migration(message).caused_by(error)
    })
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
