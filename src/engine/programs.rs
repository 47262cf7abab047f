//! The programs that agents of this engine are: started in its name, and ended with it.

use std::sync::Mutex;

use async_trait::async_trait;
use uuid::Uuid;

use super::lock;
use crate::{
    agents::process::{Custody, Mark, Watcher},
    failure::Failure,
    id::InstanceId,
};

/// Answers for the programs of an engine.
///
/// Their marks carry the engine's instance, which the database has known since before the first of
/// them: whoever finds the instance dead finds its programs by it, and ends them before its tasks are
/// given to anybody. So no program needs a row of its own. Where the process dies, a watcher beside it
/// ends them at once.
#[derive(Debug)]
pub(super) struct Programs {
    owner: Uuid,
    /// Started with the first program.
    watcher: Mutex<Option<Watcher>>,
}

impl Programs {
    pub fn new(instance: InstanceId) -> Self {
        Self { owner: instance.as_uuid(), watcher: Mutex::default() }
    }
}

#[async_trait]
impl Custody for Programs {
    async fn intend(&self, program: &str) -> Result<Mark, Failure> {
        let mut watcher = lock(&self.watcher);
        if watcher.is_none() {
            let started = Watcher::start(self.owner).map_err(|error| {
                Failure::new(format!("`{program}` was not started: nobody could end it: {error}"))
            })?;
            *watcher = Some(started);
        }
        Ok(Mark::new(self.owner))
    }

    async fn started(&self, _: Mark, _: u32) -> Result<(), Failure> {
        Ok(())
    }

    async fn ended(&self, _: Mark) {}
}
