//! Clauses on the inbox, and on sessions, chats and messages.

use std::time::Duration;

use super::kit::{Kit, chat, done, enqueue, fault, settle, work};
use crate::{
    clock::Timestamp,
    id::{ChatId, ItemId, MessageId, SessionId, TaskId},
    model::{
        Answer, Ask, Chat, Command, Decision, Item, ItemFilter, ItemKind, ItemState, NewMessage,
        Outcome, Page, Payload, Phase, Query, Rejection, Role, Session, Settle, Task, TaskSpec,
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
    let project = Some("default".into());
    items(kit, ItemFilter { project, ..ItemFilter::open() }, None, 100).await
}

async fn items(kit: &Kit, filter: ItemFilter, after: Option<ItemId>, limit: u32) -> Vec<Item> {
    match kit.backend().list(&Query::Inbox { filter, after, limit }).await.expect("a list works") {
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

fn ask_at_work(task: &Task, ask: &Ask) -> Command {
    let ask = Box::new(ask.clone());
    Command::Ask { task: task.id, lease: task.lease, chat: None, ask }
}

pub(super) async fn a_task_at_work_asks_and_its_answer_is_used_once(kit: Kit) {
    let task = kit.running(work()).await;
    let asked = ask(&["allow", "reject"]);
    let item = asked.id;
    let use_it = |lease| Command::UseAnswer { item, lease };
    assert_eq!(kit.twice(ask_at_work(&task, &asked)).await, Ok(Outcome::Done));
    assert_eq!(kit.row(task.id).await.phase, Phase::Running);
    assert_eq!(open_items(&kit).await.len(), 1);
    assert!(matches!(kit.refused(use_it(task.lease)).await, Rejection::Invalid(_)));
    kit.done(answer(item, "allow", "ann")).await;
    assert_eq!(kit.row(task.id).await.phase, Phase::Running);
    assert_eq!(kit.refused(use_it(task.lease + 1)).await, Rejection::StaleLease);
    assert_eq!(kit.twice(use_it(task.lease)).await, Ok(Outcome::Done));
    assert_eq!(kit.items(task.id).await[0].state, ItemState::Used);
    let other = kit.refused(answer(item, "reject", "bob")).await;
    assert_eq!(other, Rejection::Answered { by: "ann".into() });
    let next = ask(&[]);
    kit.done(ask_at_work(&task, &next)).await;
    kit.done(settle(&kit.row(task.id).await, Decision::Snooze(Duration::ZERO))).await;
    let open = kit.items(task.id).await.into_iter().find(|row| row.id == next.id);
    let state = open.map(|row| row.state);
    assert_eq!(state, Some(ItemState::Withdrawn), "the attempt that asked is over");
    let again = kit.claim_one().await;
    assert_eq!(kit.refused(use_it(again.lease)).await, Rejection::Used);
    assert_eq!(kit.refused(ask_at_work(&task, &ask(&[]))).await, Rejection::StaleLease);
}

pub(super) async fn what_a_dead_worker_asked_is_answered_to_the_next(kit: Kit) {
    let task = kit.running(work()).await;
    let asked = ask(&["allow", "reject"]);
    let item = asked.id;
    kit.done(ask_at_work(&task, &asked)).await;
    kit.done(Command::Rescue { task: task.id, lease: task.lease }).await;
    assert_eq!(kit.row(task.id).await.phase, Phase::Blocked);
    kit.done(answer(item, "allow", "ann")).await;
    let again = kit.claim_one().await;
    kit.done(Command::UseAnswer { item, lease: again.lease }).await;
    let asked = ask(&[]);
    kit.done(ask_at_work(&again, &asked)).await;
    kit.done(answer(asked.id, "yes", "ann")).await;
    let row = kit.row(again.id).await;
    kit.done(settle(&row, Decision::Block(vec![asked]))).await;
    assert_eq!(kit.claim_one().await.id, again.id, "it was answered before it was given up");
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

pub(super) async fn items_are_listed_by_where_they_stand(kit: Kit) {
    let (mut tasks, mut asked) = (Vec::new(), Vec::new());
    for project in ["default", "p", "default", "p", "default"] {
        let task = kit.running(TaskSpec { project: project.into(), ..work() }).await;
        let ask = ask(&[]);
        asked.push(ask.id);
        kit.done(settle(&task, Decision::Block(vec![ask]))).await;
        tasks.push(task.id);
    }
    for at in [1, 0, 3] {
        kit.done(answer(asked[at], "yes", "ann")).await;
    }
    kit.done(Command::Cancel(tasks[2])).await;
    use ItemState::{Answered, Open, Withdrawn};
    let of = |states: &[ItemState]| ItemFilter { states: states.to_vec(), ..ItemFilter::default() };
    let in_p = |filter| ItemFilter { project: Some("p".into()), ..filter };
    let rows = [
        (of(&[]), vec![4, 3, 2, 1, 0]),
        (of(&[Open]), vec![4]),
        (of(&[Answered]), vec![3, 1, 0]),
        (of(&[Withdrawn]), vec![2]),
        (of(&[Answered, Withdrawn]), vec![3, 2, 1, 0]),
        (of(&[Open, Withdrawn]), vec![4, 2]),
        (in_p(of(&[])), vec![3, 1]),
        (in_p(of(&[Open])), vec![]),
        (ItemFilter { task: Some(tasks[1]), ..of(&[]) }, vec![1]),
        (ItemFilter { task: Some(tasks[4]), ..of(&[Open]) }, vec![4]),
        (ItemFilter { task: Some(tasks[1]), ..of(&[Withdrawn]) }, vec![]),
    ];
    for (filter, expected) in rows {
        let found = items(&kit, filter.clone(), None, 10).await;
        let expected: Vec<_> = expected.into_iter().map(|at: usize| asked[at]).collect();
        assert_eq!(found.iter().map(|item| item.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
    let page = async |filter, after: usize| {
        let page = items(&kit, filter, Some(asked[after]), 2).await;
        page.iter().map(|item| item.id).collect::<Vec<_>>()
    };
    assert_eq!(page(of(&[Answered, Withdrawn]), 3).await, [asked[2], asked[1]]);
    assert_eq!(page(of(&[Answered, Withdrawn]), 1).await, [asked[0]]);
    let again = kit.claim(3).await;
    for task in &again {
        kit.done(settle(task, Decision::Block(vec![ask(&[])]))).await;
    }
    let open = items(&kit, ItemFilter::open(), None, 10).await;
    assert!(open.len() == 4 && open.is_sorted_by_key(|item| item.id), "the oldest first");
    assert_eq!(items(&kit, ItemFilter::open(), Some(open[1].id), 10).await, open[2..]);
}

pub(super) fn session() -> Session {
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

pub(super) async fn a_deleted_session_leaves_its_chats_and_tasks(kit: Kit) {
    let [gone, kept] = [session(), session()];
    let [one, two] = [&gone, &kept].map(|of| Chat { session: Some(of.id), ..chat() });
    let open = [&gone, &kept].map(|session| Command::OpenSession(session.clone()));
    let chats = [&one, &two].map(|chat| Command::OpenChat(chat.clone()));
    let opened = kit.commit(open.into_iter().chain(chats).collect()).await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    let of = |session, chat| TaskSpec { session: Some(session), chat: Some(chat), ..work() };
    let task = kit.enqueue(of(gone.id, one.id)).await;
    let other = kit.enqueue(of(kept.id, two.id)).await;
    kit.done(append(one.id, &[&message("kept", None)])).await;
    assert!(kit.twice(Command::DeleteSession(gone.id)).await.is_ok());
    let rows = kit.rows().await;
    assert_eq!(rows.sessions.into_keys().collect::<Vec<_>>(), [kept.id]);
    assert_eq!((rows.chats[&one.id].session, rows.chats[&two.id].session), (None, Some(kept.id)));
    assert_eq!((rows.specs[&task].session, rows.specs[&task].chat), (None, Some(one.id)));
    assert_eq!(rows.specs[&other].session, Some(kept.id));
    assert_eq!(texts(&kit, one.id).await, ["kept"]);
    let refused = kit.refused(enqueue(of(gone.id, one.id))).await;
    assert!(matches!(refused, Rejection::NotFound { .. }), "{refused}");
}

pub(super) async fn a_session_is_deleted_and_made_again_in_one_commit(kit: Kit) {
    let session = session();
    kit.done(Command::OpenSession(session.clone())).await;
    let in_it = || Chat { session: Some(session.id), ..chat() };
    let [old, young, reborn] = [in_it(), in_it(), in_it()];
    kit.done(Command::OpenChat(old.clone())).await;
    let task = TaskSpec { session: Some(session.id), ..work() };
    let receipts = kit
        .commit(vec![
            append(old.id, &[&message("before", None)]),
            Command::OpenChat(young.clone()),
            enqueue(task.clone()),
            Command::DeleteSession(session.id),
            append(old.id, &[&message("after", None)]),
            Command::OpenSession(Session { title: "reborn".into(), ..session.clone() }),
            Command::OpenChat(reborn.clone()),
        ])
        .await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    let rows = kit.rows().await;
    assert_eq!(rows.sessions[&session.id].title, "reborn");
    let of = |chat: &Chat| rows.chats[&chat.id].session;
    assert_eq!((of(&old), of(&young), of(&reborn)), (None, None, Some(session.id)));
    assert_eq!(rows.specs[&task.id].session, None, "it belonged to the session that is gone");
    assert_eq!(texts(&kit, old.id).await, ["before", "after"]);
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
