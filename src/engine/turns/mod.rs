//! An agent's turn, from the prompt to what it leaves behind.
//!
//! The prompt is written down before anyone acts on it; the turn is begun in the agent's session of
//! the chat, or in a new one; what the agent tells is heard and written down by a scribe; and the end
//! of the turn is handed in with the end of the attempt, in one commit.

mod handoff;
mod live;
mod permission;
#[cfg_attr(not(all(feature = "programs", target_os = "linux")), path = "nowhere.rs")]
mod place;
#[cfg(all(feature = "programs", target_os = "linux"))]
mod reading;
mod scribe;
mod value;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use serde_json::json;
use sha2::{Digest, Sha256};

pub use self::live::Delta;
pub(in crate::engine) use live::Live;
pub(crate) use value::{check_schema, json_in};

use self::{
    place::Place,
    scribe::{Heard, Scribe},
    value::Expected,
};
use super::{Done, Job, hosts, lock};
use crate::{
    agents::{Agent, Block, Outcome, Reply, Turn, words},
    error::{Error, Result},
    failure::Failure,
    id::{AgentSessionId, ChatId, MessageId, TaskId},
    model::{
        self, BeginTurn, Begun, Chat, Command, FaultKind, HandOff, Message, NewMessage, Page,
        Payload, Query, Resume, Role, Sessions, TurnEnd, TurnState,
    },
};

/// How long a provider is left alone that does not say for how long.
const PARKED: std::time::Duration = std::time::Duration::from_secs(60);

/// What is asked of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    /// The agent's name.
    pub agent: String,
    /// The model, where that is said outside of the task.
    pub model: Option<String>,
    /// What to do.
    pub content: Payload,
    /// The value that its answer is, or why it is none.
    pub check: fn(&Payload) -> serde_json::Result<Payload>,
}

/// Takes a turn for a task.
///
/// # Errors
/// What becomes of the task where the agent does not answer.
pub(crate) async fn take(
    job: &Job,
    agent: &Arc<dyn Agent>,
    prompt: &Prompt,
) -> std::result::Result<Done, Failure> {
    let expected = Expected::new(&job.claimed.spec, prompt.check)?;
    let asked = write_down(job, &prompt.content).await?;
    let mut lost = None;
    loop {
        let begun = begin(job, &**agent, prompt, &asked, lost.take()).await?;
        let mut turn = turn(job, &**agent, prompt, &asked, &begun).await?;
        let place = Place::enter(job, &prompt.agent, &**agent, &mut turn).await?;
        let spoken = converse(job, &**agent, &expected, &asked, &begun, turn).await;
        // Whatever came of it, what may only be read is looked at.
        if let Err(violation) = place.leave(job, &prompt.agent).await {
            let reason = Some(violation.to_string());
            *lock(&job.ended) = Some(TurnEnd { reason, ..TurnEnd::new(TurnState::Failed) });
            return Err(violation);
        }
        let spoken = spoken?;
        // It is told at once, and taken in a new session.
        if let (Outcome::SessionLost { .. }, Resume::Continue(id)) =
            (&spoken.outcome, &begun.resume)
            && !spoken.heard.prompted
        {
            lost = Some(id.clone());
            continue;
        }
        return finish(job, prompt, &expected, &asked, spoken);
    }
}

/// What came of a prompt.
struct Spoken {
    outcome: Outcome,
    heard: Heard,
}

impl Spoken {
    /// The answer as a value of which nothing is known yet.
    fn answer(&self) -> Option<Payload> {
        match &self.outcome {
            Outcome::Completed(reply) => Some(answer(reply, &self.heard)),
            _ => None,
        }
    }

    /// Why the answer is not what was asked for, where it is not.
    fn is_wrong(&self, expected: &Expected) -> Option<String> {
        expected.read(&self.answer()?).err()
    }
}

fn answer(reply: &Reply, heard: &Heard) -> Payload {
    let text = if reply.text.is_empty() { &heard.text } else { &reply.text };
    reply.output.clone().unwrap_or_else(|| Payload::text(text))
}

