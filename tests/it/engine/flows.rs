//! Flows: typed steps, agents, failure, cancelling, versions, and faulty drafts.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use segue::{
    Agent, Context, Engine, Failure, Flow, NewTask, Step, Waiting,
    agents::{self, Reply, Turn},
    clock::Clock,
    id::RunId,
    model::{Access, Band, Retry, Role, RunFilter, RunState, StepState, TaskFilter, TaskState},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::support::{Faulty, Probe, Store, hold};

each_backend!(
    a_first_program_greets,
    inputs_are_steps_arrays_vectors_tuples_or_nothing,
    a_diamond_runs_each_step_once_after_its_inputs,
    an_agent_step_writes_its_prompt_before_and_its_answer_after,
    an_agent_answers_with_a_value_or_with_json_in_words,
    an_answer_of_the_wrong_type_fails_the_step,
    the_model_of_a_run_is_its_agents_model,
    an_agents_task_outside_any_flow_has_its_own_chat,
    a_chat_gives_its_history_to_the_agent,
    a_failed_step_skips_what_depends_on_it_and_nothing_else,
    a_step_is_retried_as_its_options_say,
    a_report_is_the_step_that_reports_or_all_that_is_known,
    a_cancelled_run_stops_its_steps_and_then_ends,
    a_paused_run_starts_nothing_more,
    the_same_run_is_launched_once,
    a_band_chooses_the_width,
    runs_are_listed_by_project_and_state,
    a_step_of_another_draft_is_a_usage_error,
    two_steps_of_one_name_are_a_usage_error,
    a_flow_without_steps_is_a_usage_error,
    a_run_that_does_not_exist_is_not_found,
    a_long_chain_and_a_wide_fan_in_complete,
    steps_never_wait_for_the_next_poll,
    a_step_of_a_chain_is_one_commit_and_reads_nothing,
    ends_of_one_run_that_come_together_share_a_commit,
    retention_removes_whole_runs_only,
);

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Greet {
    who: String,
}

