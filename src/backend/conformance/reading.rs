//! Clauses on what is read: due, rows by key, streams, lists, counts; and on pruning.

use std::{collections::BTreeMap, time::Duration};

use super::kit::{Kit, done, enqueue, fault, keyed, set, settle, work};
use crate::{
    clock::Timestamp,
    id::{ArenaId, InstanceId, MessageId, TaskId},
    model::{
        Command, Cursor, Entry, Host, Instance, Needs, NewMessage, Page, Payload, Prune, Pruned,
        Query, Role, RunState, Stream, TaskFilter, TaskSpec, TaskState,
    },
};

pub(super) async fn due_names_what_an_instance_holds_and_who_holds_anything(kit: Kit) {
    let other = kit.other_worker();
    kit.done(register(kit.worker())).await;
    for _ in 0..3 {
        kit.enqueue(work()).await;
    }
    let mine = kit.claim(2).await;
    let theirs = other.claim(2).await;
    let due = kit
        .backend()
        .due(kit.worker(), 10)
        .await
        .expect("due works");
    assert_eq!(
        set(due.held.iter().map(|task| task.id)),
        set(mine.iter().map(|task| task.id))
    );
    assert_eq!(due.held.len(), 2);
    let holders: BTreeMap<_, _> = due.holders.into_iter().collect();
    assert_eq!(holders.len(), 2);
    assert!(
        holders[&kit.worker()].is_some(),
        "a registered holder comes with its row"
    );
    assert_eq!(
        holders[&other.worker()],
        None,
        "one that is not known is named all the same"
    );
    assert!(!due.ready, "nothing is ready");
    other
        .done(settle(&theirs[0], crate::model::Decision::Release))
        .await;
    let due = kit
        .backend()
        .due(kit.worker(), 10)
        .await
        .expect("due works");
    assert!(due.ready);
    assert_eq!(due.holders.len(), 1);
}

pub(super) async fn due_is_limited_and_says_when_to_look_again(kit: Kit) {
    let due = kit
        .backend()
        .due(kit.worker(), 10)
        .await
        .expect("due works");
    assert_eq!(
        (due.ripe.len(), due.next, due.ready, due.tail),
        (0, None, false, Cursor::START)
    );
    let at = |seconds| kit.now() + Duration::from_secs(seconds);
    let times = [at(30), at(10), at(20), at(10)];
    for time in times {
        kit.enqueue(TaskSpec {
            run_at: Some(time),
            ..work()
        })
        .await;
    }
    let due = || async { kit.backend().due(kit.worker(), 2).await.expect("due works") };
    assert_eq!(due().await.next, Some(times[1]));
    kit.advance(25);
    let first = due().await;
    assert_eq!(first.ripe.len(), 2);
    let ripen = |task: &crate::model::Task| Command::Ripen(Box::new(task.clone()));
    kit.commit(first.ripe.iter().map(ripen).collect()).await;
    assert_eq!(
        due().await.ripe.len(),
        1,
        "the rest comes with the next look"
    );
    kit.commit(due().await.ripe.iter().map(ripen).collect())
        .await;
    let last = due().await;
    assert_eq!(
        (last.ripe.len(), last.next, last.ready),
        (0, Some(times[0]), true)
    );
    assert_eq!(kit.claim(10).await.len(), 3);
}

fn instance(id: InstanceId) -> Instance {
    let host = Host {
        name: "host".into(),
        boot: "boot".into(),
        pid: 7,
        pid_start: 1 << 40,
    };
    let serves = ["task:work".to_owned(), "tag:\"gpu\"".to_owned()].into();
    Instance {
        id,
        host,
        beat: 0,
        serves,
        started_at: Timestamp::from_micros(5),
    }
}

fn register(id: InstanceId) -> Command {
    Command::Register(Box::new(instance(id)))
}

pub(super) async fn instances_register_beat_and_retire(kit: Kit) {
    let id = kit.worker();
    let beat = || async { kit.backend().beat(id).await.expect("a beat works") };
    assert!(!beat().await, "nobody knows it");
    assert!(kit.twice(register(id)).await.is_ok());
    assert!(beat().await && beat().await);
    let listed = kit
        .backend()
        .list(&Query::Instances)
        .await
        .expect("a list works");
    assert_eq!(
        listed,
        Page::Instances(vec![Instance {
            beat: 2,
            ..instance(id)
        }])
    );
    let task = kit.running(work()).await;
    assert!(kit.twice(Command::Retire(id)).await.is_ok());
    assert!(!beat().await);
    kit.done(Command::Rescue {
        task: task.id,
        lease: task.lease,
    })
    .await;
    assert_eq!(
        kit.claim_one().await.id,
        task.id,
        "rescue needs nothing but the task's row"
    );
}

