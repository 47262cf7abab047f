//! The rules: what commands do to rows.
//!
//! A backend that may see all rows drives a [`Plan`]: it loads what the plan needs until it
//! needs no more, then saves the changes. For commands that carry the rows they hold,
//! [`Split`] makes guarded changes without loading anything.

mod again;
mod budget;
mod chat;
mod flow;
mod grow;
mod hosts;
mod inbox;
mod ledger;
mod line;
mod past;
mod reach;
mod settle;
mod split;
mod steps;
mod task;
mod turn;
mod turn_wants;
mod wants;
mod work;
mod write;

pub use split::Split;

use std::collections::{BTreeMap, BTreeSet};

use super::{Changes, Command, Needs, Receipt, Rejection, Rows, StepState, limits};
use crate::{
    clock::Timestamp,
    id::{RunId, TaskId},
};
use reach::Known;
use work::Work;

/// A decision in the making.
#[derive(Debug)]
pub struct Plan {
    commands: Vec<Command>,
    asked: Needs,
    work: Work,
}

impl Plan {
    /// A plan for `commands`, which are carried out in order, as of `now` or of the last load.
    pub fn new(commands: Vec<Command>, now: Timestamp) -> Self {
        let mut work = Work::default();
        work.now = now;
        Self { commands, asked: Needs::default(), work }
    }

    /// What must be loaded next; None when all that is needed is known.
    pub fn needs(&mut self) -> Option<Needs> {
        let known = Known::new(&self.work.rows, &self.asked);
        let mut needs = Needs::default();
        for command in &self.commands {
            needs.extend(wants::wants(command, &known));
        }
        needs.extend(line::next_heads(&self.work.rows, &self.asked, &needs));
        needs.remove(&self.asked);
        self.asked.extend(needs.clone());
        (!needs.is_empty()).then_some(needs)
    }

    /// Gives the plan the rows it asked for. Keys without a row are simply not there. `now`
    /// is read after the rows were locked.
    pub fn supply(&mut self, rows: Rows, now: Timestamp) {
        self.work.now = now;
        self.work.supply(rows);
    }

    /// The changes to save, and one answer for each command.
    pub fn finish(mut self) -> (Changes, Vec<Receipt>) {
        let commands = std::mem::take(&mut self.commands);
        let receipts = commands.into_iter().map(|command| apply(&mut self.work, command)).collect();
        (self.work.finish(), receipts)
    }
}

/// Carries out one command. A refused one leaves the work as it was.
fn apply(work: &mut Work, command: Command) -> Receipt {
    match command {
        Command::Enqueue(spec) => task::enqueue(work, *spec),
        Command::EnqueueAll(specs) => task::enqueue_all(work, specs),
        Command::Interject(spec) => line::interject(work, *spec),
        Command::Adopt(id) => task::adopt(work, id),
        Command::Import(import) => task::import(work, *import),
        Command::Settle(settle) => settle::settle(work, *settle),
        Command::Ripen(task) => task::ripen(work, task.id),
        Command::Rescue { task, lease } => settle::rescue(work, task, lease),
        Command::Cancel(id) => task::cancel(work, id),
        Command::Retry(id) => task::retry(work, id),
        Command::Pause(id) => task::pause(work, id),
        Command::Resume(id) => task::resume(work, id),
        Command::Answer { item, answer } => inbox::answer(work, item, answer),
        Command::Ask { task, lease, chat, ask } => inbox::ask(work, task, lease, chat, *ask),
        Command::UseAnswer { item, lease } => inbox::use_answer(work, item, lease),
        Command::SetCapacity { key, slots } => task::set_capacity(work, key, slots),
        Command::Park { key, until } => task::park(work, key, until),
        Command::Launch(run) => flow::launch(work, *run),
        Command::CancelRun(id) => flow::cancel(work, id),
        Command::CancelStep { run, no } => flow::cancel_step(work, run, no),
        Command::RetryRun { run, attempt, how } => again::retry(work, run, attempt, how),
        Command::Fork { from, no, run, input } => again::fork(work, (from, no), run, input),
        Command::PauseRun(id) => flow::pause(work, id),
        Command::ResumeRun(id) => flow::resume(work, id),
        Command::OpenSession(session) => chat::open_session(work, session),
        Command::DeleteSession(id) => chat::delete_session(work, id),
        Command::OpenChat(chat) => chat::open(work, chat),
        Command::DeleteChat(id) => chat::delete(work, id),
        Command::Append { chat, messages } => chat::append(work, chat, messages),
        Command::ImportChat(import) => past::import(work, *import),
        Command::ForkChat(fork) => past::fork(work, *fork),
        Command::BeginTurn(wish) => turn::begin(work, *wish),
        Command::NoteSession { turn, id, port } => turn::note_session(work, turn, id, port),
        Command::Prompting { turn, seen } => turn::prompting(work, turn, seen),
        Command::Write(parts) => write::write(work, *parts),
        Command::Book(book) => ledger::book(work, *book),
        Command::Intend(program) => hosts::intend(work, *program),
        Command::Started { id, pid, pid_start } => hosts::started(work, id, pid, pid_start),
        Command::Ended(id) => hosts::ended(work, id),
        Command::PutAgent(agent) => hosts::put_agent(work, *agent),
        Command::Quarantine { host, name, reason } => hosts::quarantine(work, (host, name), reason),
        Command::Register(instance) => work.register(*instance),
        Command::Retire(id) => work.retire(id),
    }
}