async fn a_first_program_greets(store: Store) {
    let mut draft = Flow::new("greet");
    let input = draft.input::<Greet>();
    let name = draft.code("name", input, async |_, greet| Ok(greet.who.trim().to_owned()));
    let hello = draft.code("hello", name, async |_, name| Ok(format!("hello {name}")));
    let greet = draft.returns(input, hello);
    let engine = store.builder().flow(&greet).start().await.unwrap();
    let run = engine.launch(&greet, Greet { who: " Ada ".into() }).await.unwrap();
    assert_eq!(run.output().await.unwrap(), "hello Ada");
    assert_eq!(run.clone().await.unwrap(), "hello Ada");
    let any = engine.run(run.id()).output().await.unwrap();
    assert_eq!(any, json!("hello Ada"));
    assert_eq!(run.view().await.unwrap().spec.input.as_str(), r#"{"who":" Ada "}"#);
    let mermaid = run.mermaid().await.unwrap();
    assert!(mermaid.contains("s0 --> s1") && mermaid.contains(":::completed"), "{mermaid}");
}

async fn inputs_are_steps_arrays_vectors_tuples_or_nothing(store: Store) {
    let mut draft = Flow::new("inputs");
    let input = draft.input::<u32>();
    let none = draft.code("none", (), async |_, ()| Ok(1_u32));
    let array: [Step<u32>; 3] = [1, 2, 3].map(|n| {
        draft.code(format!("array {n}"), input, move |_, i: u32| async move { Ok(i * n) })
    });
    let list = vec![none, array[0]];
    let sum = draft.code("sum", list, async |_, all: Vec<u32>| Ok(all.iter().sum::<u32>()));
    let text = draft
        .code("text", (input, array, (sum,)), async |_, (i, a, (s,))| Ok(format!("{i} {a:?} {s}")));
    let empty = draft.code("empty", Vec::<Step<u32>>::new(), async |_, all| Ok(all.len()));
    let last = draft
        .code("last", (text, empty), async |_, (t, e): (String, usize)| Ok(format!("{t} {e}")));
    let flow = draft.returns(input, last);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let output = engine.launch(&flow, 10).await.unwrap().output().await.unwrap();
    assert_eq!(output, "10 [10, 20, 30] 11 0");
}

async fn a_diamond_runs_each_step_once_after_its_inputs(store: Store) {
    async fn mark(context: Context, name: &str) -> Result<(), Failure> {
        context.host::<Probe>()?.note(name);
        Ok(())
    }
    let mut draft = Flow::new("diamond");
    let input = draft.input::<()>();
    let top = draft.code("top", input, async |context, ()| mark(context, "top").await);
    let left = draft.code("left", top, async |context, ()| mark(context, "left").await);
    let right = draft.code("right", top, async |context, ()| mark(context, "right").await);
    let end = draft.code("end", (left, right, left), async |context, _| mark(context, "end").await);
    let flow = draft.returns(input, end);
    let probe = Probe::default();
    let builder = store.builder().flow(&flow).host(probe.clone());
    let (one, _two) = (builder.start().await.unwrap(), {
        let builder = store.builder().flow(&flow).host(probe.clone());
        builder.start().await.unwrap()
    });
    for _ in 0..20 {
        one.launch(&flow, ()).await.unwrap().output().await.unwrap();
    }
    let log = probe.log();
    assert_eq!(log.len(), 80, "each once");
    for run in log.chunks(4) {
        assert_eq!((run[0].as_str(), run[3].as_str()), ("top", "end"));
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Findings {
    count: u32,
}

/// A flow of one agent step.
fn asking<T: Serialize + serde::de::DeserializeOwned + Send + 'static>() -> Flow<String, T> {
    let mut draft = Flow::new("asking");
    let input = draft.input::<String>();
    let agent = Agent::named("echo").read_only();
    let answer = draft.agent("ask", input, &agent, |question| format!("please {question}"));
    draft.returns(input, answer)
}

/// An agent that answers with what the test wants, after it was let go.
fn scripted(probe: &Probe, reply: Reply) -> impl agents::Agent {
    let probe = probe.clone();
    agents::native(move |turn: Turn| {
        let (probe, reply) = (probe.clone(), reply.clone());
        async move {
            assert_eq!(turn.access, Access::ReadOnly);
            let _inside = probe.enter();
            probe.note(turn.prompt);
            probe.wait().await;
            Ok(reply)
        }
    })
}

async fn an_agent_step_writes_its_prompt_before_and_its_answer_after(store: Store) {
    let (flow, probe) = (asking::<String>(), Probe::default());
    let builder = store.builder().flow(&flow);
    let agent = scripted(&probe, Reply::text("look there"));
    let engine = builder.agent("echo", agent).start().await.unwrap();
    let run = engine.launch(&flow, "look".into()).await.unwrap();
    probe.arrived(1).await;
    let task = engine.task(run.steps().await.unwrap()[0].task.unwrap());
    let chat = task.view().await.unwrap().spec.chat.unwrap();
    let other = store.builder().connect().await.unwrap().chat_handle(chat);
    let said = other.history(0, 10).await.unwrap();
    assert_eq!(said.len(), 1, "the prompt is there before the agent acts on it");
    assert_eq!(said[0].content.decode::<String>().unwrap(), "please look");
    assert_eq!((said[0].role, said[0].task), (Role::User, Some(task.id())));
    probe.let_go(1);
    assert_eq!(run.output().await.unwrap(), "look there");
    let said = other.history(0, 10).await.unwrap();
    assert_eq!(said.len(), 2);
    assert_eq!(said[1].content.decode::<String>().unwrap(), "look there");
    assert_eq!(said[1].role, Role::Assistant);
}

async fn an_agent_answers_with_a_value_or_with_json_in_words(store: Store) {
    let (flow, found) = (asking::<Findings>(), Findings { count: 3 });
    let value = Reply::value(&found).unwrap().usage(&json!({"tokens": 9})).unwrap();
    for reply in [value, Reply::text(r#"{"count": 3}"#)] {
        let probe = Probe::default();
        let agent = scripted(&probe, reply);
        let builder = store.builder().flow(&flow).agent("echo", agent);
        let engine = builder.start().await.unwrap();
        probe.let_go(1);
        let run = engine.launch(&flow, "count".into()).await.unwrap();
        assert_eq!(run.output().await.unwrap(), found);
        engine.shutdown().await.unwrap();
    }
}

async fn an_answer_of_the_wrong_type_fails_the_step(store: Store) {
    let (flow, probe) = (asking::<Findings>(), Probe::default());
    let agent = scripted(&probe, Reply::text("three, I think"));
    let builder = store.builder().flow(&flow).agent("echo", agent);
    let engine = builder.start().await.unwrap();
    probe.let_go(2);
    let run = engine.launch(&flow, "count".into()).await.unwrap();
    let error = run.output().await.unwrap_err();
    let [first, again] = &probe.log()[..] else { panic!("it is asked once more, and no more") };
    assert_eq!(first, "please count");
    assert!(again.contains("please count") && again.contains("three, I think"), "{again}");
    assert!(again.contains("Your answer can't be used"), "{again}");
    assert!(error.is_task(), "{error}");
    let text = error.to_string();
    assert!(text.contains("step `ask`: the agent's reply is not what was asked for"), "{text}");
}

async fn the_model_of_a_run_is_its_agents_model(store: Store) {
    let model = agents::native(async |turn: Turn| Ok(Reply::text(turn.model.unwrap_or_default())));
    let mut draft = Flow::new("models");
    let input = draft.input::<()>();
    let own = Agent::named("echo").model("own");
    let own: Step<String> = draft.agent("own", input, &own, |()| "which?".into());
    let runs: Step<String> =
        draft.agent("runs", input, &Agent::named("echo"), |()| "which?".into());
    let both = draft.code("both", (own, runs), async |_, both: (String, String)| Ok(both));
    let flow = draft.returns(input, both);
    let builder = store.builder().flow(&flow).agent("echo", model);
    let engine = builder.start().await.unwrap();
    let run = engine.launch(&flow, ()).model("large").await.unwrap();
    assert_eq!(run.output().await.unwrap(), ("own".into(), "large".into()));
}

async fn an_agents_task_outside_any_flow_has_its_own_chat(store: Store) {
    let echo = agents::native(async |turn: Turn| {
        Ok(Reply::text(format!("{} with {:?}", turn.prompt, turn.model)))
    });
    let engine = store.builder().agent("echo", echo).start().await.unwrap();
    let new = NewTask::agent("echo", "hi").model("m");
    let task = engine.submit(new).await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "hi with Some(\"m\")");
    let chat = task.view().await.unwrap().spec.chat.unwrap();
    let said = engine.chat_handle(chat).history(0, 10).await.unwrap();
    assert_eq!(said.len(), 2);
}

async fn a_chat_gives_its_history_to_the_agent(store: Store) {
    let count = agents::native(async |turn: Turn| Ok(Reply::text(turn.history.len().to_string())));
    let engine = store.builder().agent("count", count).start().await.unwrap();
    let spec = segue::ChatSpec { project: "p".into(), ..Default::default() };
    let chat = engine.chat(segue::id::ChatId::new(), spec).await.unwrap();
    for before in ["0", "2", "4"] {
        let new = NewTask::agent("count", "how many?").chat(chat.id()).project("p");
        let task = engine.submit(new).await.unwrap();
        assert_eq!(task.output::<String>().await.unwrap(), before);
    }
    let filter = TaskFilter { chat: Some(chat.id()), ..TaskFilter::default() };
    assert_eq!(engine.tasks(filter, None, 10).await.unwrap().len(), 3);
}

async fn fail(_: Context, _: ()) -> Result<(), Failure> {
    Err(Failure::new("no\nway | out"))
}

async fn pass(_: Context, _: ()) -> Result<(), Failure> {
    Ok(())
}

/// bad -> after -> far; good -> beside.
fn failing() -> Flow<(), ()> {
    let mut draft = Flow::new("failing");
    let input = draft.input::<()>();
    let bad = draft.code("bad", input, fail);
    let after = draft.code("after", bad, pass);
    let good = draft.code("good", input, pass);
    draft.code("beside", good, pass);
    let far = draft.code("far", (after, good), async |_, _: ((), ())| Ok(()));
    draft.returns(input, far)
}

async fn a_failed_step_skips_what_depends_on_it_and_nothing_else(store: Store) {
    let flow = failing();
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Failed);
    let steps = run.steps().await.unwrap();
    let states: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.state)).collect();
    use StepState::*;
    let expected = [("bad", Failed), ("after", Skipped), ("good", Completed)];
    let rest = [("beside", Completed), ("far", Skipped)];
    assert_eq!(states, expected.into_iter().chain(rest).collect::<Vec<_>>());
    let reason = steps[1].reason.as_deref().unwrap();
    assert!(reason.contains("`bad`") && reason.contains("failed"), "{reason}");
    assert!(steps[4].reason.as_deref().unwrap().contains("`after`"));
    let error = run.output().await.unwrap_err().to_string();
    assert!(error.contains("step `bad`: no"), "{error}");
    assert!(run.cancel().await.unwrap_err().rejection().is_some());
    let report = run.report().await.unwrap();
    assert!(report.contains("| bad | Failed | no way \\| out |"), "{report}");
}

