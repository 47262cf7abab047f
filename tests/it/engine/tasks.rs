//! Tasks: what a host gets back, and when they run.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use segue::{
    Context, Failure, NewTask, Waiting,
    clock::{ManualClock, Timestamp},
    id::TaskId,
    model::{
        AttemptOutcome, Import, Payload, Rejection, Retry, TaskFilter, TaskSpec, TaskState, limits,
    },
};
use serde_json::{Value, json};

use super::support::{Probe, Store, eventually, hold, ignore, note};

each_backend!(
    a_handle_gives_the_typed_output,
    an_output_of_another_type_is_a_payload_error,
    an_input_of_another_type_fails_without_retries,
    an_unknown_task_is_not_found,
    a_failed_attempt_is_made_again_after_its_growing_delay,
    a_fatal_failure_is_not_retried,
    a_person_retries_what_failed,
    an_attempt_that_takes_too_long_fails_and_is_retried,
    a_panic_is_a_failure_and_the_engine_goes_on,
    a_snoozed_task_runs_later_without_a_failure,
    smaller_priorities_run_first_then_older_tasks,
    a_delayed_task_waits_for_its_time,
    a_kept_unique_key_finds_the_first_task_also_after_its_end,
    a_unique_key_until_done_is_free_after_the_end,
    many_at_once_with_one_unique_key_are_one_task,
    unique_keys_of_projects_are_apart,
    a_task_with_a_tag_runs_where_the_tag_is,
    no_more_run_at_once_than_the_engine_allows,
    meta_and_labels_come_back_as_given,
    what_is_too_large_is_refused_and_changes_nothing,
    an_output_that_is_too_large_fails_the_task,
    an_imported_past_keeps_its_times_and_asks_nobody,
    what_cannot_be_imported_is_refused,
    lists_are_filtered_and_paged_newest_first,
    stats_count_by_state,
    a_thousand_tasks_run_once_each,
);

async fn a_handle_gives_the_typed_output(store: Store) {
    let double = async |_: Context, n: u32| Ok::<_, Failure>(n * 2);
    let engine = store.builder().task("double", double).start().await.unwrap();
    let task = engine.enqueue("double", &21).await.unwrap();
    assert!(task.created());
    assert_eq!(task.output::<u32>().await.unwrap(), 42);
    let view = task.clone().await.unwrap();
    assert_eq!(view.state(), TaskState::Completed);
    assert_eq!(view.attempt.unwrap().attempt, 1);
    let elsewhere = store.builder().connect().await.unwrap();
    assert_eq!(elsewhere.task(task.id()).output::<u32>().await.unwrap(), 42);
}

async fn an_output_of_another_type_is_a_payload_error(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("note", "words").await.unwrap();
    assert!(task.output::<u32>().await.unwrap_err().is_payload());
}

async fn an_input_of_another_type_fails_without_retries(store: Store) {
    let double = async |_: Context, n: u32| Ok::<_, Failure>(n * 2);
    let engine = store.builder().task("double", double).start().await.unwrap();
    let new = NewTask::new("double", "words").retry(Retry::times(5));
    let task = engine.submit(new).await.unwrap();
    let error = task.output::<u32>().await.unwrap_err();
    assert!(error.is_task(), "{error}");
    assert!(error.to_string().contains("the task's input"), "{error}");
    assert_eq!(task.attempts().await.unwrap().len(), 1);
}

async fn an_unknown_task_is_not_found(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let task = engine.task(TaskId::new());
    assert!(task.view().await.unwrap_err().is_not_found());
    assert!(task.ended().await.unwrap_err().is_not_found());
    assert!(task.why().await.unwrap_err().is_not_found());
    assert!(task.cancel().await.unwrap_err().is_not_found());
}

async fn third_time(context: Context, _: Value) -> Result<u32, Failure> {
    match context.attempt() {
        3 => Ok(3),
        _ => Err(Failure::new("not yet")),
    }
}

