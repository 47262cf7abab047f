//! Flows whose edges say more than "all must complete": through the public API.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use segue::{
    Context, Engine, Failure, Flow, ItemPolicy, Items, Run, Verdict, any, at_least,
    model::{
        Condition, ItemState, OnFailure, Otherwise, RetryRun, RunState, StepKind, StepState,
        TaskState, Tolerance,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::support::{Store, eventually};

each_backend!(
    a_missing_output_is_an_option_or_a_result,
    a_condition_on_an_output_chooses_the_branch,
    the_first_of_several_is_enough,
    a_group_of_alternatives_is_a_join,
    a_step_that_can_not_start_may_cancel_the_run,
    a_failure_may_be_ignored_or_stop_the_run,
    a_map_has_a_step_for_each_item_and_none_for_an_empty_list,
    a_map_can_do_without_some_of_its_items,
    a_step_adds_steps_once_however_often_it_is_tried,
    steps_that_would_wait_for_each_other_are_refused,
    a_gate_is_approved_edited_or_rejected,
    an_answer_for_an_earlier_attempt_is_refused,
    a_timer_holds_no_worker,
    a_run_under_a_run_is_awaited_without_a_worker,
    a_run_under_a_run_is_cancelled_with_it,
    a_run_under_a_run_that_failed_is_tried_again_where_it_failed,
    a_run_is_done_again_in_three_ways,
    a_fork_goes_on_from_a_step_with_another_input,
    one_step_is_cancelled_and_the_others_go_on,
);

async fn states<O>(run: &Run<O>) -> Vec<(String, StepState)> {
    let steps = run.steps().await.unwrap();
    steps.into_iter().map(|step| (step.name, step.state)).collect()
}

async fn state_of<O>(run: &Run<O>, name: &str) -> StepState {
    let all = states(run).await;
    all.into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}")).1
}

async fn fails(_: Context, _: ()) -> Result<u32, Failure> {
    Err(Failure::fatal("no"))
}

async fn a_missing_output_is_an_option_or_a_result(store: Store) {
    let mut draft = Flow::new("tolerant");
    let input = draft.input::<u32>();
    let good = draft.code("good", input, async |_, n: u32| Ok(n + 1));
    let bad = draft.code("bad", (), fails);
    draft.on_failure(bad, OnFailure::Ignore);
    let only_skips = bad.tolerating(Tolerance::SKIPPED);
    draft.code("never", only_skips, async |_, n: Option<u32>| Ok(n.is_none()));
    let taken = draft.code("taken", (good.optional(), bad.result()), async |_, (good, bad)| {
        let bad = bad.map(|_: u32| ()).unwrap_err();
        Ok((good, bad.state, bad.reason))
    });
    let flow = draft.returns(input, taken);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 1).await.unwrap();
    let (good, bad, reason) = run.output().await.unwrap();
    assert_eq!((good, bad, reason.as_deref()), (Some(2), StepState::Failed, Some("no")));
    assert_eq!(state_of(&run, "never").await, StepState::Skipped);
    engine.shutdown().await.unwrap();
}

async fn a_condition_on_an_output_chooses_the_branch(store: Store) {
    let mut draft = Flow::new("branch");
    let input = draft.input::<u32>();
    let rated = draft.code("rate", input, async |_, n: u32| Ok(json!({ "stars": n })));
    let good = Condition::AtLeast("/stars".into(), 3.0);
    let bad = Condition::Not(Box::new(good.clone()));
    let praise = draft.code("praise", rated.when(good), async |_, _| Ok("good".to_owned()));
    let blame = draft.code("blame", rated.when(bad), async |_, _| Ok("bad".to_owned()));
    let both = (praise.optional(), blame.optional());
    let word = draft.code("word", both, async |_, (a, b): (Option<String>, Option<String>)| {
        a.or(b).ok_or_else(|| Failure::fatal("neither"))
    });
    let flow = draft.returns(input, word);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    for (stars, word) in [(5, "good"), (1, "bad")] {
        let run = engine.launch(&flow, stars).await.unwrap();
        assert_eq!(run.output().await.unwrap(), word);
        assert_eq!(run.state().await.unwrap(), RunState::Completed);
    }
    engine.shutdown().await.unwrap();
}

