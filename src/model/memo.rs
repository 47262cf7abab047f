//! Work that was done before, and where its result is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::TaskId;

/// What a step's work is made of, as a hash: equal keys are the same work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemoKey([u8; 32]);

impl MemoKey {
    /// The key with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for MemoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MemoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoKey({self})")
    }
}

/// Where the result of work is: with the attempt that did it last. It goes with its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memo {
    /// The work.
    pub key: MemoKey,
    /// The task that completed it.
    pub task: TaskId,
    /// The lease of the attempt.
    pub lease: i64,
}

/// What an attempt that completed says of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recall {
    /// The work, to be remembered.
    pub key: MemoKey,
    /// The task whose output was taken, where the work was not done again.
    pub from: Option<TaskId>,
}
