//! Work that is remembered: done once, and taken by whoever would do the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use segue::{
    Agent, Context, Engine, Failure, Flow, ItemPolicy, Items, Run,
    agents::{Reply, Turn, native},
    clock::Timestamp,
    id::{RunId, TaskId},
    model::{Event, Limits, OnBreach, Prune, RetryRun, RunState},
    view::Glyphs,
};

use super::support::{Store, eventually};

each_backend!(
    work_that_was_done_is_taken_with_its_task_named,
    what_decides_what_comes_out_makes_other_work,
    a_failure_is_not_remembered,
    what_is_asked_for_again_is_done_again,
    a_run_under_a_fresh_run_is_fresh,
    the_items_of_a_map_are_remembered_one_by_one,
    a_turn_is_remembered_by_prompt_agent_and_model,
    what_was_taken_is_owned_and_outlives_the_run_that_did_it,
    recalled_work_draws_on_no_budget,
    a_step_that_adds_others_is_done_each_time,
);

type Count = Arc<AtomicU32>;

/// One remembered step, which counts how often it works.
fn doubled(done: &Count, number: u32) -> Flow<u32, u32> {
    let done = Arc::clone(done);
    let mut draft = Flow::new("doubled");
    draft.version(number);
    let input = draft.input::<u32>();
    let step = draft.code("double", input, move |_, n: u32| {
        done.fetch_add(1, SeqCst);
        async move { Ok(n * 2) }
    });
    draft.memo(step, number);
    draft.returns(input, step)
}

async fn recalled<O>(run: &Run<O>, engine: &Engine, step: &str) -> Option<TaskId> {
    let steps = run.steps().await.unwrap();
    let step = steps.iter().find(|known| known.name == step).unwrap();
    engine.task(step.task.unwrap()).attempts().await.unwrap().last().unwrap().recalled
}

async fn work_that_was_done_is_taken_with_its_task_named(store: Store) {
    let done = Count::default();
    let flow = doubled(&done, 1);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let first = engine.launch(&flow, 21).await.unwrap();
    assert_eq!(first.clone().await.unwrap(), 42);
    let second = engine.launch(&flow, 21).await.unwrap();
    assert_eq!(second.clone().await.unwrap(), 42);
    assert_eq!(done.load(SeqCst), 1);
    let task = first.steps().await.unwrap()[0].task;
    assert_eq!(recalled(&first, &engine, "double").await, None);
    assert_eq!(recalled(&second, &engine, "double").await, task);

    let record = second.record().await.unwrap();
    let events: Vec<_> = record.events.iter().flat_map(|entry| &entry.events).collect();
    let told = Event::StepRecalled { no: 0, name: "double".into(), from: task.unwrap() };
    assert!(events.contains(&&told), "{events:?}");
    assert!(record.timeline_text(80, Glyphs::Unicode).contains("recalled"));
    let again = segue::view::RunRecord::from_json(&record.to_json()).unwrap();
    assert_eq!(again.steps[0].task.as_ref().unwrap().attempts[0].recalled, task);
    // The third takes it from the second, which has it as its own.
    let third = engine.launch(&flow, 21).await.unwrap();
    third.ended().await.unwrap();
    assert_eq!(recalled(&third, &engine, "double").await, second.steps().await.unwrap()[0].task);
}

async fn what_decides_what_comes_out_makes_other_work(store: Store) {
    let done = Count::default();
    let (flow, other) = (doubled(&done, 1), doubled(&done, 2));
    let engine = store.builder().flow(&flow).flow(&other).start().await.unwrap();
    let expect = |n| assert_eq!(done.load(SeqCst), n);
    engine.launch(&flow, 1).await.unwrap().await.unwrap();
    expect(1);
    engine.launch(&flow, 2).await.unwrap().await.unwrap();
    expect(2);
    engine.launch(&flow, 1).project("another").await.unwrap().await.unwrap();
    expect(3);
    engine.launch(&flow, 1).base("c0ffee").await.unwrap().await.unwrap();
    expect(4);
    engine.launch(&flow, 1).base("c0ffee").await.unwrap().await.unwrap();
    engine.launch(&flow, 1).label("l", "v").priority(7).await.unwrap().await.unwrap();
    expect(4);
    engine.launch(&other, 1).await.unwrap().await.unwrap();
    expect(5);
}

async fn a_failure_is_not_remembered(store: Store) {
    let done = Count::default();
    let mut draft = Flow::new("fails once");
    let input = draft.input::<()>();
    let counted = Arc::clone(&done);
    let step = draft.code("step", input, move |_, ()| {
        let n = counted.fetch_add(1, SeqCst);
        async move { if n == 0 { Err(Failure::fatal("no")) } else { Ok(n) } }
    });
    draft.memo(step, 1);
    let flow = draft.returns(input, step);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Failed);
    run.retry(RetryRun::FailedOnly).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 1);
    assert_eq!(engine.launch(&flow, ()).await.unwrap().await.unwrap(), 1);
    assert_eq!(done.load(SeqCst), 2);
}

