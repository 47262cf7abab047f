//! Starting, pausing, draining, stopping, and what is kept.

use std::{
    future::IntoFuture,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use segue::{
    Context, Engine, Failure, NewTask, Task, Waiting,
    clock::{Clock, ManualClock, Timestamp},
    id::TaskId,
    model::{AttemptOutcome, Phase, Prune, TaskState},
};
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinHandle};

use super::support::{Faulty, Probe, Store, eventually, hold, ignore, note};

each_backend!(
    a_paused_engine_starts_nothing_and_finishes_what_runs,
    a_claim_that_is_answered_after_a_pause_starts_nothing,
    a_task_for_an_idle_engine_is_made_and_claimed_in_one_commit,
    a_paused_engine_lets_nobody_claim_for_it,
    a_caller_that_is_polled_no_more_holds_no_task_up,
    a_paused_task_waits_until_it_is_resumed,
    a_shutdown_waits_for_what_runs,
    at_the_drain_deadline_handlers_are_told_and_their_tasks_run_again,
    a_task_that_was_cancelled_before_the_deadline_stays_cancelled,
    what_was_claimed_and_not_started_goes_back_unburned,
    dropping_the_last_clone_drains,
    an_engine_that_waits_for_ever_can_be_shut_down,
    after_a_shutdown_calls_say_so,
    an_engine_that_has_stopped_is_listed_no_more,
    run_until_idle_never_leaves_ripe_work_behind,
    finished_tasks_are_kept_as_long_as_was_said,
    keeping_for_ever_removes_nothing,
    a_host_prunes_by_itself,
    a_concurrency_of_zero_is_a_usage_error,
    the_host_gives_one_value_of_each_type,
);

async fn a_paused_engine_starts_nothing_and_finishes_what_runs(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).task("note", note);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let running = engine.enqueue("hold", &()).await.unwrap();
    probe.arrived(1).await;
    engine.pause();
    let waits = engine.enqueue("note", &()).await.unwrap();
    probe.let_go(1);
    running.ended().await.unwrap();
    engine.run_until_idle().await.unwrap();
    assert_eq!(waits.why().await.unwrap(), Waiting::Worker);
    engine.resume();
    waits.ended().await.unwrap();
}

/// An engine whose claims are answered when the semaphore lets them.
async fn slow(store: &Store, probe: &Probe) -> (Engine, Arc<Faulty>) {
    let slow =
        Faulty { claims: Semaphore::new(0), ..Faulty::on(store.backend(Clock::System).await) };
    let slow = Arc::new(slow);
    let builder = Engine::on(Arc::clone(&slow) as Arc<_>).poll(Duration::from_millis(20));
    let builder = builder.task("note", note).host(probe.clone());
    (builder.start().await.unwrap(), slow)
}

/// Enqueues a task beside the test: its commit may carry the claim, whose answer is slow.
fn enqueuing(engine: &Engine) -> JoinHandle<Task> {
    let engine = engine.clone();
    tokio::spawn(async move { engine.enqueue("note", &()).await.unwrap() })
}

async fn a_claim_that_is_answered_after_a_pause_starts_nothing(store: Store) {
    let probe = Probe::default();
    let (engine, slow) = slow(&store, &probe).await;
    let task = enqueuing(&engine);
    slow.claimed.acquire().await.unwrap().forget();
    engine.pause();
    slow.claims.add_permits(100);
    let task = task.await.unwrap();
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.log().len(), 0);
    assert_eq!(task.view().await.unwrap().state(), TaskState::Pending);
    engine.resume();
    assert_eq!(task.ended().await.unwrap().attempt.unwrap().attempt, 1);
}

/// An idle engine that finds nothing by looking, on a backend that counts commits.
async fn counted(store: &Store, probe: &Probe) -> (Engine, Arc<Faulty>) {
    let counted = Arc::new(Faulty::on(store.backend(Clock::System).await));
    let builder = Engine::on(Arc::clone(&counted) as Arc<_>).poll(Duration::from_secs(3_600));
    let engine = builder.task("note", note).host(probe.clone()).start().await.unwrap();
    engine.run_until_idle().await.unwrap();
    (engine, counted)
}

