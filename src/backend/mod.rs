//! The contract between the engine and the database that keeps its rows.
//!
//! A backend keeps rows and never decides what happens next: decisions are made by
//! [`Plan`](crate::model::Plan), which a backend drives inside its transaction. What a
//! backend must do beyond storing is small: make commits durable, show one transaction's
//! work all or not at all, choose the claimed tasks, and say when it is worth looking again.
//! The page on writing a backend walks through one.

#[cfg(feature = "conformance")]
pub mod conformance;

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::Clock,
    error::Result,
    id::InstanceId,
    model::{
        Batch, Committed, Cursor, Due, Entry, Needs, Page, Prune, Pruned, Query, Rows, Stats,
        Stream,
    },
};

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// A database that keeps the rows.
///
/// Every method may be called from many tasks and threads at once. A method that fails with
/// a [transient](crate::Error::is_transient) error may be called again with the same
/// arguments. The engine drops futures only when it is shut down; a commit whose future was
/// dropped may or may not have happened.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// The clock that gives `now` to plans and claims.
    fn clock(&self) -> Clock;

    /// Creates the tables, or brings them to this program's version.
    ///
    /// Guaranteed: two processes may call it at once; a failure leaves the database as it
    /// was; a database of a newer program is refused unchanged.
    async fn migrate(&self) -> Result<()>;

    /// Whether the tables are of this program's version, for those who may not migrate.
    ///
    /// # Errors
    /// A migration error that says which version was found.
    async fn check_schema(&self) -> Result<()> {
        Ok(())
    }

    /// Carries out the commands, then the claim, in one transaction.
    ///
    /// Guaranteed: when it returns, everything is durable, and the claim has seen what the
    /// commands released. All of it happens or none. A refused command changes nothing and
    /// its neighbours are carried out; the refusal is its receipt, not an error. Two commits
    /// that touch the same run, task or chat happen one after the other.
    ///
    /// The claim takes what [`choose`](crate::model::choose) would: at most `limit` ready
    /// tasks of lanes that the worker serves, of no parked key, each with a free slot of each
    /// limited capacity key, which it then holds; the smallest priority first, then the
    /// smallest id. A backend whose writers run side by side may pass over rows that another
    /// transaction has locked. With `again` set, the tasks that this claim took before are
    /// returned, if it did.
    ///
    /// Not guaranteed: any order between commits that run at the same time.
    async fn commit(&self, batch: Batch) -> Result<Committed>;

    /// Raises the beat of an instance by one. False when the instance is not registered.
    ///
    /// It is called from a thread of its own; it should use a connection of its own, so that
    /// a full pool or a long write does not make a healthy instance look dead.
    async fn beat(&self, instance: InstanceId) -> Result<bool>;

    /// Facts that the instance `of` looks at now and then; at most `limit` of each kind.
    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due>;

    /// Rows by key, from one consistent snapshot. Keys without a row are left out.
    async fn read(&self, needs: &Needs) -> Result<Rows>;

    /// A page of a list, for people and user interfaces.
    async fn list(&self, query: &Query) -> Result<Page>;

    /// Counts. It may read whole tables.
    async fn stats(&self) -> Result<Stats>;

    /// Entries of a stream after a cursor, in commit order, at most `limit`.
    ///
    /// Guaranteed: who follows a stream by the cursors that it returns misses no entry, or is
    /// told so: when entries after the cursor were pruned, it fails with
    /// [`Error::cursor_expired`](crate::Error::cursor_expired). The start never expires.
    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>>;

    /// Removes what ended before the given times. A task that is a step goes only with its
    /// whole run; a task that has children goes after them.
    async fn prune(&self, prune: &Prune) -> Result<Pruned>;

    /// An engine on it has stopped: a good moment to put things in order, such as folding a
    /// log back into the file it belongs to. Other engines may still work on it.
    async fn rest(&self) -> Result<()> {
        Ok(())
    }

    /// Waits until another writer may have committed something worth looking at, or `limit`
    /// has passed. A hint: it may return early, and what it misses is found at `limit`.
    ///
    /// True when the other writer has told that it made some task ready: workers then claim at
    /// once. Otherwise they look at what is [due](Backend::due) before.
    async fn wait(&self, limit: Duration) -> bool {
        self.clock().sleep(limit).await;
        false
    }

    /// Tells other processes that something was committed by the host's own transaction.
    fn wake(&self) {}
}
