//! What was asked, and what it was billed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::{Ask, Usage};

/// One request to the server.
#[derive(Clone, Debug)]
pub struct Record {
    /// The method, such as `POST`.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The headers, with names in lower case. The values of those that carry secrets are hidden.
    pub headers: Vec<(String, String)>,
    /// The body, where it is JSON.
    pub body: Option<Value>,
    /// What was asked of the model, where it was the model that was asked.
    pub ask: Option<Ask>,
    /// What the answer costs. Nothing for one that is an error, and for requests that are not
    /// for the model.
    pub usage: Option<Usage>,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has not ended.
    Open,
    /// The last byte of an answer with this status was handed to the connection.
    Answered(u16),
    /// The script broke the answer off.
    Cut,
    /// The client went away before the end.
    Left,
}

impl Record {
    /// Whether the model was asked and the client was told all of the answer.
    pub fn is_billed(&self) -> bool {
        self.usage.is_some() && matches!(self.end, End::Answered(_))
    }
}

/// All records, and a signal for each change.
#[derive(Debug)]
pub(super) struct Log {
    records: Mutex<Vec<Record>>,
    changed: watch::Sender<()>,
}

impl Default for Log {
    fn default() -> Self {
        Self { records: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Log {
    pub(super) fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Adds a record; whoever drops what is returned says how it ended.
    pub(super) fn open(self: &Arc<Self>, record: Record) -> Pending {
        let mut records = self.records();
        records.push(record);
        let at = records.len() - 1;
        drop(records);
        self.changed.send_replace(());
        Pending { log: self.clone(), at, is_open: true }
    }
}

/// A request that has not ended. When it is dropped the client has left.
#[derive(Debug)]
pub(super) struct Pending {
    log: Arc<Log>,
    at: usize,
    is_open: bool,
}

impl Pending {
    /// Notes what was asked. The ask is given its number.
    pub(super) fn asked(&self, ask: Ask) -> Ask {
        let mut records = self.log.records();
        let number = records.iter().filter(|record| record.ask.is_some()).count();
        let ask = Ask { number, ..ask };
        records[self.at].ask = Some(ask.clone());
        drop(records);
        self.log.changed.send_replace(());
        ask
    }

    pub(super) fn has_body(&self, body: Value) {
        self.log.records()[self.at].body = Some(body);
    }

    pub(super) fn costs(&self, usage: Usage) {
        self.log.records()[self.at].usage = Some(usage);
    }

    pub(super) fn ends(&mut self, end: End) {
        if std::mem::take(&mut self.is_open) {
            self.log.records()[self.at].end = end;
            self.log.changed.send_replace(());
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.ends(End::Left);
    }
}
