//! Capacity keys: how many may run at once, and parking.

use std::time::Duration;

use futures_util::future::join_all;
use segue::{
    Context, Failure, NewTask, Waiting,
    clock::ManualClock,
    model::{AttemptOutcome, TaskState},
};
use serde_json::Value;

use super::support::{Probe, Store, eventually, hold, note};

each_backend!(
    two_engines_together_never_exceed_a_key,
    a_task_of_two_keys_needs_a_place_in_both,
    a_raised_capacity_lets_more_run_and_a_lowered_one_fewer,
    a_failed_or_cancelled_task_frees_its_place,
    parking_lets_nothing_of_the_key_start_and_burns_no_attempt,
    a_person_parks_a_key_and_ends_the_parking,
    ten_thousand_of_a_full_key_do_not_delay_one_that_may_run,
);

async fn two_engines_together_never_exceed_a_key(store: Store) {
    async fn pass(context: Context, _: Value) -> Result<(), Failure> {
        let probe = context.host::<Probe>()?;
        let _inside = probe.enter();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
    let probe = Probe::default();
    let builder = || store.builder().task("hold", hold).task("pass", pass).host(probe.clone());
    let one = builder().capacity("k", 3).start().await.unwrap();
    let two = builder().start().await.unwrap();
    let new = |n: u32| NewTask::new("hold", &n).capacity("k");
    let held = join_all((0..12).map(|n| one.submit(new(n)).into_future()));
    let held = held.await;
    probe.arrived(3).await;
    let waits = Waiting::Capacity { key: "k".into(), slots: 3 };
    let mut full = 0;
    for task in &held {
        full += u32::from(task.as_ref().unwrap().why().await.unwrap() == waits);
    }
    assert_eq!(full, 9);
    probe.let_go(12);
    let new = |n: u32| NewTask::new("pass", &n).capacity("k");
    let passing = join_all((0..300).map(|n| two.submit(new(n)).into_future()));
    let all = held.into_iter().chain(passing.await);
    join_all(all.map(|task| async move { task.unwrap().ended().await.unwrap() })).await;
    assert_eq!(probe.most(), 3, "never more, and as many as may");
}

async fn a_task_of_two_keys_needs_a_place_in_both(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.capacity("a", 1).capacity("b", 2).start().await.unwrap();
    let both = |n: u32| NewTask::new("hold", &n).capacity("a").capacity("b");
    engine.submit(both(0)).await.unwrap();
    probe.arrived(1).await;
    let waits = engine.submit(both(1)).await.unwrap();
    engine.submit(NewTask::new("hold", &2).capacity("b")).await.unwrap();
    probe.arrived(1).await;
    let full = engine.submit(NewTask::new("hold", &3).capacity("b")).await.unwrap();
    for task in [&waits, &full] {
        let why = task.why().await.unwrap();
        assert!(matches!(why, Waiting::Capacity { .. }), "{why}");
    }
    probe.let_go(4);
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.most(), 2);
    assert_eq!(full.view().await.unwrap().state(), TaskState::Completed);
}

async fn a_raised_capacity_lets_more_run_and_a_lowered_one_fewer(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.capacity("k", 1).start().await.unwrap();
    for n in 0..6 {
        engine.submit(NewTask::new("hold", &n).capacity("k")).await.unwrap();
    }
    probe.arrived(1).await;
    engine.set_capacity("k", Some(3)).await.unwrap();
    probe.arrived(2).await;
    engine.set_capacity("k", Some(1)).await.unwrap();
    probe.let_go(2);
    probe.left(2).await;
    assert_eq!(engine.stats().await.unwrap().tasks[&TaskState::Pending], 3);
    probe.let_go(1);
    probe.arrived(1).await;
    assert_eq!(probe.most(), 3);
    engine.set_capacity("k", None).await.unwrap();
    probe.arrived(2).await;
    probe.let_go(3);
    engine.run_until_idle().await.unwrap();
}

