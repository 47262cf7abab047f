//! Where a turn is taken, and what is held to be true of it.

use crate::{agents::Turn, engine::Job, failure::Failure};
#[cfg(all(feature = "programs", target_os = "linux"))]
use crate::{
    agents::{Agent, Transport},
    id::RunId,
    model::Access,
    workspace::Pins,
};
#[cfg(all(feature = "programs", target_os = "linux"))]
use std::{path::PathBuf, sync::Arc};

#[cfg(all(feature = "programs", target_os = "linux"))]
use super::reading::Reading;

/// The folder of a turn while it is taken.
#[derive(Debug)]
pub(super) struct Place {
    #[cfg(all(feature = "programs", target_os = "linux"))]
    reading: Option<Reading>,
}

#[cfg(not(all(feature = "programs", target_os = "linux")))]
impl Place {
    pub async fn enter(
        _: &Job,
        _: &dyn crate::agents::Agent,
        _: &mut Turn,
    ) -> Result<Self, Failure> {
        Ok(Self {})
    }

    pub async fn leave(self, _: &Job, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(all(feature = "programs", target_os = "linux"))]
impl Place {
    /// Prepares the folder. A program that may only read is given a worktree that nobody else changes.
    ///
    /// # Errors
    /// When that can't be made. Then nothing is started.
    pub async fn enter(job: &Job, agent: &dyn Agent, turn: &mut Turn) -> Result<Self, Failure> {
        turn.custody = Some(Arc::clone(&job.core.programs) as _);
        let is_program = agent.profile().transport != Transport::Native;
        if turn.access != Access::ReadOnly || !is_program {
            return Ok(Self { reading: None });
        }
        let revision = revision(job).await?;
        let reading = Reading::begin(turn.folder.clone(), revision, Pins::new(worktrees(job)?));
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
                tracing::error!(agent, changes, task = %job.claimed.task.id, "it may only read");
                Err(Failure::fatal(format!("`{agent}` may only read, and yet {changes}")))
            }
        }
    }
}

/// The commit that is read: that of the run, where its base is one, else what is checked out.
#[cfg(all(feature = "programs", target_os = "linux"))]
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

/// Where worktrees are kept: a folder that outlives what is temporary.
#[cfg(all(feature = "programs", target_os = "linux"))]
fn worktrees(job: &Job) -> Result<PathBuf, Failure> {
    if let Some(folder) = &job.core.settings.worktrees {
        return Ok(folder.clone());
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let state = state.filter(|path| path.is_absolute()).or_else(home);
    let state = state.ok_or_else(|| {
        Failure::fatal("there is no folder for worktrees; say one with Builder::worktrees")
    })?;
    Ok(state.join("segue/worktrees"))
}
