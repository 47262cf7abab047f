//! Readers of what agents' programs print: events in, updates out, and at the end an outcome.
//!
//! A [`Reader`] is given line by line what one turn prints, and yields what is to be told of it.
//! At the [end](Reader::end) it is told how the program ended, and says how the turn did. It knows
//! no program and reads no clock, so that a recorded turn is read like a live one.
//!
//! Lines that are no JSON, events that nobody knows, fields in any order and a last line that is
//! cut off are all expected. What is not taken for granted is the end: without the event that ends
//! a turn, no turn is complete.

mod claude;
mod codex;
mod end;
mod gemini;
mod opencode;
mod seen;
mod tools;
mod usage;

use std::fmt;

use serde_json::Value;

pub use self::end::{End, Exit};
#[cfg(all(feature = "claude", target_os = "linux"))]
pub(super) use self::tools::called;
use self::{
    claude::Claude,
    codex::Codex,
    gemini::Gemini,
    opencode::Opencode,
    seen::{Last, Seen},
};
use super::{Outcome, Update};

/// Which events a program prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Claude Code's `stream-json`.
    Claude,
    /// Qwen Code's `stream-json`: like Claude's, but for what is counted as read.
    Qwen,
    /// What `codex exec --json` prints.
    Codex,
    /// What `opencode run --format json` prints.
    Opencode,
    /// Gemini CLI's `stream-json`.
    Gemini,
}

/// Reads the events of one turn.
#[derive(Debug)]
pub struct Reader {
    events: Box<dyn Events>,
    seen: Seen,
}

/// The events of one format.
trait Events: fmt::Debug + Send {
    /// Takes an event: an object.
    fn event(&mut self, event: &Value, seen: &mut Seen);

    /// Takes the end of the program. Formats without an event that ends a turn judge here.
    fn end(&mut self, _: &End<'_>, _: &mut Seen) {}
}

impl Reader {
    /// Of one turn, of which nothing was read.
    pub fn new(format: Format) -> Self {
        let events: Box<dyn Events> = match format {
            Format::Claude => Box::new(Claude::new(&claude::CLAUDE)),
            Format::Qwen => Box::new(Claude::new(&claude::QWEN)),
            Format::Codex => Box::<Codex>::default(),
            Format::Opencode => Box::<Opencode>::default(),
            Format::Gemini => Box::<Gemini>::default(),
        };
        Self { events, seen: Seen::default() }
    }

    /// What a line tells. What is no event tells nothing, and is kept in case that nothing else
    /// says why the program has failed.
    pub fn line(&mut self, line: &str) -> Vec<Update> {
        match serde_json::from_str(line) {
            Ok(event @ Value::Object(_)) => self.event(&event),
            _ => {
                self.seen.junk(line);
                Vec::new()
            }
        }
    }

    /// What an event tells.
    pub fn event(&mut self, event: &Value) -> Vec<Update> {
        self.seen.events += 1;
        self.events.event(event, &mut self.seen);
        self.seen.take()
    }

    /// The agent's own id of its session, once it has said it.
    pub fn session(&self) -> Option<&str> {
        self.seen.session.as_deref()
    }

    /// Whether the event that ends the turn was read.
    pub fn is_at_end(&self) -> bool {
        self.seen.last.is_some()
    }

    /// What is still to be told, and how the turn ended.
    pub fn end(mut self, end: &End<'_>) -> (Vec<Update>, Outcome) {
        self.events.end(end, &mut self.seen);
        (self.seen.take(), end::outcome(self.seen, end))
    }
}