async fn a_failed_or_cancelled_task_frees_its_place(store: Store) {
    let probe = Probe::default();
    let fails = async |_: Context, _: ()| Err::<(), _>(Failure::fatal("no"));
    let builder = store.builder().task("hold", hold).task("fails", fails);
    let builder = builder.task("note", note).host(probe.clone());
    let engine = builder.capacity("k", 1).start().await.unwrap();
    let failing = engine.submit(NewTask::new("fails", &()).capacity("k")).await.unwrap();
    failing.ended().await.unwrap();
    let held = engine.submit(NewTask::new("hold", &()).capacity("k")).await.unwrap();
    probe.arrived(1).await;
    let next = engine.submit(NewTask::new("note", &()).capacity("k")).await.unwrap();
    held.cancel().await.unwrap();
    assert_eq!(next.ended().await.unwrap().state(), TaskState::Completed);
}

async fn parking_lets_nothing_of_the_key_start_and_burns_no_attempt(store: Store) {
    async fn limited(context: Context, _: Value) -> Result<u32, Failure> {
        match context.attempt() {
            1..=3 => Err(Failure::park("provider", Duration::from_secs(60))),
            attempt => Ok(attempt),
        }
    }
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let builder = store.builder().clock(clock.clone()).task("limited", limited);
    let engine = builder.task("note", note).host(probe.clone()).start().await.unwrap();
    let first = engine.submit(NewTask::new("limited", &()).capacity("provider"));
    let first = first.await.unwrap();
    for _ in 0..3 {
        engine.run_until_idle().await.unwrap();
        let until = clock.now() + Duration::from_secs(60);
        let parked = Waiting::Parked { key: "provider".into(), until };
        assert_eq!(first.why().await.unwrap(), parked);
        let other = engine.submit(NewTask::new("note", "late").capacity("provider"));
        let other = other.await.unwrap();
        let free = engine.submit(NewTask::new("note", "free")).await.unwrap();
        engine.run_until_idle().await.unwrap();
        assert_eq!(other.why().await.unwrap(), parked);
        assert_eq!(free.view().await.unwrap().state(), TaskState::Completed);
        clock.advance(Duration::from_secs(60));
    }
    eventually("it runs after the last parking", || async {
        engine.run_until_idle().await.unwrap();
        first.view().await.unwrap().state() == TaskState::Completed
    })
    .await;
    assert_eq!(probe.log().iter().filter(|text| *text == "late").count(), 3);
    assert_eq!(first.view().await.unwrap().task.unwrap().failures, 0);
    let attempts = first.attempts().await.unwrap();
    let parked = |n: usize| attempts[n].outcome == AttemptOutcome::Parked;
    assert!(attempts.len() == 4 && (0..3).all(parked));
}

async fn a_person_parks_a_key_and_ends_the_parking(store: Store) {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let builder = store.builder().clock(clock.clone()).task("note", note);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let hour = Duration::from_secs(3600);
    engine.park("model:x", clock.now() + hour).await.unwrap();
    let task = engine.submit(NewTask::new("note", &()).capacity("model:x"));
    let task = task.await.unwrap();
    engine.run_until_idle().await.unwrap();
    assert_eq!(engine.stuck().await.unwrap()[0].0, task.id());
    engine.park("model:x", clock.now()).await.unwrap();
    assert_eq!(task.ended().await.unwrap().state(), TaskState::Completed);
}

async fn ten_thousand_of_a_full_key_do_not_delay_one_that_may_run(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).task("note", note);
    let engine = builder.host(probe.clone()).capacity("k", 1).start().await.unwrap();
    engine.submit(NewTask::new("hold", &()).capacity("k")).await.unwrap();
    probe.arrived(1).await;
    let new = |n: u32| NewTask::new("hold", &n).capacity("k").priority(-10);
    let full = join_all((0..10_000).map(|n| engine.submit(new(n)).into_future()));
    assert!(full.await.iter().all(Result::is_ok));
    let start = tokio::time::Instant::now();
    let one = engine.submit(NewTask::new("note", "through").priority(10));
    one.await.unwrap().ended().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(probe.most(), 2);
    engine.pause();
    probe.let_go(1);
    probe.left(2).await;
}