async fn a_task_for_an_idle_engine_is_made_and_claimed_in_one_commit(store: Store) {
    let probe = Probe::default();
    let (engine, counted) = counted(&store, &probe).await;
    for n in 1..=3 {
        let before = counted.commits.load(Ordering::SeqCst);
        let task = engine.enqueue("note", &n).await.unwrap();
        task.ended().await.unwrap();
        engine.run_until_idle().await.unwrap();
        let commits = counted.commits.load(Ordering::SeqCst) - before;
        assert_eq!(commits, 2, "the task with its claim, and its end");
    }
}

async fn a_paused_engine_lets_nobody_claim_for_it(store: Store) {
    let probe = Probe::default();
    let (engine, counted) = counted(&store, &probe).await;
    engine.pause();
    let task = engine.enqueue("note", &()).await.unwrap();
    assert_eq!(counted.claimed.available_permits(), 0);
    assert_eq!(task.view().await.unwrap().task.unwrap().lease, 0);
    engine.resume();
    task.ended().await.unwrap();
    assert_eq!(probe.log().len(), 1);
}

async fn a_caller_that_is_polled_no_more_holds_no_task_up(store: Store) {
    let probe = Probe::default();
    let (engine, _) = counted(&store, &probe).await;
    let id = TaskId::new();
    let mut caller = engine.submit(NewTask::new("note", &()).id(id)).into_future();
    assert!(caller.as_mut().now_or_never().is_none());
    probe.arrived(1).await;
    engine.task(id).ended().await.unwrap();
    assert!(caller.await.unwrap().created());
}

async fn a_paused_task_waits_until_it_is_resumed(store: Store) {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let builder = store.builder().clock(clock.clone()).task("note", note);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let minute = Duration::from_secs(60);
    let task = engine.submit(NewTask::new("note", &()).after(minute)).await.unwrap();
    assert_eq!(task.pause().await.unwrap(), TaskState::Pending);
    clock.advance(minute * 2);
    engine.run_until_idle().await.unwrap();
    assert_eq!(task.why().await.unwrap(), Waiting::Paused);
    assert_eq!(probe.log().len(), 0);
    task.resume().await.unwrap();
    engine.run_until_idle().await.unwrap();
    assert_eq!(task.view().await.unwrap().state(), TaskState::Completed);
    assert!(task.pause().await.unwrap_err().rejection().is_some());
}

async fn a_shutdown_waits_for_what_runs(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("ignore", ignore).host(probe.clone());
    let engine = builder.concurrency(1).start().await.unwrap();
    let running = engine.enqueue("ignore", "done").await.unwrap();
    probe.arrived(1).await;
    let waiting = engine.enqueue("ignore", "never").await.unwrap();
    let other = store.builder().connect().await.unwrap();
    let stop = tokio::spawn({
        let engine = engine.clone();
        async move { engine.shutdown().await }
    });
    probe.let_go(2);
    stop.await.unwrap().unwrap();
    let ended = other.task(running.id()).output::<String>().await.unwrap();
    assert_eq!(ended, "done");
    let left = other.task(waiting.id()).view().await.unwrap().task.unwrap();
    assert_eq!((left.phase, left.attempt), (Phase::Ready, 0));
    assert_eq!(other.instances().await.unwrap(), [], "it said goodbye");
}

async fn at_the_drain_deadline_handlers_are_told_and_their_tasks_run_again(store: Store) {
    let probe = Probe::default();
    let builder = || store.builder().task("hold", hold).task("ignore", ignore);
    let hasty = builder().drain(Duration::from_millis(20)).grace(Duration::from_millis(20));
    let engine = hasty.host(probe.clone()).start().await.unwrap();
    let polite = engine.enqueue("hold", "polite").await.unwrap().id();
    let deaf = engine.enqueue("ignore", "deaf").await.unwrap().id();
    probe.arrived(2).await;
    engine.shutdown().await.unwrap();
    probe.left(2).await;
    assert_eq!(probe.log(), ["told to stop"]);
    let probe = Probe::default();
    let next = builder().host(probe.clone()).start().await.unwrap();
    probe.arrived(2).await;
    probe.let_go(2);
    for (id, output) in [(polite, "polite"), (deaf, "deaf")] {
        let task = next.task(id);
        assert_eq!(task.output::<String>().await.unwrap(), output);
        let first = &task.attempts().await.unwrap()[0];
        assert_eq!(first.outcome, AttemptOutcome::Interrupted);
        assert_eq!(task.view().await.unwrap().task.unwrap().failures, 0);
    }
}

