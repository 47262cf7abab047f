//! Budgets: what is used beyond them, and what happens then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use segue::{
    Agent, Context, Failure, Flow, ItemPolicy,
    agents::{self, Reply, Turn},
    model::{
        Budget, ItemKind, Limits, OnBreach, OnFailure, Raise, Retry, RunState, StepState, Usage,
    },
};
use serde_json::json;

use super::support::{Store, eventually};

each_backend!(
    a_budget_is_reserved_before_a_step_starts,
    without_a_word_about_its_use_a_step_reserves_all_that_is_left,
    a_person_raises_a_budget_or_lets_the_step_fail,
    a_failed_attempt_is_booked_and_not_tried_again_beyond_the_budget,
    a_run_under_a_run_draws_on_its_budget,
    what_a_run_under_a_run_used_is_booked_once_however_often_it_is_tried_again,
    a_cancelled_run_gives_back_what_it_reserved,
);

fn tokens(tokens: u64) -> Limits {
    Limits { tokens: Some(tokens), ..Limits::default() }
}

async fn budget<O>(run: &segue::Run<O>) -> Budget {
    run.view().await.unwrap().run.budget.unwrap()
}

/// A map whose items use 10 tokens each, and say so.
fn ten_each(at_once: Arc<AtomicU32>, most: Arc<AtomicU32>) -> Flow<Vec<u32>, usize> {
    let mut draft = Flow::new("ten each");
    let input = draft.input::<Vec<u32>>();
    let mut works = Vec::new();
    for n in 0..6 {
        let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
        let work = draft.code(format!("work {n}"), input, move |context: Context, _: Vec<u32>| {
            let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
            async move {
                most.fetch_max(at_once.fetch_add(1, SeqCst) + 1, SeqCst);
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                at_once.fetch_sub(1, SeqCst);
                context.used(&json!({ "tokens": 10 }))?;
                Ok(())
            }
        });
        draft.uses(work, tokens(10));
        draft.on_failure(work, OnFailure::Ignore);
        works.push(work.optional());
    }
    let count = draft.code("count", works, async |_, all: Vec<Option<()>>| {
        Ok(all.into_iter().flatten().count())
    });
    draft.returns(input, count)
}

async fn a_budget_is_reserved_before_a_step_starts(store: Store) {
    let (at_once, most) = (Arc::default(), Arc::<AtomicU32>::default());
    let flow = ten_each(at_once, Arc::clone(&most));
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, vec![]).budget(tokens(25), OnBreach::Fail).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 2, "the third has not enough");
    assert!(most.load(SeqCst) <= 2);
    let left = budget(&run).await;
    let used = Usage { tokens: 20, cost_micros: 0 };
    assert_eq!((left.used, left.reserved, left.waiting), (used, Usage::default(), 0));
    let enough = engine.launch(&flow, vec![]).budget(tokens(60), OnBreach::Fail).await.unwrap();
    assert_eq!(enough.output().await.unwrap(), 6);
    engine.shutdown().await.unwrap();
}

async fn without_a_word_about_its_use_a_step_reserves_all_that_is_left(store: Store) {
    let (at_once, most) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let (now, top) = (Arc::clone(&at_once), Arc::clone(&most));
    let agent = agents::native(move |_: Turn| {
        let (now, top) = (Arc::clone(&now), Arc::clone(&top));
        async move {
            top.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, SeqCst);
            Reply::text("done").usage(&json!({ "tokens": 7 }))
        }
    });
    let mut draft = Flow::new("agents");
    let input = draft.input::<Vec<u32>>();
    let named = Agent::named("one");
    let turns =
        draft.map_agent("turn", input, ItemPolicy::All, &named, |n: u32| format!("turn {n}"));
    let words = draft.code("words", turns, async |_, all: Vec<String>| Ok(all.len()));
    let flow = draft.returns(input, words);
    let engine = store.builder().flow(&flow).agent("one", agent).start().await.unwrap();
    let items = (0..5).collect::<Vec<u32>>();
    let run = engine.launch(&flow, items).budget(tokens(1_000), OnBreach::Fail).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 5);
    assert_eq!(most.load(SeqCst), 1, "one after the other");
    assert_eq!(budget(&run).await.used.tokens, 35);
    engine.shutdown().await.unwrap();
}

