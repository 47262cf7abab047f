//! A program in custody that speaks in lines.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{ChildStderr, ChildStdin},
    task::JoinHandle,
};

use super::{Custody, Ended, Mark, Output, Owned, Scratch, Spawn};
use crate::failure::Failure;

/// How much of what a program says of its errors is kept: the end of it.
const TAIL: usize = 64 << 10;

/// A program that was started in somebody's custody. It must be [finished](Self::finish); where it is
/// dropped instead it is killed, and what it has left is found at the next start.
#[derive(Debug)]
pub struct Program {
    owned: Owned,
    custody: Arc<dyn Custody>,
    input: Option<ChildStdin>,
    output: Option<Output>,
    errors: JoinHandle<Vec<u8>>,
    /// Goes with the program.
    _scratch: Option<Arc<Scratch>>,
}

/// What a program printed up to the end of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end. What is no UTF-8 is replaced.
    Whole(String),
    /// A line that is longer than was allowed. It was read to its end and is gone.
    TooLong,
}

/// How a program was finished.
#[derive(Debug)]
pub struct Finish {
    /// How it ended.
    pub ended: Ended,
    /// The end of what it said of its errors.
    pub errors: String,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// When that can't be written down, or it can't be started. Then nothing runs.
    pub async fn start(spawn: Spawn, custody: Arc<dyn Custody>) -> Result<Self, Failure> {
        let name = spawn.program.display().to_string();
        let (mark, scratch) = (custody.intend(&name).await?, spawn.scratch.clone());
        let mut owned = match spawn.start(mark).await {
            Ok(owned) => owned,
            Err(error) => {
                custody.ended(mark).await;
                return Err(Failure::fatal(format!("`{name}` can't be started: {error}")));
            }
        };
        let (input, output) = (owned.input(), owned.output());
        let errors = tokio::spawn(tail(owned.errors()));
        let program = Self { owned, custody, input, output, errors, _scratch: scratch };
        let noted = match program.owned.id() {
            Some(process) => program.custody.started(mark, process).await,
            // It has ended already, which is for the reader to find out.
            None => Ok(()),
        };
        match noted {
            Ok(()) => Ok(program),
            Err(failure) => {
                // What is left is found by its mark: its intent is written down.
                let _ = program.finish(Duration::ZERO).await;
                Err(failure)
            }
        }
    }

    /// Writes to its input.
    ///
    /// # Errors
    /// When it no longer reads.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(bytes).await?;
        input.flush().await
    }

    /// Closes its input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Its input, to be written to by another task: once.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Its output, by lines of at most `max` bytes: once.
    pub fn lines(&mut self, max: usize) -> Option<Lines> {
        self.output.take().map(|output| Lines::new(output, max))
    }

    /// The process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.owned.id()
    }

    /// Whether it has ended. What it has started may go on, and hold its output open.
    pub fn has_ended(&mut self) -> bool {
        self.owned.has_ended()
    }

    /// What it and all that it starts carry.
    pub fn mark(&self) -> Mark {
        self.owned.mark()
    }

    /// Waits until it has ended by itself. What it has started may go on. A call that is dropped
    /// loses nothing.
    pub async fn exited(&mut self) {
        // One that can't be waited for is found out by whoever ends it.
        let _ = self.owned.exited().await;
    }

    /// Waits until it has ended by itself, and then ends all that it left behind.
    ///
    /// # Errors
    /// When something can't be ended.
    pub async fn ended(mut self) -> Result<Finish, Failure> {
        self.input = None;
        let mark = self.owned.mark();
        let ended = self.owned.ended().await;
        Self::settle(ended, mark, &*self.custody, self.errors).await
    }

    /// Closes its input, asks it to end, and after `grace` ends it and all that it has started.
    ///
    /// # Errors
    /// When something can't be ended.
    pub async fn finish(mut self, grace: Duration) -> Result<Finish, Failure> {
        self.input = None;
        let mark = self.owned.mark();
        let ended = self.owned.end(grace).await;
        Self::settle(ended, mark, &*self.custody, self.errors).await
    }

    async fn settle(
        ended: io::Result<Ended>,
        mark: Mark,
        custody: &dyn Custody,
        errors: JoinHandle<Vec<u8>>,
    ) -> Result<Finish, Failure> {
        let ended = ended.map_err(Failure::new)?;
        custody.ended(mark).await;
        let errors = errors.await.unwrap_or_default();
        Ok(Finish { ended, errors: String::from_utf8_lossy(&errors).into_owned() })
    }
}

/// The lines of a program's output.
#[derive(Debug)]
pub struct Lines {
    output: BufReader<Output>,
    /// What was read of the line whose end has not come.
    begun: Vec<u8>,
    too_long: bool,
    max: usize,
}

impl Lines {
    /// Lines of at most `max` bytes.
    pub fn new(output: Output, max: usize) -> Self {
        Self { output: BufReader::new(output), begun: Vec::new(), too_long: false, max }
    }

    /// The next line; None at the end. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let filled = self.output.fill_buf().await?;
            if filled.is_empty() {
                let is_begun = self.too_long || !self.begun.is_empty();
                return Ok(is_begun.then(|| self.take()));
            }
            let end = filled.iter().position(|byte| *byte == b'\n');
            let part = &filled[..end.unwrap_or(filled.len())];
            self.too_long |= self.begun.len() + part.len() > self.max;
            if self.too_long {
                self.begun = Vec::new();
            } else {
                self.begun.extend_from_slice(part);
            }
            let read = part.len() + usize::from(end.is_some());
            self.output.consume(read);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Line {
        let mut line = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.too_long) {
            return Line::TooLong;
        }
        line.pop_if(|last| *last == b'\r');
        let line = String::from_utf8_lossy(&line).into_owned();
        Line::Whole(self.output.get_ref().plain(line))
    }
}

/// Reads errors to their end and keeps the last of them.
async fn tail(errors: Option<ChildStderr>) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    let Some(mut errors) = errors else {
        return kept;
    };
    while let Ok(count @ 1..) = errors.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 2 * TAIL {
            kept.drain(..kept.len() - TAIL);
        }
    }
    kept.drain(..kept.len().saturating_sub(TAIL));
    kept
}
