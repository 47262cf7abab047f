//! The server restarts, stays away, or drops connections.

use std::{future::pending, sync::Arc, time::Duration};

use segue::{Context, Engine, Failure, model::AttemptOutcome};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Place, Tally, count, done, enqueue, eventually};
use crate::support::cluster::Cluster;

const TASKS: u32 = 2_000;

/// Two engines that work on a place, and two others that enqueue into it.
struct Load {
    tally: Tally,
    engines: Vec<Engine>,
    enqueuers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(place: &Place) -> Self {
        let (tally, mut engines, mut enqueuers) = (Tally::default(), Vec::new(), Vec::new());
        for _ in 0..2 {
            let builder = place.builder().task("count", count).host(tally.clone());
            engines.push(builder.start().await.unwrap());
            let engine = place.builder().connect().await.unwrap();
            let work = async move { enqueue(&engine, "count", TASKS / 2).await };
            enqueuers.push(tokio::spawn(work));
        }
        Self { tally, engines, enqueuers }
    }

    /// Nothing was lost, and no healthy engine's work was done again.
    async fn finish(self, place: &Place) {
        for enqueuer in self.enqueuers {
            enqueuer.await.unwrap();
        }
        let outcomes = place.all_done(TASKS as usize).await;
        assert!(outcomes.values().all(|outcomes| *outcomes == [AttemptOutcome::Completed]));
        self.tally.is_once_each(TASKS as usize);
        for engine in self.engines {
            engine.shutdown().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_go_on_by_themselves_when_the_server_restarts_under_load() {
    let cluster = Arc::new(Cluster::start());
    let place = Place::on(cluster.url());
    let backend = place.backend().await;
    let load = Load::start(&place).await;
    for at in [u64::from(TASKS) / 10, u64::from(TASKS) / 2] {
        eventually("some are done", async || done(&backend).await >= at).await;
        let cluster = Arc::clone(&cluster);
        spawn_blocking(move || cluster.restart()).await.unwrap();
    }
    load.finish(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_go_on_by_themselves_when_all_connections_are_cut_under_load() {
    let place = Place::fresh();
    let backend = place.backend().await;
    let sql = place.sql().await;
    let load = Load::start(&place).await;
    for part in 1..8 {
        let at = u64::from(TASKS) * part / 10;
        eventually("some are done", async || done(&backend).await >= at).await;
        assert!(cut(&place, &sql).await > 0);
    }
    load.finish(&place).await;
}

/// Cuts all connections of a place. Returns how many.
pub async fn cut(place: &Place, sql: &tokio_postgres::Client) -> usize {
    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    sql.query(all, &[&place.schema]).await.unwrap().len()
}

/// What handlers that wait and their test tell each other.
#[derive(Clone)]
struct Door {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
    tally: Tally,
}

async fn hold(context: Context, _: u32) -> Result<(), Failure> {
    let door = context.host::<Door>()?;
    *door.tally.0.lock().unwrap().entry(context.task()).or_default() += 1;
    door.entered.add_permits(1);
    door.open.acquire().await.map_err(|_| Failure::cancelled())?.forget();
    Ok(())
}

/// Each engine sees the other's beat stand still for as long as the server is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_for_a_minute_costs_no_healthy_task() {
    let cluster = Arc::new(Cluster::start());
    let place = Place::on(cluster.url());
    let closed = || Arc::new(Semaphore::new(0));
    let door = Door { entered: closed(), open: closed(), tally: Tally::default() };
    let builder = || place.builder().concurrency(8).host(door.clone());
    let first = builder().task("hold", hold).start().await.unwrap();
    let second = builder().task("hold", hold).task("count", echo).start().await.unwrap();
    enqueue(&first, "hold", 16).await;
    door.entered.acquire_many(16).await.unwrap().forget();
    let away = Arc::clone(&cluster);
    spawn_blocking(move || away.stop()).await.unwrap();
    // This long and no shorter: the beats stand still for two leases.
    tokio::time::timeout(Duration::from_secs(60), pending::<()>()).await.unwrap_err();
    let back = Arc::clone(&cluster);
    spawn_blocking(move || back.start_again()).await.unwrap();
    watch_beats(&second, 12).await;
    door.open.add_permits(16);
    let outcomes = place.all_done(16).await;
    assert!(outcomes.values().all(|outcomes| *outcomes == [AttemptOutcome::Completed]));
    door.tally.is_once_each(16);
    first.shutdown().await.unwrap();
}

async fn echo(_: Context, n: u32) -> Result<u32, Failure> {
    Ok(n)
}

/// Waits until every instance has raised its beat so often again.
async fn watch_beats(engine: &Engine, times: i64) {
    let beats = async || -> Vec<i64> {
        let instances = engine.instances().await.unwrap_or_default();
        instances.iter().map(|instance| instance.beat).collect()
    };
    let mut before = Vec::new();
    eventually("all beats rise", async || {
        let now = beats().await;
        if before.is_empty() {
            before.clone_from(&now);
        }
        now.len() == 2 && now.iter().zip(&before).all(|(now, before)| now - before >= times)
    })
    .await;
}
