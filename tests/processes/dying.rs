//! A process that is killed between its commit and the sync of it: nobody shows the commit, or
//! answers by it, before it is on the disk.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use segue::{
    backend::{
        Backend,
        sqlite::{Options, SqliteBackend},
    },
    id::TaskId,
    model::{Batch, Command, Needs, Payload, TaskSpec},
};

use super::{
    child::{Child, say, told},
    disk::Disk,
    place::{database, run},
};

fn new_task(id: TaskId) -> Batch {
    let spec = TaskSpec::new(id, "count", Payload::null());
    Batch { commands: vec![Command::Enqueue(Box::new(spec))], claim: None }
}

/// What a child does: it commits the task that it is told, and dies when it syncs it.
pub async fn work(folder: &Path) {
    let path = database(folder);
    let disk = Disk::of(&path);
    let backend = Options::new(path).open().expect("a database");
    backend.stats().await.expect("what was there is on the disk");
    say("ready");
    let id = told().await.trim().parse().expect("an id");
    disk.is_deadly.store(true, Ordering::SeqCst);
    let _ = backend.commit(new_task(id)).await;
    say("alive");
}

/// A database, its disk, and a task that nobody lived to sync.
async fn left_behind() -> (tempfile::TempDir, Arc<Disk>, SqliteBackend, TaskId) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().canonicalize().unwrap();
    let disk = Disk::of(&database(&path));
    let backend = Options::new(database(&path)).open().unwrap();
    backend.migrate().await.unwrap();
    backend.commit(new_task(TaskId::new())).await.unwrap();
    let mut child = Child::start(&path, "die");
    // Both have synced what they found when they came.
    backend.stats().await.unwrap();
    let id = TaskId::new();
    child.dies_of(&id.to_string());
    (folder, disk, backend, id)
}

#[test]
fn a_commit_that_its_process_did_not_live_to_sync_is_on_the_disk_before_it_is_shown() {
    run(async {
        let (_folder, disk, backend, id) = left_behind().await;
        let before = disk.syncs();
        let needs = Needs { tasks: [id].into(), ..Needs::default() };
        let rows = backend.read(&needs).await.unwrap();
        assert!(rows.tasks.contains_key(&id), "a killed process loses nothing");
        assert_eq!(disk.syncs(), before + 1);
        backend.commit(new_task(TaskId::new())).await.unwrap();
        assert!(disk.has_all());
    });
}

#[test]
fn who_asks_for_what_is_there_is_answered_when_it_is_on_the_disk() {
    run(async {
        let (_folder, disk, backend, id) = left_behind().await;
        let before = disk.syncs();
        let done = backend.commit(new_task(id)).await.unwrap();
        assert!(done.receipts.iter().all(Result::is_ok), "it was enqueued before");
        assert_eq!(disk.syncs(), before + 1);
    });
}
