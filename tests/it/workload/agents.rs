//! Random turns of agents.

use segue::{id::TurnId, model::*};

use super::Workload;

const AGENTS: [&str; 2] = ["claude", "codex"];

impl Workload {
    pub(super) fn of_an_agent(&mut self, rows: &Rows) -> Command {
        match self.rng.u32(0..10) {
            0..5 => self.begin(rows),
            5..7 => Command::NoteSession {
                turn: self.turn(rows),
                id: self.token().to_owned(),
                port: self.chance(20).then_some(4096),
            },
            _ => Command::Prompting { turn: self.turn(rows), seen: self.rng.i64(0..9) },
        }
    }

    /// Mostly of a task that is held.
    fn begin(&mut self, rows: &Rows) -> Command {
        let running = rows.tasks.values().filter(|task| task.phase == Phase::Running);
        let running: Vec<_> = running.map(|task| (task.id, task.lease)).collect();
        let (task, lease) = self.pick(running).unwrap_or_else(|| (self.task(rows), 1));
        let begun = rows.turns.get(&TurnId::of(task, lease)).filter(|_| self.chance(90)).cloned();
        let known = begun.as_ref().map(|turn| turn.chat).or_else(|| self.chat(rows));
        let agent = begun.as_ref().map(|turn| turn.agent.clone());
        let sessions = [Sessions::Ours, Sessions::Theirs, Sessions::Theirs, Sessions::None];
        let taken = self.pick(rows.agent_sessions.keys().copied()).filter(|_| self.chance(5));
        Command::BeginTurn(Box::new(BeginTurn {
            task,
            lease: lease - i64::from(self.chance(5)),
            chat: known.unwrap_or_else(|| self.id()),
            agent: agent.unwrap_or_else(|| self.pick(AGENTS).unwrap_or("claude").into()),
            transport: self.pick([Transport::Cli, Transport::Acp]).unwrap_or(Transport::Cli),
            sessions: self.pick(sessions).unwrap_or(Sessions::Theirs),
            fingerprint: if self.chance(15) { "other".into() } else { "same".into() },
            host: if self.chance(10) { "elsewhere".into() } else { "here".into() },
            worktree: self.rng.bool().then(|| "/work".into()),
            session: taken.unwrap_or_else(|| self.id()),
            proposed: if self.chance(3) { String::new() } else { "ours".into() },
            carries: self.rng.bool(),
            lost: self.chance(25).then(|| self.token().into()),
        }))
    }

    fn token(&mut self) -> &'static str {
        self.pick(["one", "two"]).unwrap_or("one")
    }

    /// Mostly one that is open.
    fn turn(&mut self, rows: &Rows) -> TurnId {
        let open = rows.turns.values().filter(|turn| turn.state.is_open());
        let open = self.pick(open.map(|turn| turn.id)).filter(|_| self.chance(90));
        let known = open.or_else(|| self.pick(rows.turns.keys().copied()));
        known.unwrap_or_else(|| self.id())
    }

    /// How the turn of an attempt ended, where there may be one.
    pub(super) fn turn_end(&mut self, rows: &Rows, held: &Task) -> Option<TurnEnd> {
        let begun = rows.turns.contains_key(&TurnId::of(held.id, held.lease));
        if !self.chance(if begun { 70 } else { 5 }) {
            return None;
        }
        use TurnState::*;
        let states = [
            Completed,
            Completed,
            Completed,
            Prompted,
            Refused,
            LimitReached,
            RateLimited,
            Cancelled,
            SessionLost,
            Crashed,
            Interrupted,
            Failed,
        ];
        Some(TurnEnd {
            state: self.pick(states).unwrap_or(Completed),
            reason: self.rng.bool().then(|| "a\0reason".into()),
            seen: self.rng.i64(0..12),
            compacted: self.chance(10),
        })
    }
}
