//! Rows as they pass between backends and rules: what a plan needs, what there is, what
//! changes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AgentSession, Attempt, AvailableAgent, Booking, CapacityKey, Chat, Entry, Instance, Item, Lane,
    LaneId, Memo, MemoKey, Message, Part, Payload, Process, Prompt, Route, Run, RunAttempt,
    RunSpec, Session, Slot, Step, Stream, Task, TaskSpec, Terms, Turn,
};
use crate::{
    clock::Timestamp,
    id::{
        AgentSessionId, ChatId, InstanceId, ItemId, MessageId, ProcessId, RunId, SessionId, TaskId,
        TurnId,
    },
};

/// Keys of rows that a plan must see. A backend that lets writers run side by side locks what it
/// loads, in this order: runs, chats, tasks, turns, agents' sessions, processes, agents of hosts,
/// capacity keys, each by id; the rest is protected by those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Every row there is, for audits. Nothing is locked.
    pub everything: bool,
    /// Hot rows of tasks, without locking them: only where they belong is of interest, and
    /// that never changes.
    pub routes: BTreeSet<TaskId>,
    /// The chats and sessions of turns, without locking them. The session may change.
    pub turn_routes: BTreeSet<TurnId>,
    /// Hot rows of runs.
    pub runs: BTreeSet<RunId>,
    /// Hot rows of tasks.
    pub tasks: BTreeSet<TaskId>,
    /// Cold rows of tasks.
    pub specs: BTreeSet<TaskId>,
    /// All attempts of these tasks.
    pub attempts: BTreeSet<TaskId>,
    /// Hot and cold rows of the tasks whose parent is one of these.
    pub children: BTreeSet<TaskId>,
    /// Where the results of these works are.
    pub memos: BTreeSet<MemoKey>,
    /// Items of the inbox that belong to these tasks.
    pub items_of: BTreeSet<TaskId>,
    /// Items of the inbox.
    pub items: BTreeSet<ItemId>,
    /// Holders of unique keys: (project, key).
    pub unique: BTreeSet<(String, String)>,
    /// Capacity keys, with their slots.
    pub capacity: BTreeSet<String>,
    /// Lanes.
    pub lanes: BTreeSet<LaneId>,
    /// Sessions.
    pub sessions: BTreeSet<SessionId>,
    /// Chats.
    pub chats: BTreeSet<ChatId>,
    /// Prompts, by their tasks. Neither they nor lines are locked: their chats are.
    pub prompts: BTreeSet<TaskId>,
    /// The first [`LINE`](Needs::LINE) prompts of a line behind a place.
    pub lines: BTreeSet<(ChatId, String, i64)>,
    /// All prompts of these chats.
    pub prompts_of: BTreeSet<ChatId>,
    /// Hot rows of tasks that may come to the head of their line.
    pub heads: BTreeSet<TaskId>,
    /// Messages, without their content being of interest.
    pub messages: BTreeSet<MessageId>,
    /// Cold rows of runs.
    pub run_specs: BTreeSet<RunId>,
    /// Steps: (run, number).
    pub steps: BTreeSet<(RunId, u32)>,
    /// Edges that leave these steps, and the steps they lead to.
    pub dependents: BTreeSet<(RunId, u32)>,
    /// All steps and edges of these runs.
    pub graphs: BTreeSet<RunId>,
    /// The inputs of steps that have one of their own.
    pub step_inputs: BTreeSet<(RunId, u32)>,
    /// How often these runs were begun.
    pub run_attempts: BTreeSet<RunId>,
    /// Hot rows of the runs that these tasks wait for.
    pub runs_under: BTreeSet<TaskId>,
    /// The first [`HUNGRY`](Needs::HUNGRY) steps of these runs that are pending and wait for
    /// no edge: they could start but for their run's budget.
    pub hungry: BTreeSet<RunId>,
    /// Instances.
    pub instances: BTreeSet<InstanceId>,
    /// Turns.
    pub turns: BTreeSet<TurnId>,
    /// The turns of these chats that have not ended. They are not locked: their chat is.
    pub open_turns: BTreeSet<ChatId>,
    /// Sessions of agents.
    pub agent_sessions: BTreeSet<AgentSessionId>,
    /// The newest session of an agent in a chat.
    pub newest_sessions: BTreeSet<(ChatId, String)>,
    /// Programs that were started.
    pub processes: BTreeSet<ProcessId>,
    /// Agents on hosts: (host, name).
    pub agents: BTreeSet<(String, String)>,
    /// Parts of messages: (message, number).
    pub parts: BTreeSet<(MessageId, u32)>,
    /// Rows of the ledger, by agent's session and source.
    pub ledger: BTreeSet<(AgentSessionId, String)>,
}

