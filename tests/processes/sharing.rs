//! Several processes work on one file, and some are killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use segue::{
    Context, Engine, Failure, NewTask,
    id::{RunId, TaskId},
    model::{AttemptOutcome, RunState, StepState, TaskState},
};
use serde_json::json;

use super::{
    child::Child,
    place::{
        STEPS, all_completed, audited, by_bell, chain, count, database, engine, enqueue,
        eventually, fresh, logged, run,
    },
};

#[test]
fn two_processes_drain_ten_thousand_tasks_and_run_each_once() {
    run(async {
        let (folder, reader) = fresh().await;
        enqueue(&reader, "count", 10_000).await;
        let workers = ["work"; 2].map(|role| Child::start(folder.path(), role));
        all_completed(&reader, 10_000).await;
        let log = logged(folder.path());
        let tasks: BTreeSet<_> = log.iter().map(|line| &line[0]).collect();
        assert_eq!((log.len(), tasks.len()), (10_000, 10_000));
        for worker in workers {
            let pid = worker.pid().to_string();
            assert!(log.iter().any(|line| line[1] == pid), "both took part");
            worker.finish();
        }
        audited(&reader).await;
        assert_eq!(reader.instances().await.unwrap(), []);
    });
}

#[test]
fn of_a_killed_process_only_unrecorded_executions_repeat_and_soon() {
    run(async {
        let (folder, reader) = fresh().await;
        enqueue(&reader, "count", 6_000).await;
        let mut workers = ["work"; 2].map(|role| Child::start(folder.path(), role));
        let killed = workers[1].pid().to_string();
        let of_killed = |log: &[Vec<String>]| log.iter().filter(|line| line[1] == killed).count();
        eventually("half-way", || async { of_killed(&logged(folder.path())) > 1_500 }).await;
        workers[1].kill();
        let start = Instant::now();
        all_completed(&reader, 6_000).await;
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        let mut by_task = BTreeMap::<_, Vec<_>>::new();
        for line in logged(folder.path()) {
            by_task.entry(line[0].clone()).or_default().push(line[1].clone());
        }
        assert_eq!(by_task.len(), 6_000);
        let repeated: Vec<_> = by_task.iter().filter(|(_, pids)| pids.len() > 1).collect();
        // Those at work, and those whose results were on their way.
        assert!(repeated.len() < 500, "{}", repeated.len());
        for (task, pids) in repeated {
            assert_eq!((pids.len(), &pids[0]), (2, &killed));
            let task = reader.task(task.parse::<TaskId>().unwrap());
            let attempts = task.attempts().await.unwrap();
            let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
            let expected = [AttemptOutcome::Interrupted, AttemptOutcome::Completed];
            assert_eq!(outcomes, expected, "what was recorded never repeats");
        }
        audited(&reader).await;
        let listed = reader.instances().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|instance| instance.host.pid).collect();
        assert_eq!(listed, [workers[0].pid()], "the dead one is forgotten");
    });
}

/// The steps that are recorded as done.
async fn done(reader: &Engine, runs: &[RunId]) -> BTreeSet<(String, String)> {
    let mut done = BTreeSet::new();
    for id in runs {
        for step in reader.run(*id).steps().await.unwrap() {
            if step.state == StepState::Completed {
                done.insert((id.to_string(), step.no.to_string()));
            }
        }
    }
    done
}

#[test]
fn flows_that_are_killed_again_and_again_never_repeat_a_recorded_step() {
    run(async {
        let (folder, reader) = fresh().await;
        let flow = chain();
        let launches = (0..10).map(|n| reader.launch(&flow, n).into_future());
        let launched = join_all(launches).await;
        let runs: Vec<_> = launched.into_iter().map(|run| run.unwrap().id()).collect();
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut recorded = BTreeMap::new();
        let mut kills = 0;
        // A step whose worker dies ten times fails.
        while kills < 9 && recorded.len() < runs.len() * STEPS {
            let mut worker = Child::start(folder.path(), "work");
            let lines = logged(folder.path()).len() + random.usize(1..15);
            eventually("some more steps", || async {
                let all = done(&reader, &runs).await.len() == runs.len() * STEPS;
                all || logged(folder.path()).len() >= lines
            })
            .await;
            worker.kill();
            kills += 1;
            let lines = logged(folder.path()).len();
            for step in done(&reader, &runs).await {
                recorded.entry(step).or_insert(lines);
            }
        }
        let worker = Child::start(folder.path(), "work");
        for (n, id) in runs.iter().enumerate() {
            let output = reader.run_of(&flow, *id).output().await.unwrap();
            assert_eq!(output as usize, n + STEPS);
        }
        worker.finish();
        let log = logged(folder.path());
        for (at, line) in log.iter().enumerate() {
            let step = (line[0].clone(), line[1].clone());
            let before = recorded.get(&step).is_none_or(|recorded| at < *recorded);
            assert!(before, "{step:?} ran after it was recorded (seed {seed})");
        }
        assert!(log.len() >= runs.len() * STEPS);
        let mut interrupted = 0;
        for id in &runs {
            assert_eq!(reader.run(*id).state().await.unwrap(), RunState::Completed);
            for step in reader.run(*id).steps().await.unwrap() {
                let task = reader.task(step.task.unwrap());
                let attempts = task.attempts().await.unwrap();
                let (last, others) = attempts.split_last().unwrap();
                assert_eq!(last.outcome, AttemptOutcome::Completed);
                let died = |outcome| outcome == AttemptOutcome::Interrupted;
                assert!(others.iter().all(|attempt| died(attempt.outcome)));
                interrupted += others.len();
            }
        }
        let repeated = log.len() - runs.len() * STEPS;
        assert!(repeated <= interrupted, "{repeated} of {interrupted} (seed {seed})");
        audited(&reader).await;
    });
}

