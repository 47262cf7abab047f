//! The audit can fail: each of its rules finds the rows that break it.

use segue::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, InstanceId, MessageId, RunId, SessionId, TaskId, TurnId},
    model::*,
};

use crate::support::world::World;

/// Rows with something of everything, which fit together.
fn sound() -> Rows {
    let mut world = World::new();
    let key = Command::SetCapacity { key: "k".into(), slots: Some(2) };
    world.one(key).unwrap();
    for name in ["ready", "running", "blocked", "completed", "failed", "paused", "cancelled"] {
        world.enqueue(name, |spec| {
            spec.unique_key = Some(name.into());
            spec.options.unique_until_done = true;
            spec.options.capacity = vec!["k".into()];
        });
    }
    world.script(
        "claim completed; complete completed; claim failed; fail failed; claim blocked;
         block blocked; pause paused; cancel cancelled; claim running",
    );
    world.launch("a -> b -> c; a -> d; x", &TaskOptions::default());
    world.script("claim a; complete a; claim b; fail b; claim d");
    let chat = Chat {
        id: ChatId::new(),
        project: "default".into(),
        session: None,
        title: String::new(),
        meta: None,
        next_seq: 1,
        created_at: Timestamp::ZERO,
        forked_from: None,
    };
    let (id, role, content) = (MessageId::new(), Role::User, Payload::null());
    let messages = vec![NewMessage { id, role, content, task: None }];
    world.one(Command::OpenChat(chat.clone())).unwrap();
    world.one(Command::Append { chat: chat.id, messages }).unwrap();
    agents(&mut world, chat.id);
    for name in ["first", "second"] {
        world.enqueue(name, |spec| {
            let (kind, agent) = ("agent".into(), Some("claude".into()));
            *spec = TaskSpec { kind, agent, chat: Some(chat.id), ..spec.clone() };
        });
    }
    world.rows()
}

/// A turn at work, and another agent's in its second session.
fn agents(world: &mut World, chat: ChatId) {
    begin(world, "running", chat, "claude");
    for name in ["spoke", "speaks"] {
        world.enqueue(name, |_| {});
        world.script(&format!("claim {name}"));
        let turn = begin(world, name, chat, "codex");
        let (message, kind) = (MessageId::new(), PartKind::Text);
        let part = |no| NewPart { message, no, kind, body: "word".into() };
        let parts = vec![part(0), part(1)];
        world.one(Command::Write(Box::new(Write { turn: turn.turn, chat, parts }))).unwrap();
        let report = |source: &str| UsageReport {
            source: source.into(),
            model: None,
            metering: Metering::Delta,
            tokens: Tokens { input: 10, ..Tokens::default() },
            cost: Some((Metering::Delta, 5)),
            raw: Payload::null(),
        };
        let task = world.id(name);
        let (session, reports) = (turn.session, vec![report("a"), report("b")]);
        let book = Book { session, turn: turn.turn, task, reports };
        world.one(Command::Book(Box::new(book))).unwrap();
        if name == "spoke" {
            let held = world.task(name);
            let decision = Decision::Complete(Payload::null());
            let lost = TurnEnd::new(TurnState::SessionLost);
            let settle = Settle { turn: Some(lost), ..Settle::new(held, Retry::NEVER, decision) };
            world.one(Command::Settle(Box::new(settle))).unwrap();
        }
    }
}

fn begin(world: &World, task: &str, chat: ChatId, agent: &str) -> Begun {
    let held = world.task(task);
    let wish = BeginTurn {
        task: held.id,
        lease: held.lease,
        chat,
        agent: agent.into(),
        transport: Transport::Cli,
        sessions: Sessions::Theirs,
        fingerprint: String::new(),
        host: "h".into(),
        worktree: None,
        session: AgentSessionId::new(),
        proposed: String::new(),
        carries: true,
        lost: None,
    };
    let Outcome::Turn(begun) = world.one(Command::BeginTurn(Box::new(wish))).unwrap() else {
        panic!("a turn is begun");
    };
    world.one(Command::Prompting { turn: begun.turn, seen: 0 }).unwrap();
    *begun
}

fn turn(rows: &mut Rows, state: TurnState) -> &mut Turn {
    rows.turns.values_mut().find(|turn| turn.state == state).unwrap()
}

fn agent_session(rows: &mut Rows, state: AgentSessionState) -> &mut AgentSession {
    rows.agent_sessions.values_mut().find(|session| session.state == state).unwrap()
}

