//! What a host looks at while engines work, and what it puts in order.

use std::time::Duration;

use segue::{
    ChatSpec, Engine, Flow, NewTask, SessionSpec,
    clock::{ManualClock, Timestamp},
    id::{ChatId, SessionId, TaskId},
    model::{CapacityView, Import, Payload, RunState, TaskFilter, TaskSpec, TaskState},
};

use super::support::{Probe, Store, eventually, hold, note};

each_backend!(
    capacity_keys_are_looked_at,
    a_project_is_counted_by_itself,
    the_size_of_the_database_grows_with_its_rows,
    an_engine_finds_itself_among_the_instances,
    a_session_is_read_and_deleted,
    a_bound_in_bytes_takes_the_oldest_and_no_more_than_must,
    under_a_bound_in_bytes_what_ended_longer_ago_goes_first,
);

async fn capacity_keys_are_looked_at(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.capacity("k", 2).start().await.unwrap();
    for n in 0..5 {
        engine.submit(NewTask::new("hold", &n).capacity("k")).await.unwrap();
    }
    probe.arrived(2).await;
    let until = Timestamp::from_micros(i64::MAX / 2);
    engine.park("model:x", until).await.unwrap();
    let reader = store.builder().connect().await.unwrap();
    let k = reader.capacity("k").await.unwrap();
    assert_eq!((k.key.slots, k.held, k.waiting), (Some(2), 2, 3));
    let x = reader.capacity("model:x").await.unwrap();
    assert_eq!((x.key.slots, x.key.parked_until), (None, until));
    assert_eq!(reader.capacities(None, 10).await.unwrap(), [k.clone(), x.clone()]);
    assert_eq!(reader.capacities(None, 1).await.unwrap(), [k]);
    assert_eq!(reader.capacities(Some("k"), 10).await.unwrap(), [x]);
    assert!(reader.capacity("nobody's").await.unwrap_err().is_not_found());
    probe.let_go(5);
    engine.run_until_idle().await.unwrap();
    let CapacityView { held, waiting, .. } = reader.capacity("k").await.unwrap();
    assert_eq!((held, waiting), (0, 0));
}

async fn a_project_is_counted_by_itself(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let flow = echo();
    let engine = builder.flow(&flow).start().await.unwrap();
    for (project, kind) in [("shop", "note"), ("shop", "nobody"), ("other", "note")] {
        engine.submit(NewTask::new(kind, &()).project(project)).await.unwrap();
    }
    engine.launch(&flow, 1).project("shop").await.unwrap().await.unwrap();
    engine.run_until_idle().await.unwrap();
    let stats = engine.project_stats("shop").await.unwrap();
    assert_eq!(stats.tasks, [(TaskState::Completed, 2), (TaskState::Pending, 1)].into());
    assert_eq!(stats.runs, [(RunState::Completed, 1)].into());
    let all = engine.stats().await.unwrap();
    assert_eq!(all.tasks[&TaskState::Completed], 3);
    assert!(engine.project_stats("nobody's").await.unwrap().tasks.is_empty());
}

/// A flow of one step.
fn echo() -> Flow<u32, u32> {
    let mut draft = Flow::new("echo");
    let input = draft.input::<u32>();
    let same = draft.code("same", input, async |_, n| Ok(n));
    draft.returns(input, same)
}

/// Text of so many KiB that no database can make shorter.
fn text(kib: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(kib);
    (0..kib << 10).map(|_| rng.alphanumeric()).collect()
}

async fn the_size_of_the_database_grows_with_its_rows(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let before = engine.disk().await.unwrap();
    assert!(before.database_bytes > 0);
    engine.enqueue("nobody", &text(1_024)).await.unwrap();
    let after = engine.disk().await.unwrap();
    let grown = after.database_bytes - before.database_bytes;
    // Letters and digits take 6 of 8 bits.
    assert!((700 << 10..2 << 20).contains(&grown), "{before:?} and {after:?}");
    if let Some(used) = after.used_bytes {
        assert!(used <= after.database_bytes && used > before.used_bytes.unwrap(), "{after:?}");
        assert!(after.wal_bytes > 1 << 20, "what was written last is in the log: {after:?}");
    }
}

async fn an_engine_finds_itself_among_the_instances(store: Store) {
    let one = store.builder().tag("gpu").start().await.unwrap();
    let two = store.builder().start().await.unwrap();
    let reader = store.builder().connect().await.unwrap();
    let mut listed = reader.instances().await.unwrap();
    listed.sort_by_key(|instance| instance.id != one.instance());
    let ids: Vec<_> = listed.iter().map(|instance| instance.id).collect();
    assert_eq!(ids, [one.instance(), two.instance()]);
    assert!(listed[0].serves.contains("tag:gpu") && !listed[1].serves.contains("tag:gpu"));
    assert!(listed.iter().all(|instance| instance.host.pid == std::process::id()));
    assert!(!ids.contains(&reader.instance()), "it does not work");
}

