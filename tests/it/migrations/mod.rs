//! Older, newer, fresh and foreign databases: what a program may do to tables that are not its
//! own version's. Each test runs on both databases.

#![cfg(all(feature = "sqlite", feature = "postgres"))]

mod place;

use segue::{
    Context, Error, Failure,
    clock::Clock,
    model::{Needs, Stream, TaskState, audit},
};
use serde_json::Value;

use place::{Kind, Place, first_task};

/// The version of this program's tables.
const NEWEST: usize = 3;

/// Makes a test of each function, for each database.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Place::new(super::Kind::Sqlite)).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Place::new(super::Kind::Postgres)).await;
            })+
        }
    };
}

on_both!(
    an_older_database_keeps_its_rows_and_is_copied_before,
    what_an_older_database_holds_is_worked_on,
    each_older_version_is_brought_up_to_date,
    a_copy_never_takes_the_place_of_another,
    who_come_at_once_migrate_an_older_database_once,
    who_come_at_once_migrate_a_fresh_database_once,
    a_table_in_the_way_of_a_migration_leaves_everything_as_it_was,
    a_view_in_the_way_of_a_migration_leaves_everything_as_it_was,
    a_newer_database_is_refused_unchanged,
    a_connection_to_an_older_database_is_refused_and_changes_nothing,
    a_connection_to_an_empty_database_is_refused_and_makes_no_table,
    an_open_engine_stops_when_a_newer_program_has_moved_the_tables_on,
    a_running_task_is_not_settled_in_the_tables_of_a_newer_program,
    a_connection_reports_that_a_newer_program_has_moved_the_tables_on,
    tables_of_the_host_are_left_alone,
    migrations_of_another_program_are_not_built_on,
);

async fn echo(_: Context, input: Value) -> Result<Value, Failure> {
    Ok(input)
}

/// The copy is complete when it has every row of every table that there was.
async fn an_older_database_keeps_its_rows_and_is_copied_before(place: Place) {
    place.make_older().await;
    let before = place.dump().await;
    place.migrate().await.unwrap();
    let (after, copy) = (place.dump().await, place.copy("v1").dump().await);
    for (table, rows) in &before.rows {
        assert_eq!(copy.rows.get(table), Some(rows), "{table} in the copy");
        if !["meta", "schema_history"].contains(&table.as_str()) {
            let rows = place.grown(table, rows);
            assert_eq!(after.rows.get(table), Some(&rows), "{table}");
        }
    }
    assert_eq!(copy.rows.len(), before.rows.len());
    assert!(after.rows.contains_key("flow_steps"));
    assert!(!before.rows["messages"].is_empty() && !before.rows["tasks"].is_empty());
}

async fn what_an_older_database_holds_is_worked_on(place: Place) {
    place.make_older().await;
    let engine = place.builder().task("echo", echo).start().await.unwrap();
    assert_eq!(engine.task(first_task()).output::<String>().await.unwrap(), "old");
    let rows = place.backend(Clock::System).await.read(&Needs::everything()).await.unwrap();
    assert_eq!(audit(&rows), []);
}

async fn each_older_version_is_brought_up_to_date(place: Place) {
    for version in 1..NEWEST {
        let place = place.another();
        place.make_version(version as u32).await;
        let engine = place.builder().task("echo", echo).start().await.unwrap();
        assert_eq!(engine.task(first_task()).output::<String>().await.unwrap(), "old");
        engine.shutdown().await.unwrap();
        assert_eq!(place.dump().await.rows["schema_history"].len(), NEWEST);
        let copied = place.copy(&format!("v{version}")).dump().await;
        assert_eq!(copied.rows["schema_history"].len(), version);
    }
}

async fn a_copy_never_takes_the_place_of_another(place: Place) {
    place.make_older().await;
    let copy = place.copy("v1");
    copy.occupy().await;
    let before = copy.dump().await;
    place.migrate().await.unwrap();
    assert_eq!(copy.dump().await, before);
    assert!(!place.copy(place.second()).dump().await.rows["messages"].is_empty());
}

