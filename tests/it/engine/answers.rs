//! What an agent's answer must be, and what an agent is told before it answers.

use segue::{
    Agent, Flow, HandOff, NewTask, Step,
    agents::{Listener, Outcome, Reply, Turn},
    model::{Role, Sessions, TaskState},
};
use serde_json::{Value, json};

use super::{
    support::{Probe, Store},
    turns::{Told, Work, chat, told},
};

each_backend!(
    an_answer_that_satisfies_its_schema_is_the_value,
    an_answer_that_never_satisfies_its_schema_is_none,
    a_step_takes_what_satisfies_its_schema,
    what_is_no_schema_is_refused,
    an_agent_is_told_in_short_what_was_said_without_it,
    a_summary_is_made_by_the_host,
);

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1}},
        "required": ["n"],
        "additionalProperties": false,
    })
}

/// An agent that gives these answers, one after the other, and notes what it was told.
fn answering(
    probe: &Probe,
    answers: &'static [&'static str],
) -> Told<impl for<'a> Fn(Turn, &'a dyn Listener) -> Work<'a> + use<>> {
    let probe = probe.clone();
    told(Sessions::Theirs, move |turn, listener| {
        let probe = probe.clone();
        Box::pin(async move {
            listener.session("s").await.unwrap();
            listener.prompting().await.unwrap();
            let schema = turn.schema.as_ref().map(|schema| schema.decode::<Value>().unwrap());
            probe.note(format!("{} | {}", turn.prompt, schema.unwrap_or_default()));
            let answer = answers[(probe.log().len() - 1).min(answers.len() - 1)];
            Outcome::Completed(Reply::text(answer))
        })
    })
}

async fn an_answer_that_satisfies_its_schema_is_the_value(store: Store) {
    let probe = Probe::default();
    let agent = answering(&probe, &[r#"{"n": 0, "m": 1}"#, "So:\n```json\n{\"n\": 4}\n```"]);
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    let task = chat.send("a", "count").schema(&schema()).await.unwrap();
    assert_eq!(task.output::<Value>().await.unwrap(), json!({"n": 4}));
    let log = probe.log();
    assert_eq!(log[0], format!("count | {}", schema()));
    // It is told all that is wrong, and where.
    assert!(log[1].contains("0 is less than the minimum of 1 (at `/n`)"), "{log:?}");
    assert!(log[1].contains("'m' was unexpected"), "{log:?}");
    assert_eq!(log.len(), 2);
}

async fn an_answer_that_never_satisfies_its_schema_is_none(store: Store) {
    let probe = Probe::default();
    let engine = store.builder().agent("a", answering(&probe, &["4"])).start().await.unwrap();
    let chat = chat(&engine).await;
    let task = chat.send("a", "count").schema(&schema()).await.unwrap();
    let error = task.output::<Value>().await.unwrap_err();
    assert!(error.to_string().contains("4 is not of type \"object\""), "{error}");
    let attempts = task.attempts().await.unwrap();
    assert_eq!(attempts.len(), 1, "another attempt would not change it");
    assert_eq!(probe.log().len(), 2, "it is asked once more, and not again");
}

async fn a_step_takes_what_satisfies_its_schema(store: Store) {
    let probe = Probe::default();
    // The type alone would take both.
    let agent = answering(&probe, &[r#"{"n": 0}"#, r#"{"n": 4}"#]);
    let mut draft = Flow::new("count");
    let input = draft.input::<()>();
    let recipe = Agent::named("a").schema(&schema());
    let step: Step<Value> = draft.agent("count", input, &recipe, |()| "count".into());
    let flow = draft.returns(input, step);
    let engine = store.builder().agent("a", agent).flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    assert_eq!(run.output().await.unwrap(), json!({"n": 4}));
    assert_eq!(probe.log().len(), 2);
}

async fn what_is_no_schema_is_refused(store: Store) {
    let none = json!({"type": "table"});
    let engine = store.builder().start().await.unwrap();
    let task = NewTask::agent("a", "count").schema(&none);
    let error = engine.enqueue_all([task]).await.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("not a JSON schema"), "{error}");

    let mut draft = Flow::new("count");
    let input = draft.input::<()>();
    let recipe = Agent::named("a").schema(&none);
    let step: Step<Value> = draft.agent("count", input, &recipe, |()| "count".into());
    let flow = draft.returns(input, step);
    let error = engine.launch(&flow, ()).await.unwrap_err();
    assert!(error.to_string().contains("the agent of `count`"), "{error}");
}

async fn an_agent_is_told_in_short_what_was_said_without_it(store: Store) {
    let (probe, made) = (Probe::default(), Probe::default());
    let counted = made.clone();
    let engine = store
        .builder()
        .agent("a", answering(&Probe::default(), &["two"]))
        .agent("b", answering(&probe, &["three"]))
        .summarizer(move |said| {
            let made = counted.clone();
            async move {
                made.note("made".to_owned());
                Ok(format!("{} messages", said.len()))
            }
        })
        .start()
        .await
        .unwrap();
    let chat = chat(&engine).await;
    chat.send("a", "one").await.unwrap().output::<String>().await.unwrap();
    let first = chat.send("b", "and then?").hand_off(HandOff::Summary).await.unwrap();
    first.output::<String>().await.unwrap();
    let log = probe.log();
    assert!(log[0].contains("<summary>\n2 messages\n</summary>"), "{log:?}");
    assert!(log[0].contains("and then?") && !log[0].contains("two"), "{log:?}");
    // It is part of the chat, and is news to nobody.
    let said = chat.history(0, 100).await.unwrap();
    let summary = said.iter().find(|it| it.role == Role::System).expect("the summary");
    assert_eq!(summary.task, Some(first.id()));
    chat.send("b", "and now?").hand_off(HandOff::Summary).await.unwrap();
    let last = chat.send("b", "and?").hand_off(HandOff::Summary).await.unwrap();
    last.output::<String>().await.unwrap();
    assert!(probe.log().iter().skip(1).all(|told| !told.contains("summary")), "{:?}", probe.log());
    assert_eq!(made.log().len(), 1);
}

async fn a_summary_is_made_by_the_host(store: Store) {
    let agent = answering(&Probe::default(), &["two"]);
    let engine = store.builder().agent("a", agent).start().await.unwrap();
    let chat = chat(&engine).await;
    chat.append(Role::User, "before").await.unwrap();
    let task = chat.send("a", "go").hand_off(HandOff::Summary).await.unwrap();
    let error = task.output::<String>().await.unwrap_err();
    assert!(error.to_string().contains("Builder::summarizer"), "{error}");
    assert_eq!(task.view().await.unwrap().state(), TaskState::Failed);
}
