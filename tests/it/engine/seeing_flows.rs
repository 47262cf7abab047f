//! Looking at runs whose steps are more than functions: what they wait for, and how they look.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use segue::{
    Context, Failure, Flow, ItemPolicy, StepWaiting, Waiting,
    clock::ManualClock,
    model::{
        Band, Limits, OnBreach, RetryRun, RunFilter, RunState, StepKind, StepState, TaskState,
        Usage,
    },
    view::{Glyphs, RunRecord},
};
use serde_json::{Value, json};

use super::support::{Probe, Store, eventually, hold};

each_backend!(
    a_step_waits_for_the_run_under_it_or_for_its_time,
    a_run_is_stuck_when_the_run_under_it_is,
    a_step_says_that_it_waits_for_the_budget,
    steps_that_were_added_and_tolerant_edges_are_drawn,
    a_run_that_was_retried_shows_its_last_attempt,
);

async fn a_step_waits_for_the_run_under_it_or_for_its_time(store: Store) {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let mut draft = Flow::new("inner");
    let input = draft.input::<()>();
    let held =
        draft.code("held", input, async |context, ()| hold(context, json!(null)).await.map(drop));
    let inner = draft.returns(input, held);
    let mut draft = Flow::new("outer");
    let input = draft.input::<()>();
    let sub = draft.flow("sub", input, &inner);
    let timer = draft.timer("timer", input, Duration::from_secs(3_600));
    let last = draft.code("last", (sub, timer), async |_, _: ((), ())| Ok(()));
    let flow = draft.returns(input, last);
    let builder = store.builder().clock(clock.clone()).flow(&flow).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let due = clock.now() + Duration::from_secs(3_600);
    let run = engine.launch(&flow, ()).await.unwrap();
    probe.arrived(1).await;
    let filter = RunFilter { flow: Some("inner".into()), ..RunFilter::default() };
    let under = engine.runs(filter, None, 10).await.unwrap().remove(0).run;
    let of = async |name: &str| match run.why_step(name).await.unwrap() {
        StepWaiting::Task { task, waiting } => (task, waiting),
        other => panic!("{other:?}"),
    };
    let sub = async || run.why_step("sub").await.unwrap();
    eventually("it waits for the run under it", || async {
        matches!(sub().await, StepWaiting::Run { run, .. } if run == under.id)
    })
    .await;
    let said = format!("run {}, which waits for `held`: it runs", under.id);
    assert_eq!(sub().await.to_string(), said);
    let task = under.parent.unwrap();
    assert_eq!(engine.task(task).why().await.unwrap(), Waiting::Run(under.id));
    assert_eq!(of("timer").await.1, Waiting::Time(due));
    assert!(!run.why().await.unwrap().is_stuck() && engine.stuck().await.unwrap().is_empty());
    clock.advance(Duration::from_secs(60));
    let record = run.record().await.unwrap();
    assert_eq!(record.steps[0].task.as_ref().unwrap().run, Some(under.id));
    assert_eq!(engine.run(under.id).record().await.unwrap().run.parent, Some(task));
    assert_eq!(RunRecord::from_json(&record.to_json()).unwrap(), record);
    let drawn = record.mermaid();
    assert!(drawn.contains("s0[[\"sub\"]]:::running"), "{drawn}");
    assert!(drawn.contains("s1((\"timer\")):::queued"), "{drawn}");
    let text = record.timeline_text(100, Glyphs::Ascii);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[2].starts_with("sub      |w----") && lines[2].contains("| running"), "{text}");
    assert!(lines[3].starts_with("timer    |....") && lines[3].contains("| queued"), "{text}");
    assert!(text.contains("- waits for a run under it"), "{text}");
    assert!(record.timeline_svg().contains("<rect class=\"under\""));
    probe.let_go(1);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(run.ended().await.unwrap(), RunState::Completed);
    engine.shutdown().await.unwrap();
}

async fn a_run_is_stuck_when_the_run_under_it_is(store: Store) {
    let probe = Probe::default();
    let mut draft = Flow::new("inner");
    let input = draft.input::<()>();
    let held =
        draft.code("held", input, async |context, ()| hold(context, json!(null)).await.map(drop));
    let then = draft.code("then", held, async |_, ()| Ok(()));
    let inner = draft.returns(input, then);
    let mut draft = Flow::new("outer");
    let input = draft.input::<()>();
    let sub = draft.flow("sub", input, &inner);
    let flow = draft.returns(input, sub);
    let engine = store.builder().flow(&flow).host(probe.clone()).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    probe.arrived(1).await;
    let filter = RunFilter { flow: Some("inner".into()), ..RunFilter::default() };
    let under = engine.run(engine.runs(filter, None, 1).await.unwrap()[0].run.id);
    assert!(!run.why().await.unwrap().is_stuck());
    under.pause().await.unwrap();
    probe.let_go(1);
    eventually("nothing of it moves", || async { run.why().await.unwrap().is_stuck() }).await;
    let said = run.why().await.unwrap().to_string();
    let paused = format!("someone to resume run {}", under.id());
    let expected = format!("`sub`: run {}, which waits for someone to resume it; ", under.id());
    assert_eq!(said, format!("{expected}`then`: {paused}"));
    under.resume().await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Completed);
}

