//! A folder in which agents work, and the processes that are there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use segue::{
    Builder, Engine,
    agents::acp::Acp,
    model::{Needs, Rows, audit},
};
use tempfile::TempDir;

use super::program::program;

/// How long anything may take before a test has failed.
pub const LIMIT: Duration = Duration::from_secs(120);

pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        // The agent is there before anything waits for it.
        program();
        Self(TempDir::with_prefix("segue-turns-").expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A folder below.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// A connection beside the engines, to a database that there is from then on.
    pub async fn beside(&self) -> Engine {
        engine(self.path()).start().await.unwrap().shutdown().await.unwrap();
        engine(self.path()).connect().await.unwrap()
    }
}

pub fn database(folder: &Path) -> PathBuf {
    folder.join("work.db")
}

/// An engine whose agents work in this folder, if nothing else is said.
pub fn engine(folder: &Path) -> Builder {
    let builder = Engine::sqlite(database(folder)).worktrees(folder.join("worktrees"));
    builder.poll(Duration::from_millis(100)).folder(folder)
}

pub fn agent() -> Acp {
    Acp::new("scripted", program())
}

/// The processes that work in a folder or below it: agents, and whatever they have started.
pub fn processes(folder: &Path) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let works_here = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|works| works.starts_with(folder))
    };
    numbers.filter(works_here).collect()
}

/// All rows, which hold together.
pub async fn audited(engine: &Engine) -> Rows {
    let rows = engine.backend().read(&Needs::everything()).await.unwrap();
    assert_eq!(audit(&rows), []);
    rows
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime").block_on(work)
}

/// Runs a test that must not take longer than the limit.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    block_on(async { tokio::time::timeout(LIMIT, test).await.expect("it takes too long") })
}

pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = tokio::time::timeout(LIMIT / 2, wait);
    limit.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until nothing works in a folder any more.
pub async fn deserted(folder: &Path) {
    eventually("nothing is left", async || processes(folder).is_empty()).await;
}
