//! What a backend answers to questions, over plain rows: for backends that hold their rows
//! in memory, and for comparison.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use super::{
    CapacityKey, CapacityView, Claim, Claimed, Cursor, Disk, Due, Entry, Item, ItemFilter,
    ItemState, Needs, Page, Phase, Prompt, Query, Route, Rows, RunFilter, RunView, Stats, Stream,
    Task, TaskFilter, TaskView, choose,
};
use crate::{
    clock::Timestamp,
    id::{InstanceId, ItemId, RunId, TaskId},
};

impl Rows {
    /// The rows that `needs` names.
    pub fn load(&self, needs: &Needs) -> Self {
        if needs.everything {
            return self.clone();
        }
        let mut rows = self.load_tasks(needs);
        self.load_flows(needs, &mut rows);
        rows.capacity = by_key(&self.capacity, &needs.capacity);
        rows.slots = picked(&self.slots, !needs.capacity.is_empty(), |slot| {
            needs.capacity.contains(&slot.key)
        });
        rows.lanes = by_key(&self.lanes, &needs.lanes);
        rows.sessions = by_key(&self.sessions, &needs.sessions);
        rows.chats = by_key(&self.chats, &needs.chats);
        rows.messages = picked(&self.messages, !needs.messages.is_empty(), |message| {
            needs.messages.contains(&message.id)
        });
        rows.instances = by_key(&self.instances, &needs.instances);
        self.load_agents(needs, &mut rows);
        rows
    }

    fn route(&self, id: TaskId) -> Option<Route> {
        let (task, spec) = (self.tasks.get(&id)?, self.specs.get(&id)?);
        Some(Route::of(id, task.step, task.flags, (spec.chat, spec.agent.clone())))
    }

    fn load_prompts(&self, needs: &Needs, rows: &mut Self) {
        rows.prompts = by_key(&self.prompts, &needs.prompts);
        rows.prompts.extend(picked(&self.prompts, !needs.prompts_of.is_empty(), |prompt| {
            needs.prompts_of.contains(&prompt.chat)
        }));
        for (chat, agent, after) in &needs.lines {
            let behind = self.prompts.values().filter(|row| {
                row.is_of(&(*chat, agent.clone())) && row.place.is_some_and(|place| place > *after)
            });
            let mut behind: Vec<&Prompt> = behind.collect();
            behind.sort_by_key(|prompt| prompt.place);
            let first = behind.into_iter().take(Needs::LINE);
            rows.prompts.extend(first.map(|prompt| (prompt.task, prompt.clone())));
        }
    }

    fn load_agents(&self, needs: &Needs, rows: &mut Self) {
        self.load_prompts(needs, rows);
        let routed = by_key(&self.turns, &needs.turn_routes);
        rows.turn_routes =
            routed.into_iter().map(|(id, turn)| (id, (turn.chat, turn.session))).collect();
        rows.turns = by_key(&self.turns, &needs.turns);
        rows.turns.extend(picked(&self.turns, !needs.open_turns.is_empty(), |turn| {
            turn.state.is_open() && needs.open_turns.contains(&turn.chat)
        }));
        rows.agent_sessions = by_key(&self.agent_sessions, &needs.agent_sessions);
        for (chat, agent) in &needs.newest_sessions {
            let of = |row: &&super::AgentSession| row.chat == Some(*chat) && row.agent == *agent;
            let newest =
                self.agent_sessions.values().filter(of).max_by_key(|session| session.generation);
            rows.agent_sessions.extend(newest.map(|session| (session.id, session.clone())));
        }
        rows.processes = by_key(&self.processes, &needs.processes);
        rows.agents = by_key(&self.agents, &needs.agents);
        rows.parts = by_key(&self.parts, &needs.parts);
        rows.ledger = picked(&self.ledger, !needs.ledger.is_empty(), |row| {
            needs.ledger.contains(&(row.session, row.source.clone()))
        });
    }

