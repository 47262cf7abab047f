//! Loading rows by key.

use std::{borrow::Cow, collections::BTreeSet};

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    agents,
    failure::Attempted,
    hosts,
    pipe::{Line, Param, Pipe, params},
    rows::{self, Cells},
    sql,
};
use crate::{
    error::Result,
    id::{ChatId, InstanceId, ItemId, MessageId, RunId, SessionId, TaskId},
    model::{Needs, Rows},
};

/// Puts one row where it belongs.
type Read = fn(&mut Rows, &mut Cells<'_>) -> Result<()>;

/// Statements that load rows, and how their answers are read.
pub(super) struct Load<'a> {
    pub pipe: Pipe<'a>,
    reads: Vec<(usize, Read)>,
    lock: bool,
}

/// Loads and locks what a plan needs. What is locked comes first, in the one order that
/// everybody keeps; what it protects is read by later statements, which see it as it was when
/// the locks were given.
pub(super) async fn lock(line: Line<'_>, needs: &Needs) -> Attempted<Rows> {
    Load::locked(Pipe::default(), needs).send(line).await
}

impl<'a> Load<'a> {
    /// Loads without locks, with the statements that `pipe` already has.
    pub fn unlocked(pipe: Pipe<'a>, needs: &Needs) -> Self {
        let mut load = Self { pipe, reads: Vec::new(), lock: false };
        match needs.everything {
            true => load.add_everything(),
            false => load.add_all(needs),
        }
        load
    }

    /// Loads and locks, behind the statements that `pipe` already has.
    pub fn locked(pipe: Pipe<'a>, needs: &Needs) -> Self {
        let mut load = Self { pipe, reads: Vec::new(), lock: true };
        load.add_all(needs);
        load
    }

    /// Sends everything, and asks for the oldest schema that may write.
    pub async fn send_with_version(mut self, line: Line<'_>) -> Attempted<(Vec<Row>, Rows)> {
        let place = self.pipe.add(sql::WRITER_MIN, Vec::new());
        let mut answers = self.pipe.send(line).await?;
        let version = std::mem::take(&mut answers[place]);
        Ok((version, read(&self.reads, &answers)?))
    }

    /// Sends everything.
    pub async fn send(self, line: Line<'_>) -> Attempted<Rows> {
        Ok(read(&self.reads, &self.pipe.send(line).await?)?)
    }

    fn add(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param<'a>>, read: Read) {
        let place = self.pipe.add(sql, params);
        self.reads.push((place, read));
    }

    fn add_locked(&mut self, sql: &'static str, params: Vec<Param<'a>>, read: Read) {
        match self.lock {
            true => self.add(format!("{sql}{}", sql::LOCKED), params, read),
            false => self.add(sql, params, read),
        }
    }

    fn add_all(&mut self, needs: &Needs) {
        self.add_owners(needs);
        self.add_tasks(needs);
        self.add_chats(needs);
        self.add_runs(needs);
    }

    /// What is locked: runs, chats, tasks, what agents leave, capacity keys. Children come last of the tasks,
    /// since only then it is known which they are.
    fn add_owners(&mut self, needs: &Needs) {
        if !needs.routes.is_empty() {
            self.add(sql::ROUTE, params![tasks(&needs.routes)], put_route);
        }
        if !needs.turn_routes.is_empty() {
            let ids: Vec<_> = needs.turn_routes.iter().map(|id| id.as_uuid()).collect();
            self.add(sql::TURN_ROUTE, params![ids], put_turn_route);
        }
        if !needs.runs.is_empty() {
            self.add_locked(sql::RUN, params![runs(&needs.runs)], put_run);
        }
        if !needs.runs_under.is_empty() {
            self.add_locked(sql::RUNS_UNDER, params![tasks(&needs.runs_under)], put_run);
        }
        if !needs.chats.is_empty() {
            self.add_locked(sql::CHAT, params![chats(&needs.chats)], put_chat);
        }
        if !(needs.tasks.is_empty() && needs.heads.is_empty()) {
            let ids: BTreeSet<_> = needs.tasks.union(&needs.heads).copied().collect();
            self.add_locked(sql::TASK, params![tasks(&ids)], put_task);
        }
        if !needs.children.is_empty() {
            self.add_locked(sql::CHILD_TASKS, params![tasks(&needs.children)], put_task);
        }
        if !needs.turns.is_empty() {
            let ids: Vec<_> = needs.turns.iter().map(|id| id.as_uuid()).collect();
            self.add_locked(sql::TURN, params![ids], put_turn);
        }
        self.add_agents(needs);
        if !needs.processes.is_empty() {
            let ids: Vec<_> = needs.processes.iter().map(|id| id.as_uuid()).collect();
            self.add_locked(sql::PROCESS, params![ids], put_process);
        }
        if !needs.agents.is_empty() {
            let (hosts, names): (Vec<_>, Vec<_>) = needs.agents.iter().cloned().unzip();
            self.add_locked(sql::AGENT, params![hosts, names], put_agent);
        }
        if !needs.capacity.is_empty() {
            let names: Vec<String> = needs.capacity.iter().cloned().collect();
            self.add_locked(sql::CAPACITY, params![names.clone()], put_capacity);
            self.add(sql::SLOTS, params![names], put_slot);
        }
    }

