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
        fs::File,
        path::PathBuf,
        sync::{Arc, atomic::Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;
    use segue::{
        Error,
        backend::{
            Backend,
            sqlite::{Durability, Options, SqliteBackend},
        },
        model::Batch,
    };
    use tokio::task::{spawn, spawn_blocking};

    use crate::support::disk::{Deed, Disk};

    /// A database, its disk, and how many tasks it has.
    struct Place {
        folder: tempfile::TempDir,
        disk: Arc<Disk>,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let disk = Disk::of(&folder.path().canonicalize().unwrap().join("work.db"));
            Self { folder, disk }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().canonicalize().unwrap().join("work.db")
        }

        /// As one more process has it: nothing is shared but what lies beside the file.
        async fn open(&self, durability: Durability) -> SqliteBackend {
            let never = Duration::from_secs(3_600);
            let options = Options::new(self.path()).poll(never).durability(durability);
            let backend = options.open().unwrap();
            backend.migrate().await.unwrap();
            // The first commit writes the log's beginning, and the first look syncs what the
            // past has left: both have a sync of their own.
            backend.commit(super::batch()).await.unwrap();
            tasks(&backend).await.unwrap();
            backend
        }

        async fn full(&self) -> SqliteBackend {
            self.open(Durability::Full).await
        }

        async fn held(&self) {
            let disk = Arc::clone(&self.disk);
            spawn_blocking(move || disk.wait_until_held()).await.unwrap();
        }

        /// Waits until so many tasks are in the log, and it is nobody's turn to write.
        async fn written(&self, count: i64) {
            let path = self.path();
            let wait = spawn_blocking(move || {
                let conn = rusqlite::Connection::open(&path).unwrap();
                let look = || {
                    conn.query_row("SELECT count(*) FROM segue_tasks", [], |row| {
                        row.get::<_, i64>(0)
                    })
                    .unwrap()
                };
                while look() != count {
                    std::thread::yield_now();
                }
                let turn = File::open(format!("{}-segue-turn", path.display())).unwrap();
                turn.lock().unwrap();
            });
            wait.await.unwrap();
        }
    }

    fn commit(backend: &SqliteBackend, batch: Batch) -> tokio::task::JoinHandle<Result<(), Error>> {
        let backend = backend.clone();
        spawn(async move {
            for receipt in backend.commit(batch).await?.receipts {
                receipt.unwrap();
            }
            Ok(())
        })
    }

    /// How many tasks there are, as whoever reads through the library sees it.
    async fn tasks(backend: &SqliteBackend) -> Result<u64, Error> {
        Ok(backend.stats().await?.tasks.values().sum())
    }

    #[tokio::test]
    async fn an_acknowledged_commit_is_synced() {
        let place = Place::new();
        let backend = place.full().await;
        for _ in 0..super::COMMITS {
            let before = place.disk.syncs();
            backend.commit(super::batch()).await.unwrap();
            assert_eq!(place.disk.syncs(), before + 1);
            assert!(place.disk.has_all(), "the sync began when it was written");
        }
        // Those that share a commit share its sync; none is answered before it.
        let one = || async {
            let before = place.disk.syncs();
            backend.commit(super::batch()).await.unwrap();
            assert!(place.disk.syncs() > before);
        };
        join_all((0..64).map(|_| one())).await;
        assert!(place.disk.has_all());
    }

    #[tokio::test]
    async fn commits_of_several_processes_in_turns_are_each_synced() {
        let place = Place::new();
        let all = [place.full().await, place.full().await, place.full().await];
        for backend in all.iter().cycle().take(super::COMMITS) {
            backend.commit(super::batch()).await.unwrap();
            assert!(place.disk.has_all());
        }
    }

    /// The commits of two processes that are written while a third one syncs share the next sync,
    /// and are answered after it.
    #[tokio::test]
    async fn processes_share_a_sync() {
        let place = Place::new();
        let all = [place.full().await, place.full().await, place.full().await];
        assert_eq!(tasks(&all[0]).await.unwrap(), 3);
        let before = place.disk.syncs();
        place.disk.hold(Deed::Sync);
        let first = commit(&all[0], super::batch());
        place.held().await;
        let others = [commit(&all[1], super::batch()), commit(&all[2], super::batch())];
        place.written(6).await;
        assert!(others.iter().all(|commit| !commit.is_finished()));
        place.disk.release();
        first.await.unwrap().unwrap();
        for commit in others {
            commit.await.unwrap().unwrap();
            assert!(place.disk.has_all(), "the sync that was under way does not count");
        }
        assert_eq!(place.disk.syncs(), before + 2);
    }

    /// A sync that begins while a commit is being written says nothing of it.
    #[tokio::test]
    async fn a_commit_is_not_covered_by_a_sync_that_began_before_it_was_written() {
        let place = Place::new();
        let (writer, reader) = (place.full().await, place.full().await);
        place.disk.hold(Deed::Write);
        let commit = commit(&writer, super::batch());
        place.held().await;
        let before = place.disk.syncs();
        assert_eq!(tasks(&reader).await.unwrap(), 2, "it is not there yet");
        assert!(place.disk.syncs() > before, "it might have been");
        place.disk.release();
        commit.await.unwrap().unwrap();
        assert!(place.disk.has_all());
    }

    /// What a sync failed to bring to the disk is neither acknowledged nor shown, also not after
    /// one that succeeds: the system may have forgotten it. It is once it was written anew.
    #[tokio::test]
    async fn what_a_sync_has_failed_for_is_neither_acknowledged_nor_shown() {
        let place = Place::new();
        let (writer, reader) = (place.full().await, place.full().await);
        let (fails, failing) = (super::batch(), &place.disk.is_failing);
        failing.store(true, Ordering::SeqCst);
        let error = writer.commit(fails.clone()).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(tasks(&reader).await.unwrap_err().is_transient());
        let again = writer.commit(fails.clone()).await;
        assert!(again.unwrap_err().is_transient(), "it fails as long as the disk does");
        failing.store(false, Ordering::SeqCst);
        let before = place.disk.syncs();
        assert!(tasks(&reader).await.unwrap_err().is_transient(), "nobody has written it anew");
        assert_eq!(place.disk.syncs(), before);
        commit(&writer, fails).await.unwrap().unwrap();
        assert_eq!(tasks(&reader).await.unwrap(), 3, "it is there once");
        assert!(place.disk.syncs() > before);
    }

    /// The count tells a commit that waits for the disk from one that does not.
    #[tokio::test]
    async fn a_commit_that_need_not_survive_a_power_cut_is_not_synced() {
        let place = Place::new();
        let backend = place.open(Durability::Normal).await;
        let before = place.disk.syncs();
        for _ in 0..super::COMMITS {
            backend.commit(super::batch()).await.unwrap();
            tasks(&backend).await.unwrap();
        }
        assert_eq!(place.disk.syncs(), before);
        assert!(!place.disk.has_all());
    }
}