async fn the_first_of_several_is_enough(store: Store) {
    let mut draft = Flow::new("race");
    let input = draft.input::<()>();
    let quick = draft.code("quick", input, async |_, ()| Ok(1_u32));
    let lost = draft.code("lost", input, fails);
    draft.on_failure(lost, OnFailure::Ignore);
    let first = draft.code("first", any([quick, lost]), async |_, all: Vec<Option<u32>>| {
        Ok(all.into_iter().flatten().sum::<u32>())
    });
    let enough = at_least(2, [quick, lost]);
    draft.code("second", enough, async |_, _: Vec<Option<u32>>| Ok(()));
    let flow = draft.returns(input, first);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 1);
    assert_eq!(state_of(&run, "second").await, StepState::Skipped, "two can't be had");
    engine.shutdown().await.unwrap();
}

async fn a_group_of_alternatives_is_a_join(store: Store) {
    let mut draft = Flow::new("groups");
    let input = draft.input::<u32>();
    let a = draft.code("a", input, async |_, n: u32| Ok(n));
    let b = draft.code("b", (), fails);
    let c = draft.code("c", input, async |_, n: u32| Ok(n * 10));
    draft.on_failure(b, OnFailure::Ignore);
    let left = draft.join("a or b", any([a, b]));
    let right = draft.join("b or c", any([b, c]));
    let both = draft.code("both", (left, right), async |_, (left, right)| {
        let sum = |all: Vec<Option<u32>>| all.into_iter().flatten().sum::<u32>();
        Ok(sum(left) + sum(right))
    });
    let flow = draft.returns(input, both);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 2).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 22);
    let joins = run.steps().await.unwrap().into_iter().filter(|step| step.kind == StepKind::Join);
    assert!(joins.into_iter().all(|step| step.task.is_none()));
    engine.shutdown().await.unwrap();
}

async fn a_step_that_can_not_start_may_cancel_the_run(store: Store) {
    let mut draft = Flow::new("needed");
    let input = draft.input::<bool>();
    let asked = draft.code("asked", input, async |_, yes: bool| Ok(yes));
    let yes = Condition::Is(String::new(), json!(true));
    let needed = draft.code("needed", asked.when(yes), async |_, _| Ok(()));
    draft.otherwise(needed, Otherwise::Cancel);
    let flow = draft.returns(input, needed);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    for (yes, state) in [(true, RunState::Completed), (false, RunState::Cancelled)] {
        let run = engine.launch(&flow, yes).await.unwrap();
        assert_eq!(run.ended().await.unwrap(), state);
    }
    engine.shutdown().await.unwrap();
}

async fn a_failure_may_be_ignored_or_stop_the_run(store: Store) {
    let flow = |name: &str, effect: OnFailure| {
        let mut draft = Flow::new(name);
        let input = draft.input::<()>();
        let bad = draft.code("bad", input, fails);
        draft.on_failure(bad, effect);
        let slow = draft.timer("slow", input, Duration::from_millis(500));
        let other = draft.code("other", slow, async |_, ()| Ok(()));
        draft.returns(input, other)
    };
    let flows = [
        (flow("fails", OnFailure::FailRun), RunState::Failed, StepState::Completed),
        (flow("ignores", OnFailure::Ignore), RunState::Completed, StepState::Completed),
        (flow("stops", OnFailure::StopRun), RunState::Failed, StepState::Cancelled),
    ];
    let builder = flows.iter().fold(store.builder(), |builder, (flow, ..)| builder.flow(flow));
    let engine = builder.start().await.unwrap();
    for (flow, state, other) in &flows {
        let run = engine.launch(flow, ()).await.unwrap();
        assert_eq!(run.ended().await.unwrap(), *state, "{}", flow.name());
        assert_eq!(state_of(&run, "other").await, *other, "{}", flow.name());
    }
    engine.shutdown().await.unwrap();
}

