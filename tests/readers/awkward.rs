//! Turns that go wrong, or tell more than their answer.

use std::time::Duration;

use segue::{
    agents::{
        Location, Outcome, PlanEntry, ToolCall, ToolStatus, Update,
        read::{End, Exit, Format},
    },
    model::Metering,
};
use serde_json::{Value, json};

use super::{WELL, messages, read, reply, reports, tokens};

fn turn(format: Format, events: &[Value], end: &End<'_>) -> (Vec<Update>, Outcome) {
    read(format, events.iter().map(ToString::to_string), end)
}

fn outcome(format: Format, events: &[Value], end: &End<'_>) -> Outcome {
    turn(format, events, end).1
}

fn denied(updates: &[Update]) -> Vec<&str> {
    let denied = updates.iter().filter_map(|update| match update {
        Update::Tool(ToolCall { id, denied: true, .. }) => Some(id.as_str()),
        _ => None,
    });
    denied.collect()
}

/// A result of Claude's.
fn result(subtype: &str, more: &Value) -> Value {
    let mut event = json!({
        "type": "result", "subtype": subtype, "is_error": subtype != "success", "uuid": "u",
        "stop_reason": "end_turn",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    event
}

fn piece(event: &Value) -> Value {
    json!({"type": "stream_event", "event": event, "parent_tool_use_id": null})
}

fn delta(name: &str, text: &str) -> Value {
    let kind = if name == "text" { "text_delta" } else { "thinking_delta" };
    piece(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: text}}))
}

fn begin(kind: &str) -> Value {
    piece(&json!({"type": "content_block_start", "content_block": {"type": kind}}))
}

fn whole(id: &str, block: &Value) -> Value {
    json!({"type": "assistant", "message": {"id": id, "content": [block]}})
}

#[test]
fn text_that_was_streamed_is_told_once() {
    let start = |id: &str| piece(&json!({"type": "message_start", "message": {"id": id}}));
    let events = [
        start("a"),
        begin("thinking"),
        delta("thinking", "Let me "),
        delta("thinking", "see."),
        whole("a", &json!({"type": "thinking", "thinking": "Let me see."})),
        begin("text"),
        delta("text", "One, "),
        delta("text", "two."),
        whole("a", &json!({"type": "text", "text": "One, two."})),
        begin("text"),
        // Its pieces are cut short: the rest is told with the whole.
        delta("text", " Thr"),
        whole("a", &json!({"type": "text", "text": " Three."})),
        // Its pieces have the name of the message before, as Qwen's after a thought.
        start("x"),
        begin("text"),
        delta("text", "And "),
        whole("y", &json!({"type": "text", "text": "And more."})),
        // No pieces at all.
        whole("b", &json!({"type": "text", "text": "Four."})),
        start("c"),
        begin("text"),
        delta("text", "Five."),
        result("success", &json!({"result": "Five."})),
    ];
    let (updates, end) = turn(Format::Claude, &events, &WELL);
    assert_eq!(messages(&updates), ["One, two. Three.", "And more.", "Four.", "Five."]);
    let thoughts = updates.iter().filter_map(|update| match update {
        Update::Thought { text } => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(thoughts.collect::<String>(), "Let me see.");
    assert_eq!(reply(end).text, "Five.");
}

#[test]
fn what_an_agent_inside_says_is_not_the_answer() {
    let mut inner = whole("i", &json!({"type": "text", "text": "inside"}));
    inner["parent_tool_use_id"] = json!("toolu_1");
    let mut tool = whole("i", &json!({"type": "tool_use", "id": "t", "name": "Edit", "input": {}}));
    tool["parent_tool_use_id"] = json!("toolu_1");
    let (updates, _) = turn(Format::Claude, &[inner, tool], &WELL);
    assert!(messages(&updates).is_empty());
    assert!(updates.iter().any(|update| matches!(update, Update::Tool(call) if call.id == "t")));
}

#[test]
fn a_turn_that_was_cut_off_has_used_what_its_messages_have() {
    let start = |id: &str| piece(&json!({"type": "message_start", "message": {"id": id}}));
    let used = json!({"input_tokens": 100, "cache_read_input_tokens": 11, "output_tokens": 20});
    let used = piece(&json!({"type": "message_delta", "usage": used}));
    let (updates, _) = turn(Format::Claude, &[start("a"), used.clone(), start("b"), used], &WELL);
    let told = reports(&updates);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|report| report.tokens == tokens(100, (11, 0), 20, 0)), "{told:?}");
    assert_ne!(told[0].source, told[1].source);
}

