//! Opening connections: each pragma is set on each, in order, and read back.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::sql;
use crate::error::{Error, Result};

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 160;

/// A connection that may write. SQLite does not sync what it commits.
pub(super) fn writer(path: &Path) -> Result<Connection> {
    let conn = open(path)?;
    sql::PRAGMAS.iter().try_for_each(|(name, value)| set(&conn, name, value))?;
    Ok(conn)
}

/// Has SQLite sync each commit before it can be seen.
pub(super) fn sync_each_commit(conn: &Connection) -> Result<()> {
    set(conn, "synchronous", "2")
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
/// already may differ: it belongs to the host. One that is set already is left alone, since
/// setting the vacuum mode writes to the file even then.
fn set(conn: &Connection, name: &str, value: &str) -> Result<()> {
    if current(conn, name)? == value {
        return Ok(());
    }
    conn.pragma_update(None, name, value)?;
    let actual = current(conn, name)?;
    if actual == value || name == "auto_vacuum" {
        return Ok(());
    }
    let message = format!("SQLite kept {name} at {actual} where segue needs {value}");
    Err(Error::database(message))
}

/// What a pragma is set to.
fn current(conn: &Connection, name: &str) -> rusqlite::Result<String> {
    conn.pragma_query_value(None, name, |row| {
        row.get_ref(0).map(|value| match value {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => String::from_utf8_lossy(other.as_bytes().unwrap_or(b"")).into_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pragma(conn: &Connection, name: &str) -> String {
        let value =
            conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        match value.expect("a pragma") {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn each_connection_has_what_the_guarantees_rest_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.db");
        let conn = writer(&path).expect("a file");
        let known = ["journal_mode", "foreign_keys", "busy_timeout", "wal_autocheckpoint"];
        assert_eq!(known.map(|name| pragma(&conn, name)), ["wal", "1", "10000", "0"]);
        // The log is synced before it is folded back, and its beginning when it starts anew;
        // commits are synced by who writes them.
        assert_eq!(pragma(&conn, "synchronous"), "1");
        assert_eq!(pragma(&conn, "auto_vacuum"), "2", "it was set before the first page");
        sync_each_commit(&conn).expect("a level that it knows");
        assert_eq!(pragma(&conn, "synchronous"), "2");
        let conn = reader(&path).expect("a file");
        assert_eq!(pragma(&conn, "query_only"), "1");
        assert_eq!(pragma(&conn, "busy_timeout"), "10000");
        assert_eq!(pragma(&conn, "journal_mode"), "wal");
    }

    #[test]
    fn a_pragma_that_does_not_take_is_an_error() {
        // A database in memory has no log.
        let refused = writer(Path::new(":memory:")).expect_err("it has none");
        assert!(refused.to_string().contains("kept journal_mode at memory"), "{refused}");
        let conn = Connection::open_in_memory().expect("memory");
        assert!(set(&conn, "no_such_pragma", "1").is_err());
        assert!(set(&conn, "synchronous", "wal").is_err(), "a value that it does not know");
    }
}
