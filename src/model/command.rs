//! Commands: everything that can be asked of the state, and how it is answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, AvailableAgent, BeginTurn, Begun, Book, Changes, Chat, Claim, Claimed, DagError,
    ForkChat, Growth, ImportChat, Instance, NewMessage, NewRun, Payload, Phase, Process, Recall,
    Retry, RetryRun, RunState, Session, Task, TaskFlags, TaskSpec, TaskState, TurnEnd, Write,
};
use crate::{
    clock::Timestamp,
    id::{ChatId, InstanceId, ItemId, ProcessId, RunId, SessionId, TaskId, TurnId},
};

/// A wish. Each can be sent again: the second time it changes nothing and is answered the
/// same.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Make a task.
    Enqueue(Box<TaskSpec>),
    /// Make tasks, all of them or, where one is refused, none.
    EnqueueAll(Vec<TaskSpec>),
    /// Make a prompt that goes before all others in its line. The one before it is told to stop
    /// where it has begun. What is no prompt, or is for later, is made as any task.
    Interject(Box<TaskSpec>),
    /// Adopt the row that another program inserted.
    Adopt(TaskId),
    /// Hand in what became of an attempt.
    Settle(Box<Settle>),
    /// A scheduled task's time has come.
    Ripen(Box<Task>),
    /// Take a task back from a holder that is gone.
    Rescue {
        /// The task.
        task: TaskId,
        /// The lease that lapsed.
        lease: i64,
    },
    /// Cancel a task and its children.
    Cancel(TaskId),
    /// Run a failed task again.
    Retry(TaskId),
    /// Hold a pending task back.
    Pause(TaskId),
    /// Let it go on.
    Resume(TaskId),
    /// Answer an item of the inbox.
    Answer {
        /// The item.
        item: ItemId,
        /// The answer.
        answer: Answer,
    },
    /// Set how many tasks may hold a capacity key at once.
    SetCapacity {
        /// The key.
        key: String,
        /// How many; None: any number.
        slots: Option<u32>,
    },
    /// Let no task that carries the key start before a time.
    Park {
        /// The key.
        key: String,
        /// The time. One in the past ends the parking.
        until: Timestamp,
    },
    /// Launch a run.
    Launch(Box<NewRun>),
    /// Cancel a run.
    CancelRun(RunId),
    /// Let nothing of a run start.
    PauseRun(RunId),
    /// Let it go on.
    ResumeRun(RunId),
    /// Make a session, or change its title and meta.
    OpenSession(Session),
    /// Delete a session. Its chats and tasks stay.
    DeleteSession(SessionId),
    /// Make a chat, or change its title and meta.
    OpenChat(Chat),
    /// Delete a chat with its messages, and cancel its prompts. Its tasks stay.
    DeleteChat(ChatId),
    /// Append messages to a chat.
    Append {
        /// The chat.
        chat: ChatId,
        /// The messages, in order.
        messages: Vec<NewMessage>,
    },
    /// Take in what was said in a chat before, and the sessions that agents have of it.
    ImportChat(Box<ImportChat>),
    /// Make a chat that begins like another one. Sent again with other messages it goes on.
    ForkChat(Box<ForkChat>),
    /// Cancel one step of a run. What depends on it is skipped, or goes on without it.
    CancelStep {
        /// The run.
        run: RunId,
        /// The step's number.
        no: u32,
    },
    /// Do a run again that has ended, or some of it.
    RetryRun {
        /// The run.
        run: RunId,
        /// The attempt of it that ended.
        attempt: u32,
        /// What of it.
        how: RetryRun,
    },
    /// Make a new run of an old one, which keeps what completed before a step.
    Fork {
        /// The old run.
        from: RunId,
        /// The step that is done again, with all that depends on it.
        no: u32,
        /// The new run.
        run: RunId,
        /// The step's input instead of what its dependencies return.
        input: Option<Payload>,
    },
    /// Ask a person on behalf of a task that is held, which goes on being at work.
    Ask {
        /// The task.
        task: TaskId,
        /// The lease under which it is held.
        lease: i64,
        /// The chat whose watchers are told.
        chat: Option<ChatId>,
        /// What is asked.
        ask: Box<Ask>,
    },
    /// Go on with an answer that a task was given: once.
    UseAnswer {
        /// The item.
        item: ItemId,
        /// The lease under which its task is held.
        lease: i64,
    },
    /// Begin an agent's turn in a chat, for a task that is held.
    BeginTurn(Box<BeginTurn>),
    /// Note what the agent of a turn calls its session.
    NoteSession {
        /// The turn.
        turn: TurnId,
        /// The agent's own id of the session.
        id: String,
        /// The port at which a server of the session listens.
        port: Option<u16>,
    },
    /// The prompt of a turn is handed to its agent now: from here on an interruption has an
    /// unknown effect.
    Prompting {
        /// The turn.
        turn: TurnId,
        /// The last message of the chat that the agent has read with the prompt.
        seen: i64,
    },
    /// Write down what the agent of a turn says.
    Write(Box<Write>),
    /// Book what an agent has used.
    Book(Box<Book>),
    /// Note that a program is about to be started, before it is.
    Intend(Box<Process>),
    /// Note that it runs.
    Started {
        /// The program.
        id: ProcessId,
        /// Its process.
        pid: u32,
        /// When that started, in the machine's own ticks.
        pid_start: u64,
    },
    /// Nothing of a program is left.
    Ended(ProcessId),
    /// Note what was found of an agent on a host.
    PutAgent(Box<AvailableAgent>),
    /// Forbid an agent on a host, or allow it again. Another version of it is allowed by itself.
    Quarantine {
        /// The host.
        host: String,
        /// Its name there.
        name: String,
        /// Why; None: it is allowed.
        reason: Option<String>,
    },
    /// Announce an engine.
    Register(Box<Instance>),
    /// An engine is gone, or was found dead.
    Retire(InstanceId),
    /// Take in a row of the host's own past.
    Import(Box<Import>),
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Settle {
    /// The row as the claim gave it.
    pub held: Task,
    /// The task's retry policy.
    pub retry: Retry,
    /// What became of it.
    pub decision: Decision,
    /// What it used: `{"tokens": n, ...}`. None: what was booked for the agent's turn in it.
    pub usage: Option<Payload>,
    /// The chat it spoke in, and what was said.
    pub said: Option<(ChatId, Vec<NewMessage>)>,
    /// What it adds to its run, where it completed.
    pub grow: Option<Growth>,
    /// The work it did, to be remembered where it completed.
    pub memo: Option<Recall>,
    /// How the agent's turn in it ended, where there was one. A turn of which nothing is said
    /// here has broken off.
    pub turn: Option<TurnEnd>,
}