async fn a_map_has_a_step_for_each_item_and_none_for_an_empty_list(store: Store) {
    let mut draft = Flow::new("squares");
    let input = draft.input::<Vec<u32>>();
    let squares = draft.map("square", input, ItemPolicy::All, async |_, n: u32| Ok(n * n));
    let sum = draft.code("sum", squares, async |_, all: Vec<u32>| Ok(all));
    let flow = draft.returns(input, sum);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    for items in [vec![1, 2, 3], vec![], (0..200).collect()] {
        let run = engine.launch(&flow, items.clone()).await.unwrap();
        let squares: Vec<u32> = items.iter().map(|n| n * n).collect();
        assert_eq!(run.output().await.unwrap(), squares, "in the order of the list");
        assert_eq!(run.steps().await.unwrap().len(), 3 + items.len());
    }
    engine.shutdown().await.unwrap();
}

async fn a_map_can_do_without_some_of_its_items(store: Store) {
    let odd = async |_: Context, n: u32| match n % 2 {
        1 => Ok(n),
        _ => Err(Failure::fatal("even")),
    };
    let results = |name: &str, policy: ItemPolicy| {
        let mut draft = Flow::new(name);
        let input = draft.input::<Vec<u32>>();
        let some: Items<u32> = draft.map("odd", input, policy, odd);
        let last = draft.code("last", some.results(), async |_, all: Vec<Result<u32, _>>| {
            Ok(all.into_iter().map(Result::ok).collect::<Vec<_>>())
        });
        draft.returns(input, last)
    };
    let [all, ended, three, two] = [
        results("all", ItemPolicy::All),
        results("ended", ItemPolicy::Ended),
        results("three", ItemPolicy::AtLeast(3)),
        results("two", ItemPolicy::AtLeast(2)),
    ];
    let builder = [&all, &ended, &three, &two].into_iter().fold(store.builder(), |b, f| b.flow(f));
    let engine = builder.start().await.unwrap();
    let run = async |flow| engine.launch(flow, vec![1, 2, 3, 4]).await.unwrap();
    let run_all = run(&all).await;
    assert_eq!(run_all.ended().await.unwrap(), RunState::Failed);
    assert_eq!(state_of(&run_all, "last").await, StepState::Skipped);
    let ended = run(&ended).await.output().await.unwrap();
    assert_eq!(ended, [Some(1), None, Some(3), None]);
    let two = run(&two).await.output().await.unwrap();
    assert_eq!(two.into_iter().flatten().count(), 2);
    let run_three = run(&three).await;
    assert_eq!(run_three.ended().await.unwrap(), RunState::Completed, "nobody's fault");
    assert_eq!(state_of(&run_three, "last").await, StepState::Skipped);
    engine.shutdown().await.unwrap();
}

async fn a_step_adds_steps_once_however_often_it_is_tried(store: Store) {
    let mut draft = Flow::new("growing");
    let input = draft.input::<u32>();
    let half = draft.template("half", async |_, n: u32| Ok(n / 2));
    let tries = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&tries);
    // The step that collects is said after the one that adds: it is known by then.
    let place = Arc::new(std::sync::OnceLock::<Items<u32>>::new());
    let known = Arc::clone(&place);
    let grower = draft.code("grower", input, move |context: Context, n: u32| {
        let (counter, known) = (Arc::clone(&counter), Arc::clone(&known));
        async move {
            let all = known.get().expect("the flow was built");
            let first = context.add(half, "first", &n)?.into(all);
            context.add(half, "second", &(n * 2))?.after(&first).into(all);
            match counter.fetch_add(1, SeqCst) {
                0 => Err(Failure::new("once more")),
                _ => Ok(()),
            }
        }
    });
    draft.options(grower, |options| options.retry = segue::model::Retry::times(3));
    let all = draft.collect::<u32, _>("all", grower);
    place.set(all.clone()).unwrap();
    let sum = draft.code("sum", all, async |_, all: Vec<u32>| Ok(all));
    let flow = draft.returns(input, sum);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 10).await.unwrap();
    assert_eq!(run.output().await.unwrap(), [5, 10]);
    assert_eq!(tries.load(SeqCst), 2);
    let names: Vec<_> = states(&run).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["grower", "all", "sum", "grower/first", "grower/second"]);
    engine.shutdown().await.unwrap();
}

