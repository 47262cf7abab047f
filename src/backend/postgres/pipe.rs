//! Statements that are sent together, and the transaction they run in.

use std::borrow::Cow;

use deadpool_postgres::{ClientWrapper, Object};
use futures_util::future::join_all;
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{failure::Attempted, sql};

/// A value for a statement.
pub(super) type Param<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// A list of [`Param`].
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as $crate::backend::postgres::pipe::Param<'_>),*] };
}
pub(super) use params;

/// Where statements are sent.
#[derive(Clone, Copy)]
pub(super) enum Line<'a> {
    /// A connection of the pool, which keeps what was prepared.
    Own(&'a ClientWrapper),
    /// The host's connection.
    Host(&'a Client),
}

impl Line<'_> {
    pub fn client(&self) -> &Client {
        match self {
            Self::Own(client) => client,
            Self::Host(client) => client,
        }
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        match self {
            Self::Own(client) => client.prepare_cached(sql).await,
            Self::Host(client) => client.prepare(sql).await,
        }
    }
}

/// How many statements are in flight at once. The futures of so many are polled in order,
/// which is the order they are sent in.
const IN_FLIGHT: usize = 30;

/// Statements that are sent in one go, in order, without waiting for the answers between.
#[derive(Default)]
pub(super) struct Pipe<'a> {
    calls: Vec<(Cow<'static, str>, Vec<Param<'a>>)>,
}

impl<'a> Pipe<'a> {
    /// Adds a statement, and says at which place its answer will be.
    pub fn add(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param<'a>>) -> usize {
        self.calls.push((sql.into(), params));
        self.calls.len() - 1
    }

    /// Adds a statement before all others.
    pub fn add_first(&mut self, sql: &'static str) {
        self.calls.insert(0, (sql.into(), Vec::new()));
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// A pipe of one statement.
    pub fn one(sql: &'static str, params: Vec<Param<'a>>) -> Self {
        Self { calls: vec![(sql.into(), params)] }
    }

    /// Sends all, and waits for the answers. The first failure is returned; in a transaction
    /// what was sent after it has done nothing.
    pub async fn send(self, line: Line<'_>) -> Attempted<Vec<Vec<Row>>> {
        let mut statements = Vec::with_capacity(self.calls.len());
        for (sql, _) in &self.calls {
            statements.push(line.prepare(sql).await?);
        }
        let mut answers = Vec::with_capacity(self.calls.len());
        let calls: Vec<_> = self.calls.iter().zip(&statements).collect();
        for part in calls.chunks(IN_FLIGHT) {
            let queries = part.iter().map(|((_, params), statement)| async move {
                let params: Vec<_> = params.iter().map(|param| param.as_ref() as _).collect();
                line.client().query(*statement, &params).await
            });
            // All are waited for: a later one fails because of the first, and may be told sooner.
            for answer in join_all(queries).await {
                answers.push(answer?);
            }
        }
        Ok(answers)
    }

    /// Sends the one statement, and waits for its rows.
    pub async fn rows(self, line: Line<'_>) -> Attempted<Vec<Row>> {
        Ok(self.send(line).await?.pop().unwrap_or_default())
    }
}

/// A connection in a transaction. Dropped before it was ended, it takes the connection out of
/// the pool and closes it, which rolls back.
pub(super) struct Transaction {
    connection: Option<Object>,
}

impl Transaction {
    /// On a connection that is about to be sent BEGIN.
    pub fn on(connection: Object) -> Self {
        Self { connection: Some(connection) }
    }

    pub fn line(&self) -> Line<'_> {
        Line::Own(self.connection.as_ref().expect("it is there until it is ended"))
    }

    /// Commits what succeeded, rolls back what failed. A connection on which that fails too is
    /// closed, which rolls back.
    pub async fn end_after<T>(self, result: Attempted<T>) -> Attempted<T> {
        match result {
            Ok(value) => self.end(sql::COMMIT).await.map(|()| value),
            Err(failure) => {
                if !failure.stale
                    && let Err(failure) = self.end(sql::ROLLBACK).await
                {
                    tracing::debug!(?failure, "a transaction ended with its connection");
                }
                Err(failure)
            }
        }
    }

    /// Gives the connection back after statements that were no transaction.
    pub fn release_after<T>(mut self, result: Attempted<T>) -> Attempted<T> {
        if !result.as_ref().is_err_and(|failure| failure.stale) {
            drop(self.connection.take());
        }
        result
    }

    async fn end(mut self, sql: &'static str) -> Attempted<()> {
        Pipe::one(sql, Vec::new()).send(self.line()).await?;
        drop(self.connection.take());
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}
