//! Clauses on messages that are written while an agent speaks.

use super::{
    agents::{completed, wish},
    kit::{Kit, chat},
};
use crate::{
    id::{ChatId, MessageId, TurnId},
    model::{
        Begun, Command, Event, Message, NewMessage, NewPart, Page, Part, PartKind, Payload, Query,
        Rejection, Role, Stream, Task, Write,
    },
};

fn part(message: MessageId, no: u32, kind: PartKind, body: &str) -> NewPart {
    NewPart { message, no, kind, body: body.into() }
}

fn text(message: MessageId, no: u32, body: &str) -> NewPart {
    part(message, no, PartKind::Text, body)
}

fn write(turn: TurnId, chat: ChatId, parts: Vec<NewPart>) -> Command {
    Command::Write(Box::new(Write { turn, chat, parts }))
}

async fn at_work(kit: &Kit) -> (ChatId, Task, Begun) {
    let chat = kit.chat().await;
    let task = kit.talking(chat).await;
    let begun = kit.begin(&wish(&task, chat)).await;
    (chat, task, begun)
}

async fn messages(kit: &Kit, chat: ChatId, after: i64, limit: u32) -> Vec<Message> {
    let query = Query::Messages { chat, after, limit };
    match kit.backend().list(&query).await.expect("a list works") {
        Page::Messages(messages) => messages,
        other => panic!("another list: {other:?}"),
    }
}

