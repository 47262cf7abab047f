//! What must always hold between rows, checked over a dump of all of them.
//!
//! Two backends that agree can both be wrong. The audit knows nothing of how rows came to
//! be; it only knows which sets of rows make sense.

mod agents;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    AttemptOutcome, Event, ItemKind, ItemState, OnFailure, Phase, Rows, Run, RunFlags, RunState,
    Step, StepKind, StepState, Stream, Task, TaskFlags, TaskSpec, TaskState, Terms, Usage,
};
use crate::{
    clock::Timestamp,
    id::{RunId, TaskId},
};

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What has become of the edges that lead to a step.
#[derive(Clone, Copy, Default)]
struct Arrived {
    edges: u32,
    open: u32,
    met: u32,
    /// Whether one of them comes from a step that was begun again since.
    outdated: bool,
}

/// Everything that is wrong with `rows`, a load of [`Needs::everything`](super::Needs).
pub fn audit(rows: &Rows) -> Vec<Violation> {
    let mut audit = Audit { rows, found: Vec::new() };
    audit.specs();
    rows.tasks.values().for_each(|task| audit.task(task));
    audit.attempts();
    audit.memos();
    audit.slots();
    audit.items();
    rows.steps.values().for_each(|step| audit.step(step));
    audit.edges();
    audit.names();
    rows.runs.values().for_each(|run| audit.run(run));
    rows.runs.values().for_each(|run| audit.beginnings(run));
    audit.chats();
    audit.streams();
    audit.ends();
    audit.agents();
    audit.found
}

struct Audit<'a> {
    rows: &'a Rows,
    found: Vec<Violation>,
}

