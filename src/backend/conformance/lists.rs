//! Clauses on lists and counts.

use std::time::Duration;

use super::kit::{Kit, fault, keyed, run, settle, work};
use super::reading::say;
use crate::{
    id::{ArenaId, TaskId},
    model::{
        CapacityView, Command, NewRun, Page, Query, RunFilter, RunSpec, RunState, Stats,
        TaskFilter, TaskSpec, TaskState,
    },
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
    let label = ("te\"am'$.[0]".to_owned(), "it's \"a\" %_".to_owned());
    let plain = kit.enqueue(TaskSpec { project: "p".into(), ..work() }).await;
    let labels = [label.clone()].into();
    let labelled = kit.enqueue(TaskSpec { labels, arena: Some(arena), ..work() }).await;
    let child = kit.enqueue(TaskSpec { parent: Some(plain), chat: Some(chat), ..work() }).await;
    let other = kit.enqueue(TaskSpec { kind: "other".into(), priority: -1, ..work() }).await;
    let run = kit.launch(&[("a", &[])]).await;
    let step = TaskId::of_step(run, 0, 1);
    kit.done(settle(&kit.claim(1).await[0], fault())).await;
    let wrong = (label.0.clone(), "a".to_owned());
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

async fn counted(kit: &Kit, project: &str) -> Stats {
    let query = Query::Stats { project: project.into() };
    match kit.backend().list(&query).await.expect("counting works") {
        Page::Stats(stats) => stats,
        other => panic!("another list: {other:?}"),
    }
}

pub(super) async fn a_project_is_counted_by_itself(kit: Kit) {
    let in_p = || TaskSpec { project: "p".into(), ..work() };
    for n in 0..5 {
        kit.enqueue(TaskSpec { priority: n, ..in_p() }).await;
        kit.enqueue(TaskSpec { priority: 10, ..work() }).await;
    }
    let claimed = kit.claim(3).await;
    kit.complete(&claimed[0]).await;
    kit.done(settle(&claimed[1], fault())).await;
    let NewRun { spec, .. } = run(&[]);
    let ended = NewRun { spec: RunSpec { project: "p".into(), ..spec }, ..run(&[]) };
    kit.done(Command::Launch(Box::new(ended))).await;
    kit.launch(&[("a", &[])]).await;
    use TaskState::{Completed, Failed, Pending, Running};
    let mut expected = Stats {
        tasks: [(Pending, 2), (Running, 1), (Completed, 1), (Failed, 1)].into(),
        runs: [(RunState::Completed, 1)].into(),
        inbox: 1,
    };
    assert_eq!(counted(&kit, "p").await, expected);
    if kit.insert_foreign(in_p()).await {
        expected.tasks.insert(Pending, 3);
        assert_eq!(counted(&kit, "p").await, expected, "one that nobody has taken in is pending");
    }
    let others = counted(&kit, "default").await;
    assert_eq!(others.tasks, [(Pending, 6)].into(), "five, and the step of the run");
    assert_eq!((others.runs, others.inbox), ([(RunState::Running, 1)].into(), 0));
    assert_eq!(counted(&kit, "nobody's").await, Stats::default());
}

pub(super) async fn capacity_keys_are_listed_with_what_they_hold_back(kit: Kit) {
    let until = kit.now() + Duration::from_secs(60);
    for (key, slots) in [("b", Some(2)), ("B", None), ("\u{e9}", Some(1))] {
        kit.done(Command::SetCapacity { key: key.into(), slots }).await;
    }
    kit.done(Command::Park { key: "a".into(), until }).await;
    for keys in [&["b"][..], &["b"], &["b"], &["a", "b"], &["nobody's", "b"], &[]] {
        kit.enqueue(keyed(keys)).await;
    }
    let held = kit.claim(10).await;
    assert_eq!(held.len(), 3);
    let list = async |key: Option<&str>, after: Option<&str>, limit| {
        let [key, after] = [key, after].map(|name| name.map(str::to_owned));
        let query = Query::Capacity { key, after, limit };
        match kit.backend().list(&query).await.expect("a list works") {
            Page::Capacity(keys) => keys,
            other => panic!("another list: {other:?}"),
        }
    };
    let row =
        |view: &CapacityView| (view.key.name.clone(), view.key.slots, view.held, view.waiting);
    let rows = |views: Vec<CapacityView>| views.iter().map(row).collect::<Vec<_>>();
    let all = [
        ("B".to_owned(), None, 0, 0),
        ("a".to_owned(), None, 0, 1),
        ("b".to_owned(), Some(2), 2, 3),
        ("\u{e9}".to_owned(), Some(1), 0, 0),
    ];
    assert_eq!(rows(list(None, None, 10).await), all);
    assert_eq!(rows(list(None, None, 2).await), all[..2]);
    assert_eq!(rows(list(None, Some("a"), 10).await), all[2..]);
    assert_eq!(rows(list(Some("b"), None, 10).await), all[2..3]);
    assert_eq!(list(Some("a"), None, 1).await[0].key.parked_until, until);
    assert_eq!(list(Some("nobody's"), None, 1).await, []);
    kit.done(Command::SetCapacity { key: "b".into(), slots: Some(1) }).await;
    assert_eq!(list(Some("b"), None, 1).await[0].held, 2, "lowering it stops nobody");
    for task in &held {
        kit.complete(task).await;
    }
    assert_eq!(list(Some("b"), None, 1).await[0].held, 0);
}

pub(super) async fn sizes_are_told(kit: Kit) {
    kit.enqueue(work()).await;
    let page = kit.backend().list(&Query::Disk).await.expect("sizes are told");
    let Page::Disk(disk) = page else { panic!("another list: {page:?}") };
    assert!(disk.used_bytes.is_none_or(|used| used <= disk.database_bytes), "{disk:?}");
}