async fn parts(kit: &Kit, message: MessageId, from: u32, limit: u32) -> Vec<Part> {
    let query = Query::Parts { message, from, limit };
    match kit.backend().list(&query).await.expect("a list works") {
        Page::Parts(parts) => parts,
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn a_message_grows_by_parts(kit: Kit) {
    let (chat, task, begun) = at_work(&kit).await;
    let turn = begun.turn;
    let (one, two) = (MessageId::new(), MessageId::new());
    kit.advance(3);
    let first = vec![
        part(one, 0, PartKind::Thought, "hm"),
        text(one, 1, "\u{e9}t\u{e9} \u{1f980}"),
        part(one, 2, PartKind::Tool, "{\"tool\": 1.0}"),
    ];
    assert!(kit.twice(write(turn, chat, first)).await.is_ok());
    let at = kit.now();
    kit.advance(3);
    let more = vec![text(one, 3, " more"), text(two, 0, "two"), text(one, 3, "again")];
    assert!(kit.twice(write(turn, chat, more)).await.is_ok());
    let all = messages(&kit, chat, 0, 10).await;
    let said: Vec<_> =
        all.iter().map(|row| row.content.decode::<String>().expect("text")).collect();
    assert_eq!(said, ["\u{e9}t\u{e9} \u{1f980} more", "two"]);
    let whole = &all[0];
    assert_eq!((whole.id, whole.role, whole.task), (one, Role::Assistant, Some(task.id)));
    assert_eq!(whole.created_at, at, "it was begun then");
    let offsets: Vec<_> = whole.parts.iter().map(|part| (part.no, part.offset)).collect();
    assert_eq!(offsets, [(0, 0), (1, 0), (2, 5), (3, 5)], "counted in characters");
    assert_eq!(parts(&kit, one, 0, 10).await, whole.parts);
    assert_eq!(parts(&kit, one, 1, 2).await, whole.parts[1..3]);
    let kept = kit.rows().await.parts;
    let kinds: Vec<_> = kept.range((one, 0)..=(one, 9)).map(|(_, part)| part.kind).collect();
    use PartKind::{Plan, Text, Thought, Tool};
    assert_eq!(kinds, [Thought, Text, Tool, Text]);
    kit.done(write(turn, chat, vec![part(two, 1, Plan, "[]")])).await;
    assert_eq!(parts(&kit, two, 1, 9).await[0].kind, Plan);
    kit.done(completed(&task)).await;
    let late = write(turn, chat, vec![text(two, 2, "late")]);
    assert_eq!(kit.refused(late).await, Rejection::StaleLease);
    assert_eq!(messages(&kit, chat, all[0].seq, 1).await[0].content, Payload::text("two"));
}

pub(super) async fn who_watches_is_told_what_was_added(kit: Kit) {
    let (chat, _, begun) = at_work(&kit).await;
    let (turn, one) = (begun.turn, MessageId::new());
    kit.done(write(turn, chat, vec![text(one, 0, "abc"), text(one, 1, "\u{1f980}")])).await;
    kit.done(write(turn, chat, vec![part(one, 2, PartKind::Tool, "{}"), text(one, 3, "d")])).await;
    kit.done(write(turn, chat, vec![text(one, 3, "d")])).await;
    let rows = kit.rows().await;
    let entries = rows.entries.values().filter(|entry| entry.stream == Stream::Chat(chat));
    let grown = entries.flat_map(|entry| &entry.events).filter_map(|event| match event {
        Event::MessageGrew { id, no, offset, length, .. } => Some((*id, *no, *offset, *length)),
        _ => None,
    });
    assert_eq!(grown.collect::<Vec<_>>(), [(one, 0, 0, 4), (one, 2, 4, 1)]);
}

pub(super) async fn a_part_that_has_no_place_is_refused(kit: Kit) {
    let (chat, _, begun) = at_work(&kit).await;
    let (turn, one) = (begun.turn, MessageId::new());
    let gap = write(turn, chat, vec![text(one, 0, "a"), text(one, 2, "c")]);
    assert!(matches!(kit.refused(gap).await, Rejection::Invalid(_)));
    assert!(matches!(
        kit.refused(write(turn, chat, vec![text(one, 1, "b")])).await,
        Rejection::Invalid(_)
    ));
    let other = kit.chat().await;
    let elsewhere = write(turn, other, vec![text(one, 0, "a")]);
    assert!(matches!(kit.refused(elsewhere).await, Rejection::Invalid(_)));
    let (id, role, content) = (MessageId::new(), Role::User, Payload::text("mine"));
    let messages = vec![NewMessage { id, role, content, task: None }];
    kit.done(Command::Append { chat, messages }).await;
    let foreign = write(turn, chat, vec![text(id, 0, "a")]);
    assert!(matches!(kit.refused(foreign).await, Rejection::Invalid(_)));
    let large = "x".repeat(crate::model::limits::PAYLOAD_BYTES + 1);
    let large = write(turn, chat, vec![text(one, 0, &large)]);
    assert!(matches!(kit.refused(large).await, Rejection::TooLarge { .. }));
    let unknown = write(TurnId::of(begun_by_nobody(), 1), chat, vec![text(one, 0, "a")]);
    assert!(matches!(kit.refused(unknown).await, Rejection::NotFound { .. }));
    kit.done(write(turn, chat, vec![text(one, 0, "a\0b")])).await;
    assert_eq!(parts(&kit, one, 0, 1).await[0].body, "a\u{fffd}b", "what was met with is mended");
}

fn begun_by_nobody() -> crate::id::TaskId {
    crate::id::TaskId::new()
}

pub(super) async fn a_deleted_chat_takes_what_was_written_along(kit: Kit) {
    let (chat_id, _, begun) = at_work(&kit).await;
    let (turn, one) = (begun.turn, MessageId::new());
    kit.done(write(turn, chat_id, vec![text(one, 0, "before")])).await;
    let reopened = crate::model::Chat { id: chat_id, ..chat() };
    let receipts = kit
        .commit(vec![
            write(turn, chat_id, vec![text(one, 1, "just before")]),
            Command::DeleteChat(chat_id),
            Command::OpenChat(reopened),
            write(turn, chat_id, vec![text(one, 0, "after")]),
        ])
        .await;
    assert!(receipts[..3].iter().all(Result::is_ok), "{receipts:?}");
    assert!(matches!(receipts[3], Err(Rejection::NotFound { .. })), "{receipts:?}");
    let rows = kit.rows().await;
    assert!(rows.parts.is_empty() && rows.messages.is_empty());
}
