//! The server goes away, commits are dropped, addresses make no sense.

use super::*;

#[tokio::test]
async fn it_goes_on_by_itself_after_the_server_was_restarted() {
    let cluster = Cluster::start();
    let db = Options::new(cluster.url()).connect().await.unwrap();
    db.migrate().await.unwrap();
    listening(&db).await;
    commit(&db, vec![enqueue(spec("a"))]).await;
    assert!(!db.beat(me()).await.unwrap());
    let held = take(&db, claim(1, 1, &["task:a"])).await;
    cluster.restart();
    let settle = async {
        loop {
            match db.commit(Batch { commands: vec![complete(&held[0])], claim: None }).await {
                Ok(done) => return done,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    let done = timeout(SOON, settle).await.unwrap();
    assert_eq!(done.receipts, [Ok(Outcome::State(TaskState::Completed))]);
    assert!(!db.beat(me()).await.unwrap());
    listening(&db).await;
    let other = Options::new(cluster.url()).connect().await.unwrap();
    drain(&db).await;
    let (_, heard) = tokio::join!(commit(&other, vec![enqueue(spec("a"))]), heard(&db));
    assert!(heard);
}

#[tokio::test]
async fn a_dropped_commit_leaves_nothing_open() {
    let schema = cluster::schema();
    let url = format!("{} application_name={schema}", cluster::url());
    let db = Options::new(url).schema(&schema).pool(2).connect().await.unwrap();
    db.migrate().await.unwrap();
    let client = host(&cluster::url()).await;
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = $1 AND state LIKE 'idle in transaction%'";
    let id = TaskId::new();
    for polls in 1..30 {
        let commands = vec![
            enqueue(TaskSpec::new(id, "a", Payload::null())),
            Command::SetCapacity { key: "k".into(), slots: Some(1) },
        ];
        let mut work = db.commit(Batch { commands, claim: None });
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
            while client.query_one(open, &[&schema]).await.unwrap().get::<_, i64>(0) > 0 {}
        };
        timeout(SOON / 4, none).await.expect("no transaction stays open");
    }
    let done = timeout(SOON, commit(&db, vec![Command::Cancel(id)])).await.unwrap();
    assert!(done.receipts.len() == 1);
    dump(&db).await;
}

#[tokio::test]
async fn names_that_need_quotes_are_refused() {
    for name in ["", "Segue", "a-b", "a\"b", "1a", "pg_x", &"x".repeat(41)] {
        let error = Options::new("host=/nowhere").schema(name).connect().await.unwrap_err();
        assert!(error.is_usage(), "{name}: {error}");
    }
    let error = Options::new("host=/nowhere user=x").connect().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