async fn a_step_is_retried_as_its_options_say(store: Store) {
    let mut draft = Flow::new("retried");
    let input = draft.input::<()>();
    let third = draft.code("third", input, async |context: Context, ()| match context.attempt() {
        3 => Ok(context.run().is_some()),
        _ => Err(Failure::new("not yet")),
    });
    draft.options(third, |options| options.retry = Retry::every(3, Duration::ZERO));
    let flow = draft.returns(input, third);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    assert!(run.output().await.unwrap());
}

async fn a_report_is_the_step_that_reports_or_all_that_is_known(store: Store) {
    let draw = |name: &str, reports: bool| {
        let mut draft = Flow::new(name);
        let input = draft.input::<()>();
        let text = draft.code("text", input, async |_, ()| Ok("# Found\n".to_owned()));
        if reports {
            draft.reports(text);
        }
        draft.returns(input, text)
    };
    let (with, without) = (draw("with", true), draw("without", false));
    let builder = store.builder().flow(&with).flow(&without);
    let engine = builder.start().await.unwrap();
    let run = engine.launch(&with, ()).await.unwrap();
    run.ended().await.unwrap();
    assert_eq!(run.report().await.unwrap(), "# Found\n");
    let run = engine.launch(&without, ()).await.unwrap();
    run.ended().await.unwrap();
    let report = run.report().await.unwrap();
    let expected = ["# without (Completed)", "| text | Completed |", "## text", "# Found"];
    assert!(expected.iter().all(|part| report.contains(part)), "{report}");
}

