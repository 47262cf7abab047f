//! Clauses on single tasks.

use std::time::Duration;

use super::kit::{Kit, done, enqueue, fault, keyed, settle, settle_retrying, work};
use crate::{
    id::{ArenaId, ItemId, TaskId},
    model::{
        Access, Ask, AttemptOutcome, Command, Decision, Fault, FaultKind, HandOff, Interrupted,
        ItemKind, Outcome, Payload, Phase, Rejection, Retry, Task, TaskFlags, TaskOptions,
        TaskSpec, TaskState, limits,
    },
};

pub(super) async fn an_enqueued_task_is_stored_once(kit: Kit) {
    let spec = work();
    let id = spec.id;
    let receipt = kit.twice(enqueue(spec.clone())).await;
    assert_eq!(receipt, Ok(Outcome::Task { id, created: true }));
    let again = kit.one(enqueue(spec.clone())).await;
    assert_eq!(again, Ok(Outcome::Task { id, created: false }));
    let rows = kit.rows().await;
    assert_eq!(rows.tasks[&id].phase, Phase::Ready);
    assert_eq!(rows.specs[&id], TaskSpec { created_at: kit.now(), ..spec.clone() });
    assert_eq!(rows.lanes[&rows.tasks[&id].lane], spec.lane());
    let twins = work();
    let receipts = kit.commit(vec![enqueue(twins.clone()), enqueue(twins.clone())]).await;
    let made = |created| Ok(Outcome::Task { id: twins.id, created });
    assert_eq!(receipts, [made(true), made(false)]);
}

pub(super) async fn tasks_are_enqueued_together_or_not_at_all(kit: Kit) {
    let (one, two, three) = (work(), work(), work());
    let all = |specs: &[&TaskSpec]| Command::EnqueueAll(specs.iter().copied().cloned().collect());
    let made = |answers: &[(&TaskSpec, bool)]| {
        Ok(Outcome::Tasks(answers.iter().map(|(spec, made)| (spec.id, *made)).collect()))
    };
    kit.done(enqueue(one.clone())).await;
    let receipt = kit.twice(all(&[&two, &one, &three, &two])).await;
    assert_eq!(receipt, made(&[(&two, true), (&one, false), (&three, true), (&two, false)]));
    assert_eq!(kit.one(all(&[])).await, made(&[]));
    // One that is refused takes its neighbours along, whatever each refers to.
    let (four, empty) = (work(), TaskSpec { kind: String::new(), ..work() });
    let orphan = TaskSpec { parent: Some(TaskId::new()), ..work() };
    for wrong in [&empty, &orphan] {
        let receipts = kit.commit(vec![all(&[&four, wrong]), enqueue(three.clone())]).await;
        assert!(receipts[0].is_err(), "{receipts:?}");
        assert_eq!(receipts[1], Ok(Outcome::Task { id: three.id, created: false }));
    }
    let keyed = TaskSpec { unique_key: Some("k".into()), ..work() };
    let twin = TaskSpec { id: TaskId::new(), ..keyed.clone() };
    let receipt = kit.one(all(&[&keyed, &twin])).await;
    assert_eq!(receipt, made(&[(&keyed, true), (&keyed, false)]));
    let many = vec![work(); limits::TASKS_AT_ONCE + 1];
    assert!(kit.one(Command::EnqueueAll(many)).await.is_err());
    let rows = kit.rows().await;
    let ids: Vec<_> = rows.tasks.keys().copied().collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!([one, two, three, keyed].iter().all(|spec| rows.specs.contains_key(&spec.id)));
}

