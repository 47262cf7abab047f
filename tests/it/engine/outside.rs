//! Work that comes in from outside: the host's own transactions, and other programs.

use std::{future::IntoFuture, process::Command};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use segue::{
    Context, Failure, Flow, NewTask, Waiting,
    backend::sqlite::enqueue_in,
    clock::Clock,
    id::TaskId,
    model::{self, Batch, Decision, ItemKind, Needs, Outcome, Payload, Retry, Settle, TaskState},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{Probe, Store, eventually, hold, note};

on_sqlite!(
    a_task_of_the_hosts_transaction_exists_when_that_commits,
    a_row_that_another_program_inserts_is_adopted_and_run,
    a_row_that_carries_everything_is_run_as_it_says,
    a_row_with_invalid_options_fails_in_the_inbox,
    labels_of_a_row_are_an_object_and_its_strings_are_labels,
    a_row_with_a_taken_unique_key_is_cancelled,
    rows_that_were_inserted_while_nothing_ran_are_adopted_at_the_start,
    the_sqlite_program_can_insert_tasks,
    a_pending_row_shows_in_views_before_it_is_adopted,
    no_commit_fails_beside_a_program_that_writes_now_and_then,
    rows_that_make_no_sense_fail_their_own_commit_and_the_engine_goes_on,
);

fn open(store: &Store) -> Connection {
    let conn = Connection::open(store.path()).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    conn
}

/// A transaction that waits for its turn to write at its beginning. One that reads first
/// can't begin to write when another has written meanwhile.
fn immediate(conn: &mut Connection) -> Transaction<'_> {
    conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap()
}

async fn a_task_of_the_hosts_transaction_exists_when_that_commits(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let mut conn = open(&store);
    conn.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, task BLOB)").unwrap();
    let mut order = |text: &str, commit: bool| {
        let tx = immediate(&mut conn);
        let spec = NewTask::new("note", text).into_spec().unwrap();
        let id = spec.id;
        let outcome = enqueue_in(&tx, spec).unwrap();
        assert_eq!(outcome, Outcome::Task { id, created: true });
        let blob = id.as_uuid().into_bytes();
        tx.execute("INSERT INTO orders (task) VALUES (?1)", [blob]).unwrap();
        match commit {
            true => tx.commit().unwrap(),
            false => tx.rollback().unwrap(),
        }
        id
    };
    let undone = order("undone", false);
    let done = order("done", true);
    engine.wake();
    engine.task(done).ended().await.unwrap();
    assert!(engine.task(undone).view().await.unwrap_err().is_not_found());
    assert_eq!(probe.log(), ["done"]);
    let tx = immediate(&mut conn);
    let spec = NewTask::new("note", "").meta(&"x".repeat(5_000)).into_spec().unwrap();
    assert!(enqueue_in(&tx, spec).unwrap_err().rejection().is_some());
    tx.commit().unwrap();
    assert_eq!(engine.stats().await.unwrap().tasks[&TaskState::Completed], 1);
}

/// Inserts a task as another program would, and returns its id.
fn insert(conn: &Connection, kind: &str, input: &str) -> TaskId {
    let sql = "INSERT INTO segue_tasks (project_id, kind, input) VALUES ('p', ?1, ?2)
        RETURNING id";
    let id: [u8; 16] = conn.query_row(sql, params![kind, input], |row| row.get(0)).unwrap();
    uuid::Uuid::from_bytes(id).into()
}

fn now_ms() -> u64 {
    chrono::Utc::now().timestamp_millis().try_into().unwrap()
}

async fn a_row_that_another_program_inserts_is_adopted_and_run(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let conn = open(&store);
    let before = now_ms();
    let json = insert(&conn, "note", r#"{"a": 1}"#);
    let words = insert(&conn, "note", "plain words");
    let after = now_ms();
    for id in [json, words] {
        let (seconds, nanos) = id.as_uuid().get_timestamp().unwrap().to_unix();
        let made = seconds * 1000 + u64::from(nanos) / 1_000_000;
        assert!((before..=after).contains(&made), "ids that the table makes carry their time");
    }
    assert_eq!(engine.task(json).output::<Value>().await.unwrap(), json!({"a": 1}));
    let output = engine.task(words).output::<String>().await.unwrap();
    assert_eq!(output, "plain words", "what is not JSON is one string");
    let view = engine.task(json).view().await.unwrap();
    assert_eq!(view.spec.project, "p");
}

async fn a_row_that_carries_everything_is_run_as_it_says(store: Store) {
    async fn flaky(context: Context, _: Value) -> Result<String, Failure> {
        match context.attempt() {
            1 => Err(Failure::new("no")),
            _ => Ok(context.spec().labels["who"].clone()),
        }
    }
    let builder = store.builder().task("flaky", flaky).tag("gpu").capacity("k", 1);
    let engine = builder.start().await.unwrap();
    let conn = open(&store);
    let options = json!({
        "retry": {"attempts_max": 2, "delay_ms": 1}, "timeout_ms": 60_000,
        "tags": ["gpu"], "capacity": ["k"],
    });
    let id = TaskId::new();
    conn.execute(
        "INSERT INTO segue_tasks (id, project_id, kind, input, priority, unique_key, options,
            labels, meta) VALUES (?1, 'p', 'flaky', 'null', -3, 'u', ?2, '{\"who\":\"Ada\"}', '7')",
        params![id.as_uuid().into_bytes(), options.to_string()],
    )
    .unwrap();
    assert_eq!(engine.task(id).output::<String>().await.unwrap(), "Ada");
    let again = NewTask::new("flaky", &()).project("p").unique("u");
    assert_eq!(engine.submit(again).await.unwrap().id(), id);
}