async fn a_cancelled_run_stops_its_steps_and_then_ends(store: Store) {
    let mut draft = Flow::new("holding");
    let input = draft.input::<()>();
    let held =
        draft.code("held", input, async |context, ()| hold(context, json!(null)).await.map(drop));
    let after = draft.code("after", held, pass);
    let flow = draft.returns(input, after);
    let probe = Probe::default();
    let builder = store.builder().flow(&flow).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    probe.arrived(1).await;
    let other = store.builder().connect().await.unwrap();
    assert_eq!(other.run(run.id()).cancel().await.unwrap(), RunState::Running);
    assert_eq!(run.ended().await.unwrap(), RunState::Cancelled);
    assert_eq!(probe.log(), ["told to stop"]);
    let states: Vec<_> = run.steps().await.unwrap().iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Cancelled; 2]);
    assert!(run.output().await.unwrap_err().is_task());
}

async fn a_paused_run_starts_nothing_more(store: Store) {
    let mut draft = Flow::new("holding");
    let input = draft.input::<()>();
    let held =
        draft.code("held", input, async |context, ()| hold(context, json!(null)).await.map(drop));
    let after = draft.code("after", held, pass);
    let flow = draft.returns(input, after);
    let probe = Probe::default();
    let builder = store.builder().flow(&flow).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    probe.arrived(1).await;
    run.pause().await.unwrap();
    probe.let_go(1);
    probe.left(1).await;
    engine.run_until_idle().await.unwrap();
    let steps = run.steps().await.unwrap();
    assert_eq!(steps[0].state, StepState::Completed, "what runs goes on");
    let task = engine.task(steps[1].task.unwrap());
    assert_eq!(task.why().await.unwrap(), Waiting::RunPaused(run.id()));
    run.resume().await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Completed);
}

