//! Who hears what an agent tells, and writes it down.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{
    live::Delta,
    permission::{self, Asked},
};
use crate::{
    agents::{Answer, Listener, Request, ToolCall, ToolKind, ToolStatus, Update},
    engine::{Job, lock},
    error::Error,
    failure::Failure,
    id::{ChatId, MessageId},
    model::{
        Access, Begun, Book, Command, NewPart, Outcome, PartKind, Payload, UsageReport, Write,
    },
};

/// How long what an agent says may be seen before it is durable.
const LAG: Duration = Duration::from_millis(250);
/// How much of it, in bytes.
const BYTES: usize = 4 << 10;

/// Hears one turn.
#[derive(Debug)]
pub(super) struct Scribe<'a> {
    job: &'a Job,
    chat: ChatId,
    begun: &'a Begun,
    /// The last message of the chat that the prompt shows to the agent.
    seen: i64,
    /// The turn may only read.
    reads: bool,
    heard: Mutex<Heard>,
    /// Held while something is written, so that parts are written in their order.
    writing: tokio::sync::Mutex<()>,
    dirty: Notify,
}

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The message that is being written, and what the agent calls it.
    message: Option<(MessageId, Option<String>)>,
    /// How many characters its answer and its thoughts have.
    lengths: [u64; 2],
    /// What is not written yet.
    parts: Vec<NewPart>,
    bytes: usize,
    reports: Vec<UsageReport>,
    /// How many parts the message has.
    count: u32,
    /// The text of the last message.
    pub text: String,
    /// Whether anything was said.
    pub spoke: bool,
    /// What the agent calls its session.
    pub session: Option<String>,
    /// The agent was given its prompt.
    pub prompted: bool,
    /// Nobody answered what it asked in time: what becomes of the task.
    pub late: Option<Failure>,
    /// The agent has summarised what it knew.
    pub compacted: bool,
    /// What it wanted and was not allowed.
    pub denied: Vec<String>,
    /// Calls of tools that change files.
    changing: BTreeSet<String>,
    /// What could not be written, and is a reason to stop.
    failure: Option<Error>,
}

impl<'a> Scribe<'a> {
    pub fn new(job: &'a Job, chat: ChatId, begun: &'a Begun, seen: i64) -> Self {
        Self {
            job,
            chat,
            begun,
            seen,
            reads: job.claimed.spec.options.access == Access::ReadOnly,
            heard: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            dirty: Notify::new(),
        }
    }