impl Settle {
    /// A decision that leaves nothing else behind.
    pub fn new(held: Task, retry: Retry, decision: Decision) -> Self {
        Self { held, retry, decision, usage: None, said: None, grow: None, memo: None, turn: None }
    }
}

/// What a worker decides about the task that it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It ended well.
    Complete(Payload),
    /// It failed.
    Fail(Fault),
    /// Run it again later; not a failure.
    Snooze(Duration),
    /// Ask a person, then run it again.
    Block(Vec<Ask>),
    /// It was not started: it goes back as if it had never been claimed.
    Release,
    /// Its provider's limit is reached: no task with this key starts for so long, and it
    /// goes back without a failure.
    Park {
        /// The capacity key.
        key: String,
        /// For how long.
        wait: Duration,
    },
    /// It stopped because it was told to.
    Cancelled,
    /// It launched a run and waits for its end; then it runs again.
    Await(RunId),
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of failure.
    pub kind: FaultKind,
    /// In words.
    pub message: String,
    /// Whether another attempt can help.
    pub retryable: bool,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The handler returned an error.
    Error,
    /// The handler panicked.
    Panic,
    /// The attempt took too long.
    Timeout,
    /// The input or output was not of the handler's type.
    Payload,
}

/// A row of the host's own past, with its ids and times.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// What was asked for; `created_at` is kept.
    pub spec: TaskSpec,
    /// Where it stands: anything but running.
    pub state: TaskState,
    /// When its last attempt started, where there was one.
    pub started_at: Option<Timestamp>,
    /// When it ended; required for a state that is terminal.
    pub ended_at: Option<Timestamp>,
    /// What it returned.
    pub output: Option<Payload>,
    /// What went wrong.
    pub error: Option<String>,
    /// What it used.
    pub usage: Option<Payload>,
}

/// How a command was answered.
pub type Receipt = Result<Outcome, Rejection>;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A task exists. `created` is false where it did before.
    Task {
        /// The task; with a unique key, the one that has it.
        id: TaskId,
        /// Whether this command made it.
        created: bool,
    },
    /// The tasks exist, in the order of the command: each with whether it was made now.
    Tasks(Vec<(TaskId, bool)>),
    /// The task is now in this state.
    State(TaskState),
    /// A run exists. `created` is false where it did before.
    Run {
        /// The run.
        id: RunId,
        /// Whether this command made it.
        created: bool,
    },
    /// The run is now in this state; one that is being cancelled is still running.
    RunState(RunState),
    /// The turn is begun.
    Turn(Box<Begun>),
    /// It is done.
    Done,
}

