//! Dies in the middle of a flow, and shows that what was recorded is not done again.
//!
//! ```text
//! cargo run --example crash_and_resume
//! ```
//!
//! The program starts itself twice on one database. The first child kills itself (SIGKILL:
//! no destructor, no goodbye) inside the third of four steps. The second child runs the very
//! same code: the run's id is known, so it is not launched again but continued. Each step
//! writes its name to a file outside of the database, and that file is the witness:
//!
//! * `fetch` and `parse` were recorded before the crash: they ran once;
//! * `index` was at work: it is not known what it did, so it ran again;
//! * `publish` had not started: it ran once.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
    sync::Arc,
};

use rustix::process::{Signal, getpid, kill_process};
use segue::{Context, Engine, Failure, Flow, id::RunId};

/// How often each step must have run.
const EXPECTED: [(&str, u32); 4] = [("fetch", 1), ("parse", 1), ("index", 2), ("publish", 1)];

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [] => parent(),
        [folder, run] => child(folder.into(), run).await.map(|()| true),
        _ => Err("this example takes no arguments".into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crash_and_resume: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the child twice and looks at the witness. Returns whether all is as expected.
fn parent() -> Outcome<bool> {
    let run = RunId::new();
    let folder = std::env::temp_dir().join(format!("segue-crash-{run}"));
    fs::create_dir_all(&folder)?;
    let witness = Witness(folder.join("steps.txt"));

    println!("first process: it will die inside `index`");
    let first = start_child(&folder, run)?;
    println!("  ended with: {first}");
    println!("  steps that ran: {}", witness.read()?.join(", "));

    println!("second process: the same program on the same file");
    let second = start_child(&folder, run)?;
    println!("  ended with: {second}");

    let right = !first.success() && second.success() && judge(&witness.read()?);
    println!("{}", if right { "as it must be" } else { "WRONG" });
    fs::remove_dir_all(&folder)?;
    Ok(right)
}

fn start_child(folder: &Path, run: RunId) -> io::Result<ExitStatus> {
    Command::new(std::env::current_exe()?).arg(folder).arg(run.to_string()).status()
}

/// Prints how often each step ran, and whether that is right.
fn judge(ran: &[String]) -> bool {
    let mut counts = BTreeMap::new();
    for name in ran {
        *counts.entry(name.as_str()).or_insert(0_u32) += 1;
    }
    let mut right = counts.len() == EXPECTED.len();
    for (name, expected) in EXPECTED {
        let count = counts.get(name).copied().unwrap_or(0);
        let note = if expected == 2 { ", once per process" } else { "" };
        println!("  {name:8} ran {count} x (expected {expected}{note})");
        right &= count == expected;
    }
    right
}

/// Launches the run, or continues it if it was launched before, and waits for it.
async fn child(folder: PathBuf, run: &str) -> Outcome<()> {
    let flow = flow();
    let engine = Engine::sqlite(folder.join("work.db"))
        .flow(&flow)
        .host(Witness(folder.join("steps.txt")))
        .start()
        .await?;
    let rescued = engine.repaired().rescued;
    if rescued > 0 {
        println!("  taken back from a dead process: {rescued} step(s)");
    }
    let run = engine.launch(&flow, 7).id(run.parse()?).await?;
    println!("  the run returned: {}", run.output().await?);
    engine.shutdown().await?;
    Ok(())
}

/// Four steps in a row.
fn flow() -> Flow<u32, String> {
    let mut draft = Flow::new("crash");
    let input = draft.input::<u32>();
    let fetched = draft.code("fetch", input, async |context, number: u32| {
        witness(&context)?.note("fetch")?;
        Ok(number)
    });
    let parsed = draft.code("parse", fetched, async |context, number: u32| {
        witness(&context)?.note("parse")?;
        Ok(number * 6)
    });
    let indexed = draft.code("index", parsed, async |context, number: u32| {
        let witness = witness(&context)?;
        witness.note("index")?;
        die_the_first_time(&witness)?;
        Ok(number)
    });
    let published = draft.code("publish", indexed, async |context, number: u32| {
        witness(&context)?.note("publish")?;
        Ok(format!("the answer is {number}"))
    });
    draft.returns(input, published)
}

fn witness(context: &Context) -> Result<Arc<Witness>, Failure> {
    context.host()
}

/// `kill -9` on this very process, if it is the first that comes here.
fn die_the_first_time(witness: &Witness) -> io::Result<()> {
    let before = witness.read()?.iter().filter(|name| *name == "index").count();
    if before == 1 {
        kill_process(getpid(), Signal::KILL)?;
    }
    Ok(())
}

/// A file with the name of each step that ran, a line each.
struct Witness(PathBuf);

impl Witness {
    fn note(&self, step: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        writeln!(file, "{step}")
    }

    fn read(&self) -> io::Result<Vec<String>> {
        let text = fs::read_to_string(&self.0)?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}