async fn a_person_raises_a_budget_or_lets_the_step_fail(store: Store) {
    let flow = ten_each(Arc::default(), Arc::default());
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, vec![]).budget(tokens(25), OnBreach::Ask).await.unwrap();
    let open = async || {
        let open = engine.inbox(None, 20).await.unwrap();
        open.into_iter().filter(|item| item.kind == ItemKind::Budget).collect::<Vec<_>>()
    };
    eventually("all that are left ask", || async { open().await.len() == 4 }).await;
    let asked: Budget = open().await[0].body.decode().unwrap();
    assert_eq!(asked.limits, tokens(25));
    let items = open().await;
    engine.answer(items[0].id, &Raise::By(tokens(5)), "Ada").await.unwrap();
    engine.answer(items[1].id, "what?", "Ada").await.unwrap();
    eventually("it asks again", || async {
        let asks_again = open().await.iter().any(|item| item.task == items[1].task);
        asks_again && open().await.len() == 3
    })
    .await;
    for item in open().await {
        engine.answer(item.id, &Raise::Fail, "Ada").await.unwrap();
    }
    assert_eq!(run.output().await.unwrap(), 3);
    engine.shutdown().await.unwrap();
}

async fn a_failed_attempt_is_booked_and_not_tried_again_beyond_the_budget(store: Store) {
    let tries = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&tries);
    let mut draft = Flow::new("fails");
    let input = draft.input::<()>();
    let costly = draft.code("costly", input, move |context: Context, ()| {
        counter.fetch_add(1, SeqCst);
        async move {
            context.used(&json!({ "tokens": 6, "cost_micros": 3 }))?;
            Err::<(), _>(Failure::new("no"))
        }
    });
    draft.uses(costly, tokens(6));
    draft.options(costly, |options| options.retry = Retry::times(10));
    let flow = draft.returns(input, costly);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).budget(tokens(10), OnBreach::Fail).await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Failed);
    assert_eq!(tries.load(SeqCst), 2, "what is at work may overrun, no more");
    let left = budget(&run).await;
    assert_eq!(left.used, Usage { tokens: 12, cost_micros: 6 });
    assert_eq!(left.reserved, Usage::default());
    engine.shutdown().await.unwrap();
}

async fn a_run_under_a_run_draws_on_its_budget(store: Store) {
    let inner = ten_each(Arc::default(), Arc::default());
    let mut draft = Flow::new("outer");
    let input = draft.input::<Vec<u32>>();
    let sub = draft.flow("sub", input, &inner);
    draft.uses(sub, tokens(30));
    let flow = draft.returns(input, sub);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, vec![]).budget(tokens(100), OnBreach::Fail).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 3, "it has what its step has reserved");
    let left = budget(&run).await;
    assert_eq!((left.used.tokens, left.reserved.tokens), (30, 0));
    engine.shutdown().await.unwrap();
}

async fn what_a_run_under_a_run_used_is_booked_once_however_often_it_is_tried_again(store: Store) {
    let mut draft = Flow::new("inner");
    let input = draft.input::<()>();
    let work = draft.code("work", input, async |context: Context, ()| {
        context.used(&json!({ "tokens": 3 }))?;
        match context.host::<AtomicU32>()?.fetch_add(1, SeqCst) {
            0..2 => Err(Failure::new("not yet")),
            _ => Ok(()),
        }
    });
    draft.uses(work, tokens(3));
    let inner = draft.returns(input, work);
    let mut draft = Flow::new("outer");
    let input = draft.input::<()>();
    let sub = draft.flow("sub", input, &inner);
    draft.uses(sub, tokens(20));
    draft.options(sub, |options| options.retry = Retry::every(5, Duration::from_millis(1)));
    let flow = draft.returns(input, sub);
    let builder = store.builder().flow(&flow).host(AtomicU32::new(0));
    let engine = builder.start().await.unwrap();
    let run = engine.launch(&flow, ()).budget(tokens(100), OnBreach::Fail).await.unwrap();
    run.output().await.unwrap();
    let left = budget(&run).await;
    assert_eq!((left.used.tokens, left.reserved.tokens), (9, 0), "three attempts of 3");
    engine.shutdown().await.unwrap();
}

async fn a_cancelled_run_gives_back_what_it_reserved(store: Store) {
    let flow = ten_each(Arc::default(), Arc::default());
    let engine = store.builder().flow(&flow).paused().start().await.unwrap();
    let run = engine.launch(&flow, vec![]).budget(tokens(25), OnBreach::Ask).await.unwrap();
    let before = budget(&run).await;
    assert_eq!((before.reserved.tokens, before.waiting), (20, 4));
    run.cancel().await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Cancelled);
    let after = budget(&run).await;
    assert_eq!((after.reserved.tokens, after.waiting), (0, 0));
    let steps = run.steps().await.unwrap();
    assert!(steps.iter().all(|step| step.state != StepState::Completed));
    engine.shutdown().await.unwrap();
}
