//! One sync of the log for the commits of all processes that wait for one.
//!
//! A commit writes to the log in its turn, and is synced after the turn has passed on. Each has
//! a number. Three counts lie in a page that all processes share:
//!
//! * *begun* is raised before the commit: nothing that can be seen has a higher number;
//! * *written* is raised after it: what has no higher number is in the log;
//! * *synced* is raised after a sync, to what was written when the sync began: what has no
//!   higher number is on the disk.
//!
//! So one sync serves all commits that were written before it, and a commit that is written
//! while one is under way needs another. Who is killed after the first count leaves a commit
//! that the next one who may see it syncs.

#[cfg(target_os = "linux")]
pub(super) use here::Syncs;
#[cfg(not(target_os = "linux"))]
pub(super) use nowhere::Syncs;

#[cfg(target_os = "linux")]
mod here {
    use std::{
        path::Path,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU64, Ordering},
        },
    };

    use rusqlite::Connection;

    use super::super::{
        fold::fold_back,
        lock, log,
        neighbours::{Lock, Page},
    };
    use crate::error::{Error, Result};

    #[derive(Debug)]
    pub struct Syncs {
        page: Arc<Page>,
        /// Held by the one who syncs.
        lock: Mutex<Lock>,
    }

    impl Syncs {
        pub fn open(database: &Path, page: Arc<Page>) -> Result<Self> {
            Ok(Self { page, lock: Mutex::new(Lock::open(database, "sync")?) })
        }

        fn begun(&self) -> &AtomicU64 {
            self.page.number(8)
        }

        fn written(&self) -> &AtomicU64 {
            self.page.number(9)
        }

        fn synced(&self) -> &AtomicU64 {
            self.page.number(10)
        }

        /// Not 0 once a sync has failed.
        fn doubts(&self) -> &AtomicU64 {
            self.page.number(11)
        }

        /// Whether syncs can be shared here, as long as writes spare their neighbours.
        pub const fn is_possible() -> bool {
            true
        }

        /// The number of the next commit. Called with the turn to write, before it happens.
        pub fn begin(&self) -> u64 {
            // What a power cut left of the page may have a later count without the earlier.
            let number = self.begun_by_others().max(self.synced().load(Ordering::SeqCst)) + 1;
            self.begun().store(number, Ordering::SeqCst);
            number
        }

        /// The number of the last commit before this turn to write. It is written, or its process
        /// is dead: nobody else writes now.
        pub fn begun_by_others(&self) -> u64 {
            let number = self.newest();
            self.wrote(number).max(number)
        }

        /// Notes that the commit of this number has happened. Returns what was noted before.
        pub fn wrote(&self, number: u64) -> u64 {
            self.written().fetch_max(number, Ordering::SeqCst)
        }

        /// Nothing that can be seen now has a higher number.
        pub fn newest(&self) -> u64 {
            self.begun().load(Ordering::SeqCst)
        }

        fn is_synced(&self, number: u64) -> bool {
            self.synced().load(Ordering::SeqCst) >= number
        }

        /// Returns when all commits up to `number` are on the disk that were written before the
        /// call. `conn` has read or written, and is in no transaction.
        ///
        /// # Errors
        /// When the log can't be synced. Whether the commits happened is then not known.
        pub fn cover(&self, conn: &Connection, number: u64) -> Result<()> {
            if self.is_synced(number) {
                return Ok(());
            }
            let mut file = lock(&self.lock);
            let _held = file.hold()?;
            if self.is_synced(number) {
                return Ok(());
            }
            if self.is_in_doubt() {
                return Err(Error::unavailable("the log could not be brought to the disk"));
            }
            let written = self.written().load(Ordering::SeqCst);
            log::sync(conn).inspect_err(|_| self.doubt())?;
            self.synced().fetch_max(written, Ordering::SeqCst);
            Ok(())
        }

        /// Some sync of the log failed: the system may have forgotten what it was to write, so
        /// that a later one which succeeds says nothing. Nothing is on the disk before it was
        /// written anew.
        pub fn doubt(&self) {
            self.doubts().store(1, Ordering::SeqCst);
        }

        pub fn is_in_doubt(&self) -> bool {
            self.doubts().load(Ordering::SeqCst) != 0
        }

        /// Writes what is in the log to the database and syncs that. Called with the turn to
        /// write.
        ///
        /// # Errors
        /// When that fails too, or someone reads what is in the log.
        pub fn mend(&self, conn: &Connection) -> Result<()> {
            let mut file = lock(&self.lock);
            let _held = file.hold()?;
            let written = self.begun_by_others();
            if !fold_back(conn)? {
                return Err(Error::unavailable("the log could not be written anew: it is read"));
            }
            self.synced().fetch_max(written, Ordering::SeqCst);
            self.doubts().store(0, Ordering::SeqCst);
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nowhere {
    use std::{path::Path, sync::Arc};

    use rusqlite::Connection;

    use super::super::neighbours::Page;
    use crate::error::Result;

    /// Where nothing is shared, SQLite syncs each commit before it can be seen.
    #[derive(Debug)]
    pub struct Syncs;

    impl Syncs {
        pub fn open(_: &Path, _: Arc<Page>) -> Result<Self> {
            Ok(Self)
        }

        pub const fn is_possible() -> bool {
            false
        }

        pub fn begin(&self) -> u64 {
            0
        }

        pub fn begun_by_others(&self) -> u64 {
            0
        }

        pub fn wrote(&self, _: u64) -> u64 {
            0
        }

        pub fn newest(&self) -> u64 {
            0
        }

        pub fn cover(&self, _: &Connection, _: u64) -> Result<()> {
            Ok(())
        }

        pub fn doubt(&self) {}

        pub fn is_in_doubt(&self) -> bool {
            false
        }

        pub fn mend(&self, _: &Connection) -> Result<()> {
            Ok(())
        }
    }
}
