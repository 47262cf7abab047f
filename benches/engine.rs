//! What a host gets from an engine on SQLite at full durability: enqueue, drain, a chain of
//! steps, and the time from a commit to the start of a handler. Figures depend on the disk:
//! compare them with those of `raw`, run beside it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use segue::{Engine, Flow, NewTask, model::Disk};
use tokio::{sync::mpsc, task::JoinSet};

type Result<T> = segue::Result<T>;

#[tokio::main]
async fn main() -> Result<()> {
    enqueue().await?;
    drain().await?;
    chain().await?;
    pickup().await
}

fn show(name: &str, count: u64, took: Duration) {
    println!("{name:<34}{:>12.0} /s", count as f64 / took.as_secs_f64());
}

fn file() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("segue-bench-{}.db", segue::id::TaskId::new()))
}

fn remove(path: &std::path::Path) {
    for suffix in ["", "-wal", "-shm", "-segue-gate", "-segue-turn", "-segue-bell"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
}

/// An engine whose tasks only count themselves.
async fn engine(path: &std::path::Path, done: &Arc<AtomicU64>) -> Result<Engine> {
    let done = Arc::clone(done);
    let count = move |_, (): ()| {
        let done = Arc::clone(&done);
        async move {
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    Engine::sqlite(path).concurrency(128).task("count", count).start().await
}

async fn enqueue() -> Result<()> {
    let path = file();
    let engine = engine(&path, &Arc::default()).await?;
    engine.pause();
    let start = Instant::now();
    for _ in 0..2_000 {
        engine.enqueue("count", &()).await?;
    }
    show("enqueue, one caller", 2_000, start.elapsed());
    let start = Instant::now();
    enqueue_from(&engine, 64, 500).await?;
    show("enqueue, 64 callers", 64 * 500, start.elapsed());
    engine.shutdown().await?;
    remove(&path);
    Ok(())
}

async fn enqueue_from(engine: &Engine, callers: u32, each: u32) -> Result<()> {
    let mut set = JoinSet::new();
    for _ in 0..callers {
        let engine = engine.clone();
        set.spawn(async move {
            for _ in 0..each {
                engine.submit(NewTask::new("count", &())).await?;
            }
            Ok::<_, segue::Error>(())
        });
    }
    while let Some(result) = set.join_next().await {
        result.expect("no caller panics")?;
    }
    Ok(())
}

async fn drain() -> Result<()> {
    let (path, done) = (file(), Arc::<AtomicU64>::default());
    let engine = engine(&path, &done).await?;
    engine.pause();
    enqueue_from(&engine, 100, 200).await?;
    let start = Instant::now();
    engine.resume();
    engine.run_until_idle().await?;
    show("drain of no-op tasks", done.load(Ordering::Relaxed), start.elapsed());
    let Disk { wal_bytes, .. } = engine.disk().await?;
    println!("{:<34}{:>12} KiB", "log after the drain", wal_bytes / 1024);
    engine.shutdown().await?;
    remove(&path);
    Ok(())
}

async fn chain() -> Result<()> {
    let path = file();
    let mut draft = Flow::new("chain");
    let input = draft.input::<u64>();
    let mut last = input;
    for n in 0..10 {
        last = draft.code(format!("step {n}"), last, async |_, n| Ok(n + 1));
    }
    let flow = draft.returns(input, last);
    let engine = Engine::sqlite(&path).flow(&flow).start().await?;
    let start = Instant::now();
    for _ in 0..100 {
        engine.launch(&flow, 0).await?.output().await?;
    }
    show("steps of chains of 10, one by one", 1_000, start.elapsed());
    engine.shutdown().await?;
    remove(&path);
    Ok(())
}

async fn pickup() -> Result<()> {
    let path = file();
    let (started, mut starts) = mpsc::unbounded_channel();
    let note = move |_, (): ()| {
        let _ = started.send(Instant::now());
        async { Ok(()) }
    };
    let engine = Engine::sqlite(&path).task("note", note).start().await?;
    let other = Engine::sqlite(&path).connect().await?;
    for (name, engine) in [("pickup, same engine", &engine), ("pickup, another connection", &other)]
    {
        let mut waits = Vec::new();
        for _ in 0..300 {
            engine.enqueue("note", &()).await?;
            let committed = Instant::now();
            let start = starts.recv().await.expect("the task runs");
            waits.push(start.saturating_duration_since(committed));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        waits.sort_unstable();
        println!("{name:<34}p50 {:?} p99 {:?}", waits[150], waits[297]);
    }
    engine.shutdown().await?;
    remove(&path);
    Ok(())
}