/// Asks, and once more where the answer can't be used.
async fn converse(
    job: &Job,
    agent: &dyn Agent,
    expected: &Expected,
    asked: &Asked,
    begun: &Begun,
    mut turn: Turn,
) -> std::result::Result<Spoken, Failure> {
    let spoken = speak(job, agent, asked, begun, turn.clone()).await?;
    match spoken.is_wrong(expected) {
        None => Ok(spoken),
        Some(wrong) => {
            amend(&mut turn, &spoken, &wrong);
            speak(job, agent, asked, begun, turn).await
        }
    }
}

async fn speak(
    job: &Job,
    agent: &dyn Agent,
    asked: &Asked,
    begun: &Begun,
    turn: Turn,
) -> std::result::Result<Spoken, Failure> {
    let scribe = Scribe::new(job, asked.chat, begun, asked.seq);
    let (outcome, heard) = scribe.attend(agent.turn(turn, &scribe)).await;
    Ok(Spoken { outcome, heard: heard? })
}

/// Makes of a turn one that asks again, for an answer that is what it should be.
fn amend(turn: &mut Turn, spoken: &Spoken, wrong: &str) {
    let said = spoken.answer().unwrap_or_else(Payload::null);
    let again = format!(
        "Your answer can't be used: {wrong}. Answer once more, with the JSON value that was asked \
         for and nothing else."
    );
    match &spoken.heard.session {
        Some(id) => {
            turn.resume = Resume::Continue(id.clone());
            turn.content = vec![Block::Text { text: again }];
        }
        None => {
            let said = words(&crate::agents::blocks(&said));
            turn.content.push(Block::Text { text: format!("You answered:\n{said}\n\n{again}") });
        }
    }
    turn.prompt = words(&turn.content);
}

/// A prompt that is written down.
#[derive(Debug)]
struct Asked {
    chat: ChatId,
    /// Its place in the chat.
    seq: i64,
    /// What else was said in the chat, oldest first.
    others: Vec<Message>,
}

/// Appends the prompt to the task's chat before anyone acts on it.
async fn write_down(job: &Job, content: &Payload) -> Result<Asked> {
    let spec = &job.claimed.spec;
    let chat = spec.chat.unwrap_or(ChatId::of_task(spec.id));
    if spec.chat.is_none() {
        job.core.submit(Command::OpenChat(own_chat(job, chat))).await?;
    }
    let id = MessageId::of_prompt(spec.id);
    let content = content.clone();
    let message = NewMessage { id, role: Role::User, content, task: Some(spec.id) };
    job.core.submit(Command::Append { chat, messages: vec![message] }).await?;
    let others = history(job, chat).await?;
    let seq = others.iter().find(|message| message.id == id).map_or(0, |message| message.seq);
    let others = others.into_iter().filter(|message| message.id != id).collect();
    Ok(Asked { chat, seq, others })
}

