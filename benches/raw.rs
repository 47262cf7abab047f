//! The raw loop: what the bare drivers reach with the tables of `migrations/` and the
//! statements of the hot paths, with no library in between. The library's own benches are
//! compared with these figures.
//!
//! ```text
//! cargo bench --bench raw --features sqlite,postgres [-- sqlite | postgres]
//! ```
//!
//! Each line is one layout or set of statements with so many tasks waiting, finished, and
//! lanes. `SEGUE_RAW_SYNC=off` takes the disk out of the figures, `SEGUE_RAW_INPUT=2000` and
//! `SEGUE_RAW_OUTPUT` set the bytes of a task's payloads, `SEGUE_RAW_PRAGMAS` adds pragmas, `SEGUE_RAW_SETTINGS` adds
//! PostgreSQL's settings. PostgreSQL is started from `initdb` and `pg_ctl` on the path.
//!
//! A WAL that grows is slower to sync than one that is written over, hence no `TRUNCATE` here.
//!
//! Nothing is asserted about time: read the last column, which is the slowest of a line's
//! exchanges relative to the same line with 10 waiting in each lane and none finished.

use std::time::{Duration, Instant};

use uuid::Uuid;

#[path = "raw/cluster.rs"]
mod cluster;
#[path = "raw/postgres.rs"]
mod postgres;
#[path = "raw/report.rs"]
mod report;
#[path = "raw/sqlite.rs"]
mod sqlite;

use report::{Figure, Line, Report};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long each figure is measured, of time spent inside the measured transactions.
const WINDOW: Duration = Duration::from_millis(300);
/// The tasks that one exchange settles and claims.
const BATCHES: [usize; 3] = [1, 10, 100];
const FINISHED: i64 = 1_000_000;

/// What the tables hold while a line is measured.
#[derive(Clone, Copy, PartialEq)]
struct Case {
    waiting: usize,
    finished: i64,
    lanes: i64,
}

/// A task to insert, ready in its lane.
struct NewTask {
    id: Uuid,
    lane: i64,
    input: String,
}

/// A claimed task: what settling needs of it.
#[derive(Clone, Copy)]
struct Held {
    id: Uuid,
    lease: i64,
    rev: i64,
    attempt: i32,
    /// Microseconds since 1970.
    started: i64,
}

/// One database with one set of statements.
trait RawLoop {
    /// Inserts ready tasks in one durable transaction.
    fn enqueue(&mut self, tasks: &[NewTask]) -> Result<()>;
    /// Settles what is held and claims up to `batch` in one durable transaction.
    fn exchange(&mut self, batch: usize) -> Result<usize>;
    /// Inserts finished tasks, as fast as it goes.
    fn load_finished(&mut self, count: i64) -> Result<()>;
    /// Deletes all that is not finished.
    fn clear(&mut self) -> Result<()>;
    /// The plans of the hot statements.
    fn plans(&mut self) -> Result<String>;
}

/// A size that the environment may set.
fn bytes(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn new_tasks(count: usize, lanes: i64) -> Vec<NewTask> {
    let input = format!("{{\"prompt\":\"{}\"}}", "x".repeat(bytes("SEGUE_RAW_INPUT", 80)));
    (0..count)
        .map(|n| NewTask { id: Uuid::now_v7(), lane: 1 + n as i64 % lanes, input: input.clone() })
        .collect()
}

fn fill(raw: &mut dyn RawLoop, count: usize, lanes: i64) -> Result<()> {
    new_tasks(count, lanes).chunks(10_000).try_for_each(|tasks| raw.enqueue(tasks))
}

/// Exchanges over a constant depth: what was claimed is replaced between two measurements.
fn measure_exchange(raw: &mut dyn RawLoop, batch: usize, lanes: i64) -> Result<Figure> {
    let supply = 20 * batch;
    let mut figure = Figure::default();
    let mut left = 0;
    fill(raw, batch, lanes)?;
    raw.exchange(batch)?;
    while figure.spent() < WINDOW {
        if left == 0 {
            fill(raw, supply, lanes)?;
            left = supply;
        }
        let start = Instant::now();
        let claimed = raw.exchange(batch)?;
        figure.add(claimed, start.elapsed());
        left -= batch;
    }
    raw.exchange(0)?;
    Ok(figure)
}

fn measure_enqueue(raw: &mut dyn RawLoop, batch: usize, lanes: i64) -> Result<Figure> {
    let mut figure = Figure::default();
    while figure.spent() < WINDOW {
        let tasks = new_tasks(batch, lanes);
        let start = Instant::now();
        raw.enqueue(&tasks)?;
        figure.add(batch, start.elapsed());
    }
    Ok(figure)
}

fn measure(raw: &mut dyn RawLoop, name: &str, case: Case) -> Result<Line> {
    raw.clear()?;
    fill(raw, case.waiting, case.lanes)?;
    let mut figures = Vec::new();
    for batch in BATCHES {
        figures.push(measure_exchange(raw, batch, case.lanes)?);
    }
    for batch in [1, 1000] {
        figures.push(measure_enqueue(raw, batch, case.lanes)?);
    }
    Ok(Line { name: name.to_owned(), case, figures })
}

/// All cases of one database, the empty ones first.
fn all_cases(raw: &mut dyn RawLoop, name: &str, report: &mut Report) -> Result<()> {
    for finished in [0, FINISHED] {
        raw.clear()?;
        raw.load_finished(finished)?;
        for lanes in [1, 50] {
            for waiting in [10 * lanes as usize, 100_000] {
                report.add(measure(raw, name, Case { waiting, finished, lanes })?);
            }
        }
    }
    raw.clear()?;
    Ok(())
}

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wants = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let mut report = Report::default();
    if wants("sqlite") {
        sqlite::run(&mut report)?;
    }
    if wants("postgres") {
        postgres::run(&mut report)?;
    }
    report.print();
    Ok(())
}
