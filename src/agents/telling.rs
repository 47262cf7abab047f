//! Telling a listener what a program prints.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Listener, Outcome, Update,
    process::{Finish, Line, Lines, Program},
    read::{End, Format, Reader},
};
use crate::failure::Failure;

/// How long a line may be. What is longer is one that nobody would want to keep.
pub(super) const LINE_MOST: usize = 64 << 20;

/// How long a program may take to end by itself when it has said all, and its output to end when it
/// has.
pub(super) const LINGER: Duration = Duration::from_secs(10);

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

    /// Ends what a program that has ended by itself has left, and tells what it said last.
    pub async fn ended(&mut self, program: Program, lines: &mut Lines) -> Result<Finish, Failure> {
        self.rest(program.ended(), lines).await
    }

    /// Ends a program, and tells what it says while it ends.
    pub async fn finish(
        &mut self,
        program: Program,
        lines: &mut Lines,
        grace: Duration,
    ) -> Result<Finish, Failure> {
        self.rest(program.finish(grace), lines).await
    }

    async fn rest(
        &mut self,
        ending: impl Future<Output = Result<Finish, Failure>>,
        lines: &mut Lines,
    ) -> Result<Finish, Failure> {
        let rest = async {
            while let Ok(Some(line)) = lines.next().await {
                self.line(&line).await?;
            }
            Ok(())
        };
        // Its output ends with the last process that has it.
        let (finish, rest) = tokio::join!(ending, timeout(LINGER, rest));
        rest.unwrap_or(Ok::<(), Failure>(()))?;
        finish
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