    fn load_tasks(&self, needs: &Needs) -> Self {
        let of = |parent: Option<TaskId>| parent.is_some_and(|id| needs.children.contains(&id));
        let children = picked(&self.specs, !needs.children.is_empty(), |spec| of(spec.parent));
        let hot = needs.tasks.iter().chain(&needs.heads).chain(children.keys()).copied().collect();
        let mut specs = by_key(&self.specs, &needs.specs);
        specs.extend(children);
        let routes = needs.routes.iter().filter_map(|id| Some((*id, self.route(*id)?)));
        let of_items = !needs.items.is_empty() || !needs.items_of.is_empty();
        Self {
            routes: routes.collect(),
            tasks: by_key(&self.tasks, &hot),
            foreign: self.foreign.iter().filter(|id| specs.contains_key(id)).copied().collect(),
            specs,
            attempts: ranges(&self.attempts, &needs.attempts, |id| (id, 0)..=(id, i64::MAX)),
            items: picked(&self.items, of_items, |item| {
                needs.items.contains(&item.id) || needs.items_of.contains(&item.task)
            }),
            unique: by_key(&self.unique, &needs.unique),
            ..Self::default()
        }
    }

    fn load_flows(&self, needs: &Needs, rows: &mut Self) {
        rows.runs = by_key(&self.runs, &needs.runs);
        rows.runs.extend(picked(&self.runs, !needs.runs_under.is_empty(), |run| {
            run.parent.is_some_and(|task| needs.runs_under.contains(&task))
        }));
        rows.run_specs = by_key(&self.run_specs, &needs.run_specs);
        let whole = needs.graphs.iter().map(|run| (*run, 0, 0)..=(*run, u32::MAX, u32::MAX));
        let below = needs.dependents.iter().map(|(run, no)| (*run, *no, 0)..=(*run, *no, u32::MAX));
        let edges = whole.chain(below).flat_map(|range| self.edges.range(range));
        rows.edges = edges.map(|(key, terms)| (*key, terms.clone())).collect();
        rows.memos = by_key(&self.memos, &needs.memos);
        rows.step_inputs = by_key(&self.step_inputs, &needs.step_inputs);
        let begun = |run| (run, 0)..=(run, u32::MAX);
        rows.run_attempts = ranges(&self.run_attempts, &needs.run_attempts, begun);
        rows.steps = ranges(&self.steps, &needs.graphs, |run| (run, 0)..=(run, u32::MAX));
        for run in &needs.hungry {
            let steps = self.steps.range((*run, 0)..=(*run, u32::MAX));
            let hungry = |(_, step): &(_, &super::Step)| {
                step.state == super::StepState::Pending && step.waiting_on == 0
            };
            let found = steps.filter(hungry).take(Needs::HUNGRY);
            rows.steps.extend(found.map(|(key, step)| (*key, step.clone())));
        }
        let ends = rows.edges.keys().map(|(run, _, to)| (*run, *to));
        rows.steps.extend(by_key(&self.steps, &ends.chain(needs.steps.iter().copied()).collect()));
    }

    /// Carries out a claim: what it took before, when it is sent again, else what
    /// [`choose`] says.
    pub fn claim(&mut self, claim: &Claim, now: Timestamp) -> Vec<Claimed> {
        let mine = |task: &&Task| task.holder == Some(claim.instance) && task.claim == claim.seq;
        let before: Vec<TaskId> =
            self.tasks.values().filter(mine).filter(|_| claim.again).map(|task| task.id).collect();
        if before.is_empty() {
            let chosen = choose(self, claim, now);
            return chosen.into_iter().map(|id| self.take(id, claim, now)).collect();
        }
        let mut before: Vec<_> = before.into_iter().map(|id| self.claimed(id)).collect();
        before.sort_by_key(|claimed| (claimed.task.priority, claimed.task.id));
        before
    }

