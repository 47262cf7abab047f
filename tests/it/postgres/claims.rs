//! Claims beside those of other workers, and against full and parked keys.

use super::*;

#[tokio::test]
async fn a_claim_follows_priority_and_then_age_over_all_lanes() {
    let db = fresh_schema(ManualClock::default()).await;
    let specs: Vec<_> = (0..40i16)
        .map(|n| TaskSpec { priority: n % 3, ..spec(["a", "b", "c"][n as usize % 3]) })
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
    let limit = |key: &str, slots| Command::SetCapacity { key: key.into(), slots };
    commit(&db, vec![limit("k", Some(2)), limit("m", Some(1)), limit("free", None)]).await;
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
    assert!(rows.tasks.values().all(|task| task.phase == Phase::Completed));
    assert!(rows.slots.values().all(|slot| slot.held.is_none()));

    // A parked key holds its tasks back until its time.
    let until = clock.now() + Duration::from_secs(60);
    let done = commit(
        &db,
        vec![enqueue(keyed("c", &["free"])), Command::Park { key: "free".into(), until }],
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
    let limit = |slots| Command::SetCapacity { key: "k".into(), slots };
    let mut commands = vec![limit(Some(3))];
    commands.extend((0..4).map(|_| enqueue(keyed("a", &["k"]))));
    commit(&db, commands).await;
    let held = take(&db, claim(1, 9, &["task:a"])).await;
    assert_eq!(held.len(), 3);
    commit(&db, vec![limit(Some(1))]).await;
    assert_eq!(dump(&db).await.slots.len(), 3);
    commit(&db, vec![complete(&held[1]), complete(&held[2])]).await;
    let slots = dump(&db).await.slots;
    assert_eq!(slots.keys().cloned().collect::<Vec<_>>(), [("k".to_owned(), 0)]);
    assert!(take(&db, claim(2, 9, &["task:a"])).await.is_empty());
    commit(&db, vec![complete(&held[0])]).await;
    assert_eq!(take(&db, claim(3, 9, &["task:a"])).await.len(), 1);
}

/// What it reads of the full lane is in the tests of plans.
#[tokio::test]
async fn a_full_lane_hides_nothing() {
    let db = fresh_schema(ManualClock::default()).await;
    let limit = Command::SetCapacity { key: "full".into(), slots: Some(1) };
    commit(&db, vec![limit, enqueue(keyed("a", &["full"]))]).await;
    assert_eq!(take(&db, claim(1, 50, &["task:a"])).await.len(), 1);
    commit(&db, (0..1000).map(|_| enqueue(keyed("a", &["full"]))).collect()).await;
    commit(&db, (0..50).map(|_| enqueue(spec("b"))).collect()).await;
    for seq in 2..52 {
        let taken = take(&db, claim(seq, 1, &["task:a", "task:b"])).await;
        assert_eq!(taken[0].spec.kind, "b");
    }
    assert!(take(&db, claim(52, 1, &["task:a", "task:b"])).await.is_empty());
}

#[tokio::test]
async fn workers_side_by_side_share_the_tasks_exactly() {
    let db = fresh_schema(ManualClock::default()).await;
    commit(&db, vec![Command::SetCapacity { key: "k".into(), slots: Some(2) }]).await;
    let plain = (0..300).map(|_| enqueue(spec("a")));
    commit(&db, plain.chain((0..60).map(|_| enqueue(keyed("b", &["k"])))).collect()).await;
    let worker = |n: u128| {
        let db = db.clone();
        tokio::spawn(async move {
            let instance = InstanceId::from(uuid::Uuid::from_u128(n));
            let mut done = 0;
            let mut commands = Vec::new();
            for seq in 1.. {
                let claim = Claim { instance, ..claim(seq, 3, &["task:a", "task:b"]) };
                let batch = Batch { commands: std::mem::take(&mut commands), claim: Some(claim) };
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
                    if rows.tasks.get(&TaskState::Pending).is_none_or(|left| *left == 0) {
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

#[tokio::test]
async fn a_unique_key_raced_for_is_taken_once() {
    let db = fresh_schema(ManualClock::default()).await;
    let race = (0..8).map(|_| {
        let db = db.clone();
        let spec = TaskSpec { unique_key: Some("one".into()), ..spec("a") };
        tokio::spawn(
            async move { commit(&db, vec![enqueue(spec)]).await.receipts.remove(0).unwrap() },
        )
    });
    let mut made = BTreeSet::new();
    let mut created = 0;
    for racer in race.collect::<Vec<_>>() {
        let Outcome::Task { id, created: new } = racer.await.unwrap() else { panic!() };
        made.insert(id);
        created += u32::from(new);
    }
    assert_eq!((made.len(), created), (1, 1));
    dump(&db).await;
}