async fn a_failed_attempt_is_made_again_after_its_growing_delay(store: Store) {
    let clock = ManualClock::default();
    let builder = store.builder().clock(clock.clone());
    let engine = builder.task("third", third_time).start().await.unwrap();
    let retry = Retry { jitter: 0.0, ..Retry::times(3) };
    let task = engine.submit(NewTask::new("third", &()).retry(retry)).await.unwrap();
    for (failures, seconds) in [(1, 1), (2, 2)] {
        engine.run_until_idle().await.unwrap();
        let at = clock.now() + Duration::from_secs(seconds);
        assert_eq!(task.why().await.unwrap(), Waiting::Retry { at, failures });
        clock.advance(Duration::from_secs(seconds) - Duration::from_micros(1));
        engine.run_until_idle().await.unwrap();
        assert_eq!(task.attempts().await.unwrap().len() as u32, failures);
        clock.advance(Duration::from_micros(1));
    }
    engine.run_until_idle().await.unwrap();
    assert_eq!(task.output::<u32>().await.unwrap(), 3);
    let attempts = task.attempts().await.unwrap().into_iter();
    let outcomes: Vec<_> = attempts.map(|attempt| attempt.outcome).collect();
    use AttemptOutcome::*;
    assert_eq!(outcomes, [Failed, Failed, Completed]);
}

async fn a_fatal_failure_is_not_retried(store: Store) {
    let fatal = async |_: Context, _: ()| Err::<(), _>(Failure::fatal("no use"));
    let engine = store.builder().task("fatal", fatal).start().await.unwrap();
    let new = NewTask::new("fatal", &()).retry(Retry::times(5));
    let view = engine.submit(new).await.unwrap().await.unwrap();
    assert_eq!(view.state(), TaskState::Failed);
    assert_eq!(view.attempt.unwrap().error.unwrap(), "no use");
}

async fn a_person_retries_what_failed(store: Store) {
    let engine = store.builder().task("third", third_time);
    let engine = engine.start().await.unwrap();
    let task = engine.enqueue("third", &()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(task.ended().await.unwrap().state(), TaskState::Failed);
        let items = engine.inbox(None, 10).await.unwrap();
        assert_eq!(items.len(), 1, "a failure waits for a person");
        assert_eq!(items[0].task, task.id());
        assert_eq!(task.retry().await.unwrap(), TaskState::Pending);
    }
    assert_eq!(task.output::<u32>().await.unwrap(), 3);
    assert_eq!(engine.inbox(None, 10).await.unwrap(), []);
    assert!(task.retry().await.unwrap_err().rejection().is_some());
}

async fn an_attempt_that_takes_too_long_fails_and_is_retried(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().grace(Duration::from_millis(10));
    let builder = builder.task("ignore", ignore).task("hold", hold);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    for kind in ["ignore", "hold"] {
        let new = NewTask::new(kind, &()).timeout(Duration::from_millis(20));
        let new = new.retry(Retry::every(2, Duration::ZERO));
        let task = engine.submit(new).await.unwrap();
        let view = task.ended().await.unwrap();
        assert_eq!(view.state(), TaskState::Failed);
        let error = view.attempt.unwrap().error.unwrap();
        assert!(error.contains("took longer than 20ms"), "{error}");
        assert_eq!(task.attempts().await.unwrap().len(), 2);
        probe.left(2).await;
    }
}

async fn a_panic_is_a_failure_and_the_engine_goes_on(store: Store) {
    async fn panics(_: Context, text: String) -> Result<(), Failure> {
        panic!("oh {text}")
    }
    let builder = store.builder().concurrency(1).task("panics", panics);
    let builder = builder.task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("panics", "no").await.unwrap();
    let error = task.output::<()>().await.unwrap_err();
    assert!(error.to_string().contains("panicked: oh no"), "{error}");
    let after = engine.enqueue("note", "still here").await.unwrap();
    assert_eq!(after.output::<String>().await.unwrap(), "still here");
}

async fn a_snoozed_task_runs_later_without_a_failure(store: Store) {
    async fn later(context: Context, _: Value) -> Result<u32, Failure> {
        match context.attempt() {
            2 => Ok(2),
            _ => Err(Failure::snooze(Duration::from_secs(60))),
        }
    }
    let clock = ManualClock::default();
    let builder = store.builder().clock(clock.clone()).task("later", later);
    let engine = builder.start().await.unwrap();
    let task = engine.enqueue("later", &()).await.unwrap();
    engine.run_until_idle().await.unwrap();
    let at = clock.now() + Duration::from_secs(60);
    assert_eq!(task.why().await.unwrap(), Waiting::Time(at));
    clock.advance(Duration::from_secs(60));
    engine.run_until_idle().await.unwrap();
    assert_eq!(task.output::<u32>().await.unwrap(), 2);
    let first = &task.attempts().await.unwrap()[0];
    assert_eq!(first.outcome, AttemptOutcome::Snoozed);
    assert_eq!(task.view().await.unwrap().task.unwrap().failures, 0);
}

