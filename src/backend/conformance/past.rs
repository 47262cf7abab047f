//! Clauses on what was said elsewhere: chats that are taken in, and forks of chats.

use super::{
    agents::{begin, completed, ended, wish},
    kit::{Kit, chat, done},
};
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, ChatId, MessageId},
    model::{
        AgentContext, AgentSessionState, BeginTurn, Command, Counter, Event, ForkChat, ImportChat,
        Page, PastMessage, PastSession, Payload, Query, Rejection, Resume, Role, Sessions, Stream,
        Transport, TurnEnd, TurnState,
    },
};

fn said(n: u8) -> PastMessage {
    PastMessage {
        id: MessageId::new(),
        role: if n.is_multiple_of(2) { Role::User } else { Role::Assistant },
        content: Payload::of(&n).expect("a number has a JSON form"),
        task: None,
        created_at: Timestamp::from_micros(1_000 + i64::from(n)),
    }
}

/// A session of `claude` on host `h`.
fn session(token: &str) -> PastSession {
    PastSession {
        id: AgentSessionId::new(),
        agent: "claude".into(),
        transport: Transport::Cli,
        token: token.into(),
        host: "h".into(),
        worktree: Some("/old".into()),
        seen: None,
        counters: [("m".into(), Counter { cost: 7, ..Counter::default() })].into(),
        last_active_at: Timestamp::from_micros(2_000),
    }
}

fn import(chat: ChatId, messages: &[PastMessage], sessions: Vec<PastSession>) -> Command {
    let messages = messages.to_vec();
    Command::ImportChat(Box::new(ImportChat { chat, messages, sessions }))
}

impl Kit {
    /// What a chat has, by its numbers.
    async fn numbers(&self, chat: ChatId) -> Vec<u8> {
        let query = Query::Messages { chat, after: 0, limit: 1_000 };
        let Page::Messages(all) = self.backend().list(&query).await.expect("a list") else {
            panic!("messages are listed")
        };
        all.iter().map(|message| message.content.decode().expect("a number")).collect()
    }

    async fn events(&self, chat: ChatId) -> Vec<Event> {
        let rows = self.rows().await;
        let entries = rows.entries.values().filter(|entry| entry.stream == Stream::Chat(chat));
        entries.flat_map(|entry| entry.events.clone()).collect()
    }
}

pub(super) async fn a_past_is_taken_in_once(kit: Kit) {
    let chat = kit.chat().await;
    let all = [said(0), said(1), said(2)];
    let past = PastSession { seen: Some(all[1].id), ..session("theirs") };
    assert!(kit.twice(import(chat, &all[..2], Vec::new())).await.is_ok());
    assert!(kit.twice(import(chat, &all, vec![past.clone()])).await.is_ok());
    // With a session of another name it is still the same past.
    kit.done(import(chat, &all, vec![session("another")])).await;
    assert_eq!(kit.numbers(chat).await, [0, 1, 2]);
    let rows = kit.rows().await;
    let times: Vec<_> = rows.messages.values().map(|row| row.created_at).collect();
    assert_eq!(times, all.each_ref().map(|message| message.created_at));
    assert_eq!(rows.agent_sessions.len(), 1);
    let row = &rows.agent_sessions[&past.id];
    let of = (row.chat, row.generation, row.state, row.context);
    assert_eq!(of, (Some(chat), 1, AgentSessionState::Idle, AgentContext::Full));
    assert_eq!((row.token.as_deref(), row.worktree.as_deref()), (Some("theirs"), Some("/old")));
    assert_eq!((row.last_active_at, &row.counters), (past.last_active_at, &past.counters));
    let read = rows.messages.values().find(|row| row.id == all[1].id).map(|row| row.seq);
    assert_eq!(Some(row.seen), read, "it has not read what was said after");
    let nowhere = kit.refused(import(ChatId::new(), &all, Vec::new())).await;
    assert!(matches!(nowhere, Rejection::NotFound { .. }));
    let blind = PastSession { seen: Some(MessageId::new()), agent: "codex".into(), ..session("x") };
    let refused = kit.refused(import(chat, &[said(3)], vec![blind])).await;
    assert!(matches!(refused, Rejection::NotFound { .. }));
    let nameless = PastSession { agent: "codex".into(), ..session("") };
    let refused = kit.refused(import(chat, &[said(3)], vec![nameless])).await;
    assert!(matches!(refused, Rejection::Invalid(_)));
}