/// A task with every field set.
pub(super) fn full_spec(kit: &Kit) -> TaskSpec {
    TaskSpec {
        project: "höchst \"eigen\"\n".into(),
        kind: "agent".into(),
        input: Payload::trusted("{\"b\": 1.0, \"a\": [null, \"ü\"]}".into()),
        priority: -7,
        run_at: Some(kit.now() + Duration::from_micros(1_234_567)),
        arena: Some(ArenaId::new()),
        agent: Some("claude".into()),
        model: Some("large".into()),
        mode: Some("plan".into()),
        thinking: Some("hard".into()),
        unique_key: Some("once".into()),
        labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())].into(),
        meta: Some(Payload::trusted("{\"x\":{}}".into())),
        options: TaskOptions {
            retry: Retry {
                attempts_max: 4,
                delay_ms: 1,
                factor: 1.25,
                delay_max_ms: 9,
                jitter: 0.1,
            },
            timeout_ms: Some(5_000),
            tags: vec!["gpu".into()],
            capacity: vec!["z".into(), "agent:claude".into()],
            access: Access::ReadOnly,
            folder: Some("/a/folder".into()),
            schema: Some(Payload::trusted("{\"type\":  \"object\"}".into())),
            hand_off: HandOff::Summary,
            interrupted: Interrupted::Ask,
            unique_until_done: true,
            unreadable: None,
        },
        ..work()
    }
}

pub(super) async fn every_field_of_a_task_is_kept(kit: Kit) {
    let parent = kit.enqueue(work()).await;
    let chat = kit.chat().await;
    let spec = TaskSpec { parent: Some(parent), chat: Some(chat), ..full_spec(&kit) };
    kit.enqueue(spec.clone()).await;
    let rows = kit.rows().await;
    assert_eq!(rows.specs[&spec.id], TaskSpec { created_at: kit.now(), ..spec.clone() });
    let task = &rows.tasks[&spec.id];
    assert_eq!((task.priority, Some(task.run_at)), (-7, spec.run_at));
    assert_eq!(rows.unique[&(spec.project.clone(), "once".into())], spec.id);
    assert_eq!(rows.lanes[&task.lane], spec.lane());
}

pub(super) async fn large_values_are_kept_and_larger_ones_refused(kit: Kit) {
    let input = Payload::text(&"x".repeat(1 << 20));
    let task = kit.running(TaskSpec { input: input.clone(), ..work() }).await;
    kit.done(settle(&task, Decision::Complete(input.clone()))).await;
    let rows = kit.rows().await;
    assert_eq!(rows.specs[&task.id].input, input);
    assert_eq!(rows.attempts[&(task.id, task.lease)].output, Some(input));
    let meta = Some(Payload::text(&"x".repeat(limits::META_BYTES)));
    let refused = kit.refused(enqueue(TaskSpec { meta, ..work() })).await;
    assert!(matches!(refused, Rejection::TooLarge { .. }), "{refused}");
}

pub(super) async fn text_that_no_database_takes_is_refused_or_mended(kit: Kit) {
    let nul = || "a\0b".to_owned();
    let wrong = [
        TaskSpec { project: nul(), ..work() },
        TaskSpec { kind: nul(), ..work() },
        TaskSpec { unique_key: Some(nul()), ..work() },
        TaskSpec { model: Some(nul()), ..work() },
        TaskSpec { labels: [("l".to_owned(), nul())].into(), ..work() },
        keyed(&["a\0b"]),
    ];
    for spec in wrong {
        let refused = kit.refused(enqueue(spec)).await;
        assert!(matches!(refused, Rejection::Invalid(_)), "{refused}");
    }
    kit.refused(Command::SetCapacity { key: nul(), slots: Some(1) }).await;
    let task = kit.running(TaskSpec { input: Payload::text("a\0b"), ..work() }).await;
    let parked = Decision::Park { key: nul(), wait: Duration::ZERO };
    kit.refused(settle(&task, parked)).await;
    let fault = Fault { kind: FaultKind::Error, message: nul(), retryable: false };
    kit.done(settle(&task, Decision::Fail(fault))).await;
    let rows = kit.rows().await;
    let error = rows.attempts[&(task.id, 1)].error.as_deref();
    assert_eq!(error, Some("a\u{fffd}b"), "what a program printed is never the reason to fail");
    assert_eq!(rows.specs[&task.id].input, Payload::text("a\0b"), "JSON has a way to write it");
}

