//! What must hold between turns, agents' sessions and their tasks.

use std::collections::{BTreeMap, BTreeSet};

use super::Audit;
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, MessageId, TaskId, TurnId},
    model::{
        AgentSession, AgentSessionState, LineId, Phase, Spent, Task, TaskFlags, TaskSpec, Turn,
        TurnState,
    },
};

impl Audit<'_> {
    pub(super) fn agents(&mut self) {
        self.rows.turns.values().for_each(|turn| self.turn(turn));
        self.rows.agent_sessions.values().for_each(|session| self.agent_session(session));
        self.one_at_a_time();
        self.lines();
        self.generations();
        self.accounts();
        self.parts();
    }

    /// The parts of a message are counted from 0, and know what was said before them.
    fn parts(&mut self) {
        let mut next: BTreeMap<MessageId, (u32, u64)> = BTreeMap::new();
        let ids: BTreeSet<_> = self.rows.messages.values().map(|message| message.id).collect();
        for part in self.rows.parts.values() {
            let (no, offset) = next.entry(part.message).or_default();
            let fits = (part.no, part.offset) == (*no, *offset) && ids.contains(&part.message);
            (*no, *offset) = (part.no + 1, part.offset + part.length());
            self.expect(fits, || {
                format!("part {} of message {} is out of place", part.no, part.message)
            });
        }
    }

    /// The rows of a session are counted from 1, and it has used what they say.
    fn accounts(&mut self) {
        let mut sums: BTreeMap<AgentSessionId, Spent> = BTreeMap::new();
        let mut turns: BTreeMap<TurnId, Spent> = BTreeMap::new();
        let mut sources = BTreeSet::new();
        for ((session, no), row) in &self.rows.ledger {
            let sum = sums.entry(*session).or_default();
            *sum = sum.plus(row);
            let of_turn = turns.entry(row.turn).or_default();
            *of_turn = of_turn.plus(row);
            let counted = u64::from(*no) == sum.bookings;
            let first = sources.insert((*session, &row.source));
            self.expect(counted && first, || {
                format!("booking {no} of agent's session {session} is out of place")
            });
        }
        for (id, session) in &self.rows.agent_sessions {
            let sum = sums.remove(id).unwrap_or_default();
            let says = Spent {
                bookings: session.bookings.into(),
                tokens: session.tokens,
                cost: session.cost,
            };
            self.expect(sum == says, || format!("agent's session {id} says {says:?}, not {sum:?}"));
        }
        self.expect(sums.is_empty(), || format!("bookings of no session: {sums:?}"));
        // One that was begun again in a chat of the same id has forgotten what it used before.
        for turn in self.rows.turns.values() {
            let sum = turns.get(&turn.id).copied().unwrap_or_default();
            let within = sum.tokens.since(turn.tokens).is_some() && turn.cost <= sum.cost;
            self.expect(within, || format!("turn {} says that it used more than {sum:?}", turn.id));
        }
    }

    fn turn(&mut self, turn: &Turn) {
        let (rows, id) = (self.rows, turn.id);
        self.expect(id == TurnId::of(turn.task, turn.lease), || {
            format!("turn {id} is not that of its task {} and lease {}", turn.task, turn.lease)
        });
        let chat = rows.chats.contains_key(&turn.chat);
        self.expect(chat, || format!("turn {id} is in a missing chat"));
        let own = |session: &&AgentSession| {
            (session.chat, &session.agent, session.generation)
                == (Some(turn.chat), &turn.agent, turn.generation)
        };
        let session = rows.agent_sessions.get(&turn.session).filter(own);
        self.expect(session.is_some(), || format!("turn {id} is taken in no session of its agent"));
        let open = turn.state.is_open();
        let times = [
            open == (turn.ended_at == Timestamp::ZERO),
            turn.state != TurnState::Begun || turn.prompted_at == Timestamp::ZERO,
            turn.state != TurnState::Prompted || turn.prompted_at != Timestamp::ZERO,
        ];
        self.expect(!times.contains(&false), || {
            let (prompted, ended) = (turn.prompted_at, turn.ended_at);
            format!("turn {id} is {:?}, prompted at {prompted} and ended at {ended}", turn.state)
        });
        let held = rows.tasks.get(&turn.task).is_some_and(|task| {
            let (phase, flags) = (task.phase, task.flags);
            phase == Phase::Running && task.lease == turn.lease && flags.has(TaskFlags::TURN)
        });
        self.expect(held == open, || {
            format!("turn {id} is {:?}, and its task is held for it: {held}", turn.state)
        });
        let active = session.is_some_and(|session| session.state == AgentSessionState::Active);
        self.expect(!open || active, || {
            format!("turn {id} is taken in a session that is not active")
        });
    }

    fn agent_session(&mut self, session: &AgentSession) {
        let id = session.id;
        let chat = session.chat.is_none_or(|chat| self.rows.chats.contains_key(&chat));
        self.expect(chat, || format!("agent's session {id} is of a missing chat"));
        let closed = !session.is_open();
        let told = (session.reason.is_some(), session.closed_at != Timestamp::ZERO);
        self.expect(told == (closed, closed), || {
            let (state, at) = (session.state, session.closed_at);
            format!("agent's session {id} is {state:?} and closed at {at}: {:?}", session.reason)
        });
        let turn = |turn: &&Turn| turn.session == id && turn.state.is_open();
        let active = self.rows.turns.values().any(|row| turn(&row));
        let says = session.state == AgentSessionState::Active;
        // One whose chat was deleted in the middle of a turn is left as it was.
        self.expect(active == says || session.chat.is_none(), || {
            format!("agent's session {id} is {:?}, and has an open turn: {active}", session.state)
        });
    }

    /// An agent takes one turn in a chat at a time.
    fn one_at_a_time(&mut self) {
        let mut open: BTreeMap<(ChatId, &str), TurnId> = BTreeMap::new();
        for turn in self.rows.turns.values().filter(|turn| turn.state.is_open()) {
            let other = open.insert((turn.chat, &turn.agent), turn.id);
            self.expect(other.is_none(), || {
                format!("{} takes the turns {other:?} and {} at once", turn.agent, turn.id)
            });
        }
    }

    /// Every prompt that has not ended is noted, and of those in a line all but the first wait.
    fn lines(&mut self) {
        let rows = self.rows;
        let mut lines: BTreeMap<LineId, BTreeMap<i64, TaskId>> = BTreeMap::new();
        for prompt in rows.prompts.values() {
            let id = prompt.task;
            let spec = rows.specs.get(&id).and_then(TaskSpec::line);
            let own = spec == Some(prompt.line()) && rows.chats.contains_key(&prompt.chat);
            let open = rows.tasks.get(&id).is_some_and(|task| !task.state().is_terminal());
            self.expect(own && open, || format!("prompt {id} is not of a task that waits in line"));
            let Some(place) = prompt.place else { continue };
            let other = lines.entry(prompt.line()).or_default().insert(place, id);
            self.expect(other.is_none(), || format!("{other:?} and {id} are at place {place}"));
        }
        let heads: BTreeSet<TaskId> =
            lines.values().filter_map(|line| line.values().next().copied()).collect();
        let prompts = rows.tasks.values().filter(|task| task.flags.has(TaskFlags::PROMPT));
        for task in prompts.filter(|task| !task.state().is_terminal()) {
            self.in_line(task, heads.contains(&task.id));
        }
    }

    fn in_line(&mut self, task: &Task, is_head: bool) {
        let (id, phase) = (task.id, task.phase);
        let Some(prompt) = self.rows.prompts.get(&id) else {
            // Its chat was deleted while it was at work.
            let stops = phase == Phase::Running && task.flags.has(TaskFlags::CANCEL);
            return self.expect(stops, || format!("prompt {id} is {phase:?} and of no line"));
        };
        let waits = phase == Phase::Waiting && !task.flags.has(TaskFlags::AWAITS);
        let fits = match prompt.place {
            None => matches!(phase, Phase::Paused | Phase::Scheduled),
            Some(_) => waits != is_head && phase != Phase::Paused,
        };
        self.expect(fits, || {
            format!("prompt {id} is {phase:?} at place {:?}, first: {is_head}", prompt.place)
        });
    }

    /// The sessions of an agent in a chat are counted from 1, and only the newest may be open.
    fn generations(&mut self) {
        let mut all: BTreeMap<(ChatId, &str), BTreeMap<u32, Vec<AgentSessionId>>> = BTreeMap::new();
        for session in self.rows.agent_sessions.values() {
            let Some(chat) = session.chat else { continue };
            let of = all.entry((chat, &session.agent)).or_default();
            of.entry(session.generation).or_default().push(session.id);
        }
        for ((chat, agent), generations) in all {
            let counted = (1..)
                .zip(&generations)
                .all(|(n, (generation, ids))| (n, 1) == (*generation, ids.len()));
            self.expect(counted, || {
                format!("the sessions of {agent} in chat {chat} are not counted: {generations:?}")
            });
            let older = generations.values().rev().skip(1).flatten();
            let open = older.filter(|id| self.rows.agent_sessions[id].is_open()).count();
            self.expect(open == 0, || {
                format!("an old session of {agent} in chat {chat} is not closed")
            });
        }
    }
}
