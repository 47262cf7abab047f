//! What an agent says in a turn, and what else it says.

use std::path::PathBuf;

use segue::{
    agents::{Block, Diff, Location, PlanEntry, Resume, ToolCall, ToolKind, ToolStatus, Update},
    model::{Metering, Tokens},
};

use super::{
    ear::Ear,
    place::{Place, answer},
};

#[tokio::test]
async fn a_turn_is_told_as_it_goes_and_ends_with_the_last_message() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]);
    let prompt = "think hm\nsay first\nplan the work\ntool c1 edit\ndone c1\nsay-as m1 the \n\
        say-as m1 answer";
    let reply = answer(place.first(&agent, &ear, prompt).await);
    assert_eq!(reply, "the answer");
    let text = |message: Option<&str>, text: &str| Update::Text {
        message: message.map(str::to_owned),
        text: text.into(),
    };
    let path = PathBuf::from("/a/file");
    let call = ToolCall {
        id: "c1".into(),
        title: Some("tool c1".into()),
        kind: Some(ToolKind::Edit),
        status: Some(ToolStatus::Running),
        locations: vec![Location { path: path.clone(), line: Some(3) }],
        input: Some(serde_json::json!({"path": "/a/file"})),
        ..ToolCall::default()
    };
    let done = ToolCall {
        id: "c1".into(),
        status: Some(ToolStatus::Completed),
        output: Some("it is done".into()),
        diffs: vec![Diff { path, before: Some("a".into()), after: "b".into() }],
        ..ToolCall::default()
    };
    let entry = PlanEntry { text: "the work".into(), status: ToolStatus::Running };
    let wanted = [
        Update::Thought { text: "hm".into() },
        text(None, "first"),
        Update::Plan { entries: vec![entry] },
        Update::Tool(call),
        Update::Tool(done),
        text(Some("m1"), "the "),
        text(Some("m1"), "answer"),
    ];
    assert_eq!(ear.updates(), wanted);
    let notes = ear.notes();
    assert!(notes[0].starts_with("session session-"), "{notes:?}");
    assert_eq!(notes[1..], ["prompting"]);
    let commands = ear.all().into_iter().filter(|it| matches!(it, Update::Commands { .. })).count();
    assert_eq!(commands, 1, "those that came before the session's id");
}

#[tokio::test]
async fn usage_is_of_the_turn_and_cost_is_of_the_session() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]);
    answer(place.first(&agent, &ear, "cost 0.25\ncost 0.25\ncost 0.5\nusage 100 7\nsay a").await);
    answer(place.next(&agent, &ear, "cost 0.75\nusage 50 1").await);
    let reports = ear.updates().into_iter().filter_map(|update| match update {
        Update::Usage(report) => Some(report),
        _ => None,
    });
    let reports: Vec<_> = reports.collect();
    let costs: Vec<_> = reports.iter().filter_map(|report| report.cost).collect();
    let all = |micros| (Metering::Cumulative, micros);
    assert_eq!(costs, [all(250_000), all(500_000), all(750_000)]);
    let tokens =
        |input, cache_read, output| Tokens { input, cache_read, output, ..Tokens::default() };
    let of_turns: Vec<_> = reports.iter().filter(|report| report.cost.is_none()).collect();
    assert!(of_turns.iter().all(|report| report.metering == Metering::Delta));
    let of_turns: Vec<_> = of_turns.iter().map(|report| report.tokens).collect();
    assert_eq!(of_turns, [tokens(100, 10, 7), tokens(50, 5, 1)]);
    let mut sources: Vec<_> = reports.iter().map(|report| &report.source).collect();
    sources.sort();
    sources.dedup();
    assert_eq!(sources.len(), reports.len(), "each report is another event");
}

#[tokio::test]
async fn what_is_no_message_disturbs_nothing() {
    for (manners, prompt) in [
        (&["--banner"][..], "say ok"),
        (&["--early"], "say ok"),
        (&[], "raw npm warn: your node is old\nsay ok"),
        (&[], "raw {\"jsonrpc\":\"2.0\",\"id\":\nsay ok"),
        (&[], "raw [[[[\nsay ok"),
        (&[], "raw {\"jsonrpc\":\"2.0\",\"method\":\"session/update\"}\nsay ok"),
        (
            &[],
            "raw {\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{\"update\":7}}\nsay ok",
        ),
        (&[], "other\nsay ok"),
    ] {
        let (place, ear) = (Place::new(), Ear::default());
        let agent = place.agent(manners);
        assert_eq!(answer(place.first(&agent, &ear, prompt).await), "ok", "{manners:?} {prompt}");
        // Whatever came late is not of the next turn.
        assert_eq!(answer(place.next(&agent, &ear, "say two\nbefore").await), "two1 before");
        assert_eq!(place.custody.starts(), 1, "{prompt}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_twice_is_one_and_not_that_of_the_next_turn() {
    let (place, ear) = (Place::new(), Ear::default());
    let agent = place.agent(&[]);
    assert_eq!(answer(place.first(&agent, &ear, "twice").await), "");
    assert_eq!(answer(place.next(&agent, &ear, "before").await), "1 before");
    assert_eq!(place.custody.starts(), 1);
}

#[tokio::test]
async fn what_nobody_asked_for_is_ignored_and_what_nobody_knows_is_refused() {
    let (place, ear) = (Place::new(), Ear::default());
    let reply = answer(place.first(&place.agent(&[]), &ear, "stray").await);
    assert_eq!(reply, "the answer is Some(-32601)");
}

#[tokio::test]
async fn a_line_of_megabytes_is_a_line() {
    let (place, ear) = (Place::new(), Ear::default());
    let reply = answer(place.first(&place.agent(&[]), &ear, "huge 5000000").await);
    assert_eq!(reply.len(), 5_000_000);
}

#[tokio::test]
async fn blocks_reach_the_agent() {
    let (place, ear) = (Place::new(), Ear::default());
    let mut turn = place.turn("", Resume::Fresh);
    turn.content = vec![
        Block::text("say a"),
        Block::ResourceLink { uri: "file:///b".into(), name: "b".into() },
        Block::Resource { uri: "file:///c".into(), text: "c".into() },
    ];
    assert_eq!(answer(place.take(&place.agent(&[]), &ear, turn).await), "afile:///bc");
}
