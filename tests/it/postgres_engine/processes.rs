//! Several processes on one server. A child is this test binary again, with a role in its
//! environment.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use segue::{
    Context, Failure,
    id::TaskId,
    model::{AttemptOutcome, OnBreach},
};

use super::{LIMIT, Place, done, enqueue, eventually};
use crate::support::{
    ordeal::{INPUTS, KILLS_OF_ONE, Left, Notes, Ordeal, flow, seed},
    spending::{self, Process, Spending},
};

const ROLE: [&str; 4] = ["SEGUE_PG_URL", "SEGUE_PG_SCHEMA", "SEGUE_PG_LOG", "SEGUE_PG_KIND"];

/// What a child's handlers do: they return, hold their tasks for ever, or are the steps of
/// an ordeal or of a run with a budget.
#[derive(Debug)]
enum Kind {
    Quick,
    Stuck,
    Ordeal,
    Spending,
}

/// A child that works, and dies with its handle.
struct Worker {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    /// Kept, since it ends badly when nobody reads what it says.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(place: &Place, log: &Path, kind: Kind) -> Self {
        let log = log.to_str().expect("a plain path");
        let kind = format!("{kind:?}");
        let role = ROLE.into_iter().zip([&place.url, &place.schema, log, kind.as_str()]);
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["postgres_engine::processes::a_child_works", "--exact", "--nocapture"])
            .envs(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready"));
        assert!(ready, "the child ended before it worked");
        Self { stdin: process.stdin.take(), process, _lines: lines }
    }

    fn kill(&mut self) {
        self.process.kill().expect("a child that lives");
        self.process.wait().expect("its end");
    }

    fn finish(mut self) {
        drop(self.stdin.take());
        assert!(self.process.wait().expect("its end").success());
    }
}

impl Process for Worker {
    fn kill(&mut self) {
        self.kill();
    }

    fn finish(self) {
        self.finish();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a child notes what it begins.
struct Log {
    file: Mutex<std::fs::File>,
    stuck: bool,
}

/// Notes that it has begun, before anything can be recorded.
async fn note(context: Context, _: u32) -> Result<(), Failure> {
    let log = context.host::<Log>()?;
    let line = format!("{} {}\n", context.task(), std::process::id());
    log.file.lock().expect("a log").write_all(line.as_bytes()).expect("a line");
    match log.stuck {
        false => Ok(()),
        true => std::future::pending().await,
    }
}

#[test]
fn a_child_works() {
    let Ok(url) = std::env::var(ROLE[0]) else { return };
    let [schema, log, kind] = [1, 2, 3].map(|n| std::env::var(ROLE[n]).expect("a role"));
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&log).expect("a file");
    let notes = Notes(log.into());
    let log = Log { file: Mutex::new(file), stuck: kind == "Stuck" };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let place = Place { url, schema };
        let builder = place.builder().concurrency(16);
        let builder = match kind.as_str() {
            "Ordeal" => builder.flow(&flow()).host(notes),
            "Spending" => builder.flow(&spending::flow()).concurrency(spending::WORKERS),
            _ => builder.task("note", note).host(log),
        };
        let engine = builder.start().await.expect("an engine");
        println!("ready");
        let told = || std::io::stdin().read_line(&mut String::new());
        tokio::task::spawn_blocking(told).await.expect("a thread").expect("a pipe");
        engine.shutdown().await.expect("a good end");
    });
}

/// How often each task was begun, and by which processes.
fn begun(log: &Path) -> BTreeMap<TaskId, Vec<u32>> {
    let mut begun = BTreeMap::<TaskId, Vec<u32>>::new();
    for line in std::fs::read_to_string(log).expect("a log").lines() {
        let (task, pid) = line.split_once(' ').expect("two words");
        let task = task.parse::<uuid::Uuid>().expect("an id");
        begun.entry(task.into()).or_default().push(pid.parse().expect("a pid"));
    }
    begun
}

