//! The fast path: commands that carry the rows they need.
//!
//! The rules are the same as everywhere; only the rows come from the caller instead of the
//! database. What they change is guarded by the revision they were planned on, and a guard
//! that misses sends the command to a [`Plan`].

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, apply, task, work::Work};
use crate::{
    clock::Timestamp,
    id::TaskId,
    model::{
        Changes, Command, Decision, Outcome, Phase, Receipt, Rejection, Settle, TaskFlags,
        TaskSpec, limits,
    },
};

/// A batch of commands, parted into those that can be decided on the rows they carry and
/// those that must be planned.
#[derive(Debug)]
pub struct Split {
    /// A quick command for a new task is not kept: its spec is among the changes.
    commands: Vec<Option<Command>>,
    /// For each command that was given: how many tasks it makes where each is a command of its
    /// own here.
    parts: Vec<Option<usize>>,
    now: Timestamp,
    quick: Vec<(usize, TaskId)>,
    receipts: Vec<Option<Receipt>>,
    changes: Changes,
}

impl Split {
    /// Parts `commands`, and decides the quick ones as of `now`.
    pub fn new(commands: Vec<Command>, now: Timestamp) -> Self {
        let (commands, parts) = apart(commands);
        let mut work = Work::default();
        work.now = now;
        let mut quick = Vec::new();
        let mut receipts = Vec::with_capacity(commands.len());
        let mut planned = Planned::default();
        let mut kept = Vec::with_capacity(commands.len());
        for (at, command) in commands.into_iter().enumerate() {
            let task = holds_its_rows(&command)
                .filter(|task| !work.knows(*task) && !planned.may_move(&command, *task));
            let Some(task) = task else {
                planned.add(&command);
                receipts.push(None);
                kept.push(Some(command));
                continue;
            };
            let (receipt, is_guarded) = match command {
                Command::Enqueue(spec) => {
                    kept.push(None);
                    let receipt = task::enqueue_alone(&mut work, *spec);
                    // A new task that was refused has no guard to miss.
                    let is_made = receipt.is_ok();
                    (receipt, is_made)
                }
                other => {
                    supply(&mut work, &other);
                    kept.push(Some(other.clone()));
                    (apply(&mut work, other), true)
                }
            };
            if is_guarded {
                quick.push((at, task));
            }
            receipts.push(Some(receipt));
        }
        Self { commands: kept, parts, now, quick, receipts, changes: work.finish() }
    }

    /// The changes of the quick commands: new tasks, guarded changes and attempts only. A
    /// backend saves each task's changes only where its guard holds: a new task whose id is
    /// not taken, a changed task whose row has the revision before.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether some commands must be planned even when all guards hold.
    pub fn must_plan(&self) -> bool {
        self.receipts.iter().any(Option::is_none)
    }

    /// A plan for the rest and for the quick commands on the tasks in `missed`, whose guards
    /// did not hold. None when nothing is left to plan.
    pub fn plan(&mut self, missed: &BTreeSet<TaskId>) -> Option<Plan> {
        let specs = self.changes.specs.iter().filter(|spec| missed.contains(&spec.id));
        let specs: BTreeMap<_, _> = specs.map(|spec| (spec.id, spec)).collect();
        for (at, task) in self.quick.iter().filter(|(_, task)| missed.contains(task)) {
            self.receipts[*at] = None;
            let spec = specs.get(task).map(|spec| Box::new((*spec).clone()));
            let command = self.commands[*at].take();
            self.commands[*at] = command.or_else(|| spec.map(Command::Enqueue));
        }
        let open = self.commands.iter_mut().zip(&self.receipts);
        let rest: Vec<_> = open
            .filter(|(_, receipt)| receipt.is_none())
            .map(|(command, _)| command.take().expect("each command is planned once"))
            .collect();
        (!rest.is_empty()).then(|| Plan::new(rest, self.now))
    }

    /// All answers, in the order of the commands. `planned` are those of the plan.
    pub fn finish(self, planned: Vec<Receipt>) -> Vec<Receipt> {
        let mut planned = planned.into_iter();
        let missing = "one answer for each planned command";
        let mut receipts = self
            .receipts
            .into_iter()
            .map(|receipt| receipt.unwrap_or_else(|| planned.next().expect(missing)));
        let answer = |parts: Option<usize>| match parts {
            None => receipts.next().expect(missing),
            Some(parts) => {
                let tasks = receipts.by_ref().take(parts).map(made);
                tasks.collect::<Result<_, _>>().map(Outcome::Tasks)
            }
        };
        self.parts.into_iter().map(answer).collect()
    }
}

