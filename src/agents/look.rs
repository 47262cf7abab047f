//! What can be found out about an agent without a prompt.

#[cfg(all(feature = "programs", target_os = "linux"))]
use std::sync::Arc;
use std::{ffi::OsString, path::PathBuf, time::Duration};

use serde_json::Value;

#[cfg(all(feature = "programs", target_os = "linux"))]
use super::process::Custody;
use super::{Agent, CommandInfo};

/// The program that an agent starts, and where it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// A path, or a name that is looked up.
    pub program: PathBuf,
    /// The `PATH` that it is looked up in.
    pub path: OsString,
}

/// How an agent is asked about itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Look {
    /// How long it may take.
    pub limit: Duration,
    /// Who answers for the programs that are started.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    pub custody: Option<Arc<dyn Custody>>,
}

impl Look {
    /// With this limit; nobody answers for the programs.
    pub const fn within(limit: Duration) -> Self {
        Self {
            limit,
            #[cfg(all(feature = "programs", target_os = "linux"))]
            custody: None,
        }
    }
}

/// What an agent says of itself. What is None it does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Facts {
    /// The version that answered, where that is said in its protocol.
    pub version: Option<String>,
    /// Whether it answered in the Agent Client Protocol.
    pub supports_acp: bool,
    /// The models that it offers.
    pub models: Option<Vec<String>>,
    /// The modes of its sessions.
    pub modes: Option<Vec<String>>,
    /// The commands of its sessions.
    pub commands: Option<Vec<CommandInfo>>,
    /// What else it can do, in the words of its protocol.
    pub capabilities: Value,
}

/// Where an agent is tried out: in a folder that may be lost, with a model that asks for writes.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The address of its model, without `/v1`: providers' protocols are spoken there.
    pub url: String,
    /// An empty folder, its home.
    pub home: PathBuf,
    /// The folder that it may only read.
    pub folder: PathBuf,
    /// What is tried.
    pub kept: Kept,
}

/// What keeps an agent from writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Its own way to only read, and nothing else.
    ByItself,
    /// The system alone: it is told to do whatever it is asked for.
    ByKernel,
}

/// An agent that is ready to be tried out.
#[derive(Debug)]
pub struct OnTrial {
    /// It has no more in common with the one that it was made of than the program and how that is
    /// configured.
    pub agent: Box<dyn Agent>,
    /// The model that it is to ask.
    pub model: Option<String>,
    /// Its tools that write, and what they are given.
    pub calls: Vec<(String, Value)>,
}