    /// Behind their chats.
    fn add_agents(&mut self, needs: &Needs) {
        if !needs.prompts.is_empty() {
            self.add(sql::PROMPT, params![tasks(&needs.prompts)], put_prompt);
        }
        if !needs.lines.is_empty() {
            let keys = needs.lines.iter();
            let (whose, after): (Vec<_>, Vec<i64>) =
                keys.map(|(chat, agent, after)| ((chat.as_uuid(), agent.clone()), *after)).unzip();
            let (chats, agents): (Vec<_>, Vec<_>) = whose.into_iter().unzip();
            let params = params![chats, agents, after, Needs::LINE as i64];
            self.add(sql::PROMPTS_IN_LINE, params, put_prompt);
        }
        if !needs.prompts_of.is_empty() {
            self.add(sql::PROMPTS_OF, params![chats(&needs.prompts_of)], put_prompt);
        }
        if !needs.open_turns.is_empty() {
            self.add(sql::OPEN_TURNS, params![chats(&needs.open_turns)], put_turn);
        }
        if !needs.agent_sessions.is_empty() {
            let ids: Vec<_> = needs.agent_sessions.iter().map(|id| id.as_uuid()).collect();
            self.add_locked(sql::AGENT_SESSION, params![ids], put_agent_session);
        }
        if !needs.newest_sessions.is_empty() {
            let keys = needs.newest_sessions.iter();
            let (chats, agents): (Vec<_>, Vec<_>) =
                keys.map(|(chat, agent)| (chat.as_uuid(), agent.clone())).unzip();
            self.add_locked(sql::NEWEST_AGENT_SESSION, params![chats, agents], put_agent_session);
        }
        if !needs.parts.is_empty() {
            let keys = needs.parts.iter();
            let (messages, nos): (Vec<_>, Vec<_>) =
                keys.map(|(message, no)| (message.as_uuid(), *no as i32)).unzip();
            self.add(sql::PART, params![messages, nos], put_part);
        }
        if !needs.ledger.is_empty() {
            let keys = needs.ledger.iter();
            let (sessions, sources): (Vec<_>, Vec<_>) =
                keys.map(|(session, source)| (session.as_uuid(), source.clone())).unzip();
            self.add(sql::BOOKING, params![sessions, sources], put_booking);
        }
    }

    fn add_tasks(&mut self, needs: &Needs) {
        if !needs.specs.is_empty() {
            self.add(sql::SPEC, params![tasks(&needs.specs)], put_spec);
        }
        if !needs.children.is_empty() {
            self.add(sql::CHILDREN, params![tasks(&needs.children)], put_spec);
        }
        if !needs.attempts.is_empty() {
            self.add(sql::ATTEMPTS, params![tasks(&needs.attempts)], put_attempt);
        }
        if !needs.memos.is_empty() {
            let keys: Vec<_> = needs.memos.iter().map(|key| key.as_bytes().to_vec()).collect();
            self.add(sql::MEMO, params![keys], put_memo);
        }
        if !needs.items_of.is_empty() {
            self.add(sql::ITEMS_OF, params![tasks(&needs.items_of)], put_item);
        }
        if !needs.items.is_empty() {
            let ids: Vec<_> = needs.items.iter().map(|id: &ItemId| id.as_uuid()).collect();
            self.add(sql::ITEM, params![ids], put_item);
        }
        if !needs.unique.is_empty() {
            let (projects, keys): (Vec<String>, Vec<String>) = needs.unique.iter().cloned().unzip();
            self.add(sql::UNIQUE, params![projects, keys], put_unique);
        }
        if !needs.lanes.is_empty() {
            let ids: Vec<i64> = needs.lanes.iter().copied().collect();
            self.add(sql::LANE, params![ids], put_lane);
        }
    }