/// Refuses a value that is larger than a limit.
fn fits(what: &str, bytes: usize, max: usize) -> Result<(), Rejection> {
    match bytes <= max {
        true => Ok(()),
        false => Err(Rejection::TooLarge { what: what.into(), bytes, max }),
    }
}

/// Refuses texts with a NUL, which PostgreSQL can't store.
fn are_texts(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Rejection> {
    match texts.into_iter().find(|text| text.as_ref().contains('\0')) {
        Some(text) => Err(Rejection::Invalid(format!("{:?} has a NUL in it", text.as_ref()))),
        None => Ok(()),
    }
}

/// A text that was not chosen, only met with (what a program printed): a NUL is replaced.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Refuses names that are empty or too long.
fn are_names(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Rejection> {
    for name in names {
        let name = name.as_ref();
        are_texts([name])?;
        fits("a name", name.len(), limits::NAME_BYTES)?;
        if name.is_empty() {
            let message = "a name (of a project, kind, flow, agent, tag, label or key) is empty";
            return Err(Rejection::Invalid(message.into()));
        }
    }
    Ok(())
}

/// Tasks with all that was made for them, as far as it is known.
#[derive(Default)]
struct Family {
    /// The tasks, their descendants, and the tasks of the runs.
    tasks: BTreeSet<TaskId>,
    /// The runs that have not ended and that one of the tasks waits for.
    runs: BTreeSet<RunId>,
}

impl Family {
    fn of(rows: &Rows, roots: impl IntoIterator<Item = TaskId>) -> Self {
        let mut made: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
        for spec in rows.specs.values() {
            if let Some(parent) = spec.parent {
                made.entry(parent).or_default().push(spec.id);
            }
        }
        let mut runs: BTreeMap<TaskId, Vec<RunId>> = BTreeMap::new();
        for run in rows.runs.values().filter(|run| !run.state.is_terminal()) {
            if let Some(parent) = run.parent {
                runs.entry(parent).or_default().push(run.id);
            }
        }
        let mut family = Self::default();
        let mut open: Vec<TaskId> = roots.into_iter().collect();
        while let Some(task) = open.pop() {
            if family.tasks.insert(task) {
                open.extend(made.remove(&task).unwrap_or_default());
                for run in runs.remove(&task).unwrap_or_default() {
                    family.runs.insert(run);
                    open.extend(tasks_of(rows, run));
                }
            }
        }
        family
    }
}

/// The tasks of the steps of a run that have not ended.
fn tasks_of(rows: &Rows, run: RunId) -> impl Iterator<Item = TaskId> {
    let steps = rows.steps.range((run, 0)..=(run, u32::MAX)).map(|(_, step)| step);
    steps.filter(|step| step.state == StepState::Running).filter_map(|step| step.task)
}
