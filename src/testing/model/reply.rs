//! What the model says.

use std::{ops::AddAssign, time::Duration};

use serde_json::Value;

/// One answer of the model, or the failure to give one.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub(super) parts: Vec<Part>,
    pub(super) refusal: Option<Refusal>,
    pub(super) is_never: bool,
    pub(super) usage: Option<Usage>,
    pub(super) pieces: usize,
    pub(super) before: Duration,
    pub(super) between: Duration,
    pub(super) cut: Option<usize>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A thought: reasoning that the user may see.
    Thinking(String),
    /// Words.
    Text(String),
    /// A call of a tool.
    Call {
        /// The tool's name.
        name: String,
        /// Its input.
        input: Value,
    },
}

/// An answer with an error's status.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub status: u16,
    pub message: String,
    pub body: Option<Value>,
    pub headers: Vec<(String, String)>,
    /// How long the client is to wait.
    pub wait: Option<Duration>,
}

/// Tokens of one answer. No token is counted twice: providers' own sums follow from these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Read, and not from a cache nor into one.
    pub input: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Read and written into the cache. Chat completions have no word for it and count it as read.
    pub cache_write: u64,
    /// Written, without thoughts.
    pub output: u64,
    /// Written as thoughts.
    pub reasoning: u64,
}

impl Usage {
    /// All that was read.
    pub const fn all_input(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }

    /// All that was written.
    pub const fn all_output(&self) -> u64 {
        self.output + self.reasoning
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }
}

impl Reply {
    /// Whether it calls a tool.
    pub(super) fn calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Call { .. }))
    }

    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().and_text(text)
    }

    /// A call of a tool.
    pub fn call(name: impl Into<String>, input: Value) -> Self {
        Self::default().and_call(name, input)
    }

    /// A thought. More should follow: an answer of thoughts alone is no answer to most agents.
    pub fn thinking(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::Thinking(text.into())], ..Self::default() }
    }

    /// With these words at its end.
    pub fn and_text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// With this call at its end.
    pub fn and_call(mut self, name: impl Into<String>, input: Value) -> Self {
        self.parts.push(Part::Call { name: name.into(), input });
        self
    }

    /// An error. Its body has the form of the protocol in which it was asked.
    pub fn error(status: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        let refusal = Refusal { status, message, body: None, headers: Vec::new(), wait: None };
        Self { refusal: Some(refusal), ..Self::default() }
    }

    /// A rate limit: status 429, with the headers by which providers say when it ends.
    pub fn limit(wait: Duration) -> Self {
        let mut reply = Self::error(429, format!("rate limit: try again in {wait:?}"));
        if let Some(refusal) = &mut reply.refusal {
            refusal.wait = Some(wait);
        }
        reply
    }

    /// No answer at all: the client waits until it gives up.
    pub fn never() -> Self {
        Self { is_never: true, ..Self::default() }
    }

    /// With this body instead of the protocol's own. For errors; other answers ignore it.
    pub fn with_body(mut self, body: Value) -> Self {
        if let Some(refusal) = &mut self.refusal {
            refusal.body = Some(body);
        }
        self
    }

    /// With one more header. For errors; other answers ignore it.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Some(refusal) = &mut self.refusal {
            refusal.headers.push((name.into(), value.into()));
        }
        self
    }

    /// Billed with these tokens instead of the script's.
    pub fn usage(self, usage: Usage) -> Self {
        Self { usage: Some(usage), ..self }
    }

    /// With each text, thought and input streamed in so many pieces (one, if not said).
    pub fn pieces(self, pieces: usize) -> Self {
        Self { pieces, ..self }
    }

    /// Begun after this time.
    pub fn after(self, before: Duration) -> Self {
        Self { before, ..self }
    }

    /// With this pause before each event of a stream but the first.
    pub fn every(self, between: Duration) -> Self {
        Self { between, ..self }
    }

    /// Broken off after so many events: the connection is closed in the middle of the body. An
    /// answer that is no stream breaks off after its headers.
    pub fn cut(self, after_events: usize) -> Self {
        Self { cut: Some(after_events), ..self }
    }
}
