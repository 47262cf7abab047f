//! What an agent says of itself before anybody prompts it.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Acp,
    options::Choosable,
    session::{Session, Trouble},
};
use crate::{
    agents::{CommandInfo, Facts, Outcome, Resume, Turn, Update, process::Custody},
    failure::Failure,
    id::{ChatId, TaskId},
    model::{Payload, TaskSpec},
};

/// How long the commands of a session may take to come after it.
const COMMANDS: Duration = Duration::from_secs(2);

/// What an agent says of itself.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Probed {
    /// The version of the protocol.
    pub protocol: u64,
    /// What it calls itself.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it can do, in the words of the protocol.
    pub capabilities: Value,
    /// The ids of the ways to log in that it offers.
    pub logins: Vec<String>,
    /// Why it opened no session; None where it did. Without one, what follows is empty.
    pub refused: Option<String>,
    /// The ids of its modes.
    pub modes: Vec<String>,
    /// The ids of its models.
    pub models: Vec<String>,
    /// Its commands.
    pub commands: Vec<CommandInfo>,
}

impl From<Probed> for Facts {
    fn from(probed: Probed) -> Self {
        let Probed { protocol, name, version, capabilities, logins, refused, .. } = probed;
        let said = json!({
            "protocol": protocol, "name": name, "agent": capabilities, "logins": logins,
            "refused": refused,
        });
        // Without a session it has told nothing of them.
        let told = refused.is_none();
        Self {
            version,
            supports_acp: true,
            models: told.then_some(probed.models),
            modes: told.then_some(probed.modes),
            commands: told.then_some(probed.commands),
            capabilities: said,
        }
    }
}

impl Acp {
    /// Asks the agent what it is and what it can do, in an empty folder and without a prompt.
    /// Nothing of it is left when this returns.
    ///
    /// # Errors
    /// When it can't be started, does not speak the protocol, or takes longer than `limit`.
    pub async fn probe(
        &self,
        limit: Duration,
        custody: Option<Arc<dyn Custody>>,
    ) -> Result<Probed, Failure> {
        let folder = Scratch::new()?;
        let mut turn = Turn::new(
            ChatId::new(),
            TaskSpec::new(TaskId::new(), "agent", Payload::null()),
            Vec::new(),
        );
        (turn.folder, turn.custody) = (folder.0.clone(), custody);
        let mut session = self.start(&turn).await?;
        let probed = timeout(limit, self.ask(&mut session)).await;
        let trouble = match probed {
            Ok(Ok(probed)) => {
                session.finish(super::END).await?;
                return Ok(probed);
            }
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Slow(limit),
        };
        Err(failure(trouble.outcome(session.finish(super::END).await)))
    }

    async fn ask(&self, session: &mut Session) -> Result<Probed, Trouble> {
        session.greet(self.login.as_deref()).await?;
        let mut probed = of_hello(&session.hello);
        match session.open(&Resume::Fresh).await {
            Ok(()) => {}
            Err(Trouble::Named(outcome)) => {
                probed.refused = Some(words(outcome));
                return Ok(probed);
            }
            Err(trouble) => return Err(trouble),
        }
        let is_list = |update: &Update| matches!(update, Update::Commands { .. });
        // Those that have none say nothing.
        let _ = timeout(COMMANDS, session.until(is_list)).await;
        let ids = |which| session.options.offered(which).into_iter().map(|(id, _)| id).collect();
        (probed.modes, probed.models) = (ids(Choosable::Mode), ids(Choosable::Model));
        for update in session.take_early() {
            if let Update::Commands { commands } = update {
                probed.commands = commands;
            }
        }
        Ok(probed)
    }
}

fn of_hello(hello: &Value) -> Probed {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let logins = hello["authMethods"].as_array().into_iter().flatten();
    Probed {
        protocol: hello["protocolVersion"].as_u64().unwrap_or(0),
        name: text(&hello["agentInfo"]["name"]),
        version: text(&hello["agentInfo"]["version"]),
        capabilities: hello["agentCapabilities"].clone(),
        logins: logins.filter_map(|login| text(&login["id"])).collect(),
        ..Probed::default()
    }
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Crashed { message } | Outcome::RateLimited { message, .. } => message,
        Outcome::Failed(failure) => failure.to_string(),
        other => other.name().to_owned(),
    }
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => Failure::new(words(other)),
    }
}

/// A folder of its own, that goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("segue-probe-{}", Uuid::now_v7()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that is left behind is empty and harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
