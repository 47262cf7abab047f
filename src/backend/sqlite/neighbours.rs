//! The other processes on the same file: taking turns at writing, sharing syncs, and waking each
//! other.
//!
//! All of it goes through small files of our own beside the database. The database's own files are
//! never opened here: closing a descriptor of theirs would drop SQLite's locks.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// `work.db` -> `work.db-segue-NAME`.
pub(super) fn beside(database: &Path, name: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-segue-");
    path.push(name);
    path.into()
}

/// The queue of writers: whoever waits holds the gate, so that the one who just wrote can't
/// take the turn again before them. The operating system drops a dead process's locks.
#[derive(Debug)]
pub(super) struct Turnstile {
    gate: File,
    turn: File,
}

impl Turnstile {
    pub fn open(database: &Path) -> Result<Self> {
        Ok(Self { gate: open(&beside(database, "gate"))?, turn: open(&beside(database, "turn"))? })
    }

    /// Waits for the turn to write. It ends when the guard is dropped.
    pub fn enter(&self) -> Result<Turn<'_>> {
        self.gate.lock().map_err(lock_failed)?;
        let turn = self.turn.lock().map_err(lock_failed);
        self.gate.unlock().map_err(lock_failed)?;
        turn.map(|()| Turn(&self.turn))
    }
}

/// The turn to write, or another lock that is held.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::error!(%error, "can't unlock a file beside the database");
        }
    }
}

/// What one process at a time may hold. The operating system drops a dead process's lock.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub fn open(database: &Path, name: &str) -> Result<Self> {
        Ok(Self(open(&beside(database, name))?))
    }

    /// Waits for it. Threads that share the value must not hold it at once.
    pub fn hold(&mut self) -> Result<Turn<'_>> {
        self.0.lock().map_err(lock_failed)?;
        Ok(Turn(&self.0))
    }
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(|error| {
        Error::database(format!("can't open {}: {error}", path.display())).caused_by(error)
    })
}

fn lock_failed(error: std::io::Error) -> Error {
    Error::unavailable(format!("can't queue for writing: {error}")).caused_by(error)
}

pub(super) use shared::{Bell, Page};

#[cfg(target_os = "linux")]
mod shared {
    use std::{
        path::Path,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, AtomicU64, Ordering},
        },
        time::Duration,
    };

    use memmap2::MmapRaw;
    use rustix::thread::{Timespec, futex};

    use super::{super::lock, beside, open};
    use crate::error::{Error, Result};

    /// A page that all processes on the file map. Its words: the count of rings, of those who
    /// listen, and of the rings for a task that is ready; from byte 64 on, what [`Syncs`] counts.
    ///
    /// [`Syncs`]: super::super::syncs::Syncs
    #[derive(Debug)]
    pub struct Page(MmapRaw);

    impl Page {
        pub fn open(database: &Path) -> Result<Self> {
            let file = open(&beside(database, "bell"))?;
            let page = file.set_len(4096).and_then(|()| MmapRaw::map_raw(&file));
            page.map(Self).map_err(|error| {
                Error::database(format!("can't map the page of all processes: {error}"))
                    .caused_by(error)
            })
        }

        #[allow(unsafe_code, reason = "an atomic in a page that other processes map too")]
        pub fn word(&self, index: usize) -> &AtomicU32 {
            assert!(index < 1024);
            // SAFETY: the page is mapped, aligned and 4096 bytes long as long as `self` lives,
            // and every process touches these words through atomics only.
            unsafe { AtomicU32::from_ptr(self.0.as_mut_ptr().cast::<u32>().add(index)) }
        }

        /// A number of 64 bits, of which the page has 512.
        #[allow(unsafe_code, reason = "an atomic in a page that other processes map too")]
        pub fn number(&self, index: usize) -> &AtomicU64 {
            assert!(index < 512);
            // SAFETY: as above; numbers and words lie apart.
            unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast::<u64>().add(index)) }
        }
    }

    /// Wakes other processes, and is heard by them.
    #[derive(Debug)]
    pub struct Bell {
        page: Arc<Page>,
        /// How often this process has rung.
        own: AtomicU32,
        /// How many of those who listen do so through this value.
        own_listeners: Mutex<u32>,
    }

    impl Bell {
        pub fn new(page: Arc<Page>) -> Self {
            Self { page, own: AtomicU32::new(0), own_listeners: Mutex::default() }
        }

        fn word(&self, index: usize) -> &AtomicU32 {
            self.page.word(index)
        }

        /// How often to look whether the database has changed, where `limit` is wished for.
        pub fn poll(limit: Duration) -> Duration {
            limit
        }

        /// Wakes the listeners of other processes. Called after a commit, never inside one.
        /// `made_ready` when workers that have places may find a task.
        pub fn ring(&self, made_ready: bool) {
            self.word(2).fetch_add(u32::from(made_ready), Ordering::SeqCst);
            self.own.fetch_add(1, Ordering::SeqCst);
            self.word(0).fetch_add(1, Ordering::SeqCst);
            if self.others_listen() {
                // A failed wake-up is made good by the listeners' polling.
                let _ = futex::wake(self.word(0), futex::Flags::empty(), i32::MAX as u32);
            }
        }

        fn others_listen(&self) -> bool {
            // Held while both are read: the count of all includes the own.
            let own = lock(&self.own_listeners);
            self.word(1).load(Ordering::SeqCst) > *own
        }

        /// Counts one listener more; with `u32::MAX`, one less.
        fn count_listener(&self, by: u32) {
            let mut own = lock(&self.own_listeners);
            *own = own.wrapping_add(by);
            self.word(1).fetch_add(by, Ordering::SeqCst);
        }

        /// How often others have rung.
        pub fn rung_by_others(&self) -> u32 {
            self.word(0).load(Ordering::SeqCst).wrapping_sub(self.own.load(Ordering::SeqCst))
        }

        /// How often anyone has rung for a task that is ready.
        pub fn made_ready(&self) -> u32 {
            self.word(2).load(Ordering::SeqCst)
        }

        /// Waits for a ring, or until `limit` has passed.
        pub fn listen(&self, seen: u32, limit: Duration) {
            let word = self.word(0);
            let value = word.load(Ordering::SeqCst);
            if self.rung_by_others() != seen {
                return;
            }
            let limit = Timespec {
                tv_sec: limit.as_secs() as i64,
                tv_nsec: i64::from(limit.subsec_nanos()),
            };
            self.count_listener(1);
            let _ = futex::wait(word, futex::Flags::empty(), value, Some(&limit));
            self.count_listener(u32::MAX);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod shared {
    use std::{path::Path, sync::Arc, time::Duration};

    use crate::error::Result;

    /// Nothing is shared: each commit is synced by itself.
    #[derive(Debug)]
    pub struct Page;

    impl Page {
        pub fn open(_: &Path) -> Result<Self> {
            Ok(Self)
        }
    }

    /// Where no bell can be mapped, the database is polled more often.
    #[derive(Debug)]
    pub struct Bell;

    impl Bell {
        pub fn new(_: Arc<Page>) -> Self {
            Self
        }

        pub fn poll(limit: Duration) -> Duration {
            limit.min(Duration::from_millis(20))
        }

        pub fn ring(&self, _: bool) {}

        pub fn rung_by_others(&self) -> u32 {
            0
        }

        pub fn made_ready(&self) -> u32 {
            0
        }

        pub fn listen(&self, _: u32, limit: Duration) {
            std::thread::sleep(limit);
        }
    }
}
