//! A request to the model, whatever protocol it came in.

use serde_json::Value;

/// The protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Anthropic's `/v1/messages`.
    Messages,
    /// OpenAI's `/v1/chat/completions`.
    Completions,
    /// OpenAI's `/v1/responses`.
    Responses,
}

/// What a client asks the model.
#[derive(Clone, Debug)]
pub struct Ask {
    /// How it was asked.
    pub protocol: Protocol,
    /// The name of the model.
    pub model: String,
    /// Whether the answer is to come as a stream of events.
    pub stream: bool,
    /// The names of the tools that the model may call.
    pub tools: Vec<String>,
    /// The conversation, oldest first.
    pub entries: Vec<Entry>,
    /// How many requests for an answer the server had before this one.
    pub number: usize,
    /// Whether a stream of completions is to end with the usage.
    pub(super) tells_usage: bool,
}

/// One thing that was said in a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// Instructions to the model.
    System(String),
    /// What the user said, or the agent in the user's name.
    User(String),
    /// What the model said.
    Model(String),
    /// A tool that the model called.
    Call {
        /// The id that its result has as well.
        id: String,
        /// The tool.
        name: String,
        /// Its input. A string where it is not JSON.
        input: Value,
    },
    /// What a tool answered.
    Result(ToolResult),
    /// A text that came along with the results of tools.
    Note(String),
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// The answer. Parts that are no text are left as JSON.
    pub text: String,
    /// Whether the client says that it failed. Only Anthropic's protocol can say so.
    pub is_error: bool,
}

impl Ask {
    /// The last thing that the user said: all texts since the model spoke last, without those
    /// that came with a tool's result and those that an agent marks as its own reminders.
    pub fn prompt(&self) -> String {
        let (from, to) = self.bounds_of_prompt();
        let texts = self.entries[from..to].iter().filter_map(Entry::user).map(without_reminders);
        let texts: Vec<_> = texts.filter(|text| !text.trim().is_empty()).collect();
        texts.join("\n")
    }

    /// What tools answered since the user spoke last, oldest first.
    pub fn results(&self) -> Vec<&ToolResult> {
        let (_, from) = self.bounds_of_prompt();
        let results = self.entries[from..].iter().filter_map(|entry| match entry {
            Entry::Result(result) => Some(result),
            _ => None,
        });
        results.collect()
    }

    /// Where the last thing that the user said begins and ends.
    fn bounds_of_prompt(&self) -> (usize, usize) {
        let said = |entry: &Entry| {
            entry.user().is_some_and(|text| !without_reminders(text).trim().is_empty())
        };
        let to = self.entries.iter().rposition(said).map_or(0, |last| last + 1);
        let of_model = |entry: &Entry| !matches!(entry, Entry::User(_) | Entry::System(_));
        let from = self.entries[..to].iter().rposition(of_model).map_or(0, |last| last + 1);
        (from, to)
    }
}

impl Entry {
    fn user(&self) -> Option<&str> {
        match self {
            Self::User(text) => Some(text),
            _ => None,
        }
    }
}

/// A text without what stands in `<system-reminder>`.
pub(super) fn without_reminders(text: &str) -> String {
    const START: &str = "<system-reminder>";
    const END: &str = "</system-reminder>";
    let (mut left, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(START) {
        left.push_str(before);
        rest = after.split_once(END).map_or("", |(_, rest)| rest);
    }
    left + rest
}