impl Needs {
    /// How many steps that wait for a budget are looked at together.
    pub const HUNGRY: usize = 64;
    /// How many prompts of a line are looked at together.
    pub const LINE: usize = 256;

    /// Everything, for audits.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

macro_rules! by_field {
    ($($field:ident)+) => {
        impl Needs {
            /// Adds all of `other`.
            pub fn extend(&mut self, other: Self) {
                self.everything |= other.everything;
                $( self.$field.extend(other.$field); )+
            }

            /// Takes out all of `other`.
            pub fn remove(&mut self, other: &Self) {
                $( self.$field.retain(|key| !other.$field.contains(key)); )+
            }
        }
    };
}
impl FromIterator<Self> for Needs {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), |mut needs, more| {
            needs.extend(more);
            needs
        })
    }
}
by_field! {
    routes runs tasks specs attempts memos children items_of items unique capacity lanes sessions
    chats messages run_specs steps dependents graphs step_inputs run_attempts runs_under hungry instances
    turns turn_routes open_turns agent_sessions newest_sessions ledger parts processes agents
    prompts lines prompts_of heads
}

/// Rows, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Where tasks belong.
    pub routes: BTreeMap<TaskId, Route>,
    /// The chats and sessions of turns.
    pub turn_routes: BTreeMap<TurnId, (ChatId, AgentSessionId)>,
    /// Hot rows of tasks.
    pub tasks: BTreeMap<TaskId, Task>,
    /// Cold rows of tasks.
    pub specs: BTreeMap<TaskId, TaskSpec>,
    /// Tasks that another program inserted and that were not adopted yet.
    pub foreign: BTreeSet<TaskId>,
    /// Attempts, by task and lease.
    pub attempts: BTreeMap<(TaskId, i64), Attempt>,
    /// Where the results of works are.
    pub memos: BTreeMap<MemoKey, Memo>,
    /// Items of the inbox.
    pub items: BTreeMap<ItemId, Item>,
    /// Holders of unique keys, by project and key.
    pub unique: BTreeMap<(String, String), TaskId>,
    /// Capacity keys.
    pub capacity: BTreeMap<String, CapacityKey>,
    /// Slots, by key and number.
    pub slots: BTreeMap<(String, u32), Slot>,
    /// Lanes.
    pub lanes: BTreeMap<LaneId, Lane>,
    /// Sessions.
    pub sessions: BTreeMap<SessionId, Session>,
    /// Chats.
    pub chats: BTreeMap<ChatId, Chat>,
    /// Prompts that have not ended.
    pub prompts: BTreeMap<TaskId, Prompt>,
    /// Messages, by chat and place.
    pub messages: BTreeMap<(ChatId, i64), Message>,
    /// Hot rows of runs.
    pub runs: BTreeMap<RunId, Run>,
    /// Cold rows of runs.
    pub run_specs: BTreeMap<RunId, RunSpec>,
    /// Steps, by run and number.
    pub steps: BTreeMap<(RunId, u32), Step>,
    /// Edges: run, from, to, and what each asks for.
    pub edges: BTreeMap<(RunId, u32, u32), Terms>,
    /// Inputs that steps have of their own.
    pub step_inputs: BTreeMap<(RunId, u32), Payload>,
    /// The times that runs were begun.
    pub run_attempts: BTreeMap<(RunId, u32), RunAttempt>,
    /// Instances.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Turns of agents.
    pub turns: BTreeMap<TurnId, Turn>,
    /// Sessions of agents.
    pub agent_sessions: BTreeMap<AgentSessionId, AgentSession>,
    /// Programs that were started.
    pub processes: BTreeMap<ProcessId, Process>,
    /// Agents, by host and name.
    pub agents: BTreeMap<(String, String), AvailableAgent>,
    /// Parts of messages, by message and number.
    pub parts: BTreeMap<(MessageId, u32), Part>,
    /// Rows of the ledger, by agent's session and number.
    pub ledger: BTreeMap<(AgentSessionId, u32), Booking>,
    /// Entries, by stream and number. Only in a load of everything.
    pub entries: BTreeMap<(Stream, i64), Entry>,
}