pub(super) async fn a_read_leaves_out_what_is_not_there(kit: Kit) {
    let id = kit.enqueue(work()).await;
    let ids = set([id, TaskId::new()]);
    let needs = Needs {
        tasks: ids.clone(),
        specs: ids.clone(),
        attempts: ids,
        capacity: set(["nothing".to_owned()]),
        unique: set([("default".to_owned(), "nothing".to_owned())]),
        ..Needs::default()
    };
    let rows = kit.backend().read(&needs).await.expect("a read works");
    let all = kit.rows().await;
    let expected = crate::model::Rows {
        lanes: BTreeMap::new(),
        ..all
    };
    assert_eq!(rows, expected);
    let nothing = kit
        .backend()
        .read(&Needs::default())
        .await
        .expect("a read works");
    assert_eq!(nothing, crate::model::Rows::default());
}

pub(super) async fn a_read_finds_rows_by_every_key(kit: Kit) {
    let run = kit
        .launch(&[("a", &[]), ("b", &["a"]), ("c", &["b"])])
        .await;
    let step = kit.claim_one().await;
    let task = kit
        .enqueue(TaskSpec {
            unique_key: Some("u".into()),
            ..keyed(&["k"])
        })
        .await;
    let child = kit
        .enqueue(TaskSpec {
            parent: Some(task),
            ..work()
        })
        .await;
    kit.done(Command::SetCapacity {
        key: "k".into(),
        slots: Some(2),
    })
    .await;
    kit.done(register(kit.worker())).await;
    let all = kit.rows().await;
    let read = |needs: Needs| {
        let backend = kit.backend();
        async move { backend.read(&needs).await.expect("it works") }
    };
    let rows = read(Needs {
        routes: set([task, step.id, child]),
        ..Needs::default()
    })
    .await;
    assert_eq!(
        rows.routes,
        [(task, None), (step.id, Some((run, 0))), (child, None)].into()
    );
    let rows = read(Needs {
        children: set([task]),
        ..Needs::default()
    })
    .await;
    assert_eq!(rows.specs.into_keys().collect::<Vec<_>>(), [child]);
    assert_eq!(rows.tasks.into_keys().collect::<Vec<_>>(), [child]);
    let rows = read(Needs {
        capacity: set(["k".into()]),
        ..Needs::default()
    })
    .await;
    assert_eq!((rows.capacity.len(), rows.slots.len()), (1, 2));
    let graph = read(Needs {
        graphs: set([run]),
        runs: set([run]),
        ..Needs::default()
    })
    .await;
    assert_eq!(
        (&graph.steps, &graph.edges, &graph.runs),
        (&all.steps, &all.edges, &all.runs)
    );
    let below = read(Needs {
        dependents: set([(run, 0)]),
        ..Needs::default()
    })
    .await;
    assert_eq!(below.edges, set([(run, 0, 1)]));
    assert_eq!(below.steps.into_keys().collect::<Vec<_>>(), [(run, 1)]);
    let needs = Needs {
        run_specs: set([run]),
        instances: set([kit.worker()]),
        lanes: all.lanes.keys().copied().collect(),
        steps: set([(run, 2)]),
        unique: all.unique.keys().cloned().collect(),
        ..Needs::default()
    };
    let rows = read(needs).await;
    assert_eq!(
        (rows.run_specs, rows.instances),
        (all.run_specs, all.instances)
    );
    assert_eq!((rows.lanes, rows.unique), (all.lanes, all.unique));
    assert_eq!(rows.steps.into_keys().collect::<Vec<_>>(), [(run, 2)]);
}

/// Everything in a stream, read so many at a time.
async fn follow(kit: &Kit, stream: Stream, limit: u32) -> Vec<Entry> {
    let (mut all, mut after) = (Vec::new(), Cursor::START);
    loop {
        let part = kit
            .backend()
            .tail(stream, after, limit)
            .await
            .expect("tail works");
        assert!(part.len() <= limit as usize);
        let Some(last) = part.last() else { return all };
        assert!(
            part.iter().all(|entry| entry.cursor > after),
            "cursors grow"
        );
        after = last.cursor;
        all.extend(part);
    }
}

fn seqs(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.seq).collect()
}

