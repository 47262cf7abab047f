//! The program of the scripted agent.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// The program of the agent. It is built when it is missing or older than its sources.
pub fn program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).expect("target/PROFILE/deps/TEST").join("acp_agent");
        let program = target.join("debug/acp_agent");
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acp_agent");
        let built = changed(&program);
        let sources = fs::read_dir(package.join("src")).unwrap();
        let sources = sources.map(|entry| changed(&entry.unwrap().path()));
        let newest = sources.chain([changed(&package.join("Cargo.lock"))]).max().flatten();
        if built.is_none() || built < newest {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--locked", "--manifest-path"]).arg(package.join("Cargo.toml"));
            let status = cargo.arg("--target-dir").arg(&target).status().unwrap();
            assert!(status.success(), "the agent is not built");
        }
        program
    });
    built.clone()
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
