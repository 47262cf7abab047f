//! Clauses on claims, lanes and capacity.

use std::{sync::Arc, time::Duration};

use super::kit::{Kit, done, enqueue, fault, keyed, new_run, new_step, set, settle, work};
use crate::{
    id::TaskId,
    model::{
        Ask, Batch, Claim, Command, Decision, ItemKind, Payload, Phase, Task, TaskOptions, TaskSpec,
    },
};

pub(super) async fn the_smallest_priority_comes_first_then_the_oldest(kit: Kit) {
    let of = |priority, kind: &str| TaskSpec { priority, kind: kind.into(), ..work() };
    let specs = [of(5, "work"), of(-1, "work"), of(0, "other"), of(-1, "other"), of(0, "work")];
    for spec in &specs {
        kit.enqueue(spec.clone()).await;
    }
    let order = [1, 3, 2, 4, 0].map(|at| specs[at].id);
    let first = kit.claim_ids(2).await;
    let rest = kit.claim_ids(10).await;
    assert_eq!([first, rest].concat(), order);
}

pub(super) async fn a_claim_takes_no_more_than_its_limit(kit: Kit) {
    for _ in 0..5 {
        kit.enqueue(work()).await;
    }
    assert!(kit.claim(0).await.is_empty());
    assert_eq!(kit.claim(3).await.len(), 3);
    let claimed = kit.claim_as(kit.next_claim(3)).await;
    assert_eq!(claimed.len(), 2);
    let rows = kit.rows().await;
    for claimed in claimed {
        let task = &claimed.task;
        assert_eq!(rows.tasks[&task.id], *task, "what a claim returns is what is stored");
        assert_eq!(rows.specs[&task.id], claimed.spec);
        assert_eq!((task.phase, task.holder), (Phase::Running, Some(kit.worker())));
        assert_eq!((task.lease, task.attempt, task.started_at), (1, 1, kit.now()));
    }
}

pub(super) async fn a_claim_takes_only_what_the_worker_serves(kit: Kit) {
    let tags = vec!["gpu".to_owned(), "linux".to_owned()];
    let options = TaskOptions { tags, ..TaskOptions::default() };
    let tagged = kit.enqueue(TaskSpec { options, ..work() }).await;
    let agent = Some("claude".to_owned());
    let agent = kit.enqueue(TaskSpec { agent, kind: "agent".into(), ..work() }).await;
    let plain = kit.enqueue(work()).await;
    let serving = |needs: &[&str]| Claim {
        serves: Arc::new(set(needs.iter().map(|need| (*need).to_owned()))),
        ..kit.next_claim(5)
    };
    assert!(kit.claim_as(serving(&[])).await.is_empty());
    assert!(kit.claim_as(serving(&["tag:gpu", "tag:linux"])).await.is_empty());
    let ids = |claimed: Vec<crate::model::Claimed>| -> Vec<TaskId> {
        claimed.into_iter().map(|claimed| claimed.task.id).collect()
    };
    assert_eq!(ids(kit.claim_as(serving(&["task:work", "tag:gpu"])).await), [plain]);
    assert_eq!(ids(kit.claim_as(serving(&["agent:claude", "task:other"])).await), [agent]);
    let all = serving(&["task:work", "tag:gpu", "tag:linux", "tag:more"]);
    assert_eq!(ids(kit.claim_as(all).await), [tagged]);
}

fn capacity(key: &str, slots: Option<u32>) -> Command {
    Command::SetCapacity { key: key.into(), slots }
}