/// What a plan changes. A backend writes all of it, in any order that its constraints
/// allow, in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Lanes that new tasks wait in: insert those that are missing.
    pub lanes: BTreeMap<LaneId, Lane>,
    /// Cold rows of new tasks: insert.
    pub specs: Vec<TaskSpec>,
    /// Rows that another program inserted and that now have a hot row: set their origin.
    pub adopted: Vec<TaskId>,
    /// Hot rows of new tasks: insert.
    pub new_tasks: Vec<Task>,
    /// Hot rows that changed. Each replaces the row with the same `lease` and `rev` one less.
    pub tasks: Vec<Task>,
    /// Attempts that ended: insert.
    pub attempts: Vec<Attempt>,
    /// Where the results of works are now: insert or replace.
    pub memos: BTreeMap<MemoKey, Memo>,
    /// Tasks whose slots are free again.
    pub freed: Vec<TaskId>,
    /// Unique keys that are taken: insert, after those in `unique_freed` are gone.
    pub unique: Vec<(String, String, TaskId)>,
    /// Tasks whose unique keys are free again.
    pub unique_freed: Vec<TaskId>,
    /// Items of the inbox: insert or replace.
    pub items: Vec<Item>,
    /// Capacity keys: insert or replace. Slots 0 to `slots` must exist afterwards; those
    /// above it go when they are free.
    pub capacity: Vec<CapacityKey>,
    /// Sessions: insert or replace.
    pub sessions: Vec<Session>,
    /// Sessions to delete, before anything is inserted: one of them may be among `sessions`
    /// again. Chats and tasks lose their reference.
    pub sessions_gone: Vec<SessionId>,
    /// Chats: insert or replace.
    pub chats: Vec<Chat>,
    /// Chats to delete, with their messages, turns, prompts and entries, before anything is inserted: one
    /// of them may be among `chats` again. Tasks and agents' sessions lose their reference.
    pub chats_gone: Vec<ChatId>,
    /// Prompts: insert or replace.
    pub prompts: Vec<Prompt>,
    /// Prompts that have ended: delete.
    pub prompts_gone: Vec<TaskId>,
    /// Messages: insert.
    pub messages: Vec<Message>,
    /// Cold rows of new runs: insert.
    pub run_specs: Vec<RunSpec>,
    /// Hot rows of runs: insert or replace.
    pub runs: Vec<Run>,
    /// Edges from or to the steps in `steps_gone`: delete.
    pub edges_gone: Vec<(RunId, u32, u32)>,
    /// Steps that go because the step that added them is done again: delete, with their
    /// inputs, before anything is inserted.
    pub steps_gone: Vec<(RunId, u32)>,
    /// New steps: insert.
    pub new_steps: Vec<Step>,
    /// Steps that changed: replace `state`, `waiting_on`, `open_edges`, `attempt`, `task`, `reserved`,
    /// `reason`, `updated_at`.
    pub steps: Vec<Step>,
    /// Edges: insert.
    pub edges: Vec<(RunId, u32, u32, Terms)>,
    /// Inputs of steps: insert or replace.
    pub step_inputs: Vec<(RunId, u32, Payload)>,
    /// The times that runs were begun: insert or replace.
    pub run_attempts: Vec<RunAttempt>,
    /// Instances: insert or replace.
    pub instances: Vec<Instance>,
    /// Instances to delete.
    pub instances_gone: Vec<InstanceId>,
    /// Sessions of agents: insert or replace.
    pub agent_sessions: Vec<AgentSession>,
    /// Turns: insert or replace.
    pub turns: Vec<Turn>,
    /// Programs that were started: insert or replace.
    pub processes: Vec<Process>,
    /// Programs of which nothing is left: delete.
    pub processes_gone: Vec<ProcessId>,
    /// Agents on hosts: insert or replace.
    pub agents: Vec<AvailableAgent>,
    /// Parts of messages: insert, after these.
    pub parts: Vec<Part>,
    /// Rows of the ledger: insert.
    pub ledger: Vec<Booking>,
    /// Entries for watchers: insert. Their cursors are the backend's to give.
    pub entries: Vec<Entry>,
    /// Whether workers should look: see [`Committed::woke`](super::Committed::woke).
    pub woke: bool,
    /// See [`Committed::next`](super::Committed::next).
    pub next: Option<Timestamp>,
}

