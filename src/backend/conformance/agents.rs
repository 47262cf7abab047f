//! Clauses on agents: their turns, and the sessions that they take them in.

use super::kit::{Kit, done, settle, work};
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, TurnId},
    model::{
        AgentContext, AgentSession, AgentSessionState, BeginTurn, Begun, Command, Counters,
        Decision, Event, Outcome, Page, Payload, Query, Rejection, Resume, Sessions, Settle,
        Stream, Task, TaskSpec, Tokens, Transport, Turn, TurnEnd, TurnState,
    },
};

/// A wish of `claude` on host `h`, which names its sessions itself.
pub(super) fn wish(task: &Task, chat: ChatId) -> BeginTurn {
    BeginTurn {
        task: task.id,
        lease: task.lease,
        chat,
        agent: "claude".into(),
        transport: Transport::Cli,
        sessions: Sessions::Theirs,
        fingerprint: "v1".into(),
        host: "h".into(),
        worktree: None,
        session: AgentSessionId::new(),
        proposed: "ours".into(),
        carries: true,
        lost: None,
    }
}

pub(super) fn begin(wish: &BeginTurn) -> Command {
    Command::BeginTurn(Box::new(wish.clone()))
}

fn note(turn: TurnId, id: &str) -> Command {
    Command::NoteSession { turn, id: id.into(), port: None }
}

pub(super) fn ended(held: &Task, decision: Decision, end: Option<TurnEnd>) -> Command {
    let Command::Settle(settle) = settle(held, decision) else { unreachable!("it is a settle") };
    Command::Settle(Box::new(Settle { turn: end, ..*settle }))
}

pub(super) fn completed(held: &Task) -> Command {
    ended(held, done(), Some(TurnEnd::new(TurnState::Completed)))
}

impl Kit {
    pub(super) async fn begin(&self, wish: &BeginTurn) -> Begun {
        match self.done(begin(wish)).await {
            Outcome::Turn(begun) => *begun,
            other => panic!("a turn was answered with {other:?}"),
        }
    }

    pub(super) async fn turn(&self, id: TurnId) -> Turn {
        self.rows().await.turns.remove(&id).expect("the turn is there")
    }

    pub(super) async fn agent_session(&self, id: AgentSessionId) -> AgentSession {
        self.rows().await.agent_sessions.remove(&id).expect("the session is there")
    }

    /// A task that runs in a chat.
    pub(super) async fn talking(&self, chat: ChatId) -> Task {
        self.running(TaskSpec { chat: Some(chat), ..work() }).await
    }

    /// What the stream of a chat says of the agent's context.
    async fn told(&self, chat: ChatId) -> Vec<String> {
        let rows = self.rows().await;
        let entries = rows.entries.values().filter(|entry| entry.stream == Stream::Chat(chat));
        let events = entries.flat_map(|entry| &entry.events);
        let told = events.filter_map(|event| match event {
            Event::TurnBegan { generation, .. } => Some(format!("began {generation}")),
            Event::TurnEnded { state, .. } => Some(format!("ended {state:?}")),
            Event::ContextLost { generation, .. } => Some(format!("lost {generation}")),
            Event::ContextCarried { generation, .. } => Some(format!("carried {generation}")),
            Event::ContextResumed { generation, .. } => Some(format!("resumed {generation}")),
            _ => None,
        });
        told.collect()
    }

    /// A whole turn, in which the agent calls its session `token`.
    async fn whole_turn(&self, chat: ChatId, token: &str) -> Begun {
        let task = self.talking(chat).await;
        let begun = self.begin(&wish(&task, chat)).await;
        self.done(note(begun.turn, token)).await;
        self.done(Command::Prompting { turn: begun.turn, seen: 0 }).await;
        self.done(completed(&task)).await;
        begun
    }
}

