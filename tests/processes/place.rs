//! What the tests and their children know: the folder, its database and its log, the handlers.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use segue::{
    Builder, Context, Engine, Failure, Flow, NewTask,
    backend::sqlite::Options,
    model::{Needs, TaskState, audit},
};
use serde_json::Value;

/// How long anything may take before a test has failed.
pub const LIMIT: Duration = Duration::from_secs(120);
/// How many tasks a child runs at once.
pub const PLACES: u32 = 32;

pub fn database(folder: &Path) -> PathBuf {
    folder.join("work.db")
}

pub fn engine(folder: &Path) -> Builder {
    let builder = Engine::sqlite(database(folder));
    builder.poll(Duration::from_millis(100)).concurrency(PLACES)
}

/// An engine that hears of nothing but the bell.
pub fn by_bell(folder: &Path) -> Builder {
    let never = Duration::from_secs(3_600);
    Engine::sqlite_with(Options::new(database(folder)).poll(never)).poll(never)
}

/// Counts an execution outside the database.
pub fn log(folder: &Path, line: &str) {
    let file = OpenOptions::new().append(true).create(true).open(folder.join("log"));
    let line = format!("{line} {}\n", std::process::id());
    file.expect("a log").write_all(line.as_bytes()).expect("a line");
}

/// What was logged: the words of each line, the last of which is the pid.
pub fn logged(folder: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    text.lines().map(words).collect()
}

pub async fn count(context: Context, _: Value) -> Result<(), Failure> {
    log(&context.host::<PathBuf>()?, &context.task().to_string());
    Ok(())
}

/// Works until the parent makes a file.
pub async fn hold(context: Context, _: Value) -> Result<(), Failure> {
    let folder = context.host::<PathBuf>()?;
    log(&folder, &context.task().to_string());
    while !folder.join("release").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

pub const STEPS: usize = 12;

/// A chain of steps that count themselves.
pub fn chain() -> Flow<u32, u32> {
    let mut draft = Flow::new("chain");
    let input = draft.input::<u32>();
    let mut last = input;
    for no in 0..STEPS {
        last = draft.code(format!("step {no}"), last, move |context, n: u32| async move {
            let run = context.run().expect("a step is of a run");
            log(&context.host::<PathBuf>()?, &format!("{run} {no}"));
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            Ok(n + 1)
        });
    }
    draft.returns(input, last)
}

/// Runs a test while no other of its kind runs: each has several processes already.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    run_beside(async { tokio::time::timeout(LIMIT, test).await.expect("it takes too long") })
}

/// Runs a test that mostly waits, beside others.
pub fn run_beside<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(test)
}

pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = tokio::time::timeout(LIMIT / 2, wait);
    limit.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A folder with a database, and a connection to it.
pub async fn fresh() -> (tempfile::TempDir, Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    engine(path).start().await.unwrap().shutdown().await.unwrap();
    let reader = engine(path).connect().await.unwrap();
    (folder, reader)
}

pub async fn all_completed(reader: &Engine, count: u64) {
    eventually("all have completed", || async {
        let tasks = reader.stats().await.unwrap().tasks;
        tasks.get(&TaskState::Completed) == Some(&count)
    })
    .await;
}

pub async fn audited(reader: &Engine) {
    let rows = reader.backend().read(&Needs::everything()).await.unwrap();
    assert_eq!(audit(&rows), []);
}

pub async fn enqueue(reader: &Engine, kind: &str, count: u32) {
    let new = |n: u32| reader.submit(NewTask::new(kind, &n)).into_future();
    assert!(join_all((0..count).map(new)).await.iter().all(Result::is_ok));
}