impl Changes {
    /// Takes out all that belongs to these tasks, because their guards did not hold.
    pub fn leave_out(&mut self, missed: &BTreeSet<TaskId>) {
        self.specs.retain(|spec| !missed.contains(&spec.id));
        self.new_tasks.retain(|task| !missed.contains(&task.id));
        self.tasks.retain(|task| !missed.contains(&task.id));
        self.attempts.retain(|attempt| !missed.contains(&attempt.task));
        self.memos.retain(|_, memo| !missed.contains(&memo.task));
        self.freed.retain(|task| !missed.contains(task));
    }
}

impl Rows {
    /// The tasks whose guards in `changes` do not hold here: a new task whose id is taken, a
    /// changed one whose row is not at the revision before, or under another lease.
    pub fn missed(&self, changes: &Changes) -> BTreeSet<TaskId> {
        let taken = |task: &&Task| {
            let foreign = changes.adopted.contains(&task.id);
            self.tasks.contains_key(&task.id) || (self.specs.contains_key(&task.id) && !foreign)
        };
        let before = |task: &Task| (task.lease, task.rev + 1);
        let moved = |task: &&Task| {
            let known = self.tasks.get(&task.id);
            known.map(before) != Some((task.lease, task.rev))
        };
        let new = changes.new_tasks.iter().filter(taken);
        new.chain(changes.tasks.iter().filter(moved)).map(|task| task.id).collect()
    }

    /// The rows after `changes`: what a backend without SQL does to save them. All that
    /// belongs to a task whose guard does not hold is left out.
    pub fn apply(&mut self, mut changes: Changes) {
        changes.leave_out(&self.missed(&changes));
        self.remove_sessions(&changes.sessions_gone);
        self.remove_chats(&changes.chats_gone);
        self.remove_steps(&changes.steps_gone, &changes.edges_gone);
        self.lanes.extend(changes.lanes);
        self.foreign.retain(|id| !changes.adopted.contains(id));
        self.specs.extend(changes.specs.into_iter().map(|spec| (spec.id, spec)));
        self.tasks.extend(changes.new_tasks.into_iter().map(|task| (task.id, task)));
        self.tasks.extend(changes.tasks.into_iter().map(|task| (task.id, task)));
        let attempts = changes.attempts.into_iter();
        self.attempts.extend(attempts.map(|row| ((row.task, row.lease), row)));
        self.memos.extend(changes.memos);
        self.unique.retain(|_, id| !changes.unique_freed.contains(id));
        let taken = changes.unique.into_iter();
        self.unique.extend(taken.map(|(p, key, id)| ((p, key), id)));
        self.items.extend(changes.items.into_iter().map(|item| (item.id, item)));
        self.free(&changes.freed);
        changes.capacity.into_iter().for_each(|key| self.set_capacity(key));
        let sessions = changes.sessions.into_iter();
        self.sessions.extend(sessions.map(|row| (row.id, row)));
        let chats = changes.chats.into_iter();
        self.chats.extend(chats.map(|row| (row.id, row)));
        self.prompts.retain(|task, _| !changes.prompts_gone.contains(task));
        self.prompts.extend(changes.prompts.into_iter().map(|row| (row.task, row)));
        let messages = changes.messages.into_iter();
        self.messages.extend(messages.map(|row| ((row.chat, row.seq), row)));
        self.run_specs.extend(changes.run_specs.into_iter().map(|spec| (spec.id, spec)));
        self.runs.extend(changes.runs.into_iter().map(|run| (run.id, run)));
        let steps = changes.new_steps.into_iter().chain(changes.steps);
        self.steps.extend(steps.map(|step| ((step.run, step.no), step)));
        let edges = changes.edges.into_iter();
        self.edges.extend(edges.map(|(run, from, to, terms)| ((run, from, to), terms)));
        let inputs = changes.step_inputs.into_iter();
        self.step_inputs.extend(inputs.map(|(run, no, input)| ((run, no), input)));
        let begun = changes.run_attempts.into_iter();
        self.run_attempts.extend(begun.map(|row| ((row.run, row.attempt), row)));
        self.instances.extend(changes.instances.into_iter().map(|row| (row.id, row)));
        self.instances.retain(|id, _| !changes.instances_gone.contains(id));
        let sessions = changes.agent_sessions.into_iter();
        self.agent_sessions.extend(sessions.map(|row| (row.id, row)));
        self.processes.extend(changes.processes.into_iter().map(|row| (row.id, row)));
        self.processes.retain(|id, _| !changes.processes_gone.contains(id));
        let agents = changes.agents.into_iter();
        self.agents.extend(agents.map(|row| ((row.host.clone(), row.name.clone()), row)));
        let parts = changes.parts.into_iter();
        self.parts.extend(parts.map(|row| ((row.message, row.no), row)));
        let booked = changes.ledger.into_iter();
        self.ledger.extend(booked.map(|row| ((row.session, row.no), row)));
        self.turns.extend(changes.turns.into_iter().map(|row| (row.id, row)));
        self.entries.extend(changes.entries.into_iter().map(|row| ((row.stream, row.seq), row)));
    }

