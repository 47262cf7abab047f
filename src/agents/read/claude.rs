//! Claude Code's events, and Qwen Code's, which are alike.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::{
    Events, Last, Seen,
    end::End,
    tools,
    usage::{self, cost, count},
};
use crate::{
    agents::{CommandInfo, ToolCall, ToolStatus, Update, trouble::seconds},
    model::{Metering, Payload, Tokens, UsageReport},
};

/// What is different between programs that print these events.
#[derive(Debug)]
pub(super) struct Dialect {
    /// Whether what is read from a cache counts as read, too.
    input_has_cache: bool,
    /// What the tokens of a result are.
    metering: Metering,
}

pub(super) const CLAUDE: Dialect = Dialect { input_has_cache: false, metering: Metering::Delta };
pub(super) const QWEN: Dialect = Dialect { input_has_cache: true, metering: Metering::Cumulative };

/// Events of the system that tell nothing which belongs to a turn.
const QUIET: &str = "background_tasks_changed control_request_progress dev_intent hook_progress \
    hook_response hook_started informational local_command memory_saved notification \
    post_turn_summary session_metadata session_state_changed session_title_changed shell_cwd status \
    stop_hook_summary task_notification task_progress task_started task_summary task_updated \
    thinking_tokens turn_duration turn_starting vcs_state_changed permission_check_status";

/// The reader of one turn.
#[derive(Debug)]
pub(super) struct Claude {
    dialect: &'static Dialect,
    streamed: Streamed,
    /// What each message has used, while no result has said it of all.
    used: BTreeMap<String, (Option<String>, Value)>,
    is_billed: bool,
}

/// What was told of a message piece by piece, before its blocks come as a whole.
#[derive(Debug, Default)]
struct Streamed {
    message: String,
    blocks: VecDeque<(Kind, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thought,
}

impl Streamed {
    /// Another message: of one that broke off, nothing comes as a whole.
    fn begin(&mut self, message: &str) {
        message.clone_into(&mut self.message);
        self.blocks.clear();
    }

    fn piece(&mut self, kind: Kind, piece: &str) {
        match self.blocks.back_mut() {
            Some((last, told)) if *last == kind => told.push_str(piece),
            _ => self.blocks.push_back((kind, piece.to_owned())),
        }
    }

    /// What is left to be told of a block that comes as a whole; None where nothing of it was told.
    fn rest<'a>(&mut self, kind: Kind, whole: &'a str) -> Option<&'a str> {
        let at = self.blocks.iter().position(|(told, _)| *told == kind)?;
        let (_, told) = self.blocks.remove(at)?;
        // What was told can't be taken back.
        Some(whole.strip_prefix(told.as_str()).unwrap_or_default())
    }
}

impl Events for Claude {
    fn event(&mut self, event: &Value, seen: &mut Seen) {
        seen.session(event["session_id"].as_str());
        // What is said inside of an agent that this one called is not its answer.
        let is_inner = event["parent_tool_use_id"].is_string();
        match event["type"].as_str().unwrap_or_default() {
            "system" => system(event, seen),
            "stream_event" if is_inner => {}
            "stream_event" => self.stream(&event["event"], seen),
            "assistant" => self.assistant(event, is_inner, seen),
            "user" => user(event, seen),
            "result" => self.result(event, seen),
            "rate_limit_event" => {
                let info = &event["rate_limit_info"];
                let at = info["resetsAt"].as_i64().and_then(seconds);
                seen.resets = at.filter(|_| info["status"] == "rejected");
            }
            "control_request"
            | "control_response"
            | "control_cancel_request"
            | "keep_alive"
            | "tool_progress"
            | "tool_use_summary"
            | "auth_status"
            | "prompt_suggestion" => {}
            other => seen.unknown(other),
        }
    }

    /// A turn without its result has used what its messages have. A counter of the whole session says
    /// it with the next turn's.
    fn end(&mut self, _: &End<'_>, seen: &mut Seen) {
        if !self.is_billed && self.dialect.metering == Metering::Delta {
            for (id, (model, used)) in std::mem::take(&mut self.used) {
                let report = UsageReport {
                    source: format!("message {id}"),
                    model,
                    metering: Metering::Delta,
                    tokens: self.tokens(&used),
                    cost: None,
                    raw: usage::raw(&used),
                };
                seen.tell(Update::Usage(report));
            }
        }
    }
}

impl Claude {
    pub fn new(dialect: &'static Dialect) -> Self {
        let (streamed, used) = (Streamed::default(), BTreeMap::new());
        Self { dialect, streamed, used, is_billed: false }
    }

