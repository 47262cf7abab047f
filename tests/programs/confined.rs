//! What the kernel keeps a program from.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use segue::agents::process::{Landlock, Rules, Sandbox, Spawn};

use super::{mark, shell};

/// The program, confined to writing into these folders.
fn confined(folder: &Path, script: &str, writable: &[&Path]) -> Spawn {
    let writable = writable.iter().map(|path| (*path).to_owned()).collect();
    let rules = Rules { writable };
    Spawn { confined: Some((Arc::new(Landlock), rules)), ..shell(folder, script) }
}

/// All that is in a folder: names, contents, sizes.
fn contents(folder: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        all.push((path.display().to_string(), meta.ino(), bytes));
        if meta.is_dir() {
            all.extend(contents(&path));
        }
    }
    all.sort();
    all
}

/// Every way to change a file, a folder or a name, each said with what came of it.
const ATTEMPTS: [&str; 12] = [
    "echo x > new",
    "echo x > file",
    "echo x >> file",
    ": > file",
    "rm file",
    "mv file other",
    "mkdir folder2",
    "rmdir empty",
    "ln file hard",
    "ln -s file soft",
    "mkfifo pipe",
    "cp file copy",
];

#[tokio::test]
async fn a_confined_program_reads_everything_and_changes_nothing() {
    let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("file"), "kept").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let before = contents(folder.path());
    let tried: Vec<_> =
        ATTEMPTS.iter().map(|attempt| format!("({attempt}) && echo '{attempt}'")).collect();
    let note = own.path().join("note");
    // What it starts is confined as well.
    let script = format!(
        "exec 2> /dev/null; cat file > {0}; {1}; setsid -w sh -c 'echo x > file' && echo late; true",
        note.display(),
        tried.join("; ")
    );
    let mut owned = confined(folder.path(), &script, &[own.path(), Path::new("/dev/null")])
        .start(mark())
        .await
        .unwrap();
    let mut said = String::new();
    let mut output = owned.output().unwrap();
    tokio::io::AsyncReadExt::read_to_string(&mut output, &mut said).await.unwrap();
    assert!(owned.ended().await.unwrap().status.success());
    assert_eq!(said, "", "these went through");
    assert_eq!(contents(folder.path()), before);
    assert_eq!(fs::read_to_string(note).unwrap(), "kept", "it reads, and writes where it may");
}

#[tokio::test]
async fn without_a_sandbox_each_of_the_attempts_works() {
    for attempt in ATTEMPTS {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "kept").unwrap();
        fs::create_dir(folder.path().join("empty")).unwrap();
        let before = contents(folder.path());
        let owned = shell(folder.path(), attempt).start(mark()).await.unwrap();
        assert!(owned.ended().await.unwrap().status.success(), "{attempt}");
        assert!(contents(folder.path()) != before, "{attempt}");
    }
}

#[tokio::test]
async fn the_thread_that_starts_a_program_stays_free() {
    let folder = tempfile::tempdir().unwrap();
    let owned = confined(folder.path(), "exit 0", &[]).start(mark()).await.unwrap();
    owned.ended().await.unwrap();
    fs::write(folder.path().join("file"), "written").unwrap();
    let owned = shell(folder.path(), "echo x > file").start(mark()).await.unwrap();
    assert!(owned.ended().await.unwrap().status.success());
}

#[tokio::test]
async fn a_confined_program_ends_nothing_outside() {
    let folder = tempfile::tempdir().unwrap();
    let outside = shell(folder.path(), "sleep 1000").start(mark()).await.unwrap();
    let script = format!("kill -9 {} 2> /dev/null", outside.id().unwrap());
    let inside = confined(folder.path(), &script, &[Path::new("/dev/null")]);
    let inside = inside.start(mark()).await.unwrap().ended().await.unwrap();
    assert!(!inside.status.success());
    assert!(super::lives(outside.id().unwrap()));
    outside.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn what_can_not_be_confined_is_not_started() {
    #[derive(Debug)]
    struct Unable;
    impl Sandbox for Unable {
        fn confine(&self, _: &Rules) -> io::Result<()> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "not on this system"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let spawn = Spawn {
        confined: Some((Arc::new(Unable), Rules::default())),
        ..shell(folder.path(), "echo x > file")
    };
    let refused = spawn.start(mark()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    let missing = folder.path().join("missing");
    let refused = confined(folder.path(), "echo x > file", &[&missing]).start(mark()).await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("missing` can't be made writable"), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
