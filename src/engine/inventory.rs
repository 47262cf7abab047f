//! The agents of this host: what is installed, as it was found.
//!
//! A row is renewed when its program is another file than before, when the agent is configured
//! otherwise, and as long as something went wrong. One that can't be looked at keeps nobody from the
//! others: what went wrong stands in its row.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{error::Elapsed, timeout},
};

use super::{Core, ReadOnly, hosts, programs::Ours};
use crate::{
    agents::{
        Agent, Facts, Installed, Look, Transport,
        probe::{ProbeError, ProgramFile},
        process::Custody,
    },
    error::{Error, Result},
    failure::Failure,
    model::{AvailableAgent, Canary, Command, Needs, Page, Payload, Query},
};

/// Programs that are looked for whether they are registered or not, and how they are spoken to.
const KNOWN: [(&str, Transport); 7] = [
    ("claude", Transport::Cli),
    ("codex", Transport::Cli),
    ("gemini", Transport::Cli),
    ("opencode", Transport::Cli),
    ("qwen", Transport::Cli),
    ("claude-agent-acp", Transport::Acp),
    ("codex-acp", Transport::Acp),
];
/// How long a program may take to answer that is looked at before a turn.
const LIMIT: Duration = Duration::from_secs(60);
/// How many are looked at at once: each is a program that starts.
const AT_ONCE: usize = 4;

/// What an agent was found by, and what it said, as they stand in its row.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    /// The program's file. Another one is another program.
    file: String,
    /// How the agent is configured, as a hash. None: it is not registered, and was not asked.
    asked: Option<String>,
    /// What it said that it can do.
    said: Value,
}

/// Someone to be looked at.
struct Wanted {
    name: String,
    transport: Transport,
    installed: Installed,
    /// None: it is not registered.
    agent: Option<Arc<dyn Agent>>,
}

impl Wanted {
    fn asked(&self) -> Option<String> {
        let fingerprint = self.agent.as_ref()?.profile().fingerprint;
        Some(format!("{:x}", Sha256::digest(fingerprint)))
    }

    /// A row of which nothing is known but whose it is.
    fn row(&self, core: &Core) -> AvailableAgent {
        AvailableAgent {
            transport: self.transport,
            can_ask: self.agent.as_ref().is_some_and(|agent| agent.profile().can_ask),
            last_probed_at: core.backend.clock().now(),
            ..AvailableAgent::unknown(hosts::here().name, self.name.clone())
        }
    }
}

