//! The rows that a plan knows, and what it has changed of them.

use std::collections::{BTreeMap, BTreeSet};

use super::line;
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, InstanceId, ItemId, ProcessId, RunId, SessionId, TaskId, TurnId},
    model::{
        AgentSession, AvailableAgent, Booking, Budget, Changes, Chat, Cursor, Entry, Event,
        Instance, Item, Outcome, Part, Payload, Phase, Process, Prompt, Receipt, Rows, Run,
        RunAttempt, Step, Stream, Task, TaskFlags, TaskSpec, Terms, Turn,
    },
};

/// Rows with a record of what changed.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub rows: Rows,
    pub now: Timestamp,
    pub changes: Changes,
    /// Of the specs that are known, those that this work has made, in order.
    new_specs: Vec<TaskId>,
    new_tasks: BTreeSet<TaskId>,
    /// New tasks that only the changes have.
    alone: BTreeSet<TaskId>,
    tasks: BTreeSet<TaskId>,
    items: BTreeSet<ItemId>,
    runs: BTreeSet<RunId>,
    new_steps: BTreeSet<(RunId, u32)>,
    steps: BTreeSet<(RunId, u32)>,
    step_inputs: BTreeSet<(RunId, u32)>,
    run_attempts: BTreeSet<(RunId, u32)>,
    chats: BTreeSet<ChatId>,
    prompts: BTreeSet<TaskId>,
    turns: BTreeSet<TurnId>,
    agent_sessions: BTreeSet<AgentSessionId>,
    processes: BTreeSet<ProcessId>,
    agents: BTreeSet<(String, String)>,
    events: BTreeMap<Stream, Vec<Event>>,
}

impl Work {
    /// Adds loaded rows. Where a task is known already, the newer load wins.
    pub fn supply(&mut self, rows: Rows) {
        self.rows.routes.extend(rows.routes);
        self.rows.turn_routes.extend(rows.turn_routes);
        self.rows.prompts.extend(rows.prompts);
        self.rows.tasks.extend(rows.tasks);
        self.rows.specs.extend(rows.specs);
        self.rows.foreign.extend(rows.foreign);
        self.rows.attempts.extend(rows.attempts);
        self.rows.items.extend(rows.items);
        self.rows.unique.extend(rows.unique);
        self.rows.capacity.extend(rows.capacity);
        self.rows.slots.extend(rows.slots);
        self.rows.lanes.extend(rows.lanes);
        self.rows.sessions.extend(rows.sessions);
        self.rows.chats.extend(rows.chats);
        self.rows.messages.extend(rows.messages);
        self.rows.runs.extend(rows.runs);
        self.rows.run_specs.extend(rows.run_specs);
        self.rows.steps.extend(rows.steps);
        self.rows.edges.extend(rows.edges);
        self.rows.step_inputs.extend(rows.step_inputs);
        self.rows.run_attempts.extend(rows.run_attempts);
        self.rows.instances.extend(rows.instances);
        self.rows.turns.extend(rows.turns);
        self.rows.agent_sessions.extend(rows.agent_sessions);
        self.rows.ledger.extend(rows.ledger);
        self.rows.parts.extend(rows.parts);
        self.rows.processes.extend(rows.processes);
        self.rows.agents.extend(rows.agents);
    }

    /// A task to change. Its revision grows once in a plan.
    pub fn task(&mut self, id: TaskId) -> &mut Task {
        let task = self.rows.tasks.get_mut(&id).expect("the caller looked it up");
        if !self.new_tasks.contains(&id) && self.tasks.insert(id) {
            task.rev += 1;
        }
        task
    }

    /// Adds a task.
    pub fn insert_task(&mut self, task: Task) {
        self.new_tasks.insert(task.id);
        self.rows.tasks.insert(task.id, task);
    }

    /// Adds what was asked for of a task.
    pub fn insert_spec(&mut self, spec: TaskSpec) {
        self.new_specs.push(spec.id);
        self.rows.specs.insert(spec.id, spec);
    }

    /// Whether this work has changed the task already.
    pub fn knows(&self, id: TaskId) -> bool {
        self.tasks.contains(&id) || self.new_tasks.contains(&id) || self.alone.contains(&id)
    }

    /// Adds a task that nothing else of this work is about.
    pub fn add_alone(&mut self, task: Task, spec: TaskSpec) {
        self.alone.insert(task.id);
        self.changes.new_tasks.push(task);
        self.changes.specs.push(spec);
    }

