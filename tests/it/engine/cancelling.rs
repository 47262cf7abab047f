//! Cancelling: what waits, what runs, what is over, and families.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use segue::{
    Context, Engine, Failure, NewTask, Waiting,
    clock::Clock,
    id::ArenaId,
    model::{AttemptOutcome, Rejection, TaskFilter, TaskState},
};
use serde_json::Value;

use super::support::{Faulty, Probe, Store, eventually, hold, ignore, note};

each_backend!(
    a_pending_task_is_cancelled_at_once_and_never_runs,
    a_running_task_is_told_to_stop,
    a_handler_that_ignores_it_is_dropped_after_its_grace,
    a_completion_after_the_request_keeps_its_output_and_is_cancelled,
    a_finished_task_can_not_be_cancelled,
    a_cancel_from_another_process_stops_the_handler,
    a_cancel_is_seen_by_polling_alone,
    each_of_many_running_tasks_can_be_cancelled,
    a_blocked_task_is_cancelled_and_its_question_withdrawn,
    children_are_cancelled_with_their_parent,
    a_cancelled_parent_gets_no_more_children,
    an_arena_is_listed_and_cancelled_one_by_one,
);

async fn a_pending_task_is_cancelled_at_once_and_never_runs(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let hour = Duration::from_secs(3600);
    let task = engine.submit(NewTask::new("note", &()).after(hour)).await.unwrap();
    assert_eq!(task.cancel().await.unwrap(), TaskState::Cancelled);
    assert_eq!(task.cancel().await.unwrap(), TaskState::Cancelled, "again");
    assert!(task.output::<Value>().await.unwrap_err().is_task());
    assert_eq!(task.why().await.unwrap(), Waiting::Ended(TaskState::Cancelled));
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.log().len(), 0);
    assert_eq!(task.attempts().await.unwrap(), []);
}

async fn a_running_task_is_told_to_stop(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("hold", &()).await.unwrap();
    probe.arrived(1).await;
    assert_eq!(task.cancel().await.unwrap(), TaskState::Running, "it is a request");
    let view = task.ended().await.unwrap();
    assert_eq!(view.state(), TaskState::Cancelled);
    assert_eq!(view.attempt.unwrap().outcome, AttemptOutcome::Cancelled);
    assert_eq!(probe.log(), ["told to stop"]);
}

async fn a_handler_that_ignores_it_is_dropped_after_its_grace(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().grace(Duration::from_millis(20));
    let builder = builder.task("ignore", ignore).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("ignore", &()).await.unwrap();
    probe.arrived(1).await;
    task.cancel().await.unwrap();
    probe.left(1).await;
    assert_eq!(task.ended().await.unwrap().state(), TaskState::Cancelled);
}

async fn a_completion_after_the_request_keeps_its_output_and_is_cancelled(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("ignore", ignore).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("ignore", "kept").await.unwrap();
    probe.arrived(1).await;
    task.cancel().await.unwrap();
    let told = Waiting::Running {
        holder: Some(engine.instances().await.unwrap()[0].id),
        cancelling: true,
    };
    assert_eq!(task.why().await.unwrap(), told);
    probe.let_go(1);
    let view = task.ended().await.unwrap();
    assert_eq!(view.state(), TaskState::Cancelled);
    let output = view.attempt.unwrap().output.unwrap();
    assert_eq!(output.decode::<String>().unwrap(), "kept");
}

async fn a_finished_task_can_not_be_cancelled(store: Store) {
    let fails = async |_: Context, _: ()| Err::<(), _>(Failure::fatal("no"));
    let builder = store.builder().task("note", note).task("fails", fails);
    let engine = builder.host(Probe::default()).start().await.unwrap();
    for (kind, from) in [("note", TaskState::Completed), ("fails", TaskState::Failed)] {
        let task = engine.enqueue(kind, &()).await.unwrap();
        task.ended().await.unwrap();
        let error = task.cancel().await.unwrap_err();
        let to = TaskState::Cancelled;
        assert_eq!(error.rejection(), Some(&Rejection::Illegal { from, to }));
        assert_eq!(task.view().await.unwrap().state(), from);
    }
}

async fn a_cancel_from_another_process_stops_the_handler(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("hold", &()).await.unwrap();
    probe.arrived(1).await;
    let other = store.builder().connect().await.unwrap();
    let seen = other.task(task.id());
    assert_eq!(seen.cancel().await.unwrap(), TaskState::Running);
    assert_eq!(seen.ended().await.unwrap().state(), TaskState::Cancelled);
    assert_eq!(task.ended().await.unwrap().state(), TaskState::Cancelled);
}

