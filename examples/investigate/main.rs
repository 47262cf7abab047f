//! Investigates a folder: several readers search it side by side, code checks what they
//! cite, and a report says what was found, where, and what was not looked at.
//!
//! ```text
//! cargo run --release --example investigate -- src "How are tasks of a dead worker rescued?"
//! ```
//!
//! It needs nothing but this program: no key, no network, no model. The readers are native
//! agents, Rust functions that really search. With `--agent claude` (or codex, gemini, opencode,
//! qwen; feature `cli`, Linux) a coding agent that is installed reads, concludes and validates
//! instead, in a worktree of the commit that is checked out. Every step is recorded in an SQLite file, so
//! an investigation survives Ctrl-C and `kill -9`: `--resume` continues it, and what was
//! recorded is not done again.
//!
//! * [`flow`] draws the steps, and is the place to begin reading;
//! * [`survey`] and [`report`] are steps that are code; citations are checked, coverage is counted
//!   and the report is written by `segue::evidence`;
//! * [`reader`] and [`conclude`] are the agents, `team` is the flow with a coding agent in all roles;
//! * [`session`] starts the engine, follows the run, and stops it in order.

mod args;
mod block;
mod conclude;
mod evidence;
mod flow;
mod lines;
mod progress;
mod reader;
mod report;
mod session;
mod survey;
#[cfg_attr(not(all(feature = "cli", target_os = "linux")), path = "nobody.rs")]
mod team;
mod terms;

use std::process::ExitCode;

use args::{Action, Args};
use session::{Ending, Outcome};

/// As shells call a program that was stopped by Ctrl-C.
const STOPPED: u8 = 130;

/// The arguments make no sense.
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("investigate: {error}");
            return USAGE.into();
        }
    };
    match act(&args).await {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Stopped) => STOPPED.into(),
        Err(error) => {
            eprintln!("investigate: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn act(args: &Args) -> Outcome<Ending> {
    match &args.action {
        Action::Investigate { folder, question } => {
            session::investigate(args, folder, question).await
        }
        Action::Resume => session::resume(args).await,
        Action::History => session::history(args).await,
        Action::Graph => show(&session::graph(args)?),
        Action::Help => show(args::USAGE),
    }
}

fn show(text: &str) -> Outcome<Ending> {
    session::print(text)?;
    Ok(Ending::Done)
}
