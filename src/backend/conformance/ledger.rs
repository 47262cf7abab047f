//! Clauses on what agents use.

use super::{
    agents::{begin, completed, wish},
    kit::{Kit, settle, work},
};
use crate::{
    id::{AgentSessionId, ChatId, TurnId},
    model::{
        Account, BeginTurn, Begun, Book, Booking, Command, Decision, Metering, Page, Payload,
        Query, Rejection, Sessions, Spent, Task, TaskSpec, Tokens, UsageReport,
    },
};

fn report(source: &str, metering: Metering, (input, output): (u64, u64)) -> UsageReport {
    UsageReport {
        source: source.into(),
        model: None,
        metering,
        tokens: Tokens { input, output, ..Tokens::default() },
        cost: None,
        raw: Payload::trusted("{\"n\": 1.0}".into()),
    }
}

fn delta(source: &str, numbers: (u64, u64)) -> UsageReport {
    report(source, Metering::Delta, numbers)
}

fn total(source: &str, numbers: (u64, u64)) -> UsageReport {
    report(source, Metering::Cumulative, numbers)
}

fn book(begun: &Begun, task: &Task, reports: Vec<UsageReport>) -> Command {
    let (session, turn) = (begun.session, begun.turn);
    Command::Book(Box::new(Book { session, turn, task: task.id, reports }))
}

/// A task with a turn in a chat.
async fn at_work(kit: &Kit) -> (ChatId, Task, Begun) {
    let chat = kit.chat().await;
    let task = kit.talking(chat).await;
    let begun = kit.begin(&wish(&task, chat)).await;
    (chat, task, begun)
}

async fn booked(kit: &Kit, of: Account) -> Vec<(u64, u64)> {
    let rows = ledger(kit, of, None, 100).await;
    rows.iter().map(|row| (row.tokens.input, row.tokens.output)).collect()
}

async fn ledger(
    kit: &Kit,
    of: Account,
    after: Option<(AgentSessionId, u32)>,
    limit: u32,
) -> Vec<Booking> {
    match kit.backend().list(&Query::Ledger { of, after, limit }).await.expect("a list works") {
        Page::Ledger(rows) => rows,
        other => panic!("another list: {other:?}"),
    }
}

