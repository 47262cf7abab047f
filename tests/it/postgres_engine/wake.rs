//! Wake-ups: what is announced is found at once, and what is not is found by looking.

use std::{collections::BTreeMap, time::Duration};

use segue::{
    Builder, Context, Engine, Failure, NewTask, backend::postgres::enqueue_in, id::TaskId,
    model::TaskState,
};
use tokio::sync::mpsc;

use super::{NEVER, Place, Tally, count, enqueue, outage::cut, soon};
use crate::support::cluster::{self, Cluster};

type Inside = mpsc::UnboundedSender<TaskId>;

/// Says that it has begun, and works until it is told to stop.
async fn endless(context: Context, _: ()) -> Result<(), Failure> {
    let inside = context.host::<Inside>()?;
    inside.send(context.task()).map_err(|_| Failure::new("nobody listens"))?;
    context.stop().cancelled().await;
    Err(Failure::cancelled())
}

async fn double(_: Context, n: u32) -> Result<u32, Failure> {
    Ok(n * 2)
}

/// Finds only what is announced.
fn by_ear(place: &Place) -> Builder {
    Engine::postgres_with(place.options().poll(NEVER)).poll(NEVER)
}

/// Finds only what it looks for.
fn by_eye(place: &Place) -> Builder {
    let options = place.options().listen(false).poll(Duration::from_millis(20));
    Engine::postgres_with(options).poll(NEVER)
}

#[tokio::test]
async fn work_of_another_process_is_found_without_listening() {
    let place = Place::fresh();
    let _worker = by_eye(&place).task("double", double).start().await.unwrap();
    let other = by_eye(&place).connect().await.unwrap();
    for n in 0..20 {
        let task = other.enqueue("double", &n).await.unwrap();
        assert_eq!(soon("it is done", task.output::<u32>()).await.unwrap(), n * 2);
    }
}

#[tokio::test]
async fn a_running_task_is_cancelled_without_listening() {
    let place = Place::fresh();
    let (inside, mut entered) = mpsc::unbounded_channel::<TaskId>();
    let _worker = by_eye(&place).task("endless", endless).host(inside).start().await.unwrap();
    let other = by_eye(&place).connect().await.unwrap();
    let task = other.enqueue("endless", &()).await.unwrap();
    assert_eq!(soon("it begins", entered.recv()).await, Some(task.id()));
    task.cancel().await.unwrap();
    let ended = soon("it is told to stop", task.ended()).await.unwrap();
    assert_eq!(ended.state(), TaskState::Cancelled);
}

#[tokio::test]
async fn a_running_task_is_cancelled_by_another_process_at_once() {
    let place = Place::fresh();
    let (inside, mut entered) = mpsc::unbounded_channel::<TaskId>();
    let _worker = by_ear(&place).task("endless", endless).host(inside).start().await.unwrap();
    let other = by_ear(&place).connect().await.unwrap();
    let task = other.enqueue("endless", &()).await.unwrap();
    assert_eq!(soon("it begins", entered.recv()).await, Some(task.id()));
    task.cancel().await.unwrap();
    let ended = soon("it is told to stop", task.ended()).await.unwrap();
    assert_eq!(ended.state(), TaskState::Cancelled);
}

#[tokio::test]
async fn a_row_that_another_program_inserts_is_picked_up_at_once() {
    let place = Place::fresh();
    let worker = by_ear(&place).task("double", double).start().await.unwrap();
    let sql = place.sql().await;
    for n in 0..10_u32 {
        let insert = "INSERT INTO tasks (project_id, kind, input) VALUES ('p', 'double', $1)
            RETURNING id";
        let row = sql.query_one(insert, &[&n.to_string()]).await.unwrap();
        let id = TaskId::from(row.get::<_, uuid::Uuid>(0));
        let doubled = soon("it is done", worker.task(id).output::<u32>()).await.unwrap();
        assert_eq!(doubled, n * 2);
    }
}

#[tokio::test]
async fn the_psql_program_can_insert_tasks_and_they_are_picked_up_at_once() {
    let place = Place::fresh();
    let worker = by_ear(&place).task("double", double).start().await.unwrap();
    let insert = format!(
        "INSERT INTO {}.tasks (project_id, kind, input) VALUES ('shell', 'double', '21')
            RETURNING id",
        place.schema
    );
    let psql = cluster::psql(&place.url, &insert);
    let id = psql.lines().next().and_then(|line| line.parse::<uuid::Uuid>().ok());
    let task = worker.task(TaskId::from(id.expect("the id of the row")));
    assert_eq!(soon("it is done", task.output::<u32>()).await.unwrap(), 42);
}