async fn who_come_at_once_migrate_an_older_database_once(place: Place) {
    place.make_older().await;
    let (one, two, three) = tokio::join!(place.migrate(), place.migrate(), place.migrate());
    [one, two, three].into_iter().for_each(|done| done.unwrap());
    assert!(place.copy("v1").exists().await);
    assert!(!place.copy(place.second()).exists().await, "a copy for each");
    assert_eq!(place.dump().await.rows["schema_history"].len(), NEWEST);
}

async fn who_come_at_once_migrate_a_fresh_database_once(place: Place) {
    let start = || place.builder().start();
    let (one, two, three) = tokio::join!(start(), start(), start());
    for engine in [one, two, three] {
        engine.unwrap().shutdown().await.unwrap();
    }
    assert_eq!(place.dump().await.rows["schema_history"].len(), NEWEST);
    assert!(!place.copy("v0").exists().await, "there was nothing to copy");
}

async fn a_table_in_the_way_of_a_migration_leaves_everything_as_it_was(place: Place) {
    in_the_way(place, "TABLE", "(mine integer)").await;
}

async fn a_view_in_the_way_of_a_migration_leaves_everything_as_it_was(place: Place) {
    in_the_way(place, "VIEW", "AS SELECT 1 AS mine").await;
}

/// What is in the way of the second migration: of an older database, and of an empty one.
async fn in_the_way(place: Place, what: &str, definition: &str) {
    for older in [false, true] {
        if older {
            place.execute(&format!("DROP {what} {}flow_edges", place.prefix())).await;
            place.make_older().await;
        }
        place.execute(&format!("CREATE {what} {}flow_edges {definition}", place.prefix())).await;
        let before = place.dump().await;
        for _ in 0..2 {
            let refused = place.builder().start().await.unwrap_err();
            assert!(refused.is_migration(), "{refused}");
            let text = refused.to_string();
            let why = ["flow_edges", "already exists", "is as it was", "start again"];
            assert!(why.iter().all(|part| text.contains(part)), "{text}");
            assert_eq!(place.dump().await, before);
            assert!(!place.copy("v1").exists().await, "a copy at each failure fills the disk");
        }
    }
    place.execute(&format!("DROP {what} {}flow_edges", place.prefix())).await;
    place.migrate().await.unwrap();
}

async fn a_newer_database_is_refused_unchanged(place: Place) {
    place.migrate().await.unwrap();
    place.execute(place.move_on()).await;
    let before = place.image().await;
    for refused in [
        place.builder().start().await.unwrap_err(),
        place.builder().connect().await.unwrap_err(),
        place.migrate().await.unwrap_err(),
    ] {
        assert!(refused.is_migration(), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("99") && text.contains(&NEWEST.to_string()), "{text}");
        assert_eq!(place.image().await, before);
    }
}

