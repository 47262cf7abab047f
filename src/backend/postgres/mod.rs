//! One PostgreSQL (14 or newer), shared by many hosts.
//!
//! Statements work on sets of rows and are sent together, so that a commit that needs no plan
//! is two round trips. Commits run side by side; what they share is locked in one order.
//! Processes wake each other by LISTEN and NOTIFY, off the path of the commits, and poll
//! where that does not work. Lost connections are replaced, for as long as it takes.

mod agents;
mod claim;
mod columns;
mod commit;
mod conn;
mod failure;
mod horizon;
mod host;
mod hosts;
mod list;
mod load;
mod migrate;
mod options;
mod pipe;
mod prune;
mod rows;
mod save;
mod sql;
mod swift;
mod tls;
mod wake;

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use futures_util::FutureExt;
use tokio::{runtime::Handle, sync::Mutex, task::JoinHandle};
use tokio_postgres::Client;

use self::{
    claim::Lanes,
    commit::Context,
    conn::{Connector, PoolConnect},
    failure::{Attempted, only},
    horizon::Horizon,
    pipe::{Pipe, Transaction},
    rows::Cells,
    wake::Bell,
};
pub use self::{host::enqueue_in, options::Options};
use crate::{
    backend::Backend,
    clock::{Clock, ShiftedClock},
    error::{Error, Result},
    id::InstanceId,
    model::{
        Batch, Committed, Cursor, Due, Entry, Needs, Page, Prune, Pruned, Query, Rows, Stats,
        Stream,
    },
};

/// How often a transaction that others got in the way of is tried.
const TRIES: u32 = 6;
/// How long a caller waits for a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// A measurement of the server's time that took longer says nothing.
const MEASURE: Duration = Duration::from_secs(1);

/// A PostgreSQL database. Clones share its connections.
#[derive(Clone)]
pub struct PostgresBackend(Arc<Shared>);

struct Shared {
    connector: Connector,
    pool: Pool,
    clock: Clock,
    /// The clock above, where it follows the server's.
    shift: Option<ShiftedClock>,
    poll: Duration,
    lanes: Lanes,
    newest: i64,
    pulse: Mutex<Option<Client>>,
    bell: Arc<Bell>,
    horizon: Horizon,
    tasks: Vec<JoinHandle<()>>,
}

impl PostgresBackend {
    async fn connect(options: Options) -> Result<Self> {
        let connector = options.connector()?;
        let bell = Bell::new(&connector.schema);
        let mut tasks = Vec::new();
        if options.notify {
            tasks.push(tokio::spawn(wake::notify_others(bell.clone(), connector.clone())));
        }
        if options.listen {
            tasks.push(tokio::spawn(wake::listen(bell.clone(), connector.clone())));
        }
        let shift = options.clock.is_none().then(ShiftedClock::default);
        let shared = Shared {
            pool: pool(&connector, options.pool)?,
            connector,
            clock: options.clock.or(shift.clone().map(Clock::Shifted)).unwrap_or_default(),
            shift,
            poll: options.poll,
            lanes: Lanes::default(),
            newest: migrate::newest(),
            pulse: Mutex::default(),
            bell,
            horizon: Horizon::default(),
            tasks,
        };
        shared.measure().await?;
        Ok(Self(Arc::new(shared)))
    }

    /// The schema that holds the tables.
    pub fn schema(&self) -> &str {
        &self.0.connector.schema
    }

    /// Whether wake-ups of other processes arrive. Without them the backend polls.
    pub fn is_listening(&self) -> bool {
        self.0.bell.is_listening()
    }
}

fn pool(connector: &Connector, size: usize) -> Result<Pool> {
    let connect = PoolConnect { connector: connector.clone(), runtime: Handle::current() };
    let recycling_method = RecyclingMethod::Fast;
    let config = connector.config.clone();
    let manager = Manager::from_connect(config, connect, ManagerConfig { recycling_method });
    let patience = Some(PATIENCE);
    let pool = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: patience, create: patience, recycle: patience })
        .build();
    pool.map_err(|error| Error::usage("the pool can't be made").caused_by(error))
}

/// A panic of the rules is rolled back like any error.
async fn unpanicked(commit: impl Future<Output = Attempted<Committed>>) -> Attempted<Committed> {
    let done = AssertUnwindSafe(commit).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(Error::panicked(&*panic).into()))
}

impl Shared {
    /// A connection, to be sent BEGIN.
    async fn transaction(&self) -> Attempted<Transaction> {
        let connection: Object = self.pool.get().await?;
        Ok(Transaction::on(connection))
    }

    /// Measures how far the server's clock is from this machine's.
    async fn measure(&self) -> Result<()> {
        let connection = Transaction::on(self.pool.get().await?);
        let before = Clock::System.now();
        let rows = Pipe::one(sql::NOW, Vec::new()).rows(connection.line()).await;
        let after = Clock::System.now();
        let rows = connection.release_after(rows)?;
        let server = Cells::new(only(rows.first())?).time()?;
        let took = after.since(before);
        if let Some(shift) = self.shift.as_ref().filter(|_| took < MEASURE) {
            shift.set(server.as_micros() - (before + took / 2).as_micros());
        }
        Ok(())
    }

    /// `swift` says whether to commit in few round trips; it is unset where that fails.
    async fn try_commit(&self, batch: Batch, swift: &AtomicBool) -> Attempted<Committed> {
        let context = Context { lanes: &self.lanes, clock: &self.clock, newest: self.newest };
        let transaction = self.transaction().await?;
        if swift.swap(false, Ordering::Relaxed) && swift::suits(context, &batch) {
            return match unpanicked(Box::pin(swift::commit(context, transaction.line(), batch)))
                .await
            {
                Ok(done) => transaction.release_after(Ok(done)),
                failed => transaction.end_after(failed).await,
            };
        }
        let mut pipe = Pipe::default();
        pipe.add(sql::BEGIN, Vec::new());
        let done =
            unpanicked(Box::pin(commit::carry_out(context, transaction.line(), pipe, batch))).await;
        transaction.end_after(done).await
    }