#[test]
fn a_result_of_nothing_is_no_count_that_began_anew() {
    let lost = json!({"errors": ["No conversation found"], "usage": {"input_tokens": 0}, "total_cost_usd": 0});
    let (updates, _) = turn(Format::Claude, &[result("error_during_execution", &lost)], &WELL);
    assert!(reports(&updates).is_empty(), "{updates:?}");
}

#[test]
fn waiting_for_a_provider_in_silence_is_a_limit_of_the_provider() {
    let limit = "Reconnecting... 1/5 (exceeded retry limit, last status: 429 Too Many Requests)";
    let retry = json!({"type": "error", "message": limit});
    let end = End { exit: Exit::Silent(Duration::from_secs(9)), ..WELL };
    let told = outcome(Format::Codex, std::slice::from_ref(&retry), &end);
    assert!(matches!(told, Outcome::RateLimited { wait: None, .. }), "{told:?}");
    let went_on = json!({"type": "item.completed", "item": {"type": "agent_message", "text": "a"}});
    let told = outcome(Format::Codex, &[retry, went_on], &end);
    assert!(matches!(told, Outcome::Interrupted { .. }), "{told:?}");
}

#[test]
fn no_final_event_is_no_answer_whatever_the_status() {
    let said = whole("a", &json!({"type": "text", "text": "All done!"}));
    for exit in [Exit::Code(0), Exit::Code(1), Exit::Killed, Exit::Silent(Duration::from_secs(9))] {
        let end = End { exit, ..WELL };
        let told = outcome(Format::Claude, std::slice::from_ref(&said), &end);
        assert!(matches!(told, Outcome::Interrupted { .. }), "{exit:?}: {told:?}");
        let told = outcome(Format::Claude, &[], &End { is_prompted: false, ..end });
        assert!(matches!(told, Outcome::Crashed { .. }), "{exit:?}: {told:?}");
        let told =
            outcome(Format::Claude, std::slice::from_ref(&said), &End { is_stopped: true, ..end });
        assert!(matches!(told, Outcome::Cancelled), "{exit:?}: {told:?}");
    }
    let usage = End { exit: Exit::Code(2), errors: "error: unknown option '--x'\n", ..WELL };
    let Outcome::Crashed { message } = outcome(Format::Claude, &[], &usage) else { panic!() };
    assert!(message.ends_with("error: unknown option '--x'"), "{message}");
}

#[test]
fn an_error_inside_is_an_error_also_with_status_0() {
    let failed = result("success", &json!({"is_error": true, "result": "API Error: broken"}));
    let told = outcome(Format::Claude, &[failed], &WELL);
    assert!(matches!(&told, Outcome::Crashed { message } if message == "API Error: broken"));
    let failed =
        json!({"type": "turn.failed", "error": {"message": "{\"error\": {\"message\": \"m\"}}"}});
    let told = outcome(Format::Codex, &[failed], &WELL);
    assert!(matches!(&told, Outcome::Crashed { message } if message == "m"), "{told:?}");
    let failed = json!({"type": "error", "error": {"name": "APIError", "data": {"message": "m"}}});
    let told = outcome(Format::Opencode, &[failed], &WELL);
    assert!(matches!(&told, Outcome::Crashed { message } if message == "APIError: m"), "{told:?}");
    let failed =
        json!({"type": "result", "status": "error", "error": {"type": "E", "message": "m"}});
    let told = outcome(Format::Gemini, &[failed], &WELL);
    assert!(matches!(&told, Outcome::Crashed { message } if message == "m"), "{told:?}");
}

#[test]
fn limits_of_the_turn_are_no_failures() {
    for (subtype, more, limit) in [
        ("error_max_turns", json!({"errors": ["Reached 3 turns"]}), "Reached 3 turns"),
        ("error_max_budget_usd", json!({}), "error_max_budget_usd"),
        ("success", json!({"result": "half", "stop_reason": "max_tokens"}), "max_tokens"),
        (
            "success",
            json!({"is_error": true, "result": "Prompt is too long"}),
            "Prompt is too long",
        ),
    ] {
        let told = outcome(Format::Claude, &[result(subtype, &more)], &WELL);
        assert!(matches!(&told, Outcome::LimitReached { limit: it } if it == limit), "{told:?}");
    }
    let length = json!({"type": "step_finish", "part": {"reason": "length"}});
    let told = outcome(Format::Opencode, &[length], &WELL);
    assert!(matches!(told, Outcome::LimitReached { .. }), "{told:?}");
    let refused = result("success", &json!({"result": "No.", "stop_reason": "refusal"}));
    let told = outcome(Format::Claude, &[refused], &WELL);
    assert!(matches!(&told, Outcome::Refused { message } if message == "No."), "{told:?}");
}

