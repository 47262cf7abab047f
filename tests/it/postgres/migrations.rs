//! Migrations: at once, of older and newer databases, and ones that fail.

use super::*;

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
    assert!(refused.is_migration() && refused.to_string().contains("99"), "{refused}");
    assert!(refused.to_string().contains("knows 3"), "{refused}");
    let moved_on = |error: Error| assert!(error.is_schema_moved_on(), "{error}");
    moved_on(
        db.commit(Batch { commands: vec![enqueue(spec("a"))], claim: None }).await.unwrap_err(),
    );
    moved_on(
        db.commit(Batch { commands: vec![], claim: Some(claim(1, 1, &[])) }).await.unwrap_err(),
    );
    let never = Timestamp::ZERO;
    let prune = Prune { tasks_before: never, runs_before: never, entries_before: never, limit: 1 };
    moved_on(db.prune(&prune).await.unwrap_err());
    assert!(dump(&db).await.specs.is_empty());
}

#[tokio::test]
async fn an_older_schema_is_copied_before_it_is_migrated() {
    let db = options().connect().await.unwrap();
    let schema = db.schema().to_owned();
    let first = include_str!("../../../migrations/postgres/V1__tasks.sql");
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
        .batch_execute(&format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.flow_steps ()"))
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
