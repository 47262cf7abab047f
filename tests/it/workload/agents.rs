//! Random turns of agents.

use segue::{
    clock::Timestamp,
    id::{MessageId, TurnId},
    model::*,
};

use super::Workload;

const AGENTS: [&str; 2] = ["claude", "codex"];

impl Workload {
    pub(super) fn of_an_agent(&mut self, rows: &Rows) -> Command {
        match self.rng.u32(0..20) {
            18..20 => self.on_a_host(rows),
            10..14 => self.book(rows),
            14..18 => self.write(rows),
            0..5 => self.begin(rows),
            5..7 => Command::NoteSession {
                turn: self.turn(rows),
                id: self.token().to_owned(),
                port: self.chance(20).then_some(4096),
            },
            _ => Command::Prompting { turn: self.turn(rows), seen: self.rng.i64(0..9) },
        }
    }

    /// What happens to those who stand in line in few chats.
    pub(super) fn in_line(&mut self, rows: &Rows) -> Command {
        let prompt = self.pick(rows.prompts.keys().copied()).filter(|_| self.chance(90));
        let prompt = prompt.unwrap_or_else(|| self.task(rows));
        let paused = rows.tasks.values().filter(|task| task.phase == Phase::Paused);
        let paused: Vec<_> = paused.map(|task| task.id).collect();
        match self.rng.u32(0..20) {
            0..9 => Command::Enqueue(Box::new(self.prompt(rows))),
            9..12 => Command::Interject(Box::new(self.prompt(rows))),
            12 => {
                let count = self.rng.u32(0..4);
                Command::EnqueueAll((0..count).map(|_| self.prompt(rows)).collect())
            }
            13 | 14 => Command::Cancel(prompt),
            15 => Command::Pause(prompt),
            16 => Command::Resume(self.pick(paused).unwrap_or(prompt)),
            17 => Command::Retry(self.failed(rows)),
            18 => self.import(rows),
            _ => match self.rng.u32(0..3) {
                0 => self.talk(rows),
                1 => self.past(rows),
                _ => self.fork(rows),
            },
        }
    }

    fn past(&mut self, rows: &Rows) -> Command {
        let messages = self.said_before(rows);
        let known = self.pick(rows.messages.values().map(|message| message.id));
        let read = self.pick(messages.iter().map(|message| message.id)).or(known);
        let taken = self.pick(rows.agent_sessions.keys().copied()).filter(|_| self.chance(10));
        let session = PastSession {
            id: taken.unwrap_or_else(|| self.id()),
            agent: self.pick(AGENTS).unwrap_or("claude").into(),
            transport: Transport::Cli,
            token: if self.chance(5) { String::new() } else { self.token().into() },
            host: "here".into(),
            worktree: self.rng.bool().then(|| "/work".into()),
            seen: read.filter(|_| self.rng.bool()),
            counters: [].into(),
            last_active_at: Timestamp::from_micros(self.rng.i64(1..1_000_000)),
        };
        let sessions = self.chance(70).then_some(session).into_iter().collect();
        let chat = self.chat(rows).unwrap_or_else(|| self.id());
        Command::ImportChat(Box::new(ImportChat { chat, messages, sessions }))
    }

    fn fork(&mut self, rows: &Rows) -> Command {
        let forks = rows.chats.values().filter_map(|chat| Some((chat.id, chat.forked_from?)));
        let known = self.pick(forks.collect::<Vec<_>>()).filter(|_| self.chance(50));
        let new =
            || (self.id(), (self.chat(rows).unwrap_or_else(|| self.id()), self.rng.i64(0..9)));
        let (chat, (from, seq)) = known.unwrap_or_else(new);
        let messages = self.said_before(rows);
        Command::ForkChat(Box::new(ForkChat { chat, from, seq, messages }))
    }

    fn said_before(&mut self, rows: &Rows) -> Vec<PastMessage> {
        let count = self.rng.usize(0..3);
        let past = |this: &mut Self| {
            let NewMessage { id, role, content, task } = this.message(rows);
            let created_at = Timestamp::from_micros(this.rng.i64(1..1_000_000));
            PastMessage { id, role, content, task, created_at }
        };
        (0..count).map(|_| past(self)).collect()
    }

