//! The protocols: requests to [`Ask`]s, [`Reply`]s to bodies and events.

mod completions;
mod messages;
mod responses;

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::{Ask, Entry, Protocol, Reply, Usage, ask::ToolResult};
use crate::clock::Timestamp;

/// What a body asks, or what is wrong with it.
pub(super) fn ask(protocol: Protocol, body: &Value) -> Result<Ask, String> {
    let model = body["model"].as_str().ok_or("`model` is not a string")?;
    let entries = match protocol {
        Protocol::Messages => messages::entries(body),
        Protocol::Completions => completions::entries(body),
        Protocol::Responses => responses::entries(body),
    };
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(tool);
    Ok(Ask {
        protocol,
        model: model.to_owned(),
        stream: body["stream"].as_bool().unwrap_or(false),
        tools: tools.collect(),
        entries: entries?,
        number: 0,
        tells_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
    })
}

/// An answer in one body.
pub(super) fn whole(ask: &Ask, reply: &Reply, usage: &Usage) -> Value {
    match ask.protocol {
        Protocol::Messages => messages::whole(ask, reply, usage),
        Protocol::Completions => completions::whole(ask, reply, usage),
        Protocol::Responses => responses::whole(ask, reply, usage),
    }
}

/// An answer as server-sent events.
pub(super) fn stream(ask: &Ask, reply: &Reply, usage: &Usage) -> Vec<String> {
    match ask.protocol {
        Protocol::Messages => messages::stream(ask, reply, usage),
        Protocol::Completions => completions::stream(ask, reply, usage),
        Protocol::Responses => responses::stream(ask, reply, usage),
    }
}

/// An error in the form of a protocol.
pub(super) fn error(protocol: Protocol, status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    let error = json!({"type": kind, "message": message});
    match protocol {
        Protocol::Messages => json!({"type": "error", "error": error}),
        Protocol::Completions | Protocol::Responses => {
            json!({"error": {"type": kind, "message": message, "param": null, "code": kind}})
        }
    }
}

/// The headers that say when a rate limit ends.
pub(super) fn reset(protocol: Protocol, wait: Duration, now: Timestamp) -> Vec<(String, String)> {
    let end = DateTime::<Utc>::from(now + wait);
    let seconds = wait.as_secs();
    let named: &[(&str, String)] = match protocol {
        Protocol::Messages => &[
            ("anthropic-ratelimit-requests-remaining", "0".into()),
            ("anthropic-ratelimit-requests-reset", end.to_rfc3339_opts(SecondsFormat::Secs, true)),
            ("anthropic-ratelimit-unified-status", "rejected".into()),
            ("anthropic-ratelimit-unified-reset", end.timestamp().to_string()),
        ],
        Protocol::Completions | Protocol::Responses => &[
            ("x-ratelimit-remaining-requests", "0".into()),
            ("x-ratelimit-reset-requests", format!("{seconds}s")),
        ],
    };
    let named = named.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let retry = ("retry-after".to_owned(), seconds.to_string());
    std::iter::once(retry).chain(named).collect()
}

/// The list of models, as both providers' clients read it.
pub(super) fn models(names: &[String]) -> Value {
    let data: Vec<_> = names.iter().map(|name| model(name)).collect();
    let (first, last) = (names.first(), names.last());
    json!({"object": "list", "data": data, "has_more": false, "first_id": first, "last_id": last})
}

pub(super) fn model(name: &str) -> Value {
    json!({
        "id": name, "object": "model", "created": CREATED, "owned_by": "scripted",
        "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z",
    })
}

/// When everything here was made, in seconds since 1970: 2026-01-01.
const CREATED: u64 = 1_767_225_600;

/// An id that no other part of a conversation has, also not one from another server: of two
/// parts one stands further down the conversation.
fn id(prefix: &str, ask: &Ask, part: usize) -> String {
    format!("{prefix}_{}_{}_{part}", ask.entries.len(), ask.number)
}

/// The name of a tool that is offered: of its function, its own, or that of its type.
fn tool(tool: &Value) -> Option<String> {
    let name = [&tool["function"]["name"], &tool["name"], &tool["type"]];
    name.into_iter().find_map(Value::as_str).map(str::to_owned)
}

/// An event with its name.
fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A text in so many pieces of about the same length, none of them empty.
fn split(text: &str, pieces: usize) -> Vec<&str> {
    let all = text.chars().count();
    let size = all.div_ceil(pieces.max(1)).max(1);
    let starts = text.char_indices().map(|(at, _)| at).step_by(size);
    let ends = text.char_indices().map(|(at, _)| at).step_by(size).skip(1).chain([text.len()]);
    starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
}

/// The list under this name.
fn list<'a>(body: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    body[name].as_array().ok_or_else(|| format!("`{name}` is not a list"))
}

/// The texts of a content that is one string, or a list of parts.
fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(parts) => parts.iter().filter_map(text_of).collect(),
        _ => Vec::new(),
    }
}

fn text_of(part: &Value) -> Option<String> {
    part.as_str().or_else(|| part["text"].as_str()).map(str::to_owned)
}

/// What a tool answered, from a content that is one string, or a list of parts.
fn result(id: &Value, content: &Value, is_error: bool) -> Entry {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(parts) => {
            let shown = parts.iter().map(|part| text_of(part).unwrap_or_else(|| part.to_string()));
            shown.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    };
    Entry::Result(ToolResult { id: as_text(id), text, is_error })
}

/// The input of a call that is JSON in a string. A string that is none is the input itself.
fn input(arguments: &Value) -> Value {
    let parsed = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
    parsed.unwrap_or_else(|| arguments.clone())
}

fn as_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
