//! Rows that another program inserts.

use super::*;

#[tokio::test]
async fn labels_of_a_row_are_an_object_of_strings() {
    let db = fresh_schema(ManualClock::default()).await;
    let other = sql(&db).await;
    let insert = async |labels: &str| {
        let text = "INSERT INTO tasks (project_id, kind, input, labels) VALUES ('p', 'a', '1', $1)";
        other.execute(text, &[&labels]).await
    };
    let wrong = [
        "[\"who\"]",
        "\"who\"",
        "7",
        "who",
        "",
        r#"{"who": 7}"#,
        r#"{"who": {"a": "b"}}"#,
        r#"{"who": "a\u0000"}"#,
    ];
    for labels in wrong {
        assert!(insert(labels).await.is_err(), "{labels}");
    }
    insert(r#"{"who": "Ada"}"#).await.unwrap();
    insert("{}").await.unwrap();
    let label = Some(("who".to_owned(), "Ada".to_owned()));
    let filter = TaskFilter { label, ..TaskFilter::default() };
    let query = Query::Tasks { filter, after: None, limit: 9 };
    let Page::Tasks(found) = db.list(&query).await.unwrap() else { panic!("another list") };
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].spec.labels["who"], "Ada");
}

/// Pages are cut by comparing names, and the host's collation may differ from the engine's order.
#[tokio::test]
async fn capacity_keys_come_in_the_order_of_their_bytes_under_any_collation() {
    let db = fresh_schema(ManualClock::default()).await;
    let other = sql(&db).await;
    let collate = "ALTER TABLE capacity_keys ALTER name TYPE text COLLATE \"en-x-icu\"";
    other.batch_execute(collate).await.unwrap();
    let set = |key: &str| Command::SetCapacity { key: key.into(), slots: Some(1) };
    commit(&db, ["a", "B", "c"].map(set).into()).await;
    let list = async |after: Option<&str>| {
        let query = Query::Capacity { key: None, after: after.map(str::to_owned), limit: 2 };
        let Page::Capacity(keys) = db.list(&query).await.unwrap() else { panic!("another list") };
        keys.into_iter().map(|view| view.key.name).collect::<Vec<_>>()
    };
    assert_eq!(list(None).await, ["B", "a"]);
    assert_eq!(list(Some("a")).await, ["c"]);
}