pub(super) async fn a_scheduled_task_waits_for_its_time(kit: Kit) {
    let time = kit.now() + Duration::from_secs(60);
    let spec = TaskSpec { run_at: Some(time), ..work() };
    let batch = crate::model::Batch { commands: vec![enqueue(spec.clone())], claim: None };
    assert_eq!(kit.commit_batch(batch).await.next, Some(time));
    assert_eq!(kit.row(spec.id).await.phase, Phase::Scheduled);
    assert!(kit.claim(5).await.is_empty(), "its time has not come");
    let early = kit.row(spec.id).await;
    let before = kit.done(Command::Ripen(Box::new(early.clone()))).await;
    assert_eq!(before, Outcome::State(TaskState::Pending));
    assert_eq!(kit.row(spec.id).await, early, "ripening early changes nothing");
    kit.advance(60);
    let due = kit.backend().due(kit.worker(), 10).await.expect("due works");
    assert_eq!(due.ripe, std::slice::from_ref(&early));
    assert!(kit.twice(Command::Ripen(Box::new(early))).await.is_ok());
    assert_eq!(kit.claim_ids(5).await, [spec.id]);
}

fn ask() -> Ask {
    Ask {
        id: ItemId::new(),
        kind: ItemKind::Question,
        key: "which".into(),
        body: Payload::text("which one?"),
        options: vec!["a".into(), "b".into()],
    }
}

/// Each decision, the phase after it, and what is recorded of the attempt.
fn decisions() -> Vec<(Decision, Phase, Option<AttemptOutcome>)> {
    let (key, wait) = ("provider".to_owned(), Duration::from_secs(5));
    vec![
        (done(), Phase::Completed, Some(AttemptOutcome::Completed)),
        (fault(), Phase::Failed, Some(AttemptOutcome::Failed)),
        (Decision::Snooze(wait), Phase::Scheduled, Some(AttemptOutcome::Snoozed)),
        (Decision::Snooze(Duration::ZERO), Phase::Ready, Some(AttemptOutcome::Snoozed)),
        (Decision::Block(vec![ask()]), Phase::Blocked, Some(AttemptOutcome::Blocked)),
        (Decision::Park { key, wait }, Phase::Ready, Some(AttemptOutcome::Parked)),
        (Decision::Cancelled, Phase::Cancelled, Some(AttemptOutcome::Cancelled)),
        (Decision::Release, Phase::Ready, None),
    ]
}

pub(super) async fn each_decision_has_its_effect(kit: Kit) {
    for (priority, (decision, phase, outcome)) in (1..).zip(decisions()) {
        let task = kit.running_first(TaskSpec { priority: -priority, ..work() }).await;
        kit.advance(1);
        let state = Outcome::State(phase.state());
        assert_eq!(kit.settle(&task, decision.clone()).await, Ok(state), "{decision:?}");
        let rows = kit.rows().await;
        let after = &rows.tasks[&task.id];
        assert_eq!((after.phase, after.holder, after.lease), (phase, None, 1), "{decision:?}");
        assert_eq!(after.attempt, u32::from(outcome.is_some()), "{decision:?}");
        let attempt = rows.attempts.get(&(task.id, 1));
        assert_eq!(attempt.map(|row| row.outcome), outcome, "{decision:?}");
        if let Some(attempt) = attempt {
            assert_eq!((attempt.started_at, attempt.ended_at), (task.started_at, kit.now()));
            assert_eq!(attempt.holder, Some(kit.worker()));
        }
    }
    let retry = Retry::every(2, Duration::from_secs(3));
    let task = kit.running_first(TaskSpec { priority: -100, ..work() }).await;
    kit.done(settle_retrying(&task, retry, fault())).await;
    let row = kit.row(task.id).await;
    assert_eq!((row.phase, row.failures), (Phase::Scheduled, 1));
    assert_eq!(row.run_at, kit.now() + Duration::from_secs(3));
}