async fn a_task_that_was_cancelled_before_the_deadline_stays_cancelled(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().drain(Duration::from_millis(20));
    let builder = builder.grace(Duration::from_millis(20)).task("ignore", ignore);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let task = engine.enqueue("ignore", &()).await.unwrap();
    probe.arrived(1).await;
    task.cancel().await.unwrap();
    engine.shutdown().await.unwrap();
    assert_eq!(task.view().await.unwrap().state(), TaskState::Cancelled);
}

async fn what_was_claimed_and_not_started_goes_back_unburned(store: Store) {
    let probe = Probe::default();
    let (engine, slow) = slow(&store, &probe).await;
    let task = enqueuing(&engine);
    slow.claimed.acquire().await.unwrap().forget();
    let stop = tokio::spawn({
        let engine = engine.clone();
        async move { engine.shutdown().await }
    });
    tokio::task::yield_now().await;
    eventually("the shutdown has begun", || async {
        slow.claims.add_permits(1);
        stop.is_finished()
    })
    .await;
    let task = task.await.unwrap();
    let row = task.view().await.unwrap().task.unwrap();
    match row.phase {
        Phase::Ready => {
            assert_eq!((row.attempt, task.attempts().await.unwrap().len()), (0, 0));
            assert_eq!(probe.log().len(), 0);
        }
        // The answer came before the stop: then it ran, whole.
        phase => assert_eq!((phase, probe.log().len()), (Phase::Completed, 1)),
    }
}

async fn dropping_the_last_clone_drains(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let other = store.builder().connect().await.unwrap();
    let task = engine.enqueue("hold", "done").await.unwrap().id();
    probe.arrived(1).await;
    drop(engine.clone());
    drop(engine);
    let late = other.enqueue("hold", "late").await.unwrap();
    probe.let_go(1);
    assert_eq!(other.task(task).output::<String>().await.unwrap(), "done");
    eventually("it has said goodbye", || async { other.instances().await.unwrap().is_empty() })
        .await;
    assert_eq!(late.view().await.unwrap().state(), TaskState::Pending);
}

async fn an_engine_that_waits_for_ever_can_be_shut_down(store: Store) {
    let probe = Probe::default();
    let ever = Duration::MAX;
    let builder = store.builder().drain(ever).grace(ever).patience(ever);
    let engine = builder.task("ignore", ignore).host(probe.clone()).start().await.unwrap();
    let task = engine.submit(NewTask::new("ignore", "done").timeout(ever)).await.unwrap();
    probe.arrived(1).await;
    let stop = tokio::spawn({
        let engine = engine.clone();
        async move { engine.shutdown().await }
    });
    probe.let_go(1);
    stop.await.unwrap().unwrap();
    assert_eq!(task.view().await.unwrap().state(), TaskState::Completed);
}

async fn after_a_shutdown_calls_say_so(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let task = engine.enqueue("nobody", &()).await.unwrap();
    let waits = tokio::spawn(task.clone().into_future());
    let mut watch = engine.watch(segue::model::Stream::All);
    engine.shutdown().await.unwrap();
    engine.shutdown().await.unwrap();
    assert!(waits.await.unwrap().unwrap_err().is_closed());
    assert!(task.ended().await.unwrap_err().is_closed());
    assert!(watch.next().await.unwrap_err().is_closed());
    assert!(engine.run_until_idle().await.unwrap_err().is_closed());
    let reader = store.builder().connect().await.unwrap();
    assert!(reader.run_until_idle().await.unwrap_err().is_closed());
    reader.shutdown().await.unwrap();
}

async fn run_until_idle_never_leaves_ripe_work_behind(store: Store) {
    async fn again(context: Context, _: Value) -> Result<(), Failure> {
        context.host::<Probe>()?.note("ran");
        Err(Failure::snooze(Duration::from_secs(1)))
    }
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let builder = store.builder().clock(clock.clone()).task("again", again);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    engine.enqueue("again", &()).await.unwrap();
    for n in 1..300 {
        engine.run_until_idle().await.unwrap();
        assert_eq!(probe.log().len(), n);
        clock.advance(Duration::from_secs(1));
    }
}

