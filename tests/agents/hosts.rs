//! Agents in a host that is a process of its own, and can be killed.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use segue::{
    Builder, Engine,
    agents::{Agent, acp::Acp, claude::ClaudeCode, opencode::Opencode},
};
use serde::{Deserialize, Serialize};

use crate::{
    acp,
    child::{Child, say, told},
    cli::Chat,
    held, opencode, process,
};

/// By which adapter an agent is spoken to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum By {
    CommandLine,
    Warm,
    Acp,
    Server,
}

/// What a host must know of an agent to make its adapter.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    by: By,
    recipe: String,
    program: PathBuf,
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
}

impl Setup {
    /// The agent of a chat.
    pub fn of(chat: &Chat, by: By) -> Self {
        let (arguments, env) = match by {
            By::CommandLine | By::Warm => chat.own(),
            By::Acp => acp::own(chat),
            By::Server => (Vec::new(), opencode::own(chat)),
        };
        let text = |text: &OsStr| text.to_str().expect("text").to_owned();
        Self {
            by,
            recipe: chat.recipe.name.to_owned(),
            program: process::program(chat.recipe).0,
            arguments,
            env: env.iter().map(|(name, value)| (text(name), text(value))).collect(),
        }
    }

    /// Its adapter.
    pub fn agent(&self) -> Box<dyn Agent> {
        let own = self.arguments.iter().cloned();
        let env: BTreeMap<OsString, OsString> =
            self.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let env = move |_: &_| Ok(env.clone());
        let program = &self.program;
        match self.by {
            By::CommandLine => {
                let cli = segue::agents::cli::Cli::new(held::permissive_recipe(&self.recipe));
                let cli = own.fold(cli, segue::agents::cli::Cli::argument);
                Box::new(cli.program(program).env(env))
            }
            By::Warm => {
                let claude = own.fold(ClaudeCode::new(), ClaudeCode::argument);
                Box::new(claude.program(program).env(env))
            }
            By::Acp => {
                let agent = if self.recipe == "qwen" { Acp::qwen() } else { Acp::opencode() };
                Box::new(own.fold(agent, Acp::argument).program(program).env(env))
            }
            By::Server => Box::new(Opencode::new().program(program).env(env)),
        }
    }
}

/// An engine on the database of a folder.
pub fn builder(folder: &Path) -> Builder {
    let builder = Engine::sqlite(folder.join("work.db"));
    builder.worktrees(folder.join("worktrees")).folder(folder.join("repository"))
}

/// Starts a host that has this agent, under the name `a`.
pub fn start(folder: &Path, setup: &Setup) -> Child {
    let text = serde_json::to_string(setup).expect("JSON");
    fs::write(folder.join("setup.json"), text).expect("a file");
    Child::start(folder, "agents")
}

/// A host, until it is told to end.
pub async fn host(folder: &Path) {
    let text = fs::read_to_string(folder.join("setup.json")).expect("a file");
    let setup: Setup = serde_json::from_str(&text).expect("JSON");
    let engine = builder(folder).agent("a", setup.agent()).start().await.expect("an engine");
    say("ready");
    told().await;
    engine.shutdown().await.expect("an end");
}
