//! The events that agents print.

use segue::testing::model::Usage;
use serde_json::Value;

/// What a stream says of a turn.
#[derive(Debug, Default, PartialEq)]
pub struct Turn {
    /// The last text.
    pub text: String,
    /// What commands of the shell printed.
    pub shells: Vec<String>,
    pub usage: Usage,
}

/// What was read excludes the caches; thoughts are part of what was written.
pub fn claude(stdout: &str) -> Turn {
    let mut turn = Turn::default();
    for event in events(stdout) {
        turn.shells.extend(tool_results(&event));
        if event["type"] == "result" {
            turn.text = text(&event["result"]);
            let usage = &event["usage"];
            let of = |name: &str| usage[name].as_u64().unwrap_or(0);
            let thought = usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap_or(0);
            turn.usage = Usage {
                input: of("input_tokens"),
                cache_read: of("cache_read_input_tokens"),
                cache_write: of("cache_creation_input_tokens"),
                output: of("output_tokens") - thought,
                reasoning: thought,
            };
        }
    }
    turn
}

/// What was read from the cache and into it is part of what was read, thoughts of what was written.
pub fn codex(stdout: &str) -> Turn {
    let mut turn = Turn::default();
    for event in events(stdout) {
        let item = &event["item"];
        match (event["type"].as_str(), item["type"].as_str()) {
            (Some("item.completed"), Some("agent_message")) => turn.text = text(&item["text"]),
            (Some("item.completed"), Some("command_execution")) => {
                turn.shells.push(text(&item["aggregated_output"]).trim().to_owned());
            }
            (Some("turn.completed"), _) => {
                let of = |name: &str| event["usage"][name].as_u64().unwrap_or(0);
                let (read, written) = (of("cached_input_tokens"), of("cache_write_input_tokens"));
                let thought = of("reasoning_output_tokens");
                turn.usage = Usage {
                    input: of("input_tokens") - read - written,
                    cache_read: read,
                    cache_write: written,
                    output: of("output_tokens") - thought,
                    reasoning: thought,
                };
            }
            _ => {}
        }
    }
    turn
}

/// Like Claude's, but what was read from the cache is part of what was read, and thoughts have no
/// number.
pub fn qwen(stdout: &str) -> Turn {
    let mut turn = claude(stdout);
    turn.usage.input -= turn.usage.cache_read;
    turn
}

/// Each step has its own usage.
pub fn opencode(stdout: &str) -> Turn {
    let mut turn = Turn::default();
    for event in events(stdout) {
        let part = &event["part"];
        match event["type"].as_str() {
            Some("text") => turn.text = text(&part["text"]),
            Some("tool_use") if part["tool"] == "bash" => {
                turn.shells.push(text(&part["state"]["output"]).trim().to_owned());
            }
            Some("step_finish") => {
                let of = |path: &str| part["tokens"].pointer(path).and_then(Value::as_u64);
                turn.usage += Usage {
                    input: of("/input").unwrap_or(0),
                    cache_read: of("/cache/read").unwrap_or(0),
                    cache_write: of("/cache/write").unwrap_or(0),
                    output: of("/output").unwrap_or(0),
                    reasoning: of("/reasoning").unwrap_or(0),
                };
            }
            _ => {}
        }
    }
    turn
}

/// The results of tools in a message of Anthropic's shape.
fn tool_results(event: &Value) -> Vec<String> {
    let blocks = event["message"]["content"].as_array().into_iter().flatten();
    let results = blocks.filter(|block| block["type"] == "tool_result");
    results.map(|block| text(&block["content"]).trim().to_owned()).collect()
}

/// The lines that are JSON; agents print others too.
pub fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