async fn smaller_priorities_run_first_then_older_tasks(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().concurrency(1).task("note", note);
    let builder = builder.task("other", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    engine.run_until_idle().await.unwrap();
    engine.pause();
    let all = [("note", "c", 0), ("other", "d", 0), ("note", "e", 0)];
    let all = all.into_iter().chain([("other", "a", -5), ("note", "b", -1), ("note", "f", 7)]);
    for (kind, text, priority) in all {
        let new = NewTask::new(kind, text).priority(priority);
        engine.submit(new).await.unwrap();
    }
    engine.resume();
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.log().concat(), "abcdef");
}

async fn a_delayed_task_waits_for_its_time(store: Store) {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let builder = store.builder().clock(clock.clone()).task("note", note);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let minute = Duration::from_secs(60);
    let after = engine.submit(NewTask::new("note", "after").after(minute));
    let after = after.await.unwrap();
    let at = engine.submit(NewTask::new("note", "at").run_at(clock.now() + minute * 2));
    let at = at.await.unwrap();
    let past = engine.submit(NewTask::new("note", "past").run_at(Timestamp::from_micros(1)));
    past.await.unwrap().ended().await.unwrap();
    engine.run_until_idle().await.unwrap();
    assert_eq!(after.why().await.unwrap(), Waiting::Time(clock.now() + minute));
    clock.advance(minute);
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.log(), ["past", "after"]);
    assert_eq!(at.view().await.unwrap().state(), TaskState::Pending);
    clock.advance(minute);
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.log(), ["past", "after", "at"]);
}

async fn a_kept_unique_key_finds_the_first_task_also_after_its_end(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let first = engine.submit(NewTask::new("note", "1").unique("k")).await.unwrap();
    let second = engine.submit(NewTask::new("note", "2").unique("k")).await.unwrap();
    assert!(!second.created());
    assert_eq!(second.id(), first.id());
    first.ended().await.unwrap();
    let third = engine.submit(NewTask::new("note", "3").unique("k")).await.unwrap();
    assert_eq!(third.output::<String>().await.unwrap(), "1");
}

async fn a_unique_key_until_done_is_free_after_the_end(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("hold", hold).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let new = |n: u32| NewTask::new("hold", &n).unique_until_done("k");
    let first = engine.submit(new(1)).await.unwrap();
    probe.arrived(1).await;
    let second = engine.submit(new(2)).await.unwrap();
    assert_eq!((second.created(), second.id()), (false, first.id()));
    probe.let_go(1);
    first.ended().await.unwrap();
    let third = engine.submit(new(3)).await.unwrap();
    assert!(third.created());
    third.cancel().await.unwrap();
    third.ended().await.unwrap();
    assert!(engine.submit(new(4)).await.unwrap().created(), "free after a cancel");
    probe.let_go(2);
}

async fn many_at_once_with_one_unique_key_are_one_task(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let other = store.builder().connect().await.unwrap();
    let new =
        |n: u32| [&engine, &other][n as usize % 2].submit(NewTask::new("note", &n).unique("k"));
    let tasks = join_all((0..50).map(|n| async move { new(n).await.unwrap() })).await;
    let ids: BTreeSet<_> = tasks.iter().map(|task| task.id()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(tasks.iter().filter(|task| task.created()).count(), 1);
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.log().len(), 1);
}

async fn unique_keys_of_projects_are_apart(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let new = |project: &str| NewTask::new("note", project).unique("k").project(project);
    assert!(engine.submit(new("a")).await.unwrap().created());
    assert!(engine.submit(new("b")).await.unwrap().created());
}

async fn a_task_with_a_tag_runs_where_the_tag_is(store: Store) {
    let (plain, tagged) = (Probe::default(), Probe::default());
    let builder = store.builder().task("note", note).host(plain.clone());
    let without = builder.start().await.unwrap();
    let task = without.submit(NewTask::new("note", "gpu").tag("gpu")).await.unwrap();
    let also = without.submit(NewTask::new("note", "both").tag("gpu").tag("arm"));
    let also = also.await.unwrap();
    without.run_until_idle().await.unwrap();
    let missing = Waiting::NoWorkerWithTag("gpu".into());
    assert_eq!(task.why().await.unwrap(), missing);
    let builder = store.builder().task("note", note).host(tagged.clone());
    let with = builder.tag("gpu").start().await.unwrap();
    task.ended().await.unwrap();
    with.run_until_idle().await.unwrap();
    assert_eq!((plain.log().len(), tagged.log()), (0, vec!["gpu".to_owned()]));
    let missing = Waiting::NoWorkerWithTag("arm".into());
    assert_eq!(also.why().await.unwrap(), missing);
}

