//! The worktrees that are pinned for agents that only read: where they are, and when they go.

use std::path::PathBuf;

use super::{Core, Settings};
use crate::{
    error::{Error, Result},
    workspace::Pins,
};

/// The worktrees of this host's user: in a folder that outlives what is temporary. None where there
/// is no such folder.
pub(super) fn pins(settings: &Settings) -> Option<Pins> {
    if let Some(folder) = &settings.worktrees {
        return Some(Pins::new(folder));
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let state = state.filter(|path| path.is_absolute()).or_else(home)?;
    Some(Pins::new(state.join("segue/worktrees")))
}

/// Takes away the worktrees that nobody reads any more: that were not read for too long, or that a
/// process has left half made. Those of living processes are locked. How many went.
///
/// # Errors
/// When the folder of the worktrees can't be read.
pub(super) async fn reap(core: &Core) -> Result<u64> {
    let Some(pins) = pins(&core.settings) else {
        return Ok(0);
    };
    let unused = core.settings.keep_worktrees;
    let reaped = tokio::task::spawn_blocking(move || pins.reap(unused)).await;
    let gone = reaped.map_err(|_| Error::closed())?;
    let gone = gone.map_err(|error| Error::usage(format!("the folder of worktrees: {error}")))?;
    for path in &gone {
        tracing::info!(path = %path.display(), "a worktree that nobody reads was taken away");
    }
    Ok(gone.len() as u64)
}
