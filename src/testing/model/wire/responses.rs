//! OpenAI's responses.

use serde_json::{Value, json};

use super::{CREATED, as_text, event, id, input, list, result, split, texts};
use crate::testing::model::{Ask, Entry, Part, Reply, Usage};

pub(super) fn entries(body: &Value) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<_> = texts(&body["instructions"]).into_iter().map(Entry::System).collect();
    if let Some(text) = body["input"].as_str() {
        entries.push(Entry::User(text.to_owned()));
        return Ok(entries);
    }
    for item in list(body, "input")? {
        match item["type"].as_str().unwrap_or("message") {
            "message" => entries.extend(message(item)?),
            "function_call" | "custom_tool_call" => entries.push(Entry::Call {
                id: as_text(&item["call_id"]),
                name: as_text(&item["name"]),
                input: input(if item["arguments"].is_null() {
                    &item["input"]
                } else {
                    &item["arguments"]
                }),
            }),
            "function_call_output" | "custom_tool_call_output" => {
                entries.push(result(&item["call_id"], &item["output"], false));
            }
            // Thoughts, and what only the provider's own tools make.
            _ => {}
        }
    }
    Ok(entries)
}

fn message(item: &Value) -> Result<Vec<Entry>, String> {
    let said = texts(&item["content"]).into_iter();
    match item["role"].as_str() {
        Some("system" | "developer") => Ok(said.map(Entry::System).collect()),
        Some("user") => Ok(said.map(Entry::User).collect()),
        Some("assistant") => Ok(said.map(Entry::Model).collect()),
        role => Err(format!("a message has the role {role:?}")),
    }
}

pub(super) fn whole(ask: &Ask, reply: &Reply, usage: &Usage) -> Value {
    let items = reply.parts.iter().enumerate().map(|(at, part)| finished(ask, at, part));
    response(ask, "completed", items.collect(), billed(usage))
}

pub(super) fn stream(ask: &Ask, reply: &Reply, usage: &Usage) -> Vec<String> {
    let begun = json!({"response": response(ask, "in_progress", Vec::new(), Value::Null)});
    let mut events = vec![("response.created", begun.clone()), ("response.in_progress", begun)];
    for (at, part) in reply.parts.iter().enumerate() {
        let item = finished(ask, at, part);
        let mut of_item = vec![("response.output_item.added", json!({"item": begin(&item)}))];
        of_item.extend(inside(part, reply.pieces));
        of_item.push(("response.output_item.done", json!({"item": item})));
        events.extend(of_item.into_iter().map(|(name, mut data)| {
            data["output_index"] = json!(at);
            data["item_id"] = item["id"].clone();
            (name, data)
        }));
    }
    events.push(("response.completed", json!({"response": whole(ask, reply, usage)})));
    let numbered = events.into_iter().enumerate().map(|(number, (name, mut data))| {
        data["type"] = json!(name);
        data["sequence_number"] = json!(number);
        event(name, &data)
    });
    numbered.collect()
}

/// An item of the output, as it is at its end. A call whose input is a string is one of a tool
/// that takes any text.
fn finished(ask: &Ask, at: usize, part: &Part) -> Value {
    match part {
        Part::Thinking(text) => json!({
            "type": "reasoning", "id": id("rs", ask, at), "status": "completed",
            "summary": [{"type": "summary_text", "text": text}], "encrypted_content": "c2NyaXB0ZWQ=",
        }),
        Part::Text(text) => json!({
            "type": "message", "id": id("msg", ask, at), "status": "completed",
            "role": "assistant", "content": [words(text)],
        }),
        Part::Call { name, input: Value::String(input) } => json!({
            "type": "custom_tool_call", "id": id("ctc", ask, at), "status": "completed",
            "call_id": id("call", ask, at), "name": name, "input": input,
        }),
        Part::Call { name, input } => json!({
            "type": "function_call", "id": id("fc", ask, at), "status": "completed",
            "call_id": id("call", ask, at), "name": name, "arguments": input.to_string(),
        }),
    }
}

/// An item as it is at its beginning.
fn begin(finished: &Value) -> Value {
    let mut item = finished.clone();
    item["status"] = json!("in_progress");
    for (name, empty) in [
        ("summary", json!([])),
        ("content", json!([])),
        ("input", json!("")),
        ("arguments", json!("")),
    ] {
        if let Some(field) = item.get_mut(name) {
            *field = empty;
        }
    }
    item
}

/// The events between the beginning of an item and its end.
fn inside(part: &Part, pieces: usize) -> Vec<(&'static str, Value)> {
    let deltas = |name: &'static str, text: &str, more: Value| {
        let deltas = split(text, pieces).into_iter().map(|piece| {
            let mut delta = more.clone();
            delta["delta"] = json!(piece);
            (name, delta)
        });
        deltas.collect::<Vec<_>>()
    };
    match part {
        Part::Thinking(text) => {
            let place = json!({"summary_index": 0});
            let (mut added, mut done) = (place.clone(), place.clone());
            added["part"] = json!({"type": "summary_text", "text": ""});
            done["part"] = json!({"type": "summary_text", "text": text});
            let mut events = vec![("response.reasoning_summary_part.added", added)];
            events.extend(deltas("response.reasoning_summary_text.delta", text, place));
            let end = json!({"summary_index": 0, "text": text});
            events.push(("response.reasoning_summary_text.done", end));
            events.push(("response.reasoning_summary_part.done", done));
            events
        }
        Part::Text(text) => {
            let part = |text| json!({"content_index": 0, "part": words(text)});
            let mut events = vec![("response.content_part.added", part(""))];
            events.extend(deltas("response.output_text.delta", text, json!({"content_index": 0})));
            let end = json!({"content_index": 0, "text": text});
            events.push(("response.output_text.done", end));
            events.push(("response.content_part.done", part(text)));
            events
        }
        Part::Call { input: Value::String(input), .. } => {
            let mut events = deltas("response.custom_tool_call_input.delta", input, json!({}));
            events.push(("response.custom_tool_call_input.done", json!({"input": input})));
            events
        }
        Part::Call { input, .. } => {
            let input = input.to_string();
            let mut events = deltas("response.function_call_arguments.delta", &input, json!({}));
            events.push(("response.function_call_arguments.done", json!({"arguments": input})));
            events
        }
    }
}

fn words(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn response(ask: &Ask, status: &str, output: Vec<Value>, usage: Value) -> Value {
    json!({
        "id": id("resp", ask, 0), "object": "response", "created_at": CREATED, "status": status,
        "model": ask.model, "output": output, "usage": usage, "error": null,
        "incomplete_details": null, "parallel_tool_calls": true,
    })
}

/// Here what came from the cache and went into it counts as read too, and thoughts as written.
fn billed(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.all_input(),
        "input_tokens_details": {
            "cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.all_output(),
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.all_input() + usage.all_output(),
    })
}
