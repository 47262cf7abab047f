//! Several processes on one SQLite file: sharing, killing, stopping, waking.
//!
//! A child is this test binary again, with a role in its environment.

#![cfg(all(feature = "sqlite", target_os = "linux"))]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use segue::{
    Builder, Context, Engine, Failure, Flow, NewTask,
    backend::sqlite::Options,
    id::{RunId, TaskId},
    model::{AttemptOutcome, Needs, RunState, StepState, TaskState, audit},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);
/// How many tasks a child runs at once.
const PLACES: u32 = 32;

// ---- children

/// A child, which dies with its handle.
struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<std::process::ChildStdout>,
}

impl Child {
    fn start(folder: &Path, role: &str) -> Self {
        let own = std::env::current_exe().expect("this program");
        let mut process = Command::new(own)
            .args(["a_child_plays_its_role", "--exact", "--nocapture"])
            .env("SEGUE_ROLE", role)
            .env("SEGUE_FOLDER", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let stdin = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut child = Self { process, stdin, lines };
        child.hear("ready");
        child
    }

    /// Reads until a line has this word in it, and returns the line.
    fn hear(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("a line");
            assert!(read > 0, "the child ended without saying {word}");
        }
        line
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("a child that lives");
    }

    fn kill(&mut self) {
        self.process.kill().expect("a child that lives");
        self.process.wait().expect("its end");
    }