async fn no_more_run_at_once_than_the_engine_allows(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().concurrency(3).task("hold", hold);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    for n in 0..10 {
        engine.enqueue("hold", &n).await.unwrap();
    }
    probe.arrived(3).await;
    assert_eq!(engine.stats().await.unwrap().tasks[&TaskState::Running], 3);
    probe.let_go(10);
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.most(), 3);
    assert_eq!(engine.stats().await.unwrap().tasks[&TaskState::Completed], 10);
}

async fn meta_and_labels_come_back_as_given(store: Store) {
    async fn labels(context: Context, _: Value) -> Result<String, Failure> {
        Ok(context.spec().labels["who"].clone())
    }
    let engine = store.builder().task("labels", labels).start().await.unwrap();
    let new = NewTask::new("labels", &()).label("who", "Ada \"L\" ü");
    let new = new.meta(&json!({"tab": 7})).project("p");
    let task = engine.submit(new).await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "Ada \"L\" ü");
    let spec = task.view().await.unwrap().spec;
    assert_eq!(spec.meta.unwrap().decode::<Value>().unwrap(), json!({"tab": 7}));
    let filter = |value: &str| TaskFilter {
        label: Some(("who".into(), value.into())),
        ..TaskFilter::default()
    };
    let found = engine.tasks(filter("Ada \"L\" ü"), None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(engine.tasks(filter("Bob"), None, 10).await.unwrap().len(), 0);
}

async fn what_is_too_large_is_refused_and_changes_nothing(store: Store) {
    let engine = store.builder().connect().await;
    let refused = |error: segue::Error| error.is_usage() || error.is_migration();
    assert!(engine.is_err_and(refused), "a connection makes no database");
    let engine = store.builder().start().await.unwrap();
    let big = |bytes: usize| "x".repeat(bytes);
    let fits = NewTask::new("none", "").meta(&big(limits::META_BYTES - 2));
    engine.submit(fits.label(big(limits::NAME_BYTES), "")).await.unwrap();
    let too_large = [
        NewTask::new("none", "").meta(&big(limits::META_BYTES - 1)),
        NewTask::new("none", &big(limits::PAYLOAD_BYTES - 1)),
        NewTask::new(big(limits::NAME_BYTES + 1), ""),
        NewTask::new("none", "").capacity(big(limits::NAME_BYTES + 1)),
        NewTask::new("none", "").label(big(limits::NAME_BYTES + 1), ""),
        NewTask::new("none", "").unique(big(limits::NAME_BYTES + 1)),
    ];
    for new in too_large {
        let error = engine.submit(new).await.unwrap_err();
        let refused = matches!(error.rejection(), Some(Rejection::TooLarge { .. }));
        assert!(refused, "{error}");
    }
    let error = engine.submit(NewTask::new("none", "").project("")).await.unwrap_err();
    assert!(matches!(error.rejection(), Some(Rejection::Invalid(_))), "{error}");
    assert_eq!(engine.stats().await.unwrap().tasks[&TaskState::Pending], 1);
}

async fn an_output_that_is_too_large_fails_the_task(store: Store) {
    let large = async |_: Context, bytes: usize| Ok::<_, Failure>("x".repeat(bytes));
    let engine = store.builder().task("large", large).start().await.unwrap();
    let fits = engine.enqueue("large", &(limits::PAYLOAD_BYTES - 2)).await.unwrap();
    assert_eq!(fits.ended().await.unwrap().state(), TaskState::Completed);
    let task = engine.enqueue("large", &(limits::PAYLOAD_BYTES - 1)).await.unwrap();
    let error = task.output::<String>().await.unwrap_err().to_string();
    assert!(error.contains("bytes; 16777216 are allowed"), "{error}");
}

fn import(state: TaskState) -> Import {
    let id = TaskId::new();
    let time = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
    Import {
        spec: TaskSpec {
            created_at: time(1_000),
            ..TaskSpec::new(id, "note", Payload::text("old"))
        },
        state,
        started_at: Some(time(1_001)),
        ended_at: Some(time(1_002)),
        output: Some(Payload::text("done")),
        error: None,
        usage: Some(Payload::of(&json!({"tokens": 12})).unwrap()),
    }
}