pub(super) async fn a_turn_is_begun_once_for_a_task_that_is_held(kit: Kit) {
    let chat = kit.chat().await;
    let task = kit.talking(chat).await;
    let first = wish(&task, chat);
    let begun = kit.twice(begin(&first)).await;
    let expected = Begun {
        turn: TurnId::of(task.id, task.lease),
        session: first.session,
        generation: 1,
        resume: Resume::Fresh,
        context: AgentContext::Full,
        seen: 0,
    };
    assert_eq!(begun, Ok(Outcome::Turn(Box::new(expected))));
    assert_eq!(kit.told(chat).await, ["began 1"]);
    let turn = TurnId::of(task.id, task.lease);
    kit.advance(5);
    assert!(kit.twice(note(turn, "theirs")).await.is_ok());
    assert!(kit.twice(Command::Prompting { turn, seen: 7 }).await.is_ok());
    let row = kit.turn(turn).await;
    assert_eq!((row.state, row.prompted_at), (TurnState::Prompted, kit.now()));
    let session = kit.agent_session(first.session).await;
    assert_eq!((session.token.as_deref(), session.seen, session.turns), (Some("theirs"), 7, 1));
    let other = BeginTurn { agent: "codex".into(), ..wish(&task, chat) };
    assert!(matches!(kit.refused(begin(&other)).await, Rejection::Invalid(_)));
    let stale = BeginTurn { lease: 0, ..first.clone() };
    assert_eq!(kit.refused(begin(&stale)).await, Rejection::StaleLease);
    let nowhere = BeginTurn { chat: ChatId::new(), ..wish(&task, chat) };
    assert!(matches!(kit.refused(begin(&nowhere)).await, Rejection::NotFound { .. }));
    let missing = Command::Prompting { turn: TurnId::of(task.id, 99), seen: 0 };
    assert!(matches!(kit.refused(missing).await, Rejection::NotFound { .. }));
    kit.done(completed(&task)).await;
    assert_eq!(kit.refused(begin(&first)).await, Rejection::StaleLease);
    assert_eq!(kit.refused(note(turn, "late")).await, Rejection::StaleLease);
    assert_eq!(kit.refused(Command::Prompting { turn, seen: 9 }).await, Rejection::StaleLease);
}

pub(super) async fn an_agent_takes_one_turn_in_a_chat_at_a_time(kit: Kit) {
    let (chat, other) = (kit.chat().await, kit.chat().await);
    let (one, two) = (kit.talking(chat).await, kit.talking(chat).await);
    let begun = kit.begin(&wish(&one, chat)).await;
    let refused = kit.refused(begin(&wish(&two, chat))).await;
    assert_eq!(refused, Rejection::Busy { turn: begun.turn });
    let codex = BeginTurn { agent: "codex".into(), ..wish(&two, chat) };
    assert_eq!(kit.begin(&codex).await.generation, 1, "another agent may");
    let three = kit.talking(other).await;
    kit.begin(&wish(&three, other)).await;
    kit.done(completed(&one)).await;
    let four = kit.talking(chat).await;
    kit.begin(&wish(&four, chat)).await;
}