pub(super) async fn a_capacity_key_is_held_by_no_more_than_its_slots(kit: Kit) {
    assert!(kit.twice(capacity("agent:qwen", Some(2))).await.is_ok());
    for _ in 0..5 {
        kit.enqueue(keyed(&["agent:qwen"])).await;
    }
    let first = kit.claim(10).await;
    assert_eq!(first.len(), 2);
    assert!(kit.other_worker().claim(10).await.is_empty(), "for all workers together");
    let held = |rows: &crate::model::Rows| set(rows.slots.values().filter_map(|slot| slot.held));
    let holders = set(first.iter().map(|task| (task.id, task.lease)));
    assert_eq!(held(&kit.rows().await), holders);
    kit.complete(&first[0]).await;
    assert_eq!(kit.claim(10).await.len(), 1);
    kit.done(capacity("agent:qwen", Some(4))).await;
    assert_eq!(kit.claim(10).await.len(), 2);
    assert!(kit.claim(10).await.is_empty(), "five tasks, one is done, four run");
}

pub(super) async fn a_task_needs_a_slot_of_each_of_its_keys(kit: Kit) {
    kit.done(capacity("a", Some(1))).await;
    kit.done(capacity("b", Some(1))).await;
    let only_a = kit.enqueue(keyed(&["a"])).await;
    let both = kit.enqueue(keyed(&["b", "a"])).await;
    let only_b = kit.enqueue(keyed(&["b"])).await;
    let claimed = kit.claim(10).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [only_a, only_b]);
    kit.complete(&claimed[0]).await;
    assert!(kit.claim(10).await.is_empty(), "b is still held");
    let free = kit.rows().await.slots[&("a".to_owned(), 0)].held;
    assert_eq!(free, None, "a task that can't start holds nothing");
    kit.complete(&claimed[1]).await;
    let claimed = kit.claim_one().await;
    assert_eq!(claimed.id, both);
    let held = kit.rows().await.slots.into_values().filter(|slot| slot.held == Some((both, 1)));
    assert_eq!(held.count(), 2);
}

pub(super) async fn lowering_a_capacity_starts_nothing_until_enough_have_ended(kit: Kit) {
    kit.done(capacity("k", Some(3))).await;
    for _ in 0..5 {
        kit.enqueue(keyed(&["k"])).await;
    }
    let running = kit.claim(10).await;
    kit.done(capacity("k", Some(1))).await;
    let holds = kit.rows().await.slots;
    let slot_of = |task: &&Task| {
        let slot = holds.values().find(|slot| slot.held == Some((task.id, task.lease)));
        slot.expect("each running task holds a slot").n
    };
    let mut by_slot: Vec<&Task> = running.iter().collect();
    by_slot.sort_by_key(slot_of);
    for task in by_slot {
        assert!(kit.claim(10).await.is_empty(), "one or more still run, and one may");
        kit.complete(task).await;
    }
    assert_eq!(kit.claim(10).await.len(), 1);
    assert_eq!(kit.rows().await.slots.len(), 1);
}

pub(super) async fn a_key_without_limit_stops_nobody(kit: Kit) {
    kit.done(capacity("k", Some(1))).await;
    for _ in 0..4 {
        kit.enqueue(keyed(&["k", "never set"])).await;
    }
    let first = kit.claim_one().await;
    kit.done(capacity("k", None)).await;
    assert_eq!(kit.claim(10).await.len(), 3);
    kit.complete(&first).await;
    let rows = kit.rows().await;
    assert!(rows.slots.is_empty(), "a slot above the limit goes when it is free");
    assert_eq!(rows.capacity["k"].slots, None);
}

fn question() -> Decision {
    Decision::Block(vec![Ask {
        id: crate::id::ItemId::new(),
        kind: ItemKind::Question,
        key: "k".into(),
        body: Payload::null(),
        options: Vec::new(),
    }])
}

