//! Real turns: one call of a tool, and an answer.

use segue::{
    agents::{ToolCall, ToolKind, ToolStatus, Update},
    model::Metering,
};

use super::{RECORDED, WELL, messages, read, recording, reply, reports, tokens};

/// What the tool printed.
const PRINTED: &str = "seven times six is 42";

/// A call as it is in the end.
fn calls(updates: &[Update]) -> Vec<ToolCall> {
    let mut calls: Vec<ToolCall> = Vec::new();
    for update in updates {
        let Update::Tool(now) = update else {
            continue;
        };
        let Some(call) = calls.iter_mut().find(|call| call.id == now.id) else {
            calls.push(now.clone());
            continue;
        };
        call.status = now.status.or(call.status);
        call.output = now.output.clone().or(call.output.take());
        call.denied |= now.denied;
    }
    calls
}

#[test]
fn a_turn_tells_its_tool_its_text_and_its_end() {
    for (format, name) in RECORDED {
        let (updates, outcome) = read(format, recording(name), &WELL);
        let told = messages(&updates);
        let [text] = &told[..] else { panic!("{name}: {told:?}") };
        assert!(text.starts_with("The tool said: ") && text.contains(PRINTED), "{name}: {text}");
        assert_eq!(reply(outcome).text, *text, "{name}");

        let calls = calls(&updates);
        let [call] = &calls[..] else { panic!("{name}: {calls:?}") };
        assert_eq!(call.kind, Some(ToolKind::Execute), "{name}");
        assert_eq!(call.status, Some(ToolStatus::Completed), "{name}");
        assert!(call.title.as_ref().is_some_and(|it| it.contains("echo seven")), "{name}");
        assert!(call.output.as_ref().is_some_and(|it| it.trim() == PRINTED), "{name}");
        assert!(!call.denied, "{name}");
        let unknown: Vec<_> =
            updates.iter().filter(|it| matches!(it, Update::Unknown { .. })).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

#[test]
fn tokens_are_counted_once_each() {
    let costs = |name| {
        let format = RECORDED.into_iter().find(|recorded| recorded.1 == name).expect("known").0;
        let (updates, _) = read(format, recording(name), &WELL);
        let reports = reports(&updates).into_iter().cloned();
        reports.map(|it| (it.metering, it.tokens, it.cost)).collect::<Vec<_>>()
    };
    let (delta, cumulative) = (Metering::Delta, Metering::Cumulative);
    let claude = (delta, tokens(200, (22, 14), 34, 6), Some((cumulative, 1259)));
    assert_eq!(costs("claude-2.1.330"), [claude]);
    assert_eq!(costs("codex-0.169.0"), [(cumulative, tokens(200, (22, 14), 34, 6), None)]);
    assert_eq!(costs("qwen-0.24.4"), [(cumulative, tokens(214, (22, 0), 40, 0), None)]);
    let step = (delta, tokens(107, (11, 0), 17, 3), Some((delta, 0)));
    assert_eq!(costs("opencode-1.18.33"), [step, step]);
}

#[test]
fn reports_of_a_session_have_names_of_their_own() {
    for (format, name) in RECORDED {
        let (updates, _) = read(format, recording(name), &WELL);
        let mut sources: Vec<_> = reports(&updates).iter().map(|it| it.source.clone()).collect();
        let count = sources.len();
        sources.dedup();
        assert_eq!(sources.len(), count, "{name}");
        assert!(count > 0 && sources.iter().all(|source| source.len() > 6), "{name}: {sources:?}");
        // What is read twice is the same.
        let again = read(format, recording(name), &WELL).0;
        assert_eq!(updates, again, "{name}");
    }
}