#[test]
fn limits_of_a_provider_say_how_long_they_last() {
    let wait = |told: &Outcome| match told {
        Outcome::RateLimited { wait, .. } => *wait,
        other => panic!("{other:?}"),
    };
    let info = json!({"status": "rejected", "resetsAt": 1_780_000_600});
    let event = json!({"type": "rate_limit_event", "rate_limit_info": info});
    let limit = json!({"is_error": true, "api_error_status": 429, "result": "Request rejected"});
    let limit = result("success", &limit);
    let told = outcome(Format::Claude, &[event, limit.clone()], &WELL);
    assert_eq!(wait(&told), Some(Duration::from_secs(600)));
    assert_eq!(wait(&outcome(Format::Claude, &[limit], &WELL)), None);
    let failed = "You've hit your usage limit. Try again in 2 hours 5 minutes.";
    let failed = json!({"type": "turn.failed", "error": {"message": failed}});
    let told = outcome(Format::Codex, &[failed], &WELL);
    assert_eq!(wait(&told), Some(Duration::from_secs(7500)));
    let end = End { exit: Exit::Code(1), errors: "429: retry after 30\n", ..WELL };
    assert_eq!(wait(&outcome(Format::Gemini, &[], &end)), Some(Duration::from_secs(30)));
}

#[test]
fn a_session_is_lost_only_where_one_was_to_go_on() {
    let lost = "No conversation found with session ID: 7";
    let failed = result("error_during_execution", &json!({"errors": [lost]}));
    let continued = End { exit: Exit::Code(1), is_continued: true, ..WELL };
    let told = outcome(Format::Claude, std::slice::from_ref(&failed), &continued);
    assert!(matches!(&told, Outcome::SessionLost { message } if message == lost), "{told:?}");
    let told = outcome(Format::Claude, std::slice::from_ref(&failed), &WELL);
    assert!(matches!(told, Outcome::Crashed { .. }), "{told:?}");
    // It has worked before it said so: it was another session that it means.
    let worked = whole("a", &json!({"type": "text", "text": "Let me ask."}));
    let told = outcome(Format::Claude, &[worked, failed], &continued);
    assert!(matches!(told, Outcome::Crashed { .. }), "{told:?}");
    let errors = End { errors: "Error: thread/resume failed: no rollout found for 7", ..continued };
    let told = outcome(Format::Codex, &[], &errors);
    assert!(matches!(told, Outcome::SessionLost { .. }), "{told:?}");
}

#[test]
fn what_was_denied_is_marked() {
    let results = |text: &str, is_error: bool| {
        let block = json!({
            "type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": text}],
            "is_error": is_error,
        });
        json!({"type": "user", "message": {"content": [block]}})
    };
    let refusal = "Claude requested permissions to use Bash, but you haven't granted it yet.";
    let denial = json!([{"tool_name": "Bash", "tool_use_id": "b", "tool_input": {}}]);
    let done = result("success", &json!({"permission_denials": denial, "result": ""}));
    let (updates, end) = turn(Format::Claude, &[results(refusal, true), done], &WELL);
    assert_eq!(denied(&updates), ["a", "b"]);
    assert_eq!(reply(end).text, "");
    // A call that was stopped while it ran.
    let mut stopped = results("The user doesn't want to proceed with this tool use.", true);
    stopped["tool_result_meta"] = json!([{"id": "a", "non_execution_kind": "user-rejected"}]);
    let (updates, _) = turn(Format::Claude, &[stopped], &WELL);
    assert!(denied(&updates).is_empty());
    // Words that a tool prints are no denial while it does not fail.
    let (updates, _) = turn(Format::Claude, &[results(refusal, false)], &WELL);
    assert!(denied(&updates).is_empty());
    let (updates, _) = turn(Format::Claude, &[results("exit code 1: no such file", true)], &WELL);
    assert!(denied(&updates).is_empty());

    let item = |status: &str, output: &str| {
        json!({"type": "item.completed", "item": {"type": "command_execution", "id": "c",
            "status": status, "aggregated_output": output, "command": "touch a"}})
    };
    for (status, output, is_denied) in [
        ("declined", "", true),
        ("failed", "touch: cannot touch 'a': Read-only file system", true),
        ("failed", "a: No such file", false),
    ] {
        let (updates, _) = turn(Format::Codex, &[item(status, output)], &WELL);
        assert_eq!(denied(&updates).len(), usize::from(is_denied), "{status} {output}");
    }
}

