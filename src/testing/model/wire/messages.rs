//! Anthropic's messages.

use serde_json::{Value, json};

use super::{as_text, event, id, list, result, split, texts};
use crate::testing::model::{Ask, Entry, Part, Reply, Usage};

pub(super) fn entries(body: &Value) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<_> = texts(&body["system"]).into_iter().map(Entry::System).collect();
    for message in list(body, "messages")? {
        let content = &message["content"];
        match message["role"].as_str() {
            Some("user") => entries.extend(of_user(content)),
            Some("assistant") => entries.extend(of_model(content)),
            Some("system") => entries.extend(texts(content).into_iter().map(Entry::System)),
            role => return Err(format!("a message has the role {role:?}")),
        }
    }
    Ok(entries)
}

/// A message with results is the client's work: what text it has beside them is not the user's.
fn of_user(content: &Value) -> Vec<Entry> {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let results = blocks.iter().filter(|block| block["type"] == "tool_result");
    let results = results.map(|block| {
        let is_error = block["is_error"].as_bool().unwrap_or(false);
        result(&block["tool_use_id"], &block["content"], is_error)
    });
    let mut entries: Vec<_> = results.collect();
    let text = if entries.is_empty() { Entry::User } else { Entry::Note };
    entries.extend(texts(content).into_iter().map(text));
    entries
}

fn of_model(content: &Value) -> Vec<Entry> {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
    let calls = calls.map(|block| Entry::Call {
        id: as_text(&block["id"]),
        name: as_text(&block["name"]),
        input: block["input"].clone(),
    });
    texts(content).into_iter().map(Entry::Model).chain(calls).collect()
}

pub(super) fn whole(ask: &Ask, reply: &Reply, usage: &Usage) -> Value {
    let blocks = reply.parts.iter().enumerate().map(|(at, part)| match part {
        Part::Thinking(text) => {
            json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})
        }
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Call { name, input } => {
            json!({"type": "tool_use", "id": id("toolu", ask, at), "name": name, "input": input})
        }
    });
    let blocks: Vec<_> = blocks.collect();
    message(ask, json!(blocks), json!(stop_reason(reply)), billed(usage))
}

pub(super) fn stream(ask: &Ask, reply: &Reply, usage: &Usage) -> Vec<String> {
    // The count of what is written grows; only the last one is whole.
    let begun = Usage { output: 1, reasoning: 0, ..*usage };
    let start = message(ask, json!([]), Value::Null, billed(&begun));
    let mut events =
        vec![event("message_start", &json!({"type": "message_start", "message": start}))];
    for (at, part) in reply.parts.iter().enumerate() {
        let (block, deltas) = block(ask, at, part, reply.pieces);
        let start = json!({"type": "content_block_start", "index": at, "content_block": block});
        events.push(event("content_block_start", &start));
        events.extend(deltas.into_iter().map(|delta| {
            let delta = json!({"type": "content_block_delta", "index": at, "delta": delta});
            event("content_block_delta", &delta)
        }));
        let stop = json!({"type": "content_block_stop", "index": at});
        events.push(event("content_block_stop", &stop));
    }
    let delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(reply), "stop_sequence": null},
        "usage": billed(usage),
    });
    events.push(event("message_delta", &delta));
    events.push(event("message_stop", &json!({"type": "message_stop"})));
    events
}

/// The beginning of a block, and what is added to it.
fn block(ask: &Ask, at: usize, part: &Part, pieces: usize) -> (Value, Vec<Value>) {
    match part {
        Part::Thinking(text) => {
            let thoughts = split(text, pieces).into_iter();
            let thoughts =
                thoughts.map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            let signature = json!({"type": "signature_delta", "signature": SIGNATURE});
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            (block, thoughts.chain([signature]).collect())
        }
        Part::Text(text) => {
            let words = split(text, pieces).into_iter();
            let words = words.map(|piece| json!({"type": "text_delta", "text": piece}));
            (json!({"type": "text", "text": ""}), words.collect())
        }
        Part::Call { name, input } => {
            let input = input.to_string();
            let parts = split(&input, pieces).into_iter();
            let parts =
                parts.map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
            let id = id("toolu", ask, at);
            (json!({"type": "tool_use", "id": id, "name": name, "input": {}}), parts.collect())
        }
    }
}

fn message(ask: &Ask, content: Value, stop_reason: Value, usage: Value) -> Value {
    json!({
        "id": id("msg", ask, 0), "type": "message", "role": "assistant", "model": ask.model,
        "content": content, "stop_reason": stop_reason, "stop_sequence": null, "usage": usage,
    })
}

fn stop_reason(reply: &Reply) -> &'static str {
    if reply.calls() { "tool_use" } else { "end_turn" }
}

/// Here what is read counts without the caches, and thoughts count as what is written.
fn billed(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.all_output(),
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    })
}

/// A thought is sent back with this, and nobody checks it.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";
