//! How a backend is opened.

use std::time::Duration;

use tokio_postgres::{Config, config::SslMode};

use super::{PostgresBackend, conn::Connector, tls};
use crate::{
    clock::Clock,
    error::{Error, Result},
};

/// The longest name of a schema: names that are made of it must fit into PostgreSQL's 63 bytes.
const SCHEMA_BYTES: usize = 40;

/// How a database is opened.
#[derive(Clone)]
pub struct Options {
    pub(super) url: String,
    pub(super) schema: String,
    pub(super) pool: usize,
    pub(super) clock: Option<Clock>,
    pub(super) listen: bool,
    pub(super) notify: bool,
    pub(super) poll: Duration,
    pub(super) roots: Option<Vec<u8>>,
}

impl Options {
    /// A database by its URL (`postgres://user@host/database?sslmode=require`) or its key and
    /// value form, with these settings: schema `segue`, 8 connections, LISTEN on, the server's
    /// time.
    ///
    /// With `sslmode=require` or `sslmode=verify-full` the connection is encrypted, and the
    /// server's certificate and name are verified against the public certificate authorities
    /// or those of [`tls_roots`](Options::tls_roots). Otherwise it is not encrypted.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "segue".into(),
            pool: 8,
            clock: None,
            listen: true,
            notify: true,
            poll: Duration::from_millis(250),
            roots: None,
        }
    }

    /// The schema that holds the tables: lower-case letters, digits and underscores, at most
    /// 40 bytes.
    #[must_use]
    pub fn schema(self, schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// How many connections commits and reads share. Three more are used for beats, for
    /// listening and for notifying.
    #[must_use]
    pub fn pool(self, connections: usize) -> Self {
        Self { pool: connections.max(1), ..self }
    }

    /// The clock that gives the time to rows, instead of the server's: for tests.
    #[must_use]
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        Self { clock: Some(clock.into()), ..self }
    }

    /// Whether to LISTEN for wake-ups of other processes. Without it, and where notifications
    /// do not arrive (a pooler that lends connections by the transaction), the backend polls.
    #[must_use]
    pub fn listen(self, listen: bool) -> Self {
        Self { listen, ..self }
    }

    /// Whether to tell other processes of what this one committed. Where no other works on the
    /// schema, nobody listens; others would find this one's work when they poll.
    #[must_use]
    pub fn notify(self, notify: bool) -> Self {
        Self { notify, ..self }
    }

    /// How often to look for others' work where no wake-ups arrive.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }

    /// The certificate authorities to trust, in PEM, instead of the public ones. The
    /// connection is then encrypted unless the URL says `sslmode=disable`.
    #[must_use]
    pub fn tls_roots(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { roots: Some(pem.into()), ..self }
    }

    /// Connects. The tables are made by [`migrate`](crate::backend::Backend::migrate).
    ///
    /// The connections belong to the runtime that this is called in, except the one for
    /// beats, which belongs to the runtime that calls it.
    ///
    /// # Errors
    /// When the settings make no sense, or the server can't be reached.
    pub async fn connect(self) -> Result<PostgresBackend> {
        PostgresBackend::connect(self).await
    }

    pub(super) fn connector(&self) -> Result<Connector> {
        let schema = check_schema(&self.schema)?.to_owned();
        // The driver knows no word for it; certificates are always verified in full here.
        let url = self.url.replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            Error::usage("the address of the database can't be read").caused_by(error)
        })?;
        let wanted = match config.get_ssl_mode() {
            SslMode::Disable => false,
            SslMode::Prefer => self.roots.is_some(),
            _ => true,
        };
        let roots = self.roots.as_deref();
        let tls = wanted.then(|| tls::connector(roots)).transpose()?;
        config.ssl_mode(if wanted { SslMode::Require } else { SslMode::Disable });
        add_defaults(&mut config);
        Ok(Connector { config, tls, schema })
    }
}

/// A server that vanished without a word is noticed within a minute.
fn add_defaults(config: &mut Config) {
    config.keepalives_idle(Duration::from_secs(30));
    config.keepalives_interval(Duration::from_secs(10));
    config.keepalives_retries(3);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    if config.get_application_name().is_none() {
        config.application_name("segue");
    }
}

/// The name, if it can be one without being quoted, and leaves room for what is made of it.
pub(super) fn check_schema(name: &str) -> Result<&str> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit();
    let fits = name.len() <= SCHEMA_BYTES
        && name.chars().next().is_some_and(first)
        && name.chars().all(rest)
        && !name.starts_with("pg_");
    match fits {
        true => Ok(name),
        false => Err(Error::usage(format!(
            "\"{name}\" can't be segue's schema: use lower-case letters, digits and \
             underscores, {SCHEMA_BYTES} at most, not beginning with a digit or pg_"
        ))),
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        let mut debug = f.debug_struct("Options");
        debug.field("schema", &self.schema).field("pool", &self.pool);
        debug.field("listen", &self.listen).finish_non_exhaustive()
    }
}
