//! What is acknowledged is on the disk: each commit has a sync behind it.

use segue::{
    id::TaskId,
    model::{Batch, Command, Payload, TaskSpec},
};

const COMMITS: usize = 20;

/// One new task.
fn batch() -> Batch {
    let spec = TaskSpec::new(TaskId::new(), "work", Payload::null());
    Batch { commands: vec![Command::Enqueue(Box::new(spec))], claim: None }
}

#[cfg(feature = "postgres")]
mod postgres {
    use segue::backend::{Backend, postgres::Options};

    use crate::support::cluster::{Cluster, psql, schema};

    /// How many of so many commits were flushed to the disk when they were acknowledged, by
    /// what the server says of its log.
    async fn flushed(cluster: &Cluster, more: &str) -> usize {
        let url = format!("{}{more}", cluster.url());
        let backend = Options::new(url).schema(schema()).connect().await.unwrap();
        backend.migrate().await.unwrap();
        let mut flushed = 0;
        for _ in 0..super::COMMITS {
            let before = psql(&cluster.url(), "SELECT pg_current_wal_insert_lsn()");
            backend.commit(super::batch()).await.unwrap();
            let sql = format!("SELECT pg_current_wal_flush_lsn() > '{}'", before.trim());
            flushed += usize::from(psql(&cluster.url(), &sql).trim() == "t");
        }
        flushed
    }

    #[tokio::test]
    async fn an_acknowledged_commit_is_flushed() {
        let cluster = Cluster::durable();
        // Nobody else brings the log to the disk soon.
        psql(&cluster.url(), "ALTER SYSTEM SET wal_writer_delay = '10s'");
        psql(&cluster.url(), "SELECT pg_reload_conf()");
        assert_eq!(psql(&cluster.url(), "SHOW fsync").trim(), "on");
        assert_eq!(flushed(&cluster, "").await, super::COMMITS);
        // And it would be seen if it were not.
        let lazily = flushed(&cluster, " options='-c synchronous_commit=off'").await;
        assert!(lazily < super::COMMITS, "commits that do not wait were all flushed");
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::{
        collections::HashMap,
        ffi::{CStr, c_char, c_int},
        ptr::NonNull,
        sync::{
            Mutex, OnceLock,
            atomic::{AtomicPtr, AtomicUsize, Ordering},
        },
    };

    use futures_util::future::join_all;
    use rusqlite::ffi;
    use segue::backend::{
        Backend,
        sqlite::{Durability, Options, SqliteBackend},
    };

    /// SQLite's own way to the files of this system.
    static SYSTEM: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());
    /// The logs that were opened, by the address of the file.
    static LOGS: Mutex<Option<HashMap<usize, &'static Log>>> = Mutex::new(None);

    /// A log, and how often it was synced.
    struct Log {
        path: String,
        syncs: AtomicUsize,
        sync: unsafe extern "C" fn(*mut ffi::sqlite3_file, c_int) -> c_int,
    }

    /// Opens a file as the system does. The methods of a log are replaced by a copy that
    /// counts its syncs.
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
                let path = CStr::from_ptr(name).to_string_lossy().into_owned();
                let own = (*file).pMethods.read();
                let sync = own.xSync.expect("it can sync");
                let log = Box::leak(Box::new(Log { path, syncs: AtomicUsize::new(0), sync }));
                LOGS.lock().unwrap().get_or_insert_default().insert(file as usize, log);
                let counting = ffi::sqlite3_io_methods { xSync: Some(count_and_sync), ..own };
                (*file).pMethods = Box::leak(Box::new(counting));
            }
        }
        done
    }

    #[allow(unsafe_code, reason = "SQLite calls it, with a file that `open` has opened")]
    unsafe extern "C" fn count_and_sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
        let logs = LOGS.lock().unwrap();
        let log = *logs.as_ref().and_then(|logs| logs.get(&(file as usize))).expect("it is open");
        drop(logs);
        // SAFETY: the system's own function gets what SQLite gave to this one.
        let done = unsafe { (log.sync)(file, flags) };
        log.syncs.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// Every connection of this process that is opened from now on counts the syncs of its log.
    #[allow(unsafe_code, reason = "how SQLite is given a way to files")]
    fn count_syncs() {
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

    /// The syncs of the log by all connections to a database.
    fn syncs(backend: &SqliteBackend) -> usize {
        let path = format!("{}-wal", backend.path().display());
        let logs = LOGS.lock().unwrap();
        let all = logs.iter().flat_map(HashMap::values).filter(|log| log.path == path);
        all.map(|log| log.syncs.load(Ordering::SeqCst)).sum()
    }

    async fn migrated(durability: Durability) -> (tempfile::TempDir, SqliteBackend) {
        count_syncs();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("work.db");
        let backend = Options::new(path).durability(durability).open().unwrap();
        backend.migrate().await.unwrap();
        // The first commits write the log's beginning, which has a sync of its own.
        backend.commit(super::batch()).await.unwrap();
        (folder, backend)
    }

    #[tokio::test]
    async fn an_acknowledged_commit_is_synced() {
        let (_folder, backend) = migrated(Durability::Full).await;
        for _ in 0..super::COMMITS {
            let before = syncs(&backend);
            backend.commit(super::batch()).await.unwrap();
            assert_eq!(syncs(&backend), before + 1);
        }
        // Those that share a commit share its sync; none is answered before it.
        let one = || async {
            let before = syncs(&backend);
            backend.commit(super::batch()).await.unwrap();
            assert!(syncs(&backend) > before);
        };
        join_all((0..64).map(|_| one())).await;
    }

    /// The count tells a commit that waits for the disk from one that does not.
    #[tokio::test]
    async fn a_commit_that_need_not_survive_a_power_cut_is_not_synced() {
        let (_folder, backend) = migrated(Durability::Normal).await;
        let before = syncs(&backend);
        for _ in 0..super::COMMITS {
            backend.commit(super::batch()).await.unwrap();
        }
        assert_eq!(syncs(&backend), before);
    }
}
