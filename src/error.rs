//! The error of the crate.

use std::{any::Any, error::Error as StdError, fmt};

use crate::model::Rejection;

/// What a call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// A call that failed. A *refusal* (the rules said no, nothing was changed) carries its
/// [`Rejection`]; everything else is a failure of the database, the schema or the host.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Rejected(Box<Rejection>),
    Unavailable,
    Database,
    SchemaMovedOn,
    Migration,
    Payload,
    Usage,
    CursorExpired,
    Task,
    Closed,
    Bug,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The database can't be reached, or asked to be asked again: the same call may succeed
    /// later, and as every command can be sent again, repeating it is safe.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// The database refused something that must work, or holds something that can't be.
    pub fn database(message: impl Into<String>) -> Self {
        Self::new(Kind::Database, message)
    }

    /// A newer program has changed the tables: this one may no longer write.
    pub fn schema_moved_on(message: impl Into<String>) -> Self {
        Self::new(Kind::SchemaMovedOn, message)
    }

    /// The tables could not be brought to this program's version. They are as they were.
    pub fn migration(message: impl Into<String>) -> Self {
        Self::new(Kind::Migration, message)
    }

    /// A value has no JSON form, or JSON is not the value that was expected.
    pub fn payload(message: impl Into<String>) -> Self {
        Self::new(Kind::Payload, message)
    }

    /// The host asked for something that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The entries after a cursor were pruned.
    pub fn cursor_expired() -> Self {
        let message = "the entries after this cursor were pruned; read the present state and \
                       watch from the start";
        Self::new(Kind::CursorExpired, message)
    }

    /// The rules came upon something that can't be: a bug of segue, or rows that others have
    /// changed. Nothing was changed.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    /// The same, of what a panic left behind.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic_text(panic);
        Self::bug(format!("a bug in segue, or rows that others have changed: {text}"))
    }

    pub(crate) fn task(message: impl Into<String>) -> Self {
        Self::new(Kind::Task, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::Closed, "the engine was shut down")
    }

    /// With the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed later. Nothing was changed, or what was changed is
    /// not changed again by repeating it.
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Unavailable
    }

    /// Why the rules refused, if they did.
    pub fn rejection(&self) -> Option<&Rejection> {
        match &self.kind {
            Kind::Rejected(rejection) => Some(rejection),
            _ => None,
        }
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.rejection(), Some(Rejection::NotFound { .. }))
    }

    /// Whether a newer program has changed the tables, so that this one may no longer write.
    pub fn is_schema_moved_on(&self) -> bool {
        self.kind == Kind::SchemaMovedOn
    }

    /// Whether the tables could not be brought to this program's version.
    pub fn is_migration(&self) -> bool {
        self.kind == Kind::Migration
    }

    /// Whether a value was not of the expected type.
    pub fn is_payload(&self) -> bool {
        self.kind == Kind::Payload
    }

    /// Whether the host asked for something that makes no sense.
    pub fn is_usage(&self) -> bool {
        self.kind == Kind::Usage
    }

    /// Whether the entries after a cursor were pruned.
    pub fn is_cursor_expired(&self) -> bool {
        self.kind == Kind::CursorExpired
    }

    /// Whether the task or run that was waited for ended without a result.
    pub fn is_task(&self) -> bool {
        self.kind == Kind::Task
    }

    /// Whether the rules came upon something that can't be: a bug of segue, or rows that others
    /// have changed. Nothing was changed, and the same call fails again.
    pub fn is_bug(&self) -> bool {
        self.kind == Kind::Bug
    }

    /// Whether the engine was shut down.
    pub fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        let message = rejection.to_string();
        Self::new(Kind::Rejected(Box::new(rejection)), message)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::payload(format!("not the JSON that was expected: {error}")).caused_by(error)
    }
}

impl Error {
    /// The same error for another caller of the same commit.
    pub(crate) fn share(&self) -> Self {
        Self { kind: self.kind.clone(), message: self.message.clone(), source: None }
    }
}
