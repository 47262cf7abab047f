//! From the arguments to the report: the engine, and how it is stopped and continued.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use segue::{
    Builder, Engine, Flow, Run,
    agents::native,
    clock::{Clock, Timestamp},
    model::{RunFilter, RunState, RunView},
};
use serde::de::DeserializeOwned;

use crate::{
    args::Args,
    conclude,
    evidence::{Question, Synthesis},
    flow::{self, CONCLUDER, READER},
    progress::{Meter, Screen},
    reader, team, terms,
};

/// What can go wrong is told in words.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With what was asked for.
    Done,
    /// Someone stopped it.
    Stopped,
}

/// Investigates anew.
///
/// # Errors
/// When there is nothing to investigate, or the run failed.
pub async fn investigate(args: &Args, folder: &Path, text: &str) -> Outcome<Ending> {
    let question = question(folder, text)?;
    let start = Clock::System.now();
    if let Some(agent) = &args.agent {
        return team::investigate(args, agent, question, start).await;
    }
    let (session, flow) = Session::native(args).await?;
    session.tell_of_others().await?;
    let run = session.engine.launch(&flow, question).band(args.band).await?;
    session.follow(args, run, start).await
}

/// Continues the latest investigation that has not ended.
///
/// # Errors
/// When there is none, or the run failed.
pub async fn resume(args: &Args) -> Outcome<Ending> {
    let unfinished = list(args, &[RunState::Running], 1).await?;
    let Some(view) = unfinished.first() else {
        return Err(format!("nothing to resume in {}", args.db.display()).into());
    };
    let question: Question = view.spec.input.decode()?;
    eprintln!("resuming \"{}\" in {}", question.text, question.folder);
    let start = Clock::System.now();
    if view.spec.flow != flow::NAME {
        return team::resume(args, &view.spec, question, start).await;
    }
    let (session, flow) = Session::native(args).await?;
    let run = session.engine.run_of(&flow, view.spec.id);
    session.follow(args, run, start).await
}

/// The flow as a Mermaid flowchart.
///
/// # Errors
/// When it is asked for an agent that this program can't have.
pub fn graph(args: &Args) -> Outcome<String> {
    match &args.agent {
        None => Ok(flow::investigate().mermaid(args.band)),
        Some(agent) => team::graph(args, agent),
    }
}

/// Lists earlier investigations, newest first.
///
/// # Errors
/// When the database can't be read.
pub async fn history(args: &Args) -> Outcome<Ending> {
    let runs = list(args, &[], 100).await?;
    let mut text = String::new();
    for RunView { run, spec } in &runs {
        let question: Question = spec.input.decode()?;
        text.push_str(&format!(
            "{}  {:9}  {:6}  {}  {}\n",
            &spec.created_at.to_string()[..19],
            format!("{:?}", run.state).to_lowercase(),
            spec.band.name(),
            question.folder,
            question.text,
        ));
    }
    if runs.is_empty() {
        eprintln!("no investigations in {}", args.db.display());
    }
    print(&text)?;
    Ok(Ending::Done)
}

/// Writes to stdout. A reader that has gone away is no error.
///
/// # Errors
/// When stdout can't be written to.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Runs of a database that may not be there yet. Nothing of it is changed.
async fn list(args: &Args, states: &[RunState], limit: u32) -> Outcome<Vec<RunView>> {
    if !args.db.exists() {
        return Ok(Vec::new());
    }
    let engine = Engine::sqlite(&args.db).connect().await?;
    let filter = RunFilter { states: states.to_vec(), ..RunFilter::default() };
    Ok(engine.runs(filter, None, limit).await?)
}

fn question(folder: &Path, text: &str) -> Outcome<Question> {
    let whole: PathBuf = fs::canonicalize(folder)
        .map_err(|error| format!("can't look into {}: {error}", folder.display()))?;
    if !whole.is_dir() {
        return Err(format!("{} is not a folder", folder.display()).into());
    }
    let name = whole.to_str();
    let name = name.ok_or_else(|| format!("the path {} is not UTF-8", whole.display()))?;
    let terms = terms::of_question(text);
    if terms.is_empty() {
        return Err("the question has no word that is worth a search".into());
    }
    Ok(Question { folder: name.to_owned(), text: text.to_owned(), terms })
}

