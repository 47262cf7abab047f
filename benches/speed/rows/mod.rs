//! The rows of the table.

mod chats;
pub mod child;
mod cost;
mod flows;
mod limits;
mod processes;
mod sizes;
mod tasks;
mod waking;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use segue::{Builder, Engine};
use tokio::{sync::Notify, task::JoinSet};

use super::{Result, place::Kind, ratio::Bench};

pub fn all(bench: &mut Bench, kind: Kind) -> Result<()> {
    tasks::all(bench, kind)?;
    waking::all(bench, kind)?;
    flows::all(bench, kind)?;
    chats::all(bench, kind)?;
    processes::all(bench, kind)?;
    cost::all(bench, kind)?;
    sizes::all(bench, kind)
}

/// How many tasks run at once where it is throughput that is measured.
const CONCURRENCY: u32 = 200;

/// Counts the tasks that ran.
#[derive(Clone, Default)]
struct Counter(Arc<(AtomicUsize, Notify)>);

impl Counter {
    /// An engine whose tasks only count themselves.
    fn on(&self, builder: Builder) -> Builder {
        let counter = self.clone();
        builder.concurrency(CONCURRENCY).task("count", move |_, (): ()| {
            let counter = counter.clone();
            async move {
                counter.0.0.fetch_add(1, Ordering::SeqCst);
                counter.0.1.notify_one();
                Ok(())
            }
        })
    }

    /// Waits until so many more have run.
    async fn reaches(&self, count: usize) {
        while self.0.0.load(Ordering::SeqCst) < count {
            self.0.1.notified().await;
        }
    }

    fn take(&self) -> usize {
        self.0.0.swap(0, Ordering::SeqCst)
    }
}

/// Enqueues from so many callers at once.
async fn enqueue_from(engine: &Engine, callers: usize, each: usize) -> Result<()> {
    let mut set = JoinSet::new();
    for _ in 0..callers {
        let engine = engine.clone();
        set.spawn(async move {
            for _ in 0..each {
                engine.enqueue("count", &()).await?;
            }
            Ok::<_, segue::Error>(())
        });
    }
    while let Some(result) = set.join_next().await {
        result??;
    }
    Ok(())
}

/// Starts so many tasks that wait in a paused engine, and says how long they took to end.
async fn drain(engine: &Engine, counter: &Counter, count: usize) -> Result<Duration> {
    counter.take();
    let start = Instant::now();
    engine.resume();
    counter.reaches(count).await;
    engine.run_until_idle().await?;
    let took = start.elapsed();
    engine.pause();
    Ok(took)
}