    fn take(&mut self, id: TaskId, claim: &Claim, now: Timestamp) -> Claimed {
        let task = self.tasks[&id].claimed(claim, now);
        self.hold(&task);
        self.tasks.insert(id, task);
        self.claimed(id)
    }

    fn claimed(&self, id: TaskId) -> Claimed {
        Claimed { task: self.tasks[&id].clone(), spec: self.specs[&id].clone() }
    }

    /// The facts for an instance at `now`, at most `limit` of each kind.
    pub fn due(&self, of: InstanceId, limit: usize, now: Timestamp) -> Due {
        let in_phase = |phase| self.tasks.values().filter(move |task| task.phase == phase);
        let mut ripe: Vec<_> =
            in_phase(Phase::Scheduled).filter(|task| task.run_at <= now).cloned().collect();
        ripe.sort_by_key(|task| (task.run_at, task.id));
        ripe.truncate(limit);
        let timers = in_phase(Phase::Scheduled).map(|task| task.run_at);
        let parked = self.capacity.values().map(|key| key.parked_until);
        let held = in_phase(Phase::Running).filter(|task| task.holder == Some(of));
        let holders = in_phase(Phase::Running).filter_map(|task| task.holder);
        let holders: BTreeMap<_, _> =
            holders.map(|id| (id, self.instances.get(&id).cloned())).collect();
        Due {
            ripe,
            next: timers.chain(parked).filter(|time| *time > now).min(),
            foreign: self.foreign.iter().take(limit).copied().collect(),
            held: held.take(limit).cloned().collect(),
            holders: holders.into_iter().take(limit).collect(),
            ready: in_phase(Phase::Ready).next().is_some(),
            tail: self.entries.values().map(|entry| entry.cursor).max().unwrap_or_default(),
        }
    }

    /// The entries of a stream after a cursor. Their cursors must have been given in the
    /// order of the commits.
    pub fn tail(&self, stream: Stream, after: Cursor, limit: usize) -> Vec<Entry> {
        let wanted = |entry: &&Entry| {
            entry.cursor > after && (stream == Stream::All || entry.stream == stream)
        };
        let mut entries: Vec<_> = self.entries.values().filter(wanted).cloned().collect();
        entries.sort_by_key(|entry| entry.cursor);
        entries.truncate(limit);
        entries
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        self.stats_of(None)
    }

    /// The counts for a project, or for all.
    fn stats_of(&self, project: Option<&str>) -> Stats {
        let is_in = |other: &str| project.is_none_or(|project| project == other);
        let mut stats = Stats::default();
        for spec in self.specs.values().filter(|spec| is_in(&spec.project)) {
            *stats.tasks.entry(self.view(spec.id).state()).or_default() += 1;
        }
        for run in self.runs.values().filter(|run| is_in(&run.project)) {
            *stats.runs.entry(run.state).or_default() += 1;
        }
        let open = self.items.values().filter(|item| item.state == ItemState::Open);
        let of = |item: &&Item| self.specs.get(&item.task).is_some_and(|spec| is_in(&spec.project));
        stats.inbox = open.filter(of).count() as u64;
        stats
    }

