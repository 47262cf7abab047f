//! What the events of a session say.
//! Invariant: nothing here performs I/O, and no field that is missing or odd is an error.

use serde_json::{Value, json};

use crate::{
    agents::{Location, ToolCall, ToolKind, ToolStatus, Update},
    model::{Metering, Payload, Tokens, UsageReport},
};

/// The events of a stream: `data:` lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    pub fn push(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
    }

    /// The next event that has come whole.
    pub fn next(&mut self) -> Option<Value> {
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            let data = line.strip_prefix(b"data:").unwrap_or_default();
            if let Ok(event) = serde_json::from_slice(data) {
                return Some(event);
            }
        }
        None
    }
}

/// What is known of the answer to a prompt.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The prompt's own id.
    prompt: String,
    /// The number of the last event that was taken.
    pub seq: u64,
    /// Whether the prompt's own events have begun.
    has_begun: bool,
    /// Whether the model was asked.
    pub has_stepped: bool,
    /// How the last step ended.
    pub finish: Option<Finish>,
    /// The message that is being said, and what it says.
    message: Option<String>,
    pub text: String,
    model: Option<String>,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// For this reason.
    Ended(String),
    /// By this error.
    Failed(String),
}

impl Course {
    /// Of a prompt, whose events come after this number.
    pub fn new(prompt: &str, seq: u64) -> Self {
        Self { prompt: prompt.to_owned(), seq, ..Self::default() }
    }

    /// Whether the model has said its last word.
    pub fn is_answered(&self) -> bool {
        matches!(&self.finish, Some(Finish::Ended(reason)) if reason != "tool-calls")
    }

    /// What an event tells. One that was taken before tells nothing.
    pub fn take(&mut self, event: &Value) -> Vec<Update> {
        if let Some(seq) = event["durable"]["seq"].as_u64() {
            if seq <= self.seq {
                return Vec::new();
            }
            self.seq = seq;
        }
        let kind = event["type"].as_str().unwrap_or_default();
        let Some(kind) = kind.strip_prefix("session.next.") else {
            return Vec::new();
        };
        let data = &event["data"];
        match kind {
            "prompt.admitted" | "prompted" => {
                self.has_begun |= data["messageID"] == self.prompt.as_str();
                Vec::new()
            }
            _ if !self.has_begun => Vec::new(),
            "step.ended" => self.ended(event, data),
            _ => self.told(kind, data).into_iter().collect(),
        }
    }

    fn told(&mut self, kind: &str, data: &Value) -> Option<Update> {
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        match kind {
            "step.started" => {
                (self.has_stepped, self.finish) = (true, None);
                self.model = model(&data["model"]);
                None
            }
            "step.failed" => {
                let message = data["error"]["message"].as_str().unwrap_or("it failed");
                self.finish = Some(Finish::Failed(message.to_owned()));
                None
            }
            "text.ended" => {
                let (message, text) = (text("assistantMessageID"), text("text"));
                if self.message.as_ref() != Some(&message) {
                    self.text.clear();
                }
                self.text.push_str(&text);
                self.message = Some(message.clone());
                (!text.is_empty()).then_some(Update::Text { message: Some(message), text })
            }
            "reasoning.ended" => {
                let text = text("text");
                (!text.is_empty()).then_some(Update::Thought { text })
            }
            "tool.called" => Some(Update::Tool(called(data))),
            "tool.success" => Some(Update::Tool(succeeded(data))),
            "tool.failed" => Some(Update::Tool(failed(data))),
            "retried" => {
                let reason = data["error"]["message"].as_str().unwrap_or("it failed").to_owned();
                Some(Update::Retrying { reason })
            }
            "compaction.ended" => Some(Update::Compacted),
            "agent.switched" => Some(Update::Mode { mode: text("agent") }),
            kind if is_quiet(kind) => None,
            other => Some(Update::Unknown { event: format!("session.next.{other}") }),
        }
    }

    fn ended(&mut self, event: &Value, data: &Value) -> Vec<Update> {
        let reason = data["finish"].as_str().unwrap_or("unknown").to_owned();
        self.finish = Some(Finish::Ended(reason));
        // The event has its own name, by whatever way and however often it is read.
        let source = event["id"].as_str().unwrap_or_default().to_owned();
        vec![Update::Usage(UsageReport { source, ..used(data, self.model.clone()) })]
    }
}

/// What the server says that a request to the model used.
pub(in crate::agents) fn used(data: &Value, model: Option<String>) -> UsageReport {
    let of = |path: &str| data["tokens"].pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let tokens = Tokens {
        input: of("/input"),
        cache_read: of("/cache/read"),
        cache_write: of("/cache/write"),
        output: of("/output"),
        reasoning: of("/reasoning"),
    };
    let micros = data["cost"].as_f64().map(|cost| (cost * 1e6).round() as i64);
    let raw = json!({"cost": data["cost"], "tokens": data["tokens"]});
    UsageReport {
        source: data["id"].as_str().unwrap_or_default().to_owned(),
        model,
        metering: Metering::Delta,
        tokens,
        // Where the server knows no price it says that there is none.
        cost: micros.filter(|micros| *micros > 0).map(|micros| (Metering::Delta, micros)),
        raw: Payload::trusted(raw.to_string()),
    }
}

/// Events of which nobody is told: others say the same.
fn is_quiet(kind: &str) -> bool {
    const QUIET: [&str; 8] =
        ["text.", "reasoning.", "tool.", "compaction.", "shell.", "revert.", "context.", "model."];
    QUIET.iter().any(|quiet| kind.starts_with(quiet)) || matches!(kind, "synthetic" | "moved")
}

