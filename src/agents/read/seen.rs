//! What was seen of a turn so far.

use crate::{
    agents::{ToolCall, Update},
    clock::Timestamp,
    model::Payload,
};

/// How many bytes of lines that are no events are kept: the last of them.
const JUNK: usize = 4 << 10;

/// What was seen of a turn so far, and what is to be told of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    updates: Vec<Update>,
    /// The agent's id of its session.
    pub session: Option<String>,
    /// The message that is being told, and what it says.
    message: Option<String>,
    text: String,
    /// How the turn ended, as the agent says.
    pub last: Option<Last>,
    /// When the provider takes requests again, as an event says.
    pub resets: Option<Timestamp>,
    /// What the agent said last of what went wrong.
    pub trouble: Option<String>,
    /// Whether what it told last was that it tries again.
    pub is_retrying: bool,
    /// How many events were read.
    pub events: usize,
    /// Whether the model was at work: it said something, or called a tool.
    pub has_worked: bool,
    /// Lines that were no events.
    pub junk: String,
}

/// How a turn ended, as the agent says.
#[derive(Debug)]
pub(super) enum Last {
    /// Well. The answer is what it said last, where it is not repeated here.
    Answered {
        text: Option<String>,
        output: Option<Payload>,
    },
    Refused(String),
    Limit(String),
    Failed(String),
}

impl Seen {
    pub fn take(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.updates)
    }

    pub fn tell(&mut self, update: Update) {
        self.has_worked |= matches!(update, Update::Tool(_));
        self.is_retrying = matches!(update, Update::Retrying { .. });
        self.updates.push(update);
    }

    pub fn unknown(&mut self, event: impl Into<String>) {
        self.tell(Update::Unknown { event: event.into() });
    }

    /// More of a message.
    pub fn text(&mut self, message: Option<&str>, more: &str) {
        if more.is_empty() {
            return;
        }
        self.has_worked = true;
        if self.message.as_deref() != message {
            self.message = message.map(str::to_owned);
            self.text.clear();
        }
        self.text.push_str(more);
        let (message, text) = (self.message.clone(), more.to_owned());
        self.tell(Update::Text { message, text });
    }

    pub fn thought(&mut self, more: &str) {
        if !more.is_empty() {
            self.tell(Update::Thought { text: more.to_owned() });
        }
    }

    pub fn tool(&mut self, call: ToolCall) {
        self.tell(Update::Tool(call));
    }

    /// What it said last.
    pub fn last_text(&self) -> &str {
        &self.text
    }

    pub fn session(&mut self, id: Option<&str>) {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.session = Some(id.to_owned());
        }
    }

    pub fn junk(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        self.junk.push_str(tail(line, JUNK));
        self.junk.push('\n');
        if self.junk.len() > JUNK {
            self.junk = tail(&self.junk, JUNK).to_owned();
        }
    }
}

/// The end of a text: at most so many bytes.
pub(super) fn tail(text: &str, most: usize) -> &str {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