async fn filled(tasks: u32) -> (Place, tempfile::NamedTempFile) {
    let place = Place::fresh();
    place.backend().await;
    let engine = place.builder().connect().await.unwrap();
    enqueue(&engine, "note", tasks).await;
    (place, tempfile::NamedTempFile::new().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_drain_ten_thousand_tasks_and_begin_each_once() {
    let (place, log) = filled(10_000).await;
    let workers = [(); 2].map(|()| Worker::start(&place, log.path(), Kind::Quick));
    let outcomes = place.all_done(10_000).await;
    assert!(outcomes.values().all(|outcomes| *outcomes == [AttemptOutcome::Completed]));
    let begun = begun(log.path());
    assert_eq!(begun.len(), 10_000);
    assert!(begun.values().all(|pids| pids.len() == 1), "begun more than once");
    for worker in &workers {
        let own = begun.values().filter(|pids| **pids == [worker.process.id()]).count();
        assert!(own > 0, "one of them did nothing");
    }
    workers.into_iter().for_each(Worker::finish);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_killed_process_only_what_was_not_recorded_is_done_again_and_at_once() {
    const TASKS: u32 = 4_000;
    let (place, log) = filled(TASKS).await;
    let backend = place.backend().await;
    let [mut victim, other] = [(); 2].map(|()| Worker::start(&place, log.path(), Kind::Quick));
    // One more holds what it never finishes, so that there is something to take back.
    let mut stuck = Worker::start(&place, log.path(), Kind::Stuck);
    eventually("half is done", async || done(&backend).await >= u64::from(TASKS) / 2).await;
    eventually("one is stuck", async || {
        let stuck = stuck.process.id();
        begun(log.path()).values().flatten().filter(|pid| **pid == stuck).count() == 16
    })
    .await;
    let killed = [victim.process.id(), stuck.process.id()];
    victim.kill();
    stuck.kill();
    let start = Instant::now();
    let outcomes = place.all_done(TASKS as usize).await;
    assert!(start.elapsed() < LIMIT / 5, "it waited for a lease to lapse");
    let mut again = 0;
    for (task, pids) in begun(log.path()) {
        let interrupted = outcomes[&task]
            .iter()
            .filter(|outcome| **outcome == AttemptOutcome::Interrupted)
            .count();
        // A task that was claimed may have been killed before it began.
        assert!(pids.len() <= interrupted + 1, "{task}: {pids:?} {:?}", outcomes[&task]);
        if pids.len() > 1 {
            assert!(killed.contains(&pids[0]), "{task} was done again though its process lives");
            again += 1;
        }
    }
    assert!(again >= 16, "nothing was taken back");
    other.finish();
}

async fn launch(inputs: &[u32]) -> (Place, tempfile::NamedTempFile, Ordeal) {
    let (place, log) = filled(0).await;
    let reader = place.builder().connect().await.unwrap();
    let notes = Notes(log.path().to_owned());
    (place, log, Ordeal::launch(reader, notes, inputs).await)
}

async fn end(place: &Place, log: &Path, ordeal: Ordeal) -> Vec<Left> {
    let worker = Worker::start(place, log, Kind::Ordeal);
    let left = ordeal.end().await;
    worker.finish();
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_are_killed_at_thirty_moments_end_as_if_nobody_had() {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut unharmed = BTreeMap::new();
    for input in INPUTS {
        let (place, log, ordeal) = launch(&[input]).await;
        unharmed.insert(input, end(&place, log.path(), ordeal).await.remove(0));
    }
    let mut kills = 0;
    while kills < 30 {
        let inputs = [random.u32(INPUTS), random.u32(INPUTS)];
        let (place, log, mut ordeal) = launch(&inputs).await;
        for _ in 0..KILLS_OF_ONE {
            let mut worker = Worker::start(&place, log.path(), Kind::Ordeal);
            let moment = Instant::now() + Duration::from_micros(random.u64(..100_000));
            let come = async || Instant::now() >= moment || ordeal.is_over().await;
            eventually("the moment has come", come).await;
            worker.kill();
            ordeal.killed().await;
            if ordeal.is_over().await {
                break;
            }
            kills += 1;
        }
        for (input, left) in inputs.into_iter().zip(end(&place, log.path(), ordeal).await) {
            assert_eq!(left, unharmed[&input], "input {input}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overrun_of_a_budget_is_at_most_that_of_the_steps_at_work_and_no_reservation_leaks() {
    let mut random = fastrand::Rng::with_seed(seed());
    for on_breach in [OnBreach::Fail, OnBreach::Ask] {
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let (place, log) = filled(0).await;
            let reader = place.builder().connect().await.unwrap();
            let start = || Worker::start(&place, log.path(), Kind::Spending);
            let spending = Spending::launch(reader, on_breach).await;
            rounds.push(spending.work(&mut random, start).await);
        }
        spending::check(&rounds, on_breach);
    }
}
