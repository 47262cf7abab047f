//! Enqueuing in the host's own transaction.

use super::*;

#[tokio::test]
async fn a_host_enqueues_in_its_own_transaction() {
    let db = fresh_schema(ManualClock::default()).await;
    let mut client = host(&cluster::url()).await;
    let before = client.query_one("SHOW search_path", &[]).await.unwrap().get::<_, String>(0);

    let gone = client.transaction().await.unwrap();
    enqueue_in(&gone, db.schema(), spec("a")).await.unwrap();
    gone.rollback().await.unwrap();

    let kept = client.transaction().await.unwrap();
    let unique = TaskSpec { unique_key: Some("k".into()), ..spec("a") };
    let made = enqueue_in(&kept, db.schema(), unique.clone()).await.unwrap();
    assert_eq!(made, Outcome::Task { id: unique.id, created: true });
    let second = TaskSpec { id: TaskId::new(), ..unique.clone() };
    let made = enqueue_in(&kept, db.schema(), second).await.unwrap();
    assert_eq!(made, Outcome::Task { id: unique.id, created: false });
    let refused = enqueue_in(&kept, db.schema(), spec("")).await.unwrap_err();
    assert!(refused.rejection().is_some());
    let missing = enqueue_in(&kept, "no_such_schema", spec("a")).await.unwrap_err();
    assert!(!missing.is_transient(), "{missing}");
    let path: String = kept.query_one("SHOW search_path", &[]).await.unwrap().get(0);
    assert_eq!(path, before);
    kept.commit().await.unwrap();
    assert_eq!(dump(&db).await.tasks.keys().copied().collect::<Vec<_>>(), [unique.id]);
}