async fn a_step_says_that_it_waits_for_the_budget(store: Store) {
    let probe = Probe::default();
    let mut draft = Flow::new("dear");
    let input = draft.input::<()>();
    let tokens = |tokens| Limits { tokens: Some(tokens), ..Limits::default() };
    let steps = ["one", "two"].map(|name| {
        let work =
            draft.code(name, input, async |context, ()| hold(context, json!(null)).await.map(drop));
        draft.uses(work, tokens(10));
        work
    });
    let last = draft.code("last", steps, async |_, _| Ok(()));
    let flow = draft.returns(input, last);
    let engine = store.builder().flow(&flow).host(probe.clone()).start().await.unwrap();
    let run = engine.launch(&flow, ()).budget(tokens(15), OnBreach::Fail).await.unwrap();
    probe.arrived(1).await;
    assert_eq!(run.why_step("two").await.unwrap(), StepWaiting::Budget);
    let why = run.why().await.unwrap();
    let names: Vec<_> = why.steps().iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(why.steps()[1].waiting, StepWaiting::Budget);
    assert!(why.to_string().contains("`two`: what others give back"), "{why}");
    assert!(!StepWaiting::Budget.moves_by_itself() && !why.is_stuck(), "the other one runs");
    let record = run.record().await.unwrap();
    assert_eq!(record.steps[0].reserved, Some(Usage { tokens: 10, cost_micros: 0 }));
    assert!(record.markdown().contains("- budget: used 0 of 15 tokens"), "{}", record.markdown());
    probe.let_go(2);
    assert_eq!(run.ended().await.unwrap(), RunState::Completed);
    engine.shutdown().await.unwrap();
}

async fn steps_that_were_added_and_tolerant_edges_are_drawn(store: Store) {
    let mut draft = Flow::new("grows");
    let input = draft.input::<Vec<u32>>();
    let risky =
        draft.code("risky", input, async |_, _: Vec<u32>| Err::<(), _>(Failure::fatal("no")));
    draft.on_failure(risky, segue::model::OnFailure::Ignore);
    let items = draft.map("item", input, ItemPolicy::All, async |_, n: u32| Ok(n));
    let sum = draft.code(
        "sum",
        (items, risky.optional()),
        async |_, (all, _): (Vec<u32>, Option<()>)| Ok(all.into_iter().sum::<u32>()),
    );
    let flow = draft.returns(input, sum);
    let plan = flow.mermaid(Band::Small);
    assert!(plan.contains("    s0 -.-> s3\n") && plan.contains("    s1 --> s2\n"), "{plan}");
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, vec![1, 2, 3]).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 6);
    let record = run.record().await.unwrap();
    assert_eq!(RunRecord::from_json(&record.to_json()).unwrap(), record);
    let grown: Vec<_> = record.steps.iter().filter(|step| step.policy.grown_by.is_some()).collect();
    assert_eq!(grown.len(), 3);
    assert!(grown.iter().all(|step| step.task.is_some() && step.state == StepState::Completed));
    let join = record.steps.iter().find(|step| step.kind == StepKind::Join).unwrap();
    assert_eq!((join.state, &join.task), (StepState::Completed, &None), "a join has no task");
    let drawn = record.mermaid();
    assert!(drawn.contains("s2((\"item #40;all#41;\")):::completed"), "{drawn}");
    assert!(drawn.contains("s0 -.-> s3") && drawn.contains("s4[\""), "{drawn}");
    assert!(drawn.contains("[\"completed 6\"]:::completed"), "{drawn}");
    let value: Value = serde_json::from_str(&record.to_json()).unwrap();
    let edges = value["edges"].as_array().unwrap();
    assert_eq!(edges.iter().filter(|edge| !edge["terms"].is_null()).count(), 1);
    engine.shutdown().await.unwrap();
}

async fn a_run_that_was_retried_shows_its_last_attempt(store: Store) {
    let times = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&times);
    let mut draft = Flow::new("second time");
    let input = draft.input::<()>();
    let fails = draft.code("fails", input, move |_: Context, ()| {
        let first = count.fetch_add(1, SeqCst) == 0;
        async move { if first { Err(Failure::fatal("not yet")) } else { Ok(1) } }
    });
    let flow = draft.returns(input, fails);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Failed);
    run.retry(RetryRun::FailedOnly).await.unwrap();
    assert_eq!(run.output().await.unwrap(), 1);
    let record = run.record().await.unwrap();
    assert_eq!((record.run.attempt, record.steps[0].attempt), (2, 2));
    let task = record.steps[0].task.as_ref().unwrap();
    let steps = run.steps().await.unwrap();
    assert_eq!((Some(task.id), task.state), (steps[0].task, TaskState::Completed));
    assert_eq!(task.attempts.last().unwrap().output.as_ref().unwrap().as_str(), "1");
    assert!(record.markdown().contains("- begun: 2 times"), "{}", record.markdown());
    let fork = run.fork("fails").await.unwrap();
    assert_eq!(fork.output().await.unwrap(), 1);
    let record = fork.record().await.unwrap();
    assert_eq!(record.run.forked_from, Some((run.id(), 0)));
    assert_eq!(RunRecord::from_json(&record.to_json()).unwrap(), record);
    engine.shutdown().await.unwrap();
}