pub(super) async fn a_stream_is_followed_by_its_cursors(kit: Kit) {
    let run = kit.launch(&[("a", &[]), ("b", &["a"])]).await;
    kit.launch(&[("x", &[])]).await;
    kit.done(Command::PauseRun(run)).await;
    kit.done(Command::ResumeRun(run)).await;
    let tasks = kit.claim(5).await;
    for task in &tasks {
        kit.complete(task).await;
    }
    kit.complete(&kit.claim_one().await).await;
    for limit in [1, 2, 100] {
        let entries = follow(&kit, Stream::Run(run), limit).await;
        assert_eq!(seqs(&entries), [1, 2, 3, 4, 5]);
        assert!(entries.iter().all(|entry| entry.stream == Stream::Run(run)));
        assert!(entries.iter().all(|entry| !entry.events.is_empty()));
    }
    let end = follow(&kit, Stream::Run(run), 100)
        .await
        .pop()
        .expect("it has entries")
        .cursor;
    let after = kit
        .backend()
        .tail(Stream::Run(run), end, 9)
        .await
        .expect("tail works");
    assert!(after.is_empty());
}

pub(super) async fn the_stream_of_all_has_every_entry_once(kit: Kit) {
    let (run, chat) = (
        kit.launch(&[("a", &[]), ("b", &["a"])]).await,
        kit.chat().await,
    );
    for text in ["a", "b", "c"] {
        say(&kit, chat, text).await;
        if let Some(task) = kit.claim(1).await.first() {
            kit.complete(task).await;
        }
    }
    kit.all_entries_show().await;
    for limit in [1, 3, 100] {
        let entries = follow(&kit, Stream::All, limit).await;
        let of = |stream| {
            entries
                .iter()
                .filter(move |entry| entry.stream == stream)
                .cloned()
        };
        assert_eq!(seqs(&of(Stream::Run(run)).collect::<Vec<_>>()), [1, 2, 3]);
        assert_eq!(of(Stream::Chat(chat)).count(), 3);
        assert_eq!(entries.len(), 6);
    }
    let due = kit.backend().due(kit.worker(), 1).await.expect("due works");
    let late = kit
        .backend()
        .tail(Stream::All, due.tail, 10)
        .await
        .expect("tail works");
    assert!(late.is_empty(), "due names the end");
    say(&kit, chat, "d").await;
    kit.all_entries_show().await;
    let late = kit
        .backend()
        .tail(Stream::All, due.tail, 10)
        .await
        .expect("tail works");
    assert_eq!(late.len(), 1);
}

async fn say(kit: &Kit, chat: crate::id::ChatId, text: &str) {
    let (id, content) = (MessageId::new(), Payload::text(text));
    let messages = vec![NewMessage {
        id,
        role: Role::User,
        content,
        task: None,
    }];
    kit.done(Command::Append { chat, messages }).await;
}

async fn tasks(kit: &Kit, filter: TaskFilter, after: Option<TaskId>, limit: u32) -> Vec<TaskId> {
    let query = Query::Tasks {
        filter,
        after,
        limit,
    };
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
    kit.done(settle(
        &task,
        crate::model::Decision::Snooze(Duration::ZERO),
    ))
    .await;
    let again = kit.claim(1).await.remove(0);
    kit.complete(&again).await;
    let states = vec![TaskState::Completed];
    let filter = TaskFilter {
        states,
        ..TaskFilter::default()
    };
    let query = Query::Tasks {
        filter,
        after: None,
        limit: 3,
    };
    let Page::Tasks(views) = kit.backend().list(&query).await.expect("a list works") else {
        panic!("another list");
    };
    assert_eq!(views.len(), 1);
    assert_eq!(
        views[0].attempt.as_ref().map(|attempt| attempt.lease),
        Some(2),
        "the last one"
    );
    assert_eq!(views[0].task, Some(kit.row(task.id).await));
}

