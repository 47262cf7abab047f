//! A database of a bench: made when it is needed, and thrown away.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use segue::{
    Builder, Engine,
    backend::{Backend, postgres, sqlite},
};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use super::{
    Result,
    cluster::{self, Cluster},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// The address of a server that waits for the disk, or of the one that is named.
fn url() -> String {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    match std::env::var("SEGUE_TEST_POSTGRES_URL") {
        Ok(url) => url,
        Err(_) => SHARED.get_or_init(Cluster::durable).url(),
    }
}

/// Where a database is, in a form that another process can be given.
#[derive(Clone, Debug)]
pub enum Address {
    File(PathBuf),
    Schema { url: String, schema: String },
}

impl Address {
    pub fn builder(&self) -> Builder {
        match self {
            Self::File(path) => Engine::sqlite(path),
            Self::Schema { url, schema } => {
                Engine::postgres_with(postgres::Options::new(url).schema(schema))
            }
        }
    }

    pub fn text(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Schema { url, schema } => format!("{schema} {url}"),
        }
    }

    pub fn read(kind: Kind, text: &str) -> Self {
        match (kind, text.split_once(' ')) {
            (Kind::Postgres, Some((schema, url))) => {
                Self::Schema { url: url.into(), schema: schema.into() }
            }
            _ => Self::File(text.into()),
        }
    }

    /// A connection of the bare driver, to segue's tables.
    pub fn client(&self, runtime: &Runtime) -> Result<Client> {
        let Self::Schema { url, schema } = self else {
            return Err("it is a file".into());
        };
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
        runtime.spawn(connection);
        runtime.block_on(client.batch_execute(&format!("SET search_path = {schema}")))?;
        Ok(client)
    }

    pub async fn backend(&self) -> Result<Arc<dyn Backend>> {
        Ok(match self {
            Self::File(path) => Arc::new(sqlite::Options::new(path).open()?),
            Self::Schema { url, schema } => {
                Arc::new(postgres::Options::new(url).schema(schema).connect().await?)
            }
        })
    }
}

/// A database with segue's tables. It goes with the value.
pub struct Place {
    pub kind: Kind,
    pub address: Address,
    /// Whether SQLite syncs each commit of a bare connection.
    syncs: bool,
    runtime: Arc<Runtime>,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub fn new(runtime: &Arc<Runtime>, kind: Kind) -> Result<Self> {
        let folder = (kind == Kind::Sqlite).then(tempfile::tempdir).transpose()?;
        let address = match &folder {
            Some(folder) => Address::File(folder.path().join("work.db")),
            None => Address::Schema { url: url(), schema: cluster::schema() },
        };
        runtime
            .block_on(async { Ok::<_, super::Error>(address.backend().await?.migrate().await?) })?;
        Ok(Self { kind, address, syncs: true, runtime: Arc::clone(runtime), _folder: folder })
    }

    /// A file that another process has made.
    pub fn of_another(runtime: &Arc<Runtime>, address: Address, syncs: bool) -> Self {
        let (kind, runtime) = (Kind::Sqlite, Arc::clone(runtime));
        Self { kind, address, syncs, runtime, _folder: None }
    }

    pub fn engine(&self) -> Builder {
        self.address.builder()
    }

    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// A connection of the bare driver, to segue's tables.
    pub fn client(&self) -> Result<Client> {
        self.address.client(&self.runtime)
    }

    /// The same for SQLite, with the settings of the engine's own connections.
    pub fn connection(&self) -> Result<rusqlite::Connection> {
        let Address::File(path) = &self.address else {
            return Err("it is no file".into());
        };
        let conn = rusqlite::Connection::open(path)?;
        conn.busy_timeout(std::time::Duration::from_secs(30))?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000;
             PRAGMA synchronous = FULL;",
        )?;
        if !self.syncs {
            conn.execute_batch("PRAGMA synchronous = NORMAL")?;
        }
        Ok(conn)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Address::Schema { schema, .. } = &self.address
            && let Ok(client) = self.client()
        {
            let drop = format!("DROP SCHEMA {schema} CASCADE");
            if let Err(error) = self.runtime.block_on(client.batch_execute(&drop)) {
                eprintln!("{schema} could not be dropped: {error}");
            }
        }
    }
}
