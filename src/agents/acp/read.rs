//! What an agent's updates say, in the words of [`Update`].
//! Invariant: nothing here performs I/O, and no field that is missing or odd is an error.

use serde_json::Value;

use crate::agents::{
    CommandInfo, Diff, Location, PlanEntry, ToolCall, ToolKind, ToolStatus, Update,
};

/// What an update is, for a session.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    /// A part of the conversation: it is told, unless it is a part that was told before.
    Said(Update),
    /// What the session is like now: it is told whenever it comes.
    State(Update),
    /// The session's options are these now.
    Options(Value),
    /// What the session has cost in all, in millionths of a dollar.
    Cost(i64),
    /// Nothing that anybody is told.
    Nothing,
}

/// What a `session/update` says. `update` is its field of that name.
pub(super) fn update(update: &Value) -> Heard {
    let kind = update["sessionUpdate"].as_str().unwrap_or_default();
    match kind {
        "agent_message_chunk" => {
            let text = content(&update["content"]);
            said(text, |text| Update::Text { message: message_id(update), text })
        }
        "agent_thought_chunk" => said(content(&update["content"]), |text| Update::Thought { text }),
        "tool_call" | "tool_call_update" => Heard::Said(Update::Tool(tool(update))),
        "plan" => Heard::Said(Update::Plan { entries: plan(&update["entries"]) }),
        "available_commands_update" => {
            Heard::State(Update::Commands { commands: commands(&update["availableCommands"]) })
        }
        "current_mode_update" => match update["currentModeId"].as_str() {
            Some(mode) => Heard::State(Update::Mode { mode: mode.to_owned() }),
            None => Heard::Nothing,
        },
        "config_option_update" => Heard::Options(update["configOptions"].clone()),
        "usage_update" => cost(&update["cost"]).map_or(Heard::Nothing, Heard::Cost),
        "compaction_update" => match update["status"].as_str() {
            Some("completed") => Heard::Said(Update::Compacted),
            _ => Heard::Nothing,
        },
        "user_message_chunk" | "session_info_update" | "compaction_summary_chunk" => Heard::Nothing,
        "" => Heard::State(Update::Unknown { event: "session/update".into() }),
        other => Heard::State(Update::Unknown { event: other.to_owned() }),
    }
}

/// The agent's name of the message that an update is a part of.
pub(super) fn message_id(update: &Value) -> Option<String> {
    update["messageId"].as_str().map(str::to_owned)
}

fn said(text: String, update: impl FnOnce(String) -> Update) -> Heard {
    if text.is_empty() { Heard::Nothing } else { Heard::Said(update(text)) }
}

/// A block of content as words.
fn content(block: &Value) -> String {
    let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
    match block["type"].as_str() {
        Some("resource_link") => format!("[{}]({})", text("name"), text("uri")),
        Some("resource") => block["resource"]["text"].as_str().unwrap_or_default().to_owned(),
        Some(kind @ ("image" | "audio")) => format!("[{kind}: {}]", text("mimeType")),
        _ => text("text"),
    }
}

/// A call of a tool, or what is new of it.
pub(super) fn tool(call: &Value) -> ToolCall {
    let text = |name: &str| call[name].as_str().map(str::to_owned);
    let contents = || call["content"].as_array().into_iter().flatten();
    let output: Vec<_> = contents()
        .filter(|content| content["type"] == "content")
        .map(|item| content(&item["content"]))
        .filter(|text| !text.is_empty())
        .collect();
    ToolCall {
        id: text("toolCallId").unwrap_or_default(),
        title: text("title"),
        kind: call["kind"].as_str().map(tool_kind),
        status: call["status"].as_str().and_then(status),
        locations: locations(&call["locations"]),
        input: present(&call["rawInput"]).cloned(),
        output: if output.is_empty() { raw(&call["rawOutput"]) } else { Some(output.join("\n")) },
        diffs: contents().filter(|content| content["type"] == "diff").map(diff).collect(),
        denied: false,
    }
}

fn tool_kind(kind: &str) -> ToolKind {
    match kind {
        "read" => ToolKind::Read,
        "edit" => ToolKind::Edit,
        "delete" => ToolKind::Delete,
        "move" => ToolKind::Move,
        "search" => ToolKind::Search,
        "execute" => ToolKind::Execute,
        "think" => ToolKind::Think,
        "fetch" => ToolKind::Fetch,
        "switch_mode" => ToolKind::SwitchMode,
        _ => ToolKind::Other,
    }
}

fn status(status: &str) -> Option<ToolStatus> {
    Some(match status {
        "pending" => ToolStatus::Pending,
        "in_progress" => ToolStatus::Running,
        "completed" => ToolStatus::Completed,
        "failed" | "cancelled" => ToolStatus::Failed,
        _ => return None,
    })
}

fn locations(locations: &Value) -> Vec<Location> {
    let locations = locations.as_array().into_iter().flatten();
    let locations = locations.filter_map(|location| {
        let line = location["line"].as_u64().and_then(|line| u32::try_from(line).ok());
        Some(Location { path: location["path"].as_str()?.into(), line })
    });
    locations.collect()
}

fn diff(diff: &Value) -> Diff {
    Diff {
        path: diff["path"].as_str().unwrap_or_default().into(),
        before: diff["oldText"].as_str().map(str::to_owned),
        after: diff["newText"].as_str().unwrap_or_default().to_owned(),
    }
}

