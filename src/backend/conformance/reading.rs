//! Clauses on what is read: due, rows by key, streams.

use std::{collections::BTreeMap, time::Duration};

use super::kit::{Kit, enqueue, keyed, set, settle, work};
use crate::{
    clock::Timestamp,
    id::{InstanceId, MessageId, TaskId},
    model::{
        Command, Cursor, Entry, Host, Instance, Needs, NewMessage, Page, Payload, Query, Role,
        Route, Rows, Stream, TaskSpec,
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
    let due = kit.backend().due(kit.worker(), 10).await.expect("due works");
    assert_eq!(set(due.held.iter().map(|task| task.id)), set(mine.iter().map(|task| task.id)));
    assert_eq!(due.held.len(), 2);
    let holders: BTreeMap<_, _> = due.holders.into_iter().collect();
    assert_eq!(holders.len(), 2);
    assert!(holders[&kit.worker()].is_some(), "a registered holder comes with its row");
    assert_eq!(holders[&other.worker()], None, "one that is not known is named all the same");
    assert!(!due.ready, "nothing is ready");
    other.done(settle(&theirs[0], crate::model::Decision::Release)).await;
    let due = kit.backend().due(kit.worker(), 10).await.expect("due works");
    assert!(due.ready);
    assert_eq!(due.holders.len(), 1);
}

pub(super) async fn due_is_limited_and_says_when_to_look_again(kit: Kit) {
    let due = kit.backend().due(kit.worker(), 10).await.expect("due works");
    assert_eq!((due.ripe.len(), due.next, due.ready, due.tail), (0, None, false, Cursor::START));
    let at = |seconds| kit.now() + Duration::from_secs(seconds);
    let times = [at(30), at(10), at(20), at(10)];
    for time in times {
        kit.enqueue(TaskSpec { run_at: Some(time), ..work() }).await;
    }
    let due = || async { kit.backend().due(kit.worker(), 2).await.expect("due works") };
    assert_eq!(due().await.next, Some(times[1]));
    kit.advance(25);
    let first = due().await;
    assert_eq!(first.ripe.len(), 2);
    let ripen = |task: &crate::model::Task| Command::Ripen(Box::new(task.clone()));
    kit.commit(first.ripe.iter().map(ripen).collect()).await;
    assert_eq!(due().await.ripe.len(), 1, "the rest comes with the next look");
    kit.commit(due().await.ripe.iter().map(ripen).collect()).await;
    let last = due().await;
    assert_eq!((last.ripe.len(), last.next, last.ready), (0, Some(times[0]), true));
    assert_eq!(kit.claim(10).await.len(), 3);
}

fn instance(id: InstanceId) -> Instance {
    let host = Host { name: "host".into(), boot: "boot".into(), pid: 7, pid_start: 1 << 40 };
    let serves = ["task:work".to_owned(), "tag:\"gpu\"".to_owned()].into();
    Instance { id, host, beat: 0, serves, started_at: Timestamp::from_micros(5) }
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
    let listed = kit.backend().list(&Query::Instances).await.expect("a list works");
    assert_eq!(listed, Page::Instances(vec![Instance { beat: 2, ..instance(id) }]));
    let task = kit.running(work()).await;
    assert!(kit.twice(Command::Retire(id)).await.is_ok());
    assert!(!beat().await);
    kit.done(Command::Rescue { task: task.id, lease: task.lease }).await;
    assert_eq!(kit.claim_one().await.id, task.id, "rescue needs nothing but the task's row");
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
    let expected = crate::model::Rows { lanes: BTreeMap::new(), ..all };
    assert_eq!(rows, expected);
    let nothing = kit.backend().read(&Needs::default()).await.expect("a read works");
    assert_eq!(nothing, crate::model::Rows::default());
}

async fn read(kit: &Kit, needs: Needs) -> Rows {
    kit.backend().read(&needs).await.expect("a read works")
}

pub(super) async fn a_read_finds_rows_by_every_key(kit: Kit) {
    let run = kit.launch(&[("a", &[]), ("b", &["a"])]).await;
    let step = kit.claim_one().await;
    let task = kit.enqueue(TaskSpec { unique_key: Some("u".into()), ..keyed(&["k"]) }).await;
    let child = kit.enqueue(TaskSpec { parent: Some(task), ..work() }).await;
    kit.done(Command::SetCapacity { key: "k".into(), slots: Some(2) }).await;
    kit.done(register(kit.worker())).await;
    let all = kit.rows().await;
    let routes = set([task, step.id, child]);
    let rows = read(&kit, Needs { routes, ..Needs::default() }).await;
    let plain = Route::default();
    let of_step = Route { step: Some((run, 0)), ..Route::default() };
    assert_eq!(rows.routes, [(task, plain.clone()), (step.id, of_step), (child, plain)].into());
    let rows = read(&kit, Needs { children: set([task]), ..Needs::default() }).await;
    assert_eq!(rows.specs.into_keys().collect::<Vec<_>>(), [child]);
    assert_eq!(rows.tasks.into_keys().collect::<Vec<_>>(), [child]);
    let rows = read(&kit, Needs { capacity: set(["k".into()]), ..Needs::default() }).await;
    assert_eq!((rows.capacity.len(), rows.slots.len()), (1, 2));
    let needs = Needs {
        instances: set([kit.worker()]),
        lanes: all.lanes.keys().copied().collect(),
        unique: all.unique.keys().cloned().collect(),
        ..Needs::default()
    };
    let rows = read(&kit, needs).await;
    assert_eq!(rows.instances, all.instances);
    assert_eq!((rows.lanes, rows.unique), (all.lanes, all.unique));
}

pub(super) async fn a_read_finds_a_run_whole_or_in_part(kit: Kit) {
    let run = kit.launch(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]).await;
    kit.launch(&[("x", &[]), ("y", &["x"])]).await;
    let mut all = kit.rows().await;
    all.steps.retain(|(of, _), _| *of == run);
    all.edges.retain(|(of, ..), _| *of == run);
    all.runs.retain(|of, _| *of == run);
    all.run_specs.retain(|of, _| *of == run);
    let whole = Needs { graphs: set([run]), runs: set([run]), ..Needs::default() };
    let graph = read(&kit, whole).await;
    assert_eq!((graph.steps, graph.edges, graph.runs), (all.steps, all.edges, all.runs));
    let below = read(&kit, Needs { dependents: set([(run, 0)]), ..Needs::default() }).await;
    assert_eq!(below.edges, BTreeMap::from([((run, 0, 1), crate::model::Terms::default())]));
    assert_eq!(below.steps.into_keys().collect::<Vec<_>>(), [(run, 1)]);
    let needs = Needs { run_specs: set([run]), steps: set([(run, 2)]), ..Needs::default() };
    let rows = read(&kit, needs).await;
    assert_eq!(rows.run_specs, all.run_specs);
    assert_eq!(rows.steps.into_keys().collect::<Vec<_>>(), [(run, 2)]);
}

