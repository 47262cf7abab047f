//! Worktrees that are pinned to a commit, and receipts of what became of them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use segue::workspace::{Change, Changed, Pins, Receipt};
use tempfile::TempDir;

/// A repository with a file and a folder, and a place for pinned worktrees.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: TempDir::with_prefix("segue-pinned-").expect("a folder") };
        fs::create_dir_all(place.repository().join("src")).expect("a folder");
        place.git(&["init", "--quiet", "--initial-branch", "main"]);
        fs::write(place.repository().join("README.md"), "one\n").expect("a file");
        fs::write(place.repository().join("src/lib.rs"), "fn f() {}\n").expect("a file");
        std::os::unix::fs::symlink("README.md", place.repository().join("link")).expect("a link");
        place.commit("first");
        place
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn pins(&self) -> Pins {
        Pins::new(self.folder.path().join("pins"))
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.repository()).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let output = git.args(arguments).output().expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "-m", message]);
    }
}

#[test]
fn a_pinned_worktree_stays_at_its_commit_while_the_user_goes_on() {
    let place = Place::new();
    let pin = place.pins().pin(&place.repository(), "HEAD").expect("a worktree");
    let before = Receipt::take(pin.path()).expect("a receipt");
    fs::write(place.repository().join("README.md"), "two\n").expect("the user's edit");
    place.commit("second");
    place.git(&["branch", "other"]);
    place.git(&["gc", "--quiet"]);
    assert_eq!(fs::read_to_string(pin.path().join("README.md")).expect("a file"), "one\n");
    let changes = before.changes(&Receipt::take(pin.path()).expect("a receipt"));
    assert_eq!(changes.own, [], "what the user does in the repository is not the reader's");
    assert_ne!(changes.shared, [], "it is told nevertheless");
    let later = place.pins().pin(&place.repository(), "HEAD").expect("another worktree");
    assert_ne!((later.path(), later.commit()), (pin.path(), pin.commit()));
}