/// Looks at the agents that are registered, and at programs that are known. Their rows, by name.
///
/// # Errors
/// When the database is away.
pub(crate) async fn probe(core: &Arc<Core>, limit: Duration) -> Result<Vec<AvailableAgent>> {
    let (mut looks, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for (name, agent) in all(core) {
        let (core, turns) = (Arc::clone(core), Arc::clone(&turns));
        looks.spawn(async move {
            let _turn = turns.acquire().await;
            look_at(&core, name, agent, limit).await
        });
    }
    let mut found = BTreeMap::new();
    while let Some(looked) = looks.join_next().await {
        // A host's own agent may panic. The others are looked at all the same.
        let row = looked.unwrap_or_else(|panic| {
            tracing::error!(%panic, "an agent could not be looked at");
            Ok(None)
        });
        found.extend(row?.map(|row| (row.name.clone(), row)));
    }
    Ok(found.into_values().collect())
}

/// Everyone who is to be looked at, by name.
fn all(core: &Core) -> BTreeMap<String, Option<Arc<dyn Agent>>> {
    let known = KNOWN.iter().map(|(name, _)| ((*name).to_owned(), None));
    let registered = core.registry.agents().map(|(name, agent)| (name.to_owned(), Some(agent)));
    known.chain(registered).collect()
}

/// What is known of the agents of this host, by name.
///
/// # Errors
/// When the database can't be read.
pub(crate) async fn list(core: &Core) -> Result<Vec<AvailableAgent>> {
    let (host, mut all) = (hosts::here().name, Vec::<AvailableAgent>::new());
    loop {
        let after = all.last().map(|last| last.name.clone());
        let query = Query::Agents { host: host.clone(), after, limit: 500 };
        let Page::Agents(page) = core.backend.list(&query).await? else {
            return Err(Error::database("a list of agents was answered with another"));
        };
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// The row of an agent of this host.
///
/// # Errors
/// When the database can't be read.
pub(super) async fn known(core: &Core, name: &str) -> Result<Option<AvailableAgent>> {
    let key = (hosts::here().name, name.to_owned());
    let needs = Needs { agents: [key.clone()].into(), ..Needs::default() };
    Ok(core.backend.read(&needs).await?.agents.remove(&key))
}

/// Looks at one, unless nothing has changed since the last time. None: it is not there, and was never
/// expected to be.
///
/// # Errors
/// When the database is away.
pub(super) async fn look_at(
    core: &Arc<Core>,
    name: String,
    agent: Option<Arc<dyn Agent>>,
    limit: Duration,
) -> Result<Option<AvailableAgent>> {
    let before = known(core, &name).await?;
    let wanted = match wanted(&name, agent) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return Ok(before),
        Err((wanted, failure)) => {
            let last_error = Some(failure.to_string());
            return put(core, AvailableAgent { last_error, ..wanted.row(core) }).await;
        }
    };
    let file = match ProgramFile::locate(wanted.installed.program.as_ref(), &wanted.installed.path)
    {
        Ok(file) => file,
        Err(ProbeError::Missing(_)) if wanted.agent.is_none() && before.is_none() => {
            return Ok(None);
        }
        Err(error) => {
            let last_error = Some(error.to_string());
            return put(core, AvailableAgent { last_error, ..wanted.row(core) }).await;
        }
    };
    match before {
        Some(before) if is_same(&before, &wanted, &file) => Ok(Some(before)),
        before => put(core, ask(core, &wanted, &file, before, limit).await).await,
    }
}

type Unknown = (Box<Wanted>, Failure);

/// Whom to look at. None: it is no program.
fn wanted(
    name: &str,
    agent: Option<Arc<dyn Agent>>,
) -> std::result::Result<Option<Wanted>, Unknown> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let by_name = Installed { program: name.into(), path };
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let transport = agent.as_ref().map(|agent| agent.profile().transport);
    let wanted = |installed, agent| Wanted {
        name: name.to_owned(),
        transport: transport.or(known.map(|known| known.1)).unwrap_or(Transport::Cli),
        installed,
        agent,
    };
    let Some(agent) = agent else {
        return Ok(known.map(|_| wanted(by_name, None)));
    };
    match agent.installed() {
        Ok(installed) => Ok(installed.map(|installed| wanted(installed, Some(agent)))),
        Err(failure) => Err((Box::new(wanted(by_name, Some(agent))), failure)),
    }
}

fn is_same(before: &AvailableAgent, wanted: &Wanted, file: &ProgramFile) -> bool {
    let said = before.capabilities.as_ref().and_then(|said| said.decode::<Said>().ok());
    let same = said.is_some_and(|said| said.file == file.stamp && said.asked == wanted.asked());
    let path = file.resolved.to_string_lossy();
    same && before.last_error.is_none() && before.install_path.as_deref() == Some(&*path)
}

/// Asks a program what it is. Whatever goes wrong stands in the row.
async fn ask(
    core: &Arc<Core>,
    wanted: &Wanted,
    file: &ProgramFile,
    before: Option<AvailableAgent>,
    limit: Duration,
) -> AvailableAgent {
    let custody = || Arc::new(Ours::new(core, &wanted.name, None)) as Arc<dyn Custody>;
    let path = file.resolved.to_string_lossy().into_owned();
    let mut row = AvailableAgent { install_path: Some(path), ..wanted.row(core) };
    let sha256 = match file.sha256().await {
        Ok(sha256) => sha256,
        Err(error) => return AvailableAgent { last_error: Some(error.to_string()), ..row },
    };
    // What was known of the same program, for as long as it does not answer.
    if let Some(before) = before.filter(|before| before.sha256.as_ref() == Some(&sha256)) {
        row = AvailableAgent {
            last_probed_at: row.last_probed_at,
            can_ask: row.can_ask,
            transport: row.transport,
            // The rules keep it where this is the version that was judged.
            canary: None,
            last_error: None,
            ..before
        };
    }
    row.sha256 = Some(sha256);
    let version = file.version(&wanted.installed.path, limit, custody()).await;
    let facts = match &wanted.agent {
        Some(agent) => {
            let mut look = Look::within(limit);
            look.custody = Some(custody());
            // A host's own agent may know no limit.
            flat(timeout(limit * 2, agent.facts(look)).await)
        }
        None => Ok(Facts::default()),
    };
    let said = Said { file: file.stamp.clone(), asked: wanted.asked(), said: Value::Null };
    told(row, version, facts, said)
}

fn flat(
    facts: std::result::Result<std::result::Result<Facts, Failure>, Elapsed>,
) -> std::result::Result<Facts, Failure> {
    facts.unwrap_or_else(|_| Err(Failure::new("it takes too long")))
}

/// The row with what the program has told.
fn told(
    mut row: AvailableAgent,
    version: std::result::Result<String, ProbeError>,
    facts: std::result::Result<Facts, Failure>,
    mut said: Said,
) -> AvailableAgent {
    let mut wrong = Vec::new();
    let answered = facts.as_ref().ok().and_then(|facts| facts.version.clone());
    match (version, answered) {
        (Ok(version), Some(answered)) => {
            if version != answered {
                wrong.push(format!("it says {version} when it is asked, and {answered} at work"));
            }
            row.version = Some(answered);
        }
        (_, Some(answered)) => row.version = Some(answered),
        (Ok(version), None) => row.version = Some(version),
        (Err(error), None) => wrong.push(error.to_string()),
    }
    match facts {
        Ok(facts) => {
            row.supports_acp = facts.supports_acp;
            row.models = json(&facts.models);
            row.modes = json(&facts.modes);
            row.commands = json(&facts.commands);
            said.said = facts.capabilities;
            row.capabilities = json(&Some(said));
        }
        Err(failure) => wrong.push(failure.to_string()),
    }
    row.last_error = (!wrong.is_empty()).then(|| wrong.join("; "));
    row
}

fn json<T: Serialize>(fact: &Option<T>) -> Option<Payload> {
    fact.as_ref().and_then(|fact| Payload::of(fact).ok())
}

async fn put(core: &Core, row: AvailableAgent) -> Result<Option<AvailableAgent>> {
    let name = row.name.clone();
    core.submit(Command::PutAgent(Box::new(row))).await?;
    known(core, &name).await
}

/// Lets an agent be used again.
///
/// # Errors
/// When nothing is known of it, or the database is away.
pub(crate) async fn allow(core: &Core, name: &str) -> Result<()> {
    let (host, name) = (hosts::here().name, name.to_owned());
    core.submit(Command::Quarantine { host, name, reason: None }).await.map(drop)
}

/// How an agent is configured here, as far as it matters to whether it keeps to reading.
fn configured(agent: &dyn Agent) -> String {
    // Another version of this crate may start it otherwise.
    let text = format!("{} {}", env!("CARGO_PKG_VERSION"), agent.profile().fingerprint);
    format!("{:x}", Sha256::digest(text))
}

/// Refuses turns that only read to whom has changed something when it was tried out, and, where the
/// host wants so, to whom nobody has tried out.
///
/// # Errors
/// A fatal failure where it is refused.
pub(super) async fn refuse_unproven(
    core: &Arc<Core>,
    name: &str,
    agent: &dyn Agent,
) -> std::result::Result<(), Failure> {
    let wants_proof = core.settings.read_only == ReadOnly::Proven;
    let known = known(core, name).await?;
    if !wants_proof && known.as_ref().is_none_or(|known| known.canary.is_none()) {
        return Ok(());
    }
    // It may be another program by now.
    let row = look_at(core, name.to_owned(), core.registry.agent(name), LIMIT).await?;
    let canary = row.and_then(|row| row.canary?.decode::<Canary>().ok());
    let canary = canary.filter(|canary| canary.configured == configured(agent));
    match canary {
        Some(canary) if canary.is_failed() => Err(Failure::fatal(format!(
            "`{name}` {} has changed something when it was tried out whether it keeps to reading",
            canary.version.unwrap_or_default()
        ))),
        Some(canary) if canary.is_passed() => Ok(()),
        _ if wants_proof => Err(Failure::fatal(format!(
            "nobody has shown that this version of `{name}` keeps to reading: see Engine::canary"
        ))),
        _ => Ok(()),
    }
}

/// Whom a canary is about.
#[cfg(feature = "scripted-model")]
pub(crate) struct Subject {
    pub agent: Arc<dyn Agent>,
    /// Without its trials.
    pub canary: Canary,
}

/// An agent that is to be tried out, as it is installed now.
///
/// # Errors
/// A usage error when it is not there.
#[cfg(feature = "scripted-model")]
pub(crate) async fn subject(core: &Arc<Core>, name: &str) -> Result<Subject> {
    let none = || Error::usage(format!("no agent `{name}` that is a program is registered here"));
    let agent = core.registry.agent(name).ok_or_else(none)?;
    let row = look_at(core, name.to_owned(), Some(Arc::clone(&agent)), LIMIT).await?;
    let row = row.ok_or_else(none)?;
    if row.sha256.is_none() {
        let why = row.last_error.unwrap_or_default();
        return Err(Error::usage(format!("`{name}` can't be tried out: {why}")));
    }
    let canary = Canary {
        version: row.version,
        sha256: row.sha256,
        configured: configured(&*agent),
        at: core.backend.clock().now(),
        ..Canary::default()
    };
    Ok(Subject { agent, canary })
}

/// Who answers for the programs of an agent that is looked at.
#[cfg(feature = "scripted-model")]
pub(crate) fn custody(core: &Arc<Core>, name: &str) -> Arc<dyn Custody> {
    Arc::new(Ours::new(core, name, None))
}

/// Keeps what came of trials with the version that was tried. Another one that was found meanwhile is
/// not judged by them.
///
/// # Errors
/// When the database is away.
#[cfg(feature = "scripted-model")]
pub(crate) async fn judge(core: &Arc<Core>, name: &str, canary: &Canary) -> Result<()> {
    let row = known(core, name).await?;
    let is_same = |row: &AvailableAgent| row.sha256 == canary.sha256;
    if let Some(row) = row.filter(is_same) {
        let canary = Some(Payload::of(canary)?);
        let row = AvailableAgent { canary, ..row };
        core.submit(Command::PutAgent(Box::new(row))).await?;
    }
    Ok(())
}
