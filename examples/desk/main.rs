//! A desk with tabs: in each a chat with an agent, in a program that works and in as many beside it
//! as you like.
//!
//! ```text
//! desk app --agent claude --agent qwen         # works, and prints what the agents say
//! desk open tests claude ~/src/shop            # in another terminal: a tab, its agent, its folder
//! desk say tests "Why does the second test fail?"
//! desk show tests --follow
//! desk inbox                                   # what agents ask leave for
//! desk answer ITEM allow
//! ```
//!
//! It is what a host looks like that has tables of its own in the same file:
//!
//! * [`agents`] are the programs that take the turns: the known ones by name, any other that speaks
//!   the Agent Client Protocol as `NAME=PROGRAM`;
//! * [`app`] starts the engine, and prints what is said while it is said;
//! * [`store`] has the desk's own tables, and says something to an agent in one transaction with them;
//! * [`show`] reads a chat in another process, and follows it;
//! * [`inbox`] is what waits for a person, and the answers.
//!
//! Kill the app whenever you like and start it again: the turns go on in the sessions of their agents,
//! and what was asked is answered to the turn that asked.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "programs are agents on Linux"))]

#[cfg(target_os = "linux")]
mod agents;
#[cfg(target_os = "linux")]
mod app;
mod args;
mod inbox;
mod show;
mod store;

use std::process::ExitCode;

use segue::Engine;

use args::{Action, Args};
use store::Store;

/// What goes wrong is told, and ends the program.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match args::parse() {
        Ok(args) => act(args).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("desk: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn act(Args { file, action }: Args) -> Outcome<()> {
    let action = match action {
        #[cfg(target_os = "linux")]
        Action::App { agents } => return app::run(&file, &agents).await,
        Action::Help => {
            print!("{}", args::USAGE);
            return Ok(());
        }
        other => other,
    };
    // Beside the app, or while it is not there: to look, to say, to answer.
    let engine = Engine::sqlite(&file).connect().await?;
    let mut store = Store::open(&file)?;
    match action {
        Action::Open { tab, agent, folder } => {
            let tab = store.put(&tab, &agent, &folder)?;
            engine.chat(tab.chat, tab.spec()).await?;
        }
        Action::Say { tab, text } => {
            let tab = store.tab(&tab)?;
            engine.chat(tab.chat, tab.spec()).await?;
            println!("{}", store.say(&tab, &text)?);
            engine.wake();
        }
        Action::Tabs => show::tabs(&store)?,
        Action::Show { tab, follow } => show::chat(&engine, &store.tab(&tab)?, follow).await?,
        Action::Inbox => inbox::list(&engine, &store).await?,
        Action::Answer { item, answer, by } => inbox::answer(&engine, item, &answer, &by).await?,
        _ => return Err("programs are agents on Linux".into()),
    }
    Ok(())
}