impl Audit<'_> {
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.found.push(Violation(otherwise()));
        }
    }

    fn specs(&mut self) {
        let rows = self.rows;
        for id in rows.specs.keys() {
            let known = rows.tasks.contains_key(id);
            let foreign = rows.foreign.contains(id);
            self.expect(known != foreign, || {
                format!("task {id}: hot row {known}, foreign {foreign}")
            });
        }
        for ((project, key), task) in &rows.unique {
            let known = rows.tasks.contains_key(task);
            self.expect(known, || format!("unique key {project}/{key} of missing task {task}"));
        }
        for spec in rows.specs.values() {
            let parent = spec.parent.is_none_or(|id| rows.specs.contains_key(&id));
            let chat = spec.chat.is_none_or(|id| rows.chats.contains_key(&id));
            let session = spec.session.is_none_or(|id| rows.sessions.contains_key(&id));
            self.expect(parent && chat && session, || {
                format!("task {} has no parent {parent}, chat {chat}, session {session}", spec.id)
            });
        }
    }

    /// A task that can still run has its unique key; one that gives it back has it no more
    /// when it ends.
    fn unique(&mut self, task: &Task, spec: &TaskSpec) {
        let Some(key) = &spec.unique_key else { return };
        let holder = self.rows.unique.get(&(spec.project.clone(), key.clone()));
        let holds = holder == Some(&task.id);
        let ended = task.state().is_terminal();
        self.expect(holds || ended, || {
            format!("task {} has lost its unique key to {holder:?}", task.id)
        });
        let frees = ended && task.flags.has(TaskFlags::UNIQUE);
        self.expect(!holds || !frees, || {
            format!("task {} has ended and keeps its unique key", task.id)
        });
    }

    /// A pending task is held back if and only if someone paused it or its run.
    fn pauses(&mut self, task: &Task) {
        let run = task.step.and_then(|(run, _)| self.rows.runs.get(&run));
        let run = run.is_some_and(|run| run.flags.has(RunFlags::PAUSED));
        let paused = run || task.flags.has(TaskFlags::PAUSED);
        let awaits = task.flags.has(TaskFlags::AWAITS);
        let pending = task.state() == TaskState::Pending && !awaits;
        self.expect(!pending || paused == (task.phase == Phase::Paused), || {
            format!("task {} is {:?} and paused: {paused}", task.id, task.phase)
        });
        let asked = task.flags.has(TaskFlags::CANCEL);
        self.expect(!asked || task.phase == Phase::Running, || {
            format!("task {} is {:?} and told to stop", task.id, task.phase)
        });
    }

    fn task(&mut self, task: &Task) {
        let (rows, id) = (self.rows, task.id);
        self.expect(rows.specs.contains_key(&id), || format!("task {id} has no cold row"));
        self.expect(rows.lanes.contains_key(&task.lane), || format!("task {id} has no lane"));
        let running = task.phase == Phase::Running;
        self.expect(running == task.holder.is_some(), || {
            format!("task {id} is {:?} and held by {:?}", task.phase, task.holder)
        });
        let ended = task.state().is_terminal();
        self.expect(ended == (task.ended_at != Timestamp::ZERO), || {
            format!("task {id} is {:?} and ended at {}", task.phase, task.ended_at)
        });
        let awaits = || {
            let under = |run: &Run| run.parent == Some(id) && !run.state.is_terminal();
            task.flags.has(TaskFlags::AWAITS) && rows.runs.values().any(under)
        };
        let in_line = rows.prompts.contains_key(&id);
        self.expect(task.phase != Phase::Waiting || in_line || awaits(), || {
            format!("task {id} waits for no run that it launched")
        });
        self.expect(i64::from(task.attempt) <= task.lease, || {
            format!("task {id} is at attempt {} of lease {}", task.attempt, task.lease)
        });
        self.outcome(task);
        self.blocked(task);
        self.pauses(task);
        if let Some(spec) = rows.specs.get(&id) {
            self.unique(task, spec);
        }
        if let Some((run, no)) = task.step {
            let own = rows.steps.get(&(run, no)).is_some_and(|step| step.task == Some(id));
            // The task of an earlier attempt of the run is left as it ended.
            let attempts = rows.runs.get(&run).map_or(0, |run| run.attempt);
            let mut earlier = (1..attempts).map(|attempt| TaskId::of_step(run, no, attempt));
            let earlier = ended && earlier.any(|task| task == id);
            self.expect(own || earlier, || {
                format!("task {id} says it is step {no} of run {run}, which does not")
            });
        }
    }

    /// The attempts of a task fit its state.
    fn outcome(&mut self, task: &Task) {
        let id = task.id;
        let attempts: Vec<_> = self.rows.attempts.range((id, 0)..=(id, i64::MAX)).collect();
        let last = self.rows.attempts.get(&(id, task.lease));
        let completed =
            attempts.iter().filter(|(_, row)| row.outcome == AttemptOutcome::Completed).count();
        self.expect(completed <= 1, || format!("task {id} completed {completed} times"));
        self.expect(attempts.iter().all(|((_, lease), _)| *lease <= task.lease), || {
            format!("task {id} has an attempt under a lease that was never given")
        });
        match task.phase {
            Phase::Running => self.expect(last.is_none(), || {
                format!("task {id} runs under a lease whose attempt has ended")
            }),
            Phase::Completed => {
                let fits = last.is_some_and(|row| row.outcome == AttemptOutcome::Completed);
                self.expect(fits, || format!("task {id} completed without an attempt that did"));
            }
            Phase::Cancelled => {}
            _ => self.expect(completed == 0, || {
                format!("task {id} is {:?} after an attempt that completed", task.phase)
            }),
        }
    }

    fn blocked(&mut self, task: &Task) {
        let open = self.rows.items.values().any(|item| {
            item.task == task.id && item.state == ItemState::Open && item.kind != ItemKind::Failure
        });
        // One that is at work may ask as well.
        let fits = match task.phase {
            Phase::Running => true,
            phase => open == (phase == Phase::Blocked),
        };
        self.expect(fits, || {
            format!("task {} is {:?} and something asked is open: {open}", task.id, task.phase)
        });
    }

    fn attempts(&mut self) {
        for (task, lease) in self.rows.attempts.keys() {
            let known = self.rows.tasks.contains_key(task);
            self.expect(known, || format!("attempt {lease} of missing task {task}"));
        }
    }

    fn slots(&mut self) {
        let mut seen: BTreeSet<(&str, TaskId)> = BTreeSet::new();
        for slot in self.rows.slots.values() {
            let Some((id, lease)) = slot.held else {
                continue;
            };
            let task = self.rows.tasks.get(&id);
            let live = task.is_some_and(|task| task.phase == Phase::Running && task.lease == lease);
            self.expect(live, || {
                format!("slot {} of {} is held by task {id} under lease {lease}", slot.n, slot.key)
            });
            let first = seen.insert((&slot.key, id));
            self.expect(first, || format!("task {id} holds two slots of {}", slot.key));
        }
        for key in self.rows.capacity.values() {
            let slot = |n| self.rows.slots.contains_key(&(key.name.clone(), n));
            let all = (0..key.slots.unwrap_or(0)).all(slot);
            self.expect(all, || format!("a slot of {} is missing", key.name));
        }
        for slot in self.rows.slots.values().filter(|slot| slot.held.is_none()) {
            let key = self.rows.capacity.get(&slot.key);
            let within = key.and_then(|key| key.slots).is_some_and(|max| slot.n < max);
            self.expect(within, || format!("slot {} of {} is one too many", slot.n, slot.key));
        }
    }

    fn chats(&mut self) {
        for chat in self.rows.chats.values() {
            let known = chat.session.is_none_or(|id| self.rows.sessions.contains_key(&id));
            self.expect(known, || format!("chat {} is of a missing session", chat.id));
        }
        let mut ids = BTreeSet::new();
        for message in self.rows.messages.values() {
            let chat = self.rows.chats.get(&message.chat);
            let below = chat.is_some_and(|chat| message.seq < chat.next_seq);
            self.expect(below && ids.insert(message.id), || {
                format!("message {} of chat {} is out of place", message.id, message.chat)
            });
        }
    }

    fn items(&mut self) {
        for item in self.rows.items.values() {
            let known = self.rows.tasks.contains_key(&item.task);
            self.expect(known, || format!("item {} of missing task {}", item.id, item.task));
        }
        for item in self.rows.items.values().filter(|item| item.state == ItemState::Open) {
            let state = self.rows.tasks.get(&item.task).map(Task::state);
            let wanted = match item.kind {
                ItemKind::Failure => TaskState::Failed,
                _ => TaskState::Blocked,
            };
            let at_work = item.kind != ItemKind::Failure && state == Some(TaskState::Running);
            self.expect(at_work || state == Some(wanted), || {
                format!(
                    "open {:?} item {} of task {} that is {state:?}",
                    item.kind, item.id, item.task
                )
            });
        }
    }

    fn step(&mut self, step: &Step) {
        let name = format!("step {} `{}` of run {}", step.no, step.name, step.run);
        let task = step.task.and_then(|id| self.rows.tasks.get(&id)).map(Task::state);
        let fits = match step.state {
            StepState::Pending => step.task.is_none(),
            StepState::Running => task.is_some_and(|state| !state.is_terminal()),
            StepState::Completed if step.kind == StepKind::Join => step.task.is_none(),
            StepState::Completed => task == Some(TaskState::Completed),
            // One for which the budget has nothing left fails without a task.
            StepState::Failed if step.task.is_none() => self.has_budget(step),
            StepState::Failed => task == Some(TaskState::Failed),
            StepState::Skipped => step.task.is_none() && step.reason.is_some(),
            StepState::Cancelled => task.is_none_or(|state| state == TaskState::Cancelled),
        };
        self.expect(fits, || format!("{name} is {:?}, its task {task:?}", step.state));
        let hungry = step.state == StepState::Pending && step.waiting_on == 0;
        let stranded = hungry && !self.has_budget(step);
        self.expect(!stranded, || format!("{name} waits for nothing and was not released"));
        let Some(run) = self.rows.runs.get(&step.run) else {
            self.expect(false, || format!("{name} belongs to no run"));
            return;
        };
        let within = step.no < run.next_no && step.attempt <= run.attempt;
        self.expect(within, || format!("{name} is not of this run's making"));
        let grower = step.policy.grown_by.map(|by| self.rows.steps.get(&(step.run, by)));
        let grown = grower.is_none_or(|by| by.is_some_and(|by| by.state == StepState::Completed));
        self.expect(grown, || format!("{name} was added by a step that did not complete"));
        let lane = self.rows.lanes.contains_key(&step.lane);
        self.expect(lane, || format!("{name} has no lane"));
    }

    /// Whoever remembers work finds what it returned.
    fn memos(&mut self) {
        for memo in self.rows.memos.values() {
            let attempt = self.rows.attempts.get(&(memo.task, memo.lease));
            let done = attempt.filter(|row| row.outcome == AttemptOutcome::Completed);
            let found = done.is_some_and(|row| row.output.is_some());
            self.expect(found, || format!("memo {} leads to no result", memo.key));
        }
    }

    /// Names are unique in a run, and only steps have inputs.
    fn names(&mut self) {
        let mut names = BTreeSet::new();
        for step in self.rows.steps.values() {
            let first = names.insert((step.run, step.name.as_str()));
            self.expect(first, || format!("two steps of run {} are `{}`", step.run, step.name));
        }
        for (run, no) in self.rows.step_inputs.keys() {
            let known = self.rows.steps.contains_key(&(*run, *no));
            self.expect(known, || format!("an input of step {no} of run {run}, which has none"));
        }
    }

    /// A run has a record of each time that it was begun; the last ended as the run did.
    fn beginnings(&mut self, run: &Run) {
        let of = (run.id, 0)..=(run.id, u32::MAX);
        let begun: Vec<_> = self.rows.run_attempts.range(of).map(|(_, row)| row).collect();
        let numbers = begun.iter().map(|row| row.attempt).eq(1..=run.attempt);
        self.expect(numbers, || format!("run {} was not begun {} times", run.id, run.attempt));
        for row in begun {
            let (state, ended_at) = (row.state, row.ended_at);
            let last = row.attempt == run.attempt;
            let fits = (state, ended_at) == (run.state, run.ended_at);
            let over = state.is_terminal() && ended_at != Timestamp::ZERO;
            self.expect(if last { fits } else { over }, || {
                format!("attempt {} of run {} is {state:?}", row.attempt, run.id)
            });
        }
    }

    fn has_budget(&self, step: &Step) -> bool {
        self.rows.runs.get(&step.run).is_some_and(|run| run.budget.is_some())
    }

    /// Every step waits for exactly as many edges as it says, and has started, or been given
    /// up, as soon as they told.
    fn edges(&mut self) {
        let mut arrived: BTreeMap<_, Arrived> = BTreeMap::new();
        for ((run, from, to), terms) in &self.rows.edges {
            let ends = (self.rows.steps.get(&(*run, *from)), self.rows.steps.get(&(*run, *to)));
            let (Some(from), Some(to)) = ends else {
                self.expect(false, || format!("an edge of run {run} from {from} to {to} dangles"));
                continue;
            };
            let arrived = arrived.entry((*run, to.no)).or_default();
            arrived.edges += 1;
            arrived.outdated |= from.attempt > to.attempt;
            match from.state.is_terminal() {
                false => arrived.open += 1,
                true if self.is_met(from, terms) => arrived.met += 1,
                true => {}
            }
        }
        for (key, step) in &self.rows.steps {
            let arrived = arrived.remove(key).unwrap_or_default();
            self.counted(step, &arrived);
        }
    }

    fn counted(&mut self, step: &Step, arrived: &Arrived) {
        let Arrived { edges, open, met, outdated } = *arrived;
        let wants = step.policy.quorum.of(edges);
        let name = &step.name;
        match step.state {
            StepState::Pending => {
                let left = wants.saturating_sub(met);
                self.expect((step.waiting_on, step.open_edges) == (left, open), || {
                    format!(
                        "step `{name}` says it waits for {} of {} edges, and does for {left} of \
                         {open}",
                        step.waiting_on, step.open_edges
                    )
                });
                // Edges that it does not have yet may come from steps that have not ended.
                let hope = left <= open || open == edges;
                self.expect(hope, || format!("step `{name}` waits for {left} of {open} edges"));
            }
            // It started or was skipped for ends that are no more.
            _ if outdated => {}
            StepState::Running | StepState::Completed | StepState::Failed => {
                self.expect(met >= wants, || {
                    format!("step `{name}` started with {met} of {wants} edges met")
                });
            }
            StepState::Skipped => {
                let hopeless = met < wants;
                self.expect(hopeless, || format!("step `{name}` was skipped and could start"));
            }
            StepState::Cancelled => {}
        }
    }

    fn is_met(&self, from: &Step, terms: &Terms) -> bool {
        let task = from.task.and_then(|id| self.rows.tasks.get(&id));
        let attempt = task.and_then(|task| self.rows.attempts.get(&(task.id, task.lease)));
        terms.are_met(from.state, attempt.and_then(|attempt| attempt.output.as_ref()))
    }

    fn run(&mut self, run: &Run) {
        let steps =
            || self.rows.steps.range((run.id, 0)..=(run.id, u32::MAX)).map(|(_, step)| step);
        let open = steps().filter(|step| !step.state.is_terminal()).count() as u32;
        let counts = |step: &&Step| step.policy.on_failure != OnFailure::Ignore;
        let failed = steps().filter(counts).filter(|step| step.state == StepState::Failed);
        let failed = failed.count() as u32;
        let id = run.id;
        self.expect(open == run.open_steps && failed == run.failed_steps, || {
            format!(
                "run {id} counts {}/{} open/failed steps and has {open}/{failed}",
                run.open_steps, run.failed_steps
            )
        });
        if let Some(budget) = &run.budget {
            let hungry = |step: &&Step| step.state == StepState::Pending && step.waiting_on == 0;
            let waiting = steps().filter(hungry).count() as u32;
            let reserved = steps().filter_map(|step| step.reserved);
            let reserved = reserved.fold(Usage::default(), Usage::plus);
            self.expect((budget.waiting, budget.reserved) == (waiting, reserved), || {
                format!("run {id} has {budget:?}, its steps {waiting} waiting and {reserved:?}")
            });
        }
        let kept = steps().any(|step| step.reserved.is_some() && step.state.is_terminal());
        self.expect(!kept, || format!("a step of run {id} has ended and keeps what it reserved"));
        let ended = run.state.is_terminal();
        self.expect(ended == (open == 0) && ended == (run.ended_at != Timestamp::ZERO), || {
            format!("run {id} is {:?} with {open} open steps", run.state)
        });
        let fits = match run.state {
            RunState::Running => true,
            RunState::Completed => {
                let lost = |step: &Step| step.state == StepState::Cancelled;
                failed == 0 && !steps().filter(counts).any(lost)
            }
            RunState::Failed => failed > 0,
            RunState::Cancelled => {
                run.flags.has(RunFlags::CANCELLING) || run.flags.has(RunFlags::LOST_STEP)
            }
        };
        self.expect(fits, || format!("run {id} is {:?}, which its steps are not", run.state));
    }

    /// Entries are numbered without gaps, below their owner's next number.
    fn streams(&mut self) {
        let mut last: BTreeMap<Stream, i64> = BTreeMap::new();
        for (stream, seq) in self.rows.entries.keys() {
            let before = last.insert(*stream, *seq);
            let (gap, next) = match stream {
                Stream::Run(id) => (
                    before.is_some_and(|before| before + 1 != *seq),
                    self.rows.runs.get(id).map(|run| run.next_seq),
                ),
                Stream::Chat(id) => (false, self.rows.chats.get(id).map(|chat| chat.next_seq)),
                Stream::All => (true, None),
            };
            self.expect(!gap, || format!("{stream:?} has a gap before entry {seq}"));
            let below = next.is_some_and(|next| *seq < next);
            self.expect(below, || format!("{stream:?} has entry {seq}, its owner is at {next:?}"));
        }
    }

    /// A run says that it ended once for each time that it was begun, and only when it has.
    fn ends(&mut self) {
        let mut told: BTreeMap<RunId, u32> = BTreeMap::new();
        for ((stream, _), entry) in &self.rows.entries {
            let ends = |event: &&Event| matches!(event, Event::RunEnded { .. });
            let count = entry.events.iter().filter(ends).count() as u32;
            if let Stream::Run(id) = stream {
                *told.entry(*id).or_default() += count;
            }
        }
        for (id, count) in told {
            let Some(run) = self.rows.runs.get(&id) else { continue };
            let ended = run.attempt - u32::from(!run.state.is_terminal());
            self.expect(count <= ended, || {
                format!("run {id} said {count} times that it ended, and did {ended} times")
            });
        }
    }
}