/// Whoever was cut off subscribes again, and looks for what it missed.
#[tokio::test]
async fn an_engine_that_was_cut_off_hears_again() {
    let place = Place::fresh();
    let _worker = by_ear(&place).task("double", double).start().await.unwrap();
    let elsewhere = Place { url: format!("{} options=''", place.url), ..place.clone() };
    let other = Engine::postgres_with(
        segue::backend::postgres::Options::new(&elsewhere.url).schema(&place.schema),
    );
    let other = other.connect().await.unwrap();
    let sql = place.sql().await;
    for n in 0..6 {
        assert!(cut(&place, &sql).await > 0);
        // One in the gap, and one after it.
        for n in [n, n + 10] {
            let task = other.enqueue("double", &n).await.unwrap();
            assert_eq!(soon("it is done", task.output::<u32>()).await.unwrap(), n * 2);
        }
    }
}

#[tokio::test]
async fn a_task_of_the_hosts_transaction_exists_when_that_commits() {
    let place = Place::fresh();
    let worker = by_ear(&place).task("double", double).start().await.unwrap();
    let mut sql = place.sql().await;
    sql.batch_execute("CREATE TABLE orders (task uuid)").await.unwrap();
    let mut order = async |n: u32, commit: bool| {
        let tx = sql.transaction().await.unwrap();
        let spec = NewTask::new("double", &n).into_spec().unwrap();
        let id = spec.id;
        enqueue_in(&tx, &place.schema, spec).await.unwrap();
        tx.execute("INSERT INTO orders VALUES ($1)", &[&id.as_uuid()]).await.unwrap();
        match commit {
            true => tx.commit().await.unwrap(),
            false => tx.rollback().await.unwrap(),
        }
        id
    };
    let (undone, done) = (order(1, false).await, order(2, true).await);
    worker.wake();
    assert_eq!(soon("it is done", worker.task(done).output::<u32>()).await.unwrap(), 4);
    assert!(worker.task(undone).view().await.unwrap_err().is_not_found());
    let sql = place.sql().await;
    for table in ["orders", "tasks", "task_states", "unique_keys"] {
        let row = sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), i64::from(table != "unique_keys"), "{table}");
    }
}

/// The commits of those who notify queue behind one lock: so only connections that do nothing
/// else may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_write_never_notify() {
    let cluster = Cluster::start();
    let place = Place::on(cluster.url());
    place.backend().await;
    let sql = place.sql().await;
    sql.batch_execute("ALTER SYSTEM SET log_statement = 'all'").await.unwrap();
    sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let tally = Tally::default();
    let builder = place.builder().task("count", count).host(tally.clone());
    let worker = builder.start().await.unwrap();
    let other = place.builder().connect().await.unwrap();
    enqueue(&other, "count", 200).await;
    place.all_done(200).await;
    worker.shutdown().await.unwrap();

    let said = statements(&cluster.log());
    let of = |word: &'static str| {
        said.values().filter(move |all| all.iter().any(|one| one.contains(word)))
    };
    assert!(of("INSERT INTO task_attempts").count() > 0, "no commit was logged");
    assert!(of("pg_notify").count() > 0, "nobody was told");
    for all in of("pg_notify") {
        let harmless = ["pg_notify($1::text", "synchronous_commit", "LISTEN"];
        let others = all.iter().filter(|one| !harmless.iter().any(|word| one.contains(word)));
        assert_eq!(others.collect::<Vec<_>>(), [""; 0], "beside a notification");
    }
}

/// The statements of each process of the server, from its log.
fn statements(log: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    let mut last: Option<(String, String)> = None;
    for line in log.lines().chain(["[end]"]) {
        if let Some((_, text)) = last.as_mut().filter(|_| line.starts_with('\t')) {
            text.push_str(line);
            continue;
        }
        if let Some((pid, text)) = last.take() {
            all.entry(pid).or_default().push(text);
        }
        let is_statement = line.contains("LOG:  execute") || line.contains("LOG:  statement");
        let pid = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        last = pid.filter(|_| is_statement).map(|(pid, text)| (pid.to_owned(), text.to_owned()));
    }
    all
}