async fn what_is_asked_for_again_is_done_again(store: Store) {
    let done = Count::default();
    let flow = doubled(&done, 1);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 3).await.unwrap();
    run.ended().await.unwrap();
    run.retry(RetryRun::All).await.unwrap();
    run.ended().await.unwrap();
    assert_eq!(done.load(SeqCst), 2, "a retry of all takes nothing");
    let fork = run.fork("double").await.unwrap();
    fork.ended().await.unwrap();
    assert_eq!(done.load(SeqCst), 3, "a fork takes nothing");
    let fresh = engine.launch(&flow, 3).fresh().await.unwrap();
    fresh.ended().await.unwrap();
    assert_eq!(done.load(SeqCst), 4);
    let last = engine.launch(&flow, 3).await.unwrap();
    last.ended().await.unwrap();
    assert_eq!(done.load(SeqCst), 4, "what a fresh run did is remembered");
    let task = fresh.steps().await.unwrap()[0].task;
    assert_eq!(recalled(&last, &engine, "double").await, task);
}

async fn a_run_under_a_fresh_run_is_fresh(store: Store) {
    let done = Count::default();
    let inner = doubled(&done, 1);
    let mut draft = Flow::new("outer");
    let input = draft.input::<u32>();
    let sub = draft.flow("inner", input, &inner);
    let outer = draft.returns(input, sub);
    let engine = store.builder().flow(&outer).start().await.unwrap();
    for (fresh, times) in [(false, 1), (false, 1), (true, 2)] {
        let launch = engine.launch(&outer, 5).base("b");
        let launch = if fresh { launch.fresh() } else { launch };
        assert_eq!(launch.await.unwrap().await.unwrap(), 10);
        assert_eq!(done.load(SeqCst), times);
    }
    engine.launch(&inner, 5).base("b").await.unwrap().await.unwrap();
    assert_eq!(done.load(SeqCst), 2, "the run under it had its base");
}

async fn the_items_of_a_map_are_remembered_one_by_one(store: Store) {
    let done = Count::default();
    let counted = Arc::clone(&done);
    let mut draft = Flow::new("lengths");
    let words = draft.input::<Vec<String>>();
    // What is said of one map is not said of another.
    let shouted = Arc::<AtomicU32>::default();
    let counted_too = Arc::clone(&shouted);
    let loud: Items<String> = draft.map("shout", words, ItemPolicy::All, move |_, word: String| {
        counted_too.fetch_add(1, SeqCst);
        async move { Ok(word.to_uppercase()) }
    });
    let lengths: Items<usize> =
        draft.map("length", words, ItemPolicy::All, move |_, word: String| {
            counted.fetch_add(1, SeqCst);
            async move { Ok(word.len()) }
        });
    draft.memo(&lengths, 1);
    let all =
        draft.code("all", (lengths, loud), async |_, (all, _): (Vec<usize>, Vec<String>)| Ok(all));
    let flow = draft.returns(words, all);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let launch = async |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        engine.launch(&flow, words).await.unwrap().await.unwrap()
    };
    assert_eq!(launch(&["a", "bb"]).await, [1, 2]);
    assert_eq!(done.load(SeqCst), 2);
    assert_eq!(launch(&["ccc", "bb", "a"]).await, [3, 2, 1]);
    assert_eq!(done.load(SeqCst), 3, "two of three were known, whatever their place");
    assert_eq!(shouted.load(SeqCst), 5);
}

async fn a_turn_is_remembered_by_prompt_agent_and_model(store: Store) {
    let done = Count::default();
    let counted = Arc::clone(&done);
    let echo = move |turn: Turn| {
        counted.fetch_add(1, SeqCst);
        async move { Ok(Reply::text(format!("{} says {:?}", turn.prompt, turn.model))) }
    };
    let mut draft = Flow::new("ask");
    let input = draft.input::<(String, u32)>();
    let agent = Agent::named("echo").read_only();
    // Of what it takes only the word is part of the prompt.
    let step = draft.agent("say", input, &agent, |(word, _): (String, u32)| format!("hi {word}"));
    draft.memo(step, 1);
    let flow = draft.returns(input, step);
    let engine = store.builder().agent("echo", native(echo)).flow(&flow).start().await.unwrap();
    let say = async |word: &str, n, model: Option<&str>| {
        let launch = engine.launch(&flow, (word.to_owned(), n));
        let launch = model.into_iter().fold(launch, |launch, model| launch.model(model));
        let run = launch.await.unwrap();
        let said: String = run.clone().await.unwrap();
        (said, done.load(SeqCst))
    };
    assert_eq!(say("a", 1, None).await, ("hi a says None".into(), 1));
    assert_eq!(say("a", 2, None).await, ("hi a says None".into(), 1));
    assert_eq!(say("b", 2, None).await, ("hi b says None".into(), 2));
    assert_eq!(say("a", 1, Some("big")).await, ("hi a says Some(\"big\")".into(), 3));
}

