//! What others do to the tables and rows at the same time is never shown to the host.

use segue::{
    Context, Failure,
    backend::Backend,
    id::TaskId,
    model::{Batch, Command, Outcome, Payload, TaskSpec, TaskState},
};

use super::{Place, Tally, count, done, enqueue, eventually, soon};

/// Statements that were prepared before the change fail after it, once on each connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_change_under_prepared_statements_disturb_nobody() {
    let place = Place::fresh();
    let (tally, backend) = (Tally::default(), place.backend().await);
    let builder = place.builder().task("count", count).host(tally.clone());
    let engine = builder.start().await.unwrap();
    let work = tokio::spawn({
        let engine = engine.clone();
        async move { enqueue(&engine, "count", 600).await }
    });
    let sql = place.sql().await;
    for (at, change) in [
        (50, "ALTER TABLE tasks ALTER COLUMN options TYPE varchar"),
        (150, "ALTER TABLE task_states ADD COLUMN note text"),
        (250, "ALTER TABLE tasks ALTER COLUMN options TYPE text"),
        (350, "ALTER TABLE tasks ALTER COLUMN unique_key TYPE varchar"),
    ] {
        eventually("some are done", async || done(&backend).await >= at).await;
        sql.batch_execute(change).await.unwrap();
        let task = engine.enqueue("count", &1).await.unwrap();
        task.ended().await.unwrap();
        backend.due(segue::id::InstanceId::new(), 10).await.unwrap();
    }
    work.await.unwrap();
    place.all_done(604).await;
    tally.is_once_each(604);
}

/// A trigger that fails the first times, whatever transaction it is in.
const FAIL_TWICE: &str = "CREATE SEQUENCE tries;
    CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'in the way' USING ERRCODE = TG_ARGV[0];
        END IF;
        RETURN NEW;
    END $$";

#[tokio::test]
async fn transactions_that_lost_a_race_are_tried_again() {
    // Serialization failure, deadlock, lock not available, and two that insert the same.
    for code in ["40001", "40P01", "55P03", "23505", "23503"] {
        for table in ["tasks", "task_attempts"] {
            let place = Place::fresh();
            let tally = Tally::default();
            let builder = place.builder().task("count", count).host(tally.clone());
            let engine = builder.start().await.unwrap();
            let sql = place.sql().await;
            let path = format!("ALTER FUNCTION fail_twice SET search_path = {}", place.schema);
            let trigger = format!(
                "CREATE TRIGGER fail BEFORE INSERT ON {table}
                 FOR EACH ROW EXECUTE FUNCTION fail_twice('{code}')"
            );
            sql.batch_execute(&[FAIL_TWICE, &path, &trigger].join(";")).await.unwrap();
            let task = engine.enqueue("count", &1).await.unwrap();
            let ended = soon("it is done", task.ended()).await.unwrap();
            assert_eq!(ended.state(), TaskState::Completed, "{code} at {table}");
            let tries = sql.query_one("SELECT last_value FROM tries", &[]).await.unwrap();
            assert_eq!(tries.get::<_, i64>(0), 3, "{code} at {table}");
            tally.is_once_each(1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_with_another_program_is_resolved_and_the_commit_carried_out() {
    let place = Place::fresh();
    let backend = place.backend().await;
    let mut ids = [TaskId::new(), TaskId::new()];
    ids.sort();
    let enqueue = |id| Command::Enqueue(Box::new(TaskSpec::new(id, "a", Payload::null())));
    let commands = ids.into_iter().map(enqueue).collect();
    backend.commit(Batch { commands, claim: None }).await.unwrap();
    let mut sql = place.sql().await;
    // The other side waits for longer, so that it is not the one that is told.
    sql.batch_execute("SET deadlock_timeout = '60s'").await.unwrap();
    let lock = "SELECT FROM task_states WHERE id = $1 FOR UPDATE";
    let tx = sql.transaction().await.unwrap();
    tx.execute(lock, &[&ids[1].as_uuid()]).await.unwrap();
    let commands = ids.into_iter().map(Command::Cancel).collect();
    let cancel = tokio::spawn(async move { backend.commit(Batch { commands, claim: None }).await });
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = $1 AND wait_event_type = 'Lock'";
    eventually("it waits for the other", async || {
        tx.query_one(waits, &[&place.schema]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    soon("the other gets its lock", tx.execute(lock, &[&ids[0].as_uuid()])).await.unwrap();
    tx.commit().await.unwrap();
    let done = soon("it is carried out", cancel).await.unwrap().unwrap();
    assert_eq!(done.receipts, vec![Ok(Outcome::State(TaskState::Cancelled)); 2]);
}

/// A host that takes its time over its own rows holds up nobody else's tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_another_program_holds_on_a_ready_task_hides_no_other() {
    async fn echo(_: Context, n: u32) -> Result<u32, Failure> {
        Ok(n)
    }
    let place = Place::fresh();
    let backend = place.backend().await;
    let id = TaskId::new();
    let command = Command::Enqueue(Box::new(TaskSpec::new(id, "echo", Payload::of(&7).unwrap())));
    backend.commit(Batch { commands: vec![command], claim: None }).await.unwrap();
    let mut sql = place.sql().await;
    let tx = sql.transaction().await.unwrap();
    let lock = "SELECT FROM task_states WHERE id = $1 FOR UPDATE";
    tx.execute(lock, &[&id.as_uuid()]).await.unwrap();
    let engine = place.builder().task("echo", echo).start().await.unwrap();
    for n in 0..10 {
        let task = engine.enqueue("echo", &n).await.unwrap();
        assert_eq!(soon("it is done", task.output::<u32>()).await.unwrap(), n);
    }
    assert_eq!(engine.task(id).view().await.unwrap().state(), TaskState::Pending);
    tx.rollback().await.unwrap();
    assert_eq!(soon("the freed one is done", engine.task(id).output::<u32>()).await.unwrap(), 7);
}

/// The rules take it for granted that a step has a run: where someone took it away they panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_make_no_sense_fail_their_own_commit_and_the_connection_is_used_again() {
    let place = Place::fresh();
    let backend = place.backend().await;
    let mut draft = segue::Flow::new("one");
    let input = draft.input::<u32>();
    let step = draft.code("step", input, async |_, n: u32| Ok(n));
    let flow = draft.returns(input, step);
    let engine = place.builder().flow(&flow).task("count", count).host(Tally::default());
    let engine = engine.paused().start().await.unwrap();
    let run = engine.launch(&flow, 1).await.unwrap();
    let task = run.steps().await.unwrap()[0].task.unwrap();
    let sql = place.sql().await;
    let lost = "CREATE TABLE kept AS SELECT * FROM flow_run_states; DELETE FROM flow_run_states";
    sql.batch_execute(lost).await.unwrap();
    for _ in 0..9 {
        let cancel = Batch { commands: vec![Command::Cancel(task)], claim: None };
        let failed = backend.commit(cancel).await.unwrap_err();
        assert!(failed.is_bug() && !failed.is_transient(), "{failed}");
    }
    let found = "INSERT INTO flow_run_states SELECT * FROM kept; DROP TABLE kept";
    sql.batch_execute(found).await.unwrap();
    engine.resume();
    assert_eq!(run.output().await.unwrap(), 1);
    engine.shutdown().await.unwrap();
}