    /// An item to change, or a new one.
    pub fn put_item(&mut self, item: Item) {
        self.items.insert(item.id);
        self.rows.items.insert(item.id, item);
    }

    /// The items of a task.
    pub fn items_of(&self, task: TaskId) -> Vec<Item> {
        self.rows.items.values().filter(|item| item.task == task).cloned().collect()
    }

    /// A run to change.
    pub fn run(&mut self, id: RunId) -> &mut Run {
        self.runs.insert(id);
        let run = self.rows.runs.get_mut(&id).expect("the caller looked it up");
        run.updated_at = self.now;
        run
    }

    /// The budget of a run that has one, to change.
    pub fn budget(&mut self, id: RunId) -> &mut Budget {
        self.run(id).budget.get_or_insert_default()
    }

    /// Adds a run.
    pub fn insert_run(&mut self, run: Run) {
        self.runs.insert(run.id);
        self.rows.runs.insert(run.id, run);
    }

    /// A step to change.
    pub fn step(&mut self, run: RunId, no: u32) -> &mut Step {
        self.steps.insert((run, no));
        let step = self.rows.steps.get_mut(&(run, no)).expect("the caller looked it up");
        step.updated_at = self.now;
        step
    }

    /// Adds a step.
    pub fn insert_step(&mut self, step: Step) {
        self.new_steps.insert((step.run, step.no));
        self.rows.steps.insert((step.run, step.no), step);
    }

    /// Adds an edge.
    pub fn insert_edge(&mut self, (run, from, to): (RunId, u32, u32), terms: Terms) {
        self.rows.edges.insert((run, from, to), terms.clone());
        self.changes.edges.push((run, from, to, terms));
    }

    /// Gives a step an input of its own.
    pub fn put_step_input(&mut self, (run, no): (RunId, u32), input: Payload) {
        self.rows.step_inputs.insert((run, no), input);
        self.step_inputs.insert((run, no));
    }

    /// Removes steps of a run that is loaded whole, with the edges from and to them. What this
    /// work has added or changed of them is forgotten.
    pub fn remove_steps(&mut self, run: RunId, gone: &BTreeSet<u32>) {
        let edges = self.rows.edges.range((run, 0, 0)..=(run, u32::MAX, u32::MAX));
        let edges = edges.map(|(key, _)| *key);
        let edges: Vec<_> =
            edges.filter(|(_, from, to)| gone.contains(from) || gone.contains(to)).collect();
        let steps: Vec<_> = gone.iter().map(|no| (run, *no)).collect();
        self.rows.remove_steps(&steps, &edges);
        for step in &steps {
            self.new_steps.remove(step);
            self.steps.remove(step);
            self.step_inputs.remove(step);
        }
        let is_gone = |of: RunId, no: u32| of == run && gone.contains(&no);
        self.changes.edges.retain(|(of, from, to, _)| !is_gone(*of, *from) && !is_gone(*of, *to));
        self.changes.steps_gone.extend(steps);
        self.changes.edges_gone.extend(edges);
    }

    /// Adds or changes a record of a run's beginning.
    pub fn put_run_attempt(&mut self, row: RunAttempt) {
        self.run_attempts.insert((row.run, row.attempt));
        self.rows.run_attempts.insert((row.run, row.attempt), row);
    }

    /// Adds or changes a chat.
    pub fn put_chat(&mut self, chat: Chat) {
        self.chats.insert(chat.id);
        self.rows.chats.insert(chat.id, chat);
    }

    /// Adds or changes a prompt.
    pub fn put_prompt(&mut self, row: Prompt) {
        self.changes.prompts_gone.retain(|id| *id != row.task);
        self.prompts.insert(row.task);
        self.rows.prompts.insert(row.task, row);
    }

    /// Removes a prompt that has ended. Returns it.
    pub fn end_prompt(&mut self, id: TaskId) -> Option<Prompt> {
        let row = self.rows.prompts.remove(&id)?;
        self.changes.prompts_gone.push(id);
        Some(row)
    }

    /// Adds or changes a turn.
    pub fn put_turn(&mut self, row: Turn) {
        self.turns.insert(row.id);
        self.rows.turns.insert(row.id, row);
    }