    fn add_chats(&mut self, needs: &Needs) {
        if !needs.sessions.is_empty() {
            let ids: Vec<_> = needs.sessions.iter().map(|id: &SessionId| id.as_uuid()).collect();
            self.add(sql::SESSION, params![ids], put_session);
        }
        if !needs.messages.is_empty() {
            let ids: Vec<_> = needs.messages.iter().map(|id: &MessageId| id.as_uuid()).collect();
            self.add(sql::MESSAGE, params![ids], put_message);
        }
        if !needs.instances.is_empty() {
            let ids: Vec<_> = needs.instances.iter().map(|id: &InstanceId| id.as_uuid()).collect();
            self.add(sql::INSTANCE, params![ids], put_instance);
        }
    }

    fn add_runs(&mut self, needs: &Needs) {
        if !needs.run_specs.is_empty() {
            self.add(sql::RUN_SPEC, params![runs(&needs.run_specs)], put_run_spec);
        }
        if !needs.steps.is_empty() {
            let (run, no) = steps(&needs.steps);
            self.add(sql::STEP, params![run, no], put_step);
        }
        if !needs.dependents.is_empty() {
            let (run, no) = steps(&needs.dependents);
            self.add(sql::EDGES_FROM, params![run.clone(), no.clone()], put_edge);
            self.add(sql::STEPS_AFTER, params![run, no], put_step);
        }
        if !needs.hungry.is_empty() {
            let params = params![runs(&needs.hungry), Needs::HUNGRY as i64];
            self.add(sql::STEPS_HUNGRY, params, put_step);
        }
        if !needs.run_attempts.is_empty() {
            self.add(sql::RUN_ATTEMPTS, params![runs(&needs.run_attempts)], put_run_attempt);
        }
        if !needs.step_inputs.is_empty() {
            let (run, no) = steps(&needs.step_inputs);
            self.add(sql::STEP_INPUT, params![run, no], put_step_input);
        }
        if !needs.graphs.is_empty() {
            self.add(sql::STEPS_OF, params![runs(&needs.graphs)], put_step);
            self.add(sql::EDGES_OF, params![runs(&needs.graphs)], put_edge);
        }
    }

