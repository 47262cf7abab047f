//! Telling a listener what a program prints.

use super::{
    Listener, Outcome, Update,
    process::Line,
    read::{End, Format, Reader},
};
use crate::failure::Failure;

/// How long a line may be. What is longer is one that nobody would want to keep.
pub(super) const LINE_MOST: usize = 64 << 20;

/// Reads what one turn prints, and tells it.
pub(super) struct Telling<'a> {
    reader: Reader,
    listener: &'a dyn Listener,
    /// The session that the listener knows of.
    noted: Option<String>,
}

impl<'a> Telling<'a> {
    /// Of a turn in a session whose id may be known.
    pub fn new(format: Format, listener: &'a dyn Listener, session: Option<&str>) -> Self {
        Self { reader: Reader::new(format), listener, noted: session.map(str::to_owned) }
    }

    /// Takes a line. The id of the session is noted before anything else is told.
    pub async fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let updates = match line {
            Line::Whole(line) => self.reader.line(line),
            Line::TooLong => vec![Update::Unknown { event: "a line that is too long".to_owned() }],
        };
        if let Some(session) = self.reader.session().filter(|id| self.noted.as_deref() != Some(id))
        {
            let session = session.to_owned();
            self.listener.session(&session).await?;
            self.noted = Some(session);
        }
        for update in updates {
            self.listener.tell(update).await;
        }
        Ok(())
    }

    /// Whether the event that ends the turn was read.
    pub fn is_at_end(&self) -> bool {
        self.reader.is_at_end()
    }

    /// Tells what is left, and says how the turn ended.
    pub async fn end(self, end: &End<'_>) -> Outcome {
        let (updates, outcome) = self.reader.end(end);
        for update in updates {
            self.listener.tell(update).await;
        }
        outcome
    }
}