async fn an_imported_past_keeps_its_times_and_asks_nobody(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    for state in [TaskState::Completed, TaskState::Failed, TaskState::Cancelled] {
        let import = import(state);
        let task = engine.import(import.clone()).await.unwrap();
        assert_eq!(task.id(), import.spec.id);
        let view = task.ended().await.unwrap();
        assert_eq!((view.state(), &view.spec), (state, &import.spec));
        let attempt = view.attempt.unwrap();
        assert_eq!(Some(attempt.ended_at), import.ended_at);
        assert_eq!(attempt.usage, import.usage);
        assert!(!engine.import(import).await.unwrap().created(), "a second time");
    }
    assert_eq!(engine.inbox(None, 10).await.unwrap(), []);
    let pending = Import { output: None, ended_at: None, ..import(TaskState::Pending) };
    let task = engine.import(pending).await.unwrap();
    assert_eq!(task.output::<String>().await.unwrap(), "old", "what was pending runs");
    assert_eq!(task.view().await.unwrap().spec.created_at.as_micros(), 1_000_000_000);
}

async fn what_cannot_be_imported_is_refused(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let endless = Import { ended_at: None, ..import(TaskState::Completed) };
    for import in [import(TaskState::Running), import(TaskState::Blocked), endless] {
        let error = engine.import(import).await.unwrap_err();
        assert!(matches!(error.rejection(), Some(Rejection::Invalid(_))), "{error}");
    }
    assert_eq!(engine.stats().await.unwrap().tasks.len(), 0);
}

async fn lists_are_filtered_and_paged_newest_first(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let mut ids = Vec::new();
    for n in 0..25 {
        let project = ["even", "odd"][n % 2];
        let new = NewTask::new("note", &n).project(project);
        ids.push(engine.submit(new).await.unwrap().id());
    }
    engine.enqueue("nobody", &()).await.unwrap();
    engine.run_until_idle().await.unwrap();
    let filter = TaskFilter {
        project: Some("even".into()),
        states: vec![TaskState::Completed],
        kind: Some("note".into()),
        ..TaskFilter::default()
    };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = engine.tasks(filter.clone(), after, 5).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.spec.id);
        seen.extend(page.iter().map(|view| view.spec.id));
    }
    let even: Vec<_> = ids.into_iter().step_by(2).rev().collect();
    assert_eq!(seen, even);
}

async fn stats_count_by_state(store: Store) {
    let probe = Probe::default();
    let fails = async |_: Context, _: ()| Err::<(), _>(Failure::fatal("no"));
    let builder = store.builder().task("note", note).task("fails", fails);
    let builder = builder.task("hold", hold).host(probe.clone());
    let engine = builder.start().await.unwrap();
    for kind in ["note", "note", "fails", "nobody"] {
        engine.enqueue(kind, &()).await.unwrap();
    }
    let cancelled = engine.enqueue("nobody", &()).await.unwrap();
    cancelled.cancel().await.unwrap();
    engine.run_until_idle().await.unwrap();
    let held = engine.enqueue("hold", &()).await.unwrap();
    probe.arrived(3).await;
    let stats = engine.stats().await.unwrap();
    use TaskState::*;
    let expected = [(Pending, 1), (Running, 1), (Completed, 2), (Failed, 1), (Cancelled, 1)];
    assert_eq!(stats.tasks, expected.into());
    assert_eq!(stats.inbox, 1);
    assert!(stats.disk_bytes > 0);
    probe.let_go(1);
    held.ended().await.unwrap();
}

async fn a_thousand_tasks_run_once_each(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().concurrency(64).task("note", note);
    let engine = builder.host(probe.clone()).start().await.unwrap();
    let new = |n: u32| engine.enqueue("note", &n);
    let tasks = join_all((0..1_000).map(|n| async move { new(n).await.unwrap() })).await;
    // The keeper looks again and again at what is held.
    let looking = async {
        loop {
            engine.wake();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = looking => {}
        _ = join_all(tasks.iter().map(|task| task.ended())) => {}
    }
    eventually("all are settled", || async {
        engine.stats().await.unwrap().tasks.get(&TaskState::Completed) == Some(&1_000)
    })
    .await;
    let mut log: Vec<u32> = probe.log().iter().map(|n| n.parse().unwrap()).collect();
    log.sort_unstable();
    assert_eq!(log, (0..1_000).collect::<Vec<_>>());
}
