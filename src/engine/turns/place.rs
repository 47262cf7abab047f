//! Where a turn is taken, and what is held to be true of it.

use std::sync::Arc;

use super::reading::Reading;
use crate::{
    agents::{Agent, Transport, Turn},
    engine::{Job, hosts, inventory, pinned, programs::Ours},
    failure::Failure,
    id::RunId,
    model::{Access, AvailableAgent, Command},
    workspace::Pins,
};

/// The folder of a turn while it is taken.
#[derive(Debug)]
pub(super) struct Place {
    reading: Option<Reading>,
}

impl Place {
    /// Prepares the folder. A program that may only read is given a worktree that nobody else changes.
    ///
    /// # Errors
    /// When that can't be made. Then nothing is started.
    pub async fn enter(
        job: &Job,
        name: &str,
        agent: &dyn Agent,
        turn: &mut Turn,
    ) -> Result<Self, Failure> {
        let ours = Ours::new(&job.core, name, Some(turn.chat));
        turn.custody = Some(Arc::new(ours) as _);
        if agent.profile().transport == Transport::Native {
            return Ok(Self { reading: None });
        }
        refuse_quarantined(job, name).await?;
        if turn.access != Access::ReadOnly {
            return Ok(Self { reading: None });
        }
        inventory::refuse_unproven(&job.core, name, agent).await?;
        let revision = revision(job).await?;
        let reading = Reading::begin(turn.folder.clone(), revision, worktrees(job)?);
        let reading = reading.await?;
        turn.folder = reading.folder().to_owned();
        Ok(Self { reading: Some(reading) })
    }

    /// Looks at what became of the folder.
    ///
    /// # Errors
    /// When something was changed that may only be read.
    pub async fn leave(self, job: &Job, agent: &str) -> Result<(), Failure> {
        let Some(reading) = self.reading else {
            return Ok(());
        };
        match reading.end().await? {
            None => Ok(()),
            Some(changes) => {
                let message = format!("`{agent}` may only read, and yet {changes}");
                tracing::error!(agent, changes, task = %job.claimed.task.id, "it may only read");
                quarantine(job, agent, &message).await?;
                Err(Failure::fatal(message))
            }
        }
    }
}

/// An agent that has changed what it may only read is used no more, until someone allows it again.
async fn quarantine(job: &Job, agent: &str, reason: &str) -> Result<(), Failure> {
    let (host, name) = (hosts::here().name, agent.to_owned());
    let known = inventory::known(&job.core, agent).await?;
    let version = known.and_then(|known| known.version);
    let reason = match version {
        Some(version) => format!("{reason} (version {version})"),
        None => reason.to_owned(),
    };
    let reason = Some(reason);
    let forbid = Command::Quarantine { host: host.clone(), name: name.clone(), reason };
    match job.core.submit(forbid.clone()).await {
        Err(error) if error.is_not_found() => {
            let unknown = AvailableAgent::unknown(host, name);
            job.core.submit(Command::PutAgent(Box::new(unknown))).await?;
            job.core.submit(forbid).await?;
        }
        done => drop(done?),
    }
    Ok(())
}

async fn refuse_quarantined(job: &Job, agent: &str) -> Result<(), Failure> {
    let known = inventory::known(&job.core, agent).await?;
    match known.and_then(|known| known.quarantined) {
        None => Ok(()),
        Some(quarantine) => Err(Failure::fatal(format!(
            "`{agent}` is in quarantine on this host since {}: {}",
            quarantine.at, quarantine.reason
        ))),
    }
}

/// The commit that is read: that of the run, where its base is one, else what is checked out.
async fn revision(job: &Job) -> Result<String, Failure> {
    let run: Option<RunId> = job.claimed.task.step.map(|(run, _)| run);
    let base = match run {
        Some(run) => job.core.run_spec(run).await?.base.clone(),
        None => None,
    };
    let is_commit = |base: &String| {
        matches!(base.len(), 40 | 64) && base.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    Ok(base.filter(is_commit).unwrap_or_else(|| "HEAD".into()))
}

fn worktrees(job: &Job) -> Result<Pins, Failure> {
    pinned::pins(&job.core.settings).ok_or_else(|| {
        Failure::fatal("there is no folder for worktrees; say one with Builder::worktrees")
    })
}
