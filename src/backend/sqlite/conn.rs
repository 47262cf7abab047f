//! Opening connections: each pragma is set on each, in order, and read back.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Durability, sql};
use crate::error::{Error, Result};

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 160;

/// A connection that may write.
pub(super) fn writer(path: &Path, durability: Durability) -> Result<Connection> {
    let conn = open(path)?;
    for (name, value) in sql::PRAGMAS {
        let value = match (name, durability) {
            ("synchronous", Durability::Normal) => "1",
            _ => value,
        };
        set(&conn, name, value)?;
    }
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let conn = open(path)?;
    set(&conn, "busy_timeout", "10000")?;
    set(&conn, "query_only", "1")?;
    Ok(conn)
}

fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| {
        let message = format!("can't open the database {}: {error}", path.display());
        Error::database(message).caused_by(error)
    })?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Sets a pragma and checks that it took. Only the vacuum mode of a file that has tables
/// already may differ: it belongs to the host.
fn set(conn: &Connection, name: &str, value: &str) -> Result<()> {
    conn.pragma_update(None, name, value)?;
    let actual = conn.pragma_query_value(None, name, |row| {
        row.get_ref(0).map(|value| match value {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => String::from_utf8_lossy(other.as_bytes().unwrap_or(b"")).into_owned(),
        })
    })?;
    if actual == value || name == "auto_vacuum" {
        return Ok(());
    }
    let message = format!("SQLite kept {name} at {actual} where segue needs {value}");
    Err(Error::database(message))
}
