//! Leases: a dead worker's tasks run again, a slow one's late result counts no more, and lost
//! answers strand nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use segue::{
    Builder, Engine, NewTask,
    backend::Backend,
    clock::{Clock, ManualClock},
    id::InstanceId,
    model::{
        AttemptOutcome, Batch, Claim, Claimed, Command, Decision, Host, Instance, Interrupted,
        Outcome, Payload, Receipt, Rejection, Retry, Settle, TaskState,
    },
};
use serde_json::Value;

use super::support::{Faulty, Probe, Store, eventually, hold, note};

each_backend!(
    a_silent_instances_task_runs_again_and_its_late_result_is_refused,
    a_late_result_is_refused_while_the_next_attempt_runs,
    an_instance_whose_beat_rises_keeps_its_task,
    an_interrupted_task_asks_or_fails_where_it_says_so,
    a_slow_holder_may_still_settle_before_another_claim,
    an_engine_that_the_database_forgot_announces_itself_again,
    a_claim_whose_answer_was_lost_is_given_back_unburned,
    a_claim_that_is_sent_again_finds_its_tasks,
    a_settle_whose_answer_was_lost_counts_once,
    an_instance_that_died_idle_is_forgotten,
);

async fn commit(backend: &Arc<dyn Backend>, command: Command) -> Receipt {
    let batch = Batch { commands: vec![command], claim: None };
    backend.commit(batch).await.unwrap().receipts.remove(0)
}

/// An instance on another host, which does what the test wants.
async fn stranger(backend: &Arc<dyn Backend>) -> InstanceId {
    let host = Host { name: "elsewhere".into(), boot: "1".into(), pid: 1, pid_start: 1 };
    let id = InstanceId::new();
    let instance = Instance {
        id,
        host,
        beat: 0,
        serves: ["task:note".to_owned()].into(),
        started_at: backend.clock().now(),
    };
    commit(backend, Command::Register(Box::new(instance))).await.unwrap();
    id
}

async fn claim(backend: &Arc<dyn Backend>, instance: InstanceId, seq: i64) -> Vec<Claimed> {
    let claim = Claim {
        instance,
        seq,
        limit: 10,
        serves: Arc::new(["task:note".to_owned()].into()),
        again: false,
    };
    let batch = Batch { commands: Vec::new(), claim: Some(claim) };
    backend.commit(batch).await.unwrap().claimed
}

fn settle(claimed: &Claimed, decision: Decision) -> Command {
    Command::Settle(Box::new(Settle::new(claimed.task.clone(), Retry::NEVER, decision)))
}

/// A database with a task that a stranger has claimed, and an engine about to be started.
struct Scene {
    clock: ManualClock,
    backend: Arc<dyn Backend>,
    stranger: InstanceId,
    claimed: Claimed,
    probe: Probe,
    builder: Builder,
}

async fn scene(store: &Store, new: NewTask) -> Scene {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let backend = store.backend(clock.clone()).await;
    let stranger = stranger(&backend).await;
    let spec = new.into_spec().unwrap();
    commit(&backend, Command::Enqueue(Box::new(spec))).await.unwrap();
    let claimed = claim(&backend, stranger, 1).await.remove(0);
    let builder = store.builder().clock(clock.clone()).poll(Duration::from_secs(1));
    let builder = builder.host(probe.clone());
    Scene { clock, backend, stranger, claimed, probe, builder }
}

async fn a_silent_instances_task_runs_again_and_its_late_result_is_refused(store: Store) {
    let scene = scene(&store, NewTask::new("note", "x")).await;
    let engine = scene.builder.task("note", note).start().await.unwrap();
    assert_eq!(engine.repaired().rescued, 0, "it may live");
    let task = engine.task(scene.claimed.task.id);
    let start = scene.clock.now();
    eventually("it is taken back", || async {
        scene.clock.advance(Duration::from_secs(1));
        task.view().await.unwrap().state() == TaskState::Completed
    })
    .await;
    assert!(scene.clock.now().since(start) >= Duration::from_secs(30));
    assert_eq!(scene.probe.log(), ["x"]);
    let attempts = task.attempts().await.unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Interrupted, AttemptOutcome::Completed]);
    let before = task.view().await.unwrap();
    for decision in [
        Decision::Complete(Payload::text("late")),
        Decision::Snooze(Duration::ZERO),
        Decision::Release,
        Decision::Cancelled,
    ] {
        let late = commit(&scene.backend, settle(&scene.claimed, decision)).await;
        assert_eq!(late, Err(Rejection::StaleLease));
    }
    assert_eq!(task.view().await.unwrap(), before);
    assert!(!scene.backend.beat(scene.stranger).await.unwrap(), "it is forgotten");
}

