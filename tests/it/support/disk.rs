//! SQLite's way to the files of this system, which counts what is written to a log and synced,
//! and holds, fails or kills a sync where a test says so.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    path::Path,
    ptr::NonNull,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    },
};

use rusqlite::ffi;

/// What the disk knows of the log of one database.
#[derive(Debug, Default)]
pub struct Disk {
    /// How often it was written to.
    writes: AtomicUsize,
    /// How many of these writes are on the disk: they were made before a sync that succeeded.
    synced: AtomicUsize,
    /// How often it was synced.
    syncs: AtomicUsize,
    /// Its syncs fail.
    pub is_failing: AtomicBool,
    /// Who syncs it dies.
    pub is_deadly: AtomicBool,
    held: Mutex<Held>,
    changed: Condvar,
}

/// The next of its kind waits before it happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Nothing,
    Wanted(Deed),
    Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Write,
    Sync,
}

impl Disk {
    /// The disk of a database that is not open yet. Every connection of this process that is
    /// opened from now on goes through it.
    pub fn of(database: &Path) -> Arc<Self> {
        register();
        let name = format!("{}-wal", database.display());
        Arc::clone(DISKS.lock().unwrap().get_or_insert_default().entry(name).or_default())
    }

    pub fn syncs(&self) -> usize {
        self.syncs.load(Ordering::SeqCst)
    }

    /// Whether all that was written to the log is on the disk.
    pub fn has_all(&self) -> bool {
        self.synced.load(Ordering::SeqCst) == self.writes.load(Ordering::SeqCst)
    }

    /// Holds the next write or sync of the log.
    pub fn hold(&self, deed: Deed) {
        *self.held.lock().unwrap() = Held::Wanted(deed);
    }

    /// Waits until it is held. Blocks.
    pub fn wait_until_held(&self) {
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_while(held, |held| *held != Held::Waiting).unwrap());
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = Held::Nothing;
        self.changed.notify_all();
    }

    fn pass(&self, deed: Deed) {
        let mut held = self.held.lock().unwrap();
        if *held == Held::Wanted(deed) {
            *held = Held::Waiting;
            self.changed.notify_all();
            drop(self.changed.wait_while(held, |held| *held == Held::Waiting).unwrap());
        }
    }
}

/// SQLite's own way to the files of this system.
static SYSTEM: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());
/// By the name of the log.
static DISKS: Mutex<Option<HashMap<String, Arc<Disk>>>> = Mutex::new(None);
/// The logs that were opened, by the address of the file.
static LOGS: Mutex<Option<HashMap<usize, &'static Log>>> = Mutex::new(None);

/// A log that is open, and the system's own methods.
struct Log {
    disk: Arc<Disk>,
    system: ffi::sqlite3_io_methods,
}

fn log(file: *mut ffi::sqlite3_file) -> &'static Log {
    let logs = LOGS.lock().unwrap();
    logs.as_ref().and_then(|logs| logs.get(&(file as usize))).expect("it is open")
}

/// Opens a file as the system does. The methods of a log are replaced.
#[allow(unsafe_code, reason = "SQLite calls it, with what it promises to call it with")]
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let system = SYSTEM.load(Ordering::SeqCst);
    // SAFETY: the system's own function gets what SQLite gave to this one.
    let done = unsafe {
        let open = (*system).xOpen.expect("it can open");
        open(system, name, file, flags, out)
    };
    if done == ffi::SQLITE_OK && flags & ffi::SQLITE_OPEN_WAL != 0 {
        // SAFETY: the name of a log is a string, and its file is open with its methods,
        // which are plain function pointers; the copy lives for ever.
        unsafe {
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let disk =
                Arc::clone(DISKS.lock().unwrap().get_or_insert_default().entry(name).or_default());
            let system = (*file).pMethods.read();
            let log = Box::leak(Box::new(Log { disk, system }));
            LOGS.lock().unwrap().get_or_insert_default().insert(file as usize, log);
            let own = ffi::sqlite3_io_methods { xSync: Some(sync), xWrite: Some(write), ..system };
            (*file).pMethods = Box::leak(Box::new(own));
        }
    }
    done
}

#[allow(unsafe_code, reason = "SQLite calls it, with a file that `open` has opened")]
unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let log = log(file);
    log.disk.pass(Deed::Write);
    let write = log.system.xWrite.expect("it can write");
    // SAFETY: the system's own function gets what SQLite gave to this one.
    let done = unsafe { write(file, bytes, count, at) };
    log.disk.writes.fetch_add(1, Ordering::SeqCst);
    done
}

#[allow(unsafe_code, reason = "SQLite calls it, with a file that `open` has opened")]
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let log = log(file);
    let written = log.disk.writes.load(Ordering::SeqCst);
    if log.disk.is_deadly.load(Ordering::SeqCst) {
        std::process::abort();
    }
    log.disk.pass(Deed::Sync);
    if log.disk.is_failing.load(Ordering::SeqCst) {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    let sync = log.system.xSync.expect("it can sync");
    // SAFETY: the system's own function gets what SQLite gave to this one.
    let done = unsafe { sync(file, flags) };
    log.disk.synced.fetch_max(written, Ordering::SeqCst);
    log.disk.syncs.fetch_add(1, Ordering::SeqCst);
    done
}

#[allow(unsafe_code, reason = "how SQLite is given a way to files")]
fn register() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        // SAFETY: SQLite keeps its own for ever, and the copy is never freed.
        unsafe {
            let system = NonNull::new(ffi::sqlite3_vfs_find(std::ptr::null())).unwrap();
            SYSTEM.store(system.as_ptr(), Ordering::SeqCst);
            let counting = ffi::sqlite3_vfs {
                zName: c"counting".as_ptr(),
                xOpen: Some(open),
                pNext: std::ptr::null_mut(),
                ..system.read()
            };
            let made = ffi::sqlite3_vfs_register(Box::leak(Box::new(counting)), 1);
            assert_eq!(made, ffi::SQLITE_OK);
        }
    });
}
