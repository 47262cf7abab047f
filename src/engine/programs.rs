//! The programs that agents of this engine are: written down before they start, and ended with it.

use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Core, hosts, lock};
use crate::{
    agents::process::{Custody, Mark, Watcher, sweep_owner},
    clock::Timestamp,
    error::{Error, Result},
    failure::Failure,
    id::{ChatId, InstanceId, ProcessId},
    model::{Command, Page, Process, Query},
};

/// What ends the programs of this engine where its process dies: a process beside it, which is started
/// with the first of them.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<Option<Watcher>>);

impl Guard {
    fn begin(&self, owner: Uuid) -> std::io::Result<()> {
        let mut watcher = lock(&self.0);
        if watcher.is_none() {
            *watcher = Some(Watcher::start(owner)?);
        }
        Ok(())
    }
}

/// Answers for the programs of an agent in a chat.
#[derive(Debug)]
pub(super) struct Ours {
    /// Not the engine itself: what is kept warm must not keep it.
    core: Weak<Core>,
    instance: InstanceId,
    agent: String,
    /// None: it is only looked at.
    chat: Option<ChatId>,
}

impl Ours {
    pub fn new(core: &Arc<Core>, agent: &str, chat: Option<ChatId>) -> Self {
        let instance = core.instance;
        Self { core: Arc::downgrade(core), instance, agent: agent.to_owned(), chat }
    }

    async fn submit(&self, command: Command) -> Result<()> {
        match self.core.upgrade() {
            Some(core) => core.submit(command).await.map(drop),
            None => Err(Error::closed()),
        }
    }
}

fn id(mark: Mark) -> ProcessId {
    mark.turn().into()
}

#[async_trait]
impl Custody for Ours {
    async fn intend(&self, program: &str) -> Result<Mark, Failure> {
        let core = self.core.upgrade().ok_or_else(Error::closed)?;
        let owner = self.instance.as_uuid();
        core.guard.begin(owner).map_err(|error| {
            Failure::new(format!("`{program}` was not started: nobody could end it: {error}"))
        })?;
        let (mark, here) = (Mark::new(owner), hosts::here());
        let process = Process {
            id: id(mark),
            instance: self.instance,
            host: here.name,
            boot: here.boot,
            program: program.to_owned(),
            agent: Some(self.agent.clone()),
            chat: self.chat,
            started: None,
            at: Timestamp::ZERO,
        };
        core.submit(Command::Intend(Box::new(process))).await?;
        Ok(mark)
    }

    async fn started(&self, mark: Mark, pid: u32) -> Result<(), Failure> {
        let pid_start = hosts::started(pid).unwrap_or_default();
        Ok(self.submit(Command::Started { id: id(mark), pid, pid_start }).await?)
    }

    async fn ended(&self, mark: Mark) {
        if let Err(error) = self.submit(Command::Ended(id(mark))).await {
            // Whoever starts next on this host finds that nothing is left of it.
            tracing::warn!(%error, "the end of a program could not be written down");
        }
    }
}

/// Ends what is left of engines of this host that are gone. How many programs were written down.
///
/// # Errors
/// When the database is away, or something can't be ended.
pub(super) async fn sweep_orphans(core: &Core) -> Result<u64> {
    let host = hosts::here().name;
    let mut swept = 0;
    loop {
        let query = Query::Orphans { host: host.clone(), after: None, limit: 100 };
        let Page::Orphans(orphans) = core.backend.list(&query).await? else {
            return Err(Error::database("a list of programs was answered with another"));
        };
        if orphans.is_empty() {
            return Ok(swept);
        }
        for orphan in orphans {
            sweep(orphan.instance).await?;
            core.submit(Command::Ended(orphan.id)).await?;
            swept += 1;
        }
    }
}

/// Ends all programs of an engine that is gone.
pub(super) async fn sweep(instance: InstanceId) -> Result<()> {
    let swept = sweep_owner(instance.as_uuid()).await;
    swept.map(drop).map_err(|left| {
        Error::usage(format!("what an engine that is gone has started can't be ended: {left}"))
    })
}