/// Prunes until a run is gone: PostgreSQL keeps it while a reader may not have seen its end.
async fn gone(engine: &Engine, prune: Prune, run: RunId) {
    eventually("the run is pruned", || async {
        engine.prune(prune).await.unwrap();
        engine.run(run).view().await.is_err_and(|error| error.is_not_found())
    })
    .await;
}

async fn what_was_taken_is_owned_and_outlives_the_run_that_did_it(store: Store) {
    let done = Count::default();
    let flow = doubled(&done, 1);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let first = engine.launch(&flow, 4).await.unwrap();
    first.ended().await.unwrap();
    let (kept, removed) = (engine.launch(&flow, 4).await.unwrap(), first.id());
    kept.ended().await.unwrap();
    let between = kept.view().await.unwrap().run.ended_at;
    let never = Timestamp::ZERO;
    let before =
        |runs_before| Prune { tasks_before: never, runs_before, entries_before: never, limit: 100 };
    gone(&engine, before(between), removed).await;
    let third = engine.launch(&flow, 4).await.unwrap();
    assert_eq!(third.clone().await.unwrap(), 8);
    assert_eq!(done.load(SeqCst), 1, "it is taken from the run that took it");
    let last = third.view().await.unwrap().run.ended_at + Duration::from_secs(1);
    gone(&engine, before(last), third.id()).await;
    assert_eq!(engine.launch(&flow, 4).await.unwrap().await.unwrap(), 8);
    assert_eq!(done.load(SeqCst), 2, "what is remembered goes with the last that had it");
}

async fn recalled_work_draws_on_no_budget(store: Store) {
    let done = Count::default();
    let counted = Arc::clone(&done);
    let costly = move |turn: Turn| {
        counted.fetch_add(1, SeqCst);
        let reply = Reply::text(turn.prompt).usage(&serde_json::json!({ "tokens": 9 }));
        async move { reply }
    };
    let mut draft = Flow::new("costly");
    let input = draft.input::<String>();
    let step: segue::Step<String> =
        draft.agent("turn", input, &Agent::named("costly"), |word: String| word);
    draft.memo(step, 1);
    draft.uses(step, Limits { tokens: Some(9), ..Limits::default() });
    let flow = draft.returns(input, step);
    let engine = store.builder().agent("costly", native(costly)).flow(&flow).start().await.unwrap();
    for used in [9, 0] {
        let limits = Limits { tokens: Some(10), ..Limits::default() };
        let run = engine.launch(&flow, "x".into()).budget(limits, OnBreach::Fail).await.unwrap();
        run.ended().await.unwrap();
        let budget = run.view().await.unwrap().run.budget.unwrap();
        assert_eq!(budget.used.tokens, used);
        assert_eq!(budget.reserved.tokens, 0);
    }
    assert_eq!(done.load(SeqCst), 1);
}

async fn a_step_that_adds_others_is_done_each_time(store: Store) {
    let done = Count::default();
    let counted = Arc::clone(&done);
    let mut draft = Flow::new("grower");
    let input = draft.input::<()>();
    let leaf = draft.template("leaf", async |_, n: u32| Ok(n));
    let step = draft.code("grow", input, move |context: Context, ()| {
        counted.fetch_add(1, SeqCst);
        async move {
            context.add(leaf, "one", &1_u32)?;
            Ok(1_u32)
        }
    });
    draft.memo(step, 1);
    let flow = draft.returns(input, step);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    for times in 1..3 {
        let run = engine.launch(&flow, ()).await.unwrap();
        assert_eq!(run.ended().await.unwrap(), RunState::Completed);
        assert_eq!(run.steps().await.unwrap().len(), 2);
        assert_eq!(done.load(SeqCst), times);
    }
}

#[test]
fn what_is_no_work_can_not_be_remembered() {
    let fault = |draw: fn(&mut segue::Draft, segue::Step<u32>)| {
        let mut draft = Flow::new("faulty");
        let input = draft.input::<u32>();
        let step = draft.code("step", input, async |_, n: u32| Ok(n));
        draw(&mut draft, step);
        let flow = draft.returns(input, step);
        let folder = tempfile::tempdir().unwrap();
        let start = Engine::sqlite(folder.path().join("work.db")).flow(&flow).start();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let refused = runtime.block_on(start).unwrap_err();
        assert!(refused.is_usage());
        refused.to_string()
    };
    let gate = fault(|draft, step| {
        let gate = draft.gate("gate", step, "good?");
        draft.memo(gate, 1);
    });
    assert!(gate.contains("`gate` can't be remembered"), "{gate}");
    let collection = fault(|draft, step| {
        let items: Items<u32> = draft.collect("all", step);
        draft.memo(&items, 1);
    });
    assert!(collection.contains("`memo` is said of a collection"), "{collection}");
    let other = fault(|draft, _| {
        let other = Flow::new("other").template("t", async |_, n: u32| Ok(n));
        draft.memo(other, 1);
    });
    assert!(other.contains("`memo` is said of a template of another flow"), "{other}");
}
