//! Entries in the order of their commits, and wake-ups.

use super::*;

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

fn chain(steps: u32) -> NewRun {
    let lane = Lane::new(vec!["flow:chain@1".into()], vec![]);
    let step = |no: u32| NewStep {
        lane: Some(lane.clone()),
        ..NewStep::new(format!("s{no}"), StepKind::Code, no.checked_sub(1).into_iter().collect())
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
        forked_from: None,
        fingerprint: String::new(),
        base: None,
        created_at: Timestamp::ZERO,
    };
    NewRun {
        spec,
        priority: 0,
        steps: (0..steps).map(step).collect(),
        parent: None,
        budget: None,
        fresh: false,
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
        let done = db.commit(Batch { commands, claim: Some(wish) }).await.unwrap();
        assert!(done.receipts.iter().all(Result::is_ok), "{:?}", done.receipts);
        assert_eq!(done.streams, [Stream::Run(id)]);
        assert_eq!(done.claimed.len(), usize::from(seq <= 10));
        commands = done.claimed.iter().map(complete).collect();
    }
    let rows = dump(&db).await;
    assert_eq!(rows.runs[&id].state, RunState::Completed);
    let own = db.tail(Stream::Run(id), Cursor::START, 100).await.unwrap();
    assert_eq!(own.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    let rest = db.tail(Stream::Run(id), own[4].cursor, 3).await.unwrap();
    assert_eq!(rest.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [6, 7, 8]);
    let all = until_tail(&db, 11).await;
    assert_eq!(db.tail(Stream::All, all[3].cursor, 2).await.unwrap(), all[4..6]);
    assert_eq!(db.due(me(), 1).await.unwrap().tail, all[10].cursor);
    let Page::Runs(runs) = db
        .list(&Query::Runs {
            filter: RunFilter {
                project: Some("p".into()),
                states: vec![RunState::Completed],
                flow: None,
            },
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
            forked_from: None,
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
    assert!(db.tail(Stream::All, Cursor::START, 9).await.unwrap().is_empty());
    assert_eq!(db.tail(Stream::Chat(fast), Cursor::START, 9).await.unwrap().len(), 1);
    // Whoever waits looks again, though nobody announces the slow one.
    timeout(SOON, db.wait(Duration::from_secs(3600))).await.unwrap();
    open.commit().await.unwrap();
    let all = until_tail(&db, 2).await;
    assert_eq!(
        all.iter().map(|entry| entry.stream).collect::<Vec<_>>(),
        [Stream::Chat(slow), Stream::Chat(fast)]
    );
}

#[tokio::test]
async fn pruning_removes_what_is_old_and_whole() {
    let clock = ManualClock::default();
    let db = fresh_schema(clock.clone()).await;
    let parent = spec("a");
    let child = TaskSpec { parent: Some(parent.id), unique_key: Some("k".into()), ..spec("a") };
    commit(&db, vec![enqueue(parent), enqueue(child), Command::Launch(Box::new(chain(2)))]).await;
    let mut commands = Vec::new();
    for seq in 1..4 {
        let wish = claim(seq, 5, &["flow:chain@1", "task:a"]);
        let done = db.commit(Batch { commands, claim: Some(wish) }).await.unwrap();
        commands = done.claimed.iter().map(complete).collect();
    }
    let all = until_tail(&db, 3).await;
    clock.advance(Duration::from_secs(5));
    let before = clock.now();
    let prune =
        Prune { tasks_before: before, runs_before: before, entries_before: before, limit: 10 };
    let first = db.prune(&prune).await.unwrap();
    assert_eq!((first.tasks, first.runs), (1, 1));
    let second = db.prune(&prune).await.unwrap();
    assert_eq!((second.tasks, second.runs), (1, 0));
    let rows = dump(&db).await;
    assert!(rows.specs.is_empty() && rows.unique.is_empty() && rows.entries.is_empty());
    for cursor in [all[0].cursor, all[1].cursor] {
        let lost = db.tail(Stream::All, cursor, 9).await.unwrap_err();
        assert!(lost.is_cursor_expired(), "{lost}");
    }
    let last = all.last().unwrap().cursor;
    assert_eq!(db.tail(Stream::All, last, 9).await.unwrap(), []);
    let own = db.tail(all[0].stream, Cursor { major: 1, minor: 0 }, 9).await;
    assert!(own.unwrap_err().is_cursor_expired());
}

#[tokio::test]
async fn a_commit_wakes_other_processes_and_not_its_own() {
    let db = options().connect().await.unwrap();
    db.migrate().await.unwrap();
    let schema = db.schema().to_owned();
    let other = Options::new(cluster::url()).schema(&schema).connect().await.unwrap();
    listening(&db).await;
    listening(&other).await;
    drain(&db).await;
    drain(&other).await;
    let start = std::time::Instant::now();
    let (_, heard_it) = tokio::join!(commit(&db, vec![enqueue(spec("a"))]), heard(&other));
    assert!(heard_it);
    println!("commit to wake-up: {:?}", start.elapsed());
    assert!(timeout(Duration::from_millis(200), db.wait(SOON)).await.is_err(), "it heard itself");

    let client = sql(&db).await;
    let insert = client.execute("INSERT INTO tasks (project_id, input) VALUES ('p', '1')", &[]);
    let (_, both) = tokio::join!(insert, async { heard(&db).await && heard(&other).await });
    assert!(both, "a row of another program wakes everybody");
}

#[tokio::test]
async fn without_listening_it_polls() {
    let db = options().listen(false).poll(Duration::from_millis(20)).connect().await.unwrap();
    let start = std::time::Instant::now();
    db.wait(SOON).await;
    assert!(start.elapsed() < SOON / 2);
}