/// A value that says something.
fn present(value: &Value) -> Option<&Value> {
    let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    (!is_empty).then_some(value)
}

/// What a tool answered in no form that is agreed on, as words.
fn raw(output: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let output = present(output)?;
    Some(text(output).or_else(|| text(&output["output"])).unwrap_or_else(|| output.to_string()))
}

fn plan(entries: &Value) -> Vec<PlanEntry> {
    let entries = entries.as_array().into_iter().flatten();
    let entries = entries.map(|entry| PlanEntry {
        text: entry["content"].as_str().unwrap_or_default().to_owned(),
        status: entry["status"].as_str().and_then(status).unwrap_or(ToolStatus::Pending),
    });
    entries.collect()
}

fn commands(commands: &Value) -> Vec<CommandInfo> {
    let commands = commands.as_array().into_iter().flatten();
    let commands = commands.filter_map(|command| {
        let name = command["name"].as_str()?.trim_start_matches('/').to_owned();
        let description = command["description"].as_str().unwrap_or_default().to_owned();
        Some(CommandInfo { name, description })
    });
    commands.collect()
}

/// A price in millionths of a dollar; None where it is in something else.
fn cost(cost: &Value) -> Option<i64> {
    let is_dollars = cost["currency"].as_str().is_none_or(|it| it.eq_ignore_ascii_case("usd"));
    let amount = cost["amount"].as_f64().filter(|it| is_dollars && *it >= 0.0 && *it < 1e12)?;
    Some((amount * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_of_a_tool_is_read_with_all_that_it_says() {
        let heard = update(&json!({
            "sessionUpdate": "tool_call_update", "toolCallId": "c1", "title": "Edit", "kind": "edit",
            "status": "completed", "locations": [{"path": "/a", "line": 3}, {"line": 4}, {"path": "/b"}],
            "rawInput": {"path": "/a"}, "rawOutput": {"output": "raw"},
            "content": [
                {"type": "content", "content": {"type": "text", "text": "done"}},
                {"type": "diff", "path": "/a", "oldText": null, "newText": "x"},
                {"type": "terminal", "terminalId": "t"}, 7
            ]
        }));
        let location = |path: &str, line| Location { path: path.into(), line };
        let wanted = ToolCall {
            id: "c1".into(),
            title: Some("Edit".into()),
            kind: Some(ToolKind::Edit),
            status: Some(ToolStatus::Completed),
            locations: vec![location("/a", Some(3)), location("/b", None)],
            input: Some(json!({"path": "/a"})),
            output: Some("done".into()),
            diffs: vec![Diff { path: "/a".into(), before: None, after: "x".into() }],
            denied: false,
        };
        assert_eq!(heard, Heard::Said(Update::Tool(wanted)));
    }

    #[test]
    fn what_is_not_said_is_as_it_was() {
        let call = json!({"toolCallId": "c1", "kind": "teleport", "status": "odd", "rawInput": {}});
        let wanted =
            ToolCall { id: "c1".into(), kind: Some(ToolKind::Other), ..ToolCall::default() };
        assert_eq!(tool(&call), wanted);
        assert_eq!(raw(&json!({"output": "42\n", "metadata": {}})), Some("42\n".into()));
        assert_eq!(raw(&json!({"a": 1})), Some(r#"{"a":1}"#.into()));
    }

    #[test]
    fn texts_commands_modes_plans_and_prices_are_read() {
        let text = |kind, content: Value| {
            update(&json!({"sessionUpdate": kind, "messageId": "m", "content": content}))
        };
        let hello = json!({"type": "text", "text": "hello"});
        assert_eq!(
            text("agent_message_chunk", hello.clone()),
            Heard::Said(Update::Text { message: Some("m".into()), text: "hello".into() })
        );
        let thought = Heard::Said(Update::Thought { text: "hello".into() });
        assert_eq!(text("agent_thought_chunk", hello.clone()), thought);
        assert_eq!(text("user_message_chunk", hello), Heard::Nothing);
        assert_eq!(
            text("agent_message_chunk", json!({"type": "text", "text": ""})),
            Heard::Nothing
        );
        let commands = json!([{"name": "/init", "description": "begins"}, {"description": "none"}]);
        let command = CommandInfo { name: "init".into(), description: "begins".into() };
        assert_eq!(
            update(
                &json!({"sessionUpdate": "available_commands_update", "availableCommands": commands})
            ),
            Heard::State(Update::Commands { commands: vec![command] })
        );
        let entries = json!([{"content": "one", "status": "in_progress", "priority": "high"}]);
        let entry = PlanEntry { text: "one".into(), status: ToolStatus::Running };
        assert_eq!(
            update(&json!({"sessionUpdate": "plan", "entries": entries})),
            Heard::Said(Update::Plan { entries: vec![entry] })
        );
        let usage = |cost: Value| {
            update(&json!({"sessionUpdate": "usage_update", "used": 9, "size": 10, "cost": cost}))
        };
        assert_eq!(usage(json!({"amount": 0.00171, "currency": "USD"})), Heard::Cost(1710));
        assert_eq!(usage(json!({"amount": 3, "currency": "credits"})), Heard::Nothing);
        assert_eq!(usage(Value::Null), Heard::Nothing);
        let unknown = Heard::State(Update::Unknown { event: "notice".into() });
        assert_eq!(update(&json!({"sessionUpdate": "notice"})), unknown);
    }
}