pub(super) async fn a_turn_ends_with_its_attempt(kit: Kit) {
    let chat = kit.chat().await;
    use AgentSessionState::{Closed, Crashed, Idle};
    let ends = [
        (TurnState::Completed, Idle),
        (TurnState::Refused, Idle),
        (TurnState::LimitReached, Idle),
        (TurnState::RateLimited, Idle),
        (TurnState::Cancelled, Idle),
        (TurnState::Failed, Idle),
        (TurnState::Crashed, Crashed),
        (TurnState::Interrupted, Crashed),
        (TurnState::SessionLost, Closed),
    ];
    for (state, left) in ends {
        let task = kit.talking(chat).await;
        let begun = kit.begin(&wish(&task, chat)).await;
        kit.done(Command::Prompting { turn: begun.turn, seen: 0 }).await;
        kit.advance(1);
        let end = TurnEnd { reason: Some("so it is".into()), seen: 4, ..TurnEnd::new(state) };
        assert!(kit.twice(ended(&task, done(), Some(end))).await.is_ok());
        let turn = kit.turn(begun.turn).await;
        assert_eq!((turn.state, turn.ended_at), (state, kit.now()));
        assert_eq!(turn.reason.as_deref(), Some("so it is"));
        let session = kit.agent_session(begun.session).await;
        assert_eq!((session.state, session.seen), (left, 4), "{state:?}");
        assert_eq!(kit.row(task.id).await.flags, task.flags);
    }
    let task = kit.talking(chat).await;
    kit.begin(&wish(&task, chat)).await;
    let open = ended(&task, done(), Some(TurnEnd::new(TurnState::Prompted)));
    assert!(matches!(kit.refused(open).await, Rejection::Invalid(_)));
    let compacted = TurnEnd { compacted: true, ..TurnEnd::new(TurnState::Completed) };
    kit.done(ended(&task, done(), Some(compacted))).await;
    let rows = kit.rows().await;
    let last = rows.agent_sessions.values().max_by_key(|session| session.generation);
    assert_eq!(last.map(|session| session.context), Some(AgentContext::Partial));
}

pub(super) async fn a_turn_of_which_nothing_is_said_broke_off(kit: Kit) {
    let chat = kit.chat().await;
    for (prompted, rescued) in [(false, false), (false, true), (true, false), (true, true)] {
        let task = kit.talking(chat).await;
        let begun = kit.begin(&wish(&task, chat)).await;
        if prompted {
            kit.done(Command::Prompting { turn: begun.turn, seen: 0 }).await;
        }
        let end = match rescued {
            true => Command::Rescue { task: task.id, lease: task.lease },
            false => settle(&task, Decision::Complete(Payload::null())),
        };
        assert!(kit.twice(end).await.is_ok());
        let expected = if prompted { TurnState::Interrupted } else { TurnState::Crashed };
        assert_eq!(kit.turn(begun.turn).await.state, expected);
        let session = kit.agent_session(begun.session).await;
        assert_eq!(session.state, AgentSessionState::Crashed);
        if rescued {
            let again = kit.claim_one().await;
            kit.complete(&again).await;
        }
    }
}

pub(super) async fn a_session_is_continued_while_it_fits(kit: Kit) {
    let chat = kit.chat().await;
    let first = kit.whole_turn(chat, "one").await;
    let task = kit.talking(chat).await;
    let next = kit.begin(&wish(&task, chat)).await;
    assert_eq!((next.session, next.generation), (first.session, 1));
    assert_eq!(next.resume, Resume::Continue("one".into()));
    kit.done(Command::Prompting { turn: next.turn, seen: 0 }).await;
    kit.done(ended(&task, done(), Some(TurnEnd::new(TurnState::Interrupted)))).await;
    let task = kit.talking(chat).await;
    let resumed = kit.begin(&wish(&task, chat)).await;
    assert_eq!(resumed.resume, Resume::Continue("one".into()), "after a crash as well");
    kit.done(completed(&task)).await;
    let changes: [fn(&mut BeginTurn); 3] = [
        |wish| wish.fingerprint = "v2".into(),
        |wish| wish.host = "elsewhere".into(),
        |wish| wish.carries = false,
    ];
    for (change, generation) in changes.into_iter().zip(2..) {
        let task = kit.talking(chat).await;
        let mut changed = wish(&task, chat);
        change(&mut changed);
        let begun = kit.begin(&changed).await;
        assert_eq!((begun.session, begun.generation), (changed.session, generation));
        assert_eq!((begun.resume, begun.seen), (Resume::Fresh, 0));
        kit.done(note(begun.turn, "another")).await;
        kit.done(Command::Prompting { turn: begun.turn, seen: 3 }).await;
        kit.done(completed(&task)).await;
    }
    let told = kit.told(chat).await;
    let told: Vec<_> = told.iter().filter(|told| !told.contains("ed C")).collect();
    let expected = "began 1|began 1|ended Interrupted|resumed 1|began 1|carried 2|began 2|\
                    carried 3|began 3|lost 4|began 4";
    assert_eq!(told, expected.split('|').collect::<Vec<_>>());
    let Page::AgentSessions(all) = sessions(&kit, chat, None, 9).await else { panic!("no list") };
    let reasons: Vec<_> = all.iter().map(|row| (row.generation, row.reason.is_some())).collect();
    assert_eq!(reasons, [(4, false), (3, true), (2, true), (1, true)]);
    let contexts = all.iter().map(|row| row.context);
    use AgentContext::{Carried, Full, Lost};
    assert_eq!(contexts.collect::<Vec<_>>(), [Lost, Carried, Carried, Full]);
}