async fn finished_tasks_are_kept_as_long_as_was_said(store: Store) {
    let clock = ManualClock::default();
    let builder = store.builder().clock(clock.clone()).task("note", note);
    let builder = builder.host(Probe::default()).keep_tasks(Duration::from_secs(3600));
    let engine = builder.start().await.unwrap();
    let old = engine.enqueue("note", &()).await.unwrap();
    let waits = engine.enqueue("nobody", &()).await.unwrap();
    old.ended().await.unwrap();
    clock.advance(Duration::from_secs(3500));
    let young = engine.enqueue("note", &()).await.unwrap();
    young.ended().await.unwrap();
    assert!(old.view().await.is_ok());
    clock.advance(Duration::from_secs(200));
    eventually("the old one is gone", || async { old.view().await.is_err() }).await;
    assert!(old.view().await.unwrap_err().is_not_found());
    assert!(young.view().await.is_ok());
    assert_eq!(waits.view().await.unwrap().state(), TaskState::Pending);
}

async fn keeping_for_ever_removes_nothing(store: Store) {
    let clock = ManualClock::default();
    let builder = store.builder().clock(clock.clone()).task("note", note);
    let builder = builder.keep_tasks(Duration::MAX).keep_entries(Duration::from_secs(1));
    let engine = builder.host(Probe::default()).start().await.unwrap();
    let task = engine.enqueue("note", &()).await.unwrap();
    task.ended().await.unwrap();
    let chat = segue::id::ChatId::new();
    let spec = || segue::ChatSpec { project: "p".into(), ..Default::default() };
    let chat = engine.chat(chat, spec()).await.unwrap();
    chat.append(segue::model::Role::User, "hello").await.unwrap();
    assert!(chat.watch().try_next().await.unwrap().is_some());
    // The entry goes in a round in which the task would have gone.
    eventually("the entry was pruned", || async {
        clock.advance(Duration::from_secs(60));
        !matches!(chat.watch().try_next().await, Ok(Some(_)))
    })
    .await;
    clock.advance(Duration::from_secs(600));
    engine.run_until_idle().await.unwrap();
    assert_eq!(task.view().await.unwrap().state(), TaskState::Completed);
}

async fn a_host_prunes_by_itself(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let parent = engine.enqueue("note", &()).await.unwrap();
    let child = NewTask::new("note", &()).parent(parent.id());
    let child = engine.submit(child).await.unwrap();
    engine.run_until_idle().await.unwrap();
    let never = Timestamp::ZERO;
    let prune = Prune {
        tasks_before: Timestamp::from_micros(i64::MAX),
        runs_before: never,
        entries_before: never,
        limit: 100,
    };
    assert_eq!(engine.prune(prune).await.unwrap().tasks, 1, "the child first");
    assert!(child.view().await.unwrap_err().is_not_found());
    assert_eq!(engine.prune(prune).await.unwrap().tasks, 1);
    assert!(parent.view().await.unwrap_err().is_not_found());
}

async fn a_concurrency_of_zero_is_a_usage_error(store: Store) {
    let error = store.builder().concurrency(0).start().await.unwrap_err();
    assert!(error.is_usage(), "{error}");
}

async fn an_engine_that_has_stopped_is_listed_no_more(store: Store) {
    let reader = store.builder();
    store.builder().start().await.unwrap().shutdown().await.unwrap();
    let reader = reader.connect().await.unwrap();
    for _ in 0..30 {
        // Its first beat falls into its shutdown, now and then.
        let engine = store.builder().start().await.unwrap();
        engine.shutdown().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(reader.instances().await.unwrap(), []);
}

async fn the_host_gives_one_value_of_each_type(store: Store) {
    let both = async |context: Context, _: Value| {
        let (number, text) = (context.host::<u32>()?, context.host::<String>()?);
        Ok::<_, Failure>(format!("{text} {number}"))
    };
    let builder = || store.builder().task("both", both).host(7_u32).host("seven".to_owned());
    let engine = builder().start().await.unwrap();
    let task = engine.enqueue("both", &()).await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "seven 7");
    engine.shutdown().await.unwrap();
    let twice = builder().host(8_u32).start().await.unwrap_err();
    assert!(twice.is_usage() && twice.to_string().contains("u32"), "{twice}");
}
