//! Clauses on lists and counts.

use std::time::Duration;

use super::kit::{Kit, fault, settle, work};
use super::reading::say;
use crate::{
    id::{ArenaId, TaskId},
    model::{Command, Page, Query, RunFilter, RunState, TaskFilter, TaskSpec, TaskState},
};

async fn tasks(kit: &Kit, filter: TaskFilter, after: Option<TaskId>, limit: u32) -> Vec<TaskId> {
    let query = Query::Tasks { filter, after, limit };
    match kit.backend().list(&query).await.expect("a list works") {
        Page::Tasks(views) => views.into_iter().map(|view| view.spec.id).collect(),
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn tasks_are_listed_in_pages(kit: Kit) {
    let mut all = Vec::new();
    for _ in 0..7 {
        all.push(kit.enqueue(work()).await);
    }
    all.reverse();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = tasks(&kit, TaskFilter::default(), after, 3).await;
        after = page.last().copied();
        listed.extend(page);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, all, "newest first, none twice, none left out");
    let task = kit.claim(1).await.remove(0);
    kit.done(settle(&task, crate::model::Decision::Snooze(Duration::ZERO))).await;
    let again = kit.claim(1).await.remove(0);
    kit.complete(&again).await;
    let states = vec![TaskState::Completed];
    let filter = TaskFilter { states, ..TaskFilter::default() };
    let query = Query::Tasks { filter, after: None, limit: 3 };
    let Page::Tasks(views) = kit.backend().list(&query).await.expect("a list works") else {
        panic!("another list");
    };
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].attempt.as_ref().map(|attempt| attempt.lease), Some(2), "the last one");
    assert_eq!(views[0].task, Some(kit.row(task.id).await));
}

fn only(change: impl FnOnce(&mut TaskFilter)) -> TaskFilter {
    let mut filter = TaskFilter::default();
    change(&mut filter);
    filter
}

pub(super) async fn tasks_are_filtered(kit: Kit) {
    let (chat, arena) = (kit.chat().await, ArenaId::new());
    let label = ("team".to_owned(), "it's \"a\" %_".to_owned());
    let plain = kit.enqueue(TaskSpec { project: "p".into(), ..work() }).await;
    let labels = [label.clone()].into();
    let labelled = kit.enqueue(TaskSpec { labels, arena: Some(arena), ..work() }).await;
    let child = kit.enqueue(TaskSpec { parent: Some(plain), chat: Some(chat), ..work() }).await;
    let other = kit.enqueue(TaskSpec { kind: "other".into(), priority: -1, ..work() }).await;
    let run = kit.launch(&[("a", &[])]).await;
    let step = TaskId::of_step(run, 0);
    kit.done(settle(&kit.claim(1).await[0], fault())).await;
    let wrong = ("team".to_owned(), "a".to_owned());
    let rows = [
        (only(|filter| filter.project = Some("p".into())), vec![plain]),
        (only(|filter| filter.states = vec![TaskState::Failed, TaskState::Completed]), vec![other]),
        (only(|filter| filter.kind = Some("other".into())), vec![other]),
        (only(|filter| filter.parent = Some(plain)), vec![child]),
        (only(|filter| filter.arena = Some(arena)), vec![labelled]),
        (only(|filter| filter.chat = Some(chat)), vec![child]),
        (only(|filter| filter.run = Some(run)), vec![step]),
        (only(|filter| filter.label = Some(label)), vec![labelled]),
        (only(|filter| filter.label = Some(wrong)), vec![]),
        (
            TaskFilter { kind: Some("other".into()), ..only(|filter| filter.parent = Some(plain)) },
            vec![],
        ),
    ];
    for (filter, expected) in rows {
        assert_eq!(tasks(&kit, filter.clone(), None, 10).await, expected, "{filter:?}");
    }
}