async fn a_late_result_is_refused_while_the_next_attempt_runs(store: Store) {
    let scene = scene(&store, NewTask::new("note", "x")).await;
    let engine = scene.builder.task("note", hold).start().await.unwrap();
    let task = engine.task(scene.claimed.task.id);
    eventually("the next attempt runs", || async {
        scene.clock.advance(Duration::from_secs(1));
        task.view().await.unwrap().task.unwrap().lease == 2
    })
    .await;
    scene.probe.arrived(1).await;
    let before = task.view().await.unwrap();
    for decision in
        [Decision::Complete(Payload::text("late")), Decision::Release, Decision::Cancelled]
    {
        let late = commit(&scene.backend, settle(&scene.claimed, decision)).await;
        assert_eq!(late, Err(Rejection::StaleLease));
    }
    assert_eq!(task.view().await.unwrap(), before);
    scene.probe.let_go(1);
    assert_eq!(task.output::<String>().await.unwrap(), "x");
}

async fn an_instance_whose_beat_rises_keeps_its_task(store: Store) {
    let scene = scene(&store, NewTask::new("note", "x")).await;
    let engine = scene.builder.task("note", note).start().await.unwrap();
    let task = engine.task(scene.claimed.task.id);
    for _ in 0..100 {
        scene.clock.advance(Duration::from_secs(5));
        assert!(scene.backend.beat(scene.stranger).await.unwrap());
        // Work of its own shows that the engine is awake.
        engine.enqueue("note", "own").await.unwrap().ended().await.unwrap();
    }
    assert_eq!(task.view().await.unwrap().state(), TaskState::Running);
    let done = settle(&scene.claimed, Decision::Complete(Payload::text("done")));
    let receipt = commit(&scene.backend, done).await;
    assert_eq!(receipt, Ok(Outcome::State(TaskState::Completed)));
}

async fn an_interrupted_task_asks_or_fails_where_it_says_so(store: Store) {
    for (policy, state) in
        [(Interrupted::Ask, TaskState::Blocked), (Interrupted::Fail, TaskState::Failed)]
    {
        let scene = scene(&store, NewTask::new("note", "x").interrupted(policy)).await;
        let engine = scene.builder.task("note", note).start().await.unwrap();
        let task = engine.task(scene.claimed.task.id);
        eventually("it is taken back", || async {
            scene.clock.advance(Duration::from_secs(1));
            task.view().await.unwrap().state() == state
        })
        .await;
        assert_eq!(scene.probe.log().len(), 0);
        let items = engine.inbox(None, 10).await.unwrap();
        let item = items.iter().find(|item| item.task == task.id()).unwrap();
        if state == TaskState::Blocked {
            assert_eq!(item.options, ["run again", "fail"]);
            engine.answer(item.id, "run again", "Ada").await.unwrap();
            assert_eq!(task.output::<String>().await.unwrap(), "x");
        }
        engine.shutdown().await.unwrap();
    }
}

async fn a_slow_holder_may_still_settle_before_another_claim(store: Store) {
    let scene = scene(&store, NewTask::new("note", "x")).await;
    scene.clock.advance(Duration::from_secs(3_600));
    let done = settle(&scene.claimed, Decision::Complete(Payload::text("slow")));
    for _ in 0..2 {
        let receipt = commit(&scene.backend, done.clone()).await;
        assert_eq!(receipt, Ok(Outcome::State(TaskState::Completed)), "also again");
    }
}

