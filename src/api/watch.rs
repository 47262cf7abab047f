//! Following what happens.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    engine::Core,
    error::{Error, Result},
    model::{Cursor, Entry, Stream},
};

/// How many entries are read at once.
const PAGE: u32 = 256;

/// Follows a run, a chat, or everything, entry by entry. Keep an entry's
/// [`cursor`](Entry::cursor) to continue after it later, also in another process.
#[derive(Debug)]
pub struct Watch {
    core: Arc<Core>,
    stream: Stream,
    after: Cursor,
    read: VecDeque<Entry>,
    changes: tokio::sync::watch::Receiver<u64>,
}

impl Watch {
    pub(crate) fn new(core: Arc<Core>, stream: Stream) -> Self {
        let changes = core.watch_changes();
        Self { core, stream, after: Cursor::START, read: VecDeque::new(), changes }
    }

    /// Continues after an entry that was seen before. Without it everything that is still
    /// kept is told from the start.
    #[must_use]
    pub fn since(self, cursor: Cursor) -> Self {
        Self { after: cursor, read: VecDeque::new(), ..self }
    }

    /// The next entry, waiting for it if there is none yet. It can be dropped and called
    /// again without missing anything.
    ///
    /// # Errors
    /// [An expired cursor](Error::is_cursor_expired) when what follows it was pruned,
    /// [closed](Error::is_closed) when the engine shuts down, or why it had to stop.
    pub async fn next(&mut self) -> Result<Entry> {
        loop {
            if let Some(entry) = self.try_next().await? {
                return Ok(entry);
            }
            tokio::select! {
                changed = self.changes.changed() => changed.map_err(|_| Error::closed())?,
                () = self.core.stopped.cancelled() => return Err(self.core.ended()),
            }
        }
    }

    /// The next entry, if there is one by now.
    ///
    /// # Errors
    /// [An expired cursor](Error::is_cursor_expired) when what follows it was pruned.
    pub async fn try_next(&mut self) -> Result<Option<Entry>> {
        if self.read.is_empty() {
            self.changes.mark_unchanged();
            self.read = self.core.backend.tail(self.stream, self.after, PAGE).await?.into();
        }
        let entry = self.read.pop_front();
        self.after = entry.as_ref().map_or(self.after, |entry| entry.cursor);
        Ok(entry)
    }
}
