//! Clauses on pruning.

use super::kit::{Kit, fault, settle, work};
use super::reading::say;
use crate::{
    clock::Timestamp,
    id::TaskId,
    model::{Prune, Pruned, Stream, TaskSpec},
};

fn before(time: Timestamp) -> Prune {
    Prune { tasks_before: time, runs_before: time, entries_before: time, limit: 100 }
}

async fn prune(kit: &Kit, what: Prune) -> Pruned {
    // What does not show yet is not pruned yet.
    kit.all_entries_show().await;
    kit.backend().prune(&what).await.expect("pruning works")
}

pub(super) async fn pruning_takes_finished_tasks_with_all_of_theirs(kit: Kit) {
    let spec = TaskSpec { unique_key: Some("u".into()), ..work() };
    let old = kit.running(spec.clone()).await;
    kit.done(settle(&old, fault())).await;
    kit.advance(10);
    let time = kit.now();
    let young = kit.running(work()).await;
    kit.complete(&young).await;
    let live = kit.enqueue(work()).await;
    assert_eq!(prune(&kit, before(old.started_at)).await.tasks, 0, "it ended at that very time");
    assert_eq!(prune(&kit, before(time)).await.tasks, 1);
    let rows = kit.rows().await;
    assert_eq!(rows.specs.keys().copied().collect::<Vec<_>>(), [young.id, live]);
    assert_eq!(rows.attempts.len(), 1);
    assert!(rows.items.is_empty() && rows.unique.is_empty());
    kit.enqueue(TaskSpec { id: TaskId::new(), ..spec }).await;
}

pub(super) async fn pruning_takes_parents_after_their_children(kit: Kit) {
    let parent = kit.running(work()).await;
    let child = kit.enqueue(TaskSpec { parent: Some(parent.id), ..work() }).await;
    kit.complete(&parent).await;
    kit.advance(10);
    assert_eq!(prune(&kit, before(kit.now())).await.tasks, 0, "its child is not done");
    let task = kit.claim_one().await;
    assert_eq!(task.id, child);
    kit.complete(&task).await;
    kit.advance(10);
    while prune(&kit, before(kit.now())).await.tasks > 0 {}
    assert!(kit.rows().await.specs.is_empty());
}

pub(super) async fn pruning_takes_only_whole_runs(kit: Kit) {
    let run = kit.launch(&[("a", &[]), ("b", &["a"])]).await;
    kit.complete(&kit.claim_one().await).await;
    kit.advance(10);
    let none = prune(&kit, before(kit.now())).await;
    assert_eq!((none.tasks, none.runs), (0, 0), "a finished step of a live run stays");
    kit.complete(&kit.claim_one().await).await;
    let other = kit.launch(&[("c", &[])]).await;
    kit.advance(10);
    let keep = Prune { runs_before: Timestamp::ZERO, ..before(kit.now()) };
    assert_eq!(prune(&kit, keep).await.tasks, 0, "a step's task goes only with its run");
    assert_eq!(prune(&kit, before(kit.now())).await.runs, 1);
    let rows = kit.rows().await;
    assert_eq!(rows.runs.keys().copied().collect::<Vec<_>>(), [other]);
    assert!(rows.steps.keys().all(|(of, _)| *of == other));
    assert!(rows.entries.keys().all(|(of, _)| *of == Stream::Run(other)));
    let lost = (rows.run_specs.contains_key(&run), rows.edges.len(), rows.attempts.len());
    assert_eq!((lost, rows.specs.len()), ((false, 0, 0), 1));
}

pub(super) async fn pruning_entries_keeps_those_of_live_runs(kit: Kit) {
    let run = kit.launch(&[("a", &[])]).await;
    let chat = kit.chat().await;
    say(&kit, chat, "old").await;
    kit.advance(10);
    say(&kit, chat, "new").await;
    kit.all_entries_show().await;
    let end = kit.backend().due(kit.worker(), 1).await.expect("due works").tail;
    let none = Timestamp::ZERO;
    let entries_before = kit.now();
    let what = Prune { tasks_before: none, runs_before: none, entries_before, limit: 100 };
    assert_eq!(prune(&kit, what).await.entries, 1);
    let left = kit.rows().await.entries;
    assert_eq!(
        left.keys().map(|(stream, _)| *stream).collect::<Vec<_>>(),
        [Stream::Run(run), Stream::Chat(chat)]
    );
    kit.advance(10);
    prune(&kit, Prune { entries_before: kit.now(), ..what }).await;
    say(&kit, chat, "newest").await;
    kit.all_entries_show().await;
    let late = kit.backend().tail(Stream::All, end, 10).await.expect("tail works");
    assert_eq!(late.len(), 1, "a cursor never comes again, whatever is pruned");
}