    /// Adds or changes an agent's session.
    pub fn put_agent_session(&mut self, row: AgentSession) {
        self.agent_sessions.insert(row.id);
        self.rows.agent_sessions.insert(row.id, row);
    }

    /// Adds or changes a program that was started.
    pub fn put_process(&mut self, row: Process) {
        self.changes.processes_gone.retain(|id| *id != row.id);
        self.processes.insert(row.id);
        self.rows.processes.insert(row.id, row);
    }

    /// Removes a program of which nothing is left.
    pub fn end_process(&mut self, id: ProcessId) {
        self.processes.remove(&id);
        self.rows.processes.remove(&id);
        self.changes.processes_gone.push(id);
    }

    /// Adds or changes what is known of an agent on a host.
    pub fn put_agent(&mut self, row: AvailableAgent) {
        let key = (row.host.clone(), row.name.clone());
        self.agents.insert(key.clone());
        self.rows.agents.insert(key, row);
    }

    /// Adds a part to a message.
    pub fn insert_part(&mut self, row: Part) {
        self.rows.parts.insert((row.message, row.no), row.clone());
        self.changes.parts.push(row);
    }

    /// Adds a row to the ledger.
    pub fn insert_booking(&mut self, row: Booking) {
        self.rows.ledger.insert((row.session, row.no), row.clone());
        self.changes.ledger.push(row);
    }

    /// Deletes a chat, with all that this work has added to it: whoever opens it again
    /// finds it empty. What agents have used in it is kept.
    pub fn delete_chat(&mut self, id: ChatId) {
        if self.rows.chats.remove(&id).is_none() {
            return;
        }
        self.chats.remove(&id);
        self.events.remove(&Stream::Chat(id));
        let gone = self.rows.messages.range((id, i64::MIN)..=(id, i64::MAX));
        let gone: BTreeSet<_> = gone.map(|(_, message)| message.id).collect();
        self.rows.parts.retain(|(message, _), _| !gone.contains(message));
        self.changes.parts.retain(|part| !gone.contains(&part.message));
        self.rows.messages.retain(|(chat, _), _| *chat != id);
        self.changes.messages.retain(|message| message.chat != id);
        self.rows.prompts.retain(|_, prompt| prompt.chat != id);
        self.rows.turns.retain(|_, turn| turn.chat != id);
        for session in self.rows.agent_sessions.values_mut() {
            session.chat.take_if(|chat| *chat == id);
        }
        for made in &self.new_specs {
            if let Some(spec) = self.rows.specs.get_mut(made) {
                spec.chat.take_if(|chat| *chat == id);
            }
        }
        self.changes.chats_gone.push(id);
    }

    /// Deletes a session. What belonged to it belongs to none, whether this work has loaded it,
    /// has made it, or does not know it.
    pub fn delete_session(&mut self, id: SessionId) {
        if self.rows.sessions.remove(&id).is_none() {
            return;
        }
        self.changes.sessions.retain(|session| session.id != id);
        let chats = self.rows.chats.values_mut().map(|chat| &mut chat.session);
        let specs = self.rows.specs.values_mut().map(|spec| &mut spec.session);
        for session in chats.chain(specs) {
            session.take_if(|session| *session == id);
        }
        self.changes.sessions_gone.push(id);
    }

    /// Gives a task its unique key.
    pub fn take_key(&mut self, key: (String, String), id: TaskId) {
        self.rows.unique.insert(key.clone(), id);
        let freed = &mut self.changes.unique_freed;
        match freed.iter().position(|task| *task == id) {
            Some(at) => drop(freed.remove(at)),
            None => self.changes.unique.push((key.0, key.1, id)),
        }
    }

    /// Frees the unique key of a task.
    pub fn free_key(&mut self, id: TaskId) {
        self.rows.unique.retain(|_, holder| *holder != id);
        let taken = &mut self.changes.unique;
        match taken.iter().position(|(.., task)| *task == id) {
            Some(at) => drop(taken.remove(at)),
            None => self.changes.unique_freed.push(id),
        }
    }

    /// Records something for watchers.
    pub fn tell(&mut self, stream: Stream, event: Event) {
        self.events.entry(stream).or_default().push(event);
    }

