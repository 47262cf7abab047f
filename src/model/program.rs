//! Programs that engines have started: so that whoever comes after a crash can end them.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{ChatId, InstanceId, ProcessId},
};

/// A program that is about to be started, or was. The row goes when nothing of it is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id: the part of its mark that no other has.
    pub id: ProcessId,
    /// The engine that starts it: the part of the mark that all of its programs have.
    pub instance: InstanceId,
    /// The host.
    pub host: String,
    /// Which boot of it.
    pub boot: String,
    /// What is started.
    pub program: String,
    /// The agent that it is.
    pub agent: Option<String>,
    /// The chat that it is started for.
    pub chat: Option<ChatId>,
    /// The process, and the tick at which it started. None as long as it is not known to run.
    pub started: Option<(u32, u64)>,
    /// When it was to be started.
    pub at: Timestamp,
}
