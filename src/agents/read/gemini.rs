//! Gemini CLI's events.

use serde_json::Value;

use super::{
    Events, Last, Seen, tools,
    usage::{self, count},
};
use crate::{
    agents::Update,
    model::{Metering, Tokens, UsageReport},
};

/// The reader of one turn.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    /// How many messages have begun: they have no ids, and a call of a tool ends each.
    messages: usize,
    is_speaking: bool,
}

impl Events for Gemini {
    fn event(&mut self, event: &Value, seen: &mut Seen) {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        match text("type") {
            "init" => seen.session(event["session_id"].as_str()),
            "message" if text("role") == "assistant" => self.message(text("content"), seen),
            "message" => {}
            "tool_use" => {
                self.is_speaking = false;
                let (name, input) = (text("tool_name"), &event["parameters"]);
                seen.tool(tools::called(text("tool_id"), name, input));
                if matches!(name, "write_todos" | "todo_write") {
                    seen.tell(Update::Plan { entries: tools::plan(&input["todos"]) });
                }
            }
            "tool_result" => {
                let is_error = text("status") == "error";
                let error = event["error"]["message"].as_str();
                let output = error.map_or_else(|| tools::words(&event["output"]), str::to_owned);
                seen.tool(tools::ended(text("tool_id"), output, is_error));
            }
            "error" => seen.trouble = Some(text("message").to_owned()),
            "result" => result(event, seen),
            other => seen.unknown(other),
        }
    }
}

impl Gemini {
    fn message(&mut self, piece: &str, seen: &mut Seen) {
        self.messages += usize::from(!self.is_speaking);
        self.is_speaking = true;
        seen.text(Some(&self.messages.to_string()), piece);
    }
}

fn result(event: &Value, seen: &mut Seen) {
    if event["stats"].is_object() {
        let report = bill(event, seen);
        seen.tell(Update::Usage(report));
    }
    if event["status"] == "success" {
        seen.last = Some(Last::Answered { text: None, output: None });
        return;
    }
    let error = &event["error"];
    let message = error["message"].as_str().map(str::to_owned).or_else(|| seen.trouble.take());
    let message = message.unwrap_or_else(|| "an error without words".to_owned());
    // By their types: errors of this kind have words that differ from version to version.
    seen.last = Some(match error["type"].as_str() {
        Some("FatalTurnLimitedError") => Last::Limit(message),
        _ => Last::Failed(message),
    });
}

/// What the process has used. `input_tokens` has those that came from the cache.
fn bill(event: &Value, seen: &Seen) -> UsageReport {
    let used = &event["stats"];
    let models = used["models"].as_object().filter(|models| models.len() == 1);
    let cache_read = count(used, "cached");
    let (input, output) = (count(used, "input_tokens"), count(used, "output_tokens"));
    // Thoughts are in the total only.
    let reasoning = count(used, "total_tokens").saturating_sub(input.saturating_add(output));
    let when = event["timestamp"].as_str().map_or_else(|| seen.events.to_string(), str::to_owned);
    UsageReport {
        source: format!("result {when}"),
        model: models.and_then(|models| models.keys().next()).cloned(),
        metering: Metering::Delta,
        tokens: Tokens {
            input: input.saturating_sub(cache_read),
            cache_read,
            cache_write: 0,
            output,
            reasoning,
        },
        cost: None,
        raw: usage::raw(used),
    }
}
