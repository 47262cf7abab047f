//! Clauses on where tasks come from: the host's past, other programs, keys that make one.

use super::kit::{Kit, done, enqueue, fault, settle, work};
use super::tasks::full_spec;
use crate::{
    clock::Timestamp,
    id::TaskId,
    model::{
        Command, Import, Outcome, Payload, Phase, Rejection, TaskOptions, TaskSpec, TaskState,
    },
};

fn import(state: TaskState, ended_at: Option<Timestamp>) -> Import {
    let spec = TaskSpec { created_at: Timestamp::from_micros(1_000), ..work() };
    let started_at = ended_at.map(|_| Timestamp::from_micros(2_000));
    let output = (state == TaskState::Completed).then(|| Payload::text("long ago"));
    let error = (state == TaskState::Failed).then(|| "broke long ago".to_owned());
    let usage = ended_at.map(|_| Payload::trusted("{\"tokens\":7}".into()));
    Import { spec, state, started_at, ended_at, output, error, usage }
}

pub(super) async fn an_import_keeps_ids_and_times(kit: Kit) {
    let end = Some(Timestamp::from_micros(3_000));
    for state in [TaskState::Completed, TaskState::Failed, TaskState::Cancelled] {
        let import = import(state, end);
        let id = import.spec.id;
        let receipt = kit.twice(Command::Import(Box::new(import.clone()))).await;
        assert_eq!(receipt, Ok(Outcome::Task { id, created: true }));
        let rows = kit.rows().await;
        assert_eq!(rows.specs[&id], import.spec);
        assert_eq!((rows.tasks[&id].state(), Some(rows.tasks[&id].ended_at)), (state, end));
        let attempt = &rows.attempts[&(id, 1)];
        assert_eq!(Some(attempt.started_at), import.started_at);
        assert_eq!((&attempt.output, &attempt.error), (&import.output, &import.error));
        assert_eq!(attempt.usage, import.usage);
    }
    let pending = import(TaskState::Pending, None);
    kit.done(Command::Import(Box::new(pending.clone()))).await;
    assert_eq!(kit.claim_ids(5).await, [pending.spec.id]);
    for state in [TaskState::Running, TaskState::Blocked, TaskState::Completed] {
        let refused = kit.refused(Command::Import(Box::new(import(state, None)))).await;
        assert!(matches!(refused, Rejection::Invalid(_)), "{state:?}: {refused}");
    }
}

fn unique(until_done: bool) -> TaskSpec {
    let options = TaskOptions { unique_until_done: until_done, ..TaskOptions::default() };
    TaskSpec { unique_key: Some("the one".into()), options, ..work() }
}

pub(super) async fn a_unique_key_makes_one_task(kit: Kit) {
    let first = unique(false);
    let task = kit.running(first.clone()).await;
    let found = Ok(Outcome::Task { id: task.id, created: false });
    assert_eq!(kit.one(enqueue(unique(false))).await, found);
    assert_eq!(kit.one(enqueue(unique(true))).await, found);
    kit.complete(&task).await;
    assert_eq!(kit.one(enqueue(unique(false))).await, found, "the key is kept with the task");
    kit.enqueue(TaskSpec { project: "another".into(), ..unique(false) }).await;
    assert_eq!(kit.rows().await.specs.len(), 2);
}

pub(super) async fn a_unique_key_is_free_when_its_task_ends(kit: Kit) {
    let task = kit.running(unique(true)).await;
    let next = unique(true);
    let receipts = kit.commit(vec![settle(&task, done()), enqueue(next.clone())]).await;
    assert_eq!(receipts[1], Ok(Outcome::Task { id: next.id, created: true }));
    let last = unique(true);
    let made = |spec: &TaskSpec| Ok(Outcome::Task { id: spec.id, created: true });
    let receipts = kit
        .commit(vec![Command::Cancel(next.id), enqueue(last.clone()), Command::Cancel(last.id)])
        .await;
    assert_eq!(receipts[1], made(&last));
    assert!(kit.rows().await.unique.is_empty(), "nobody has the key");
    let failed = kit.running(unique(true)).await;
    kit.done(settle(&failed, fault())).await;
    let other = kit.enqueue(unique(true)).await;
    let refused = kit.refused(Command::Retry(failed.id)).await;
    assert!(matches!(refused, Rejection::Invalid(_)), "task {other} has the key now: {refused}");
    kit.done(Command::Cancel(other)).await;
    kit.done(Command::Retry(failed.id)).await;
    let found = Outcome::Task { id: failed.id, created: false };
    assert_eq!(kit.done(enqueue(unique(true))).await, found, "it has its key again");
}

pub(super) async fn a_foreign_task_is_adopted_once(kit: Kit) {
    let spec = TaskSpec { created_at: kit.now(), ..full_spec(&kit) };
    let spec = TaskSpec { run_at: None, ..spec };
    if !kit.insert_foreign(spec.clone()).await {
        return;
    }
    let due = kit.backend().due(kit.worker(), 10).await.expect("due works");
    assert_eq!(due.foreign, [spec.id]);
    assert!(kit.claim(5).await.is_empty(), "nobody has looked at it yet");
    assert!(kit.rows().await.foreign.contains(&spec.id));
    let adopted = kit.twice(Command::Adopt(spec.id)).await;
    assert_eq!(adopted, Ok(Outcome::Task { id: spec.id, created: true }));
    let rows = kit.rows().await;
    assert!(rows.foreign.is_empty());
    assert_eq!(rows.specs[&spec.id], spec);
    assert_eq!(rows.tasks[&spec.id].phase, Phase::Ready);
    let due = kit.backend().due(kit.worker(), 10).await.expect("due works");
    assert!(due.foreign.is_empty());
    let missing = kit.refused(Command::Adopt(TaskId::new())).await;
    assert!(matches!(missing, Rejection::NotFound { .. }));
}

pub(super) async fn an_id_of_a_foreign_task_is_taken(kit: Kit) {
    let spec = TaskSpec { created_at: kit.now(), ..work() };
    if !kit.insert_foreign(spec.clone()).await {
        return;
    }
    let other = TaskSpec { input: Payload::text("something else"), ..spec.clone() };
    let found = kit.done(enqueue(other)).await;
    assert_eq!(found, Outcome::Task { id: spec.id, created: false });
    assert_eq!(kit.rows().await.specs[&spec.id], spec);
    assert_eq!(kit.backend().stats().await.expect("stats work").tasks[&TaskState::Pending], 1);
}

pub(super) async fn a_foreign_task_that_makes_no_sense_fails(kit: Kit) {
    let spec = TaskSpec { kind: String::new(), ..work() };
    if !kit.insert_foreign(spec.clone()).await {
        return;
    }
    kit.done(Command::Adopt(spec.id)).await;
    assert_eq!(kit.row(spec.id).await.phase, Phase::Failed);
    assert_eq!(kit.items(spec.id).await.len(), 1, "a person sees it");
    let duplicate = TaskSpec { created_at: kit.now(), ..unique(true) };
    let first = kit.enqueue(unique(true)).await;
    kit.insert_foreign(duplicate.clone()).await;
    kit.done(Command::Adopt(duplicate.id)).await;
    assert_eq!(kit.row(duplicate.id).await.phase, Phase::Cancelled);
    assert_eq!(kit.row(first).await.phase, Phase::Ready);
}
