//! Why a task is not done.

use std::time::Duration;

use segue::{
    Context, Failure, Flow, NewTask, Waiting,
    clock::ManualClock,
    model::{Retry, TaskState},
};
use serde_json::Value;

use super::support::{Probe, Store, hold};

each_backend!(every_reason_is_told, only_what_needs_someone_is_stuck);

async fn fails(_: Context, _: Value) -> Result<(), Failure> {
    Err(Failure::new("no"))
}

async fn asks(context: Context, _: Value) -> Result<(), Failure> {
    context.ask("q", "well?", &[]).await.map(drop)
}

async fn every_reason_is_told(store: Store) {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let mut draft = Flow::new("one");
    let input = draft.input::<u32>();
    let step = draft.code("step", input, async |_, n| Ok(n));
    let flow = draft.returns(input, step);
    let builder = store.builder().clock(clock.clone()).task("hold", hold);
    let builder = builder.task("fails", fails).task("asks", asks).flow(&flow);
    let engine = builder.host(probe.clone()).capacity("k", 1).start().await.unwrap();
    let why = async |new: NewTask| {
        let task = engine.submit(new).await.unwrap();
        engine.run_until_idle().await.unwrap();
        task.why().await.unwrap()
    };
    let minute = Duration::from_secs(60);
    let retry = Retry::every(2, minute);
    let retries = why(NewTask::new("fails", &()).retry(retry)).await;
    let at = clock.now() + minute;
    assert_eq!(retries, Waiting::Retry { at, failures: 1 });
    let ended = why(NewTask::new("fails", &())).await;
    assert_eq!(ended, Waiting::Ended(TaskState::Failed));
    let time = why(NewTask::new("fails", &()).after(minute)).await;
    assert_eq!(time, Waiting::Time(at));
    let missing = why(NewTask::new("nobody", &())).await;
    assert_eq!(missing, Waiting::CodeMissing("task:nobody".into()));
    let missing = why(NewTask::agent("claude", "hello")).await;
    assert_eq!(missing, Waiting::CodeMissing("agent:claude".into()));
    let tag = why(NewTask::new("hold", &()).tag("gpu")).await;
    assert_eq!(tag, Waiting::NoWorkerWithTag("gpu".into()));
    let answer = why(NewTask::new("asks", &())).await;
    let item = engine.inbox(None, 10).await.unwrap();
    let item = item.iter().find(|item| item.key == "q").unwrap().id;
    assert_eq!(answer, Waiting::Answer(vec![item]));
    engine.park("p", at).await.unwrap();
    let parked = why(NewTask::new("hold", &()).capacity("p")).await;
    let key = "p".to_owned();
    assert_eq!(parked, Waiting::Parked { key, until: at });

    let running = engine.submit(NewTask::new("hold", &()).capacity("k")).await.unwrap();
    probe.arrived(1).await;
    let holder = Some(engine.instances().await.unwrap()[0].id);
    let cancelling = false;
    assert_eq!(running.why().await.unwrap(), Waiting::Running { holder, cancelling });
    let full = engine.submit(NewTask::new("hold", &()).capacity("k")).await.unwrap();
    let (key, slots) = ("k".to_owned(), 1);
    assert_eq!(full.why().await.unwrap(), Waiting::Capacity { key, slots });
    engine.pause();
    let worker = engine.enqueue("hold", &()).await.unwrap();
    assert_eq!(worker.why().await.unwrap(), Waiting::Worker);
    worker.pause().await.unwrap();
    assert_eq!(worker.why().await.unwrap(), Waiting::Paused);
    let run = engine.launch(&flow, 7).await.unwrap();
    run.pause().await.unwrap();
    let step = engine.task(run.steps().await.unwrap()[0].task.unwrap());
    // A claim that was under way when the engine was paused may have to give it back first.
    super::support::eventually("the run holds its step back", || async {
        step.why().await.unwrap() == Waiting::RunPaused(run.id())
    })
    .await;
    assert!(step.why().await.unwrap().to_string().contains("resume"));
    probe.let_go(9);
}

async fn only_what_needs_someone_is_stuck(store: Store) {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let builder = store.builder().clock(clock.clone()).task("hold", hold);
    let builder = builder.task("fails", fails).task("asks", asks);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let minute = Duration::from_secs(60);
    let retry = Retry::every(2, minute);
    let moves = [
        NewTask::new("fails", &()).retry(retry),
        NewTask::new("hold", &()).after(minute),
        NewTask::new("hold", &()),
        NewTask::new("fails", &()),
    ];
    for new in moves {
        engine.submit(new).await.unwrap();
    }
    probe.arrived(1).await;
    let mut stuck = vec![
        engine.enqueue("asks", &()).await.unwrap().id(),
        engine.enqueue("nobody", &()).await.unwrap().id(),
    ];
    let paused = NewTask::new("hold", &()).after(minute);
    let paused = engine.submit(paused).await.unwrap();
    paused.pause().await.unwrap();
    stuck.push(paused.id());
    super::support::eventually("the three are stuck", || async {
        let mut found = engine.stuck().await.unwrap();
        found.sort_by_key(|(id, _)| *id);
        found.iter().map(|(id, _)| *id).eq(stuck.iter().copied())
    })
    .await;
    probe.let_go(9);
}
