//! Several processes share one PostgreSQL, and one of them is killed.
//!
//! ```sh
//! cargo run --features postgres --example workers -- "host=localhost user=me dbname=work"
//! ```
//!
//! The first process enqueues tasks and starts three more, which do them. When a third is
//! done it kills one of the workers with SIGKILL. What that one had handed in stays done;
//! what it was in the middle of is done again by the others, at once, because they can see
//! that it is dead.

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    process::{Child, Command, Stdio},
    time::Duration,
};

use segue::{
    Context, Engine, Failure, NewTask, Task,
    backend::postgres::Options,
    model::{AttemptOutcome, TaskFilter, TaskState},
};

const TASKS: u32 = 300;
const WORKERS: u32 = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: workers <postgres url> [schema]";
    let url = arguments.next().ok_or(usage)?;
    let schema = arguments.next().unwrap_or_else(|| "segue_workers".into());
    match arguments.next().as_deref() {
        Some("work") => work(&url, &schema).await,
        _ => lead(&url, &schema).await,
    }
}

/// A worker process: it works until it is killed or its leader closes its input.
async fn work(url: &str, schema: &str) -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::new(url).schema(schema);
    let engine =
        Engine::postgres_with(options).concurrency(4).task("square", square).start().await?;
    println!("worker {} is up", std::process::id());
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    engine.shutdown().await?;
    Ok(())
}

/// Stands for real work: it takes a moment, and it says who did it.
async fn square(context: Context, n: u64) -> Result<(u64, u32), Failure> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(40)) => Ok((n * n, std::process::id())),
        () = context.stop().cancelled() => Err(Failure::cancelled()),
    }
}

/// The leader: it does no work itself.
async fn lead(url: &str, schema: &str) -> Result<(), Box<dyn std::error::Error>> {
    // The first start makes the tables; a connection alone never does.
    let options = || Options::new(url).schema(schema);
    Engine::postgres_with(options()).start().await?.shutdown().await?;
    let engine = Engine::postgres_with(options()).connect().await?;
    let mut workers = (0..WORKERS).map(|_| spawn(url, schema)).collect::<Result<Vec<_>, _>>()?;
    let tasks = enqueue(&engine).await?;

    tasks[tasks.len() / 3].ended().await?;
    let mut victim = workers.swap_remove(0);
    let killed = victim.kill();
    victim.wait()?;
    killed?;
    println!("killed worker {}", victim.id());

    let mut by = BTreeMap::<u32, u32>::new();
    let mut interrupted = 0;
    for (n, task) in (0_u64..).zip(&tasks) {
        let (square, worker): (u64, u32) = task.output().await?;
        assert_eq!(square, n * n, "each task returns what it computed");
        *by.entry(worker).or_default() += 1;
        let attempts = task.attempts().await?;
        let count = |outcome| attempts.iter().filter(|row| row.outcome == outcome).count();
        assert_eq!(count(AttemptOutcome::Completed), 1, "recorded as done exactly once");
        interrupted += count(AttemptOutcome::Interrupted);
    }
    report(&engine, &by, interrupted, victim.id()).await?;
    workers.into_iter().try_for_each(finish)?;
    Ok(())
}

/// Enqueues all tasks at once: they share a few commits.
async fn enqueue(engine: &Engine) -> Result<Vec<Task>, Box<dyn std::error::Error>> {
    let enqueue = |n: u32| {
        let new = NewTask::new("square", &u64::from(n)).project("workers");
        tokio::spawn(engine.submit(new).into_future())
    };
    let mut tasks = Vec::new();
    for task in (0..TASKS).map(enqueue).collect::<Vec<_>>() {
        tasks.push(task.await??);
    }
    Ok(tasks)
}

async fn report(
    engine: &Engine,
    by: &BTreeMap<u32, u32>,
    interrupted: usize,
    victim: u32,
) -> segue::Result<()> {
    for (worker, count) in by {
        let fate = if *worker == victim { " before it was killed" } else { "" };
        println!("worker {worker} did {count} tasks{fate}");
    }
    println!("{interrupted} attempts were interrupted and made again");
    let states = vec![TaskState::Completed];
    let filter = TaskFilter { project: Some("workers".into()), states, ..TaskFilter::default() };
    let done = engine.tasks(filter, None, TASKS * 2).await?.len();
    println!("{done} tasks are recorded as done");
    Ok(())
}

fn spawn(url: &str, schema: &str) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([url, schema, "work"]).stdin(Stdio::piped()).spawn()
}

/// Closes a worker's input, which tells it to finish, and waits for it.
fn finish(mut worker: Child) -> std::io::Result<()> {
    drop(worker.stdin.take());
    worker.wait().map(drop)
}