async fn an_engine_that_the_database_forgot_announces_itself_again(store: Store) {
    let builder = store.builder().lease(Duration::from_secs(30), Duration::from_millis(10));
    let builder = builder.task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let own = engine.instances().await.unwrap().remove(0);
    let backend = store.backend(Clock::System).await;
    commit(&backend, Command::Retire(own.id)).await.unwrap();
    eventually("it is known again", || async {
        let known = engine.instances().await.unwrap();
        known.iter().any(|instance| instance.id == own.id && instance.serves == own.serves)
    })
    .await;
    engine.enqueue("note", &()).await.unwrap().ended().await.unwrap();
}

async fn a_claim_whose_answer_was_lost_is_given_back_unburned(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    engine.run_until_idle().await.unwrap();
    engine.pause();
    let task = engine.enqueue("note", "x").await.unwrap();
    let own = engine.instances().await.unwrap()[0].id;
    let backend = store.backend(Clock::System).await;
    assert_eq!(claim(&backend, own, 1_000_000).await.len(), 1);
    eventually("it is given back", || async {
        task.view().await.unwrap().state() == TaskState::Pending
    })
    .await;
    let row = task.view().await.unwrap().task.unwrap();
    assert_eq!((row.attempt, row.lease, row.interruptions), (0, 1, 0));
    assert_eq!(task.attempts().await.unwrap(), []);
    engine.resume();
    assert_eq!(task.ended().await.unwrap().attempt.unwrap().attempt, 1);
    assert_eq!(probe.log(), ["x"]);
}

/// An engine on a backend that loses answers.
async fn forgetful(store: &Store, probe: &Probe, claims: u32, settles: u32) -> Engine {
    let faulty = Faulty {
        lost_claims: AtomicU32::new(claims),
        lost_settles: AtomicU32::new(settles),
        ..Faulty::on(store.backend(Clock::System).await)
    };
    // A long poll: what the keeper would put right must not be needed.
    let builder = Engine::on(Arc::new(faulty)).poll(Duration::from_secs(3_600));
    let builder = builder.task("note", note).host(probe.clone());
    builder.concurrency(4).start().await.unwrap()
}

async fn a_claim_that_is_sent_again_finds_its_tasks(store: Store) {
    let probe = Probe::default();
    let engine = forgetful(&store, &probe, 3, 0).await;
    let mut tasks = Vec::new();
    for n in 0..8 {
        tasks.push(engine.enqueue("note", &n).await.unwrap());
    }
    for task in &tasks {
        let attempt = task.ended().await.unwrap().attempt.unwrap();
        assert_eq!((attempt.attempt, attempt.lease), (1, 1));
    }
    assert_eq!(probe.log().len(), 8);
}

async fn a_settle_whose_answer_was_lost_counts_once(store: Store) {
    let probe = Probe::default();
    let engine = forgetful(&store, &probe, 0, 5).await;
    let ran = Arc::new(AtomicU32::new(0));
    for n in 0..8 {
        let task = engine.enqueue("note", &n).await.unwrap();
        assert_eq!(task.output::<Value>().await.unwrap(), n);
        assert_eq!(task.attempts().await.unwrap().len(), 1);
        ran.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(probe.log().len(), 8);
}

async fn an_instance_that_died_idle_is_forgotten(store: Store) {
    let backend = store.backend(Clock::System).await;
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let mut dead = engine.instances().await.unwrap().remove(0);
    // A process of this host whose pid is used by another by now.
    dead.id = InstanceId::new();
    dead.host.pid_start += 1;
    dead.serves.insert("task:lost".into());
    engine.shutdown().await.unwrap();
    let register = Command::Register(Box::new(dead));
    commit(&backend, register).await.unwrap();
    let engine = store.builder().start().await.unwrap();
    assert_eq!(engine.repaired().dead_instances, 1);
    assert_eq!(engine.instances().await.unwrap().len(), 1);
    let task = engine.enqueue("lost", &()).await.unwrap();
    let missing = segue::Waiting::CodeMissing("task:lost".into());
    assert_eq!(task.why().await.unwrap(), missing);
}