/// What was said in a chat, a page after the other.
async fn history(job: &Job, chat: ChatId) -> Result<Vec<Message>> {
    const PAGE: u32 = 1_000;
    let mut all: Vec<Message> = Vec::new();
    loop {
        let after = all.last().map_or(0, |message| message.seq);
        let query = Query::Messages { chat, after, limit: PAGE };
        let Page::Messages(page) = job.core.backend.list(&query).await? else {
            return Err(Error::database("a list of messages was answered with another"));
        };
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// The chat of a task that another program inserted without one.
fn own_chat(job: &Job, id: ChatId) -> Chat {
    let spec = &job.claimed.spec;
    Chat {
        id,
        project: spec.project.clone(),
        session: spec.session,
        title: String::new(),
        meta: None,
        next_seq: 1,
        created_at: crate::clock::Timestamp::ZERO,
        forked_from: None,
    }
}

/// Begins the turn in the agent's session, or in a new one.
async fn begin(
    job: &Job,
    agent: &dyn Agent,
    prompt: &Prompt,
    asked: &Asked,
    lost: Option<String>,
) -> Result<Begun> {
    let profile = agent.profile();
    let session = AgentSessionId::new();
    let spec = &job.claimed.spec;
    let model = prompt.model.as_ref().or(spec.model.as_ref());
    let depends = json!([profile.fingerprint, model, spec.mode, spec.options.access, folder(job)]);
    let wish = BeginTurn {
        task: spec.id,
        lease: job.claimed.task.lease,
        chat: asked.chat,
        agent: prompt.agent.clone(),
        transport: profile.transport,
        sessions: profile.sessions,
        fingerprint: format!("{:x}", Sha256::digest(depends.to_string())),
        host: hosts::here().name,
        worktree: Some(folder(job).to_string_lossy().into_owned()),
        session,
        proposed: session.to_string(),
        carries: spec.options.hand_off != HandOff::None,
        lost,
    };
    match job.core.submit(Command::BeginTurn(Box::new(wish))).await? {
        model::Outcome::Turn(begun) => Ok(*begun),
        other => Err(Error::database(format!("a new turn was answered with {other:?}"))),
    }
}

/// What the agent is given.
async fn turn(
    job: &Job,
    agent: &dyn Agent,
    prompt: &Prompt,
    asked: &Asked,
    begun: &Begun,
) -> std::result::Result<Turn, Failure> {
    let spec = &job.claimed.spec;
    let mut content = crate::agents::blocks(&prompt.content);
    let turns = turns(job, asked.chat).await?;
    if is_given(&turns, spec.id, begun) {
        // The session was given the prompt already: its turn broke off, or waited for an answer.
        match is_heard(job, asked).await? {
            true => content = vec![Block::text(GO_ON)],
            false => content.insert(0, Block::text(format!("{GO_ON} {UNHEARD}"))),
        }
    } else if agent.profile().sessions != Sessions::None
        && let Some(told) = missed(job, &turns, asked, begun).await?
    {
        content.insert(0, Block::Text { text: told });
    }
    let mut turn = Turn::new(asked.chat, spec.clone(), content);
    turn.history = asked.others.clone();
    turn.model = prompt.model.clone().or(turn.model);
    turn.resume = begun.resume.clone();
    turn.stop = job.token.clone();
    turn.folder = folder(job);
    turn.room = Some(job.core.room.clone());
    Ok(turn)
}

/// The folder that a task's agent works in.
fn folder(job: &Job) -> PathBuf {
    let own = job.claimed.spec.options.folder.as_ref().map(PathBuf::from);
    let given = own.or_else(|| job.core.settings.folder.clone());
    given.or_else(|| std::env::current_dir().ok()).unwrap_or_default()
}

/// What a session is told that has been asked before.
const GO_ON: &str = "The turn was interrupted before it was finished. What the tool that was called \
    last has done is not known: look before you do it again. Go on where you were.";

/// What follows where nothing was heard of it: it may have died before it had read the prompt.
const UNHEARD: &str = "What was asked follows, in case it did not reach you.";

/// Whether anything came of the prompt that an agent was given.
async fn is_heard(job: &Job, asked: &Asked) -> Result<bool> {
    let task = job.claimed.spec.id;
    let answers = |it: &Message| it.task == Some(task) && it.role == Role::Assistant;
    Ok(asked.others.iter().any(answers) || permission::has_asked(job).await?)
}

/// Whether an earlier attempt has given the prompt to the session that is continued.
fn is_given(turns: &[model::Turn], task: TaskId, begun: &Begun) -> bool {
    let own = |turn: &&model::Turn| turn.task == task && turn.session == begun.session;
    matches!(begun.resume, Resume::Continue(_)) && turns.iter().filter(own).any(was_prompted)
}

fn was_prompted(turn: &model::Turn) -> bool {
    turn.prompted_at != crate::clock::Timestamp::ZERO
}

/// What the agent's session does not know of the chat, as it is told.
async fn missed(
    job: &Job,
    turns: &[model::Turn],
    asked: &Asked,
    begun: &Begun,
) -> std::result::Result<Option<String>, Failure> {
    let hand_off = job.claimed.spec.options.hand_off;
    if hand_off == HandOff::None || asked.others.is_empty() {
        return Ok(None);
    }
    let own = turns.iter().filter(|turn| turn.session == begun.session);
    let known: BTreeSet<TaskId> = own.map(|turn| turn.task).collect();
    // A function has its prompt without a word about it.
    let is_given = |turn: &&model::Turn| {
        was_prompted(turn) || !(turn.state.is_open() || turn.state == TurnState::Crashed)
    };
    let given: BTreeSet<TaskId> = turns.iter().filter(is_given).map(|turn| turn.task).collect();
    // What a fork or an import has brought along has no turns here.
    let taken: BTreeSet<TaskId> = turns.iter().map(|turn| turn.task).collect();
    let is_news = |message: &&Message| {
        let was_there = |task| known.contains(&task) || message.id == MessageId::of_summary(task);
        // What waits for its own turn is said then.
        let waits =
            |task| message.role == Role::User && taken.contains(&task) && !given.contains(&task);
        message.seq > begun.seen && !message.task.is_some_and(|task| was_there(task) || waits(task))
    };
    let news: Vec<Message> = asked.others.iter().filter(is_news).cloned().collect();
    match hand_off {
        HandOff::Summary if !news.is_empty() => handoff::summary(job, asked, news).await.map(Some),
        _ => Ok(handoff::told(&news, begun.seen == 0)),
    }
}

/// The turns that were taken in a chat.
async fn turns(job: &Job, chat: ChatId) -> Result<Vec<model::Turn>> {
    let mut all: Vec<model::Turn> = Vec::new();
    loop {
        let after = all.last().map(|turn| turn.id);
        let query = Query::Turns { chat, after, limit: 500 };
        let Page::Turns(page) = job.core.backend.list(&query).await? else {
            return Err(Error::database("a list of turns was answered with another"));
        };
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// What the turn leaves behind, and what becomes of its task.
fn finish(
    job: &Job,
    prompt: &Prompt,
    expected: &Expected,
    asked: &Asked,
    spoken: Spoken,
) -> std::result::Result<Done, Failure> {
    let Spoken { outcome, heard } = spoken;
    let (state, reason) = ending(&outcome);
    let denied =
        || (!heard.denied.is_empty()).then(|| format!("denied: {}", heard.denied.join(", ")));
    let reason = reason.or_else(denied);
    let end = TurnEnd { state, reason, seen: 0, compacted: heard.compacted };
    *lock(&job.ended) = Some(end);
    if let Some(late) = heard.late {
        return Err(late);
    }
    match outcome {
        Outcome::Completed(reply) => {
            let output = expected.read(&answer(&reply, &heard)).map_err(|wrong| {
                let message = format!("the agent's reply is not what was asked for: {wrong}");
                Failure::fault(FaultKind::Payload, message, false)
            })?;
            Ok(done(job, asked, reply, output, &heard))
        }
        Outcome::Cancelled => Err(Failure::cancelled()),
        Outcome::Failed(failure) => Err(failure),
        Outcome::Refused { message } => Err(Failure::fatal(format!("it refused: {message}"))),
        Outcome::LimitReached { limit } => Err(Failure::fatal(format!("it reached {limit}"))),
        Outcome::RateLimited { wait, .. } => {
            let model = prompt.model.as_ref().or(job.claimed.spec.model.as_ref());
            let key = model.map_or(format!("agent:{}", prompt.agent), |it| format!("model:{it}"));
            Err(Failure::park(key, wait.unwrap_or(PARKED)))
        }
        Outcome::SessionLost { message }
        | Outcome::Crashed { message }
        | Outcome::Interrupted { message } => Err(Failure::new(message)),
    }
}

fn done(job: &Job, asked: &Asked, reply: Reply, output: Payload, heard: &Heard) -> Done {
    let message = (!heard.spoke).then(|| NewMessage {
        id: MessageId::new(),
        role: Role::Assistant,
        content: Payload::text(&reply.text),
        task: Some(job.claimed.spec.id),
    });
    let said = message.map(|message| (asked.chat, vec![message]));
    Done { usage: reply.usage, said, ..Done::new(output) }
}

/// How the turn is recorded.
fn ending(outcome: &Outcome) -> (TurnState, Option<String>) {
    match outcome {
        Outcome::Completed(_) => (TurnState::Completed, None),
        Outcome::Refused { message } => (TurnState::Refused, Some(message.clone())),
        Outcome::LimitReached { limit } => (TurnState::LimitReached, Some(limit.clone())),
        Outcome::RateLimited { message, .. } => (TurnState::RateLimited, Some(message.clone())),
        Outcome::Cancelled => (TurnState::Cancelled, None),
        Outcome::SessionLost { message } => (TurnState::SessionLost, Some(message.clone())),
        Outcome::Crashed { message } => (TurnState::Crashed, Some(message.clone())),
        Outcome::Interrupted { message } => (TurnState::Interrupted, Some(message.clone())),
        Outcome::Failed(failure) => (TurnState::Failed, Some(failure.to_string())),
    }
}