#[test]
fn one_worktree_serves_all_readers_of_a_commit() {
    let place = Place::new();
    let pins: Vec<_> = std::thread::scope(|scope| {
        let pin = || place.pins().pin(&place.repository(), "main").expect("a worktree");
        let all: Vec<_> = (0..8).map(|_| scope.spawn(pin)).collect();
        all.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    assert!(pins.iter().all(|pin| pin.path() == pins[0].path()));
    assert_eq!(place.pins().reap(Duration::ZERO).expect("a look"), [] as [PathBuf; 0]);
    let path = pins[0].path().to_owned();
    drop(pins);
    assert_eq!(place.pins().reap(Duration::from_secs(3600)).expect("a look"), [] as [PathBuf; 0]);
    assert_eq!(place.pins().reap(Duration::ZERO).expect("a look"), std::slice::from_ref(&path));
    assert!(!path.exists());
    assert_eq!(place.git(&["worktree", "list"]).lines().count(), 1, "git has forgotten it");
}

/// Sets when a worktree was used last back by an hour.
fn age(worktree: &Path) {
    let lease = fs::File::options().append(true).open(worktree.with_extension("lease"));
    lease
        .and_then(|it| it.set_modified(SystemTime::now() - Duration::from_secs(3_600)))
        .expect("a time");
}

#[test]
fn a_worktree_goes_when_nobody_has_read_it_for_long_enough() {
    let place = Place::new();
    let pin = place.pins().pin(&place.repository(), "main").expect("a worktree");
    let path = pin.path().to_owned();
    let reap = |seconds| place.pins().reap(Duration::from_secs(seconds)).expect("a look");
    age(&path);
    assert_eq!(reap(1_800), [] as [PathBuf; 0], "it is read");
    drop(pin);
    assert_eq!(reap(1_800), [] as [PathBuf; 0], "it was read until now");
    age(&path);
    assert_eq!(reap(7_200), [] as [PathBuf; 0]);
    assert_eq!(reap(1_800), [path], "to look at it is not to use it");
}

#[test]
fn what_is_half_made_goes_at_once_and_what_is_not_ours_stays() {
    let place = Place::new();
    let path = place.pins().pin(&place.repository(), "main").expect("a worktree").path().to_owned();
    fs::remove_file(path.with_extension("made")).expect("a file beside it");
    let theirs = path.with_file_name("theirs");
    fs::create_dir(&theirs).expect("a folder");
    assert_eq!(place.pins().reap(Duration::from_secs(3_600)).expect("a look"), [path]);
    assert!(place.pins().reap(Duration::ZERO).expect("a look").is_empty() && theirs.exists());
}

#[test]
fn a_worktree_is_made_where_git_still_has_one_that_is_gone() {
    let place = Place::new();
    let path = place.pins().pin(&place.repository(), "main").expect("a worktree").path().to_owned();
    // As whoever dies while it takes one away leaves it.
    fs::remove_file(path.with_extension("made")).expect("a file beside it");
    fs::remove_dir_all(&path).expect("a folder");
    let pin = place.pins().pin(&place.repository(), "main").expect("a worktree");
    assert_eq!(fs::read_to_string(pin.path().join("README.md")).expect("a file"), "one\n");
}

#[test]
fn what_was_begun_by_a_process_that_died_is_made_anew() {
    let place = Place::new();
    let path = place.pins().pin(&place.repository(), "main").expect("a worktree").path().to_owned();
    // As it is in the middle of making it.
    fs::remove_file(path.with_extension("made")).expect("a file beside it");
    fs::remove_file(path.join("README.md")).expect("a file of it");
    let pin = place.pins().pin(&place.repository(), "main").expect("a worktree");
    assert_eq!(pin.path(), path);
    assert_eq!(fs::read_to_string(path.join("README.md")).expect("a file"), "one\n");
}

#[test]
fn a_worktree_that_is_kept_as_evidence_is_neither_used_nor_taken_away() {
    let place = Place::new();
    let pin = place.pins().pin(&place.repository(), "main").expect("a worktree");
    let path = pin.path().to_owned();
    pin.keep("`README.md` was changed").expect("a note");
    drop(pin);
    let next = place.pins().pin(&place.repository(), "main").expect("a worktree");
    assert_ne!(next.path(), path);
    drop(next);
    assert!(!place.pins().reap(Duration::ZERO).expect("a look").contains(&path));
    assert!(path.exists());
}

#[test]
fn what_is_no_revision_is_refused() {
    let place = Place::new();
    for revision in ["--all", "nowhere", ""] {
        let error = place.pins().pin(&place.repository(), revision).expect_err(revision);
        assert!(!error.to_string().is_empty());
    }
    let error = place.pins().pin(place.folder.path(), "HEAD").expect_err("no repository");
    assert!(error.to_string().contains("git rev-parse"), "{error}");
}

/// What a reader might do, and what a receipt calls it.
type Deed = (&'static str, fn(&Path), Changed);

const DEEDS: [Deed; 9] = [
    ("README.md", |file| fs::write(file, "three\n").expect("a file"), Changed::Content),
    ("README.md", same_size_and_times, Changed::Times),
    ("new", |file| fs::write(file, "").expect("a file"), Changed::Created),
    ("src/lib.rs", |file| fs::remove_file(file).expect("a file"), Changed::Removed),
    ("README.md", |file| set_mode(file, 0o600), Changed::Mode),
    ("src", |folder| set_mode(folder, 0o700), Changed::Mode),
    ("README.md", touch, Changed::Times),
    ("link", relink, Changed::Content),
    ("README.md", replace, Changed::Content),
];

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn touch(file: &Path) {
    let file = fs::File::options().append(true).open(file).expect("a file");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
}

/// Writes as many bytes, and sets the time of writing back.
fn same_size_and_times(file: &Path) {
    let written = fs::metadata(file).and_then(|it| it.modified()).expect("a time");
    fs::write(file, "two\n").expect("a file");
    fs::File::options()
        .append(true)
        .open(file)
        .and_then(|it| it.set_modified(written))
        .expect("a time");
}

fn relink(link: &Path) {
    fs::remove_file(link).expect("a link");
    std::os::unix::fs::symlink("src", link).expect("a link");
}

fn replace(file: &Path) {
    let other = file.with_extension("other");
    fs::copy(file, &other).expect("a copy");
    fs::rename(other, file).expect("a file");
}

#[test]
fn every_deed_of_a_reader_is_found() {
    for (name, deed, what) in DEEDS {
        let place = Place::new();
        let pin = place.pins().pin(&place.repository(), "main").expect("a worktree");
        let before = Receipt::take(pin.path()).expect("a receipt");
        assert!(before.changes(&Receipt::take(pin.path()).expect("a receipt")).is_empty());
        let path = pin.path().join(name);
        deed(&path);
        let changes = before.changes(&Receipt::take(pin.path()).expect("a receipt"));
        assert!(changes.own.contains(&Change { path, what }), "{name}, {what:?}: {changes:?}");
    }
}

#[test]
fn what_git_keeps_is_looked_at_as_well() {
    let place = Place::new();
    let pin = place.pins().pin(&place.repository(), "main").expect("a worktree");
    let before = Receipt::take(pin.path()).expect("a receipt");
    let config = place.repository().join(".git/config");
    set_mode(&config, 0o666);
    touch(&place.repository().join(".git/HEAD"));
    let own = place.git(&["-C", &pin.path().to_string_lossy(), "rev-parse", "--absolute-git-dir"]);
    let index = Path::new(own.trim()).join("index");
    fs::write(&index, "").expect("a file");
    fs::write(place.repository().join(".git/hooks/post-commit"), "").expect("a file");
    let changes = before.changes(&Receipt::take(pin.path()).expect("a receipt"));
    let found = |path: &Path| changes.own.iter().find(|change| change.path == path);
    assert_eq!(found(&config).map(|change| change.what), Some(Changed::Mode), "{changes:?}");
    let head = place.repository().join(".git/HEAD");
    assert_eq!(found(&head).map(|change| change.what), Some(Changed::Times), "{changes:?}");
    assert_eq!(found(&index).map(|change| change.what), Some(Changed::Content), "{changes:?}");
    let hook = changes.shared.iter().find(|change| change.path.ends_with("hooks/post-commit"));
    assert_eq!(hook.map(|change| change.what), Some(Changed::Created), "{changes:?}");
}
