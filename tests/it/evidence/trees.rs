//! Folders and commits: what is in them, and that no path leads out.

use std::fs;

use segue::evidence::{Commit, Folder, Outside, Tree, Verdict};

use super::{Place, cite, git, verdict, verdicts};

const LINKS: Verdict = Verdict::Outside(Outside::Link);
const UPWARDS: Verdict = Verdict::Outside(Outside::Upwards);
const ABSOLUTE: Verdict = Verdict::Outside(Outside::Absolute);

/// A tree with files, and with links that stay in it and links that don't.
#[cfg(unix)]
fn with_links() -> Place {
    let place = Place::new();
    place.write("secret", "the secret\n");
    place.write("root/a/b/file", "in the tree\n");
    place.write("root/other", "in the tree\n");
    place.link("a/b", "to_folder");
    place.link("./to_folder/../b/file", "to_file");
    place.link("../secret", "to_secret");
    place.link("..", "to_parent");
    place.link("/", "to_root");
    place.link(place.root().join("other"), "absolute");
    place.link("to_folder/../../../secret", "by_detour");
    place.link("../nothing", "to_nothing_outside");
    place.link("nothing", "to_nothing");
    place.link("loop", "loop");
    place.link("../../other", "a/b/far");
    place
}

#[cfg(unix)]
fn expect_links_to_be_kept_inside(tree: &dyn Tree) {
    let too_many = Verdict::Unreadable("too many links".into());
    for (path, expected) in [
        ("a/b/file", Verdict::Verified),
        ("./a//b/./file", Verdict::Verified),
        ("a/../other", Verdict::Verified),
        ("to_folder/file", Verdict::Verified),
        ("to_folder/../b/file", Verdict::Verified),
        ("to_file", Verdict::Verified),
        ("a/b/far", Verdict::Verified),
        ("to_folder/../other", Verdict::NoSuchFile),
        ("other/..", Verdict::NoSuchFile),
        ("other/../other", Verdict::NoSuchFile),
        ("other/x", Verdict::NoSuchFile),
        ("a/b", Verdict::NoSuchFile),
        ("to_folder", Verdict::NoSuchFile),
        (".", Verdict::NoSuchFile),
        ("a/..", Verdict::NoSuchFile),
        ("to_nothing", Verdict::NoSuchFile),
        ("o\0ther", Verdict::NoSuchFile),
        ("../secret", UPWARDS),
        ("../root/other", UPWARDS),
        ("a/../../secret", UPWARDS),
        ("..", UPWARDS),
        ("../nothing", UPWARDS),
        ("to_secret", LINKS),
        ("to_parent/secret", LINKS),
        ("to_parent/root/other", LINKS),
        ("to_root/etc/hostname", LINKS),
        ("absolute", LINKS),
        ("by_detour", LINKS),
        ("to_nothing_outside", LINKS),
        ("/etc/hostname", ABSOLUTE),
        ("/", ABSOLUTE),
        (r"C:\other", ABSOLUTE),
        ("c:/other", ABSOLUTE),
        (r"\\host\other", ABSOLUTE),
        ("loop", too_many.clone()),
        ("loop/x", too_many),
    ] {
        for quote in ["in the tree", "the secret"] {
            let citation = segue::evidence::Citation {
                path: path.into(),
                first: 1,
                last: 1,
                quote: quote.into(),
                cut: false,
            };
            let found = verdicts(tree, &[citation]).remove(0);
            match (&expected, quote) {
                (Verdict::Verified, "the secret") => assert_eq!(found, Verdict::QuoteDiffers),
                _ => assert_eq!(found, expected, "{path}"),
            }
        }
    }
    let long = "x".repeat(5_000);
    assert_eq!(verdict(tree, &format!("{long}:1"), "x"), Verdict::NoSuchFile);
    assert_eq!(
        verdict(tree, &format!("{}other:1", "a/../".repeat(5_000)), "in"),
        Verdict::Verified
    );
}

#[cfg(unix)]
#[test]
fn no_path_leaves_a_folder() {
    let place = with_links();
    expect_links_to_be_kept_inside(&Folder::new(place.root()));
    let name = format!("{}:1", place.root().join("other").display());
    assert_eq!(verdict(&Folder::new(place.root()), &name, "in the tree"), ABSOLUTE);
}

