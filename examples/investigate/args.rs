//! What the program was asked to do.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::{Arg, Parser, ValueExt};
use segue::model::Band;

/// How the program is used.
pub const USAGE: &str = "\
investigate: searches a folder for the answer to a question, with evidence

    investigate [OPTIONS] <FOLDER> <QUESTION>   a new investigation
    investigate [OPTIONS] --resume              continue the latest unfinished one
    investigate [OPTIONS] --history             earlier investigations, newest first
    investigate [OPTIONS] --graph               the flow as a Mermaid flowchart

    --band small|medium|large   2, 4 or 6 readers (default: small)
    --agent NAME                ask a coding agent: claude, codex, gemini, opencode or qwen, with
                                1, 1 or 2 validators; without it, functions search
    --db FILE                   the database (default: in your state folder)
    --out FILE                  write the report there instead of to stdout
    -h, --help                  this text
";

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// A new investigation.
    Investigate {
        /// Where to look.
        folder: PathBuf,
        /// What is asked.
        question: String,
    },
    /// Continue the latest unfinished one.
    Resume,
    /// List earlier ones.
    History,
    /// Draw the flow.
    Graph,
    /// Tell how the program is used.
    Help,
}

/// What is to be done, and how.
#[derive(Debug)]
pub struct Args {
    /// What.
    pub action: Action,
    /// How many readers.
    pub band: Band,
    /// The agent that reads, concludes and validates; None: functions do.
    pub agent: Option<String>,
    /// The database.
    pub db: PathBuf,
    /// Where the report goes; None: stdout.
    pub out: Option<PathBuf>,
    /// How long readers rest after each file. For trying out kill and resume: with
    /// `--slow 100` there is time to kill the program half-way.
    pub slow: Duration,
}

/// Reads the arguments of the process.
///
/// # Errors
/// What is wrong with them.
pub fn parse() -> Result<Args, lexopt::Error> {
    let mut parser = Parser::from_env();
    let (mut action, mut free) = (None, Vec::new());
    let (mut band, mut db, mut out, mut slow) = (Band::Small, None, None, Duration::ZERO);
    let mut agent = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("resume") => set(&mut action, Action::Resume)?,
            Arg::Long("history") => set(&mut action, Action::History)?,
            Arg::Long("graph") => set(&mut action, Action::Graph)?,
            Arg::Long("help") | Arg::Short('h') => set(&mut action, Action::Help)?,
            Arg::Long("band") => band = parse_band(&parser.value()?.string()?)?,
            Arg::Long("agent") => agent = Some(parser.value()?.string()?),
            Arg::Long("db") => db = Some(PathBuf::from(parser.value()?)),
            Arg::Long("out") => out = Some(PathBuf::from(parser.value()?)),
            Arg::Long("slow") => slow = Duration::from_millis(parser.value()?.parse()?),
            Arg::Value(value) => free.push(value),
            other => return Err(other.unexpected()),
        }
    }
    let (action, db) = (decide(action, free)?, db.unwrap_or_else(default_db));
    Ok(Args { action, band, agent, db, out, slow })
}

fn set(action: &mut Option<Action>, to: Action) -> Result<(), lexopt::Error> {
    match action.replace(to) {
        None => Ok(()),
        Some(_) => Err("--resume, --history, --graph and --help exclude each other".into()),
    }
}

fn decide(action: Option<Action>, free: Vec<OsString>) -> Result<Action, lexopt::Error> {
    match (action, <[OsString; 2]>::try_from(free)) {
        (Some(action), Err(free)) if free.is_empty() => Ok(action),
        (Some(_), _) => Err("a folder and a question are for a new investigation".into()),
        (None, Ok([folder, question])) => {
            Ok(Action::Investigate { folder: folder.into(), question: question.string()? })
        }
        (None, Err(_)) => Err("give a folder and one question, in quotes; see --help".into()),
    }
}

fn parse_band(name: &str) -> Result<Band, lexopt::Error> {
    Band::from_name(name)
        .ok_or_else(|| format!("`{name}` is no band: small, medium or large").into())
}

/// Where programs keep what should survive: the XDG state folder, or what comes near it.
fn default_db() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = folder("XDG_STATE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("segue-investigate").join("investigate.db")
}