    /// A page of a list.
    pub fn list(&self, query: &Query) -> Page {
        match query {
            Query::Tasks { filter, after, limit } => {
                let views = newest(&self.specs, *after).map(|(id, _)| self.view(*id));
                Page::Tasks(first(views.filter(|view| filter.takes(view)), *limit))
            }
            Query::Runs { filter, after, limit } => {
                let view = |(id, run): (&RunId, &super::Run)| RunView {
                    run: run.clone(),
                    spec: self.run_specs[id].clone(),
                };
                let views = newest(&self.runs, *after).map(view);
                Page::Runs(first(views.filter(|view| filter.takes(view)), *limit))
            }
            Query::Inbox { filter, after, limit } => {
                Page::Inbox(self.list_items(filter, *after, *limit))
            }
            Query::Capacity { key, after, limit } => {
                let keys = self.capacity.values().filter(|row| {
                    one_of(key, &row.name) && after.as_ref().is_none_or(|after| row.name > *after)
                });
                Page::Capacity(first(keys.map(|key| self.capacity_view(key)), *limit))
            }
            Query::Messages { chat, after, limit } => {
                let messages =
                    self.messages.range((*chat, after.saturating_add(1))..=(*chat, i64::MAX));
                let whole = messages.map(|(_, message)| {
                    let id = message.id;
                    let parts = self.parts.range((id, 0)..=(id, u32::MAX));
                    message.clone().with_parts(parts.map(|(_, part)| part.clone()).collect())
                });
                Page::Messages(first(whole, *limit))
            }
            Query::Sessions { project, after, limit } => {
                let rows = newest(&self.sessions, *after).map(|(_, row)| row);
                let rows = rows.filter(|row| one_of(project, &row.project));
                Page::Sessions(first(rows.cloned(), *limit))
            }
            Query::Chats { project, session, after, limit } => {
                let rows = newest(&self.chats, *after).map(|(_, row)| row).filter(|row| {
                    one_of(project, &row.project) && (session.is_none() || row.session == *session)
                });
                Page::Chats(first(rows.cloned(), *limit))
            }
            Query::Instances => Page::Instances(self.instances.values().cloned().collect()),
            Query::Stats { project } => Page::Stats(self.stats_of(Some(project))),
            Query::Disk => Page::Disk(Disk::default()),
            _ => self.list_agents(query),
        }
    }

    /// A page of what agents leave.
    fn list_agents(&self, query: &Query) -> Page {
        match query {
            Query::Parts { message, from, limit } => {
                let parts = self.parts.range((*message, *from)..=(*message, u32::MAX));
                Page::Parts(first(parts.map(|(_, part)| part.clone()), *limit))
            }
            Query::AgentSessions { chat, after, limit } => {
                let rows = newest(&self.agent_sessions, *after).map(|(_, row)| row);
                let rows = rows.filter(|row| row.chat == Some(*chat));
                Page::AgentSessions(first(rows.cloned(), *limit))
            }
            Query::Ledger { of, after, limit } => {
                let later = self.ledger.iter().filter(|(key, _)| Some(**key) > *after);
                let rows = later.map(|(_, row)| row).filter(|row| row.is_of(*of));
                Page::Ledger(first(rows.cloned(), *limit))
            }
            Query::Spent { of } => {
                let rows = self.ledger.values().filter(|row| row.is_of(*of));
                Page::Spent(rows.fold(super::Spent::default(), super::Spent::plus))
            }
            Query::Turns { chat, after, limit } => {
                let rows = newest(&self.turns, *after).map(|(_, row)| row);
                Page::Turns(first(rows.filter(|row| row.chat == *chat).cloned(), *limit))
            }
            Query::Orphans { host, after, limit } => {
                let rows = newest(&self.processes, *after).map(|(_, row)| row);
                let orphan = |row: &&super::Process| {
                    row.host == *host && !self.instances.contains_key(&row.instance)
                };
                Page::Orphans(first(rows.filter(orphan).cloned(), *limit))
            }
            Query::Agents { host, after, limit } => {
                let rows = self.agents.values().filter(|row| {
                    row.host == *host && after.as_ref().is_none_or(|after| row.name > *after)
                });
                Page::Agents(first(rows.cloned(), *limit))
            }
            other => unreachable!("{other:?} is read by the caller"),
        }
    }

    fn list_items(&self, filter: &ItemFilter, after: Option<ItemId>, limit: u32) -> Vec<Item> {
        let taken = |item: &&Item| {
            let of = self
                .specs
                .get(&item.task)
                .is_some_and(|spec| one_of(&filter.project, &spec.project));
            of && filter.task.is_none_or(|task| item.task == task)
                && (filter.states.is_empty() || filter.states.contains(&item.state))
        };
        if filter.is_open() {
            let later =
                self.items.values().filter(|item| after.is_none_or(|after| item.id > after));
            return first(later.filter(taken).cloned(), limit);
        }
        first(newest(&self.items, after).map(|(_, item)| item).filter(taken).cloned(), limit)
    }