/// A model as it is named elsewhere.
fn model(model: &Value) -> Option<String> {
    Some(format!("{}/{}", model["providerID"].as_str()?, model["id"].as_str()?))
}

/// What a tool or a permission with this name does.
pub(super) fn kind(name: &str) -> ToolKind {
    match name {
        "read" => ToolKind::Read,
        "edit" | "write" | "patch" | "apply_patch" | "multiedit" => ToolKind::Edit,
        "grep" | "glob" | "list" | "codesearch" => ToolKind::Search,
        "bash" | "shell" => ToolKind::Execute,
        "webfetch" | "websearch" => ToolKind::Fetch,
        "todowrite" | "todoread" => ToolKind::Think,
        _ => ToolKind::Other,
    }
}

fn id(data: &Value) -> String {
    data["callID"].as_str().unwrap_or_default().to_owned()
}

fn called(data: &Value) -> ToolCall {
    let name = data["tool"].as_str().unwrap_or_default();
    let path = ["filePath", "path"].iter().find_map(|it| data["input"][*it].as_str());
    let title = match data["input"]["command"].as_str() {
        Some(command) => format!("{name}: {command}"),
        None => name.to_owned(),
    };
    ToolCall {
        id: id(data),
        title: Some(title),
        kind: Some(kind(name)),
        status: Some(ToolStatus::Running),
        locations: path
            .map(|path| Location { path: path.into(), line: None })
            .into_iter()
            .collect(),
        input: Some(data["input"].clone()),
        ..ToolCall::default()
    }
}

fn succeeded(data: &Value) -> ToolCall {
    let texts = data["content"].as_array().into_iter().flatten();
    let texts: Vec<_> = texts.filter_map(|content| content["text"].as_str()).collect();
    let status = Some(ToolStatus::Completed);
    ToolCall { id: id(data), status, output: Some(texts.join("\n")), ..ToolCall::default() }
}

fn failed(data: &Value) -> ToolCall {
    const DENIALS: [&str; 4] = ["reject", "denied", "permission", "not allowed"];
    let message = data["error"]["message"].as_str().unwrap_or_default().to_owned();
    let text = message.to_lowercase();
    ToolCall {
        id: id(data),
        status: Some(ToolStatus::Failed),
        denied: DENIALS.iter().any(|words| text.contains(words)),
        output: Some(message),
        ..ToolCall::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, kind: &str, data: Value) -> Value {
        json!({"id": format!("evt_{seq}"), "type": format!("session.next.{kind}"),
            "durable": {"seq": seq}, "data": data})
    }

    #[test]
    fn a_turn_is_read_from_its_prompt_on_and_each_event_once() {
        let mut course = Course::new("msg_b", 1);
        let said = |text: &str| json!({"assistantMessageID": "m1", "text": text});
        let tokens = json!({"input": 107, "output": 17, "reasoning": 3, "cache": {"read": 11}});
        let ended = |finish: &str| json!({"finish": finish, "cost": 0.002, "tokens": tokens});
        let events = [
            event(1, "text.ended", said("of before")),
            event(2, "text.ended", said("of another prompt")),
            event(3, "prompted", json!({"messageID": "msg_b"})),
            event(4, "step.started", json!({"model": {"providerID": "p", "id": "m"}})),
            event(
                5,
                "tool.called",
                json!({"callID": "c", "tool": "bash", "input": {"command": "ls"}}),
            ),
            event(
                6,
                "tool.failed",
                json!({"callID": "c", "error": {"message": "The user rejected it"}}),
            ),
            event(7, "step.ended", ended("tool-calls")),
            event(8, "text.ended", said("an answer")),
            event(8, "text.ended", said("an answer")),
            event(9, "step.ended", ended("stop")),
            event(10, "teleported", json!({})),
        ];
        let mut updates = Vec::new();
        for event in &events {
            let was = course.is_answered();
            updates.extend(course.take(event));
            assert!(!was || course.is_answered());
        }
        assert!(course.is_answered() && course.has_stepped);
        assert_eq!((course.text.as_str(), course.seq), ("an answer", 10));
        let names = updates.iter().map(|update| match update {
            Update::Tool(call) => format!("tool {:?} {}", call.status, call.denied),
            Update::Text { text, .. } => text.clone(),
            Update::Usage(report) => {
                assert_eq!(report.cost, Some((Metering::Delta, 2000)));
                assert_eq!(report.model.as_deref(), Some("p/m"));
                format!("{} {}", report.source, report.tokens.total())
            }
            Update::Unknown { event } => event.clone(),
            other => format!("{other:?}"),
        });
        let names: Vec<_> = names.collect();
        let wanted = [
            "tool Some(Running) false",
            "tool Some(Failed) true",
            "evt_7 138",
            "an answer",
            "evt_9 138",
            "session.next.teleported",
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn events_come_in_pieces() {
        let mut lines = Lines::default();
        lines.push(b": heartbeat\n\nevent: message\ndata: {\"a\":");
        assert_eq!(lines.next(), None);
        lines.push(b"1}\r\n\r\ndata: no JSON\ndata:{\"b\":2}\n");
        assert_eq!(lines.next(), Some(json!({"a": 1})));
        assert_eq!(lines.next(), Some(json!({"b": 2})));
        assert_eq!(lines.next(), None);
    }
}