pub fn versioned(version: u32) -> Flow<(), u32> {
    let mut draft = Flow::new("versioned");
    draft.version(version);
    let input = draft.input::<()>();
    let step = draft.code("step", input, move |_, ()| async move { Ok(version) });
    draft.returns(input, step)
}

async fn the_same_run_is_launched_once(store: Store) {
    let flow = versioned(1);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let id = RunId::new();
    for _ in 0..3 {
        let run = engine.launch(&flow, ()).id(id).project("p").await.unwrap();
        assert_eq!(run.output().await.unwrap(), 1);
    }
    assert_eq!(engine.runs(RunFilter::default(), None, 10).await.unwrap().len(), 1);
}

async fn a_band_chooses_the_width(store: Store) {
    let flow = Flow::banded("wide", |mut draft, band| {
        let input = draft.input::<()>();
        let width = match band {
            Band::Small => 1_u32,
            Band::Medium => 3,
            Band::Large => 7,
        };
        let one = |n| draft.code(format!("read {n}"), input, async |_, ()| Ok(1_u32));
        let readers: Vec<_> = (0..width).map(one).collect();
        let sum = draft.code("sum", readers, async |_, all: Vec<u32>| Ok(all.iter().sum::<u32>()));
        draft.returns(input, sum)
    });
    let engine = store.builder().flow(&flow).start().await.unwrap();
    for (band, width) in [(Band::Small, 1), (Band::Medium, 3), (Band::Large, 7)] {
        let run = engine.launch(&flow, ()).band(band).await.unwrap();
        assert_eq!(run.output().await.unwrap(), width);
        assert_eq!(run.view().await.unwrap().spec.band, band);
    }
}

async fn runs_are_listed_by_project_and_state(store: Store) {
    let (good, bad) = (versioned(1), failing());
    let engine = store.builder().flow(&good).flow(&bad).start().await.unwrap();
    let first = engine.launch(&good, ()).project("p").label("who", "Ada");
    let first = first.meta(&json!({"tab": 1})).await.unwrap();
    let second = engine.launch(&bad, ()).project("p").await.unwrap();
    engine.launch(&bad, ()).project("q").await.unwrap().ended().await.unwrap();
    first.ended().await.unwrap();
    second.ended().await.unwrap();
    let of = async |states: &[RunState]| {
        let (project, states) = (Some("p".into()), states.to_vec());
        let filter = RunFilter { project, states, flow: None };
        let runs = engine.runs(filter, None, 10).await.unwrap();
        runs.iter().map(|view| view.run.id).collect::<Vec<_>>()
    };
    assert_eq!(of(&[]).await, [second.id(), first.id()]);
    assert_eq!(of(&[RunState::Failed]).await, [second.id()]);
    let spec = first.view().await.unwrap().spec;
    assert_eq!(spec.labels["who"], "Ada");
    assert_eq!(spec.meta.unwrap().as_str(), r#"{"tab":1}"#);
    let stats = engine.stats().await.unwrap();
    assert_eq!(stats.runs[&RunState::Failed], 2);
}

/// The error of using a faulty flow, which is the same at the start and at a launch.
async fn fault<O: 'static>(store: &Store, flow: &Flow<(), O>) -> String {
    let start = store.builder().flow(flow).start().await.unwrap_err();
    assert!(start.is_usage(), "{start}");
    let engine: Engine = store.builder().start().await.unwrap();
    let launch = engine.launch(flow, ()).await;
    let launch = launch.map(|run| run.id()).unwrap_err();
    assert!(launch.is_usage(), "{launch}");
    assert_eq!(engine.stats().await.unwrap().runs.len(), 0);
    assert_eq!(launch.to_string(), start.to_string());
    launch.to_string()
}