async fn spent(kit: &Kit, of: Account) -> Spent {
    match kit.backend().list(&Query::Spent { of }).await.expect("a list works") {
        Page::Spent(sum) => sum,
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn a_report_is_booked_once(kit: Kit) {
    let (chat, task, begun) = at_work(&kit).await;
    let reports = vec![delta("a", (10, 1)), delta("a", (99, 99)), delta("b", (20, 2))];
    assert!(kit.twice(book(&begun, &task, reports)).await.is_ok());
    kit.done(book(&begun, &task, vec![delta("b", (7, 7)), delta("c", (30, 3))])).await;
    assert_eq!(booked(&kit, Account::Chat(chat)).await, [(10, 1), (20, 2), (30, 3)]);
    let tokens = Tokens { input: 60, output: 6, ..Tokens::default() };
    assert_eq!(kit.agent_session(begun.session).await.tokens, tokens);
    assert_eq!(kit.turn(begun.turn).await.tokens, tokens);
    let nameless = book(&begun, &task, vec![delta("", (1, 1))]);
    assert!(matches!(kit.refused(nameless).await, Rejection::Invalid(_)));
    let nowhere = Begun { session: AgentSessionId::new(), ..begun.clone() };
    let nowhere = book(&nowhere, &task, vec![delta("d", (1, 1))]);
    assert!(matches!(kit.refused(nowhere).await, Rejection::NotFound { .. }));
}

pub(super) async fn a_counter_is_booked_as_what_it_has_grown_by(kit: Kit) {
    let (chat, task, begun) = at_work(&kit).await;
    let reports = [
        total("1", (100, 10)),
        total("2", (150, 10)),
        delta("3", (7, 7)),
        total("4", (150, 12)),
        // It has begun anew.
        total("5", (40, 13)),
        total("6", (50, 13)),
    ];
    for report in reports {
        kit.done(book(&begun, &task, vec![report])).await;
    }
    let expected = [(100, 10), (50, 0), (7, 7), (0, 2), (40, 13), (10, 0)];
    assert_eq!(booked(&kit, Account::Chat(chat)).await, expected);
    let cost = |source: &str, cost| UsageReport { cost: Some(cost), ..delta(source, (1, 0)) };
    use Metering::{Cumulative, Delta};
    let reports = vec![
        cost("7", (Cumulative, 500)),
        cost("8", (Cumulative, 800)),
        cost("9", (Delta, 5)),
        cost("10", (Cumulative, 100)),
        cost("11", (Cumulative, -3)),
    ];
    kit.done(book(&begun, &task, reports)).await;
    let rows = ledger(&kit, Account::Task(task.id), None, 100).await;
    let costs: Vec<_> = rows.iter().filter_map(|row| row.cost).collect();
    assert_eq!(costs, [500, 300, 5, 100, 0]);
    assert_eq!(kit.agent_session(begun.session).await.cost, 905);
}

pub(super) async fn counters_are_of_one_session_and_one_model(kit: Kit) {
    let (chat, task, begun) = at_work(&kit).await;
    let of = |model: &str, report| UsageReport { model: Some(model.into()), ..report };
    let reports = vec![
        of("big", total("1", (100, 0))),
        of("small", total("2", (30, 0))),
        of("big", total("3", (110, 0))),
    ];
    kit.done(book(&begun, &task, reports)).await;
    assert_eq!(booked(&kit, Account::Chat(chat)).await, [(100, 0), (30, 0), (10, 0)]);
    kit.done(completed(&task)).await;
    // It was never prompted, so the next turn begins a session of the agent anew.
    let task = kit.talking(chat).await;
    let next = kit.begin(&wish(&task, chat)).await;
    assert_eq!(next.session, begun.session);
    kit.done(book(&next, &task, vec![of("big", total("4", (120, 0)))])).await;
    kit.done(Command::NoteSession { turn: next.turn, id: "one".into(), port: None }).await;
    kit.done(Command::Prompting { turn: next.turn, seen: 0 }).await;
    kit.done(completed(&task)).await;
    let task = kit.talking(chat).await;
    let same = kit.begin(&wish(&task, chat)).await;
    kit.done(book(&same, &task, vec![of("big", total("5", (125, 0)))])).await;
    kit.done(completed(&task)).await;
    let task = kit.talking(chat).await;
    let other = BeginTurn { fingerprint: "v2".into(), ..wish(&task, chat) };
    let other = kit.begin(&other).await;
    kit.done(book(&other, &task, vec![of("big", total("5", (130, 0)))])).await;
    let expected = [(100, 0), (30, 0), (10, 0), (120, 0), (5, 0), (130, 0)];
    assert_eq!(booked(&kit, Account::Chat(chat)).await, expected);
    // An agent without sessions counts in each turn for itself.
    let chat = kit.chat().await;
    for _ in 0..2 {
        let task = kit.talking(chat).await;
        let none = BeginTurn { sessions: Sessions::None, ..wish(&task, chat) };
        let begun = kit.begin(&none).await;
        kit.done(Command::Prompting { turn: begun.turn, seen: 0 }).await;
        let source = task.id.to_string();
        kit.done(book(&begun, &task, vec![total(&source, (100, 0))])).await;
        kit.done(completed(&task)).await;
    }
    assert_eq!(booked(&kit, Account::Chat(chat)).await, [(100, 0), (100, 0)]);
}

pub(super) async fn what_was_booked_is_the_usage_of_the_attempt(kit: Kit) {
    let (_, task, begun) = at_work(&kit).await;
    let cost = Some((Metering::Delta, 250));
    let reports = vec![UsageReport { cost, ..delta("a", (10, 4)) }, delta("b", (6, 0))];
    kit.done(book(&begun, &task, reports)).await;
    kit.done(Command::Rescue { task: task.id, lease: task.lease }).await;
    let again = kit.claim_one().await;
    kit.done(settle(&again, Decision::Complete(Payload::null()))).await;
    let rows = kit.rows().await;
    let usage = |lease| rows.attempts[&(task.id, lease)].usage.as_ref().map(Payload::as_str);
    assert_eq!(usage(1), Some("{\"tokens\":20,\"cost_micros\":250}"));
    assert_eq!(usage(2), None, "it took no turn");
    let sum = spent(&kit, Account::Task(task.id)).await;
    assert_eq!((sum.bookings, sum.tokens.total(), sum.cost), (2, 20, 250));
}

pub(super) async fn facts_are_taken_after_the_end_and_without_a_chat(kit: Kit) {
    let (chat, task, begun) = at_work(&kit).await;
    kit.done(book(&begun, &task, vec![total("a", (10, 0))])).await;
    kit.done(completed(&task)).await;
    kit.done(book(&begun, &task, vec![total("b", (15, 0))])).await;
    assert_eq!(kit.turn(begun.turn).await.tokens.input, 15);
    kit.done(Command::DeleteChat(chat)).await;
    kit.done(book(&begun, &task, vec![total("c", (18, 0))])).await;
    assert_eq!(booked(&kit, Account::Task(task.id)).await, [(10, 0), (5, 0), (3, 0)]);
    assert_eq!(booked(&kit, Account::Chat(chat)).await, [(10, 0), (5, 0)]);
    assert_eq!(kit.agent_session(begun.session).await.tokens.input, 18);
}

pub(super) async fn every_field_of_a_booking_is_kept(kit: Kit) {
    let chat = kit.chat().await;
    let run = kit.launch(&[("a", &[])]).await;
    let task = kit.claim_one().await;
    let begun = kit.begin(&wish(&task, chat)).await;
    kit.advance(9);
    let tokens = Tokens { input: 1, cache_read: 2, cache_write: 3, output: 4, reasoning: 5 };
    let report = UsageReport {
        model: Some("m's".into()),
        tokens,
        cost: Some((Metering::Delta, 1 << 40)),
        ..total("an event's", (0, 0))
    };
    kit.done(book(&begun, &task, vec![report.clone()])).await;
    let row = Booking {
        session: begun.session,
        no: 1,
        source: report.source,
        chat: Some(chat),
        agent: "claude".into(),
        generation: 1,
        task: task.id,
        run: Some(run),
        turn: begun.turn,
        model: report.model,
        metering: Metering::Cumulative,
        tokens,
        cost: Some(1 << 40),
        raw: report.raw,
        at: kit.now(),
    };
    assert_eq!(
        kit.rows().await.ledger.into_values().collect::<Vec<_>>(),
        std::slice::from_ref(&row)
    );
    assert_eq!(ledger(&kit, Account::Run(run), None, 5).await, [row]);
    let sum = Spent { bookings: 1, tokens, cost: 1 << 40 };
    for of in [Account::Run(run), Account::Chat(chat), Account::Task(task.id)] {
        assert_eq!(spent(&kit, of).await, sum);
    }
    assert_eq!(spent(&kit, Account::Chat(ChatId::new())).await, Spent::default());
}

pub(super) async fn the_ledger_is_listed_in_pages(kit: Kit) {
    let chat = kit.chat().await;
    let mut expected = Vec::new();
    for agent in ["claude", "codex"] {
        let task = kit.running(TaskSpec { chat: Some(chat), ..work() }).await;
        let begun = kit.begin(&BeginTurn { agent: agent.into(), ..wish(&task, chat) }).await;
        assert_eq!(begun.turn, TurnId::of(task.id, task.lease));
        for no in 1..=3 {
            kit.done(book(&begun, &task, vec![delta(&no.to_string(), (1, 1))])).await;
            expected.push((begun.session, no));
        }
        let again = begin(&BeginTurn { agent: agent.into(), ..wish(&task, chat) });
        assert!(kit.one(again).await.is_ok());
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = ledger(&kit, Account::Chat(chat), after, 2).await;
        let Some(last) = page.last() else { break };
        after = Some((last.session, last.no));
        seen.extend(page.iter().map(|row| (row.session, row.no)));
    }
    assert_eq!(seen, expected);
}
