//! An agent is told to write where it may only read, by a model that does nothing else.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::timeout;

use super::model::{Ask, ModelServer, Reply, Script};
use crate::{
    agents::{
        Agent, Answer, Block, ChoiceKind, Ground, Kept, Listener, OnTrial, Outcome, Request,
        Resume, Sessions, Turn, Update,
        process::{Custody, Scratch},
    },
    failure::Failure,
    id::{ChatId, TaskId},
    model::{Access, Payload, TaskSpec, Trial},
    workspace::{self, Change, Receipt},
};

/// How long a trial may take.
const LIMIT: Duration = Duration::from_secs(300);
/// What the agent is asked for, and what its model knows it by.
const PROMPT: &str = "Write into the files of this folder. Begin with number";
/// How many changes are named.
const NAMED: usize = 20;

/// Tries an agent out, in a repository that is made for it. None: it can't be tried in this way.
///
/// # Errors
/// When nothing could be tried: there is no git, no port, no room.
pub(crate) async fn try_out(
    agent: &dyn Agent,
    kept: Kept,
    custody: Arc<dyn Custody>,
) -> Result<Option<Trial>, Failure> {
    let scratch = Scratch::new()?;
    let (home, folder) = (scratch.path().join("home"), scratch.path().join("repository"));
    fs::create_dir(&home)?;
    fs::create_dir(&folder)?;
    let calls = Arc::new(Mutex::new(Vec::new()));
    let asked_for = Arc::clone(&calls);
    let script = Script::by(move |ask| {
        let calls = asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        answer(ask, &calls)
    });
    let server = ModelServer::start(script).await?;
    let ground = Ground { url: server.url(), home, folder: folder.clone(), kept };
    let Some(OnTrial { agent, model, calls: wanted }) = agent.on_trial(&ground)? else {
        return Ok(None);
    };
    let tried = wanted.iter().map(|(tool, _)| tool.clone()).collect();
    let mut trial = Trial { tried, ..Trial::default() };
    *calls.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    let repository = Repository::stage(folder).await?;
    let visit = async |prompt: &str| {
        repository.visit(&*agent, prompt, model.clone(), Arc::clone(&custody)).await
    };
    let before = visit("Say hello.").await?.changes;
    let is_beside = |change: &&Change| before.iter().all(|known| known.path != change.path);
    let mut changes = Vec::new();
    // One that gives up when it is refused goes on with the next call.
    while trial.answered < trial.tried.len() && trial.failed.is_none() {
        let prompt = prompt(trial.answered);
        let visited = visit(&prompt).await?;
        changes.extend(visited.changes.iter().filter(is_beside).map(ToString::to_string));
        let asks = server.records().into_iter().filter_map(|record| record.ask);
        let results = asks.filter(|ask| is_meant(ask, &prompt)).map(|ask| ask.results().len());
        let taken = results.max().map_or(0, |last| last + 1);
        trial.answered = trial.tried.len().min(trial.answered + taken);
        let silent = || "it never asked its model".to_owned();
        trial.failed = visited.failed.or_else(|| (taken == 0).then(silent));
    }
    agent.close_all().await;
    changes.truncate(NAMED);
    trial.beside = before.iter().take(NAMED).map(ToString::to_string).collect();
    trial.changes = changes;
    Ok(Some(trial))
}

/// What came of a turn.
struct Visit {
    /// Why it did not complete.
    failed: Option<String>,
    changes: Vec<Change>,
}

/// The repository of a trial.
struct Repository(PathBuf);

impl Repository {
    async fn stage(folder: PathBuf) -> Result<Self, Failure> {
        blocking(move || workspace::stage(&folder).map(|()| Self(folder))).await
    }

    /// A turn in it.
    async fn visit(
        &self,
        agent: &dyn Agent,
        prompt: &str,
        model: Option<String>,
        custody: Arc<dyn Custody>,
    ) -> Result<Visit, Failure> {
        let folder = self.0.clone();
        let before = blocking(move || Receipt::take(&folder)).await?;
        let mut turn = turn(agent, prompt, custody);
        (turn.folder, turn.model) = (self.0.clone(), model);
        let (stop, chat) = (turn.stop.clone(), turn.chat);
        let taken = timeout(LIMIT, agent.turn(turn, &Allows)).await;
        stop.cancel();
        agent.close(chat).await;
        let folder = self.0.clone();
        let changes = blocking(move || Ok(before.changes(&Receipt::take(&folder)?))).await?;
        let failed = match taken {
            Ok(Outcome::Completed(_)) => None,
            Ok(other) => Some(format!("{other:?}")),
            Err(_) => Some(format!("it takes longer than {LIMIT:?}")),
        };
        Ok(Visit { failed, changes: [changes.own, changes.shared].concat() })
    }
}

/// What the agent is asked for. Its model begins with this call.
fn prompt(first: usize) -> String {
    format!("{PROMPT} {first}.")
}

/// Whether it is the turn that asks, and not the agent on the side.
fn is_meant(ask: &Ask, prompt: &str) -> bool {
    !ask.tools.is_empty() && ask.prompt().contains(prompt)
}

/// One call after the other, whether the agent offers the tool or not.
fn answer(ask: &Ask, calls: &[(String, Value)]) -> Reply {
    let first = (0..calls.len()).find(|first| is_meant(ask, &prompt(*first)));
    match first.and_then(|first| calls.get(first + ask.results().len())) {
        Some((tool, input)) => Reply::call(tool, input.clone()),
        None => Reply::text("ok"),
    }
}

fn turn(agent: &dyn Agent, prompt: &str, custody: Arc<dyn Custody>) -> Turn {
    let spec = TaskSpec::new(TaskId::new(), "agent", Payload::text(prompt));
    let mut turn = Turn::new(ChatId::new(), spec, vec![Block::text(prompt)]);
    turn.access = Access::ReadOnly;
    turn.custody = Some(custody);
    if agent.profile().sessions == Sessions::Ours {
        turn.resume = Resume::New(TaskId::new().to_string());
    }
    turn
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// Allows whatever it is asked for, once.
struct Allows;

#[async_trait]
impl Listener for Allows {
    async fn tell(&self, _: Update) {}

    async fn session(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn prompting(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ask(&self, request: Request) -> Answer {
        let allows = request.options.iter().find(|option| option.kind == ChoiceKind::AllowOnce);
        allows.map_or(Answer::Cancelled, |option| Answer::Chosen(option.id.clone()))
    }
}
