//! The engine on PostgreSQL: a server that goes away, wake-ups, and several processes.

#![cfg(feature = "postgres")]

mod outage;
mod processes;
mod races;
mod wake;

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use segue::{
    Builder, Context, Engine, Failure, NewTask,
    backend::{
        Backend,
        postgres::{Options, PostgresBackend},
    },
    id::TaskId,
    model::{AttemptOutcome, Needs, TaskState, audit},
};
use tokio_postgres::{Client, NoTls};

use crate::support::cluster;

/// How long anything may take before a test has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// How often what is not announced is looked for where a test is about announcements.
const NEVER: Duration = Duration::from_secs(3_600);

/// A schema of its own on a server.
#[derive(Clone, Debug)]
struct Place {
    url: String,
    schema: String,
}

impl Place {
    /// On the server that tests share.
    fn fresh() -> Self {
        Self::on(cluster::url())
    }

    fn on(url: String) -> Self {
        Self { url, schema: cluster::schema() }
    }

    /// Its connections can be told from those of other tests.
    fn options(&self) -> Options {
        let url = format!("{} application_name={}", self.url, self.schema);
        Options::new(url).schema(&self.schema).pool(4)
    }

    fn builder(&self) -> Builder {
        Engine::postgres_with(self.options()).poll(Duration::from_millis(100))
    }

    async fn backend(&self) -> PostgresBackend {
        let backend = self.options().connect().await.expect("a server");
        backend.migrate().await.expect("tables");
        backend
    }

    /// A connection of another program.
    async fn sql(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url, NoTls).await.expect("a server");
        tokio::spawn(connection);
        let path = format!("SET search_path = {}", self.schema);
        client.batch_execute(&path).await.expect("a setting");
        client
    }

    /// Waits until so many tasks are recorded as done, then checks every row: nothing is lost,
    /// and nothing was recorded as done twice. Returns the outcomes of each task's attempts.
    async fn all_done(&self, count: usize) -> BTreeMap<TaskId, Vec<AttemptOutcome>> {
        let backend = self.backend().await;
        eventually("all tasks are done", async || done(&backend).await == count as u64).await;
        let rows = backend.read(&Needs::everything()).await.expect("all rows");
        assert_eq!(audit(&rows), []);
        assert_eq!(rows.tasks.len(), count);
        let mut outcomes = BTreeMap::<_, Vec<_>>::new();
        for attempt in rows.attempts.values() {
            outcomes.entry(attempt.task).or_default().push(attempt.outcome);
        }
        for (task, outcomes) in &outcomes {
            let done = outcomes.iter().filter(|outcome| **outcome == AttemptOutcome::Completed);
            assert_eq!(done.count(), 1, "{task}: {outcomes:?}");
        }
        outcomes
    }
}

/// How many tasks are recorded as done; 0 while nobody can tell.
async fn done(backend: &PostgresBackend) -> u64 {
    let stats = backend.stats().await.unwrap_or_default();
    stats.tasks.get(&TaskState::Completed).copied().unwrap_or(0)
}

/// Waits until `holds`.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !holds().await {
            look.tick().await;
        }
    };
    let limit = tokio::time::timeout(LIMIT, wait);
    limit.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits for something that must come much sooner than at the next poll.
async fn soon<F: IntoFuture>(what: &str, event: F) -> F::Output {
    let limit = tokio::time::timeout(LIMIT / 4, event);
    limit.await.unwrap_or_else(|_| panic!("not soon: {what}"))
}

/// How often each task's handler has begun.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<Mutex<BTreeMap<TaskId, u32>>>);

impl Tally {
    fn counts(&self) -> BTreeMap<TaskId, u32> {
        self.0.lock().expect("a tally").clone()
    }

    /// Each of so many tasks has begun once.
    fn is_once_each(&self, tasks: usize) {
        let counts = self.counts();
        assert_eq!(counts.len(), tasks);
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "begun more than once: {twice:?}");
    }
}

async fn count(context: Context, _: u32) -> Result<(), Failure> {
    let tally = context.host::<Tally>()?;
    *tally.0.lock().expect("a tally").entry(context.task()).or_default() += 1;
    Ok(())
}

/// Enqueues so many tasks, some at a time, whatever happens to the server.
async fn enqueue(engine: &Engine, kind: &str, count: u32) {
    for first in (0..count).step_by(50) {
        let some = (first..count.min(first + 50)).map(|n| engine.submit(NewTask::new(kind, &n)));
        for task in join_all(some.map(IntoFuture::into_future)).await {
            task.expect("it is enqueued");
        }
    }
}
