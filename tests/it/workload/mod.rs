//! A random history of everything that can be asked of a backend, from a seed.
//!
//! A step is data: the same step, run on several backends, must do the same. The workload
//! chooses from what it was shown of the rows, from what its workers were handed, and from
//! its own past, so that stale and repeated commands come up often.

mod agents;
mod flows;
mod queries;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fastrand::Rng;
use segue::{
    clock::{ManualClock, Timestamp},
    id::*,
    model::*,
};
use uuid::Uuid;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// Commands and perhaps a claim.
    Commit(Batch),
    /// Another program inserts a task.
    Insert(Box<TaskSpec>),
    /// Time passes.
    Advance(Duration),
    /// An instance looks for what is due, and acts on it.
    Due(InstanceId),
    /// An instance shows that it lives.
    Beat(InstanceId),
    /// Old rows go.
    Prune(Prune),
    /// Someone looks at a list.
    List(Query),
}

/// The generator.
#[derive(Debug)]
pub struct Workload {
    rng: Rng,
    clock: ManualClock,
    ids: u64,
    workers: Vec<Worker>,
    /// Rows as claims gave them, also long after they were settled.
    held: Vec<Task>,
    last: Option<Batch>,
    /// What it is about more than about anything else.
    focus: Focus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    All,
    Runs,
    Agents,
}

#[derive(Debug)]
struct Worker {
    id: InstanceId,
    serves: Arc<BTreeSet<String>>,
    claims: i64,
}

const KEYS: [&str; 3] = ["a", "b", "c"];
const KINDS: [&str; 3] = ["work", "other", "agent"];

/// What a worker must have to do everything that the workload asks for.
pub const EVERYTHING: [&str; 8] = [
    "task:work",
    "task:other",
    "task:agent",
    "agent:claude",
    "agent:codex",
    "flow:test@1",
    "flow:other@1",
    "tag:gpu",
];

impl Workload {
    pub fn new(seed: u64, clock: ManualClock) -> Self {
        let mut this = Self {
            rng: Rng::with_seed(seed),
            clock,
            ids: 0,
            workers: Vec::new(),
            held: Vec::new(),
            last: None,
            focus: Focus::All,
        };
        for serves in [&EVERYTHING[..], &EVERYTHING[..3], &EVERYTHING[3..]] {
            let serves = serves.iter().map(|need| (*need).to_owned()).collect();
            let id = this.id();
            this.workers.push(Worker { id, serves: Arc::new(serves), claims: 0 });
        }
        this
    }

    /// A history of runs, with little else.
    pub fn of_runs(seed: u64, clock: ManualClock) -> Self {
        Self { focus: Focus::Runs, ..Self::new(seed, clock) }
    }

    /// A history of agents in few chats, with little else.
    pub fn of_agents(seed: u64, clock: ManualClock) -> Self {
        Self { focus: Focus::Agents, ..Self::new(seed, clock) }
    }

    /// What the workload is told of the outcome of a step.
    pub fn observe(&mut self, claimed: &[Claimed]) {
        self.held.extend(claimed.iter().map(|claimed| claimed.task.clone()));
    }

    /// The next step. `rows` is all that there is.
    pub fn step(&mut self, rows: &Rows) -> Step {
        match self.rng.u32(0..100) {
            0..70 => self.commit(rows),
            70..76 => self.repeat(rows),
            76..82 => Step::Advance(Duration::from_millis(self.rng.u64(0..90_000))),
            82..88 => Step::Due(self.worker().id),
            88..91 => Step::Insert(Box::new(self.foreign(rows))),
            91..93 => Step::Beat(self.worker().id),
            93..95 => Step::Prune(self.prune()),
            _ => Step::List(self.query(rows)),
        }
    }

    fn commit(&mut self, rows: &Rows) -> Step {
        let count = self.rng.usize(1..5);
        let commands = (0..count).map(|_| self.command(rows)).collect();
        let claim = self.rng.bool().then(|| self.claim());
        let batch = Batch { commands, claim };
        self.last = Some(batch.clone());
        Step::Commit(batch)
    }