#[cfg(unix)]
#[test]
fn no_path_leaves_a_commit() {
    let place = with_links();
    place.git(&["init", "-q"]);
    place.git(&["add", "."]);
    place.git(&["commit", "-q", "-m", "all"]);
    expect_links_to_be_kept_inside(&Commit::open(place.root(), "HEAD").expect("a commit"));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_opened() {
    let place = Place::new();
    let pipe = place.root().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    // Nobody writes into it: whoever opened it would wait for ever.
    let special = Verdict::Unreadable("it is no regular file".into());
    assert_eq!(verdict(&Folder::new(place.root()), "pipe:1", "x"), special);
}

#[test]
fn a_folder_that_is_gone_has_no_files() {
    let place = Place::new();
    let tree = Folder::new(place.root().join("gone"));
    assert_eq!(verdict(&tree, "a:1", "x"), Verdict::NoSuchFile);
}

/// A repository with a file in a folder, and the id of its commit.
fn repository() -> (Place, String) {
    let place = Place::new();
    place.git(&["init", "-q"]);
    place.write("root/part/a.rs", "one\r\ntwo\r\n");
    place.write("root/other.rs", "other\n");
    place.git(&["add", "."]);
    place.git(&["commit", "-q", "-m", "base"]);
    let base = place.git(&["rev-parse", "HEAD"]);
    (place, base)
}

#[test]
fn a_commit_is_what_it_was() {
    let (place, base) = repository();
    let tree = Commit::open(place.root(), "main").expect("a commit");
    assert_eq!(tree.id(), base);
    place.write("root/part/a.rs", "zero\none\ntwo\n");
    place.write("root/later.rs", "later\n");
    fs::remove_file(place.root().join("other.rs")).expect("a file");
    place.git(&["add", "."]);
    place.git(&["commit", "-q", "-m", "later"]);

    let later = Commit::open(place.root(), "HEAD").expect("a commit");
    let cited =
        [cite("part/a.rs:2", "two"), cite("other.rs:1", "other"), cite("later.rs:1", "later")];
    let moved = Verdict::Moved { first: 3, last: 3 };
    let now = [moved, Verdict::NoSuchFile, Verdict::Verified];
    assert_eq!(
        verdicts(&tree, &cited),
        [Verdict::Verified, Verdict::Verified, Verdict::NoSuchFile]
    );
    assert_eq!(verdicts(&later, &cited), now);
    assert_eq!(verdicts(&Folder::new(place.root()), &cited), now);
    let by_name = Commit::open(place.root(), &format!("{base}~0")).expect("a commit");
    assert_eq!(by_name.id(), base);
}

#[test]
fn a_folder_of_a_repository_is_the_root() {
    let (place, _) = repository();
    let tree = Commit::open(place.root().join("part"), "HEAD").expect("a commit");
    assert_eq!(verdict(&tree, "a.rs:1", "one"), Verdict::Verified);
    assert_eq!(verdict(&tree, "part/a.rs:1", "one"), Verdict::NoSuchFile);
    assert_eq!(verdict(&tree, "../other.rs:1", "other"), UPWARDS);
}

#[test]
fn odd_names_and_submodules_are_in_a_commit() {
    let (place, base) = repository();
    place.write("root/a name\nwith\ttabs \"ü\".rs", "odd\n");
    place.write("root/-f", "dash\n");
    place.git(&["add", "."]);
    place.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{base},module")]);
    place.git(&["commit", "-q", "-m", "odd"]);
    let tree = Commit::open(place.root(), "HEAD").expect("a commit");
    let mut odd = cite("x:1", "odd");
    odd.path = "a name\nwith\ttabs \"ü\".rs".into();
    assert_eq!(
        verdicts(&tree, &[odd, cite("-f:1", "dash")]),
        [Verdict::Verified, Verdict::Verified]
    );
    let special = Verdict::Unreadable("it is no regular file".into());
    assert_eq!(verdict(&tree, "module:1", "x"), special);
    assert_eq!(verdict(&tree, "module/x:1", "x"), special);
}

#[test]
fn what_git_can_not_give_is_an_error() {
    let (place, _) = repository();
    for revision in ["nothing", "--help", "HEAD:other.rs", "", "HEAD^{tree}"] {
        let error = Commit::open(place.root(), revision);
        assert!(error.is_err(), "{revision}");
    }
    let outside = Place::new();
    let error = Commit::open(outside.root(), "HEAD").expect_err("no repository");
    assert!(error.to_string().contains("git rev-parse"), "{error}");
}

/// What git could not read to its end is no text that ends there.
#[test]
fn a_lost_object_is_told() {
    let (place, _) = repository();
    let tree = Commit::open(place.root(), "HEAD").expect("a commit");
    let id = git(&place.root(), &["rev-parse", "HEAD:other.rs"]);
    let object = place.root().join(".git/objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(object).expect("a loose object");
    let lost = Verdict::Unreadable("git could not read the object".into());
    assert_eq!(verdict(&tree, "other.rs:1", "other"), lost);
}