    /// Lets it end in order.
    fn finish(mut self) {
        drop(self.stdin.take());
        let status = self.process.wait().expect("its end");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("a pipe");
}

/// Waits for a line, or for the end, of what the parent says.
async fn told() -> String {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    tokio::task::spawn_blocking(read).await.expect("a thread").expect("a pipe")
}

#[test]
fn a_child_plays_its_role() {
    let Ok(role) = std::env::var("SEGUE_ROLE") else {
        return;
    };
    let folder = PathBuf::from(std::env::var("SEGUE_FOLDER").expect("a folder"));
    run(async {
        match role.as_str() {
            "open" => open(&folder).await,
            "write" => write(&folder).await,
            "bell" => work(&folder, by_bell(&folder)).await,
            "hold" => {
                let lease = (Duration::from_secs(3), Duration::from_millis(200));
                work(&folder, engine(&folder).concurrency(4).lease(lease.0, lease.1)).await;
            }
            _ => work(&folder, engine(&folder)).await,
        }
    });
}

/// Works until the parent closes the pipe.
async fn work(folder: &Path, builder: Builder) {
    let builder = builder.task("count", count).task("hold", hold);
    let builder = builder.flow(&chain()).host(folder.to_owned());
    let engine = builder.start().await.expect("an engine");
    say("ready");
    told().await;
    engine.shutdown().await.expect("an orderly end");
}

/// Makes the database together with others, as soon as the parent says so.
async fn open(folder: &Path) {
    say("ready");
    told().await;
    let builder = engine(folder).task("count", count).host(folder.to_owned());
    let engine = builder.start().await.expect("an engine");
    let task = engine.enqueue("count", &()).await.expect("a task");
    task.output::<()>().await.expect("its end");
    engine.shutdown().await.expect("an orderly end");
}

/// Enqueues and works until the parent closes the pipe; says how much, or what went wrong.
async fn write(folder: &Path) {
    let builder = engine(folder).task("count", count).host(folder.to_owned());
    let engine = builder.start().await.expect("an engine");
    say("ready");
    let one = async || -> segue::Result<()> {
        let task = engine.enqueue("count", &()).await?;
        engine.backend().beat(engine.instances().await?[0].id).await?;
        task.output().await
    };
    let mut done = 0;
    let writing = async {
        loop {
            let round = join_all((0..8).map(|_| one())).await;
            done += round.len();
            if let Some(error) = round.into_iter().find_map(Result::err) {
                return error.to_string();
            }
        }
    };
    let error = tokio::select! {
        error = writing => Some(error),
        _ = told() => None,
    };
    say(&error.map_or(format!("wrote {done}"), |error| format!("wrong: {error}")));
}

// ---- what both sides know

fn database(folder: &Path) -> PathBuf {
    folder.join("work.db")
}

fn engine(folder: &Path) -> Builder {
    let builder = Engine::sqlite(database(folder));
    builder.poll(Duration::from_millis(100)).concurrency(PLACES)
}

/// An engine that hears of nothing but the bell.
fn by_bell(folder: &Path) -> Builder {
    let never = Duration::from_secs(3_600);
    Engine::sqlite_with(Options::new(database(folder)).poll(never)).poll(never)
}

/// Counts an execution outside the database.
fn log(folder: &Path, line: &str) {
    let file = OpenOptions::new().append(true).create(true).open(folder.join("log"));
    let line = format!("{line} {}\n", std::process::id());
    file.expect("a log").write_all(line.as_bytes()).expect("a line");
}

/// What was logged: the words of each line, the last of which is the pid.
fn logged(folder: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    text.lines().map(words).collect()
}

async fn count(context: Context, _: Value) -> Result<(), Failure> {
    log(&context.host::<PathBuf>()?, &context.task().to_string());
    Ok(())
}

/// Works until the parent makes a file.
async fn hold(context: Context, _: Value) -> Result<(), Failure> {
    let folder = context.host::<PathBuf>()?;
    log(&folder, &context.task().to_string());
    while !folder.join("release").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

const STEPS: usize = 12;

/// A chain of steps that count themselves.
fn chain() -> Flow<u32, u32> {
    let mut draft = Flow::new("chain");
    let input = draft.input::<u32>();
    let mut last = input;
    for no in 0..STEPS {
        last = draft.code(format!("step {no}"), last, move |context, n: u32| async move {
            let run = context.run().expect("a step is of a run");
            log(&context.host::<PathBuf>()?, &format!("{run} {no}"));
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            Ok(n + 1)
        });
    }
    draft.returns(input, last)
}

/// One test at a time: each has several processes already.
fn run<T>(test: impl Future<Output = T>) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let limit = async { tokio::time::timeout(LIMIT, test).await };
    runtime.block_on(limit).expect("it takes too long")
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = tokio::time::timeout(LIMIT / 2, wait);
    limit.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A folder with a database, and a connection to it.
async fn fresh() -> (tempfile::TempDir, Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    engine(path).start().await.unwrap().shutdown().await.unwrap();
    let reader = engine(path).connect().await.unwrap();
    (folder, reader)
}

async fn all_completed(reader: &Engine, count: u64) {
    eventually("all have completed", || async {
        let tasks = reader.stats().await.unwrap().tasks;
        tasks.get(&TaskState::Completed) == Some(&count)
    })
    .await;
}

async fn audited(reader: &Engine) {
    let rows = reader.backend().read(&Needs::everything()).await.unwrap();
    assert_eq!(audit(&rows), []);
}

async fn enqueue(reader: &Engine, kind: &str, count: u32) {
    let new = |n: u32| reader.submit(NewTask::new(kind, &n)).into_future();
    assert!(join_all((0..count).map(new)).await.iter().all(Result::is_ok));
}

// ---- tests

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
fn a_stopped_process_keeps_its_work_and_nothing_runs_twice() {
    run(async {
        let (folder, reader) = fresh().await;
        enqueue(&reader, "hold", 8).await;
        let [going, stopped] = ["hold"; 2].map(|role| Child::start(folder.path(), role));
        eventually("all run", || async { logged(folder.path()).len() == 8 }).await;
        stopped.signal(Signal::STOP);
        let start = Instant::now();
        eventually("several lapses have passed", || async {
            start.elapsed() > Duration::from_secs(9)
        })
        .await;
        stopped.signal(Signal::CONT);
        // Both beat again, which they do only while they are known.
        let beats = async || {
            let known = reader.instances().await.unwrap();
            known.iter().map(|instance| instance.beat).collect::<Vec<_>>()
        };
        let before = beats().await;
        assert_eq!(before.len(), 2);
        eventually("both beat", || async {
            let now = beats().await;
            now.iter().zip(&before).filter(|(now, then)| *now > &(**then + 5)).count() == 2
        })
        .await;
        fs::write(folder.path().join("release"), "").unwrap();
        all_completed(&reader, 8).await;
        assert_eq!(logged(folder.path()).len(), 8, "each ran once");
        let rows = reader.backend().read(&Needs::everything()).await.unwrap();
        assert!(rows.tasks.values().all(|task| (task.lease, task.interruptions) == (1, 0)));
        going.finish();
        stopped.finish();
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