    fn capacity_view(&self, key: &CapacityKey) -> CapacityView {
        let held = self.slots.values().filter(|slot| slot.key == key.name && slot.held.is_some());
        let carries = |task: &&Task| {
            let lane = self.lanes.get(&task.lane);
            lane.is_some_and(|lane| lane.keys.contains(&key.name))
        };
        let ready = self.tasks.values().filter(|task| task.phase == Phase::Ready);
        let waiting = ready.filter(carries).count() as u64;
        CapacityView { key: key.clone(), held: held.count() as u64, waiting }
    }

    fn view(&self, id: TaskId) -> TaskView {
        let mut attempts = self.attempts.range((id, 0)..=(id, i64::MAX));
        TaskView {
            task: self.tasks.get(&id).cloned(),
            spec: self.specs[&id].clone(),
            attempt: attempts.next_back().map(|(_, attempt)| attempt.clone()),
        }
    }
}

impl RunFilter {
    /// Whether the list that it filters has this run.
    pub fn takes(&self, view: &RunView) -> bool {
        one_of(&self.project, &view.spec.project)
            && (self.states.is_empty() || self.states.contains(&view.run.state))
            && one_of(&self.flow, &view.spec.flow)
    }
}

impl TaskFilter {
    /// Whether the list that it filters has this task.
    pub fn takes(&self, view: &TaskView) -> bool {
        let spec = &view.spec;
        let label = |(name, value): &(String, String)| spec.labels.get(name) == Some(value);
        one_of(&self.project, &spec.project)
            && (self.states.is_empty() || self.states.contains(&view.state()))
            && one_of(&self.kind, &spec.kind)
            && (self.parent.is_none() || spec.parent == self.parent)
            && (self.arena.is_none() || spec.arena == self.arena)
            && (self.chat.is_none() || spec.chat == self.chat)
            && (self.run.is_none() || spec.step.map(|(run, _)| run) == self.run)
            && self.label.as_ref().is_none_or(label)
    }
}

fn by_key<K: Ord + Clone, V: Clone>(rows: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    keys.iter().filter_map(|key| Some((key.clone(), rows.get(key)?.clone()))).collect()
}

/// The rows in the ranges that `keys` open.
fn ranges<P: Copy, K: Ord + Clone, V: Clone>(
    rows: &BTreeMap<K, V>,
    keys: &BTreeSet<P>,
    range: impl Fn(P) -> RangeInclusive<K>,
) -> BTreeMap<K, V> {
    let rows = keys.iter().flat_map(|key| rows.range(range(*key)));
    rows.map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// The rows that are `wanted`, found by looking at all of them if there is anything to look for.
fn picked<K: Ord + Clone, V: Clone>(
    rows: &BTreeMap<K, V>,
    any: bool,
    wanted: impl Fn(&V) -> bool,
) -> BTreeMap<K, V> {
    let wanted = rows.iter().filter(|(_, row)| any && wanted(row));
    wanted.map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// From the newest to the oldest, after the last one of the page before.
fn newest<K: Ord, V>(rows: &BTreeMap<K, V>, after: Option<K>) -> impl Iterator<Item = (&K, &V)> {
    rows.iter().rev().filter(move |(key, _)| after.as_ref().is_none_or(|after| *key < after))
}

fn first<T>(rows: impl Iterator<Item = T>, limit: u32) -> Vec<T> {
    rows.take(limit as usize).collect()
}

fn one_of(wanted: &Option<String>, actual: &str) -> bool {
    wanted.as_ref().is_none_or(|wanted| wanted == actual)
}