/// An engine on the database, about to be set up.
///
/// # Errors
/// When the database's folder can't be made.
pub fn builder(args: &Args) -> Outcome<Builder> {
    if let Some(folder) = args.db.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| format!("can't make {}: {error}", folder.display()))?;
    }
    // What is interrupted is simply done again.
    Ok(Engine::sqlite(&args.db).drain(Duration::ZERO))
}

/// An engine at work.
pub struct Session {
    /// The engine.
    pub engine: Engine,
    meter: Arc<Meter>,
}

impl Session {
    /// With functions as agents.
    async fn native(args: &Args) -> Outcome<(Self, Flow<Question, Synthesis>)> {
        let (flow, meter, slow) = (flow::investigate(), Arc::new(Meter::default()), args.slow);
        let gauge = Arc::clone(&meter);
        let builder = builder(args)?
            .flow(&flow)
            .agent(READER, native(move |turn| reader::turn(turn, Arc::clone(&gauge), slow)))
            .agent(CONCLUDER, native(conclude::turn));
        Ok((Self { meter, ..Self::start(args, builder).await? }, flow))
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// When it can't use the database.
    pub async fn start(args: &Args, builder: Builder) -> Outcome<Self> {
        let engine = builder.start().await;
        let engine = engine
            .map_err(|error| format!("can't use the database {}: {error}", args.db.display()))?;
        Ok(Self { engine, meter: Arc::default() })
    }

    /// Tells what else is not finished, and goes on as well.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn tell_of_others(&self) -> Outcome<()> {
        let running = RunFilter { states: vec![RunState::Running], ..RunFilter::default() };
        let count = self.engine.runs(running, None, 100).await?.len();
        if count > 0 {
            eprintln!("{count} unfinished investigation(s) of this database go on beside this one");
        }
        Ok(())
    }

    /// Shows the run until it has ended or someone stops it. The session began at `start`.
    ///
    /// # Errors
    /// When the run failed, or its report can't be written.
    pub async fn follow<T: DeserializeOwned>(
        self,
        args: &Args,
        run: Run<T>,
        start: Timestamp,
    ) -> Outcome<Ending> {
        let mut screen = Screen::new(&run.steps().await?, Arc::clone(&self.meter), start);
        let mut watch = run.watch();
        let mut tick = tokio::time::interval(Duration::from_millis(150));
        let mut stop = std::pin::pin!(stop_signal());
        loop {
            tokio::select! {
                entry = watch.next() => if screen.show(&entry?) { break },
                _ = tick.tick() => screen.draw(),
                signal = &mut stop => {
                    signal?;
                    return self.stop(args).await;
                }
            }
        }
        let result = run.output().await;
        let report = run.report().await;
        self.engine.shutdown().await?;
        result?;
        deliver(args, &report?)?;
        Ok(Ending::Done)
    }

    /// Stops in order: what runs is interrupted, and says so in the database.
    async fn stop(self, args: &Args) -> Outcome<Ending> {
        eprintln!("stopping");
        self.engine.shutdown().await?;
        let db = args.db.display();
        eprintln!("stopped; what was done is kept. Continue with: investigate --resume --db {db}");
        Ok(Ending::Stopped)
    }
}

/// Ctrl-C, or a polite request to end.
async fn stop_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Hands the report over. It is not lost when the file can't be written.
fn deliver(args: &Args, report: &str) -> Outcome<()> {
    let Some(out) = &args.out else {
        return Ok(print(report)?);
    };
    match fs::write(out, report) {
        Ok(()) => {
            eprintln!("the report is in {}", out.display());
            Ok(())
        }
        Err(error) => {
            print(report)?;
            Err(format!("can't write {}: {error}", out.display()).into())
        }
    }
}
