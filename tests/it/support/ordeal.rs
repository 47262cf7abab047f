//! A flow with steps of many kinds, and what runs of it leave when the processes that work on
//! them are killed.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    time::Duration,
};

use segue::{
    Context, Engine, Failure, Flow, ItemPolicy, any,
    id::{RunId, TaskId},
    model::{
        Attempt, AttemptOutcome, Condition, Event, Needs, OnFailure, Payload, Retry, Rows, Step,
        Stream, audit, limits,
    },
};
use serde_json::{Value, json};

/// A file outside the database: a line for each task that was begun.
#[derive(Clone, Debug)]
pub struct Notes(pub PathBuf);

impl Notes {
    /// The tasks that were begun, in order.
    pub fn read(&self) -> Vec<TaskId> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("an id")).collect()
    }

    fn write(&self, task: TaskId) {
        let file = OpenOptions::new().append(true).create(true).open(&self.0);
        let line = format!("{task}\n");
        file.expect("a file").write_all(line.as_bytes()).expect("a line");
    }
}

/// What every step does first, and then gives way to others.
async fn begun(context: &Context) -> Result<(), Failure> {
    context.host::<Notes>()?.write(context.task());
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn numbers(context: Context, count: u32) -> Result<Vec<u32>, Failure> {
    begun(&context).await?;
    Ok((0..count).collect())
}

async fn square(context: Context, n: u32) -> Result<u32, Failure> {
    begun(&context).await?;
    match n % 3 {
        1 => Err(Failure::fatal(format!("{n} is not to be squared"))),
        _ => Ok(n * n),
    }
}

async fn add_one(context: Context, n: u32) -> Result<u32, Failure> {
    begun(&context).await?;
    Ok(n + 1)
}

async fn fails(context: Context, _: u32) -> Result<u32, Failure> {
    begun(&context).await?;
    Err(Failure::new("not today"))
}

/// A map some of whose items fail, a step that fails three times, a join that one of two is
/// enough for, time that passes, steps that are added, a step that is skipped, and a run under
/// the run.
pub fn flow() -> Flow<u32, Value> {
    let mut draft = Flow::new("ordeal");
    let input = draft.input::<u32>();
    let all = draft.code("numbers", input, numbers);
    let squares = draft.map("square", all, ItemPolicy::Ended, square);
    let lost = draft.code("lost", input, fails);
    draft.on_failure(lost, OnFailure::Ignore);
    draft.options(lost, |options| options.retry = Retry::every(3, Duration::from_millis(5)));
    let next = draft.code("next", input, add_one);
    let either = draft.join("lost or next", any([lost, next]));
    let pause = draft.timer("pause", either.clone(), Duration::from_millis(20));
    let part = draft.template("part", add_one);
    let parts = draft.grow("parts", next, move |context: Context, count: u32, parts| async move {
        begun(&context).await?;
        for n in 0..count {
            let first = context.add(part, format!("first {n}"), &n)?.into(&parts);
            context.add(part, format!("second {n}"), &(n * 10))?.after(&first).into(&parts);
        }
        Ok(())
    });
    let large = Condition::AtLeast(String::new(), 1_000.0);
    let never = draft.code("never", next.when(large), add_one);
    let under = draft.flow("under", (next, pause), &under());
    let rest = (either, under, never.optional());
    let last = draft.code("last", (squares.results(), lost.result(), parts, rest), gather);
    draft.returns(input, last)
}

type Ended<T> = Result<T, segue::Ended>;
type Rest = (Vec<Option<u32>>, Vec<u32>, Option<u32>);

async fn gather(
    context: Context,
    (squares, lost, parts, rest): (Vec<Ended<u32>>, Ended<u32>, Vec<u32>, Rest),
) -> Result<Value, Failure> {
    begun(&context).await?;
    Ok(json!([squares, lost, parts, rest]))
}

/// A map between two moments of time.
fn under() -> Flow<(u32, ()), Vec<u32>> {
    let mut draft = Flow::new("under");
    let input = draft.input::<(u32, ())>();
    let count = draft.code("count", input, async |context, (count, ()): (u32, ())| {
        begun(&context).await?;
        Ok(count)
    });
    let wait = draft.timer("wait", count, Duration::from_millis(10));
    let items = draft
        .code("items", (count, wait), async |context, (count, ())| numbers(context, count).await);
    let more = draft.map("more", items, ItemPolicy::All, add_one);
    let all = draft.code("all", more, async |context, all: Vec<u32>| {
        begun(&context).await?;
        Ok(all)
    });
    draft.returns(input, all)
}

/// Kills of the processes that work on one database: a step whose worker died more often than
/// this fails.
pub const KILLS_OF_ONE: u32 = limits::INTERRUPTIONS - 1;
/// Inputs of runs: what is more lasts longer.
pub const INPUTS: std::ops::Range<u32> = 2..6;

/// The seed of a test, printed: `SEED` in the environment, or any.
pub fn seed() -> u64 {
    let given = std::env::var("SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    seed
}

/// What is left of a run that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    picture: Vec<String>,
    output: Value,
}

/// Some runs in a database of their own.
pub struct Ordeal {
    reader: Engine,
    notes: Notes,
    runs: Vec<RunId>,
    /// How many tasks had been begun when a task was found to be recorded.
    recorded: BTreeMap<TaskId, usize>,
}

impl Ordeal {
    pub async fn launch(reader: Engine, notes: Notes, inputs: &[u32]) -> Self {
        let (flow, mut runs) = (flow(), Vec::new());
        for input in inputs {
            runs.push(reader.launch(&flow, *input).await.expect("a run").id());
        }
        Self { reader, notes, runs, recorded: BTreeMap::new() }
    }

    async fn rows(&self) -> Rows {
        let rows = self.reader.backend().read(&Needs::everything()).await.expect("all rows");
        assert_eq!(audit(&rows), []);
        rows
    }

    /// Whether all runs have ended.
    pub async fn is_over(&self) -> bool {
        let needs = Needs { runs: self.runs.iter().copied().collect(), ..Needs::default() };
        let rows = self.reader.backend().read(&needs).await.expect("rows");
        rows.runs.values().all(|run| run.state.is_terminal())
    }

    /// Looks at everything while nobody works.
    pub async fn killed(&mut self) {
        let begun = self.notes.read().len();
        let rows = self.rows().await;
        for task in rows.tasks.values().filter(|task| task.state().is_terminal()) {
            self.recorded.entry(task.id).or_insert(begun);
        }
    }

    /// Waits for the end of all runs. What is left of each, if no task was begun after it was
    /// recorded.
    pub async fn end(self) -> Vec<Left> {
        let mut outputs = Vec::new();
        for run in &self.runs {
            outputs.push(self.reader.run(*run).output().await.expect("an output"));
        }
        for (at, task) in self.notes.read().into_iter().enumerate() {
            let before = self.recorded.get(&task).is_none_or(|recorded| at < *recorded);
            assert!(before, "{task} was begun after it was recorded");
        }
        let rows = self.rows().await;
        let left = |(run, output)| Left { picture: picture(&rows, run), output };
        self.runs.into_iter().zip(outputs).map(left).collect()
    }
}

/// Everything that is recorded of a run and the runs under it, as sorted lines that know
/// nothing of ids, times and numbers of steps, nor of attempts that were interrupted, nor of
/// edges that were still open when a step did not need them.
fn picture(rows: &Rows, run: RunId) -> Vec<String> {
    let mut lines = Vec::new();
    draw(rows, run, &rows.run_specs[&run].flow, &mut lines);
    lines.sort();
    lines
}

fn draw(rows: &Rows, id: RunId, path: &str, lines: &mut Vec<String>) {
    let run = &rows.runs[&id];
    lines.push(format!(
        "{path} is {:?} in attempt {} with {} steps, {} open, {} failed",
        run.state, run.attempt, run.next_no, run.open_steps, run.failed_steps
    ));
    let steps: BTreeMap<u32, &Step> =
        rows.steps.range((id, 0)..=(id, u32::MAX)).map(|((_, no), step)| (*no, step)).collect();
    for step in steps.values() {
        lines.push(format!("{path}/{} {}", step.name, of_step(rows, step)));
        let below = step
            .task
            .map(|task| RunId::under(step.run, task))
            .filter(|run| rows.runs.contains_key(run));
        if let Some(below) = below {
            assert_eq!(rows.runs[&below].parent, step.task);
            draw(rows, below, &format!("{path}/{}", step.name), lines);
        }
    }
    for ((_, from, to), terms) in rows.edges.range((id, 0, 0)..=(id, u32::MAX, u32::MAX)) {
        lines.push(format!("{path}: {} -> {} {terms:?}", steps[from].name, steps[to].name));
    }
    let stream = Stream::Run(id);
    let entries = rows.entries.range((stream, 0)..=(stream, i64::MAX));
    let events = entries.flat_map(|(_, entry)| &entry.events).filter_map(told);
    lines.extend(events.map(|event| format!("{path}: {event}")));
}

fn of_step(rows: &Rows, step: &Step) -> String {
    let Step { kind, state, attempt, reason, policy, .. } = step;
    let grower = policy.grown_by.map(|no| &rows.steps[&(step.run, no)].name);
    let input = rows.step_inputs.get(&(step.run, step.no)).map(Payload::as_str);
    let attempts: Vec<_> = step.task.into_iter().flat_map(|task| ends(rows, task)).collect();
    format!(
        "{kind:?} {state:?} {reason:?} in attempt {attempt}, by {grower:?} with {input:?}: \
         {attempts:?}"
    )
}

/// The attempts of a task that were not cut short. One that launched a run and awaits it may
/// have been, after the launch.
fn ends(
    rows: &Rows,
    task: TaskId,
) -> impl Iterator<Item = (AttemptOutcome, Option<&str>, Option<&str>)> {
    let whole = |attempt: &&Attempt| {
        !matches!(attempt.outcome, AttemptOutcome::Interrupted | AttemptOutcome::Awaited)
    };
    let attempts = rows.attempts.range((task, 0)..=(task, i64::MAX)).map(|(_, attempt)| attempt);
    attempts.filter(whole).map(|attempt| {
        let output = attempt.output.as_ref().map(Payload::as_str);
        (attempt.outcome, output, attempt.error.as_deref())
    })
}

/// What watchers are told, but for the interruptions.
fn told(event: &Event) -> Option<String> {
    Some(match event {
        Event::StepWaits { .. } => return None,
        Event::StepReleased { name, .. } => format!("released {name}"),
        Event::StepEnded { name, state, reason, .. } => {
            format!("ended {name} {state:?} {reason:?}")
        }
        other => format!("{other:?}"),
    })
}