async fn a_cancel_is_seen_by_polling_alone(store: Store) {
    let probe = Probe::default();
    let deaf = Faulty { deaf: true, ..Faulty::on(store.backend(Clock::System).await) };
    let builder = Engine::on(Arc::new(deaf)).poll(Duration::from_millis(20));
    let builder = builder.task("hold", hold).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let other = store.builder().connect().await.unwrap();
    let task = other.enqueue("hold", &()).await.unwrap();
    probe.arrived(1).await;
    task.cancel().await.unwrap();
    let seen = engine.task(task.id()).ended().await.unwrap();
    assert_eq!(seen.state(), TaskState::Cancelled);
}

async fn each_of_many_running_tasks_can_be_cancelled(store: Store) {
    const MANY: u32 = 1_200;
    let probe = Probe::default();
    let builder = store.builder().concurrency(MANY).task("hold", hold);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let new = |n: u32| engine.enqueue("hold", &n);
    let tasks = join_all((0..MANY).map(|n| async move { new(n).await.unwrap() })).await;
    probe.arrived(MANY).await;
    for task in [&tasks[0], &tasks[MANY as usize / 2], &tasks[MANY as usize - 1]] {
        task.cancel().await.unwrap();
        assert_eq!(task.ended().await.unwrap().state(), TaskState::Cancelled);
    }
    probe.let_go(MANY as usize);
    join_all(tasks.iter().map(|task| task.ended())).await;
}

async fn a_blocked_task_is_cancelled_and_its_question_withdrawn(store: Store) {
    async fn asks(context: Context, _: Value) -> Result<(), Failure> {
        context.ask("q", "well?", &[]).await.map(drop)
    }
    let engine = store.builder().task("asks", asks).start().await.unwrap();
    let task = engine.enqueue("asks", &()).await.unwrap();
    engine.run_until_idle().await.unwrap();
    let item = engine.inbox(None, 10).await.unwrap().remove(0);
    assert_eq!(task.cancel().await.unwrap(), TaskState::Cancelled);
    assert_eq!(engine.inbox(None, 10).await.unwrap(), []);
    let error = engine.answer(item.id, "late", "Ada").await.unwrap_err();
    assert_eq!(error.rejection(), Some(&Rejection::Withdrawn));
}

/// Spawns two children, one of which runs, then waits to be let go.
async fn parent(context: Context, _: Value) -> Result<(), Failure> {
    context.spawn(NewTask::new("hold", "child")).await?;
    let hour = Duration::from_secs(3600);
    context.spawn(NewTask::new("hold", "later").after(hour)).await?;
    hold(context, Value::Null).await.map(drop)
}

async fn children_are_cancelled_with_their_parent(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).task("parent", parent);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let family = engine.submit(NewTask::new("parent", &()).project("p")).await.unwrap();
    probe.arrived(2).await;
    let children = family.children().await.unwrap();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|child| child.spec.project == "p"));
    family.cancel().await.unwrap();
    assert_eq!(family.ended().await.unwrap().state(), TaskState::Cancelled);
    for child in children {
        let child = engine.task(child.spec.id).ended().await.unwrap();
        assert_eq!(child.state(), TaskState::Cancelled);
    }
    assert_eq!(probe.log().len(), 2, "both that ran were told");
}

async fn a_cancelled_parent_gets_no_more_children(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let parent = engine.enqueue("nobody", &()).await.unwrap();
    parent.cancel().await.unwrap();
    let new = NewTask::new("nobody", &()).parent(parent.id());
    let error = engine.submit(new).await.unwrap_err();
    assert!(matches!(error.rejection(), Some(Rejection::Invalid(_))), "{error}");
    let new = NewTask::new("nobody", &()).parent(segue::id::TaskId::new());
    assert!(engine.submit(new).await.unwrap_err().is_not_found());
}

async fn an_arena_is_listed_and_cancelled_one_by_one(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let arena = ArenaId::new();
    for n in 0..3 {
        engine.submit(NewTask::new("hold", &n).arena(arena)).await.unwrap();
    }
    engine.enqueue("nobody", &()).await.unwrap();
    probe.arrived(3).await;
    let filter = TaskFilter { arena: Some(arena), ..TaskFilter::default() };
    let competing = engine.tasks(filter, None, 10).await.unwrap();
    assert_eq!(competing.len(), 3);
    engine.task(competing[0].spec.id).cancel().await.unwrap();
    engine.task(competing[0].spec.id).ended().await.unwrap();
    probe.let_go(2);
    for (view, end) in competing.iter().zip([TaskState::Cancelled, TaskState::Completed]) {
        let ended = engine.task(view.spec.id).ended().await.unwrap();
        assert_eq!(ended.state(), end, "one is cancelled, the others go on");
    }
    eventually("nothing runs", || async {
        !engine.stats().await.unwrap().tasks.contains_key(&TaskState::Running)
    })
    .await;
}
