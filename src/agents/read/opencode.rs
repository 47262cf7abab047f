//! opencode's events, as `opencode run --format json` prints them.

use serde_json::Value;

use super::{
    Events, Exit, Last, Seen,
    end::End,
    tools,
    usage::{self, cost, count},
};
use crate::{
    agents::{ToolCall, ToolStatus, Update},
    model::{Metering, Tokens, UsageReport},
};

/// The reader of one turn. There is no event that ends a turn: it has ended with the last step, when
/// that one wants no more and the program ends well.
#[derive(Debug, Default)]
pub(super) struct Opencode {
    /// Why the last step has ended, while no other has begun.
    reason: Option<String>,
}

impl Events for Opencode {
    fn event(&mut self, event: &Value, seen: &mut Seen) {
        seen.session(event["sessionID"].as_str());
        let part = &event["part"];
        match event["type"].as_str().unwrap_or_default() {
            "step_start" => self.reason = None,
            "step_finish" => {
                self.reason = part["reason"].as_str().map(str::to_owned);
                if part["tokens"].is_object() {
                    let report = bill(part, seen.events);
                    seen.tell(Update::Usage(report));
                }
            }
            "text" => {
                let text = part["text"].as_str().unwrap_or_default();
                seen.text(part["messageID"].as_str(), text);
            }
            "reasoning" => seen.thought(part["text"].as_str().unwrap_or_default()),
            "tool_use" => tool(part, seen),
            "error" => {
                let message = words(&event["error"]);
                seen.trouble = Some(message.clone());
                seen.last = Some(Last::Failed(message));
            }
            other => seen.unknown(other),
        }
    }

    fn end(&mut self, end: &End<'_>, seen: &mut Seen) {
        if seen.last.is_some() || end.exit != Exit::Code(0) {
            return;
        }
        seen.last = match self.reason.as_deref() {
            None | Some("tool-calls" | "unknown") => None,
            Some("length") => Some(Last::Limit("length".to_owned())),
            Some("content-filter") => Some(Last::Refused(seen.last_text().to_owned())),
            Some("error") => Some(Last::Failed("the last step failed".to_owned())),
            Some(_) => Some(Last::Answered { text: None, output: None }),
        };
    }
}

/// The words of an error, with the provider's status.
fn words(error: &Value) -> String {
    let name = error["name"].as_str().unwrap_or("an error");
    let data = &error["data"];
    let message = data["message"].as_str().or_else(|| error["message"].as_str());
    let message = message.or_else(|| error.as_str()).unwrap_or_default();
    match data["statusCode"].as_u64() {
        Some(status) => format!("{name}: {message} (status {status})"),
        None => format!("{name}: {message}"),
    }
}

/// What one step has used.
fn bill(part: &Value, number: usize) -> UsageReport {
    let used = &part["tokens"];
    let source = part["id"].as_str().map_or_else(|| number.to_string(), str::to_owned);
    UsageReport {
        source: format!("step {source}"),
        model: None,
        metering: Metering::Delta,
        tokens: Tokens {
            input: count(used, "input"),
            cache_read: count(&used["cache"], "read"),
            cache_write: count(&used["cache"], "write"),
            output: count(used, "output"),
            reasoning: count(used, "reasoning"),
        },
        cost: cost(&part["cost"]).map(|cost| (Metering::Delta, cost)),
        raw: usage::raw(part),
    }
}

fn tool(part: &Value, seen: &mut Seen) {
    let (state, name) = (&part["state"], part["tool"].as_str().unwrap_or_default());
    let id = part["callID"].as_str().or_else(|| part["id"].as_str()).unwrap_or_default();
    let input = &state["input"];
    let begun = tools::called(id, name, input);
    let call = match state["status"].as_str().unwrap_or_default() {
        "completed" => {
            ToolCall { status: Some(ToolStatus::Completed), output: output(state), ..begun }
        }
        "error" => {
            let output = state["error"].as_str().unwrap_or_default().to_owned();
            ToolCall {
                title: begun.title,
                kind: begun.kind,
                input: begun.input,
                locations: begun.locations,
                ..tools::ended(id, output, true)
            }
        }
        "pending" => ToolCall { status: Some(ToolStatus::Pending), ..begun },
        _ => begun,
    };
    seen.tool(call);
    if tools::tells_plan(name) {
        seen.tell(Update::Plan { entries: tools::plan(&input["todos"]) });
    }
}

fn output(state: &Value) -> Option<String> {
    state["output"].as_str().map(str::to_owned)
}