/// Why a command was refused. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rejection {
    /// There is no such row.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of row.
        what: String,
        /// Its id.
        id: String,
    },
    /// Another claim took the task since, or it was settled otherwise.
    #[error("the task was claimed or settled by another since; this attempt counts no more")]
    StaleLease,
    /// The move is not legal.
    #[error("a task that is {from:?} can't become {to:?}")]
    Illegal {
        /// The state it is in.
        from: TaskState,
        /// The state that was asked for.
        to: TaskState,
    },
    /// The run has ended.
    #[error("the run has ended: it is {0:?}")]
    RunEnded(RunState),
    /// The task is a step's: what is asked concerns its run.
    #[error("the task is step `{step}` of run {run}; ask it of the run")]
    PartOfRun {
        /// The run.
        run: RunId,
        /// The step.
        step: String,
    },
    /// Someone else answered first.
    #[error("the item was answered by {by} before")]
    Answered {
        /// Who.
        by: String,
    },
    /// The item needs no answer any more.
    #[error("the item was withdrawn: its task has ended or moved on")]
    Withdrawn,
    /// The answer was gone on with before.
    #[error("the answer was used before; what asks again must be answered again")]
    Used,
    /// The answer is none of the options.
    #[error("the answer must be one of: {}", .0.join(", "))]
    NotAnOption(Vec<String>),
    /// A value is too large.
    #[error("{what} has {bytes} bytes; {max} are allowed")]
    TooLarge {
        /// Which value.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A value is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The agent is at work in the chat already.
    #[error("the agent takes another turn in this chat: {turn}")]
    Busy {
        /// The turn that it takes.
        turn: TurnId,
    },
    /// The steps are not a flow.
    #[error(transparent)]
    Dag(#[from] DagError),
}

impl Rejection {
    pub(crate) fn not_found(what: &str, id: impl ToString) -> Self {
        Self::NotFound { what: what.into(), id: id.to_string() }
    }
}

/// What a backend commits in one transaction: commands, then an optional claim that sees
/// what they did.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The commands, answered one by one.
    pub commands: Vec<Command>,
    /// The claim.
    pub claim: Option<Claim>,
}

/// What a commit did. By the time it is returned, it is durable.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One answer for each command, in order.
    pub receipts: Vec<Receipt>,
    /// The tasks that the claim took.
    pub claimed: Vec<Claimed>,
    /// Whether it made some task ready, freed capacity, or asked a running task to stop:
    /// a reason for workers to look.
    pub woke: bool,
    /// Whether it asked a running task to stop.
    pub stops: bool,
    /// The earliest time that it scheduled a task or parked a key for.
    pub next: Option<Timestamp>,
    /// Whether some attempt or task ended: someone may wait for it.
    pub ended: bool,
    /// Streams that have new entries.
    pub streams: Vec<super::Stream>,
    /// Runs that ended.
    pub ended_runs: Vec<RunId>,
}

impl Committed {
    /// Adds what callers must know of saved changes.
    pub fn note(&mut self, changes: &Changes) {
        self.woke |= changes.woke;
        let stops = |task: &Task| task.phase == Phase::Running && task.flags.has(TaskFlags::CANCEL);
        self.stops |= changes.tasks.iter().any(stops);
        self.next = self.next.into_iter().chain(changes.next).min();
        self.ended |= !changes.attempts.is_empty()
            || changes.tasks.iter().any(|task| task.state().is_terminal());
        self.streams.extend(changes.entries.iter().map(|entry| entry.stream));
        let ended = changes.runs.iter().filter(|run| run.state.is_terminal());
        self.ended_runs.extend(ended.map(|run| run.id));
    }

    /// What two commits did, one after the other.
    pub(crate) fn extend(&mut self, other: Self) {
        self.receipts.extend(other.receipts);
        self.claimed.extend(other.claimed);
        self.woke |= other.woke;
        self.stops |= other.stops;
        self.next = self.next.into_iter().chain(other.next).min();
        self.ended |= other.ended;
        self.streams.extend(other.streams);
        self.ended_runs.extend(other.ended_runs);
    }

    /// Whether other processes should be told of it.
    pub fn is_news(&self) -> bool {
        self.woke || self.ended || !self.streams.is_empty()
    }
}

impl SessionId {
    /// The rejection for a session that does not exist.
    pub(crate) fn missing(self) -> Rejection {
        Rejection::not_found("session", self)
    }
}