async fn steps_that_would_wait_for_each_other_are_refused(store: Store) {
    let mut draft = Flow::new("knot");
    let input = draft.input::<()>();
    let other = draft.template("other", async |_, ()| Ok(()));
    let grower = draft.code("grower", input, move |context: Context, ()| async move {
        let first = context.add(other, "first", &())?;
        let second = context.add(other, "second", &())?.after(&first);
        drop(first.after(&second));
        Ok(())
    });
    let flow = draft.returns(input, grower);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    let error = run.output().await.unwrap_err().to_string();
    assert!(error.contains("first") && error.contains("wait for each other"), "{error}");
    assert_eq!(run.steps().await.unwrap().len(), 1);
    engine.shutdown().await.unwrap();
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plan {
    text: String,
}

fn gated() -> Flow<String, Plan> {
    let mut draft = Flow::new("gated");
    let input = draft.input::<String>();
    let plan = draft.code("plan", input, async |_, text: String| Ok(Plan { text }));
    let agreed = draft.gate("agree", plan, "Shall it be done like this?");
    draft.returns(input, agreed)
}

async fn open_item(engine: &Engine) -> segue::model::Item {
    eventually("something is asked", || async {
        !engine.inbox(None, 10).await.unwrap().is_empty()
    })
    .await;
    engine.inbox(None, 10).await.unwrap().remove(0)
}

async fn a_gate_is_approved_edited_or_rejected(store: Store) {
    let flow = gated();
    let engine = store.builder().flow(&flow).concurrency(1).start().await.unwrap();
    let plan = |text: &str| Plan { text: text.into() };
    for (verdict, text) in [
        (Verdict::Approve, Some("a")),
        (Verdict::Edit(plan("b")), Some("b")),
        (Verdict::Reject("no".into()), None),
    ] {
        let run = engine.launch(&flow, "a".into()).await.unwrap();
        let item = open_item(&engine).await;
        let shown: serde_json::Value = item.body.decode().unwrap();
        assert_eq!(shown["value"], json!({ "text": "a" }));
        engine.answer(item.id, "maybe", "Ada").await.unwrap();
        let again = loop {
            let item = open_item(&engine).await;
            if item.kind != segue::model::ItemKind::Failure {
                break item;
            }
        };
        assert!(again.body.as_str().contains("no verdict"), "{:?}", again.body);
        engine.judge(again.id, &verdict, "Ada").await.unwrap();
        match text {
            Some(text) => assert_eq!(run.output().await.unwrap(), plan(text)),
            None => {
                let error = run.output().await.unwrap_err().to_string();
                assert!(error.contains("rejected by Ada: no"), "{error}");
            }
        }
    }
    engine.shutdown().await.unwrap();
}

async fn an_answer_for_an_earlier_attempt_is_refused(store: Store) {
    let flow = gated();
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, "a".into()).await.unwrap();
    let first = open_item(&engine).await;
    run.cancel().await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Cancelled);
    run.retry(RetryRun::FailedOnly).await.unwrap();
    let second = open_item(&engine).await;
    assert_ne!(first.task, second.task);
    let verdict = Verdict::<Plan>::Approve;
    let late = engine.judge(first.id, &verdict, "Ada").await.unwrap_err();
    assert_eq!(late.rejection(), Some(&segue::model::Rejection::Withdrawn));
    assert_eq!(engine.item(second.id).await.unwrap().state, ItemState::Open);
    engine.judge(second.id, &verdict, "Ada").await.unwrap();
    assert_eq!(run.output().await.unwrap().text, "a");
    let attempts = run.attempts().await.unwrap();
    let known: Vec<_> = attempts.iter().map(|row| (row.attempt, row.retry, row.state)).collect();
    let first = (1, None, RunState::Cancelled);
    assert_eq!(known, [first, (2, Some(RetryRun::FailedOnly), RunState::Completed)]);
    engine.shutdown().await.unwrap();
}