    /// Gives `task` the free slots of its lane's capacity keys.
    pub fn hold(&mut self, task: &Task) {
        let keys = self.lanes.get(&task.lane).map(|lane| lane.keys.clone()).unwrap_or_default();
        for key in keys {
            let mut slots = self.slots.values_mut().filter(|slot| slot.key == key);
            if let Some(slot) = slots.find(|slot| slot.held.is_none()) {
                slot.held = Some((task.id, task.lease));
            }
        }
    }

    fn free(&mut self, tasks: &[TaskId]) {
        for slot in self.slots.values_mut() {
            slot.held.take_if(|(task, _)| tasks.contains(task));
        }
        let capacity = &self.capacity;
        self.slots.retain(|(key, n), slot| {
            slot.held.is_some()
                || capacity.get(key).and_then(|key| key.slots).is_some_and(|max| *n < max)
        });
    }

    fn set_capacity(&mut self, key: CapacityKey) {
        for n in 0..key.slots.unwrap_or(0) {
            self.slots.entry((key.name.clone(), n)).or_insert_with(|| Slot {
                key: key.name.clone(),
                n,
                held: None,
            });
        }
        self.capacity.insert(key.name.clone(), key);
        self.free(&[]);
    }

    /// Removes steps with their inputs, and edges.
    pub fn remove_steps(&mut self, steps: &[(RunId, u32)], edges: &[(RunId, u32, u32)]) {
        for step in steps {
            self.steps.remove(step);
            self.step_inputs.remove(step);
        }
        for edge in edges {
            self.edges.remove(edge);
        }
    }

    fn remove_sessions(&mut self, gone: &[SessionId]) {
        self.sessions.retain(|id, _| !gone.contains(id));
        let chats = self.chats.values_mut().map(|chat| &mut chat.session);
        let specs = self.specs.values_mut().map(|spec| &mut spec.session);
        for session in chats.chain(specs) {
            session.take_if(|session| gone.contains(session));
        }
    }

    fn remove_chats(&mut self, gone: &[ChatId]) {
        if gone.is_empty() {
            return;
        }
        self.chats.retain(|id, _| !gone.contains(id));
        let messages = self.messages.values().filter(|message| gone.contains(&message.chat));
        let messages: BTreeSet<MessageId> = messages.map(|message| message.id).collect();
        self.parts.retain(|(message, _), _| !messages.contains(message));
        self.messages.retain(|(chat, _), _| !gone.contains(chat));
        self.entries
            .retain(|(stream, _), _| !matches!(stream, Stream::Chat(id) if gone.contains(id)));
        for spec in self.specs.values_mut() {
            spec.chat.take_if(|chat| gone.contains(chat));
        }
        self.prompts.retain(|_, prompt| !gone.contains(&prompt.chat));
        self.turns.retain(|_, turn| !gone.contains(&turn.chat));
        for session in self.agent_sessions.values_mut() {
            session.chat.take_if(|chat| gone.contains(chat));
        }
    }
}