    /// The last batch once more, as if its answer had been lost.
    fn repeat(&mut self, rows: &Rows) -> Step {
        let Some(mut batch) = self.last.clone() else {
            return self.commit(rows);
        };
        if let Some(claim) = &mut batch.claim {
            claim.again = true;
        }
        Step::Commit(batch)
    }

    fn claim(&mut self) -> Claim {
        let limit = self.rng.u32(0..6);
        let at = self.rng.usize(0..self.workers.len());
        let worker = &mut self.workers[at];
        worker.claims += 1;
        let serves = Arc::clone(&worker.serves);
        Claim { instance: worker.id, seq: worker.claims, limit, serves, again: false }
    }

    fn command(&mut self, rows: &Rows) -> Command {
        if self.focus == Focus::Agents && self.chance(90) {
            return match self.rng.u32(0..20) {
                0..10 => self.of_an_agent(rows),
                10..15 => self.settle(rows).unwrap_or_else(|| self.talk(rows)),
                15..18 => self.in_line(rows),
                18 => self.rescue(rows),
                _ if rows.chats.len() < 2 => self.talk(rows),
                _ => self.of_an_agent(rows),
            };
        }
        if self.focus == Focus::Runs && self.chance(80) {
            return match self.rng.u32(0..10) {
                0..6 => self.settle(rows).unwrap_or_else(|| self.launch(rows)),
                6 => self.launch(rows),
                7 => self.rescue(rows),
                _ => self.of_a_run(rows),
            };
        }
        if self.chance(12) {
            return self.of_an_agent(rows);
        }
        match self.rng.u32(0..100) {
            0 => self.in_line(rows),
            1..14 => Command::Enqueue(Box::new(self.spec(rows))),
            14..18 => {
                let count = self.rng.u32(0..5);
                Command::EnqueueAll((0..count).map(|_| self.spec(rows)).collect())
            }
            18..52 => self.settle(rows).unwrap_or_else(|| self.launch(rows)),
            52..57 => self.rescue(rows),
            57..61 => Command::Cancel(self.task(rows)),
            61..64 => Command::Retry(self.failed(rows)),
            64..67 => Command::Pause(self.task(rows)),
            67..70 => Command::Resume(self.task(rows)),
            70..74 => self.answer(rows),
            74 if self.rng.bool() => self.ask_at_work(rows),
            74 => self.use_answer(rows),
            75..79 => self.capacity(),
            79..83 => self.launch(rows),
            83..91 => self.of_a_run(rows),
            91..97 => self.talk(rows),
            97..98 => self.engine(),
            _ => self.import(rows),
        }
    }