    async fn try_read(&self, needs: &Needs) -> Attempted<Rows> {
        let transaction = self.transaction().await?;
        let mut pipe = Pipe::default();
        pipe.add(sql::BEGIN_SNAPSHOT, Vec::new());
        let rows = load::Load::unlocked(pipe, needs).send(transaction.line()).await;
        transaction.end_after(rows).await
    }

    /// Runs the statement of a list in a transaction of its own plans.
    async fn try_list(&self, query: &Query) -> Attempted<Page> {
        let transaction = self.transaction().await?;
        let page = async {
            let line = transaction.line();
            line.client().batch_execute(sql::BEGIN_VIEW).await?;
            let (sql, params) = list::query(query);
            let rows = Pipe::one(sql, params).rows(line).await?;
            Ok(list::page(query, &rows)?)
        };
        let page = page.await;
        transaction.end_after(page).await
    }

    async fn try_stats(&self) -> Attempted<Stats> {
        let transaction = self.transaction().await?;
        let stats = async {
            let line = transaction.line();
            line.client().batch_execute(sql::BEGIN_VIEW).await?;
            let mut pipe = Pipe::default();
            list::add_counts(&mut pipe);
            Ok(list::stats(&pipe.send(line).await?)?)
        };
        let stats = stats.await;
        transaction.end_after(stats).await
    }

    async fn try_due(&self, of: InstanceId, limit: u32) -> Attempted<Due> {
        let connection = self.transaction().await?;
        let due = list::due(connection.line(), of, limit, self.clock.now()).await;
        connection.release_after(due)
    }

    async fn try_tail(&self, stream: Stream, after: Cursor, limit: u32) -> Attempted<Vec<Entry>> {
        let connection = self.transaction().await?;
        if stream != Stream::All {
            let entries = list::tail(connection.line(), stream, after, limit).await;
            return connection.release_after(entries);
        }
        let found = list::tail_all(connection.line(), after, limit).await;
        let (entries, hidden) = connection.release_after(found)?;
        self.horizon.note(hidden);
        Ok(entries)
    }

    async fn try_prune(&self, prune: &Prune) -> Attempted<Pruned> {
        let transaction = self.transaction().await?;
        let pruned = async {
            let line = transaction.line();
            let mut pipe = Pipe::default();
            pipe.add(sql::BEGIN, Vec::new());
            commit::check_version(line, pipe, self.newest).await?;
            prune::prune(line, prune).await
        };
        let pruned = pruned.await;
        transaction.end_after(pruned).await
    }

    /// Raises a beat on the connection that is kept for it.
    async fn beat(&self, instance: InstanceId) -> Attempted<bool> {
        let mut pulse = self.pulse.lock().await;
        let client = match pulse.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connector.open().await?.0,
        };
        let raised = client.execute(sql::BEAT, &[&instance.as_uuid()]).await?;
        *pulse = Some(client);
        Ok(raised > 0)
    }
}

/// Tries again what others got in the way of.
async fn retried<T, F: Future<Output = Attempted<T>>>(work: impl Fn() -> F) -> Result<T> {
    for tried in 1..TRIES {
        match work().await {
            Err(failure) if failure.again => {
                tracing::debug!(?failure, tried, "a transaction is tried again");
                if failure.missed {
                    continue;
                }
                let wait = fastrand::u64(0..4 << tried);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            other => return Ok(other?),
        }
    }
    Ok(work().await?)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresBackend").field(&self.0.connector).finish()
    }
}

#[async_trait]
impl Backend for PostgresBackend {
    fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    async fn migrate(&self) -> Result<()> {
        migrate::migrate(&self.0.connector).await
    }

    async fn check_schema(&self) -> Result<()> {
        migrate::check(&self.0.connector).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let swift = AtomicBool::new(true);
        let done = retried(|| self.0.try_commit(batch.clone(), &swift)).await?;
        if done.is_news() {
            self.0.bell.ring();
        }
        Ok(done)
    }

    async fn beat(&self, instance: InstanceId) -> Result<bool> {
        // A connection that broke while it lay idle is replaced at once.
        match self.0.beat(instance).await.map_err(Error::from) {
            Err(error) if error.is_transient() => Ok(self.0.beat(instance).await?),
            other => other,
        }
    }

    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due> {
        if self.0.shift.is_some() {
            self.0.measure().await?;
        }
        retried(|| self.0.try_due(of, limit)).await
    }

    async fn read(&self, needs: &Needs) -> Result<Rows> {
        retried(|| self.0.try_read(needs)).await
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        retried(|| self.0.try_list(query)).await
    }

    async fn stats(&self) -> Result<Stats> {
        retried(|| self.0.try_stats()).await
    }

    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>> {
        retried(|| self.0.try_tail(stream, after, limit)).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned> {
        retried(|| self.0.try_prune(prune)).await
    }

    async fn wait(&self, limit: Duration) -> bool {
        let limit = match self.is_listening() {
            true => limit,
            false => limit.min(self.0.poll),
        };
        tokio::select! {
            () = self.0.bell.heard() => {}
            () = self.0.horizon.moves() => {}
            () = self.0.clock.sleep(limit) => {}
        }
        false
    }

    fn wake(&self) {
        self.0.bell.ring();
        self.0.bell.hear();
    }
}