pub(super) async fn slots_are_free_after_every_kind_of_end(kit: Kit) {
    kit.done(capacity("k", Some(1))).await;
    let snooze = Decision::Snooze(Duration::from_secs(1_000));
    let ends = [done(), fault(), snooze, question(), Decision::Cancelled, Decision::Release];
    for (n, decision) in (1..).zip(ends) {
        kit.enqueue(TaskSpec { priority: -n, ..keyed(&["k"]) }).await;
        let task = kit.claim_one().await;
        kit.done(settle(&task, decision.clone())).await;
        assert_eq!(kit.rows().await.slots[&("k".into(), 0)].held, None, "{decision:?}");
    }
    let task = kit.claim_one().await;
    kit.done(Command::Rescue { task: task.id, lease: task.lease }).await;
    assert_eq!(kit.rows().await.slots[&("k".into(), 0)].held, None, "a crash leaks no slot");
    let again = kit.claim_one().await;
    let late = kit.refused(settle(&task, done())).await;
    assert_eq!(late, crate::model::Rejection::StaleLease);
    let held = kit.rows().await.slots[&("k".into(), 0)].held;
    assert_eq!(held, Some((again.id, again.lease)), "a stale settle frees nothing");
}

pub(super) async fn a_parked_key_starts_nothing_until_its_time(kit: Kit) {
    let until = kit.now() + Duration::from_secs(30);
    let park = Command::Park { key: "provider".into(), until };
    assert!(kit.twice(park).await.is_ok());
    let parked = kit.enqueue(keyed(&["provider"])).await;
    let other = kit.enqueue(work()).await;
    assert_eq!(kit.claim_ids(10).await, [other]);
    let due = kit.backend().due(kit.worker(), 10).await.expect("due works");
    assert_eq!(due.next, Some(until));
    kit.advance(29);
    assert!(kit.claim(10).await.is_empty());
    kit.advance(1);
    assert_eq!(kit.claim_ids(10).await, [parked]);
    let far = kit.now() + Duration::from_secs(1_000);
    kit.done(Command::Park { key: "provider".into(), until: far }).await;
    let next = kit.enqueue(keyed(&["provider"])).await;
    assert!(kit.claim(10).await.is_empty());
    kit.done(Command::Park { key: "provider".into(), until: kit.now() }).await;
    assert_eq!(kit.claim_ids(10).await, [next], "a time that is not to come ends the parking");
}

pub(super) async fn parking_by_a_worker_costs_no_attempt(kit: Kit) {
    kit.done(capacity("provider", Some(3))).await;
    let task = kit.running(keyed(&["provider"])).await;
    let wait = Duration::from_secs(10);
    kit.done(settle(&task, Decision::Park { key: "provider".into(), wait })).await;
    kit.enqueue(keyed(&["provider"])).await;
    assert!(kit.claim(10).await.is_empty());
    let rows = kit.rows().await;
    assert_eq!(rows.capacity["provider"].slots, Some(3), "parking keeps the limit");
    assert_eq!(rows.tasks[&task.id].failures, 0);
    kit.advance(10);
    assert_eq!(kit.claim(10).await.len(), 2);
}

/// Whatever can't start is older and comes first: paused tasks, tasks of a paused run, steps
/// that wait for others or for a time.
pub(super) async fn what_waits_hides_nothing_that_is_ready(kit: Kit) {
    for _ in 0..100 {
        let paused = kit.enqueue(work()).await;
        kit.done(Command::Pause(paused)).await;
        kit.enqueue(TaskSpec { run_at: Some(kit.now() + Duration::from_secs(60)), ..work() }).await;
    }
    let mut steps: Vec<_> = (0..200).map(|no| new_step(&format!("s{no}"), vec![])).collect();
    steps[..100].iter_mut().for_each(|step| step.policy.delay_ms = Some(60_000));
    steps[100..].iter_mut().for_each(|step| step.after = vec![0]);
    kit.done(Command::Launch(Box::new(new_run(steps)))).await;
    let new = new_run((0..100).map(|no| new_step(&format!("s{no}"), vec![])).collect());
    let run = new.spec.id;
    kit.done(Command::Launch(Box::new(new))).await;
    kit.done(Command::PauseRun(run)).await;
    let ready = kit.enqueue(work()).await;
    let claimed = kit.claim(1).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [ready]);
}