    fn id<T: From<Uuid>>(&mut self) -> T {
        self.ids += 1;
        // Mostly in the order of their making, as version 7 is, but not always.
        let age = if self.rng.u32(0..10) == 0 { self.rng.u64(0..self.ids + 1) } else { self.ids };
        let high = (1_767_225_600_000 + age) << 16 | 0x7000 | (self.ids & 0xfff);
        T::from(Uuid::from_u64_pair(high, 0x8000_0000_0000_0000 | self.rng.u64(0..1 << 62)))
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    fn pick<T: Clone>(&mut self, items: impl IntoIterator<Item = T>) -> Option<T> {
        let items: Vec<T> = items.into_iter().collect();
        self.rng.choice(items)
    }

    fn worker(&mut self) -> &Worker {
        let at = self.rng.usize(0..self.workers.len());
        &self.workers[at]
    }

    /// Mostly one that exists.
    fn task(&mut self, rows: &Rows) -> TaskId {
        let known = self.pick(rows.tasks.keys().copied());
        let known = known.filter(|_| !self.chance(2));
        known.unwrap_or_else(|| self.id())
    }

    fn failed(&mut self, rows: &Rows) -> TaskId {
        let failed = rows.tasks.values().filter(|task| task.phase == Phase::Failed);
        let failed = self.pick(failed.map(|task| task.id));
        failed.filter(|_| !self.rng.bool()).unwrap_or_else(|| self.task(rows))
    }

    fn run(&mut self, rows: &Rows) -> RunId {
        let known = self.pick(rows.runs.keys().copied());
        known.unwrap_or_else(|| self.id())
    }

    fn project(&mut self) -> String {
        if self.chance(80) { "default".into() } else { "other's".into() }
    }

    fn options(&mut self) -> TaskOptions {
        let keys = KEYS.into_iter().filter(|_| self.rng.u32(0..5) == 0);
        let capacity = keys.map(str::to_owned).collect();
        let tags = if self.chance(10) { vec!["gpu".to_owned()] } else { Vec::new() };
        let policies = [Interrupted::RunAgain, Interrupted::Ask, Interrupted::Fail];
        TaskOptions {
            capacity,
            tags,
            interrupted: self.pick(policies).unwrap_or_default(),
            unique_until_done: self.rng.bool(),
            retry: self.retry(),
            timeout_ms: self.chance(10).then_some(1_000),
            ..TaskOptions::default()
        }
    }

    fn retry(&mut self) -> Retry {
        match self.rng.u32(0..3) {
            0 => Retry::NEVER,
            1 => Retry::times(3),
            _ => Retry::every(2, Duration::ZERO),
        }
    }

    fn spec(&mut self, rows: &Rows) -> TaskSpec {
        let known = self.chance(4).then(|| self.task(rows));
        let id = known.unwrap_or_else(|| self.id());
        let kind = self.pick(KINDS).unwrap_or("work");
        let later = self.clock.now() + Duration::from_millis(self.rng.u64(0..60_000));
        let (odd, gone) = (self.chance(3), self.chance(2));
        TaskSpec {
            project: self.project(),
            kind: if odd { String::new() } else { kind.into() },
            agent: (kind == "agent").then(|| "claude".into()),
            priority: self.rng.i16(-2..3),
            run_at: self.chance(25).then_some(later),
            parent: self.chance(15).then(|| self.task(rows)),
            arena: self.chance(5).then(|| self.id()),
            session: self.pick(rows.sessions.keys().copied()).filter(|_| self.chance(10)),
            chat: self.chat(rows).filter(|_| self.chance(15)).or(gone.then(|| self.id())),
            unique_key: self.chance(25).then(|| format!("key {}", self.rng.u32(0..4))),
            options: self.options(),
            labels: if self.chance(20) { [("l".into(), "v'%".into())].into() } else { [].into() },
            meta: self.chance(10).then(|| Payload::trusted("{\"m\": 1.50}".into())),
            ..TaskSpec::new(id, "work", Payload::text("input"))
        }
    }

    fn foreign(&mut self, rows: &Rows) -> TaskSpec {
        let spec = self.spec(rows);
        let created_at = self.clock.now();
        let parent = spec.parent.filter(|id| rows.specs.contains_key(id));
        TaskSpec { id: self.id(), chat: None, session: None, parent, created_at, ..spec }
    }

    fn settle(&mut self, rows: &Rows) -> Option<Command> {
        let recent = self.held.len().saturating_sub(12);
        let known = if self.chance(92) { &self.held[recent..] } else { &self.held[..] };
        let mut held = self.rng.choice(known)?.clone();
        if self.chance(5) {
            held.lease += self.rng.i64(-1..2);
        }
        let messages = vec![self.message(rows)];
        let said = self.chat(rows).filter(|_| self.chance(10)).map(|chat| (chat, messages));
        let usage = self.chance(20).then(|| Payload::trusted("{\"tokens\":3}".into()));
        let (retry, decision) = (self.retry(), self.decision(rows, &held));
        let grow = held.step.filter(|_| self.chance(20)).map(|step| self.growth(rows, step));
        let memo = self.chance(25).then(|| self.recall(rows));
        let turn = self.turn_end(rows, &held);
        let settle = Settle { held, retry, decision, usage, said, grow, memo, turn };
        Some(Command::Settle(Box::new(settle)))
    }

    /// One of a few works, done or taken from a task.
    fn recall(&mut self, rows: &Rows) -> Recall {
        let key = MemoKey::new([self.rng.u8(0..6); 32]);
        let known = rows.memos.get(&key).map(|memo| memo.task);
        Recall { key, from: known.filter(|_| self.chance(70)) }
    }

    fn decision(&mut self, rows: &Rows, held: &Task) -> Decision {
        let wait = Duration::from_millis(self.rng.u64(0..20_000));
        if self.chance(30)
            && let Some(run) = self.awaited(rows, held)
        {
            return Decision::Await(run);
        }
        match self.rng.u32(0..20) {
            0..11 => {
                Decision::Complete(Payload::trusted(format!("{{\"n\":{}}}", self.rng.u32(0..5))))
            }
            11..14 => Decision::Fail(Fault {
                kind: FaultKind::Error,
                message: "it's broken".into(),
                retryable: self.chance(70),
            }),
            14 => Decision::Snooze(if self.rng.bool() { wait } else { Duration::ZERO }),
            15 | 16 => {
                Decision::Block((0..self.rng.u32(0..3)).map(|_| self.question(rows)).collect())
            }
            17 => Decision::Release,
            18 => Decision::Park { key: self.pick(KEYS).unwrap_or("a").into(), wait },
            _ => Decision::Cancelled,
        }
    }

    fn question(&mut self, rows: &Rows) -> Ask {
        let known = self.pick(rows.items.keys().copied()).filter(|_| self.chance(5));
        Ask {
            id: known.unwrap_or_else(|| self.id()),
            kind: ItemKind::Question,
            key: "q".into(),
            body: Payload::text("?"),
            options: if self.rng.bool() { vec!["yes".into(), "no".into()] } else { Vec::new() },
        }
    }

    fn rescue(&mut self, rows: &Rows) -> Command {
        let running = rows.tasks.values().filter(|task| task.phase == Phase::Running);
        let running: Vec<_> = running.map(|task| (task.id, task.lease)).collect();
        let (task, lease) = self.pick(running).unwrap_or_else(|| (self.task(rows), 1));
        Command::Rescue { task, lease: lease - i64::from(self.chance(10)) }
    }

    fn answer(&mut self, rows: &Rows) -> Command {
        let open = rows.items.values().filter(|item| item.state == ItemState::Open);
        let open: Vec<_> = open.map(|item| item.id).collect();
        let any = rows.items.keys().copied().collect();
        let from = if self.chance(80) { open } else { any };
        let item = self.pick(from).unwrap_or_else(|| self.id());
        let value = self.pick(["yes", "no", "run again", "fail", "maybe"]).unwrap_or("yes");
        let by = self.pick(["ann", "bob"]).unwrap_or("ann").to_owned();
        Command::Answer { item, answer: Answer { value: Payload::text(value), by } }
    }

    /// A question of a task that is at work.
    fn ask_at_work(&mut self, rows: &Rows) -> Command {
        let running = rows.tasks.values().filter(|task| task.phase == Phase::Running);
        let running: Vec<_> = running.map(|task| (task.id, task.lease)).collect();
        let (task, lease) = self.pick(running).unwrap_or_else(|| (self.task(rows), 1));
        let lease = lease - i64::from(self.chance(10));
        Command::Ask { task, lease, chat: self.chat(rows), ask: Box::new(self.question(rows)) }
    }

    fn use_answer(&mut self, rows: &Rows) -> Command {
        let answered = rows.items.values().filter(|item| item.answer.is_some());
        let answered: Vec<_> = answered.map(|item| (item.id, item.task)).collect();
        let (item, task) = self.pick(answered).unwrap_or_else(|| (self.id(), self.task(rows)));
        let lease = rows.tasks.get(&task).map_or(1, |task| task.lease);
        Command::UseAnswer { item, lease: lease - i64::from(self.chance(10)) }
    }

    fn capacity(&mut self) -> Command {
        let key = self.pick(KEYS).unwrap_or("a").to_owned();
        let until = self.clock.now() + Duration::from_millis(self.rng.u64(0..40_000));
        match self.rng.u32(0..4) {
            0 => Command::Park { key, until },
            1 => Command::Park { key, until: self.clock.now() },
            _ => Command::SetCapacity { key, slots: self.chance(85).then(|| self.rng.u32(0..4)) },
        }
    }

    fn chat(&mut self, rows: &Rows) -> Option<ChatId> {
        self.pick(rows.chats.keys().copied())
    }

    fn message(&mut self, rows: &Rows) -> NewMessage {
        let known = self.pick(rows.messages.values().map(|message| message.id));
        let known = known.filter(|_| self.chance(10));
        NewMessage {
            id: known.unwrap_or_else(|| self.id()),
            role: Role::Assistant,
            content: Payload::text("words"),
            task: self.chance(20).then(|| self.task(rows)),
        }
    }

    fn talk(&mut self, rows: &Rows) -> Command {
        let chat = self.chat(rows);
        match (self.rng.u32(0..10), chat) {
            (0..5, Some(chat)) => {
                let count = self.rng.usize(0..4);
                Command::Append { chat, messages: (0..count).map(|_| self.message(rows)).collect() }
            }
            (5, Some(chat)) => Command::DeleteChat(chat),
            (6, _) => Command::OpenSession(Session {
                id: self.pick(rows.sessions.keys().copied()).unwrap_or_else(|| self.id()),
                project: self.project(),
                title: format!("title {}", self.rng.u32(0..9)),
                meta: None,
                created_at: Timestamp::ZERO,
            }),
            (7, _) => {
                let known = self.pick(rows.sessions.keys().copied());
                Command::DeleteSession(known.unwrap_or_else(|| self.id()))
            }
            _ => Command::OpenChat(Chat {
                id: chat.filter(|_| self.chance(20)).unwrap_or_else(|| self.id()),
                project: self.project(),
                session: self.pick(rows.sessions.keys().copied()),
                title: format!("title {}", self.rng.u32(0..9)),
                meta: None,
                next_seq: 1,
                created_at: Timestamp::ZERO,
                forked_from: None,
            }),
        }
    }

    fn engine(&mut self) -> Command {
        let worker = self.worker();
        let (id, serves) = (worker.id, BTreeSet::clone(&worker.serves));
        if self.chance(30) {
            return Command::Retire(id);
        }
        let host = Host { name: "h".into(), boot: "b".into(), pid: 1, pid_start: 2 };
        let started_at = self.clock.now();
        Command::Register(Box::new(Instance { id, host, beat: 0, serves, started_at }))
    }

    fn import(&mut self, rows: &Rows) -> Command {
        use TaskState::*;
        let state = self.pick([Pending, Running, Blocked, Completed, Failed, Cancelled]);
        let past = Timestamp::from_micros(self.rng.i64(1..1_000_000));
        let ended_at = self.chance(90).then_some(past);
        Command::Import(Box::new(Import {
            spec: TaskSpec { created_at: past, ..self.spec(rows) },
            state: state.unwrap_or(Pending),
            started_at: self.rng.bool().then_some(past),
            ended_at,
            output: self.rng.bool().then(|| Payload::text("old output")),
            error: self.rng.bool().then(|| "old error".into()),
            usage: None,
        }))
    }

    fn prune(&mut self) -> Prune {
        let mut before = || {
            let micros = self.clock.now().as_micros() - self.rng.i64(0..100_000_000);
            Timestamp::from_micros(micros)
        };
        let (tasks_before, runs_before, entries_before) = (before(), before(), before());
        Prune { tasks_before, runs_before, entries_before, limit: self.rng.u32(1..20) }
    }
}