    /// Hears until `work` ends, and then writes down what is left.
    ///
    /// # Errors
    /// When something could not be written: the turn counts no more, or the database is away.
    pub async fn attend<T>(&self, work: impl Future<Output = T>) -> (T, Result<Heard, Error>) {
        tokio::pin!(work);
        let result = loop {
            let lag = async {
                self.dirty.notified().await;
                tokio::time::sleep(LAG).await;
            };
            tokio::select! {
                result = &mut work => break result,
                // The work stands still meanwhile. Where it is writing itself, it goes on.
                () = lag => if let Ok(turn) = self.writing.try_lock() {
                    self.write_now(turn).await;
                }
            }
        };
        self.write().await;
        let heard = std::mem::take(&mut *self.heard());
        match heard.failure {
            Some(error) => (result, Err(error)),
            None => (result, Ok(heard)),
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// Writes down what was heard and is not written yet. What can't be written stops the turn.
    async fn write(&self) {
        self.write_now(self.writing.lock().await).await;
    }

    async fn write_now(&self, _turn: tokio::sync::MutexGuard<'_, ()>) {
        let (parts, reports) = {
            let mut heard = self.heard();
            heard.bytes = 0;
            (std::mem::take(&mut heard.parts), std::mem::take(&mut heard.reports))
        };
        let (turn, session, chat) = (self.begun.turn, self.begun.session, self.chat);
        let task = self.job.claimed.spec.id;
        let write =
            (!parts.is_empty()).then(|| Command::Write(Box::new(Write { turn, chat, parts })));
        let book = (!reports.is_empty())
            .then(|| Command::Book(Box::new(Book { session, turn, task, reports })));
        for command in write.into_iter().chain(book) {
            if let Err(error) = self.job.core.submit(command).await {
                self.fail(error);
            }
        }
    }

    /// Notes a part, and shows it to those who watch here.
    fn note(&self, message: Option<String>, kind: PartKind, body: Payload, text: &str) -> bool {
        let mut heard = self.heard();
        let id = heard.open(message);
        if let PartKind::Text | PartKind::Thought = kind {
            let thought = kind == PartKind::Thought;
            let offset = heard.lengths[usize::from(thought)];
            heard.lengths[usize::from(thought)] += text.chars().count() as u64;
            let text = text.to_owned();
            let delta = Delta { chat: self.chat, message: id, thought, offset, text };
            self.job.core.live.tell(delta);
        }
        heard.add(id, kind, &body, text);
        heard.bytes >= BYTES
    }
}

impl Heard {
    /// The message that is written: a new one where the agent calls it otherwise.
    fn open(&mut self, name: Option<String>) -> MessageId {
        match &self.message {
            Some((id, known)) if name.is_none() || *known == name => *id,
            _ => {
                let id = MessageId::new();
                self.message = Some((id, name));
                (self.lengths, self.count) = ([0, 0], 0);
                self.text.clear();
                id
            }
        }
    }

    /// Adds a part. Texts that follow one another are one part.
    fn add(&mut self, message: MessageId, kind: PartKind, body: &Payload, text: &str) {
        self.spoke = true;
        if kind == PartKind::Text {
            self.text.push_str(text);
        }
        self.bytes += body.as_str().len();
        let is_text = matches!(kind, PartKind::Text | PartKind::Thought);
        if let Some(last) = self.parts.last_mut()
            && is_text
            && (last.message, last.kind) == (message, kind)
        {
            last.body.push_str(text);
            return;
        }
        let body = if is_text { text.to_owned() } else { body.as_str().to_owned() };
        self.parts.push(NewPart { message, no: self.count, kind, body });
        self.count += 1;
    }
}

#[async_trait]
impl Listener for Scribe<'_> {
    async fn tell(&self, update: Update) {
        let full = match update {
            Update::Text { message, text } => {
                self.note(message, PartKind::Text, Payload::text(&text), &text)
            }
            Update::Thought { text } => {
                self.note(None, PartKind::Thought, Payload::text(&text), &text)
            }
            Update::Usage(report) => {
                self.heard().reports.push(report);
                false
            }
            Update::Compacted => {
                self.heard().compacted = true;
                false
            }
            Update::Tool(mut call) => {
                call.denied |= self.reads && self.is_denied(&call);
                if call.denied {
                    let what = call.title.clone().unwrap_or_else(|| call.id.clone());
                    self.heard().denied.push(what);
                }
                match Payload::of(&call) {
                    Ok(body) => self.note(None, PartKind::Tool, body, ""),
                    Err(_) => false,
                }
            }
            Update::Plan { entries } => match Payload::of(&entries) {
                Ok(body) => self.note(None, PartKind::Plan, body, ""),
                Err(_) => false,
            },
            Update::Unknown { event } => {
                tracing::debug!(event, "an agent told something that is not known here");
                return;
            }
            _ => return,
        };
        match full {
            true => self.write().await,
            false => self.dirty.notify_one(),
        }
    }

    async fn session(&self, id: &str) -> Result<(), Failure> {
        self.heard().session = Some(id.to_owned());
        let (turn, id) = (self.begun.turn, id.to_owned());
        self.submit(Command::NoteSession { turn, id, port: None }).await
    }

    async fn prompting(&self) -> Result<(), Failure> {
        self.submit(Command::Prompting { turn: self.begun.turn, seen: self.seen }).await?;
        self.heard().prompted = true;
        Ok(())
    }

    async fn ask(&self, request: Request) -> Answer {
        self.write().await;
        match permission::ask(self.job, self.chat, self.begun, &request).await {
            Ok(Asked::Answered(answer)) => answer,
            Ok(Asked::Late(failure)) => {
                self.heard().late = Some(failure);
                Answer::Cancelled
            }
            Err(error) => {
                self.fail(error);
                Answer::Cancelled
            }
        }
    }
}

/// Whether a tool was kept from something by the system.
fn is_denial(output: &str) -> bool {
    const WORDS: [&str; 10] = [
        "permission denied",
        "permissiondenied",
        "eacces",
        "operation not permitted",
        "eperm",
        "read-only file system",
        "erofs",
        "plan mode is active",
        "plan mode blocked",
        "unavailable tool",
    ];
    let output = output.to_lowercase();
    WORDS.iter().any(|words| output.contains(words))
}

impl Scribe<'_> {
    /// Whether a call was kept from changing anything, in a turn that may only read. A tool that changes
    /// files and fails was: each agent has its own words for it, and some have none.
    fn is_denied(&self, call: &ToolCall) -> bool {
        if call.kind.is_some_and(ToolKind::changes_files) {
            self.heard().changing.insert(call.id.clone());
        }
        let has_failed = call.status == Some(ToolStatus::Failed);
        has_failed && self.heard().changing.contains(&call.id)
            || call.output.as_deref().is_some_and(is_denial)
    }

    /// Something could not be written: the turn stops.
    fn fail(&self, error: Error) {
        self.heard().failure.get_or_insert(error);
        self.job.token.cancel();
    }

    async fn submit(&self, command: Command) -> Result<(), Failure> {
        match self.job.core.submit(command).await {
            Ok(Outcome::Done) => Ok(()),
            Ok(_) => Err(Failure::fatal("a turn was answered with something else")),
            Err(error) => Err(Failure::new(error)),
        }
    }
}