pub(super) async fn a_session_in_which_nothing_was_said_is_begun_anew(kit: Kit) {
    let chat = kit.chat().await;
    let task = kit.talking(chat).await;
    let ours = BeginTurn { sessions: Sessions::Ours, ..wish(&task, chat) };
    let nameless = BeginTurn { proposed: String::new(), ..ours.clone() };
    assert!(matches!(kit.refused(begin(&nameless)).await, Rejection::Invalid(_)));
    let begun = kit.begin(&ours).await;
    assert_eq!(begun.resume, Resume::New("ours".into()));
    kit.done(note(begun.turn, "ours")).await;
    kit.done(Command::Rescue { task: task.id, lease: task.lease }).await;
    let task = kit.claim_one().await;
    let ours = BeginTurn {
        sessions: Sessions::Ours,
        proposed: "second".into(),
        fingerprint: "v2".into(),
        ..wish(&task, chat)
    };
    let again = kit.begin(&ours).await;
    assert_eq!((again.session, again.generation), (begun.session, 1));
    assert_eq!(again.resume, Resume::New("second".into()), "the agent never had a prompt");
    assert_eq!(kit.told(chat).await, ["began 1", "ended Crashed", "began 1"]);
}

pub(super) async fn a_turn_goes_on_when_its_session_is_lost(kit: Kit) {
    let chat = kit.chat().await;
    let first = kit.whole_turn(chat, "gone").await;
    let task = kit.talking(chat).await;
    let begun = kit.begin(&wish(&task, chat)).await;
    assert_eq!(begun.resume, Resume::Continue("gone".into()));
    kit.done(Command::Prompting { turn: begun.turn, seen: 0 }).await;
    let taken =
        BeginTurn { lost: Some("gone".into()), session: first.session, ..wish(&task, chat) };
    assert!(matches!(kit.refused(begin(&taken)).await, Rejection::Invalid(_)));
    let lost = BeginTurn { lost: Some("gone".into()), ..wish(&task, chat) };
    let Ok(Outcome::Turn(new)) = kit.twice(begin(&lost)).await else { panic!("it is begun") };
    assert_eq!((new.turn, new.session, new.generation), (begun.turn, lost.session, 2));
    assert_eq!((new.resume, new.context), (Resume::Fresh, AgentContext::Carried));
    let turn = kit.turn(new.turn).await;
    assert_eq!((turn.state, turn.generation), (TurnState::Begun, 2));
    assert_eq!(turn.prompted_at, Timestamp::ZERO, "nothing was prompted");
    assert_eq!(kit.agent_session(first.session).await.state, AgentSessionState::Closed);
    kit.done(completed(&task)).await;
}

pub(super) async fn a_deleted_chat_takes_its_turns_and_leaves_the_account(kit: Kit) {
    let chat = kit.chat().await;
    let ended = kit.whole_turn(chat, "one").await;
    let task = kit.talking(chat).await;
    let open = kit.begin(&wish(&task, chat)).await;
    kit.done(Command::DeleteChat(chat)).await;
    let rows = kit.rows().await;
    assert!(rows.turns.is_empty());
    assert_eq!(rows.agent_sessions[&ended.session].chat, None);
    let late = Command::Prompting { turn: open.turn, seen: 0 };
    assert!(matches!(kit.refused(late).await, Rejection::NotFound { .. }));
    kit.done(completed(&task)).await;
    let Page::AgentSessions(all) = sessions(&kit, chat, None, 9).await else { panic!("no list") };
    assert!(all.is_empty());
}

