//! The examples as programs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// An example's program. It is built when it is missing or older than its sources.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let deps = std::env::current_exe().expect("the path of this test");
    let profile = deps.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let path = |name: &str| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        profile.join("examples").join(file)
    };
    BUILT.get_or_init(|| {
        let mut names = vec!["quickstart", "crash_and_resume", "investigate"];
        names.extend(["approval", "map_reduce", "upgrade"]);
        names.extend(cfg!(feature = "postgres").then_some("workers"));
        names.extend(cfg!(feature = "programs").then_some("own_agent"));
        names.extend(
            cfg!(all(feature = "acp", feature = "claude", feature = "cli")).then_some("desk"),
        );
        let built: Vec<_> = names.iter().map(|name| changed(&path(name))).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let newest = newest(&root.join("src")).max(newest(&root.join("examples")));
        if built.iter().any(|built| built.is_none() || *built < newest) {
            build(profile);
        }
    });
    path(name)
}

fn build(profile: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--examples", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if cfg!(feature = "postgres") {
        cargo.arg("--all-features");
    } else if cfg!(all(feature = "acp", feature = "claude", feature = "cli")) {
        cargo.args(["--features", "acp,claude,cli"]);
    }
    // What cargo tells this test; some build scripts would run anew for it.
    let told = std::env::vars().map(|(name, _)| name);
    let told = told.filter(|name| name.starts_with("CARGO_PKG") || name.starts_with("CARGO_MAN"));
    for name in told {
        cargo.env_remove(name);
    }
    cargo.arg("--target-dir").arg(profile.parent().expect("target/PROFILE"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo").success(), "the examples don't build");
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).expect("a source folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| if path.is_dir() { newest(&path) } else { changed(&path) }).max().flatten()
}