async fn a_session_is_read_and_deleted(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let id = SessionId::new();
    let spec = SessionSpec { title: "a session".into(), ..SessionSpec::default() };
    let session = engine.session(id, spec).await.unwrap();
    assert_eq!((session.id(), session.view().await.unwrap().title.as_str()), (id, "a session"));
    let spec = ChatSpec { session: Some(id), title: "a chat".into(), ..ChatSpec::default() };
    let chat = engine.chat(ChatId::new(), spec).await.unwrap();
    assert_eq!(chat.view().await.unwrap().session, Some(id));
    chat.append(segue::model::Role::User, "hello").await.unwrap();
    let new = || NewTask::new("nobody", &()).session(id).chat(chat.id());
    let task = engine.submit(new()).await.unwrap();
    let other = store.builder().connect().await.unwrap();
    other.session_handle(id).delete().await.unwrap();
    assert!(session.view().await.unwrap_err().is_not_found());
    assert_eq!(engine.sessions(None, None, 10).await.unwrap(), []);
    let view = chat.view().await.unwrap();
    assert_eq!((view.session, view.title.as_str()), (None, "a chat"));
    assert_eq!(chat.history(0, 10).await.unwrap().len(), 1);
    assert_eq!(engine.chats(None, Some(id), None, 10).await.unwrap(), []);
    let spec = task.view().await.unwrap().spec;
    assert_eq!((spec.session, spec.chat), (None, Some(chat.id())));
    session.delete().await.unwrap();
    assert!(engine.submit(new()).await.unwrap_err().is_not_found());
    assert!(engine.chat_handle(ChatId::new()).view().await.unwrap_err().is_not_found());
}

const BOUND: u64 = 6 << 20;

/// An engine that keeps the bound. None where the database can't tell: the bound is refused.
async fn bounded(store: &Store, clock: &ManualClock) -> Option<Engine> {
    let builder = store.builder().clock(clock.clone()).task("note", note);
    let started = builder.host(Probe::default()).keep_bytes(BOUND).start().await;
    let plain = store.builder().connect().await.unwrap();
    match plain.disk().await.unwrap().used_bytes {
        Some(_) => Some(started.unwrap()),
        None => {
            assert!(started.unwrap_err().is_usage());
            None
        }
    }
}

async fn until_there_is_room(engine: &Engine, clock: &ManualClock) {
    let used = || async { engine.disk().await.unwrap().used_bytes.unwrap() };
    eventually("there is room", || async {
        clock.advance(Duration::from_secs(100));
        used().await <= BOUND
    })
    .await;
}

/// Tasks that have completed, with 256 KiB each.
async fn completed(engine: &Engine, count: u32) -> Vec<TaskId> {
    let mut made = Vec::new();
    for _ in 0..count {
        let task = engine.enqueue("note", &text(128)).await.unwrap();
        task.ended().await.unwrap();
        made.push(task.id());
    }
    made
}

/// All that have completed, the oldest first.
async fn kept(engine: &Engine) -> Vec<TaskId> {
    let filter = TaskFilter { states: vec![TaskState::Completed], ..TaskFilter::default() };
    let listed = engine.tasks(filter, None, 100).await.unwrap();
    listed.iter().rev().map(|view| view.spec.id).collect()
}

async fn a_bound_in_bytes_takes_the_oldest_and_no_more_than_must(store: Store) {
    let clock = ManualClock::default();
    let Some(engine) = bounded(&store, &clock).await else { return };
    let live = engine.enqueue("nobody", &text(256)).await.unwrap();
    let made = completed(&engine, 40).await;
    until_there_is_room(&engine, &clock).await;
    let kept = kept(&engine).await;
    assert!(kept.len() >= 10 && made.ends_with(&kept), "{} of {made:?}: {kept:?}", kept.len());
    assert_eq!(live.view().await.unwrap().state(), TaskState::Pending);
}

async fn under_a_bound_in_bytes_what_ended_longer_ago_goes_first(store: Store) {
    let clock = ManualClock::default();
    let Some(engine) = bounded(&store, &clock).await else { return };
    let made = completed(&engine, 16).await;
    clock.advance(Duration::from_secs(100));
    engine.run_until_idle().await.unwrap();
    for _ in 0..16 {
        engine.import(of_yesterday(clock.now())).await.unwrap();
    }
    until_there_is_room(&engine, &clock).await;
    let kept = kept(&engine).await;
    assert!(kept.len() < 32 && kept.starts_with(&made), "{made:?}: {kept:?}");
}

fn of_yesterday(now: Timestamp) -> Import {
    let ended = Timestamp::from_micros(now.as_micros() - (24 * 3_600_000_000));
    let spec = TaskSpec::new(TaskId::new(), "note", Payload::null());
    Import {
        spec: TaskSpec { created_at: ended, ..spec },
        state: TaskState::Completed,
        started_at: Some(ended),
        ended_at: Some(ended),
        output: Some(Payload::text(&text(256))),
        error: None,
        usage: None,
    }
}
