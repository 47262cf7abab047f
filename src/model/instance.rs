//! Engines in processes, and what they are told at each beat.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Cursor, Task};
use crate::{
    clock::Timestamp,
    id::{InstanceId, TaskId},
};

/// The machine and process that an instance lives in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The machine, and the process namespace in which `pid` means something.
    pub name: String,
    /// Which boot of it.
    pub boot: String,
    /// The process.
    pub pid: u32,
    /// When the process started, in the machine's own ticks: pids are used again.
    pub pid_start: u64,
}

/// An engine in a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id: new at each start.
    pub id: InstanceId,
    /// Where it lives.
    pub host: Host,
    /// A number that it raises every few seconds while it lives.
    pub beat: i64,
    /// What it can do: the needs of lanes that it may serve.
    pub serves: BTreeSet<String>,
    /// When it started.
    pub started_at: Timestamp,
}

/// Facts that an engine looks at now and then. They are not actions: the engine answers
/// them with commands.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Scheduled tasks whose time has come.
    pub ripe: Vec<Task>,
    /// When to look again for timers and parked keys, if there are any.
    pub next: Option<Timestamp>,
    /// Task rows that another program inserted.
    pub foreign: Vec<TaskId>,
    /// Running tasks of this instance.
    pub held: Vec<Task>,
    /// Every holder of running tasks, and its instance where it is known.
    pub holders: Vec<(InstanceId, Option<Instance>)>,
    /// Whether some lane has a task that could be claimed.
    pub ready: bool,
    /// The end of the stream of all entries.
    pub tail: Cursor,
}