async fn a_timer_holds_no_worker(store: Store) {
    let mut draft = Flow::new("wait");
    let input = draft.input::<u32>();
    let first = draft.code("first", input, async |_, n: u32| Ok(n));
    let timer = draft.timer("timer", first, Duration::from_millis(300));
    let last = draft.code("last", (first, timer), async |_, (n, ()): (u32, ())| Ok(n));
    let flow = draft.returns(input, last);
    let engine = store.builder().flow(&flow).concurrency(1).start().await.unwrap();
    let waits = engine.launch(&flow, 1).await.unwrap();
    let task = async || waits.steps().await.unwrap()[1].task;
    eventually("it waits", || async { task().await.is_some() }).await;
    let timer = engine.task(task().await.unwrap());
    assert_eq!(timer.view().await.unwrap().state(), TaskState::Pending);
    let beside = engine.launch(&flow, 2).await.unwrap();
    assert_eq!((waits.output().await.unwrap(), beside.output().await.unwrap()), (1, 2));
    engine.shutdown().await.unwrap();
}

fn outer(inner: &Flow<u32, u32>) -> Flow<u32, u32> {
    let mut draft = Flow::new("outer");
    let input = draft.input::<u32>();
    let sub = draft.flow("sub", input, inner);
    draft.options(sub, |options| options.retry = segue::model::Retry::times(2));
    let last = draft.code("last", sub, async |_, n: u32| Ok(n + 1));
    draft.returns(input, last)
}

async fn a_run_under_a_run_is_awaited_without_a_worker(store: Store) {
    let mut draft = Flow::new("inner");
    let input = draft.input::<u32>();
    let twice = draft.code("twice", input, async |_, n: u32| Ok(n * 2));
    let flow = outer(&draft.returns(input, twice));
    let engine = store.builder().flow(&flow).concurrency(1).start().await.unwrap();
    let run = engine.launch(&flow, 20).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 41);
    engine.shutdown().await.unwrap();
}

async fn a_run_under_a_run_is_cancelled_with_it(store: Store) {
    let mut draft = Flow::new("inner");
    let input = draft.input::<u32>();
    let waits = draft.timer("waits", input, Duration::from_secs(3_600));
    let last = draft.code("last", waits, async |_, ()| Ok(0));
    let flow = outer(&draft.returns(input, last));
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 1).await.unwrap();
    let all = async || engine.runs(None, &[], None, 10).await.unwrap();
    eventually("the inner run is there", || async { all().await.len() == 2 }).await;
    run.cancel().await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Cancelled);
    assert!(all().await.iter().all(|view| view.run.state == RunState::Cancelled));
    engine.shutdown().await.unwrap();
}

async fn a_run_under_a_run_that_failed_is_tried_again_where_it_failed(store: Store) {
    let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let counts = (Arc::clone(&first), Arc::clone(&second));
    let mut draft = Flow::new("inner");
    let input = draft.input::<u32>();
    let good = draft.code("good", input, move |_: Context, n: u32| {
        first.fetch_add(1, SeqCst);
        async move { Ok(n) }
    });
    let flaky = draft.code("flaky", good, move |_: Context, n: u32| {
        let tried = second.fetch_add(1, SeqCst);
        async move { if tried == 0 { Err(Failure::fatal("not yet")) } else { Ok(n) } }
    });
    let flow = outer(&draft.returns(input, flaky));
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 5).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 6);
    assert_eq!((counts.0.load(SeqCst), counts.1.load(SeqCst)), (1, 2));
    engine.shutdown().await.unwrap();
}

