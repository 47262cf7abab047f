//! Codex's events, as `codex exec --json` prints them.

use serde_json::{Value, json};

use super::{
    Events, Last, Seen, tools,
    usage::{self, count},
};
use crate::{
    agents::{Location, ToolCall, ToolKind, ToolStatus, Update},
    model::{Metering, Tokens, UsageReport},
};

/// The reader of one turn.
#[derive(Debug, Default)]
pub(super) struct Codex;

impl Events for Codex {
    fn event(&mut self, event: &Value, seen: &mut Seen) {
        match event["type"].as_str().unwrap_or_default() {
            "thread.started" => seen.session(event["thread_id"].as_str()),
            "turn.started" => {}
            "turn.completed" => {
                if event["usage"].is_object() {
                    let report = bill(&event["usage"]);
                    seen.tell(Update::Usage(report));
                }
                seen.last = Some(Last::Answered { text: None, output: None });
            }
            "turn.failed" => {
                let message = words(&event["error"]).or_else(|| seen.trouble.take());
                seen.last = Some(Last::Failed(message.unwrap_or_else(|| "turn.failed".into())));
            }
            "error" => trouble(event, seen),
            "item.started" | "item.updated" => item(&event["item"], false, seen),
            "item.completed" => item(&event["item"], true, seen),
            other => seen.unknown(other),
        }
    }
}

/// The words of an error, which are in JSON where the provider's were.
fn words(error: &Value) -> Option<String> {
    let message = error["message"].as_str().or_else(|| error.as_str())?;
    let inner: Option<Value> = serde_json::from_str(message).ok();
    let inner = inner.as_ref().and_then(|inner| inner["error"]["message"].as_str());
    Some(inner.unwrap_or(message).to_owned())
}

/// An error: it tries again, or gives up and says so by another event.
fn trouble(event: &Value, seen: &mut Seen) {
    let reason = words(event).unwrap_or_default();
    seen.trouble = Some(reason.clone());
    if reason.starts_with("Reconnecting") || reason.contains("retrying") {
        seen.tell(Update::Retrying { reason });
    }
}

/// All that the thread has used. What is read from caches and written to them counts as read,
/// thoughts as written.
fn bill(used: &Value) -> UsageReport {
    let of = |name| count(used, name);
    let (cache_read, cache_write) = (of("cached_input_tokens"), of("cache_write_input_tokens"));
    let (reasoning, input, output) =
        (of("reasoning_output_tokens"), of("input_tokens"), of("output_tokens"));
    UsageReport {
        // It grows with each request, so that no other event of the thread has the same.
        source: format!("thread {input} {cache_read} {output}"),
        model: None,
        metering: Metering::Cumulative,
        tokens: Tokens {
            input: input.saturating_sub(cache_read).saturating_sub(cache_write),
            cache_read,
            cache_write,
            output: output.saturating_sub(reasoning),
            reasoning,
        },
        cost: None,
        raw: usage::raw(used),
    }
}

fn item(item: &Value, is_done: bool, seen: &mut Seen) {
    let id = item["id"].as_str().unwrap_or_default();
    match item["type"].as_str().unwrap_or_default() {
        // A text comes as a whole.
        "agent_message" if is_done => {
            seen.text(Some(id), item["text"].as_str().unwrap_or_default());
        }
        "reasoning" if is_done => seen.thought(item["text"].as_str().unwrap_or_default()),
        "agent_message" | "reasoning" => {}
        "todo_list" => seen.tell(Update::Plan { entries: tools::plan(&item["items"]) }),
        // Warnings, and errors that it goes on after.
        "error" => seen.junk(&words(item).unwrap_or_default()),
        "command_execution" => seen.tool(command(id, item)),
        "file_change" => seen.tool(change(id, item)),
        "mcp_tool_call" | "collab_tool_call" => seen.tool(call(id, item)),
        "web_search" => seen.tool(search(id, item, is_done)),
        other => seen.unknown(format!("item/{other}")),
    }
}

fn status(item: &Value) -> ToolStatus {
    match item["status"].as_str().unwrap_or_default() {
        "completed" => ToolStatus::Completed,
        "failed" | "declined" => ToolStatus::Failed,
        _ => ToolStatus::Running,
    }
}

/// Whether it was not allowed: by an answer, or by the system.
fn is_denied(item: &Value, output: &str) -> bool {
    item["status"] == "declined" || (item["status"] == "failed" && tools::is_denial(output))
}

fn command(id: &str, item: &Value) -> ToolCall {
    let status = status(item);
    let output = item["aggregated_output"].as_str().unwrap_or_default();
    let command = item["command"].as_str().unwrap_or_default();
    ToolCall {
        id: id.to_owned(),
        title: Some(command.to_owned()),
        kind: Some(ToolKind::Execute),
        status: Some(status),
        input: Some(json!({"command": command})),
        denied: is_denied(item, output),
        output: (status != ToolStatus::Running).then(|| output.to_owned()),
        ..ToolCall::default()
    }
}

fn change(id: &str, item: &Value) -> ToolCall {
    let changes = item["changes"].as_array().into_iter().flatten();
    let paths = changes.filter_map(|change| change["path"].as_str());
    ToolCall {
        id: id.to_owned(),
        title: Some("apply_patch".to_owned()),
        kind: Some(ToolKind::Edit),
        status: Some(status(item)),
        locations: paths.map(|path| Location { path: path.into(), line: None }).collect(),
        input: Some(item["changes"].clone()),
        denied: item["status"] == "declined",
        ..ToolCall::default()
    }
}

/// A tool of a server, or of another agent.
fn call(id: &str, item: &Value) -> ToolCall {
    let (server, tool) = (item["server"].as_str(), item["tool"].as_str().unwrap_or_default());
    let result = tools::words(&item["result"]["content"]);
    let output = words(&item["error"]).unwrap_or(result);
    ToolCall {
        id: id.to_owned(),
        title: Some(server.map_or_else(|| tool.to_owned(), |server| format!("{server}.{tool}"))),
        kind: Some(tools::kind(tool)),
        status: Some(status(item)),
        input: Some(item["arguments"].clone()),
        denied: is_denied(item, &output),
        output: Some(output).filter(|output| !output.is_empty()),
        ..ToolCall::default()
    }
}

fn search(id: &str, item: &Value, is_done: bool) -> ToolCall {
    let query = item["query"].as_str().unwrap_or_default();
    ToolCall {
        id: id.to_owned(),
        title: Some(format!("web search: {query}")),
        kind: Some(ToolKind::Fetch),
        status: Some(if is_done { ToolStatus::Completed } else { ToolStatus::Running }),
        ..ToolCall::default()
    }
}
