//! Clauses on what happens at the same time.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::kit::{Kit, chat, done, enqueue, keyed, new_run, new_step, settle, work};
use super::people::session;
use crate::id::{MessageId, RunId};
use crate::model::{
    AttemptOutcome, Batch, Chat, Command, Cursor, Event, Needs, NewMessage, Outcome, Payload,
    Rejection, Role, RunState, Stream, TaskOptions, TaskSpec, audit,
};

/// Runs a job on each of so many tasks at once.
async fn at_once<J, F, T>(count: usize, job: J) -> Vec<T>
where
    J: Fn(usize) -> F,
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let jobs: Vec<_> = (0..count).map(|n| tokio::spawn(job(n))).collect();
    let ended = join_all(jobs).await;
    ended.into_iter().map(|job| job.expect("no job panics")).collect()
}

/// Claims and completes until nothing is left, and counts what was claimed.
async fn drain(kit: Kit, limit: u32) -> Vec<crate::id::TaskId> {
    let mut taken = Vec::new();
    let mut idle = 0;
    let mut held = Vec::new();
    while idle < 3 {
        let commands = held.iter().map(|task| settle(task, done())).collect();
        let batch = Batch { commands, claim: Some(kit.next_claim(limit)) };
        let committed = kit.commit_batch(batch).await;
        assert!(committed.receipts.iter().all(Result::is_ok), "{:?}", committed.receipts);
        held = committed.claimed.into_iter().map(|claimed| claimed.task).collect();
        taken.extend(held.iter().map(|task| task.id));
        idle = if held.is_empty() { idle + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    taken
}

pub(super) async fn claims_at_once_never_hand_out_a_task_twice(kit: Kit) {
    let specs: Vec<_> = (0..200).map(|_| work()).collect();
    kit.commit(specs.iter().cloned().map(enqueue).collect()).await;
    let workers: Vec<_> = (0..6).map(|_| kit.other_worker()).collect();
    let taken = at_once(6, |n| drain(workers[n].clone(), 5)).await.concat();
    let late = drain(kit.clone(), 50).await;
    let all: BTreeSet<_> = taken.iter().chain(&late).collect();
    assert_eq!(taken.len() + late.len(), 200, "each once");
    assert_eq!(all.len(), 200, "each");
    let rows = kit.rows().await;
    assert!(rows.tasks.values().all(|task| task.lease == 1 && task.attempt == 1));
}

pub(super) async fn claims_at_once_respect_capacity(kit: Kit) {
    kit.done(Command::SetCapacity { key: "k".into(), slots: Some(2) }).await;
    let commands = (0..20).map(|_| enqueue(keyed(&["k"]))).collect();
    kit.commit(commands).await;
    let workers: Vec<_> = (0..6).map(|_| kit.other_worker()).collect();
    let claim = |n: usize| {
        let kit = workers[n].clone();
        async move { kit.claim(5).await }
    };
    let mut running = at_once(6, claim).await.concat();
    running.extend(kit.claim(5).await);
    assert_eq!(running.len(), 2);
    let slots = kit.rows().await.slots;
    assert!(slots.values().all(|slot| slot.held.is_some()));
}

pub(super) async fn settles_of_one_run_at_once_release_a_join_once(kit: Kit) {
    for _ in 0..10 {
        let mut steps: Vec<_> = (0..6).map(|no| new_step(&format!("s{no}"), vec![])).collect();
        steps.push(new_step("join", (0..6).collect()));
        let new = new_run(steps);
        let id = new.spec.id;
        kit.done(Command::Launch(Box::new(new))).await;
        let tasks = kit.claim(10).await;
        let settle = |n: usize| {
            let (kit, task) = (kit.clone(), tasks[n].clone());
            async move { kit.settle(&task, done()).await }
        };
        assert!(at_once(6, settle).await.iter().all(Result::is_ok));
        let join = kit.claim_one().await;
        kit.complete(&join).await;
        ended_once(&kit, id).await;
    }
}

/// A run completed, and its watchers were told so once.
async fn ended_once(kit: &Kit, id: RunId) {
    let rows = kit.rows().await;
    assert_eq!(rows.runs[&id].state, RunState::Completed);
    let of_run = rows.entries.range((Stream::Run(id), 0)..=(Stream::Run(id), i64::MAX));
    let ends = of_run.flat_map(|(_, entry)| &entry.events);
    let ends = ends.filter(|event| matches!(event, Event::RunEnded { .. }));
    assert_eq!(ends.count(), 1);
}

/// Nothing waits for these steps: whichever ends last ends the run.
pub(super) async fn a_run_ends_once_when_its_last_steps_end_at_once(kit: Kit) {
    for _ in 0..10 {
        let steps = (0..6).map(|no| new_step(&format!("s{no}"), vec![])).collect();
        let new = new_run(steps);
        let id = new.spec.id;
        kit.done(Command::Launch(Box::new(new))).await;
        let tasks = kit.claim(10).await;
        let settle = |n: usize| {
            let (kit, task) = (kit.clone(), tasks[n].clone());
            async move { kit.settle(&task, done()).await }
        };
        assert!(at_once(6, settle).await.iter().all(Result::is_ok));
        ended_once(&kit, id).await;
    }
}

fn made(outcomes: &[Outcome]) -> (usize, usize) {
    let created = |outcome: &&Outcome| matches!(outcome, Outcome::Task { created: true, .. });
    let id = |outcome: &Outcome| match outcome {
        Outcome::Task { id, .. } => *id,
        other => panic!("not a task: {other:?}"),
    };
    let ids: BTreeSet<_> = outcomes.iter().map(id).collect();
    (outcomes.iter().filter(created).count(), ids.len())
}

pub(super) async fn one_task_enqueued_at_once_is_made_once(kit: Kit) {
    for _ in 0..10 {
        let spec = work();
        let enqueue = |_| {
            let (kit, spec) = (kit.clone(), spec.clone());
            async move { kit.done(enqueue(spec)).await }
        };
        assert_eq!(made(&at_once(4, enqueue).await), (1, 1));
    }
}

pub(super) async fn a_unique_key_at_once_makes_one_task(kit: Kit) {
    for n in 0..10 {
        let enqueue = |_| {
            let options = TaskOptions { unique_until_done: true, ..TaskOptions::default() };
            let unique_key = Some(format!("key {n}"));
            let (kit, spec) = (kit.clone(), TaskSpec { unique_key, options, ..work() });
            async move { kit.done(enqueue(spec)).await }
        };
        assert_eq!(made(&at_once(4, enqueue).await), (1, 1));
    }
}

pub(super) async fn settles_of_one_attempt_at_once_count_once(kit: Kit) {
    for _ in 0..10 {
        let task = kit.running(work()).await;
        let settle = |n: usize| {
            let (kit, task) = (kit.clone(), task.clone());
            async move {
                match n {
                    0 => kit.one(Command::Cancel(task.id)).await,
                    1 => kit.one(Command::Rescue { task: task.id, lease: task.lease }).await,
                    _ => kit.settle(&task, done()).await,
                }
            }
        };
        at_once(4, settle).await;
        let rows = kit.rows().await;
        let attempt = &rows.attempts[&(task.id, 1)];
        let known = [AttemptOutcome::Completed, AttemptOutcome::Interrupted];
        assert!(known.contains(&attempt.outcome), "{attempt:?}");
        assert_eq!(rows.tasks[&task.id].holder, None);
        kit.one(Command::Cancel(task.id)).await.ok();
    }
}

pub(super) async fn a_session_is_deleted_while_it_is_used(kit: Kit) {
    for _ in 0..15 {
        let session = session();
        let id = session.id;
        kit.done(Command::OpenSession(session)).await;
        let in_it = || Chat { session: Some(id), ..chat() };
        let chats = [in_it(), in_it()];
        kit.commit(chats.iter().cloned().map(Command::OpenChat).collect()).await;
        let use_it = |n: usize| {
            let (role, content) = (Role::User, Payload::text("words"));
            let message = NewMessage { id: MessageId::new(), role, content, task: None };
            let command = match n {
                4 => Command::DeleteSession(id),
                0..2 => Command::Append { chat: chats[n].id, messages: vec![message] },
                2..6 => Command::OpenChat(in_it()),
                _ => enqueue(TaskSpec { session: Some(id), ..work() }),
            };
            let kit = kit.clone();
            async move { kit.one(command).await }
        };
        for (n, receipt) in at_once(9, use_it).await.into_iter().enumerate() {
            let late = matches!(receipt, Err(Rejection::NotFound { .. }));
            assert!(receipt.is_ok() || (late && n > 1), "{n}: {receipt:?}");
        }
        let rows = kit.rows().await;
        assert!(rows.chats.values().all(|chat| chat.session != Some(id)));
        assert!(rows.specs.values().all(|spec| spec.session != Some(id)));
    }
}

pub(super) async fn a_follower_misses_nothing(kit: Kit) {
    const CHATS: usize = 4;
    const MESSAGES: usize = 25;
    let mut chats = Vec::new();
    for _ in 0..CHATS {
        chats.push(kit.chat().await);
    }
    let write = |n: usize| {
        let (kit, chat) = (kit.clone(), chats[n]);
        async move {
            for n in 0..MESSAGES {
                let (id, content) = (crate::id::MessageId::new(), Payload::text(&n.to_string()));
                let messages = vec![NewMessage { id, role: Role::User, content, task: None }];
                kit.done(Command::Append { chat, messages }).await;
            }
        }
    };
    let reader = tokio::spawn(follow(kit.clone(), CHATS * MESSAGES));
    at_once(CHATS, write).await;
    let seen = reader.await.expect("the follower does not panic");
    for chat in chats {
        let seqs = &seen[&Stream::Chat(chat)];
        assert_eq!(seqs.len(), MESSAGES);
        assert!(seqs.is_sorted(), "in the order of the commits");
    }
}

/// Follows all entries until so many were seen.
async fn follow(kit: Kit, count: usize) -> BTreeMap<Stream, Vec<i64>> {
    let (mut seen, mut after, mut left) = (BTreeMap::<_, Vec<i64>>::new(), Cursor::START, count);
    let mut looks = 0;
    while left > 0 {
        let part = kit.backend().tail(Stream::All, after, 7).await.expect("tail works");
        for entry in &part {
            seen.entry(entry.stream).or_default().push(entry.seq);
        }
        left -= part.len();
        after = part.last().map_or(after, |entry| entry.cursor);
        looks += 1;
        assert!(looks < 1_000_000, "{left} entries never came: {seen:?}");
        tokio::task::yield_now().await;
    }
    seen
}

pub(super) async fn a_reader_sees_whole_commits(kit: Kit) {
    let write = |_| {
        let kit = kit.other_worker();
        async move {
            for _ in 0..5 {
                kit.launch(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]).await;
                drain(kit.clone(), 2).await;
            }
        }
    };
    let reader = {
        let kit = kit.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let rows = kit.backend().read(&Needs::everything()).await.expect("a read works");
                let found = audit(&rows);
                assert!(found.is_empty(), "half a commit was seen: {found:#?}");
                tokio::task::yield_now().await;
            }
        })
    };
    at_once(3, write).await;
    reader.await.expect("every look fits together");
    drain(kit.clone(), 10).await;
    let rows = kit.rows().await;
    assert!(rows.runs.values().all(|run| run.state == RunState::Completed));
}