async fn a_step_of_another_draft_is_a_usage_error(store: Store) {
    let mut other = Flow::new("other");
    let input = other.input::<()>();
    let foreign = other.code("foreign", input, pass);
    let mut draft = Flow::new("faulty");
    let input = draft.input::<()>();
    let step = draft.code("uses", (input, foreign), async |_, _: ((), ())| Ok(()));
    let text = fault(&store, &draft.returns(input, step)).await;
    assert!(text.contains("`faulty`") && text.contains("`uses`"), "{text}");
    assert!(text.contains("another flow"), "{text}");
}

async fn two_steps_of_one_name_are_a_usage_error(store: Store) {
    let mut draft = Flow::new("faulty");
    let input = draft.input::<()>();
    let one = draft.code("twin", input, pass);
    let two = draft.code("twin", one, pass);
    let text = fault(&store, &draft.returns(input, two)).await;
    assert!(text.contains("two steps are called `twin`"), "{text}");
    let mut draft = Flow::new("faulty");
    let input = draft.input::<()>();
    let nameless = draft.code("", input, pass);
    fault(&store, &draft.returns(input, nameless)).await;
}

async fn a_flow_without_steps_is_a_usage_error(store: Store) {
    let mut draft = Flow::new("empty");
    let input = draft.input::<()>();
    let text = fault(&store, &draft.returns(input, input)).await;
    assert!(text.contains("`empty`") && text.contains("no steps"), "{text}");
}

async fn a_run_that_does_not_exist_is_not_found(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let run = engine.run(RunId::new());
    assert!(run.state().await.unwrap_err().is_not_found());
    assert!(run.ended().await.unwrap_err().is_not_found());
    assert!(run.output().await.unwrap_err().is_not_found());
    assert!(run.cancel().await.unwrap_err().is_not_found());
    assert!(run.report().await.unwrap_err().is_not_found());
}

async fn a_long_chain_and_a_wide_fan_in_complete(store: Store) {
    let mut draft = Flow::new("long");
    let input = draft.input::<u32>();
    let mut last = input;
    for n in 0..200 {
        last = draft.code(format!("chain {n}"), last, async |_, n: u32| Ok(n + 1));
    }
    let one = |n| draft.code(format!("fan {n}"), last, async |_, n: u32| Ok(n));
    let fan: Vec<_> = (0..200).map(one).collect();
    let sum = draft.code("sum", fan, async |_, all: Vec<u32>| Ok(all.iter().sum::<u32>()));
    let flow = draft.returns(input, sum);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 1).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 201 * 200);
    let filter = TaskFilter {
        run: Some(run.id()),
        states: vec![TaskState::Completed],
        ..TaskFilter::default()
    };
    let tasks = engine.tasks(filter, None, 1_000).await.unwrap();
    assert_eq!(tasks.len(), 401);
    assert!(tasks.iter().all(|view| view.task.as_ref().unwrap().lease == 1), "each once");
}