pub(super) async fn tasks_are_filtered(kit: Kit) {
    let any = TaskFilter::default;
    let (chat, arena) = (kit.chat().await, ArenaId::new());
    let label = ("team".to_owned(), "it's \"a\" %_".to_owned());
    let plain = kit
        .enqueue(TaskSpec {
            project: "p".into(),
            ..work()
        })
        .await;
    let labels = [label.clone()].into();
    let labelled = kit
        .enqueue(TaskSpec {
            labels,
            arena: Some(arena),
            ..work()
        })
        .await;
    let child = kit
        .enqueue(TaskSpec {
            parent: Some(plain),
            chat: Some(chat),
            ..work()
        })
        .await;
    let other = kit
        .enqueue(TaskSpec {
            kind: "other".into(),
            priority: -1,
            ..work()
        })
        .await;
    let run = kit.launch(&[("a", &[])]).await;
    let step = TaskId::of_step(run, 0);
    kit.done(settle(&kit.claim(1).await[0], fault())).await;
    let states = vec![TaskState::Failed, TaskState::Completed];
    let wrong = ("team".to_owned(), "a".to_owned());
    let rows = [
        (
            TaskFilter {
                project: Some("p".into()),
                ..any()
            },
            vec![plain],
        ),
        (TaskFilter { states, ..any() }, vec![other]),
        (
            TaskFilter {
                kind: Some("other".into()),
                ..any()
            },
            vec![other],
        ),
        (
            TaskFilter {
                parent: Some(plain),
                ..any()
            },
            vec![child],
        ),
        (
            TaskFilter {
                arena: Some(arena),
                ..any()
            },
            vec![labelled],
        ),
        (
            TaskFilter {
                chat: Some(chat),
                ..any()
            },
            vec![child],
        ),
        (
            TaskFilter {
                run: Some(run),
                ..any()
            },
            vec![step],
        ),
        (
            TaskFilter {
                label: Some(label),
                ..any()
            },
            vec![labelled],
        ),
        (
            TaskFilter {
                label: Some(wrong),
                ..any()
            },
            vec![],
        ),
        (
            TaskFilter {
                project: Some("p".into()),
                kind: Some("other".into()),
                ..any()
            },
            vec![],
        ),
    ];
    for (filter, expected) in rows {
        assert_eq!(
            tasks(&kit, filter.clone(), None, 10).await,
            expected,
            "{filter:?}"
        );
    }
}

pub(super) async fn runs_chats_sessions_and_messages_are_listed(kit: Kit) {
    let (old, new) = (kit.launch(&[]).await, kit.launch(&[("a", &[])]).await);
    let list = |query: Query| {
        let backend = kit.backend();
        async move { backend.list(&query).await.expect("a list works") }
    };
    let runs = |page| match page {
        Page::Runs(views) => views
            .into_iter()
            .map(|view| view.run.id)
            .collect::<Vec<_>>(),
        other => panic!("another list: {other:?}"),
    };
    let query = |states: &[RunState], after| Query::Runs {
        project: Some("default".into()),
        states: states.to_vec(),
        after,
        limit: 10,
    };
    assert_eq!(runs(list(query(&[], None)).await), [new, old]);
    assert_eq!(runs(list(query(&[], Some(new))).await), [old]);
    assert_eq!(runs(list(query(&[RunState::Completed], None)).await), [old]);
    let (first, second) = (kit.chat().await, kit.chat().await);
    let chats = |after| Query::Chats {
        project: None,
        session: None,
        after,
        limit: 1,
    };
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
    let messages = |after, limit| Query::Messages {
        chat: first,
        after,
        limit,
    };
    let Page::Messages(two) = list(messages(0, 2)).await else {
        panic!("another list")
    };
    let Page::Messages(last) = list(messages(two[1].seq, 2)).await else {
        panic!("another list")
    };
    let text: Vec<String> = two
        .iter()
        .chain(&last)
        .map(|row| row.content.decode().expect("it is text"))
        .collect();
    assert_eq!(text, ["a", "b", "c"]);
    let sessions = Query::Sessions {
        project: Some("nobody".into()),
        after: None,
        limit: 5,
    };
    assert_eq!(list(sessions).await, Page::Sessions(Vec::new()));
}