    fn prompt(&mut self, rows: &Rows) -> TaskSpec {
        let spec = self.spec(rows);
        let (chat, run_at) = (self.chat(rows), spec.run_at.filter(|_| self.chance(40)));
        TaskSpec {
            project: "default".into(),
            kind: "agent".into(),
            agent: self.pick(AGENTS).map(str::to_owned),
            chat: chat.filter(|_| self.chance(95)),
            unique_key: spec.unique_key.filter(|_| self.chance(20)),
            run_at,
            ..spec
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

    /// Mostly of the session that a turn is taken in; some sources come up again.
    fn book(&mut self, rows: &Rows) -> Command {
        let turn = self.turn(rows);
        let known = rows.turns.get(&turn).map(|turn| (turn.session, turn.task));
        let sessions = rows.agent_sessions.keys().copied();
        let other = self.pick(sessions).map(|session| (session, self.task(rows)));
        let (session, task) = match known.filter(|_| self.chance(90)).or(other) {
            Some(known) => known,
            None => (self.id(), self.task(rows)),
        };
        let count = self.rng.usize(0..3);
        let reports = (0..count).map(|_| self.report()).collect();
        Command::Book(Box::new(Book { session, turn, task, reports }))
    }

    fn report(&mut self) -> UsageReport {
        let mut number = || self.rng.u64(0..500);
        let tokens = Tokens {
            input: number(),
            cache_read: number(),
            cache_write: 0,
            output: number(),
            reasoning: number(),
        };
        let cumulative = |this: &mut Self| match this.rng.bool() {
            true => Metering::Cumulative,
            false => Metering::Delta,
        };
        UsageReport {
            source: format!("event {}", self.rng.u32(0..40)),
            model: self.rng.bool().then(|| "m".into()),
            metering: cumulative(self),
            tokens,
            cost: self.rng.bool().then(|| (cumulative(self), self.rng.i64(-5..900))),
            raw: Payload::trusted("{\"a\": 1.0}".into()),
        }
    }

    /// Of a chat, a task or a run that was at work, or of any.
    pub(super) fn account(&mut self, rows: &Rows) -> Account {
        let booked = self.pick(rows.ledger.values().cloned());
        let run = self.run(rows);
        match (self.rng.u32(0..3), booked) {
            (0, Some(row)) => row.chat.map_or(Account::Task(row.task), Account::Chat),
            (1, Some(row)) => Account::Task(row.task),
            (_, Some(row)) => Account::Run(row.run.unwrap_or(run)),
            _ => Account::Run(run),
        }
    }

    /// Mostly what comes next in a message of the turn, sometimes what was written before, or too soon.
    fn write(&mut self, rows: &Rows) -> Command {
        let turn = self.turn(rows);
        let row = rows.turns.get(&turn);
        let chat = row.map(|turn| turn.chat).filter(|_| self.chance(97)).or(self.chat(rows));
        let task = row.map(|turn| turn.task);
        let own = rows.messages.values().filter(|message| message.task == task && task.is_some());
        let own: Vec<_> = own.map(|message| message.id).collect();
        let known = self.pick(own).filter(|_| self.chance(70));
        let message = known.unwrap_or_else(|| self.id());
        let written = rows.parts.range((message, 0)..=(message, u32::MAX)).count() as u32;
        let back = if self.chance(20) { self.rng.u32(0..3) } else { 0 };
        let ahead = u32::from(self.chance(5));
        let from = written.saturating_sub(back) + ahead;
        let count = self.rng.u32(0..3);
        let parts = (from..from + count).map(|no| self.part(message, no)).collect();
        let chat = chat.unwrap_or_else(|| self.id());
        Command::Write(Box::new(Write { turn, chat, parts }))
    }

    fn part(&mut self, message: MessageId, no: u32) -> NewPart {
        let kinds = [PartKind::Text, PartKind::Text, PartKind::Thought, PartKind::Tool];
        let kind = self.pick(kinds).unwrap_or(PartKind::Text);
        let body = self.pick(["words ", "\u{e9}\u{1f980}", "a\0b", ""]).unwrap_or("").to_owned();
        NewPart { message, no, kind, body }
    }

    fn on_a_host(&mut self, rows: &Rows) -> Command {
        let known = self.pick(rows.processes.keys().copied());
        let id = known.filter(|_| self.chance(80)).unwrap_or_else(|| self.id());
        let (host, name) = (self.pick(["h", "i"]).unwrap_or("h"), self.pick(AGENTS).unwrap_or("a"));
        match self.rng.u32(0..10) {
            0..3 => Command::Intend(Box::new(Process {
                id: if self.chance(80) { self.id() } else { id },
                instance: self.worker().id,
                host: host.into(),
                boot: "b".into(),
                program: "agent --stdio".into(),
                agent: self.rng.bool().then(|| name.into()),
                chat: self.chat(rows),
                started: None,
                at: Timestamp::ZERO,
            })),
            3 | 4 => Command::Started { id, pid: self.rng.u32(..), pid_start: 1 << 63 },
            5 => Command::Ended(id),
            6 => {
                let reason = self.rng.bool().then(|| "it wrote".into());
                Command::Quarantine { host: host.into(), name: name.into(), reason }
            }
            _ => Command::PutAgent(Box::new(AvailableAgent {
                host: host.into(),
                name: name.into(),
                label: name.to_uppercase(),
                install_path: self.rng.bool().then(|| "/usr/bin/a".into()),
                version: self.pick(["1", "2"]).map(str::to_owned),
                sha256: None,
                transport: Transport::Acp,
                supports_acp: self.rng.bool(),
                can_ask: self.rng.bool(),
                models: self.rng.bool().then(|| Payload::trusted("[1.0]".into())),
                modes: None,
                commands: None,
                capabilities: None,
                canary: self.chance(30).then(Payload::null),
                quarantined: None,
                last_probed_at: self.clock.now(),
                last_error: self.chance(20).then(|| "no\0answer".into()),
            })),
        }
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
