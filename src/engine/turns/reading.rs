//! Turns that may only read: where they read, and whether that is all they did.

use std::path::{Path, PathBuf};

use crate::{
    failure::Failure,
    workspace::{Change, Changed, Pin, Pins, Receipt},
};

/// How many changes are named.
const NAMED: usize = 10;

/// A turn that may only read, while it is taken.
#[derive(Debug)]
pub(super) struct Reading {
    /// The worktree that it reads, where the folder is in a repository.
    pin: Option<Pin>,
    folder: PathBuf,
    before: Receipt,
}

impl Reading {
    /// Prepares what is read of a folder: in a repository, a worktree of a commit, which nobody
    /// else changes; otherwise the folder itself.
    ///
    /// # Errors
    /// When the worktree can't be made, or something in it can't be looked at. Then nothing is started.
    pub async fn begin(folder: PathBuf, revision: String, pins: Pins) -> Result<Self, Failure> {
        let begin = move || {
            let Some(within) = Pins::within(&folder)? else {
                let before = Receipt::take(&folder)?;
                return Ok(Self { pin: None, folder, before });
            };
            let pin = pins.pin(&folder, &revision)?;
            let before = Receipt::take(pin.path())?;
            let folder = pin.path().join(within);
            Ok(Self { pin: Some(pin), folder, before })
        };
        blocking(begin).await
    }

    /// The folder that is read.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks again, when nothing of the turn is at work any more. What was changed, where something was
    /// that only the reader can have done; the worktree is then kept as it is.
    ///
    /// # Errors
    /// When something can't be looked at.
    pub async fn end(self) -> Result<Option<String>, Failure> {
        let end = move || {
            let root = self.pin.as_ref().map_or(&*self.folder, Pin::path);
            let changes = self.before.changes(&Receipt::take(root)?);
            // A folder that is no worktree of ours is changed by its user as well.
            let is_ours = |change: &Change| self.pin.is_some() || change.what == Changed::Mode;
            let own: Vec<_> = changes.own.into_iter().filter(is_ours).collect();
            if own.is_empty() {
                return Ok(None);
            }
            let mut words: Vec<_> = own.iter().take(NAMED).map(Change::to_string).collect();
            if own.len() > NAMED {
                words.push(format!("and {} more", own.len() - NAMED));
            }
            let words = words.join(", ");
            if let Some(pin) = &self.pin {
                pin.keep(&words)?;
            }
            Ok(Some(words))
        };
        blocking(end).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await.map_err(Failure::fatal)?;
    done.map_err(|error| Failure::new(format!("the folder to be read: {error}")))
}
