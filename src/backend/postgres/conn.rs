//! Connections: how one is made, and what it is set to.

use std::{fmt, future::poll_fn, pin::Pin, sync::Arc};

use deadpool_postgres::Connect;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    task::JoinHandle,
};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sql;

type PgResult<T> = Result<T, tokio_postgres::Error>;

/// Is given the payload of each notification.
pub(super) type Hear = Arc<dyn Fn(&str) + Send + Sync>;

/// What it takes to connect.
#[derive(Clone)]
pub(super) struct Connector {
    pub config: Config,
    pub tls: Option<MakeRustlsConnect>,
    pub schema: String,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts();
        f.debug_struct("Connector").field("hosts", &hosts).field("schema", &self.schema).finish()
    }
}

impl Connector {
    /// A connection that is set up for this backend's statements. It is driven by a task of
    /// the runtime that it is made in.
    pub async fn open(&self) -> PgResult<(Client, JoinHandle<()>)> {
        let (client, driver) = self.plain(Arc::new(|_| ())).await?;
        let settings = format!("{}; {}", sql::search_path(&self.schema), sql::SETTINGS);
        client.batch_execute(&settings).await?;
        Ok((client, driver))
    }

    /// A connection as the server gives it.
    pub async fn plain(&self, hear: Hear) -> PgResult<(Client, JoinHandle<()>)> {
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                Ok((client, tokio::spawn(drive(connection, hear))))
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                Ok((client, tokio::spawn(drive(connection, hear))))
            }
        }
    }
}

/// Moves a connection's bytes until it ends.
async fn drive<S, T>(mut connection: Connection<S, T>, hear: Hear)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notification(note)) => hear(note.payload()),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
                return;
            }
        }
    }
}

/// Makes the pool's connections in one runtime, whoever asks for them.
pub(super) struct PoolConnect {
    pub connector: Connector,
    pub runtime: Handle,
}

impl Connect for PoolConnect {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = PgResult<(Client, JoinHandle<()>)>> + Send + '_>> {
        let connector = self.connector.clone();
        let opening = self.runtime.spawn(async move { connector.open().await });
        Box::pin(async move {
            match opening.await {
                Ok(opened) => opened,
                Err(stopped) => match stopped.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime shuts down; the pool gives up on this when its time is over.
                    Err(_) => std::future::pending().await,
                },
            }
        })
    }
}
