//! Identifiers: UUID version 7, ordered by the time they were made.
//!
//! The caller makes the id of whatever it creates, so a command can be sent twice and
//! still create one row.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id. Ids made later sort later.
            #[allow(clippy::new_without_default, reason = "a fresh id is not a default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// A task: one unit of work.
    TaskId,
    /// A run of a flow.
    RunId,
    /// A workspace conversation of a project.
    SessionId,
    /// A tab of a session: the unit of context.
    ChatId,
    /// A message of a chat.
    MessageId,
    /// Something that waits for a person.
    ItemId,
    /// Tasks that compete on the same input.
    ArenaId,
    /// An engine in a process.
    InstanceId,
    /// An agent's turn in a chat.
    TurnId,
    /// An agent's session of its own in a chat.
    AgentSessionId,
    /// A program that an engine has started, with all that this starts.
    ProcessId,
}

/// How much younger than the step before it a step of a run counts as, in milliseconds. A run of
/// 10,000 steps that could all start takes turns with what is made in the hours after it.
const TURN_MS: u64 = 1_000;

impl TaskId {
    /// The task of step `no` in an attempt (from 1) of a run: derived, so that the rules need
    /// no randomness. Its time is that of the run and a second more for each step before it:
    /// tasks are taken in the order of their ids, so that a run of many steps takes turns with
    /// those that were launched since.
    pub fn of_step(run: RunId, no: u32, attempt: u32) -> Self {
        let own = u64::from(attempt.saturating_sub(1)) << 32 | (u64::from(no) + 1);
        let (high, low) = offset(run.0, own).as_u64_pair();
        // The first 48 bits are milliseconds.
        let later = (u64::from(no) * TURN_MS) << 16;
        Self(Uuid::from_u64_pair(high.wrapping_add(later), low))
    }
}

impl TaskId {
    /// The number of the step and the attempt of `run` that this is the task of, if it is.
    pub fn step_of(self, run: RunId) -> Option<(u32, u32)> {
        let (_, low) = self.0.as_u64_pair();
        let (_, from) = run.0.as_u64_pair();
        let by = low.wrapping_sub(from) & ((1 << 62) - 1);
        let no = (by as u32).checked_sub(1)?;
        let attempt = u32::try_from(by >> 32).ok()?.checked_add(1)?;
        (Self::of_step(run, no, attempt) == self).then_some((no, attempt))
    }
}

impl RunId {
    /// The run that the task of a step of `run` waits for. It is as old as that.
    pub fn under(run: Self, task: TaskId) -> Self {
        let (high, _) = run.0.as_u64_pair();
        // A hash: sums of steps' numbers would be the same for different ways down.
        let (_, low) = Uuid::new_v5(&task.0, b"run").as_u64_pair();
        Self(Uuid::from_u64_pair(high, low))
    }
}

impl ChatId {
    /// The chat of an agent's task that was made outside any chat.
    pub fn of_task(task: TaskId) -> Self {
        Self(task.0)
    }
}

impl MessageId {
    /// The message that tells the agent of a task what to do.
    pub fn of_prompt(task: TaskId) -> Self {
        Self(task.0)
    }

    /// The copy of this message in a chat that is forked from its own. It is as old.
    pub fn in_fork(self, chat: ChatId) -> Self {
        let (high, _) = self.0.as_u64_pair();
        let (_, low) = Uuid::new_v5(&chat.0, self.0.as_bytes()).as_u64_pair();
        Self(Uuid::from_u64_pair(high, low))
    }

    /// The message that tells the agent of a task, in short, what was said before.
    pub fn of_summary(task: TaskId) -> Self {
        Self(Uuid::new_v5(&task.0, b"summary"))
    }
}

impl ItemId {
    /// The item that the failed attempt `lease` of a task leaves for a person.
    pub fn of_failure(task: TaskId, lease: i64) -> Self {
        Self(offset(task.0, (lease as u64) << 40))
    }

    /// The item that asks, for the n-th time, for more of a budget on behalf of a task.
    pub fn of_budget(task: TaskId, times: u32) -> Self {
        Self(offset(task.0, 1 << 60 | u64::from(times) << 40))
    }

    /// The item that asks what becomes of the interrupted attempt `lease` of a task. When
    /// the answer lets the task fail, both items exist.
    pub fn of_interruption(task: TaskId, lease: i64) -> Self {
        Self(offset(task.0, (lease as u64) << 40 | 1 << 39))
    }
}

impl TurnId {
    /// The turn that is taken in the attempt `lease` of a task.
    pub fn of(task: TaskId, lease: i64) -> Self {
        Self(offset(task.0, (lease as u64) << 40))
    }
}

/// `id` with `by` added to its 62 random low bits.
fn offset(id: Uuid, by: u64) -> Uuid {
    const LOW: u64 = (1 << 62) - 1;
    let (high, low) = id.as_u64_pair();
    Uuid::from_u64_pair(high, (low & !LOW) | (low.wrapping_add(by) & LOW))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn runs_under_runs_and_their_tasks_have_ids_of_their_own() {
        let mut runs = vec![RunId::new()];
        let (mut known, mut tasks) = (BTreeSet::from([runs[0]]), BTreeSet::new());
        for _ in 0..4 {
            let mut below = Vec::new();
            for run in runs {
                for no in 0..5 {
                    let task = TaskId::of_step(run, no, 1);
                    assert!(tasks.insert(task), "two steps have one task");
                    assert_eq!(task.step_of(run), Some((no, 1)));
                    below.push(RunId::under(run, task));
                }
            }
            assert!(below.iter().all(|run| known.insert(*run)), "two steps have one run");
            runs = below;
        }
    }
}
