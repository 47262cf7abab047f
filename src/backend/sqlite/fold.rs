//! Folding the log back into the database, so that it stays bounded.

use std::time::Duration;

use rusqlite::Connection;

use super::sql;

/// How long a connection waits for another: as its `busy_timeout`, which is given back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Folds back what can be, and truncates the log where nobody reads from it. Whether that was so. It
/// waits for nobody: a reader that keeps an old snapshot would hold up all who write.
pub(super) fn fold_back(conn: &Connection) -> rusqlite::Result<bool> {
    conn.busy_timeout(Duration::ZERO)?;
    let busy = conn.query_row(sql::CHECKPOINT, [], |row| row.get::<_, bool>(0));
    conn.busy_timeout(PATIENCE)?;
    Ok(!busy?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::backend::sqlite::conn;

    /// How often someone was waited for.
    static WAITS: AtomicU32 = AtomicU32::new(0);

    fn wait(_: i32) -> bool {
        WAITS.fetch_add(1, Ordering::Relaxed);
        false
    }

    #[test]
    fn a_reader_is_not_waited_for_and_the_log_is_truncated_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.db");
        let mut writer = conn::writer(&path).expect("a file");
        let write = "CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)";
        writer.execute_batch(write).expect("a write");
        let reader = conn::reader(&path).expect("a file");
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").expect("a snapshot");
        writer.execute_batch(write).expect("a write");
        writer.busy_handler(Some(wait)).expect("a handler");
        assert!(!fold_back(&writer).expect("a checkpoint"));
        assert_eq!(WAITS.load(Ordering::Relaxed), 0, "nobody was waited for");
        let patience = writer.pragma_query_value(None, "busy_timeout", |row| row.get::<_, u32>(0));
        assert_eq!(u128::from(patience.expect("a pragma")), PATIENCE.as_millis());
        reader.execute_batch("COMMIT").expect("no snapshot");
        assert!(fold_back(&writer).expect("a checkpoint"));
        assert_eq!(super::super::wal_bytes(&path), 0);
    }
}
