//! What decides whether a worker may take a task.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{clock::Timestamp, id::TaskId};

/// A lane's number: a hash of what makes the lane, so that any process finds it without
/// asking.
pub type LaneId = i64;

/// Tasks with the same needs and the same capacity keys wait in one lane. A worker reads
/// the head of each lane that it may serve, so a full lane hides nothing behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Its number.
    pub id: LaneId,
    /// What a worker must have: `task:NAME`, `agent:NAME`, `flow:NAME@VERSION#FINGERPRINT`, `tag:NAME`.
    pub needs: Vec<String>,
    /// The capacity keys that each of its tasks holds while it runs.
    pub keys: Vec<String>,
}

impl Lane {
    /// The lane of tasks with these needs and capacity keys, in any order.
    pub fn new(mut needs: Vec<String>, mut keys: Vec<String>) -> Self {
        for list in [&mut needs, &mut keys] {
            list.sort_unstable();
            list.dedup();
        }
        let name = serde_json::json!([needs, keys]).to_string();
        let (high, _) = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_u64_pair();
        Self { id: (high >> 1) as LaneId, needs, keys }
    }

    /// Whether a worker that has all of `serves` may take its tasks.
    pub fn served_by(&self, serves: &std::collections::BTreeSet<String>) -> bool {
        self.needs.iter().all(|need| serves.contains(need))
    }
}

/// A capacity key: how many tasks that carry it may run at once, on all hosts together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityKey {
    /// Its name, such as `agent:claude` or `model:x`.
    pub name: String,
    /// How many tasks may hold it. None: any number, the key is only for parking.
    pub slots: Option<u32>,
    /// No task that carries it starts before this time.
    pub parked_until: Timestamp,
}

/// One place under a capacity key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The capacity key.
    pub key: String,
    /// Its number, from 0.
    pub n: u32,
    /// The task and lease that hold it.
    pub held: Option<(TaskId, i64)>,
}