#[test]
fn plans_files_and_retries_are_told() {
    let todos = json!({"todos": [
        {"content": "look", "status": "completed"}, {"content": "act", "status": "in_progress"},
        {"content": "rest", "status": "pending"},
    ]});
    let entry = |text: &str, status| PlanEntry { text: text.to_owned(), status };
    let entries = vec![
        entry("look", ToolStatus::Completed),
        entry("act", ToolStatus::Running),
        entry("rest", ToolStatus::Pending),
    ];
    let plan = Update::Plan { entries };
    let call = |name: &str, input: &Value| {
        whole("a", &json!({"type": "tool_use", "id": "t", "name": name, "input": input}))
    };
    let retry = json!({"type": "system", "subtype": "api_retry", "error_status": 529});
    let input = json!({"file_path": "/a/b.rs", "offset": 7});
    let compacted = json!({"type": "system", "subtype": "compact_boundary"});
    let future = json!({"type": "system", "subtype": "from_the_future"});
    let events = [call("TodoWrite", &todos), call("Read", &input), retry, compacted, future];
    let (updates, _) = turn(Format::Claude, &events, &WELL);
    assert!(updates.contains(&plan), "{updates:?}");
    assert!(updates.contains(&Update::Compacted));
    assert!(updates.contains(&Update::Unknown { event: "system/from_the_future".into() }));
    assert!(
        updates
            .iter()
            .any(|it| matches!(it, Update::Retrying { reason } if reason.contains("529")))
    );
    let place = Location { path: "/a/b.rs".into(), line: Some(7) };
    assert!(
        updates
            .iter()
            .any(|it| matches!(it, Update::Tool(call) if call.locations == [place.clone()]))
    );

    let tool = json!({"callID": "t", "tool": "todowrite", "state": {"status": "completed", "input": todos}});
    let (updates, _) = turn(Format::Opencode, &[json!({"type": "tool_use", "part": tool})], &WELL);
    assert!(updates.contains(&plan), "{updates:?}");
}

#[test]
fn a_turn_of_gemini() {
    let events = [
        json!({"type": "init", "session_id": "s", "model": "m"}),
        json!({"type": "message", "role": "user", "content": "Do it."}),
        json!({"type": "message", "role": "assistant", "content": "I lo", "delta": true}),
        json!({"type": "message", "role": "assistant", "content": "ok.", "delta": true}),
        json!({"type": "tool_use", "tool_name": "read_file", "tool_id": "t",
            "parameters": {"absolute_path": "/a"}}),
        json!({"type": "tool_result", "tool_id": "t", "status": "error",
            "error": {"type": "x", "message": "Tool execution denied by policy."}}),
        json!({"type": "message", "role": "assistant", "content": "No.", "delta": true}),
        json!({"type": "result", "status": "success", "timestamp": "2026-11-23T00:00:00Z", "stats":
            {"input_tokens": 100, "cached": 11, "input": 89, "output_tokens": 20, "total_tokens": 123}}),
    ];
    let (updates, end) = turn(Format::Gemini, &events, &WELL);
    assert_eq!(messages(&updates), ["I look.", "No."]);
    assert_eq!(denied(&updates), ["t"]);
    assert_eq!(reply(end).text, "No.");
    let reports = reports(&updates);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].tokens, tokens(89, (11, 0), 20, 3));
    assert_eq!(reports[0].metering, Metering::Delta);
}

#[test]
fn an_answer_of_a_megabyte_is_read() {
    let long = "ä".repeat(1 << 20);
    let done = result("success", &json!({"result": long}));
    assert_eq!(reply(outcome(Format::Claude, &[done], &WELL)).text, long);
}

#[test]
fn an_answer_that_follows_a_schema_is_a_value() {
    let done = json!({"result": "{\"a\":1}", "structured_output": {"a": 1}});
    let told = reply(outcome(Format::Claude, &[result("success", &done)], &WELL));
    assert_eq!(told.output.map(|output| output.as_str().to_owned()), Some("{\"a\":1}".to_owned()));
}