/// Takes the commands apart that make several tasks, where none of these can be refused: then
/// each may be carried out by itself.
fn apart(commands: Vec<Command>) -> (Vec<Command>, Vec<Option<usize>>) {
    let mut all = Vec::with_capacity(commands.len());
    let mut parts = Vec::with_capacity(commands.len());
    for command in commands {
        match command {
            Command::EnqueueAll(specs) if are_simple(&specs) => {
                parts.push(Some(specs.len()));
                all.extend(specs.into_iter().map(|spec| Command::Enqueue(Box::new(spec))));
            }
            other => {
                parts.push(None);
                all.push(other);
            }
        }
    }
    (all, parts)
}

fn are_simple(specs: &[TaskSpec]) -> bool {
    let is_sound = |spec: &TaskSpec| refers_to_nothing(spec) && task::check(spec).is_ok();
    specs.len() <= limits::TASKS_AT_ONCE && specs.iter().all(is_sound)
}

/// What the answer to a new task says of it.
fn made(receipt: Receipt) -> Result<(TaskId, bool), Rejection> {
    match receipt? {
        Outcome::Task { id, created } => Ok((id, created)),
        other => Err(Rejection::Invalid(format!("a new task was answered with {other:?}"))),
    }
}

/// Whether a new task refers to nothing that would have to be loaded.
fn refers_to_nothing(spec: &TaskSpec) -> bool {
    let bound = spec.parent.is_some() || spec.session.is_some() || spec.chat.is_some();
    !bound && spec.unique_key.is_none() && spec.kind != "agent"
}

/// The task of a command that can be decided without loading anything.
fn holds_its_rows(command: &Command) -> Option<TaskId> {
    match command {
        Command::Enqueue(spec) => refers_to_nothing(spec).then_some(spec.id),
        Command::Ripen(task) => (!task.flags.has(TaskFlags::PROMPT)).then_some(task.id),
        Command::Settle(settle) => stands_alone(settle).then_some(settle.held.id),
        _ => None,
    }
}

/// What the planned commands so far may move: what comes after them in the batch must not be
/// decided before them.
#[derive(Default)]
struct Planned {
    anything: bool,
    tasks: BTreeSet<TaskId>,
}

impl Planned {
    fn add(&mut self, command: &Command) {
        match command {
            Command::Settle(settle) => {
                self.tasks.insert(settle.held.id);
                // A step that does not complete may stop its run, with all that runs for it.
                let completes = matches!(settle.decision, Decision::Complete(_));
                // What it adds may be refused, and then it fails.
                let completes = completes && settle.grow.is_none();
                self.anything |= settle.held.step.is_some() && !completes;
            }
            Command::Ripen(task) => drop(self.tasks.insert(task.id)),
            Command::BeginTurn(wish) => drop(self.tasks.insert(wish.task)),
            Command::Retry(id) | Command::Pause(id) | Command::Resume(id) => {
                self.tasks.insert(*id);
            }
            Command::Cancel(_)
            | Command::Interject(_)
            | Command::DeleteChat(_)
            | Command::CancelRun(_)
            | Command::CancelStep { .. }
            | Command::Rescue { .. } => {
                self.anything = true;
            }
            _ => {}
        }
    }

    fn may_move(&self, command: &Command, task: TaskId) -> bool {
        let new = matches!(command, Command::Enqueue(_));
        !new && (self.anything || self.tasks.contains(&task))
    }
}

/// Whether settling touches nothing but the task itself.
fn stands_alone(settle: &Settle) -> bool {
    let held = &settle.held;
    use TaskFlags as Is;
    let plain = [Is::UNIQUE, Is::ASKED, Is::CANCEL, Is::TURN, Is::PROMPT];
    let simple = match &settle.decision {
        Decision::Complete(_) | Decision::Snooze(_) | Decision::Release => true,
        Decision::Fail(fault) => fault.retryable && settle.retry.allows(held.failures + 1),
        Decision::Block(_) | Decision::Park { .. } | Decision::Cancelled | Decision::Await(_) => {
            false
        }
    };
    simple
        && held.phase == Phase::Running
        && held.step.is_none()
        && settle.said.is_none()
        && settle.grow.is_none()
        && settle.memo.is_none()
        && settle.turn.is_none()
        && !plain.iter().any(|flag| held.flags.has(*flag))
}

/// Gives the work the rows that a quick command carries.
fn supply(work: &mut Work, command: &Command) {
    let task = match command {
        Command::Settle(settle) => &settle.held,
        Command::Ripen(task) => task.as_ref(),
        _ => return,
    };
    work.rows.tasks.insert(task.id, task.clone());
}
