//! Wake-ups between processes: LISTEN and NOTIFY, each on a connection of its own.
//!
//! Invariant: nothing here runs in a transaction that writes rows. PostgreSQL takes one lock
//! for all commits that notify; a writer that notified would queue behind all others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, sync::watch, time::sleep};
use tokio_postgres::Client;

use super::{conn::Connector, sql};

/// At most one notification in this time: those in between are one at its end.
const QUIET: Duration = Duration::from_millis(5);
/// How long a probe may take to come back, before LISTEN is taken not to work here.
const PROBE: Duration = Duration::from_secs(5);
/// How long to wait before LISTEN is tried again where it does not work.
const RETRY: Duration = Duration::from_secs(60);
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What the tasks of this module and the backend share.
#[derive(Debug)]
pub(super) struct Bell {
    /// The name of the channel.
    channel: String,
    /// What this process signs its notifications with.
    own: String,
    /// Counts what was heard of others.
    heard: watch::Sender<u64>,
    /// The count at the end of the last wait.
    seen: AtomicU64,
    listening: AtomicBool,
    /// A notification is to be sent.
    ring: Notify,
    /// The last probe came back.
    probed: Notify,
}

impl Bell {
    pub fn new(schema: &str) -> Arc<Self> {
        Arc::new(Self {
            channel: format!("{schema}_wake"),
            own: uuid::Uuid::now_v7().simple().to_string(),
            heard: watch::Sender::new(0),
            seen: AtomicU64::new(0),
            listening: AtomicBool::new(false),
            ring: Notify::new(),
            probed: Notify::new(),
        })
    }

    /// Tells other processes, soon.
    pub fn ring(&self) {
        self.ring.notify_one();
    }

    /// Whether wake-ups arrive; if not, who waits must look by itself.
    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::SeqCst)
    }

    /// Wakes those who wait in this process.
    pub fn hear(&self) {
        self.heard.send_modify(|count| *count += 1);
    }

    /// Waits until something was heard that no wait before has returned for.
    pub async fn heard(&self) {
        let mut heard = self.heard.subscribe();
        let seen = self.seen.load(Ordering::SeqCst);
        // The sender lives in self, so this can't fail.
        if let Ok(count) = heard.wait_for(|count| *count != seen).await {
            self.seen.store(*count, Ordering::SeqCst);
        }
    }

    fn on_payload(&self, payload: &str) {
        match payload.strip_prefix(PROBE_SIGN) {
            Some(own) if own == self.own => self.probed.notify_one(),
            Some(_) => {}
            None if payload == self.own => {}
            None => self.hear(),
        }
    }
}

/// What a probe's payload begins with.
const PROBE_SIGN: &str = "probe ";

/// Listens for ever, over lost connections and servers that are away.
pub(super) async fn listen(bell: Arc<Bell>, connector: Connector) {
    let mut backoff = BACKOFF;
    loop {
        match listen_once(&bell, &connector).await {
            Ok(()) => backoff = BACKOFF,
            Err(error) => tracing::debug!(%error, "listening for wake-ups failed"),
        }
        bell.listening.store(false, Ordering::SeqCst);
        // What was missed is found by looking.
        bell.hear();
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Subscribes, makes sure that notifications arrive, and stays until the connection ends.
/// Behind a pooler that lends connections by the transaction, LISTEN succeeds and nothing
/// ever arrives: only a probe from another connection tells.
async fn listen_once(bell: &Arc<Bell>, connector: &Connector) -> Result<(), tokio_postgres::Error> {
    let ears = Arc::clone(bell);
    let (client, driver) = connector.plain(Arc::new(move |note| ears.on_payload(note))).await?;
    client.batch_execute(&sql::listen(&bell.channel)).await?;
    let (other, _driver) = connector.plain(Arc::new(|_| ())).await?;
    notify(&other, &bell.channel, &format!("{PROBE_SIGN}{}", bell.own)).await?;
    drop(other);
    if tokio::time::timeout(PROBE, bell.probed.notified()).await.is_err() {
        tracing::info!("notifications of PostgreSQL do not arrive here: polling instead");
        sleep(RETRY).await;
        return Ok(());
    }
    bell.listening.store(true, Ordering::SeqCst);
    // Subscribed first: whoever waits looks now, and misses nothing from here on.
    bell.hear();
    if let Err(stopped) = driver.await {
        tracing::debug!(%stopped, "the listening task stopped");
    }
    Ok(())
}

async fn notify(
    client: &Client,
    channel: &str,
    payload: &str,
) -> Result<(), tokio_postgres::Error> {
    client.query(sql::NOTIFY, &[&channel, &payload]).await.map(drop)
}

/// Sends notifications for ever: at once when it was quiet, else at the end of the quiet
/// time, however many there were.
pub(super) async fn notify_others(bell: Arc<Bell>, connector: Connector) {
    let mut connection: Option<Client> = None;
    let mut backoff = BACKOFF;
    loop {
        bell.ring.notified().await;
        let sent = match connection.take() {
            Some(client) if !client.is_closed() => send(&bell, client).await,
            _ => match open(&connector).await {
                Ok(client) => send(&bell, client).await,
                Err(error) => Err(error),
            },
        };
        match sent {
            Ok(client) => {
                connection = Some(client);
                backoff = BACKOFF;
                sleep(QUIET).await;
            }
            Err(error) => {
                tracing::debug!(%error, "a notification could not be sent");
                bell.ring.notify_one();
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

async fn open(connector: &Connector) -> Result<Client, tokio_postgres::Error> {
    let (client, _driver) = connector.plain(Arc::new(|_| ())).await?;
    client.batch_execute(sql::NOTIFIER_SETTINGS).await?;
    Ok(client)
}

async fn send(bell: &Bell, client: Client) -> Result<Client, tokio_postgres::Error> {
    notify(&client, &bell.channel, &bell.own).await?;
    Ok(client)
}