/// Everything in a stream, read so many at a time.
async fn follow(kit: &Kit, stream: Stream, limit: u32) -> Vec<Entry> {
    let (mut all, mut after) = (Vec::new(), Cursor::START);
    loop {
        let part = kit.backend().tail(stream, after, limit).await.expect("tail works");
        assert!(part.len() <= limit as usize);
        let Some(last) = part.last() else { return all };
        assert!(part.iter().all(|entry| entry.cursor > after), "cursors grow");
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
    let end = follow(&kit, Stream::Run(run), 100).await.pop().expect("it has entries").cursor;
    let after = kit.backend().tail(Stream::Run(run), end, 9).await.expect("tail works");
    assert!(after.is_empty());
}

pub(super) async fn the_stream_of_all_has_every_entry_once(kit: Kit) {
    let (run, chat) = (kit.launch(&[("a", &[]), ("b", &["a"])]).await, kit.chat().await);
    for text in ["a", "b", "c"] {
        say(&kit, chat, text).await;
        if let Some(task) = kit.claim(1).await.first() {
            kit.complete(task).await;
        }
    }
    kit.all_entries_show().await;
    for limit in [1, 3, 100] {
        let entries = follow(&kit, Stream::All, limit).await;
        let of = |stream| entries.iter().filter(move |entry| entry.stream == stream).cloned();
        assert_eq!(seqs(&of(Stream::Run(run)).collect::<Vec<_>>()), [1, 2, 3]);
        assert_eq!(of(Stream::Chat(chat)).count(), 3);
        assert_eq!(entries.len(), 6);
    }
    let due = kit.backend().due(kit.worker(), 1).await.expect("due works");
    let late = kit.backend().tail(Stream::All, due.tail, 10).await.expect("tail works");
    assert!(late.is_empty(), "due names the end");
    say(&kit, chat, "d").await;
    kit.all_entries_show().await;
    let late = kit.backend().tail(Stream::All, due.tail, 10).await.expect("tail works");
    assert_eq!(late.len(), 1);
}

pub(super) async fn say(kit: &Kit, chat: crate::id::ChatId, text: &str) {
    let (id, content) = (MessageId::new(), Payload::text(text));
    let messages = vec![NewMessage { id, role: Role::User, content, task: None }];
    kit.done(Command::Append { chat, messages }).await;
}

pub(super) async fn waiting_ends(kit: Kit) {
    kit.backend().wait(Duration::ZERO).await;
    kit.backend().wake();
    kit.backend().migrate().await.expect("migrating twice is the same as once");
    kit.one(enqueue(work())).await.expect("it still works");
    kit.complete(&kit.claim_one().await).await;
}