pub(super) async fn a_repeated_settle_is_answered_the_same(kit: Kit) {
    for (priority, (decision, ..)) in (1..).zip(decisions()) {
        let task = kit.running_first(TaskSpec { priority: -priority, ..work() }).await;
        assert!(kit.twice(settle(&task, decision)).await.is_ok());
    }
    for (priority, (decision, ..)) in (1..).zip(decisions()) {
        let task = kit.running_first(TaskSpec { priority: -100 - priority, ..work() }).await;
        kit.done(Command::Cancel(task.id)).await;
        let state = kit.twice(settle(&task, decision)).await;
        assert_eq!(state, Ok(Outcome::State(TaskState::Cancelled)));
    }
}

pub(super) async fn a_stale_lease_changes_nothing(kit: Kit) {
    let old = kit.running(work()).await;
    assert!(kit.twice(Command::Rescue { task: old.id, lease: old.lease }).await.is_ok());
    let other = kit.other_worker();
    let new = other.claim_one().await;
    assert_eq!((new.id, new.lease), (old.id, old.lease + 1));
    for (decision, ..) in decisions().into_iter().filter(|(d, ..)| *d != Decision::Release) {
        assert_eq!(kit.refused(settle(&old, decision)).await, Rejection::StaleLease);
    }
    let quick = settle_retrying(&old, Retry::times(5), fault());
    assert_eq!(kit.refused(quick).await, Rejection::StaleLease);
    other.complete(&new).await;
    assert_eq!(kit.refused(settle(&old, done())).await, Rejection::StaleLease);
    assert_eq!(kit.refused(settle(&new, fault())).await, Rejection::StaleLease);
}

pub(super) async fn the_lease_never_goes_back(kit: Kit) {
    let id = kit.enqueue(work()).await;
    let endings = [Decision::Release, Decision::Snooze(Duration::ZERO), fault(), done()];
    for (lease, decision) in (1..).zip(endings) {
        let task = kit.claim_one().await;
        assert_eq!((task.id, task.lease), (id, lease));
        let early = Command::Rescue { task: id, lease: lease + 1 };
        assert_eq!(kit.refused(early).await, Rejection::StaleLease);
        let failed = matches!(decision, Decision::Fail(_));
        kit.done(settle(&task, decision)).await;
        if failed {
            kit.done(Command::Retry(id)).await;
        }
    }
}

pub(super) async fn a_refused_command_leaves_its_neighbours_alone(kit: Kit) {
    let held = kit.running(work()).await;
    kit.complete(&held).await;
    let (first, last) = (work(), work());
    let receipts = kit
        .commit(vec![
            enqueue(first.clone()),
            settle(&held, fault()),
            Command::Cancel(TaskId::new()),
            settle_retrying(&held, Retry::times(3), fault()),
            Command::Retry(held.id),
            enqueue(last.clone()),
        ])
        .await;
    let refused: Vec<bool> = receipts.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, true, true, true, true, false]);
    assert!(matches!(receipts[2], Err(Rejection::NotFound { .. })));
    assert_eq!(kit.row(held.id).await.phase, Phase::Completed);
    assert_eq!(kit.claim_ids(5).await, [first.id, last.id]);
}

pub(super) async fn cancelling_what_runs_is_a_request(kit: Kit) {
    let waiting = kit.enqueue(work()).await;
    let cancelled = Ok(Outcome::State(TaskState::Cancelled));
    assert_eq!(kit.twice(Command::Cancel(waiting)).await, cancelled);
    let task = kit.running(work()).await;
    let running = Ok(Outcome::State(TaskState::Running));
    assert_eq!(kit.twice(Command::Cancel(task.id)).await, running);
    assert!(kit.row(task.id).await.flags.has(TaskFlags::CANCEL));
    assert_eq!(kit.settle(&task, done()).await, cancelled, "the request came first");
    let rows = kit.rows().await;
    let Decision::Complete(output) = done() else { unreachable!("it completes") };
    assert_eq!(rows.attempts[&(task.id, task.lease)].output, Some(output), "what was done is kept");
    let task = kit.running(work()).await;
    kit.complete(&task).await;
    let refused = kit.refused(Command::Cancel(task.id)).await;
    assert!(matches!(refused, Rejection::Illegal { .. }), "the completion came first");
}