async fn sessions(kit: &Kit, chat: ChatId, after: Option<AgentSessionId>, limit: u32) -> Page {
    let query = Query::AgentSessions { chat, after, limit };
    kit.backend().list(&query).await.expect("a list works")
}

async fn turns(kit: &Kit, chat: ChatId, after: Option<TurnId>, limit: u32) -> Vec<Turn> {
    match kit.backend().list(&Query::Turns { chat, after, limit }).await.expect("a list works") {
        Page::Turns(turns) => turns,
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn every_field_of_a_turn_and_its_session_is_kept(kit: Kit) {
    let chat = kit.chat().await;
    let begun_at = kit.now();
    let task = kit.talking(chat).await;
    let wish = BeginTurn {
        transport: Transport::OpencodeServer,
        worktree: Some("/work/tree's".into()),
        ..wish(&task, chat)
    };
    let begun = kit.begin(&wish).await;
    let port = Some(65_535);
    kit.done(Command::NoteSession { turn: begun.turn, id: "ses's".into(), port }).await;
    kit.advance(2);
    let prompted_at = kit.now();
    kit.done(Command::Prompting { turn: begun.turn, seen: i64::MAX }).await;
    kit.advance(3);
    let reason = Some("it refused".to_owned());
    let end = TurnEnd { reason: reason.clone(), ..TurnEnd::new(TurnState::Refused) };
    kit.done(ended(&task, done(), Some(end))).await;
    let turn = Turn {
        id: begun.turn,
        chat,
        agent: "claude".into(),
        session: wish.session,
        generation: 1,
        task: task.id,
        lease: 1,
        state: TurnState::Refused,
        reason,
        tokens: Tokens::default(),
        cost: 0,
        begun_at,
        prompted_at,
        ended_at: kit.now(),
    };
    let session = AgentSession {
        id: wish.session,
        chat: Some(chat),
        agent: "claude".into(),
        generation: 1,
        transport: Transport::OpencodeServer,
        token: Some("ses's".into()),
        port,
        worktree: Some("/work/tree's".into()),
        host: "h".into(),
        state: AgentSessionState::Idle,
        fingerprint: "v1".into(),
        context: AgentContext::Full,
        seen: i64::MAX,
        turns: 1,
        tokens: Tokens::default(),
        cost: 0,
        bookings: 0,
        counters: Counters::new(),
        reason: None,
        last_active_at: kit.now(),
        created_at: begun_at,
        closed_at: Timestamp::ZERO,
    };
    assert_eq!(kit.turn(begun.turn).await, turn);
    assert_eq!(kit.agent_session(session.id).await, session);
    assert_eq!(turns(&kit, chat, None, 5).await, [turn]);
    assert_eq!(sessions(&kit, chat, None, 5).await, Page::AgentSessions(vec![session]));
}

pub(super) async fn turns_and_sessions_are_listed_in_pages(kit: Kit) {
    let (chat, other) = (kit.chat().await, kit.chat().await);
    kit.whole_turn(other, "other").await;
    let mut taken = Vec::new();
    for _ in 0..5 {
        taken.insert(0, kit.whole_turn(chat, "one").await.turn);
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = turns(&kit, chat, after, 2).await;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|turn| turn.id));
    }
    assert_eq!(seen, taken, "the newest first");
    let Page::AgentSessions(all) = sessions(&kit, chat, None, 5).await else { panic!("no list") };
    assert_eq!(all.len(), 1, "one session for all of them");
    let rest = sessions(&kit, chat, Some(all[0].id), 5).await;
    assert_eq!(rest, Page::AgentSessions(Vec::new()));
}
