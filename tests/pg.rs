//! PostgreSQL: what is particular to it, and a walk through the rest.
#![cfg(feature = "postgres")]

#[path = "it/support/cluster.rs"]
mod cluster;

use std::{collections::BTreeSet, sync::Arc, task::Poll, time::Duration};

use cluster::{Cluster, fresh_schema, options};
use segue::{
    Error,
    backend::{
        Backend,
        postgres::{Options, PostgresBackend, enqueue_in},
    },
    clock::{ManualClock, Timestamp},
    id::{ChatId, InstanceId, RunId, TaskId},
    model::*,
};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

const SOON: Duration = Duration::from_secs(20);

fn spec(kind: &str) -> TaskSpec {
    TaskSpec::new(TaskId::new(), kind, Payload::null())
}

fn keyed(kind: &str, keys: &[&str]) -> TaskSpec {
    let capacity = keys.iter().map(|key| (*key).to_owned()).collect();
    TaskSpec {
        options: TaskOptions {
            capacity,
            ..TaskOptions::default()
        },
        ..spec(kind)
    }
}

fn enqueue(spec: TaskSpec) -> Command {
    Command::Enqueue(Box::new(spec))
}

fn serves(names: &[&str]) -> Arc<BTreeSet<String>> {
    Arc::new(names.iter().map(|name| (*name).to_owned()).collect())
}

fn claim(seq: i64, limit: u32, of: &[&str]) -> Claim {
    Claim {
        instance: me(),
        seq,
        limit,
        serves: serves(of),
        again: false,
    }
}

fn me() -> InstanceId {
    InstanceId::from(uuid::Uuid::from_u128(7))
}

fn complete(held: &Claimed) -> Command {
    settle(held, Decision::Complete(Payload::text("done")))
}

fn settle(held: &Claimed, decision: Decision) -> Command {
    Command::Settle(Box::new(Settle {
        held: held.task.clone(),
        retry: Retry::default(),
        decision,
        usage: None,
        said: None,
    }))
}

async fn commit(db: &PostgresBackend, commands: Vec<Command>) -> Committed {
    db.commit(Batch {
        commands,
        claim: None,
    })
    .await
    .unwrap()
}

async fn take(db: &PostgresBackend, claim: Claim) -> Vec<Claimed> {
    db.commit(Batch {
        commands: vec![],
        claim: Some(claim),
    })
    .await
    .unwrap()
    .claimed
}

fn ids(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|claimed| claimed.task.id).collect()
}

async fn dump(db: &PostgresBackend) -> Rows {
    let rows = db.read(&Needs::everything()).await.unwrap();
    let wrong = audit(&rows);
    assert!(wrong.is_empty(), "{wrong:?}");
    rows
}

