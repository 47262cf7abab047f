//! What the program was asked to do.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use lexopt::{Arg, Parser, ValueExt};
use segue::id::ItemId;

/// How the program is used.
pub const USAGE: &str = "\
desk: chats with agents, in tabs

    desk [--db FILE] app [--agent NAME | NAME=PROGRAM]...   work, and print what is said
    desk [--db FILE] open TAB AGENT FOLDER                  a tab, or other things for one
    desk [--db FILE] say TAB TEXT                           say something to its agent
    desk [--db FILE] tabs                                   the tabs
    desk [--db FILE] show TAB [--follow]                    what was said, and what will be
    desk [--db FILE] inbox                                  what waits for you
    desk [--db FILE] answer ITEM ANSWER [--by NAME]         answer it
";

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    App { agents: Vec<String> },
    Open { tab: String, agent: String, folder: PathBuf },
    Say { tab: String, text: String },
    Tabs,
    Show { tab: String, follow: bool },
    Inbox,
    Answer { item: ItemId, answer: String, by: String },
    Help,
}

/// What is to be done, and where.
#[derive(Debug)]
pub struct Args {
    pub file: PathBuf,
    pub action: Action,
}

/// Reads the arguments of the process.
///
/// # Errors
/// What is wrong with them.
pub fn parse() -> Result<Args, lexopt::Error> {
    let mut parser = Parser::from_env();
    let mut file = PathBuf::from("desk.db");
    let (mut agents, mut words) = (Vec::new(), Vec::new());
    let (mut follow, mut by) = (false, "you".to_owned());
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("db") => file = parser.value()?.into(),
            Arg::Long("agent") => agents.push(parser.value()?.string()?),
            Arg::Long("follow") => follow = true,
            Arg::Long("by") => by = parser.value()?.string()?,
            Arg::Long("help") | Arg::Short('h') => {
                return Ok(Args { file, action: Action::Help });
            }
            Arg::Value(word) => words.push(word),
            other => return Err(other.unexpected()),
        }
    }
    let words: Vec<String> = words.into_iter().map(OsString::string).collect::<Result<_, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let tab = |at: usize| words[at].to_owned();
    let action = match words[..] {
        ["app"] => Action::App { agents },
        ["open", _, agent, folder] => {
            let (agent, folder) = (agent.to_owned(), std::path::absolute(Path::new(folder)));
            Action::Open { tab: tab(1), agent, folder: folder.map_err(|it| it.to_string())? }
        }
        ["say", _, text] => Action::Say { tab: tab(1), text: text.to_owned() },
        ["tabs"] => Action::Tabs,
        ["show", _] => Action::Show { tab: tab(1), follow },
        ["inbox"] => Action::Inbox,
        ["answer", item, answer] => {
            let item = item.parse().map_err(|_| format!("`{item}` is no item"))?;
            Action::Answer { item, answer: answer.to_owned(), by }
        }
        _ => return Err("say what to do; see --help".into()),
    };
    Ok(Args { file, action })
}