    /// A piece of a message that is being written.
    fn stream(&mut self, event: &Value, seen: &mut Seen) {
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                let message = event["message"]["id"].as_str().unwrap_or_default();
                self.streamed.begin(message);
            }
            "content_block_start" => match event["content_block"]["type"].as_str() {
                Some("text") => self.streamed.blocks.push_back((Kind::Text, String::new())),
                Some("thinking") => self.streamed.blocks.push_back((Kind::Thought, String::new())),
                _ => {}
            },
            "content_block_delta" => {
                let delta = &event["delta"];
                if let Some(piece) = delta["text"].as_str() {
                    self.streamed.piece(Kind::Text, piece);
                    seen.text(Some(&self.streamed.message), piece);
                } else if let Some(piece) = delta["thinking"].as_str() {
                    self.streamed.piece(Kind::Thought, piece);
                    seen.thought(piece);
                }
            }
            "message_delta" if event["usage"].is_object() => {
                let message = self.streamed.message.clone();
                self.used.entry(message).or_default().1 = event["usage"].clone();
            }
            _ => {}
        }
    }

    /// A message, or as many of its blocks as are written.
    fn assistant(&mut self, event: &Value, is_inner: bool, seen: &mut Seen) {
        let message = &event["message"];
        let is_error = event["error"].is_string();
        for block in message["content"].as_array().into_iter().flatten() {
            let text = |name: &str| block[name].as_str().unwrap_or_default();
            match text("type") {
                // In the place of an answer.
                "text" if is_error => seen.trouble = Some(text("text").to_owned()),
                "text" | "thinking" if is_inner => {}
                "text" => match self.streamed.rest(Kind::Text, text("text")) {
                    Some(rest) => seen.text(Some(&self.streamed.message), rest),
                    None => seen.text(message["id"].as_str(), text("text")),
                },
                "thinking" => {
                    let whole = text("thinking");
                    seen.thought(self.streamed.rest(Kind::Thought, whole).unwrap_or(whole));
                }
                "tool_use" | "server_tool_use" | "mcp_tool_use" => tool(block, seen),
                _ => {}
            }
        }
    }

    /// The end of the turn.
    fn result(&mut self, event: &Value, seen: &mut Seen) {
        let report = self.bill(event, seen.events);
        self.is_billed = report.tokens.total() > 0 || report.cost.is_some_and(|cost| cost.1 > 0);
        // One that is all zeros, as where a session is not found, is no count that began anew.
        if self.is_billed {
            seen.tell(Update::Usage(report));
        }
        for denial in event["permission_denials"].as_array().into_iter().flatten() {
            let id = denial["tool_use_id"].as_str().unwrap_or_default().to_owned();
            let status = Some(ToolStatus::Failed);
            seen.tool(ToolCall { id, status, denied: true, ..ToolCall::default() });
        }
        seen.last = Some(last(event));
    }

    /// The price, and in some dialects the tokens, are those of the session, which goes on in other
    /// processes.
    fn bill(&self, event: &Value, number: usize) -> UsageReport {
        let used = &event["usage"];
        let models = event["modelUsage"].as_object();
        let model = models.filter(|models| models.len() == 1).and_then(|it| it.keys().next());
        let source = event["uuid"].as_str().map_or_else(|| number.to_string(), str::to_owned);
        let raw = json!({
            "usage": used,
            "modelUsage": event["modelUsage"],
            "total_cost_usd": event["total_cost_usd"],
        });
        UsageReport {
            source: format!("result {source}"),
            model: model.cloned(),
            metering: self.dialect.metering,
            tokens: self.tokens(used),
            cost: cost(&event["total_cost_usd"]).map(|cost| (Metering::Cumulative, cost)),
            raw: usage::raw(&raw),
        }
    }

    fn tokens(&self, used: &Value) -> Tokens {
        let cache_read = count(used, "cache_read_input_tokens");
        let cache_write = count(used, "cache_creation_input_tokens");
        let reasoning = count(&used["output_tokens_details"], "thinking_tokens");
        let inside =
            if self.dialect.input_has_cache { cache_read.saturating_add(cache_write) } else { 0 };
        Tokens {
            input: count(used, "input_tokens").saturating_sub(inside),
            cache_read,
            cache_write,
            output: count(used, "output_tokens").saturating_sub(reasoning),
            reasoning,
        }
    }
}