pub(super) async fn runs_chats_sessions_and_messages_are_listed(kit: Kit) {
    let (old, new) = (kit.launch(&[]).await, kit.launch(&[("a", &[])]).await);
    let list = |query: Query| {
        let backend = kit.backend();
        async move { backend.list(&query).await.expect("a list works") }
    };
    let runs = |page| match page {
        Page::Runs(views) => views.into_iter().map(|view| view.run.id).collect::<Vec<_>>(),
        other => panic!("another list: {other:?}"),
    };
    let filter = |states: &[RunState]| RunFilter {
        project: Some("default".into()),
        states: states.to_vec(),
        flow: None,
    };
    let query = |states: &[RunState], after| {
        let filter = filter(states);
        Query::Runs { filter, after, limit: 10 }
    };
    assert_eq!(runs(list(query(&[], None)).await), [new, old]);
    assert_eq!(runs(list(query(&[], Some(new))).await), [old]);
    assert_eq!(runs(list(query(&[RunState::Completed], None)).await), [old]);
    let mut other = super::kit::run(&[("a", &[])]);
    other.spec.flow = "test%".into();
    let id = other.spec.id;
    kit.done(Command::Launch(Box::new(other))).await;
    let of_flow = |flow: &str, after| {
        let filter = RunFilter { flow: Some(flow.into()), ..filter(&[]) };
        Query::Runs { filter, after, limit: 1 }
    };
    assert_eq!(runs(list(of_flow("test%", None)).await), [id]);
    assert_eq!(runs(list(of_flow("test", None)).await), [new], "not by the other's pattern");
    assert_eq!(runs(list(of_flow("test", Some(new))).await), [old], "the page after");
    assert!(runs(list(of_flow("tes", None)).await).is_empty());
    let (first, second) = (kit.chat().await, kit.chat().await);
    let chats = |after| Query::Chats { project: None, session: None, after, limit: 1 };
    let chat_ids = |page| match page {
        Page::Chats(chats) => chats.into_iter().map(|chat| chat.id).collect::<Vec<_>>(),
        other => panic!("another list: {other:?}"),
    };
    assert_eq!(chat_ids(list(chats(None)).await), [second]);
    assert_eq!(chat_ids(list(chats(Some(second))).await), [first]);
    assert!(chat_ids(list(chats(Some(first))).await).is_empty());
    for text in ["a", "b", "c"] {
        say(&kit, first, text).await;
    }
    let messages = |after, limit| Query::Messages { chat: first, after, limit };
    let Page::Messages(two) = list(messages(0, 2)).await else { panic!("another list") };
    let Page::Messages(last) = list(messages(two[1].seq, 2)).await else { panic!("another list") };
    let text: Vec<String> =
        two.iter().chain(&last).map(|row| row.content.decode().expect("it is text")).collect();
    assert_eq!(text, ["a", "b", "c"]);
    let sessions = Query::Sessions { project: Some("nobody".into()), after: None, limit: 5 };
    assert_eq!(list(sessions).await, Page::Sessions(Vec::new()));
}

pub(super) async fn stats_count_by_state(kit: Kit) {
    let stats = || async { kit.backend().stats().await.expect("stats work") };
    assert!(stats().await.tasks.values().all(|count| *count == 0));
    for n in 0..4 {
        kit.enqueue(TaskSpec { priority: n, ..work() }).await;
    }
    let claimed = kit.claim(3).await;
    let run = kit.launch(&[("a", &[])]).await;
    kit.done(settle(&claimed[0], fault())).await;
    kit.complete(&claimed[1]).await;
    kit.done(Command::CancelRun(run)).await;
    let stats = stats().await;
    use TaskState::*;
    let count = |state| stats.tasks.get(&state).copied().unwrap_or(0);
    let counts = [Pending, Running, Blocked, Completed, Failed, Cancelled].map(count);
    assert_eq!(counts.iter().sum::<u64>(), 5);
    assert_eq!((counts[3], counts[4], stats.inbox), (1, 1, 1));
    let runs = [RunState::Running, RunState::Cancelled]
        .map(|state| stats.runs.get(&state).copied().unwrap_or(0));
    assert_eq!(runs.iter().sum::<u64>(), 1);
}