async fn host(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn sql(db: &PostgresBackend) -> Client {
    let client = host(&cluster::url()).await;
    client
        .batch_execute(&format!("SET search_path = {}", db.schema()))
        .await
        .unwrap();
    client
}

#[tokio::test]
async fn a_task_goes_from_enqueued_to_completed() {
    let db = fresh_schema(ManualClock::default()).await;
    let mut new = spec("mail");
    new.labels.insert("colour".into(), "blue".into());
    new.meta = Some(Payload::text("mine"));
    let id = new.id;
    let done = commit(&db, vec![enqueue(new.clone()), enqueue(new.clone())]).await;
    assert_eq!(done.receipts[0], Ok(Outcome::Task { id, created: true }));
    assert_eq!(done.receipts[1], Ok(Outcome::Task { id, created: false }));
    assert!(done.woke);

    let held = take(&db, claim(1, 5, &["task:mail"])).await;
    assert_eq!(ids(&held), [id]);
    assert_eq!(held[0].spec.labels, new.labels);
    assert_eq!(held[0].spec.meta, new.meta);
    assert_eq!(
        (held[0].task.attempt, held[0].task.lease, held[0].task.rev),
        (1, 1, 2)
    );
    let again = take(
        &db,
        Claim {
            again: true,
            ..claim(1, 5, &["task:mail"])
        },
    )
    .await;
    assert_eq!(again, held);

    for _ in 0..2 {
        let done = commit(&db, vec![complete(&held[0])]).await;
        assert_eq!(done.receipts, [Ok(Outcome::State(TaskState::Completed))]);
    }
    let done = commit(&db, vec![settle(&held[0], Decision::Release)]).await;
    assert_eq!(done.receipts, [Err(Rejection::StaleLease)]);
    let rows = dump(&db).await;
    assert_eq!(rows.tasks[&id].phase, Phase::Completed);
    assert_eq!(rows.attempts[&(id, 1)].output, Some(Payload::text("done")));
}

#[tokio::test]
async fn a_claim_follows_priority_and_then_age_over_all_lanes() {
    let db = fresh_schema(ManualClock::default()).await;
    let specs: Vec<_> = (0..40i16)
        .map(|n| TaskSpec {
            priority: n % 3,
            ..spec(["a", "b", "c"][n as usize % 3])
        })
        .collect();
    commit(&db, specs.into_iter().map(enqueue).collect()).await;
    let rows = dump(&db).await;
    for seq in 1..=6 {
        let wish = claim(seq, 7, &["task:a", "task:b"]);
        let rows = dump(&db).await;
        let expected = choose(&rows, &wish, db.clock().now());
        assert_eq!(ids(&take(&db, wish).await), expected);
    }
    assert_eq!(rows.tasks.len(), 40);
}

#[tokio::test]
async fn keyed_lanes_take_slots_and_give_them_back() {
    let clock = ManualClock::default();
    let db = fresh_schema(clock.clone()).await;
    let limit = |key: &str, slots| Command::SetCapacity {
        key: key.into(),
        slots,
    };
    commit(
        &db,
        vec![
            limit("k", Some(2)),
            limit("m", Some(1)),
            limit("free", None),
        ],
    )
    .await;
    let mut commands = Vec::new();
    for _ in 0..5 {
        commands.push(enqueue(keyed("a", &["k"])));
        commands.push(enqueue(keyed("b", &["k", "m"])));
        commands.push(enqueue(keyed("c", &["free"])));
        commands.push(enqueue(spec("d")));
    }
    commit(&db, commands).await;
    let of = ["task:a", "task:b", "task:c", "task:d"];
    let mut held = Vec::new();
    for seq in 1..200 {
        let wish = claim(seq, 1 + (seq as u32 * 7) % 4, &of);
        let expected = choose(&dump(&db).await, &wish, clock.now());
        let taken = take(&db, wish).await;
        assert_eq!(ids(&taken), expected, "claim {seq}");
        held.extend(taken);
        if held.is_empty() {
            break;
        }
        if seq % 2 == 0 {
            let done = commit(&db, vec![complete(&held.remove(0))]).await;
            assert_eq!(done.receipts, [Ok(Outcome::State(TaskState::Completed))]);
        }
    }
    let rows = dump(&db).await;
    assert!(
        rows.tasks
            .values()
            .all(|task| task.phase == Phase::Completed)
    );
    assert!(rows.slots.values().all(|slot| slot.held.is_none()));

    // A parked key holds its tasks back until its time.
    let until = clock.now() + Duration::from_secs(60);
    let done = commit(
        &db,
        vec![
            enqueue(keyed("c", &["free"])),
            Command::Park {
                key: "free".into(),
                until,
            },
        ],
    )
    .await;
    assert_eq!(done.next, Some(until));
    assert!(take(&db, claim(900, 1, &of)).await.is_empty());
    let due = db.due(me(), 10).await.unwrap();
    assert_eq!((due.next, due.ready), (Some(until), false));
    clock.advance(Duration::from_secs(60));
    assert_eq!(take(&db, claim(901, 1, &of)).await.len(), 1);
}

#[tokio::test]
async fn a_slot_above_the_limit_goes_when_it_is_free() {
    let db = fresh_schema(ManualClock::default()).await;
    let limit = |slots| Command::SetCapacity {
        key: "k".into(),
        slots,
    };
    let mut commands = vec![limit(Some(3))];
    commands.extend((0..4).map(|_| enqueue(keyed("a", &["k"]))));
    commit(&db, commands).await;
    let held = take(&db, claim(1, 9, &["task:a"])).await;
    assert_eq!(held.len(), 3);
    commit(&db, vec![limit(Some(1))]).await;
    assert_eq!(dump(&db).await.slots.len(), 3);
    commit(&db, vec![complete(&held[1]), complete(&held[2])]).await;
    let slots = dump(&db).await.slots;
    assert_eq!(
        slots.keys().cloned().collect::<Vec<_>>(),
        [("k".to_owned(), 0)]
    );
    assert!(take(&db, claim(2, 9, &["task:a"])).await.is_empty());
    commit(&db, vec![complete(&held[0])]).await;
    assert_eq!(take(&db, claim(3, 9, &["task:a"])).await.len(), 1);
}

#[tokio::test]
async fn a_full_lane_hides_nothing_and_slows_nobody() {
    let db = fresh_schema(ManualClock::default()).await;
    commit(
        &db,
        vec![Command::SetCapacity {
            key: "full".into(),
            slots: Some(1),
        }],
    )
    .await;
    for _ in 0..10 {
        commit(
            &db,
            (0..1000).map(|_| enqueue(keyed("a", &["full"]))).collect(),
        )
        .await;
    }
    let of = ["task:a", "task:b"];
    assert_eq!(take(&db, claim(1, 50, &of)).await.len(), 1);
    commit(&db, (0..50).map(|_| enqueue(spec("b"))).collect()).await;
    let start = std::time::Instant::now();
    for seq in 2..52 {
        assert_eq!(take(&db, claim(seq, 1, &of)).await.len(), 1);
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn workers_side_by_side_share_the_tasks_exactly() {
    let db = fresh_schema(ManualClock::default()).await;
    commit(
        &db,
        vec![Command::SetCapacity {
            key: "k".into(),
            slots: Some(2),
        }],
    )
    .await;
    let plain = (0..300).map(|_| enqueue(spec("a")));
    commit(
        &db,
        plain
            .chain((0..60).map(|_| enqueue(keyed("b", &["k"]))))
            .collect(),
    )
    .await;
    let worker = |n: u128| {
        let db = db.clone();
        tokio::spawn(async move {
            let instance = InstanceId::from(uuid::Uuid::from_u128(n));
            let mut done = 0;
            let mut commands = Vec::new();
            for seq in 1.. {
                let claim = Claim {
                    instance,
                    ..claim(seq, 3, &["task:a", "task:b"])
                };
                let batch = Batch {
                    commands: std::mem::take(&mut commands),
                    claim: Some(claim),
                };
                let answer = db.commit(batch).await.unwrap();
                assert!(
                    answer
                        .receipts
                        .iter()
                        .all(|receipt| *receipt == Ok(Outcome::State(TaskState::Completed)))
                );
                done += answer.claimed.len();
                commands = answer.claimed.iter().map(complete).collect();
                if commands.is_empty() && !db.due(instance, 1).await.unwrap().ready {
                    let rows = db.stats().await.unwrap();
                    if rows
                        .tasks
                        .get(&TaskState::Pending)
                        .is_none_or(|left| *left == 0)
                    {
                        return done;
                    }
                }
            }
            done
        })
    };
    let workers: Vec<_> = (1..=4).map(worker).collect();
    let mut done = 0;
    for worker in workers {
        done += worker.await.unwrap();
    }
    assert_eq!(done, 360);
    let rows = dump(&db).await;
    assert_eq!(rows.attempts.len(), 360);
    assert!(rows.slots.values().all(|slot| slot.held.is_none()));
}

fn chain(steps: u32) -> NewRun {
    let lane = Lane::new(vec!["flow:chain@1".into()], vec![]);
    let step = |no: u32| NewStep {
        name: format!("s{no}"),
        kind: StepKind::Code,
        after: no.checked_sub(1).into_iter().collect(),
        agent: None,
        lane: Some(lane.clone()),
        options: TaskOptions::default(),
    };
    let spec = RunSpec {
        id: RunId::new(),
        project: "p".into(),
        flow: "chain".into(),
        version: 1,
        band: Band::Small,
        model: None,
        input: Payload::null(),
        definition: Payload::null(),
        labels: Default::default(),
        meta: None,
        created_at: Timestamp::ZERO,
    };
    NewRun {
        spec,
        priority: 0,
        steps: (0..steps).map(step).collect(),
    }
}

#[tokio::test]
async fn a_chain_costs_one_commit_a_step_and_is_told_in_order() {
    let db = fresh_schema(ManualClock::default()).await;
    let run = chain(10);
    let id = run.spec.id;
    let mut commands = vec![Command::Launch(Box::new(run))];
    for seq in 1..=11 {
        let wish = claim(seq, 5, &["flow:chain@1"]);
        let done = db
            .commit(Batch {
                commands,
                claim: Some(wish),
            })
            .await
            .unwrap();
        assert!(
            done.receipts.iter().all(Result::is_ok),
            "{:?}",
            done.receipts
        );
        assert_eq!(done.streams, [Stream::Run(id)]);
        assert_eq!(done.claimed.len(), usize::from(seq <= 10));
        commands = done.claimed.iter().map(complete).collect();
    }
    let rows = dump(&db).await;
    assert_eq!(rows.runs[&id].state, RunState::Completed);
    let own = db.tail(Stream::Run(id), Cursor::START, 100).await.unwrap();
    assert_eq!(
        own.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        (1..=11).collect::<Vec<_>>()
    );
    let rest = db.tail(Stream::Run(id), own[4].cursor, 3).await.unwrap();
    assert_eq!(
        rest.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        [6, 7, 8]
    );
    let all = until_tail(&db, 11).await;
    assert_eq!(
        db.tail(Stream::All, all[3].cursor, 2).await.unwrap(),
        all[4..6]
    );
    assert_eq!(db.due(me(), 1).await.unwrap().tail, all[10].cursor);
    let Page::Runs(runs) = db
        .list(&Query::Runs {
            project: Some("p".into()),
            states: vec![RunState::Completed],
            after: None,
            limit: 5,
        })
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(runs[0].run.id, id);
}

/// All entries, once no other test's transaction holds the horizon back.
async fn until_tail(db: &PostgresBackend, count: usize) -> Vec<Entry> {
    let look = async {
        loop {
            let all = db.tail(Stream::All, Cursor::START, 100).await.unwrap();
            if all.len() == count {
                return all;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, look).await.unwrap()
}

#[tokio::test]
async fn an_entry_of_a_slow_commit_is_never_skipped() {
    let db = fresh_schema(ManualClock::default()).await;
    let chat = |id| {
        Command::OpenChat(Chat {
            id,
            project: "p".into(),
            session: None,
            title: String::new(),
            meta: None,
            next_seq: 1,
            created_at: Timestamp::ZERO,
        })
    };
    let say = |chat, n: u128| Command::Append {
        chat,
        messages: vec![NewMessage {
            id: uuid::Uuid::from_u128(n).into(),
            role: Role::User,
            content: Payload::text("hi"),
            task: None,
        }],
    };
    drain(&db).await;
    let (slow, fast) = (ChatId::new(), ChatId::new());
    commit(&db, vec![chat(slow), chat(fast)]).await;
    let mut client = sql(&db).await;
    let open = client.transaction().await.unwrap();
    open.execute(
        "INSERT INTO entries (kind, stream, seq, at, body) VALUES (2, $1, 1, now(), '[]')",
        &[&slow.as_uuid()],
    )
    .await
    .unwrap();
    commit(&db, vec![say(fast, 1)]).await;
    assert!(
        db.tail(Stream::All, Cursor::START, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        db.tail(Stream::Chat(fast), Cursor::START, 9)
            .await
            .unwrap()
            .len(),
        1
    );
    // Whoever waits looks again, though nobody announces the slow one.
    timeout(SOON, db.wait(Duration::from_secs(3600)))
        .await
        .unwrap();
    open.commit().await.unwrap();
    let all = until_tail(&db, 2).await;
    assert_eq!(
        all.iter().map(|entry| entry.stream).collect::<Vec<_>>(),
        [Stream::Chat(slow), Stream::Chat(fast)]
    );
}

#[tokio::test]
async fn due_names_what_is_ripe_foreign_and_held() {
    let clock = ManualClock::default();
    let db = fresh_schema(clock.clone()).await;
    let later = TaskSpec {
        run_at: Some(clock.now() + Duration::from_secs(9)),
        ..spec("a")
    };
    let now = spec("a");
    let done = commit(&db, vec![enqueue(later.clone()), enqueue(now.clone())]).await;
    assert_eq!(done.next, later.run_at);
    let held = take(&db, claim(1, 9, &["task:a"])).await;
    assert_eq!(ids(&held), [now.id]);
    let client = sql(&db).await;
    let foreign = client.query_one(
        "INSERT INTO tasks (project_id, kind, input) VALUES ('p', 'a', 'not json') RETURNING id", &[],
    ).await.unwrap();
    let foreign = TaskId::from(foreign.get::<_, uuid::Uuid>(0));
    let due = db.due(me(), 9).await.unwrap();
    assert_eq!((due.ripe, due.next), (vec![], later.run_at));
    assert_eq!(due.held, [held[0].task.clone()]);
    assert_eq!(due.holders, [(me(), None)]);
    assert_eq!(due.foreign, [foreign]);
    clock.advance(Duration::from_secs(9));
    let due = db.due(me(), 9).await.unwrap();
    let ripen = Command::Ripen(Box::new(due.ripe[0].clone()));
    let done = commit(&db, vec![ripen, Command::Adopt(foreign)]).await;
    assert!(
        done.receipts.iter().all(Result::is_ok),
        "{:?}",
        done.receipts
    );
    let taken = take(&db, claim(2, 9, &["task:a"])).await;
    assert_eq!(taken.len(), 2);
    let mine = taken
        .iter()
        .find(|claimed| claimed.task.id == foreign)
        .unwrap();
    assert_eq!(mine.spec.input, Payload::text("not json"));
    dump(&db).await;
}

#[tokio::test]
async fn pruning_removes_what_is_old_and_whole() {
    let clock = ManualClock::default();
    let db = fresh_schema(clock.clone()).await;
    let parent = spec("a");
    let child = TaskSpec {
        parent: Some(parent.id),
        unique_key: Some("k".into()),
        ..spec("a")
    };
    commit(
        &db,
        vec![
            enqueue(parent),
            enqueue(child),
            Command::Launch(Box::new(chain(2))),
        ],
    )
    .await;
    let mut commands = Vec::new();
    for seq in 1..4 {
        let wish = claim(seq, 5, &["flow:chain@1", "task:a"]);
        let done = db
            .commit(Batch {
                commands,
                claim: Some(wish),
            })
            .await
            .unwrap();
        commands = done.claimed.iter().map(complete).collect();
    }
    clock.advance(Duration::from_secs(5));
    let before = clock.now();
    let prune = Prune {
        tasks_before: before,
        runs_before: before,
        entries_before: before,
        limit: 10,
    };
    let first = db.prune(&prune).await.unwrap();
    assert_eq!((first.tasks, first.runs), (1, 1));
    let second = db.prune(&prune).await.unwrap();
    assert_eq!((second.tasks, second.runs), (1, 0));
    let rows = dump(&db).await;
    assert!(rows.specs.is_empty() && rows.unique.is_empty() && rows.entries.is_empty());
    assert!(db.stats().await.unwrap().disk_bytes > 0);
}

#[tokio::test]
async fn a_unique_key_raced_for_is_taken_once() {
    let db = fresh_schema(ManualClock::default()).await;
    let race = (0..8).map(|_| {
        let db = db.clone();
        let spec = TaskSpec {
            unique_key: Some("one".into()),
            ..spec("a")
        };
        tokio::spawn(async move {
            commit(&db, vec![enqueue(spec)])
                .await
                .receipts
                .remove(0)
                .unwrap()
        })
    });
    let mut made = BTreeSet::new();
    let mut created = 0;
    for racer in race.collect::<Vec<_>>() {
        let Outcome::Task { id, created: new } = racer.await.unwrap() else {
            panic!()
        };
        made.insert(id);
        created += u32::from(new);
    }
    assert_eq!((made.len(), created), (1, 1));
    dump(&db).await;
}

#[tokio::test]
async fn a_host_enqueues_in_its_own_transaction() {
    let db = fresh_schema(ManualClock::default()).await;
    let mut client = host(&cluster::url()).await;
    let before = client
        .query_one("SHOW search_path", &[])
        .await
        .unwrap()
        .get::<_, String>(0);

    let gone = client.transaction().await.unwrap();
    enqueue_in(&gone, db.schema(), spec("a")).await.unwrap();
    gone.rollback().await.unwrap();

    let kept = client.transaction().await.unwrap();
    let unique = TaskSpec {
        unique_key: Some("k".into()),
        ..spec("a")
    };
    let made = enqueue_in(&kept, db.schema(), unique.clone())
        .await
        .unwrap();
    assert_eq!(
        made,
        Outcome::Task {
            id: unique.id,
            created: true
        }
    );
    let second = TaskSpec {
        id: TaskId::new(),
        ..unique.clone()
    };
    let made = enqueue_in(&kept, db.schema(), second).await.unwrap();
    assert_eq!(
        made,
        Outcome::Task {
            id: unique.id,
            created: false
        }
    );
    let refused = enqueue_in(&kept, db.schema(), spec("")).await.unwrap_err();
    assert!(refused.rejection().is_some());
    let missing = enqueue_in(&kept, "no_such_schema", spec("a"))
        .await
        .unwrap_err();
    assert!(!missing.is_transient(), "{missing}");
    let path: String = kept
        .query_one("SHOW search_path", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(path, before);
    kept.commit().await.unwrap();
    assert_eq!(
        dump(&db).await.tasks.keys().copied().collect::<Vec<_>>(),
        [unique.id]
    );
}

#[tokio::test]
async fn it_goes_on_by_itself_after_the_server_was_restarted() {
    let cluster = Cluster::start();
    let db = Options::new(cluster.url()).connect().await.unwrap();
    db.migrate().await.unwrap();
    until(|| db.is_listening()).await;
    commit(&db, vec![enqueue(spec("a"))]).await;
    assert!(!db.beat(me()).await.unwrap());
    let held = take(&db, claim(1, 1, &["task:a"])).await;
    cluster.restart();
    let settle = async {
        loop {
            match db
                .commit(Batch {
                    commands: vec![complete(&held[0])],
                    claim: None,
                })
                .await
            {
                Ok(done) => return done,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    let done = timeout(SOON, settle).await.unwrap();
    assert_eq!(done.receipts, [Ok(Outcome::State(TaskState::Completed))]);
    assert!(!db.beat(me()).await.unwrap());
    until(|| db.is_listening()).await;
    let other = Options::new(cluster.url()).connect().await.unwrap();
    drain(&db).await;
    let (_, heard) = tokio::join!(commit(&other, vec![enqueue(spec("a"))]), heard(&db));
    assert!(heard);
}

/// Waits for a condition, with a limit.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait).await.expect("it holds soon");
}

/// Takes the hints that are left of the subscription.
async fn drain(db: &PostgresBackend) {
    while timeout(Duration::from_millis(100), db.wait(SOON))
        .await
        .is_ok()
    {}
}

async fn heard(db: &PostgresBackend) -> bool {
    timeout(SOON / 2, db.wait(SOON)).await.is_ok()
}

#[tokio::test]
async fn a_commit_wakes_other_processes_and_not_its_own() {
    let db = options().connect().await.unwrap();
    db.migrate().await.unwrap();
    let schema = db.schema().to_owned();
    let other = Options::new(cluster::url())
        .schema(&schema)
        .connect()
        .await
        .unwrap();
    until(|| db.is_listening() && other.is_listening()).await;
    drain(&db).await;
    drain(&other).await;
    let start = std::time::Instant::now();
    let (_, heard_it) = tokio::join!(commit(&db, vec![enqueue(spec("a"))]), heard(&other));
    assert!(heard_it);
    println!("commit to wake-up: {:?}", start.elapsed());
    assert!(
        timeout(Duration::from_millis(200), db.wait(SOON))
            .await
            .is_err(),
        "it heard itself"
    );

    let client = sql(&db).await;
    let insert = client.execute(
        "INSERT INTO tasks (project_id, input) VALUES ('p', '1')",
        &[],
    );
    let (_, both) = tokio::join!(insert, async { heard(&db).await && heard(&other).await });
    assert!(both, "a row of another program wakes everybody");
}

#[tokio::test]
async fn without_listening_it_polls() {
    let db = options()
        .listen(false)
        .poll(Duration::from_millis(20))
        .connect()
        .await
        .unwrap();
    let start = std::time::Instant::now();
    db.wait(SOON).await;
    assert!(start.elapsed() < SOON / 2);
}

#[tokio::test]
async fn two_processes_migrate_at_once() {
    let schema = cluster::schema();
    let open = || Options::new(cluster::url()).schema(&schema).connect();
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    first.unwrap();
    second.unwrap();
    one.migrate().await.unwrap();
    dump(&one).await;
}

#[tokio::test]
async fn a_newer_database_is_refused_unchanged() {
    let db = fresh_schema(ManualClock::default()).await;
    let client = sql(&db).await;
    client
        .batch_execute(
            "INSERT INTO segue_schema_history VALUES (99, 'later', '', '0');
         UPDATE meta SET value = 99 WHERE name = 'writer_min'",
        )
        .await
        .unwrap();
    let refused = db.migrate().await.unwrap_err();
    assert!(
        refused.is_migration() && refused.to_string().contains("99"),
        "{refused}"
    );
    assert!(refused.to_string().contains('2'), "{refused}");
    let moved_on = |error: Error| assert!(error.is_schema_moved_on(), "{error}");
    moved_on(
        db.commit(Batch {
            commands: vec![enqueue(spec("a"))],
            claim: None,
        })
        .await
        .unwrap_err(),
    );
    moved_on(
        db.commit(Batch {
            commands: vec![],
            claim: Some(claim(1, 1, &[])),
        })
        .await
        .unwrap_err(),
    );
    let never = Timestamp::ZERO;
    let prune = Prune {
        tasks_before: never,
        runs_before: never,
        entries_before: never,
        limit: 1,
    };
    moved_on(db.prune(&prune).await.unwrap_err());
    assert!(dump(&db).await.specs.is_empty());
}

#[tokio::test]
async fn an_older_schema_is_copied_before_it_is_migrated() {
    let db = options().connect().await.unwrap();
    let schema = db.schema().to_owned();
    let first = include_str!("../migrations/postgres/V1__tasks.sql");
    let client = host(&cluster::url()).await;
    db.migrate().await.unwrap();
    let checksum: String = client
        .query_one(
            &format!("SELECT checksum FROM {schema}.segue_schema_history WHERE version = 1"),
            &[],
        )
        .await
        .unwrap()
        .get(0);
    client
        .batch_execute(&format!(
        "DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}; SET search_path = {schema}; {first};
         CREATE TABLE segue_schema_history (version int4 PRIMARY KEY, name varchar(255),
            applied_on varchar(255), checksum varchar(255));
         INSERT INTO segue_schema_history VALUES (1, 'tasks', '2026-01-01T00:00:00Z', '{checksum}');
         INSERT INTO tasks (project_id, input) VALUES ('p', 'old')"
    ))
        .await
        .unwrap();
    db.migrate().await.unwrap();
    let copied = client
        .query_one(&format!("SELECT input FROM {schema}_backup_v1.tasks"), &[])
        .await
        .unwrap();
    assert_eq!(copied.get::<_, String>(0), "old");
    assert_eq!(db.stats().await.unwrap().tasks[&TaskState::Pending], 1);
}

#[tokio::test]
async fn a_failing_migration_leaves_the_database_as_it_was() {
    let db = options().connect().await.unwrap();
    let client = host(&cluster::url()).await;
    // A table in the way of the second migration.
    let schema = db.schema();
    client
        .batch_execute(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.flow_steps ()"
        ))
        .await
        .unwrap();
    let failed = db.migrate().await.unwrap_err();
    assert!(failed.is_migration(), "{failed}");
    let tables = client
        .query_one(
            "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1)",
            &[&schema],
        )
        .await
        .unwrap();
    assert_eq!(tables.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn lists_find_what_was_asked_for() {
    let db = fresh_schema(ManualClock::default()).await;
    let mut red = TaskSpec {
        project: "p".into(),
        ..spec("a")
    };
    red.labels.insert("colour".into(), "red".into());
    let blue = TaskSpec {
        project: "p".into(),
        ..spec("b")
    };
    commit(
        &db,
        vec![
            enqueue(red.clone()),
            enqueue(blue.clone()),
            enqueue(spec("a")),
        ],
    )
    .await;
    let client = sql(&db).await;
    client
        .execute(
            "INSERT INTO tasks (project_id, input) VALUES ('q', '1')",
            &[],
        )
        .await
        .unwrap();
    let list = async |filter: TaskFilter, after, limit| match db
        .list(&Query::Tasks {
            filter,
            after,
            limit,
        })
        .await
        .unwrap()
    {
        Page::Tasks(tasks) => tasks,
        other => panic!("{other:?}"),
    };
    let any = TaskFilter::default;
    assert_eq!(list(any(), None, 10).await.len(), 4);
    let p = TaskFilter {
        project: Some("p".into()),
        ..any()
    };
    let found = list(p.clone(), None, 1).await;
    assert_eq!(found[0].spec.id, blue.id);
    assert_eq!(list(p, Some(blue.id), 9).await[0].spec.id, red.id);
    let label = Some(("colour".to_owned(), "red".to_owned()));
    let found = list(TaskFilter { label, ..any() }, None, 9).await;
    assert_eq!(found.len(), 1);
    let held = take(&db, claim(1, 1, &["task:b"])).await;
    commit(&db, vec![complete(&held[0])]).await;
    let found = list(
        TaskFilter {
            states: vec![TaskState::Completed],
            ..any()
        },
        None,
        9,
    )
    .await;
    assert_eq!(
        found[0].attempt.as_ref().unwrap().output,
        Some(Payload::text("done"))
    );
    assert_eq!(
        list(
            TaskFilter {
                states: vec![TaskState::Pending],
                ..any()
            },
            None,
            9
        )
        .await
        .len(),
        3
    );
}

#[tokio::test]
async fn a_dropped_commit_leaves_nothing_open() {
    let schema = cluster::schema();
    let url = format!("{} application_name={schema}", cluster::url());
    let db = Options::new(url)
        .schema(&schema)
        .pool(2)
        .connect()
        .await
        .unwrap();
    db.migrate().await.unwrap();
    let client = host(&cluster::url()).await;
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = $1 AND state LIKE 'idle in transaction%'";
    let id = TaskId::new();
    for polls in 1..30 {
        let commands = vec![
            enqueue(TaskSpec::new(id, "a", Payload::null())),
            Command::SetCapacity {
                key: "k".into(),
                slots: Some(1),
            },
        ];
        let mut work = db.commit(Batch {
            commands,
            claim: None,
        });
        let mut left = polls;
        let cut = std::future::poll_fn(|cx| match left {
            0 => Poll::Ready(()),
            _ => {
                left -= 1;
                work.as_mut().poll(cx).map(drop)
            }
        });
        cut.await;
        drop(work);
        let none = async {
            while client
                .query_one(open, &[&schema])
                .await
                .unwrap()
                .get::<_, i64>(0)
                > 0
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON / 4, none)
            .await
            .expect("no transaction stays open");
    }
    let done = timeout(SOON, commit(&db, vec![Command::Cancel(id)]))
        .await
        .unwrap();
    assert!(done.receipts.len() == 1);
    dump(&db).await;
}

#[tokio::test]
async fn names_that_need_quotes_are_refused() {
    for name in ["", "Segue", "a-b", "a\"b", "1a", "pg_x", &"x".repeat(41)] {
        let error = Options::new("host=/nowhere")
            .schema(name)
            .connect()
            .await
            .unwrap_err();
        assert!(error.is_usage(), "{name}: {error}");
    }
    let error = Options::new("host=/nowhere user=x")
        .connect()
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
}