fn system(event: &Value, seen: &mut Seen) {
    match event["subtype"].as_str().unwrap_or_default() {
        "init" => {
            let names = ["permissionMode", "permission_mode"];
            if let Some(mode) = names.iter().find_map(|name| event[name].as_str()) {
                seen.tell(Update::Mode { mode: mode.to_owned() });
            }
            let names = event["slash_commands"].as_array().into_iter().flatten();
            let names = names.filter_map(Value::as_str).map(str::to_owned);
            let commands = names.map(|name| CommandInfo { name, description: String::new() });
            seen.tell(Update::Commands { commands: commands.collect() });
        }
        // Why, it says on its standard error.
        "retry" => {
            let delay = &event["data"]["delayMs"];
            let reason = match delay.as_u64() {
                Some(delay) => format!("the request failed: again in {delay} ms"),
                None => "the request failed".to_owned(),
            };
            seen.tell(Update::Retrying { reason });
        }
        "api_retry" => {
            let words = |name: &str| match &event[name] {
                Value::Null => String::new(),
                Value::String(text) => format!(" {text}"),
                other => format!(" {other}"),
            };
            let reason = format!("the request failed:{}{}", words("error_status"), words("error"));
            seen.trouble = Some(reason.clone());
            seen.tell(Update::Retrying { reason });
        }
        "compact_boundary" => seen.tell(Update::Compacted),
        "permission_denied" => {
            let id = event["tool_use_id"].as_str().unwrap_or_default().to_owned();
            seen.tool(ToolCall { id, denied: true, ..ToolCall::default() });
        }
        "status" => {
            if let Some(mode) = event["permissionMode"].as_str() {
                seen.tell(Update::Mode { mode: mode.to_owned() });
            }
        }
        quiet if QUIET.split_whitespace().any(|known| known == quiet) => {}
        other => seen.unknown(format!("system/{other}")),
    }
}

fn tool(block: &Value, seen: &mut Seen) {
    let text = |name: &str| block[name].as_str().unwrap_or_default();
    let (name, input) = (text("name"), &block["input"]);
    seen.tool(tools::called(text("id"), name, input));
    if tools::tells_plan(name) {
        seen.tell(Update::Plan { entries: tools::plan(&input["todos"]) });
    }
}

/// What tools have answered.
fn user(event: &Value, seen: &mut Seen) {
    let meta = event["tool_result_meta"].as_array();
    for block in event["message"]["content"].as_array().into_iter().flatten() {
        if block["type"] != "tool_result" {
            continue;
        }
        let id = block["tool_use_id"].as_str().unwrap_or_default();
        let mut call = tools::ended(id, tools::words(&block["content"]), block["is_error"] == true);
        let meta = meta.into_iter().flatten().find(|meta| meta["id"] == id);
        if let Some(meta) = meta {
            // A call that was stopped while it ran has the words of one that was refused.
            let decision = meta["permission_decision"]["decision"].as_str();
            call.denied = match decision {
                Some("accept") => call.denied,
                decision => decision.is_some(),
            };
        }
        seen.tool(call);
    }
}

/// How the turn ended.
fn last(event: &Value) -> Last {
    let text = said(event);
    let is_error = event["is_error"] == true;
    match event["subtype"].as_str().unwrap_or_default() {
        "error_max_turns" | "error_max_budget_usd" => Last::Limit(text),
        "success" if !is_error => match event["stop_reason"].as_str() {
            Some("refusal") => Last::Refused(text),
            Some(limit @ ("max_tokens" | "model_context_window_exceeded")) => {
                Last::Limit(limit.to_owned())
            }
            _ => {
                let output = Some(&event["structured_output"]).filter(|output| !output.is_null());
                let output = output.and_then(|output| Payload::of(output).ok());
                Last::Answered { text: event["result"].as_str().map(str::to_owned), output }
            }
        },
        _ => Last::Failed(text),
    }
}

/// The words of a result: the answer, or what went wrong.
fn said(event: &Value) -> String {
    let errors = event["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let errors: Vec<_> = errors.collect();
    let error = &event["error"];
    let error = error["message"].as_str().or_else(|| error.as_str());
    let subtype = event["subtype"].as_str().unwrap_or_default();
    let text = event["result"].as_str().or(error).filter(|text| !text.is_empty());
    let text = text.map_or_else(|| errors.join("; "), str::to_owned);
    let text = if text.is_empty() { subtype.to_owned() } else { text };
    match event["api_error_status"].as_u64() {
        Some(status) if !text.contains(&status.to_string()) => format!("{text} (status {status})"),
        _ => text,
    }
}