pub(super) async fn a_full_key_hides_nothing_behind_it(kit: Kit) {
    kit.done(capacity("full", Some(1))).await;
    let commands = (0..10_000).map(|_| enqueue(keyed(&["full"]))).collect();
    kit.commit(commands).await;
    let last = kit.enqueue(TaskSpec { kind: "other".into(), priority: 9, ..work() }).await;
    assert_eq!(kit.claim(1).await.len(), 1, "the one that the key allows");
    assert_eq!(kit.claim_ids(1).await, [last]);
    assert!(kit.claim(1).await.is_empty());
}

pub(super) async fn a_repeated_claim_takes_the_same_tasks(kit: Kit) {
    kit.done(capacity("k", Some(5))).await;
    for priority in [3, 1, 2] {
        kit.enqueue(TaskSpec { priority, ..keyed(&["k"]) }).await;
    }
    let claim = kit.next_claim(2);
    let first = kit.claim_as(claim.clone()).await;
    assert_eq!(first.len(), 2);
    let again = Claim { again: true, ..claim };
    let before = kit.rows().await;
    let repeated = kit.claim_as(again).await;
    assert_eq!(set(ids(&first)), set(ids(&repeated)));
    assert!(repeated.iter().all(|claimed| first.contains(claimed)));
    assert_eq!(before, kit.rows().await, "a repeated claim changes nothing");
    let lost = Claim { again: true, ..kit.next_claim(5) };
    assert_eq!(kit.claim_as(lost).await.len(), 1, "a claim that never arrived is carried out");
    let other = kit.other_worker();
    assert!(other.claim_as(Claim { again: true, ..other.next_claim(5) }).await.is_empty());
}

fn ids(claimed: &[crate::model::Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|claimed| claimed.task.id).collect()
}

pub(super) async fn a_claim_sees_what_its_commit_released(kit: Kit) {
    kit.done(capacity("k", Some(1))).await;
    let mut task = kit.running(keyed(&["k"])).await;
    for _ in 0..5 {
        let next = keyed(&["k"]);
        let commands = vec![enqueue(next.clone()), settle(&task, done())];
        let batch = Batch { commands, claim: Some(kit.next_claim(4)) };
        let claimed = kit.commit_batch(batch).await.claimed;
        assert_eq!(ids(&claimed), [next.id]);
        task = claimed[0].task.clone();
    }
    let run = super::kit::run(&[("a", &[]), ("b", &["a"])]);
    let batch = |commands| Batch { commands, claim: Some(kit.next_claim(4)) };
    let launched = kit.commit_batch(batch(vec![Command::Launch(Box::new(run))])).await;
    let first = &launched.claimed[0].task;
    let second = kit.commit_batch(batch(vec![settle(first, done())])).await;
    assert_eq!(second.claimed[0].task.step.map(|(_, no)| no), Some(1));
    kit.complete(&second.claimed[0].task).await;
}

pub(super) async fn what_a_commit_woke_is_said(kit: Kit) {
    let commit = |commands| kit.commit_batch(Batch { commands, claim: None });
    assert!(commit(vec![enqueue(work())]).await.woke, "a task is ready");
    let task = kit.claim_one().await;
    assert!(commit(vec![Command::Cancel(task.id)]).await.woke, "a running task shall stop");
    kit.done(settle(&task, Decision::Cancelled)).await;
    assert!(commit(vec![capacity("k", Some(1))]).await.woke, "there is more capacity");
    let task = kit.running(keyed(&["k"])).await;
    assert!(commit(vec![settle(&task, done())]).await.woke, "a slot is free");
    let until = kit.now() + Duration::from_secs(9);
    let parked = commit(vec![Command::Park { key: "k".into(), until }]).await;
    assert_eq!(parked.next, Some(until));
    let run = super::kit::run(&[("a", &[])]);
    let stream = crate::model::Stream::Run(run.spec.id);
    assert_eq!(commit(vec![Command::Launch(Box::new(run))]).await.streams, [stream]);
}
