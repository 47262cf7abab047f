//! Clauses on the inbox, and on sessions, chats and messages.

use super::kit::{Kit, chat, done, enqueue, fault, settle, work};
use crate::{
    clock::Timestamp,
    id::{ChatId, ItemId, MessageId, SessionId, TaskId},
    model::{
        Answer, Ask, Chat, Command, Decision, Item, ItemKind, ItemState, NewMessage, Outcome, Page,
        Payload, Phase, Query, Rejection, Role, Session, Settle, Task, TaskSpec,
    },
};

fn ask(options: &[&str]) -> Ask {
    Ask {
        id: ItemId::new(),
        kind: ItemKind::Permission,
        key: "edit".into(),
        body: Payload::trusted("{\"path\":\"a.rs\"}".into()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

fn answer(item: ItemId, value: &str, by: &str) -> Command {
    Command::Answer { item, answer: Answer { value: Payload::text(value), by: by.into() } }
}

async fn open_items(kit: &Kit) -> Vec<Item> {
    let query = Query::Inbox { project: Some("default".into()), limit: 100 };
    match kit.backend().list(&query).await.expect("a list works") {
        Page::Inbox(items) => items,
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn a_question_is_answered_once(kit: Kit) {
    let task = kit.running(work()).await;
    let asked = ask(&["yes", "no"]);
    let item = asked.id;
    kit.done(settle(&task, Decision::Block(vec![asked.clone()]))).await;
    assert!(kit.claim(5).await.is_empty(), "it waits for the answer");
    let open = open_items(&kit).await;
    let row = &open[0];
    assert_eq!((row.id, row.task, row.lease, row.kind), (item, task.id, 1, asked.kind));
    assert_eq!((&row.key, &row.body, &row.options), (&asked.key, &asked.body, &asked.options));
    let refused = kit.refused(answer(item, "maybe", "ann")).await;
    assert!(matches!(refused, Rejection::NotAnOption(_)), "{refused}");
    kit.advance(3);
    assert_eq!(kit.twice(answer(item, "yes", "ann")).await, Ok(Outcome::Done));
    let refused = kit.refused(answer(item, "no", "bob")).await;
    assert_eq!(refused, Rejection::Answered { by: "ann".into() });
    let row = kit.items(task.id).await.remove(0);
    assert_eq!((row.state, row.answered_at), (ItemState::Answered, kit.now()));
    assert_eq!(row.answer, Some(Answer { value: Payload::text("yes"), by: "ann".into() }));
    assert!(open_items(&kit).await.is_empty());
    let again = kit.claim_one().await;
    assert_eq!((again.id, again.lease), (task.id, 2));
    let missing = kit.refused(answer(ItemId::new(), "yes", "ann")).await;
    assert!(matches!(missing, Rejection::NotFound { .. }));
}

pub(super) async fn a_task_goes_on_when_all_is_answered(kit: Kit) {
    let task = kit.running(work()).await;
    let (first, second) = (ask(&[]), ask(&[]));
    let items = [first.id, second.id];
    kit.done(settle(&task, Decision::Block(vec![first, second]))).await;
    kit.done(answer(items[1], "anything", "ann")).await;
    assert_eq!(kit.row(task.id).await.phase, Phase::Blocked);
    kit.done(answer(items[0], "anything", "ann")).await;
    assert_eq!(kit.claim_one().await.id, task.id);
    let nothing = settle(&kit.row(task.id).await, Decision::Block(Vec::new()));
    assert!(matches!(kit.refused(nothing).await, Rejection::Invalid(_)));
}

pub(super) async fn what_nobody_needs_is_withdrawn(kit: Kit) {
    let task = kit.running(work()).await;
    let asked = ask(&[]);
    let item = asked.id;
    kit.done(settle(&task, Decision::Block(vec![asked]))).await;
    kit.done(Command::Cancel(task.id)).await;
    assert_eq!(kit.items(task.id).await[0].state, ItemState::Withdrawn);
    assert_eq!(kit.refused(answer(item, "late", "ann")).await, Rejection::Withdrawn);
}

pub(super) async fn a_failure_waits_for_a_person(kit: Kit) {
    let task = kit.running(work()).await;
    kit.done(settle(&task, fault())).await;
    let open = open_items(&kit).await;
    assert_eq!((open[0].task, open[0].kind), (task.id, ItemKind::Failure));
    assert_eq!(open[0].body, Payload::text("it broke"));
    kit.done(Command::Retry(task.id)).await;
    assert!(open_items(&kit).await.is_empty());
}

fn session() -> Session {
    Session {
        id: SessionId::new(),
        project: "default".into(),
        title: "a session".into(),
        meta: Some(Payload::trusted("{\"a\": 1}".into())),
        created_at: Timestamp::ZERO,
    }
}

pub(super) async fn sessions_and_chats_are_opened_and_changed(kit: Kit) {
    let session = session();
    assert!(kit.twice(Command::OpenSession(session.clone())).await.is_ok());
    let chat = Chat { session: Some(session.id), ..chat() };
    assert!(kit.twice(Command::OpenChat(chat.clone())).await.is_ok());
    let made = kit.now();
    kit.advance(10);
    let renamed = Session { title: "renamed".into(), meta: None, ..session.clone() };
    kit.done(Command::OpenSession(renamed.clone())).await;
    let retitled = Chat { title: "retitled".into(), ..chat.clone() };
    kit.done(Command::OpenChat(retitled.clone())).await;
    let rows = kit.rows().await;
    assert_eq!(rows.sessions[&session.id], Session { created_at: made, ..renamed });
    assert_eq!(rows.chats[&chat.id], Chat { created_at: made, ..retitled });
    let imported = Chat { created_at: Timestamp::from_micros(77), ..super::kit::chat() };
    kit.done(Command::OpenChat(imported.clone())).await;
    assert_eq!(kit.rows().await.chats[&imported.id], imported, "a given time is kept");
}

fn message(text: &str, task: Option<TaskId>) -> NewMessage {
    NewMessage { id: MessageId::new(), role: Role::User, content: Payload::text(text), task }
}

fn append(chat: ChatId, messages: &[&NewMessage]) -> Command {
    let messages = messages.iter().map(|message| (*message).clone()).collect();
    Command::Append { chat, messages }
}

async fn texts(kit: &Kit, chat: ChatId) -> Vec<String> {
    let query = Query::Messages { chat, after: 0, limit: 100 };
    let Page::Messages(messages) = kit.backend().list(&query).await.expect("a list works") else {
        panic!("another list");
    };
    messages.iter().map(|message| message.content.decode().expect("it is text")).collect()
}

pub(super) async fn messages_are_appended_in_order_and_once(kit: Kit) {
    let chat = kit.chat().await;
    let [a, b, c] = ["a", "b", "c"].map(|text| message(text, None));
    assert!(kit.one(append(chat, &[&a, &b])).await.is_ok());
    let before = kit.rows().await;
    assert!(kit.one(append(chat, &[&a, &b])).await.is_ok());
    let after = kit.rows().await;
    assert_eq!(before.messages, after.messages);
    assert_eq!(before.entries, after.entries);
    kit.done(append(chat, &[&b, &c])).await;
    assert_eq!(texts(&kit, chat).await, ["a", "b", "c"]);
    let rows = kit.rows().await;
    let stored = rows.messages.values().next().expect("there are messages");
    assert_eq!((stored.chat, stored.id, stored.role), (chat, a.id, a.role));
    assert_eq!((&stored.content, stored.created_at), (&a.content, kit.now()));
    let missing = kit.refused(append(ChatId::new(), &[&a])).await;
    assert!(matches!(missing, Rejection::NotFound { .. }));
}

fn saying(held: &Task, chat: ChatId, messages: Vec<NewMessage>) -> Command {
    let Command::Settle(settle) = settle(held, done()) else { unreachable!("it is a settle") };
    let usage = Some(Payload::trusted("{\"tokens\":12}".into()));
    Command::Settle(Box::new(Settle { said: Some((chat, messages)), usage, ..*settle }))
}

pub(super) async fn what_an_attempt_said_is_stored_with_its_end(kit: Kit) {
    let chat = kit.chat().await;
    let task = kit.running(TaskSpec { chat: Some(chat), ..work() }).await;
    let said = NewMessage { role: Role::Assistant, ..message("hello", Some(task.id)) };
    assert!(kit.twice(saying(&task, chat, vec![said])).await.is_ok());
    assert_eq!(texts(&kit, chat).await, ["hello"]);
    let rows = kit.rows().await;
    assert_eq!(rows.messages.values().next().and_then(|row| row.task), Some(task.id));
    let usage = rows.attempts[&(task.id, 1)].usage.as_ref().map(Payload::as_str);
    assert_eq!(usage, Some("{\"tokens\":12}"));
    let late = saying(&Task { lease: 0, ..task }, chat, vec![message("late", None)]);
    assert_eq!(kit.refused(late).await, Rejection::StaleLease);
}

pub(super) async fn a_deleted_chat_takes_its_messages_along(kit: Kit) {
    let (chat, other) = (kit.chat().await, kit.chat().await);
    let task = kit.enqueue(TaskSpec { chat: Some(chat), ..work() }).await;
    kit.done(append(chat, &[&message("gone", None)])).await;
    kit.done(append(other, &[&message("kept", None)])).await;
    assert!(kit.twice(Command::DeleteChat(chat)).await.is_ok());
    let rows = kit.rows().await;
    assert_eq!(rows.specs[&task].chat, None, "its task stays");
    assert!(rows.messages.keys().all(|(of, _)| *of == other));
    assert!(rows.entries.keys().all(|(of, _)| *of == crate::model::Stream::Chat(other)));
    assert_eq!((rows.chats.len(), rows.messages.len(), rows.entries.len()), (1, 1, 1));
}

pub(super) async fn a_deleted_chat_can_be_opened_again(kit: Kit) {
    let chat = chat();
    kit.done(Command::OpenChat(chat.clone())).await;
    let task = TaskSpec { chat: Some(chat.id), ..work() };
    kit.done(append(chat.id, &[&message("before", None)])).await;
    let receipts = kit
        .commit(vec![
            append(chat.id, &[&message("just before", None)]),
            enqueue(task.clone()),
            Command::DeleteChat(chat.id),
            Command::OpenChat(Chat { title: "reborn".into(), ..chat.clone() }),
            append(chat.id, &[&message("after", None)]),
        ])
        .await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    assert_eq!(texts(&kit, chat.id).await, ["after"]);
    let rows = kit.rows().await;
    assert_eq!(rows.chats[&chat.id].title, "reborn");
    assert_eq!(rows.specs[&task.id].chat, None, "it belonged to the chat that is gone");
}

pub(super) async fn references_to_nothing_are_refused(kit: Kit) {
    let orphans = [
        TaskSpec { parent: Some(TaskId::new()), ..work() },
        TaskSpec { session: Some(SessionId::new()), ..work() },
        TaskSpec { chat: Some(ChatId::new()), ..work() },
    ];
    for spec in orphans {
        let refused = kit.refused(enqueue(spec)).await;
        assert!(matches!(refused, Rejection::NotFound { .. }), "{refused}");
    }
    let lost = Chat { session: Some(SessionId::new()), ..chat() };
    let refused = kit.refused(Command::OpenChat(lost)).await;
    assert!(matches!(refused, Rejection::NotFound { .. }), "{refused}");
}
