//! OpenAI's chat completions.

use serde_json::{Value, json};

use super::{CREATED, as_text, id, input, list, result, split, texts};
use crate::testing::model::{Ask, Entry, Part, Reply, Usage};

pub(super) fn entries(body: &Value) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for message in list(body, "messages")? {
        let content = &message["content"];
        let said = texts(content).into_iter();
        match message["role"].as_str() {
            Some("system" | "developer") => entries.extend(said.map(Entry::System)),
            Some("user") => entries.extend(said.map(Entry::User)),
            Some("assistant") => {
                entries.extend(said.map(Entry::Model));
                let calls = message["tool_calls"].as_array().into_iter().flatten();
                entries.extend(calls.map(|call| Entry::Call {
                    id: as_text(&call["id"]),
                    name: as_text(&call["function"]["name"]),
                    input: input(&call["function"]["arguments"]),
                }));
            }
            Some("tool") => entries.push(result(&message["tool_call_id"], content, false)),
            role => return Err(format!("a message has the role {role:?}")),
        }
    }
    Ok(entries)
}

pub(super) fn whole(ask: &Ask, reply: &Reply, usage: &Usage) -> Value {
    let mut message = json!({"role": "assistant", "content": null});
    let mut calls = Vec::new();
    for (at, part) in reply.parts.iter().enumerate() {
        match part {
            Part::Thinking(text) => append(&mut message, "reasoning_content", text),
            Part::Text(text) => append(&mut message, "content", text),
            Part::Call { name, input } => calls.push(json!({
                "id": id("call", ask, at), "type": "function",
                "function": {"name": name, "arguments": input.to_string()},
            })),
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let choice =
        json!({"index": 0, "message": message, "finish_reason": finish(reply), "logprobs": null});
    json!({
        "id": id("chatcmpl", ask, 0), "object": "chat.completion", "created": CREATED,
        "model": ask.model, "choices": [choice], "usage": billed(usage),
    })
}

/// The message with more text under this name.
fn append(message: &mut Value, name: &str, more: &str) {
    let before = message[name].as_str().unwrap_or_default();
    message[name] = json!(format!("{before}{more}"));
}

pub(super) fn stream(ask: &Ask, reply: &Reply, usage: &Usage) -> Vec<String> {
    let chunk = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}]);
    let mut choices = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    let mut calls = 0;
    for (at, part) in reply.parts.iter().enumerate() {
        let deltas = deltas(ask, at, part, calls, reply.pieces);
        calls += usize::from(matches!(part, Part::Call { .. }));
        choices.extend(deltas.into_iter().map(|delta| chunk(delta, Value::Null)));
    }
    choices.push(chunk(json!({}), json!(finish(reply))));

    let sent = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": id("chatcmpl", ask, 0), "object": "chat.completion.chunk", "created": CREATED,
            "model": ask.model, "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let mut events: Vec<_> = choices.into_iter().map(|it| sent(it, Value::Null)).collect();
    events.extend(ask.tells_usage.then(|| sent(json!([]), billed(usage))));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// What a part adds to the message. The name of a call comes first, and its input behind it.
fn deltas(ask: &Ask, at: usize, part: &Part, call: usize, pieces: usize) -> Vec<Value> {
    match part {
        Part::Thinking(text) => {
            let pieces = split(text, pieces).into_iter();
            pieces.map(|piece| json!({"reasoning_content": piece})).collect()
        }
        Part::Text(text) => {
            let pieces = split(text, pieces).into_iter();
            pieces.map(|piece| json!({"content": piece})).collect()
        }
        Part::Call { name, input } => {
            let start = json!({"tool_calls": [{
                "index": call, "id": id("call", ask, at), "type": "function",
                "function": {"name": name, "arguments": ""},
            }]});
            let input = input.to_string();
            let pieces = split(&input, pieces).into_iter();
            let pieces = pieces.map(
                |piece| json!({"tool_calls": [{"index": call, "function": {"arguments": piece}}]}),
            );
            [start].into_iter().chain(pieces).collect()
        }
    }
}

fn finish(reply: &Reply) -> &'static str {
    if reply.calls() { "tool_calls" } else { "stop" }
}

/// Here what came from the cache counts as read too, and thoughts count as written.
fn billed(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.all_input(),
        "completion_tokens": usage.all_output(),
        "total_tokens": usage.all_input() + usage.all_output(),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}
