//! What a handler returns instead of a result.

use std::{fmt, time::Duration};

use crate::{
    id::{ItemId, RunId},
    model::{Ask, Decision, Fault, FaultKind, ItemKind, Payload},
};

/// Why an attempt did not produce a result. Any error converts into one by `?` and is
/// retried as the task's policy says; the other ways out are made by name.
#[derive(Debug)]
pub struct Failure(Box<Decision>);

impl Failure {
    /// A failure in words. The task's retry policy decides whether it is tried again.
    pub fn new(message: impl fmt::Display) -> Self {
        Self::fault(FaultKind::Error, message.to_string(), true)
    }

    /// A failure that another attempt can't mend.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::fault(FaultKind::Error, message.to_string(), false)
    }

    /// Not a failure: run the task again after `wait`.
    pub fn snooze(wait: Duration) -> Self {
        Self(Box::new(Decision::Snooze(wait)))
    }

    /// Not a failure: ask a person, and run the task again when they have answered.
    /// [`Context::ask`](crate::Context::ask) does this and finds the answer.
    pub fn ask(kind: ItemKind, key: &str, body: Payload, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let ask = Ask { id: ItemId::new(), kind, key: key.to_owned(), body, options };
        Self(Box::new(Decision::Block(vec![ask])))
    }

    /// Not a failure: a provider's limit is reached. No task that carries the capacity key
    /// starts for so long, on any host, and no attempt is burned.
    pub fn park(key: impl Into<String>, wait: Duration) -> Self {
        Self(Box::new(Decision::Park { key: key.into(), wait }))
    }

    /// Ask people what the attempt has asked already.
    pub(crate) fn asks(asks: Vec<Ask>) -> Self {
        Self(Box::new(Decision::Block(asks)))
    }

    /// Run the task again when a run that it launched has ended.
    pub(crate) fn await_run(run: RunId) -> Self {
        Self(Box::new(Decision::Await(run)))
    }

    /// The handler stopped because it was told to.
    pub fn cancelled() -> Self {
        Self(Box::new(Decision::Cancelled))
    }

    pub(crate) fn fault(kind: FaultKind, message: String, retryable: bool) -> Self {
        Self(Box::new(Decision::Fail(Fault { kind, message, retryable })))
    }

    /// A value that is not of the expected type: another attempt will not change that.
    pub(crate) fn payload(what: &str, error: &serde_json::Error) -> Self {
        Self::fault(FaultKind::Payload, format!("{what}: {error}"), false)
    }

    pub(crate) fn into_decision(self) -> Decision {
        *self.0
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// The error with its causes.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::new(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_ref() {
            Decision::Fail(fault) => f.write_str(&fault.message),
            other => write!(f, "{other:?}"),
        }
    }
}