pub(super) async fn stats_count_by_state(kit: Kit) {
    let stats = || async { kit.backend().stats().await.expect("stats work") };
    assert!(stats().await.tasks.values().all(|count| *count == 0));
    for n in 0..4 {
        kit.enqueue(TaskSpec {
            priority: n,
            ..work()
        })
        .await;
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

fn before(time: Timestamp) -> Prune {
    Prune {
        tasks_before: time,
        runs_before: time,
        entries_before: time,
        limit: 100,
    }
}

async fn prune(kit: &Kit, what: Prune) -> Pruned {
    kit.backend().prune(&what).await.expect("pruning works")
}

pub(super) async fn pruning_takes_finished_tasks_with_all_of_theirs(kit: Kit) {
    let spec = TaskSpec {
        unique_key: Some("u".into()),
        ..work()
    };
    let old = kit.running(spec.clone()).await;
    kit.done(settle(&old, fault())).await;
    kit.advance(10);
    let time = kit.now();
    let young = kit.running(work()).await;
    kit.complete(&young).await;
    let live = kit.enqueue(work()).await;
    assert_eq!(
        prune(&kit, before(old.started_at)).await.tasks,
        0,
        "it ended at that very time"
    );
    assert_eq!(prune(&kit, before(time)).await.tasks, 1);
    let rows = kit.rows().await;
    assert_eq!(
        rows.specs.keys().copied().collect::<Vec<_>>(),
        [young.id, live]
    );
    assert_eq!(rows.attempts.len(), 1);
    assert!(rows.items.is_empty() && rows.unique.is_empty());
    kit.enqueue(TaskSpec {
        id: TaskId::new(),
        ..spec
    })
    .await;
}

pub(super) async fn pruning_takes_parents_after_their_children(kit: Kit) {
    let parent = kit.running(work()).await;
    let child = kit
        .enqueue(TaskSpec {
            parent: Some(parent.id),
            ..work()
        })
        .await;
    kit.complete(&parent).await;
    kit.advance(10);
    assert_eq!(
        prune(&kit, before(kit.now())).await.tasks,
        0,
        "its child is not done"
    );
    let task = kit.claim_one().await;
    assert_eq!(task.id, child);
    kit.complete(&task).await;
    kit.advance(10);
    while prune(&kit, before(kit.now())).await.tasks > 0 {}
    assert!(kit.rows().await.specs.is_empty());
}

pub(super) async fn pruning_takes_only_whole_runs(kit: Kit) {
    let run = kit.launch(&[("a", &[]), ("b", &["a"])]).await;
    kit.complete(&kit.claim_one().await).await;
    kit.advance(10);
    let none = prune(&kit, before(kit.now())).await;
    assert_eq!(
        (none.tasks, none.runs),
        (0, 0),
        "a finished step of a live run stays"
    );
    kit.complete(&kit.claim_one().await).await;
    let other = kit.launch(&[("c", &[])]).await;
    kit.advance(10);
    let keep = Prune {
        runs_before: Timestamp::ZERO,
        ..before(kit.now())
    };
    assert_eq!(
        prune(&kit, keep).await.tasks,
        0,
        "a step's task goes only with its run"
    );
    assert_eq!(prune(&kit, before(kit.now())).await.runs, 1);
    let rows = kit.rows().await;
    assert_eq!(rows.runs.keys().copied().collect::<Vec<_>>(), [other]);
    assert!(rows.steps.keys().all(|(of, _)| *of == other));
    assert!(rows.entries.keys().all(|(of, _)| *of == Stream::Run(other)));
    let lost = (
        rows.run_specs.contains_key(&run),
        rows.edges.len(),
        rows.attempts.len(),
    );
    assert_eq!((lost, rows.specs.len()), ((false, 0, 0), 1));
}

pub(super) async fn pruning_entries_keeps_those_of_live_runs(kit: Kit) {
    let run = kit.launch(&[("a", &[])]).await;
    let chat = kit.chat().await;
    say(&kit, chat, "old").await;
    kit.advance(10);
    say(&kit, chat, "new").await;
    kit.all_entries_show().await;
    let end = kit
        .backend()
        .due(kit.worker(), 1)
        .await
        .expect("due works")
        .tail;
    let none = Timestamp::ZERO;
    let entries_before = kit.now();
    let what = Prune {
        tasks_before: none,
        runs_before: none,
        entries_before,
        limit: 100,
    };
    assert_eq!(prune(&kit, what).await.entries, 1);
    let left = kit.rows().await.entries;
    assert_eq!(
        left.keys().map(|(stream, _)| *stream).collect::<Vec<_>>(),
        [Stream::Run(run), Stream::Chat(chat)]
    );
    kit.advance(10);
    prune(
        &kit,
        Prune {
            entries_before: kit.now(),
            ..what
        },
    )
    .await;
    say(&kit, chat, "newest").await;
    kit.all_entries_show().await;
    let late = kit
        .backend()
        .tail(Stream::All, end, 10)
        .await
        .expect("tail works");
    assert_eq!(
        late.len(),
        1,
        "a cursor never comes again, whatever is pruned"
    );
}

pub(super) async fn waiting_ends(kit: Kit) {
    kit.backend().wait(Duration::ZERO).await;
    kit.backend().wake();
    kit.backend()
        .migrate()
        .await
        .expect("migrating twice is the same as once");
    kit.one(enqueue(work())).await.expect("it still works");
    kit.complete(&kit.claim_one().await).await;
    let _ = done();
}