pub(super) async fn cancelling_reaches_descendants(kit: Kit) {
    let parent = kit.running(work()).await;
    let child = TaskSpec { parent: Some(parent.id), ..work() };
    let grandchild = TaskSpec { parent: Some(child.id), ..work() };
    kit.enqueue(child.clone()).await;
    kit.enqueue(grandchild.clone()).await;
    let stranger = kit.enqueue(work()).await;
    kit.done(Command::Cancel(parent.id)).await;
    let rows = kit.rows().await;
    assert!(rows.tasks[&parent.id].flags.has(TaskFlags::CANCEL));
    for id in [child.id, grandchild.id] {
        assert_eq!(rows.tasks[&id].phase, Phase::Cancelled);
    }
    assert_eq!(rows.tasks[&stranger].phase, Phase::Ready);
    let late = enqueue(TaskSpec { parent: Some(parent.id), ..work() });
    assert!(matches!(kit.refused(late).await, Rejection::Invalid(_)));
}

pub(super) async fn a_paused_task_is_not_claimed(kit: Kit) {
    let id = kit.enqueue(work()).await;
    assert!(kit.twice(Command::Pause(id)).await.is_ok());
    assert!(kit.claim(5).await.is_empty());
    assert!(kit.twice(Command::Resume(id)).await.is_ok());
    let task = kit.claim_one().await;
    let refused = kit.refused(Command::Pause(id)).await;
    assert!(matches!(refused, Rejection::Illegal { .. }), "{refused}");
    kit.complete(&task).await;
}

pub(super) async fn a_failed_task_runs_again_when_a_person_says_so(kit: Kit) {
    let task = kit.running(work()).await;
    kit.done(settle(&task, fault())).await;
    assert_eq!(kit.items(task.id).await.len(), 1, "a failure waits for a person");
    let pending = Ok(Outcome::State(TaskState::Pending));
    assert_eq!(kit.twice(Command::Retry(task.id)).await, pending);
    let again = kit.claim_one().await;
    assert_eq!((again.id, again.attempt, again.failures), (task.id, 2, 0));
    kit.complete(&again).await;
    let refused = kit.refused(Command::Retry(task.id)).await;
    assert!(matches!(refused, Rejection::Illegal { .. }), "{refused}");
}

pub(super) async fn rescue_follows_the_policy_of_the_task(kit: Kit) {
    let policies = [
        (Interrupted::RunAgain, Phase::Ready),
        (Interrupted::Ask, Phase::Blocked),
        (Interrupted::Fail, Phase::Failed),
    ];
    for (priority, (interrupted, phase)) in (1..).zip(policies) {
        let options = TaskOptions { interrupted, ..TaskOptions::default() };
        let task = kit.running_first(TaskSpec { options, priority: -priority, ..work() }).await;
        let rescue = Command::Rescue { task: task.id, lease: task.lease };
        assert!(kit.twice(rescue).await.is_ok());
        let row = kit.row(task.id).await;
        assert_eq!((row.phase, row.holder, row.interruptions), (phase, None, 1), "{interrupted:?}");
        let attempt = kit.rows().await.attempts.remove(&(task.id, task.lease));
        let outcome = attempt.map(|attempt| attempt.outcome);
        assert_eq!(outcome, Some(AttemptOutcome::Interrupted));
        let stale = Command::Rescue { task: task.id, lease: task.lease + 1 };
        assert_eq!(kit.refused(stale).await, Rejection::StaleLease);
    }
}

impl Kit {
    /// A task that runs, although others are ready behind it.
    async fn running_first(&self, spec: TaskSpec) -> Task {
        let id = self.enqueue(spec).await;
        let mut claimed = self.claim(1).await;
        let task = claimed.remove(0);
        assert_eq!(task.id, id, "the smallest priority comes first");
        task
    }
}