async fn a_row_with_invalid_options_fails_in_the_inbox(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let conn = open(&store);
    for options in ["{", r#"{"retries": 3}"#, r#"{"tags": [""]}"#] {
        let id = TaskId::new();
        conn.execute(
            "INSERT INTO segue_tasks (id, project_id, kind, input, options)
                VALUES (?1, 'p', 'note', '1', ?2)",
            params![id.as_uuid().into_bytes(), options],
        )
        .unwrap();
        let view = engine.task(id).ended().await.unwrap();
        assert_eq!(view.state(), TaskState::Failed, "{options}");
        let items = engine.inbox(Some("p"), 10).await.unwrap();
        let item = items.iter().find(|item| item.task == id).unwrap();
        assert_eq!(item.kind, ItemKind::Failure);
        assert!(item.body.as_str().len() > 20, "it says why: {}", item.body);
    }
}

async fn labels_of_a_row_are_an_object_and_its_strings_are_labels(store: Store) {
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    let conn = open(&store);
    let insert = |labels: &str| {
        let sql = "INSERT INTO segue_tasks (project_id, kind, input, labels)
            VALUES ('p', 'note', '1', ?1) RETURNING id";
        let id = conn.query_row(sql, [labels], |row| row.get::<_, [u8; 16]>(0))?;
        Ok::<_, rusqlite::Error>(TaskId::from(uuid::Uuid::from_bytes(id)))
    };
    for wrong in ["[\"who\"]", "\"who\"", "7", "who", ""] {
        assert!(insert(wrong).is_err(), "{wrong}");
    }
    let id = insert(r#"{"who": "Ada", "n": 7, "on": true, "of": {"who": "x"}}"#).unwrap();
    let view = engine.task(id).ended().await.unwrap();
    assert_eq!(view.spec.labels, [("who".to_owned(), "Ada".to_owned())].into());
    let labels = [("who", "Ada", 1), ("n", "7", 0), ("on", "1", 0), ("of", r#"{"who":"x"}"#, 0)];
    for (name, value, expected) in labels {
        let label = Some((name.to_owned(), value.to_owned()));
        let filter = model::TaskFilter { label, ..Default::default() };
        let found = engine.tasks(filter, None, 10).await.unwrap();
        assert_eq!(found.len(), expected, "{name}");
    }
}

async fn a_row_with_a_taken_unique_key_is_cancelled(store: Store) {
    let probe = Probe::default();
    let builder = store.builder().task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let first = NewTask::new("note", "first").project("p").unique("u");
    let first = engine.submit(first).await.unwrap();
    first.ended().await.unwrap();
    let (conn, id) = (open(&store), TaskId::new());
    conn.execute(
        "INSERT INTO segue_tasks (id, project_id, kind, input, unique_key)
            VALUES (?1, 'p', 'note', 'second', 'u')",
        [id.as_uuid().into_bytes()],
    )
    .unwrap();
    let second = engine.task(id).ended().await.unwrap();
    assert_eq!(second.state(), TaskState::Cancelled);
    assert_eq!(probe.log(), ["first"]);
}

async fn rows_that_were_inserted_while_nothing_ran_are_adopted_at_the_start(store: Store) {
    store.builder().start().await.unwrap().shutdown().await.unwrap();
    let mut conn = open(&store);
    let tx = conn.transaction().unwrap();
    for n in 0..1_200 {
        insert(&tx, "note", &n.to_string());
    }
    tx.commit().unwrap();
    let probe = Probe::default();
    let builder = store.builder().task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    assert_eq!(engine.repaired().adopted, 1_200);
    engine.run_until_idle().await.unwrap();
    assert_eq!(probe.log().len(), 1_200);
}

async fn the_sqlite_program_can_insert_tasks(store: Store) {
    let version = Command::new("sqlite3").arg("--version").output();
    let version = version.expect("this test needs the sqlite3 program; install it");
    let builder = store.builder().task("note", note).host(Probe::default());
    let engine = builder.start().await.unwrap();
    // 3.41 brought what makes the default id; older programs give one.
    let version = String::from_utf8(version.stdout).unwrap();
    let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
    let (column, value) = match minor {
        ..41 => ("id, ", "randomblob(16), "),
        _ => ("", ""),
    };
    let sql = format!(
        "INSERT INTO segue_tasks ({column}project_id, kind, input)
            VALUES ({value}'shell', 'note', 'from a shell')"
    );
    let done = Command::new("sqlite3")
        .args(["-cmd", ".timeout 5000"])
        .arg(store.path())
        .arg(sql)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let filter = || segue::model::TaskFilter {
        project: Some("shell".into()),
        states: vec![TaskState::Completed],
        ..Default::default()
    };
    eventually("it has run", || async {
        engine.tasks(filter(), None, 1).await.unwrap().len() == 1
    })
    .await;
}

async fn a_pending_row_shows_in_views_before_it_is_adopted(store: Store) {
    store.builder().start().await.unwrap().shutdown().await.unwrap();
    let id = insert(&open(&store), "note", "x");
    let reader = store.builder().connect().await.unwrap();
    assert_eq!(reader.task(id).view().await.unwrap().state(), TaskState::Pending);
    assert_eq!(reader.task(id).why().await.unwrap(), Waiting::Adoption);
    assert_eq!(reader.stats().await.unwrap().tasks[&TaskState::Pending], 1);
    let all = reader.tasks(Default::default(), None, 10).await.unwrap();
    assert_eq!(all.len(), 1);
}

async fn no_commit_fails_beside_a_program_that_writes_now_and_then(store: Store) {
    let backend = store.backend(Clock::System).await;
    let (conn, stop) = (open(&store), CancellationToken::new());
    let writes = std::thread::spawn({
        let stop = stop.clone();
        move || {
            conn.execute_batch("CREATE TABLE own (n)").unwrap();
            while !stop.is_cancelled() {
                conn.execute("INSERT INTO own (n) VALUES (1)", []).unwrap();
                // One that never rests would starve everyone: SQLite knows no queue.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    });
    for n in 0..300 {
        // The backend itself: an engine would try again, and nobody would see it.
        let spec = NewTask::new("nobody", &n).into_spec().unwrap();
        let batch = Batch { commands: vec![model::Command::Enqueue(Box::new(spec))], claim: None };
        backend.commit(batch).await.unwrap();
    }
    stop.cancel();
    writes.join().unwrap();
}

/// The rules take it for granted that a step has a run. Where someone took it away they panic,
/// which is no reason for the thread that writes to end.
async fn rows_that_make_no_sense_fail_their_own_commit_and_the_engine_goes_on(store: Store) {
    let probe = Probe::default();
    let mut draft = Flow::new("one");
    let input = draft.input::<Value>();
    let held = draft.code("held", input, hold);
    let flow = draft.returns(input, held);
    let builder = store.builder().flow(&flow).task("note", note).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let run = engine.launch(&flow, json!(1)).await.unwrap();
    probe.arrived(1).await;
    let task = run.steps().await.unwrap()[0].task.unwrap();
    let sql = |text: &str| open(&store).execute_batch(text).unwrap();
    sql("PRAGMA foreign_keys = OFF; CREATE TABLE kept AS SELECT * FROM segue_flow_run_states;
        DELETE FROM segue_flow_run_states");
    let needs = Needs { tasks: [task].into(), ..Needs::default() };
    let held = engine.backend().read(&needs).await.unwrap().tasks.remove(&task).unwrap();
    let decision = Decision::Complete(Payload::null());
    let settle = Settle {
        held,
        retry: Retry::NEVER,
        decision,
        usage: None,
        said: None,
        grow: None,
        memo: None,
        turn: None,
    };
    let commands = vec![model::Command::Settle(Box::new(settle))];
    let failed = engine.backend().commit(Batch { commands, claim: None }).await.unwrap_err();
    assert!(failed.is_bug() && !failed.is_transient(), "{failed}");
    probe.let_go(1);
    probe.left(1).await;
    let notes = (0..20).map(|n| engine.enqueue("note", &n).into_future());
    for task in futures_util::future::join_all(notes).await {
        task.unwrap().output::<Value>().await.unwrap();
    }
    sql("INSERT INTO segue_flow_run_states SELECT * FROM kept; DROP TABLE kept");
    assert_eq!(engine.task(task).view().await.unwrap().state(), TaskState::Running);
    engine.shutdown().await.unwrap();
}
