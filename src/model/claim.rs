//! Claiming: the one rule that backends write in SQL. It is written here too, over plain
//! rows, for backends without SQL and for comparison.

use std::collections::{BTreeMap, BTreeSet};

use super::{Phase, Rows, Task, TaskSpec};
use crate::{
    clock::Timestamp,
    id::{InstanceId, TaskId},
};

/// A worker's wish for tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who asks.
    pub instance: InstanceId,
    /// The number of this claim, counted by the instance from 1. A claim that is sent again
    /// carries the same number and is answered with the same tasks.
    pub seq: i64,
    /// How many at most.
    pub limit: u32,
    /// What the worker can do.
    pub serves: std::sync::Arc<BTreeSet<String>>,
    /// Whether it may have been sent before.
    pub again: bool,
}

/// A task that was claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// Its hot row, as the claim left it.
    pub task: Task,
    /// What was asked for.
    pub spec: TaskSpec,
}

/// The tasks that `claim` takes from `rows` at `now`: ready, of a lane that it may serve,
/// of no parked key, with a free slot of each capacity key, by priority and then by id: by age, where the steps of a run count as
/// younger one by one ([`TaskId::of_step`](crate::id::TaskId::of_step)).
pub fn choose(rows: &Rows, claim: &Claim, now: Timestamp) -> Vec<TaskId> {
    let mut free = free_slots(rows);
    let mut ready: Vec<&Task> =
        rows.tasks.values().filter(|task| task.phase == Phase::Ready).collect();
    ready.sort_by_key(|task| (task.priority, task.id));
    let mut chosen = Vec::new();
    for task in ready {
        let Some(lane) = rows.lanes.get(&task.lane) else {
            continue;
        };
        let open = |key: &String| {
            free.get(key).is_none_or(|slots| *slots > 0)
                && rows.capacity.get(key).is_none_or(|key| key.parked_until <= now)
        };
        if chosen.len() == claim.limit as usize
            || !lane.served_by(&claim.serves)
            || !lane.keys.iter().all(open)
        {
            continue;
        }
        for key in &lane.keys {
            free.entry(key.clone()).and_modify(|slots| *slots -= 1);
        }
        chosen.push(task.id);
    }
    chosen
}

/// For each limited key, how many of its slots are free.
fn free_slots(rows: &Rows) -> BTreeMap<String, u32> {
    let held = |key: &str| {
        rows.slots.values().filter(|slot| slot.key == key && slot.held.is_some()).count() as u32
    };
    rows.capacity
        .values()
        .filter_map(|key| Some((key.name.clone(), key.slots?.saturating_sub(held(&key.name)))))
        .collect()
}

impl Task {
    /// The row after `claim` took it: the only change of state that is not planned.
    pub fn claimed(&self, claim: &Claim, now: Timestamp) -> Self {
        Self {
            phase: Phase::Running,
            attempt: self.attempt + 1,
            lease: self.lease + 1,
            rev: self.rev + 1,
            holder: Some(claim.instance),
            claim: claim.seq,
            started_at: now,
            ..self.clone()
        }
    }
}