async fn a_step_of_a_chain_is_one_commit_and_reads_nothing(store: Store) {
    let mut draft = Flow::new("chain");
    let input = draft.input::<u32>();
    let mut last = input;
    for n in 0..10 {
        last = draft.code(format!("step {n}"), last, async |_, n: u32| Ok(n + 1));
    }
    let flow = draft.returns(input, last);
    let backend = Arc::new(Faulty::on(store.backend(Clock::System).await));
    let engine = Engine::on(backend.clone()).poll(Duration::from_secs(3_600)).flow(&flow);
    let engine = engine.start().await.unwrap();
    engine.run_until_idle().await.unwrap();
    let before = backend.commits.load(SeqCst);
    let run = engine.launch(&flow, 0).await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Completed);
    let commits = backend.commits.load(SeqCst) - before;
    assert_eq!(commits, 11, "the launch with the first claim, and one for each step");
    let reads = backend.output_reads.load(SeqCst);
    assert_eq!(reads, 0, "what a step returned is known to the next");
    assert_eq!(run.output().await.unwrap(), 10);
    engine.shutdown().await.unwrap();
}

/// The row of a run is not locked once for each of its steps.
async fn ends_of_one_run_that_come_together_share_a_commit(store: Store) {
    const WIDE: u32 = 64;
    let mut draft = Flow::new("wide");
    let input = draft.input::<serde_json::Value>();
    let one = |n| draft.code(format!("step {n}"), input, hold);
    let wide: Vec<_> = (0..WIDE).map(one).collect();
    let flow = draft.returns(input, wide[0]);
    let backend = Arc::new(Faulty::on(store.backend(Clock::System).await));
    let probe = Probe::default();
    let builder = Engine::on(backend.clone()).flow(&flow).host(probe.clone());
    let engine = builder.concurrency(WIDE).start().await.unwrap();
    let run = engine.launch(&flow, json!(1)).await.unwrap();
    probe.arrived(WIDE).await;
    let before = backend.commits.load(SeqCst);
    probe.let_go(WIDE as usize);
    assert_eq!(run.ended().await.unwrap(), RunState::Completed);
    let commits = backend.commits.load(SeqCst) - before;
    assert!(commits <= WIDE / 4, "{commits} commits for {WIDE} ends");
    engine.shutdown().await.unwrap();
}

async fn retention_removes_whole_runs_only(store: Store) {
    let clock = segue::clock::ManualClock::default();
    let hour = Duration::from_secs(3_600);
    let flow = versioned(1);
    let builder = store.builder().clock(clock.clone()).keep_runs(hour).keep_tasks(hour);
    let engine = builder.keep_entries(hour).flow(&flow).start().await.unwrap();
    let old = engine.launch(&flow, ()).await.unwrap();
    old.ended().await.unwrap();
    let live = engine.launch(&versioned(9), ()).await.unwrap();
    clock.advance(hour * 2);
    super::support::eventually("the old run is gone", || async {
        // PostgreSQL keeps what a transaction of another test still hides; the next round asks.
        clock.advance(Duration::from_secs(60));
        old.state().await.is_err_and(|error| error.is_not_found())
    })
    .await;
    assert_eq!(old.steps().await.unwrap(), []);
    assert_eq!(old.watch().try_next().await.unwrap(), None);
    assert_eq!(live.state().await.unwrap(), RunState::Running);
    let first = live.watch().try_next().await.unwrap();
    assert!(first.is_some(), "the entries of a run that lives are kept");
}

async fn steps_never_wait_for_the_next_poll(store: Store) {
    let mut draft = Flow::new("chain");
    let input = draft.input::<u32>();
    let mut last = input;
    for n in 0..20 {
        last = draft.code(format!("step {n}"), last, async |_, n: u32| Ok(n + 1));
    }
    let flow = draft.returns(input, last);
    let builder = store.builder().poll(Duration::from_secs(3_600));
    let engine = builder.concurrency(3).flow(&flow).start().await.unwrap();
    let mut runs = Vec::new();
    for n in 0..30 {
        runs.push(engine.launch(&flow, n).await.unwrap());
    }
    for (n, run) in (0..).zip(runs) {
        assert_eq!(run.output().await.unwrap(), n + 20);
    }
}
