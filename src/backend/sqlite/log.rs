//! The write-ahead log from below SQL: bringing it to the disk, and how much was written to it.
//!
//! SQLite's own file is used, through its own methods: nothing is opened here.

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// Syncs the log of a connection, as a commit with `synchronous = FULL` does before it returns:
/// all that any connection has written to it by now is on the disk then.
///
/// # Errors
/// When the sync failed, after which the system may have forgotten what was to be written; or
/// when the connection has no log open, since it has read nothing.
#[allow(unsafe_code, reason = "the sync is SQLite's own")]
pub(super) fn sync(conn: &Connection) -> rusqlite::Result<()> {
    with_file(conn, ffi::SQLITE_FCNTL_JOURNAL_POINTER, |file, methods| {
        let sync = methods.xSync?;
        // SAFETY: SQLite has opened the file and keeps it open as long as the connection, which
        // no other thread uses meanwhile, since the caller holds a reference and it is not `Sync`.
        Some(unsafe { sync(file, ffi::SQLITE_SYNC_NORMAL) })
    })
}

/// Whether a write leaves what is beside it in the same sector as it was, whenever the power
/// goes. Where it may not, a commit that is synced must be padded to the end of its sector,
/// which SQLite does if it syncs the commit itself.
#[allow(unsafe_code, reason = "SQLite has no other way to ask for it")]
pub(super) fn spares_neighbours(conn: &Connection) -> rusqlite::Result<bool> {
    let mut spares = false;
    with_file(conn, ffi::SQLITE_FCNTL_FILE_POINTER, |file, methods| {
        let look = methods.xDeviceCharacteristics?;
        // SAFETY: as in `sync`.
        let found = unsafe { look(file) };
        spares = found & ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE != 0;
        Some(ffi::SQLITE_OK)
    })?;
    Ok(spares)
}

/// How many pages a connection has written.
#[allow(unsafe_code, reason = "rusqlite does not offer it")]
pub(super) fn pages_written(conn: &Connection) -> rusqlite::Result<u32> {
    let (mut pages, mut most): (c_int, c_int) = (0, 0);
    // SAFETY: the handle is that of an open connection, and the numbers outlive the call.
    let done = unsafe {
        let (what, pages, most) = (ffi::SQLITE_DBSTATUS_CACHE_WRITE, &raw mut pages, &raw mut most);
        ffi::sqlite3_db_status(conn.handle(), what, pages, most, 0)
    };
    checked(done)?;
    Ok(pages as u32)
}

/// Calls `work` with a file of the main database and its methods.
#[allow(unsafe_code, reason = "rusqlite does not offer it")]
fn with_file(
    conn: &Connection,
    which: c_int,
    work: impl FnOnce(*mut ffi::sqlite3_file, &ffi::sqlite3_io_methods) -> Option<c_int>,
) -> rusqlite::Result<()> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the handle is that of an open connection; for these questions SQLite writes one
    // pointer to where it is told.
    let asked = unsafe {
        let file = (&raw mut file).cast();
        ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), which, file)
    };
    checked(asked)?;
    // SAFETY: it is null or a file of this connection, whose methods are null until it is open.
    let methods = unsafe { file.as_ref().and_then(|file| file.pMethods.as_ref()) };
    checked(methods.and_then(|methods| work(file, methods)).unwrap_or(ffi::SQLITE_MISUSE))
}

fn checked(done: c_int) -> rusqlite::Result<()> {
    if done == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(done), None))
}