fn in_phase(rows: &mut Rows, phase: Phase) -> &mut Task {
    rows.tasks.values_mut().find(|task| task.phase == phase && task.step.is_none()).unwrap()
}

fn spec(rows: &mut Rows) -> &mut TaskSpec {
    rows.specs.values_mut().next().unwrap()
}

fn step<'a>(rows: &'a mut Rows, name: &str) -> &'a mut Step {
    rows.steps.values_mut().find(|step| step.name == name).unwrap()
}

fn run(rows: &mut Rows) -> &mut Run {
    rows.runs.values_mut().next().unwrap()
}

fn attempt(rows: &mut Rows, outcome: AttemptOutcome) -> &mut Attempt {
    rows.attempts.values_mut().find(|attempt| attempt.outcome == outcome).unwrap()
}

fn item(rows: &mut Rows, kind: ItemKind) -> &mut Item {
    rows.items.values_mut().find(|item| item.kind == kind).unwrap()
}

fn held_slot(rows: &mut Rows) -> &mut Slot {
    rows.slots.values_mut().find(|slot| slot.held.is_some()).unwrap()
}

type Corruption = (&'static str, fn(&mut Rows));

/// What the audit says, and what it says it of.
const TASKS: [Corruption; 24] = [
    ("hot row false, foreign false", |rows| {
        let id = *rows.tasks.keys().next().unwrap();
        rows.tasks.remove(&id);
    }),
    ("hot row true, foreign true", |rows| {
        rows.foreign.insert(*rows.tasks.keys().next().unwrap());
    }),
    ("of missing task", |rows| {
        rows.unique.insert(("p".into(), "k".into()), TaskId::new());
    }),
    ("has no parent false", |rows| spec(rows).parent = Some(TaskId::new())),
    ("chat false", |rows| spec(rows).chat = Some(ChatId::new())),
    ("session false", |rows| spec(rows).session = Some(SessionId::new())),
    ("has lost its unique key", |rows| {
        rows.unique.remove(&("default".into(), "ready".into()));
    }),
    ("keeps its unique key", |rows| {
        let id = in_phase(rows, Phase::Completed).id;
        rows.unique.insert(("default".into(), "completed".into()), id);
    }),
    ("is Ready and paused: true", |rows| {
        let task = in_phase(rows, Phase::Ready);
        task.flags = task.flags.with(TaskFlags::PAUSED);
    }),
    ("is Ready and paused: true", |rows| run(rows).flags = RunFlags::PAUSED),
    ("is Paused and paused: false", |rows| in_phase(rows, Phase::Ready).phase = Phase::Paused),
    ("and told to stop", |rows| {
        let task = in_phase(rows, Phase::Ready);
        task.flags = task.flags.with(TaskFlags::CANCEL);
    }),
    ("has no cold row", |rows| {
        let id = *rows.specs.keys().next().unwrap();
        rows.specs.remove(&id);
    }),
    ("has no lane", |rows| in_phase(rows, Phase::Ready).lane += 1),
    ("is Running and held by None", |rows| in_phase(rows, Phase::Running).holder = None),
    ("is Ready and held by Some", |rows| {
        in_phase(rows, Phase::Ready).holder = Some(InstanceId::new());
    }),
    ("and ended at", |rows| in_phase(rows, Phase::Completed).ended_at = Timestamp::ZERO),
    ("waits for no run that it launched", |rows| {
        in_phase(rows, Phase::Ready).phase = Phase::Waiting;
    }),
    ("is at attempt 2 of lease 1", |rows| in_phase(rows, Phase::Running).attempt = 2),
    ("says it is step", |rows| {
        let step = Some((run(rows).id, 0));
        in_phase(rows, Phase::Ready).step = step;
    }),
    ("and something asked is open: false", |rows| {
        in_phase(rows, Phase::Ready).phase = Phase::Blocked;
    }),
    ("and something asked is open: true", |rows| {
        in_phase(rows, Phase::Blocked).phase = Phase::Ready;
    }),
    ("item", |rows| item(rows, ItemKind::Question).task = TaskId::new()),
    ("that is Some(Pending)", |rows| {
        let task = in_phase(rows, Phase::Failed);
        (task.phase, task.ended_at) = (Phase::Ready, Timestamp::ZERO);
    }),
];

const ATTEMPTS: [Corruption; 14] = [
    ("completed 2 times", |rows| {
        let mut twin = attempt(rows, AttemptOutcome::Completed).clone();
        twin.lease = 0;
        rows.attempts.insert((twin.task, 0), twin);
    }),
    ("under a lease that was never given", |rows| {
        let mut twin = attempt(rows, AttemptOutcome::Failed).clone();
        twin.lease = 9;
        rows.attempts.insert((twin.task, 9), twin);
    }),
    ("runs under a lease whose attempt has ended", |rows| {
        let task = in_phase(rows, Phase::Running).id;
        let ended = Attempt { task, lease: 1, ..attempt(rows, AttemptOutcome::Failed).clone() };
        rows.attempts.insert((task, 1), ended);
    }),
    ("completed without an attempt that did", |rows| {
        attempt(rows, AttemptOutcome::Completed).outcome = AttemptOutcome::Snoozed;
    }),
    ("is Failed after an attempt that completed", |rows| {
        attempt(rows, AttemptOutcome::Failed).outcome = AttemptOutcome::Completed;
    }),
    ("of missing task", |rows| {
        let twin = attempt(rows, AttemptOutcome::Failed).clone();
        rows.attempts.insert((TaskId::new(), 1), twin);
    }),
    ("is held by task", |rows| in_phase(rows, Phase::Running).lease = 2),
    ("holds two slots", |rows| {
        let held = held_slot(rows).held;
        rows.slots.values_mut().for_each(|slot| slot.held = held);
    }),
    ("a slot of k is missing", |rows| {
        rows.slots.retain(|_, slot| slot.held.is_some());
    }),
    ("is one too many", |rows| {
        let slot = Slot { n: 7, held: None, ..held_slot(rows).clone() };
        rows.slots.insert(("k".into(), 7), slot);
    }),
    ("is out of place", |rows| rows.messages.values_mut().for_each(|message| message.seq = 99)),
    ("is out of place", |rows| {
        let twin = rows.messages.values().next().unwrap().clone();
        rows.messages.insert((twin.chat, 0), twin);
    }),
    ("is out of place", |rows| rows.chats.clear()),
    ("is of a missing session", |rows| {
        rows.chats.values_mut().for_each(|chat| chat.session = Some(SessionId::new()));
    }),
];

const RUNS: [Corruption; 20] = [
    ("`c` of run", |rows| step(rows, "c").reason = None),
    ("is Completed, its task", |rows| step(rows, "x").state = StepState::Completed),
    ("is Running, its task", |rows| step(rows, "a").state = StepState::Running),
    ("is Failed, its task", |rows| step(rows, "a").state = StepState::Failed),
    ("is Cancelled, its task", |rows| step(rows, "a").state = StepState::Cancelled),
    ("is Pending, its task", |rows| step(rows, "x").state = StepState::Pending),
    ("waits for nothing and was not released", |rows| step(rows, "x").state = StepState::Pending),
    ("belongs to no run", |rows| step(rows, "x").run = RunId::new()),
    ("dangles", |rows| {
        rows.edges.insert((*rows.runs.keys().next().unwrap(), 0, 77), Terms::default());
    }),
    ("started with 1 of 2 edges met", |rows| {
        let id = run(rows).id;
        let (x, d) = (step(rows, "x").no, step(rows, "d").no);
        rows.edges.insert((id, x, d), Terms::default());
    }),
    ("waits for 1 of 0 edges", |rows| step(rows, "c").state = StepState::Pending),
    ("says it waits for 3 of 0 edges, and does for 1 of 0", |rows| {
        let waits = step(rows, "c");
        (waits.state, waits.waiting_on) = (StepState::Pending, 3);
    }),
    ("open/failed steps and has", |rows| run(rows).open_steps += 1),
    ("open/failed steps and has", |rows| run(rows).failed_steps += 1),
    ("is Completed with 2 open steps", |rows| run(rows).state = RunState::Completed),
    ("is Completed, which its steps are not", |rows| run(rows).state = RunState::Completed),
    ("is Cancelled, which its steps are not", |rows| run(rows).state = RunState::Cancelled),
    ("has a gap before entry", |rows| {
        let id = Stream::Run(run(rows).id);
        rows.entries.remove(&(id, 2));
    }),
    ("its owner is at", |rows| run(rows).next_seq = 2),
    ("times that it ended", |rows| {
        let entry = rows.entries.values_mut().next().unwrap();
        entry.events.push(Event::RunEnded { state: RunState::Failed });
    }),
];

const AGENTS: [Corruption; 19] = [
    ("is not that of its task", |rows| turn(rows, TurnState::Prompted).lease = 9),
    ("is in a missing chat", |rows| turn(rows, TurnState::Prompted).chat = ChatId::new()),
    ("is taken in no session of its agent", |rows| {
        turn(rows, TurnState::Prompted).session = AgentSessionId::new();
    }),
    ("is taken in no session of its agent", |rows| {
        turn(rows, TurnState::SessionLost).generation = 2;
    }),
    ("is Prompted, prompted at", |rows| {
        turn(rows, TurnState::Prompted).prompted_at = Timestamp::ZERO;
    }),
    ("is SessionLost, prompted at", |rows| {
        turn(rows, TurnState::SessionLost).ended_at = Timestamp::ZERO;
    }),
    ("and its task is held for it: true", |rows| {
        let turn = turn(rows, TurnState::Prompted);
        (turn.state, turn.ended_at) = (TurnState::Completed, Timestamp::from_micros(1));
    }),
    ("and its task is held for it: false", |rows| {
        let id = turn(rows, TurnState::Prompted).task;
        rows.tasks.get_mut(&id).unwrap().flags = TaskFlags::default();
    }),
    ("in a session that is not active", |rows| {
        agent_session(rows, AgentSessionState::Active).state = AgentSessionState::Idle;
    }),
    ("is of a missing chat", |rows| {
        agent_session(rows, AgentSessionState::Closed).chat = Some(ChatId::new());
    }),
    ("is Closed and closed at", |rows| {
        agent_session(rows, AgentSessionState::Closed).reason = None;
    }),
    ("and has an open turn: false", |rows| {
        let session = agent_session(rows, AgentSessionState::Closed);
        (session.state, session.reason) = (AgentSessionState::Active, None);
    }),
    ("at once", |rows| {
        let task = in_phase(rows, Phase::Completed).id;
        let twin = turn(rows, TurnState::Prompted).clone();
        let id = TurnId::of(task, 1);
        rows.turns.insert(id, Turn { id, task, lease: 1, ..twin });
    }),
    ("are not counted", |rows| {
        agent_session(rows, AgentSessionState::Closed).generation = 7;
    }),
    ("is not closed", |rows| {
        let session = agent_session(rows, AgentSessionState::Closed);
        (session.state, session.reason) = (AgentSessionState::Idle, None);
        session.closed_at = Timestamp::ZERO;
    }),
    ("is out of place", |rows| {
        let (key, row) = rows.ledger.pop_first().unwrap();
        rows.ledger.insert((key.0, 9), row);
    }),
    ("bookings of no session", |rows| {
        let id = agent_session(rows, AgentSessionState::Closed).id;
        rows.agent_sessions.remove(&id);
    }),
    ("says that it used more than", |rows| turn(rows, TurnState::SessionLost).cost += 1),
    ("is out of place", |rows| rows.parts.values_mut().for_each(|part| part.offset += 1)),
];

const PROMPTS: [Corruption; 6] = [
    ("is not of a task that waits in line", |rows| {
        rows.prompts.values_mut().for_each(|prompt| prompt.agent = "other".into());
    }),
    ("is not of a task that waits in line", |rows| {
        let id = in_phase(rows, Phase::Completed).id;
        let (_, prompt) = rows.prompts.pop_last().unwrap();
        rows.prompts.insert(id, Prompt { task: id, ..prompt });
    }),
    ("are at place", |rows| {
        rows.prompts.values_mut().for_each(|prompt| prompt.place = Some(1));
    }),
    ("at place None", |rows| rows.prompts.values_mut().for_each(|prompt| prompt.place = None)),
    ("is Ready at place", |rows| {
        let second = *rows.prompts.last_key_value().unwrap().0;
        rows.tasks.get_mut(&second).unwrap().phase = Phase::Ready;
    }),
    ("and of no line", |rows| rows.prompts.clear()),
];

/// A session says what its rows of the ledger sum up to.
#[test]
fn the_audit_finds_a_session_that_says_another_sum() {
    let mut rows = sound();
    agent_session(&mut rows, AgentSessionState::Closed).cost += 1;
    let found = audit(&rows);
    assert!(found.len() == 1 && found[0].0.contains("says Spent"), "{found:#?}");
}

#[test]
fn every_rule_of_the_audit_finds_the_rows_that_break_it() {
    let rows = sound();
    assert_eq!(audit(&rows), []);
    for (expected, corrupt) in [&TASKS[..], &ATTEMPTS, &RUNS, &AGENTS, &PROMPTS].concat() {
        let mut rows = rows.clone();
        corrupt(&mut rows);
        let found = audit(&rows);
        let hit = found.iter().any(|violation| violation.0.contains(expected));
        assert!(hit, "`{expected}` was not found, but {found:#?}");
    }
}