async fn a_run_is_done_again_in_three_ways(store: Store) {
    for (how, counts) in [
        (RetryRun::FailedOnly, [1, 2, 1, 1]),
        (RetryRun::FailedAndDownstream, [1, 2, 2, 1]),
        (RetryRun::All, [2, 2, 2, 2]),
    ] {
        let ran = Arc::new([const { AtomicU32::new(0) }; 4]);
        let counter = |at: usize| {
            let ran = Arc::clone(&ran);
            move || ran[at].fetch_add(1, SeqCst)
        };
        let mut draft = Flow::new("again");
        let input = draft.input::<u32>();
        let (a, b, c, d) = (counter(0), counter(1), counter(2), counter(3));
        let good = draft.code("good", input, move |_: Context, n: u32| {
            a();
            async move { Ok(n) }
        });
        let flaky = draft.code("flaky", good, move |_: Context, n: u32| {
            let tried = b();
            async move { if tried == 0 { Err(Failure::fatal("not yet")) } else { Ok(n) } }
        });
        let taken = flaky.optional();
        let below = draft.code("below", taken, move |_: Context, n: Option<u32>| {
            c();
            async move { Ok(n) }
        });
        draft.code("beside", good, move |_: Context, _: u32| {
            d();
            async move { Ok(()) }
        });
        let flow = draft.returns(input, below);
        let engine = store.builder().flow(&flow).start().await.unwrap();
        let run = engine.launch(&flow, 7).await.unwrap();
        assert_eq!(run.ended().await.unwrap(), RunState::Failed);
        run.retry(how).await.unwrap();
        assert_eq!(run.ended().await.unwrap(), RunState::Completed, "{how:?}");
        let now: Vec<u32> = ran.iter().map(|count| count.load(SeqCst)).collect();
        assert_eq!(now, counts, "{how:?}");
        let expected = (how != RetryRun::FailedOnly).then_some(7);
        assert_eq!(run.output().await.unwrap(), expected, "{how:?}");
        engine.shutdown().await.unwrap();
    }
}

async fn a_fork_goes_on_from_a_step_with_another_input(store: Store) {
    let ran = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&ran);
    let mut draft = Flow::new("fork");
    let input = draft.input::<u32>();
    let costly = draft.code("costly", input, move |_: Context, n: u32| {
        counter.fetch_add(1, SeqCst);
        async move { Ok(n * 100) }
    });
    let next = draft.code("next", costly, async |_, n: u32| Ok(n + 1));
    let last = draft.code("last", (costly, next), async |_, (a, b): (u32, u32)| Ok((a, b)));
    let flow = draft.returns(input, last);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 1).await.unwrap();
    assert_eq!(run.output().await.unwrap(), (100, 101));
    let same = run.fork("next").await.unwrap();
    assert_eq!(same.output().await.unwrap(), (100, 101));
    let other = run.fork_with("next", &7).await.unwrap();
    assert_eq!(other.output().await.unwrap(), (100, 8));
    assert_eq!(ran.load(SeqCst), 1, "what was paid for is kept");
    let origin = other.view().await.unwrap().spec.forked_from;
    assert_eq!(origin, Some((run.id(), 1)));
    assert!(run.fork("nothing").await.unwrap_err().is_not_found());
    engine.shutdown().await.unwrap();
}

async fn one_step_is_cancelled_and_the_others_go_on(store: Store) {
    let mut draft = Flow::new("one");
    let input = draft.input::<u32>();
    let waits = draft.timer("waits", input, Duration::from_secs(3_600));
    draft.on_failure(waits, OnFailure::Ignore);
    let last = draft.code("last", waits.optional(), async |_, n: Option<()>| Ok(n.is_none()));
    let flow = draft.returns(input, last);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, 1).await.unwrap();
    run.cancel_step("waits").await.unwrap();
    assert!(run.output().await.unwrap());
    assert!(run.cancel_step("last").await.unwrap_err().rejection().is_some());
    engine.shutdown().await.unwrap();
}