    /// Puts a task that no worker holds where it belongs: ready, scheduled, paused, or behind
    /// others in its line.
    pub fn make_pending(&mut self, id: TaskId, run_at: Timestamp) {
        let task = &self.rows.tasks[&id];
        let run = task.step.and_then(|(run, _)| self.rows.runs.get(&run));
        let awaits = task.flags.has(TaskFlags::AWAITS);
        let held = run.is_some_and(Run::is_paused) && !awaits;
        let paused = task.flags.has(TaskFlags::PAUSED) || held;
        let phase = match (paused, run_at > self.now) {
            (true, _) => Phase::Paused,
            (false, true) => Phase::Scheduled,
            (false, false) => Phase::Ready,
        };
        let phase = match line::stand(self, id, phase) {
            Phase::Ready | Phase::Scheduled => self.phase_at(run_at),
            held_back => held_back,
        };
        let task = self.task(id);
        task.phase = phase;
        task.run_at = run_at;
    }

    /// Ready, or scheduled, which somebody must look at.
    pub fn phase_at(&mut self, run_at: Timestamp) -> Phase {
        if run_at > self.now {
            self.look_again_at(run_at);
            return Phase::Scheduled;
        }
        self.changes.woke = true;
        Phase::Ready
    }

    /// Notes a time at which an engine must look for work.
    pub fn look_again_at(&mut self, time: Timestamp) {
        self.changes.next = Some(self.changes.next.map_or(time, |next| next.min(time)));
    }

    pub fn register(&mut self, instance: Instance) -> Receipt {
        self.changes.instances_gone.retain(|id| *id != instance.id);
        self.changes.instances.push(instance);
        Ok(Outcome::Done)
    }

    pub fn retire(&mut self, id: InstanceId) -> Receipt {
        self.changes.instances.retain(|instance| instance.id != id);
        self.changes.instances_gone.push(id);
        Ok(Outcome::Done)
    }

    /// All that changed.
    pub fn finish(mut self) -> Changes {
        for (stream, events) in std::mem::take(&mut self.events) {
            self.enter(stream, events);
        }
        let (mut rows, mut changes) = (self.rows, self.changes);
        changes.specs.extend(self.new_specs.iter().filter_map(|id| rows.specs.remove(id)));
        changes.new_tasks.extend(self.new_tasks.iter().map(|id| rows.tasks[id].clone()));
        changes.tasks.extend(self.tasks.iter().map(|id| rows.tasks[id].clone()));
        changes.items.extend(self.items.iter().map(|id| rows.items[id].clone()));
        changes.runs.extend(self.runs.iter().map(|id| rows.runs[id].clone()));
        changes.new_steps.extend(self.new_steps.iter().map(|key| rows.steps[key].clone()));
        let steps = self.steps.difference(&self.new_steps);
        changes.steps.extend(steps.map(|key| rows.steps[key].clone()));
        let input = |key: &(RunId, u32)| (key.0, key.1, rows.step_inputs[key].clone());
        changes.step_inputs.extend(self.step_inputs.iter().map(input));
        let begun = self.run_attempts.iter().map(|key| rows.run_attempts[key].clone());
        changes.run_attempts.extend(begun);
        changes.prompts.extend(self.prompts.iter().filter_map(|id| rows.prompts.get(id).cloned()));
        changes.turns.extend(self.turns.iter().filter_map(|id| rows.turns.get(id).cloned()));
        let sessions = self.agent_sessions.iter();
        changes.agent_sessions.extend(sessions.map(|id| rows.agent_sessions[id].clone()));
        changes.processes.extend(self.processes.iter().map(|id| rows.processes[id].clone()));
        changes.agents.extend(self.agents.iter().map(|key| rows.agents[key].clone()));
        changes.chats.extend(self.chats.iter().map(|id| rows.chats[id].clone()));
        changes
    }

    /// Packs the events of a stream into one entry, numbered by the stream's owner.
    fn enter(&mut self, stream: Stream, events: Vec<Event>) {
        let seq = match stream {
            Stream::Run(id) => next(&mut self.run(id).next_seq),
            Stream::Chat(id) => {
                self.chats.insert(id);
                let chat = self.rows.chats.get_mut(&id).expect("only chats that are known speak");
                next(&mut chat.next_seq)
            }
            Stream::All => unreachable!("events belong to a run or a chat"),
        };
        let cursor = Cursor::START;
        self.changes.entries.push(Entry { stream, seq, cursor, at: self.now, events });
    }
}

/// Takes the next number.
fn next(seq: &mut i64) -> i64 {
    *seq += 1;
    *seq - 1
}
