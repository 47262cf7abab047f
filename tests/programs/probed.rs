//! What is installed, and what lies.

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use segue::agents::probe::{ProbeError, probe, probe_within, which};
use tempfile::TempDir;

/// A folder with a program that is a shell script.
fn program(script: &str) -> (TempDir, std::ffi::OsString) {
    let folder = TempDir::with_prefix("segue-probed-").expect("a folder");
    let file = folder.path().join("agent");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let mut path = folder.path().as_os_str().to_owned();
    path.push(":");
    path.push(rest);
    (folder, path)
}

#[tokio::test]
async fn a_program_says_its_version_and_another_file_is_another_program() {
    let (folder, path) = program("echo; echo agent 1.2.3");
    let found = probe(OsStr::new("agent"), &path).await.expect("a program");
    assert_eq!(found.version, "1.2.3");
    assert_eq!(found.path, fs::canonicalize(folder.path().join("agent")).expect("a path"));
    fs::write(folder.path().join("agent"), "#!/bin/sh\necho agent 1.2.3 # changed\n")
        .expect("a file");
    let other = probe(OsStr::new("agent"), &path).await.expect("a program");
    assert_ne!(other.sha256, found.sha256);
    assert_eq!(which(OsStr::new("agent"), &path).as_deref(), Some(Path::new(&found.path)));
}

#[tokio::test]
async fn what_is_missing_hangs_or_says_something_else_is_told_apart() {
    let (_folder, path) = program("echo no idea");
    let missing = probe(OsStr::new("no-such-agent"), &path).await;
    assert!(matches!(missing, Err(ProbeError::Missing(name)) if name == "no-such-agent"));
    let strange = probe(OsStr::new("agent"), &path).await;
    assert!(
        matches!(&strange, Err(ProbeError::Strange { said, .. }) if said == "no idea"),
        "{strange:?}"
    );
    let (_folder, path) = program("echo agent 1.2.3; exit 3");
    let failed = probe(OsStr::new("agent"), &path).await;
    assert!(matches!(failed, Err(ProbeError::Strange { .. })), "{failed:?}");
    let (folder, path) = program("echo $$ > \"$(dirname \"$0\")/process\"; sleep 600");
    let hangs = probe_within(OsStr::new("agent"), &path, Duration::from_millis(500)).await;
    assert!(matches!(hangs, Err(ProbeError::Hangs { .. })), "{hangs:?}");
    let process = fs::read_to_string(folder.path().join("process")).expect("it was started");
    assert!(!super::lives(process.trim().parse().expect("a number")), "it was ended");
}
