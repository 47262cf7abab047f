//! Turns that don't go as they should, each as agents and providers have done it.

use std::time::Duration;

use segue::{
    agents::{Outcome, Reply, Update},
    model::{
        Account, Metering, Payload, Resume, Retry, Sessions, TaskState, Tokens, TurnState,
        UsageReport,
    },
};

use super::{
    support::{Probe, Store},
    turns::{chat, said, text, told},
};

each_backend!(
    a_turn_that_is_reported_twice_is_booked_once,
    a_stream_that_is_cut_in_the_middle_is_kept_and_gone_on_with,
    an_agent_that_never_answers_is_ended_in_time,
);

fn report(source: &str, metering: Metering, input: u64, cost: i64) -> UsageReport {
    UsageReport {
        source: source.into(),
        model: Some("m".into()),
        metering,
        tokens: Tokens { input, ..Tokens::default() },
        cost: Some((metering, cost)),
        raw: Payload::of(&input).unwrap(),
    }
}

async fn a_turn_that_is_reported_twice_is_booked_once(store: Store) {
    let agent = told(Sessions::Theirs, |turn, listener| {
        Box::pin(async move {
            listener.session("s").await.unwrap();
            listener.prompting().await.unwrap();
            // A resumed agent says again what it has said in the turn before.
            let mut reports =
                vec![report("r1", Metering::Delta, 10, 7), report("r1", Metering::Delta, 10, 7)];
            if turn.resume != Resume::Fresh {
                reports.push(report("r2", Metering::Delta, 5, 1));
            }
            for report in reports {
                listener.tell(Update::Usage(report)).await;
            }
            Outcome::Completed(Reply::text("done"))
        })
    });
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let mut tasks = Vec::new();
    for prompt in ["one", "two"] {
        let task = chat.send("a", prompt).await.unwrap();
        task.ended().await.unwrap();
        tasks.push(task);
    }
    let spent = engine.spent(Account::Chat(chat.id())).await.unwrap();
    assert_eq!((spent.tokens.input, spent.cost, spent.bookings), (15, 8, 2));
    let rows = engine.ledger(Account::Task(tasks[1].id()), None, 10).await.unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.source.as_str(), row.tokens.input, row.raw.as_str()), ("r2", 5, "5"));
    let sessions = chat.agent_sessions().await.unwrap();
    assert_eq!((sessions[0].tokens.input, sessions[0].cost), (15, 8));
}

async fn a_stream_that_is_cut_in_the_middle_is_kept_and_gone_on_with(store: Store) {
    let probe = Probe::default();
    let log = probe.clone();
    let agent = told(Sessions::Theirs, move |turn, listener| {
        let probe = log.clone();
        Box::pin(async move {
            listener.session("s").await.unwrap();
            listener.prompting().await.unwrap();
            probe.note(format!("{:?}: {}", turn.resume, turn.prompt));
            if turn.resume == Resume::Fresh {
                listener.tell(text("one, t")).await;
                return Outcome::Interrupted { message: "the stream ended".into() };
            }
            listener.tell(text("two, three")).await;
            Outcome::Completed(Reply::text("two, three"))
        })
    });
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let retry = Retry { attempts_max: 2, delay_ms: 0, ..Retry::default() };
    let task = chat.send("a", "count").with(|task| task.retry(retry)).await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "two, three");
    assert_eq!(said(&chat).await, ["count", "one, t", "two, three"]);
    let log = probe.log();
    assert_eq!(log[0], "Fresh: count");
    // The session has the prompt: it is told to go on, not asked again.
    assert!(log[1].starts_with("Continue(\"s\"): The turn was interrupted"), "{log:?}");
    assert!(log.len() == 2 && !log[1].contains("count"), "{log:?}");
    let mut states: Vec<_> = chat.turns().await.unwrap().iter().map(|turn| turn.state).collect();
    states.sort_by_key(|state| *state == TurnState::Completed);
    assert_eq!(states, [TurnState::Interrupted, TurnState::Completed]);
}

async fn an_agent_that_never_answers_is_ended_in_time(store: Store) {
    let agent = told(Sessions::None, |turn, listener| {
        Box::pin(async move {
            listener.prompting().await.unwrap();
            if turn.prompt == "and you?" {
                return Outcome::Completed(Reply::text("well"));
            }
            turn.stop.cancelled().await;
            Outcome::Cancelled
        })
    });
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let hurried = |task: segue::NewTask| task.timeout(Duration::from_millis(20));
    let silent = chat.send("a", "how are you?").with(hurried).await.unwrap();
    assert_eq!(silent.ended().await.unwrap().state(), TaskState::Failed);
    let error = silent.output::<String>().await.unwrap_err();
    assert!(error.to_string().contains("20ms"), "{error}");
    assert!(chat.turns().await.unwrap().iter().all(|turn| !turn.state.is_open()));
    let next = chat.send("a", "and you?").await.unwrap();
    assert_eq!(next.output::<String>().await.unwrap(), "well");
}