pub(super) async fn a_session_that_was_taken_in_is_continued_by_the_first_who_fits(kit: Kit) {
    let cases = [
        ("h", Some("/old"), true),
        ("h", Some("/new"), false),
        ("h", None, false),
        ("elsewhere", Some("/old"), false),
    ];
    for (host, worktree, fits) in cases {
        let chat = kit.chat().await;
        kit.done(import(chat, &[said(0)], vec![session("theirs")])).await;
        for (fingerprint, expected) in [("v1", fits), ("v2", false)] {
            let task = kit.talking(chat).await;
            let wish = BeginTurn {
                host: host.into(),
                worktree: worktree.map(str::to_owned),
                fingerprint: fingerprint.into(),
                ..wish(&task, chat)
            };
            let begun = kit.begin(&wish).await;
            let resume = Resume::Continue("theirs".into());
            assert_eq!(begun.resume == resume, expected, "{host} {worktree:?} {fingerprint}");
            let session = kit.agent_session(begun.session).await;
            assert_eq!(session.fingerprint, fingerprint, "who continues it says what it is");
            assert_eq!(session.generation == 1, expected);
            kit.done(Command::Prompting { turn: begun.turn, seen: 0 }).await;
            kit.done(completed(&task)).await;
        }
    }
}

pub(super) async fn a_fork_begins_like_its_origin(kit: Kit) {
    let mut origin = chat();
    origin.meta = Some(Payload::text("mine"));
    let from = origin.id;
    kit.done(Command::OpenChat(origin)).await;
    let all = [said(0), said(1), said(2)];
    kit.done(import(from, &all, vec![session("theirs")])).await;
    let id = ChatId::new();
    let copies = |count: usize| -> Vec<PastMessage> {
        let copy =
            |message: &PastMessage| PastMessage { id: message.id.in_fork(id), ..message.clone() };
        all[..count].iter().map(copy).collect()
    };
    let fork =
        |seq, messages| Command::ForkChat(Box::new(ForkChat { chat: id, from, seq, messages }));
    assert!(kit.twice(fork(2, copies(1))).await.is_ok());
    assert!(kit.twice(fork(2, copies(2))).await.is_ok());
    assert_eq!((kit.numbers(id).await, kit.numbers(from).await), (vec![0, 1], vec![0, 1, 2]));
    let row = kit.rows().await.chats.remove(&id).expect("the fork");
    assert_eq!(row.forked_from, Some((from, 2)));
    assert_eq!((row.title.as_str(), row.meta), ("a chat", Some(Payload::text("mine"))));
    let listed = Query::Chats { project: None, session: None, after: None, limit: 9 };
    let Page::Chats(chats) = kit.backend().list(&listed).await.expect("a list") else {
        panic!("chats are listed")
    };
    assert_eq!(chats.iter().filter(|chat| chat.forked_from == row.forked_from).count(), 1);
    assert_eq!(kit.events(id).await[0], Event::ChatForked { from, seq: 2 });
    let other = kit.refused(fork(1, copies(1))).await;
    assert!(matches!(other, Rejection::Invalid(_)), "{other:?}");
    let lost = ForkChat { chat: ChatId::new(), from: ChatId::new(), seq: 1, messages: Vec::new() };
    let lost = kit.refused(Command::ForkChat(Box::new(lost))).await;
    assert!(matches!(lost, Rejection::NotFound { .. }));
    // It outlives its origin, and can be opened like any chat.
    kit.done(Command::DeleteChat(from)).await;
    kit.done(Command::OpenChat(crate::model::Chat { id, title: "new".into(), ..chat() })).await;
    let row = kit.rows().await.chats.remove(&id).expect("the fork");
    assert_eq!((row.forked_from, row.title.as_str()), (Some((from, 2)), "new"));
}

pub(super) async fn agents_of_a_fork_are_told_what_was_said(kit: Kit) {
    let from = kit.chat().await;
    kit.done(import(from, &[said(0)], vec![session("theirs")])).await;
    let cases = [
        (Sessions::Theirs, true, AgentContext::Carried),
        (Sessions::Ours, false, AgentContext::Lost),
        (Sessions::None, true, AgentContext::Full),
    ];
    for (sessions, carries, context) in cases {
        let id = ChatId::new();
        let fork = ForkChat { chat: id, from, seq: 9, messages: vec![said(0)] };
        kit.done(Command::ForkChat(Box::new(fork))).await;
        let task = kit.talking(id).await;
        let begun = kit.begin(&BeginTurn { sessions, carries, ..wish(&task, id) }).await;
        assert_eq!((begun.context, begun.generation, begun.seen), (context, 1, 0));
        assert!(!matches!(begun.resume, Resume::Continue(_)));
        let events = kit.events(id).await;
        let told = |event: &&Event| match event {
            Event::ContextCarried { generation: 1, .. } => context == AgentContext::Carried,
            Event::ContextLost { generation: 1, .. } => context == AgentContext::Lost,
            _ => false,
        };
        let count = events.iter().filter(told).count();
        assert_eq!(count, usize::from(sessions != Sessions::None), "{events:?}");
        kit.done(Command::Prompting { turn: begun.turn, seen: 1 }).await;
        let end = TurnEnd::new(TurnState::Completed);
        kit.done(ended(&task, done(), Some(end))).await;
        let again = kit.talking(id).await;
        let wish = BeginTurn { sessions, carries, ..wish(&again, id) };
        assert!(kit.one(begin(&wish)).await.is_ok());
    }
}
