//! What a failed statement means, by its code and never by its text.

use std::io;

use tokio_postgres::{Error as PgError, error::SqlState};

use crate::error::{Error, Result};

/// A failure, and whether the same transaction may succeed when it is tried again at once.
#[derive(Debug)]
pub(super) struct Failure {
    error: Error,
    pub again: bool,
    /// What was prepared on the connection fits the tables no more: it must be closed.
    pub stale: bool,
    /// The commit must be carried out step by step, and may be at once.
    pub missed: bool,
}

pub(super) type Attempted<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Rows changed between two statements of a transaction; another try sees them as they are.
    pub fn overtaken(message: impl Into<String>) -> Self {
        Self { error: Error::unavailable(message), again: true, stale: false, missed: false }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, again: false, stale: false, missed: false }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        let stale = error.code().is_some_and(is_stale);
        let missed = error.code().is_some_and(is_miss);
        let again = stale || missed || error.code().is_some_and(is_race);
        Self { error: error.into(), again, stale, missed }
    }
}

/// A guard that did not hold: it divides by zero, or the row is there already.
fn is_miss(code: &SqlState) -> bool {
    [&SqlState::DIVISION_BY_ZERO, &SqlState::UNIQUE_VIOLATION].contains(&code)
}

/// Another transaction was in the way. A foreign key is such a case, as is a row that is there
/// already: who inserts what another inserts at the same time finds it the second time.
fn is_race(code: &SqlState) -> bool {
    [
        &SqlState::T_R_SERIALIZATION_FAILURE,
        &SqlState::T_R_DEADLOCK_DETECTED,
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::FOREIGN_KEY_VIOLATION,
    ]
    .contains(&code)
}

/// "cached plan must not change result type" after a migration, or a statement that a pooler
/// has lost.
fn is_stale(code: &SqlState) -> bool {
    [&SqlState::FEATURE_NOT_SUPPORTED, &SqlState::INVALID_SQL_STATEMENT_NAME].contains(&code)
}

/// The server is away, full, or about to be another: 08 connection, 53 resources, 57P operator
/// intervention, 40 a race that was lost too often, 25P03 idle too long, 25006 a standby.
fn is_outage(code: &SqlState) -> bool {
    let code = code.code();
    let classes = ["08", "53", "57P", "40"];
    classes.iter().any(|class| code.starts_with(class)) || ["25P03", "25006"].contains(&code)
}

/// Whether the failure lies in the way to the server, not in what was asked of it.
fn is_network(error: &PgError) -> bool {
    let source = std::error::Error::source(error);
    error.is_closed() || source.is_some_and(|source| source.is::<io::Error>())
}

impl From<PgError> for Error {
    fn from(error: PgError) -> Self {
        let (message, transient) = match (error.as_db_error(), error.code()) {
            (Some(reason), Some(code)) => {
                let missing =
                    *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME;
                let hint = if missing { "; were its tables made by migrate()?" } else { "" };
                let message = format!("PostgreSQL: {} ({}){hint}", reason.message(), code.code());
                (message, is_outage(code) || is_stale(code))
            }
            _ => (format!("PostgreSQL: {}", chain(&error)), is_network(&error)),
        };
        let error_of = if transient { Self::unavailable } else { Self::database };
        error_of(message).caused_by(error)
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        use deadpool_postgres::PoolError as Pool;
        match error {
            Pool::Backend(error) => error.into(),
            Pool::Timeout(_) => {
                Self::unavailable("PostgreSQL: no connection of the pool became free")
            }
            Pool::Closed => Self::closed(),
            other => Self::database(format!("PostgreSQL: {other}")),
        }
    }
}

impl From<deadpool_postgres::PoolError> for Failure {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Error::from(error).into()
    }
}

/// An error with its causes.
fn chain(error: &PgError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The one row of an answer that always has one.
pub(super) fn only<T>(rows: Option<T>) -> Result<T> {
    rows.ok_or_else(|| Error::database("PostgreSQL: an answer without its row"))
}