    /// A dump, for audits.
    fn add_everything(&mut self) {
        let all: [(&'static str, Read); 27] = [
            (sql::all(sql::TASK), put_task),
            (sql::all(sql::SPEC), put_spec),
            (sql::all(sql::ATTEMPTS), put_attempt),
            (sql::all(sql::MEMO), put_memo),
            (sql::all(sql::ITEM), put_item),
            (sql::UNIQUE_ALL, put_unique),
            (sql::all(sql::CAPACITY), put_capacity),
            (sql::all(sql::SLOTS), put_slot),
            (sql::all(sql::LANE), put_lane),
            (sql::all(sql::SESSION), put_session),
            (sql::all(sql::CHAT), put_chat),
            (sql::all(sql::MESSAGE), put_message),
            (sql::all(sql::RUN), put_run),
            (sql::all(sql::RUN_SPEC), put_run_spec),
            (sql::all(sql::STEPS_OF), put_step),
            (sql::all(sql::EDGES_OF), put_edge),
            (sql::STEP_INPUTS_ALL, put_step_input),
            (sql::all(sql::RUN_ATTEMPTS), put_run_attempt),
            (sql::INSTANCES_ALL, put_instance),
            (sql::ENTRIES_ALL, put_entry),
            (sql::all(sql::TURN), put_turn),
            (sql::all(sql::AGENT_SESSION), put_agent_session),
            (sql::all(sql::PROMPT), put_prompt),
            (sql::LEDGER_ALL, put_booking),
            (sql::PARTS_ALL, put_part),
            (sql::all(sql::PROCESS), put_process),
            (sql::AGENTS_ALL, put_agent),
        ];
        for (sql, read) in all {
            self.add(sql, Vec::new(), read);
        }
    }
}

fn read(reads: &[(usize, Read)], answers: &[Vec<Row>]) -> Result<Rows> {
    let mut found = Rows::default();
    for (place, read) in reads {
        for row in &answers[*place] {
            read(&mut found, &mut Cells::new(row))?;
        }
    }
    Ok(found)
}

fn tasks(ids: &BTreeSet<TaskId>) -> Vec<Uuid> {
    ids.iter().map(|id| id.as_uuid()).collect()
}

fn runs(ids: &BTreeSet<RunId>) -> Vec<Uuid> {
    ids.iter().map(|id| id.as_uuid()).collect()
}

fn chats(ids: &BTreeSet<ChatId>) -> Vec<Uuid> {
    ids.iter().map(|id| id.as_uuid()).collect()
}

fn steps(keys: &BTreeSet<(RunId, u32)>) -> (Vec<Uuid>, Vec<i32>) {
    keys.iter().map(|(run, no)| (run.as_uuid(), *no as i32)).unzip()
}

fn put_route(found: &mut Rows, cells: &mut Cells<'_>) -> Result<()> {
    let (id, route) = rows::route(cells)?;
    found.routes.insert(id, route);
    Ok(())
}

fn put_turn_route(found: &mut Rows, cells: &mut Cells<'_>) -> Result<()> {
    let (id, chat, session) = (cells.id()?, cells.id()?, cells.id()?);
    found.turn_routes.insert(id, (chat, session));
    Ok(())
}

fn put_spec(found: &mut Rows, cells: &mut Cells<'_>) -> Result<()> {
    let (spec, foreign) = rows::spec(cells)?;
    found.foreign.extend(foreign.then_some(spec.id));
    found.specs.insert(spec.id, spec);
    Ok(())
}

fn put_unique(found: &mut Rows, cells: &mut Cells<'_>) -> Result<()> {
    let key = (cells.next()?, cells.next()?);
    found.unique.insert(key, cells.id()?);
    Ok(())
}

fn put_edge(found: &mut Rows, cells: &mut Cells<'_>) -> Result<()> {
    let (edge, terms) = rows::edge(cells)?;
    found.edges.insert(edge, terms);
    Ok(())
}

fn put_step_input(found: &mut Rows, cells: &mut Cells<'_>) -> Result<()> {
    let (step, input) = rows::step_input(cells)?;
    found.step_inputs.insert(step, input);
    Ok(())
}

/// A function that puts a row into a map, for each kind of row that has nothing special.
macro_rules! puts {
    ($($name:ident: $($read:ident)::+ in $map:ident by |$row:ident| $key:expr;)+) => {$(
        fn $name(found: &mut Rows, cells: &mut Cells<'_>) -> Result<()> {
            let $row = $($read)::+(cells)?;
            found.$map.insert($key, $row);
            Ok(())
        }
    )+};
}
puts! {
    put_task: rows::task in tasks by |row| row.id;
    put_attempt: rows::attempt in attempts by |row| (row.task, row.lease);
    put_memo: rows::memo in memos by |row| row.key;
    put_item: rows::item in items by |row| row.id;
    put_capacity: rows::capacity in capacity by |row| row.name.clone();
    put_slot: rows::slot in slots by |row| (row.key.clone(), row.n);
    put_lane: rows::lane in lanes by |row| row.id;
    put_session: rows::session in sessions by |row| row.id;
    put_chat: rows::chat in chats by |row| row.id;
    put_message: rows::message in messages by |row| (row.chat, row.seq);
    put_run: rows::run in runs by |row| row.id;
    put_run_spec: rows::run_spec in run_specs by |row| row.id;
    put_step: rows::step in steps by |row| (row.run, row.no);
    put_run_attempt: rows::run_attempt in run_attempts by |row| (row.run, row.attempt);
    put_instance: rows::instance in instances by |row| row.id;
    put_entry: rows::entry in entries by |row| (row.stream, row.seq);
    put_turn: agents::turn in turns by |row| row.id;
    put_prompt: agents::prompt in prompts by |row| row.task;
    put_process: hosts::process in processes by |row| row.id;
    put_agent: hosts::agent in agents by |row| (row.host.clone(), row.name.clone());
    put_part: agents::part in parts by |row| (row.message, row.no);
    put_booking: agents::booking in ledger by |row| (row.session, row.no);
    put_agent_session: agents::agent_session in agent_sessions by |row| row.id;
}