async fn a_connection_to_an_older_database_is_refused_and_changes_nothing(place: Place) {
    place.make_older().await;
    let before = place.image().await;
    let refused = place.builder().connect().await.unwrap_err();
    assert!(refused.is_migration(), "{refused}");
    let text = refused.to_string();
    let why = ["1,".to_owned(), format!("needs {NEWEST}"), "start an engine".to_owned()];
    assert!(why.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(place.image().await, before);
}

async fn a_connection_to_an_empty_database_is_refused_and_makes_no_table(place: Place) {
    let refused = place.builder().connect().await.unwrap_err();
    assert!(refused.is_migration() || refused.is_usage(), "{refused}");
    assert!(refused.to_string().contains("start an engine"), "{refused}");
    assert_eq!(place.dump().await, place::Dump::default());
}

fn moved_on<T>(result: Result<T, Error>) {
    let Err(error) = result else { panic!("it was written to a newer program's tables") };
    assert!(error.is_schema_moved_on(), "{error}");
}

async fn an_open_engine_stops_when_a_newer_program_has_moved_the_tables_on(place: Place) {
    let builder = || place.builder().task("echo", echo);
    let engine = builder().start().await.unwrap();
    engine.enqueue("echo", &1).await.unwrap().ended().await.unwrap();
    let waits = engine.enqueue("nobody", &2).await.unwrap();
    let backend = place.backend(Clock::System).await;
    place.execute(place.raise_writer_min()).await;
    let before = place.dump().await.without_beats();
    let mut watch = engine.watch(Stream::All);
    moved_on(engine.enqueue("echo", &3).await);
    moved_on(waits.cancel().await);
    moved_on(backend.commit(place::enqueue_echo()).await);
    moved_on(backend.commit(place::claim_echo()).await);
    moved_on(backend.prune(&place::prune_all()).await);
    engine.pause();
    engine.resume();
    moved_on(waits.ended().await);
    moved_on(engine.run_until_idle().await);
    moved_on(watch.next().await);
    moved_on(builder().start().await);
    assert_eq!(place.dump().await.without_beats(), before);
}

async fn a_running_task_is_not_settled_in_the_tables_of_a_newer_program(place: Place) {
    let probe = place::Probe::default();
    let hold = async |context: Context, _: Value| {
        let probe = context.host::<place::Probe>()?;
        probe.entered.add_permits(1);
        drop(probe.leave.acquire().await);
        Ok::<_, Failure>(())
    };
    let engine = place.builder().task("hold", hold).host(probe.clone()).start().await.unwrap();
    let task = engine.enqueue("hold", &()).await.unwrap();
    drop(probe.entered.acquire().await);
    place.execute(place.raise_writer_min()).await;
    let before = place.dump().await.without_beats();
    probe.leave.add_permits(1);
    moved_on(task.ended().await);
    moved_on(engine.enqueue("hold", &()).await);
    assert_eq!(place.dump().await.without_beats(), before);
    let backend = place.backend(Clock::System).await;
    let rows = backend.read(&Needs::everything()).await.unwrap();
    assert_eq!(rows.tasks[&task.id()].phase.state(), TaskState::Running);
}

async fn a_connection_reports_that_a_newer_program_has_moved_the_tables_on(place: Place) {
    place.migrate().await.unwrap();
    let engine = place.builder().connect().await.unwrap();
    let task = engine.enqueue("nobody", &()).await.unwrap();
    place.execute(place.raise_writer_min()).await;
    let before = place.dump().await;
    moved_on(engine.enqueue("nobody", &()).await);
    moved_on(task.cancel().await);
    moved_on(task.pause().await);
    assert_eq!(task.view().await.unwrap().state(), TaskState::Pending, "reading may work");
    assert_eq!(place.dump().await, before);
}

async fn tables_of_the_host_are_left_alone(place: Place) {
    place.execute("CREATE TABLE orders (id integer PRIMARY KEY, what text)").await;
    place.execute("CREATE INDEX orders_by_what ON orders (what)").await;
    place.execute("CREATE VIEW ordered AS SELECT what FROM orders").await;
    place.execute("INSERT INTO orders VALUES (1, 'tea'), (2, 'milk')").await;
    place.make_older().await;
    let engine = place.builder().task("echo", echo).start().await.unwrap();
    engine.enqueue("echo", &1).await.unwrap().ended().await.unwrap();
    engine.shutdown().await.unwrap();
    place.execute("UPDATE orders SET what = 'coffee' WHERE id = 1").await;
    let (after, copy) = (place.dump().await, place.copy("v1").dump().await);
    assert!(after.definitions.iter().any(|line| line.contains("orders_by_what")));
    assert!(after.rows["orders"].iter().any(|row| row.contains("coffee")));
    assert!(copy.rows["orders"].iter().any(|row| row.contains("tea")));
    assert_eq!(after.rows["orders"].len(), 2);
}

async fn migrations_of_another_program_are_not_built_on(place: Place) {
    place.make_older().await;
    place.execute("UPDATE segue_schema_history SET checksum = '7'").await;
    let before = place.image().await;
    let refused = place.builder().start().await.unwrap_err();
    assert!(refused.is_migration() && refused.to_string().contains("not the one"), "{refused}");
    assert_eq!(place.image().await, before);
    assert!(!place.copy("v1").exists().await);
}