#[test]
fn processes_open_and_migrate_a_fresh_file_at_once() {
    run(async {
        for _ in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let mut all: Vec<_> = (0..4).map(|_| Child::start(folder.path(), "open")).collect();
            for child in &mut all {
                let stdin = child.stdin.as_mut().unwrap();
                stdin.write_all(b"go\n").unwrap();
            }
            all.into_iter().for_each(Child::finish);
            let reader = engine(folder.path()).connect().await.unwrap();
            let stats = reader.stats().await.unwrap();
            assert_eq!(stats.tasks, [(TaskState::Completed, 4)].into());
            assert_eq!(logged(folder.path()).len(), 4);
        }
    });
}

#[test]
fn four_processes_that_write_never_see_a_locked_database() {
    run(async {
        let (folder, reader) = fresh().await;
        let mut all: Vec<_> = (0..4).map(|_| Child::start(folder.path(), "write")).collect();
        let start = Instant::now();
        eventually("some seconds have passed", || async {
            reader.stats().await.unwrap();
            start.elapsed() > Duration::from_secs(4)
        })
        .await;
        for child in &mut all {
            drop(child.stdin.take());
        }
        for child in &mut all {
            let last = child.hear("wro");
            assert!(last.contains("wrote"), "{last}");
            let wrote: u32 = last.trim().rsplit(' ').next().unwrap().parse().unwrap();
            assert!(wrote > 0, "each has its turn");
        }
        all.into_iter().for_each(Child::finish);
        audited(&reader).await;
    });
}

#[test]
fn work_is_picked_up_and_a_runs_end_is_heard_by_the_bell_alone() {
    run(async {
        let (folder, _) = fresh().await;
        let worker = Child::start(folder.path(), "bell");
        let reader = by_bell(folder.path()).connect().await.unwrap();
        let start = Instant::now();
        for n in 1..=20 {
            reader.enqueue("count", &n).await.unwrap();
            eventually("it is picked up", || async { logged(folder.path()).len() == n }).await;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let run = reader.launch(&chain(), 1).await.unwrap();
        assert_eq!(run.output().await.unwrap() as usize, STEPS + 1);
        worker.finish();
    });
}

#[test]
fn the_log_stays_bounded_while_others_read() {
    run(async {
        let (folder, reader) = fresh().await;
        let echo = async |_: Context, text: String| Ok::<_, Failure>(text);
        let builder = engine(folder.path()).task("echo", echo);
        let worker = builder.start().await.unwrap();
        let text = "x".repeat(200_000);
        let wal = async || reader.stats().await.unwrap().wal_bytes >> 20;
        let mut most = 0;
        for _ in 0..30 {
            let tasks = (0..10).map(|_| worker.enqueue("echo", &text).into_future());
            let tasks = join_all(tasks).await;
            let ends = tasks.into_iter().map(|task| async move { task.unwrap().ended().await });
            let reading = join_all((0..5).map(|_| reader.tasks(Default::default(), None, 50)));
            tokio::join!(join_all(ends), reading);
            most = most.max(wal().await);
        }
        assert!(most <= 64, "{most} MiB");
        // A reader of the host's own that takes its time holds the log back.
        let slow = rusqlite::Connection::open(database(folder.path())).unwrap();
        slow.execute_batch("BEGIN; SELECT count(*) FROM segue_tasks").unwrap();
        let mut tasks = 0;
        while wal().await < 70 {
            tasks += 1;
            worker.enqueue("echo", &text).await.unwrap().ended().await.unwrap();
            assert!(tasks < 2_000);
        }
        slow.execute_batch("COMMIT").unwrap();
        eventually("the log was folded back", || async {
            worker.enqueue("echo", &json!("small")).await.unwrap().ended().await.unwrap();
            wal().await <= 64
        })
        .await;
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn an_engine_needs_no_polling_for_its_own_work() {
    run(async {
        let (folder, _) = fresh().await;
        let builder = by_bell(folder.path()).task("count", count).flow(&chain());
        let builder = builder.host(folder.path().to_owned()).concurrency(2);
        let engine = builder.start().await.unwrap();
        let task = engine.enqueue("count", &()).await.unwrap();
        task.output::<()>().await.unwrap();
        let later = NewTask::new("count", &()).after(Duration::from_millis(50));
        let later = engine.submit(later).await.unwrap();
        later.output::<()>().await.unwrap();
        let flow = chain();
        let launches = (0..20).map(|n| engine.launch(&flow, n).into_future());
        for run in join_all(launches).await {
            run.unwrap().output().await.unwrap();
        }
        engine.shutdown().await.unwrap();
    });
}
