//! What a host does in a day, by segue's public API and its own driver.

use std::{path::PathBuf, time::Duration};

use host::{ask, chat, open, open_issue, open_issue_at_once, start};
use segue::{
    Engine, NewTask,
    model::{Event, Role, RunFilter, RunState, Stream, TaskFilter, TaskState},
};
use sqlx::SqlitePool;

struct Day {
    _folder: tempfile::TempDir,
    path: PathBuf,
    pool: SqlitePool,
    engine: Engine,
}

async fn day() -> Day {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let pool = open(&path).await.unwrap();
    let engine = start(&path, &pool).await.unwrap();
    Day {
        _folder: folder,
        path,
        pool,
        engine,
    }
}

async fn within<T>(limit: u64, work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(limit);
    tokio::time::timeout(limit, work)
        .await
        .expect("it takes too long")
}

/// Answers what is asked about, from a second connection, until so many were answered.
async fn answer_all(other: &Engine, count: usize) {
    let mut answered = 0;
    while answered < count {
        let items = other.inbox(Some("app"), 100).await.unwrap();
        for item in &items {
            let question: String = item.body.decode().unwrap();
            assert!(question.starts_with("Close `"), "{question}");
            other.answer(item.id, "yes", "Ada").await.unwrap();
        }
        answered += items.len();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_works_on_the_hosts_tables_and_asks_a_person() {
    let day = day().await;
    let other = Engine::sqlite(&day.path).connect().await.unwrap();
    let (issue, task) = open_issue(&day.pool, &day.engine, "It crashes").await;
    within(30, answer_all(&other, 1)).await;
    assert_eq!(within(30, task.output::<String>()).await.unwrap(), "yes");
    let answer: String = sqlx::query_scalar("SELECT answer FROM issues WHERE id = ?1")
        .bind(issue)
        .fetch_one(&day.pool)
        .await
        .unwrap();
    assert_eq!(answer, "yes");
    day.engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_the_hosts_driver_enqueues_or_does_not() {
    let day = day().await;
    let task = open_issue_at_once(&day.pool, "All or nothing")
        .await
        .unwrap();
    day.engine.wake();
    within(30, answer_all(&day.engine, 1)).await;
    let output = within(30, day.engine.task(task).output::<String>()).await;
    assert_eq!(output.unwrap(), "yes");
    let mut tx = day.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query("INSERT INTO segue_tasks (project_id, kind, input) VALUES ('app', 'triage', '1')")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    day.engine.wake();
    within(30, day.engine.run_until_idle()).await.unwrap();
    let tasks = day
        .engine
        .tasks(TaskFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(tasks.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_launched_watched_read_and_listed() {
    let day = day().await;
    let other = Engine::sqlite(&day.path).connect().await.unwrap();
    let mut watch = other.watch(Stream::All);
    let run = ask(&day.engine, "Why is it slow?").await.unwrap();
    let (mut ended, mut cursor) = (Vec::new(), None);
    let told = async {
        loop {
            let entry = watch.next().await.unwrap();
            cursor = Some(entry.cursor);
            for event in entry.events {
                match event {
                    Event::StepEnded { name, .. } => ended.push(name),
                    Event::RunEnded { state } => return state,
                    _ => {}
                }
            }
        }
    };
    assert_eq!(within(30, told).await, RunState::Completed);
    assert_eq!((ended.len(), ended[3].as_str()), (4, "report"));
    let report = run.output().await.unwrap();
    assert!(
        report.starts_with("# Answer") && report.contains("* history:"),
        "{report}"
    );
    assert_eq!(other.run(run.id()).report().await.unwrap(), report);
    let kept = cursor.unwrap().to_string();
    let mut later = day.engine.watch(Stream::All).since(kept.parse().unwrap());
    let after = later.try_next().await.unwrap().into_iter();
    let runs_again = |event: &Event| matches!(event, Event::RunEnded { .. });
    assert!(
        after
            .flat_map(|entry| entry.events)
            .all(|event| !runs_again(&event))
    );
    let filter = RunFilter {
        project: Some("app".into()),
        states: vec![RunState::Completed],
        flow: None,
    };
    let runs = other.runs(filter, None, 10).await.unwrap();
    assert_eq!(runs[0].run.id, run.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_with_an_agent_is_kept_in_order() {
    let day = day().await;
    let chat = chat(&day.engine, "A tab").await.unwrap();
    for n in 0..3 {
        let new = NewTask::agent("reader", &format!("Angle: {n}"))
            .chat(chat.id())
            .project("app");
        let task = day.engine.submit(new).await.unwrap();
        within(30, task.ended()).await.unwrap();
    }
    let roles: Vec<_> = chat
        .history(0, 10)
        .await
        .unwrap()
        .iter()
        .map(|said| said.role)
        .collect();
    assert_eq!(roles, [Role::User, Role::Assistant].repeat(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_drivers_write_at_once_and_nobody_sees_a_lock() {
    let day = day().await;
    let visits = async {
        for n in 0..300 {
            sqlx::query("INSERT INTO visits (n) VALUES (?1)")
                .bind(n)
                .execute(&day.pool)
                .await?;
        }
        Ok::<_, sqlx::Error>(())
    };
    let tasks = async {
        for n in 0..40 {
            open_issue(&day.pool, &day.engine, &format!("Issue {n}")).await;
        }
    };
    let all = async { tokio::join!(visits, tasks, answer_all(&day.engine, 40)) };
    within(60, all).await.0.unwrap();
    within(30, day.engine.run_until_idle()).await.unwrap();
    let stats = day.engine.stats().await.unwrap();
    assert_eq!(stats.tasks, [(TaskState::Completed, 40)].into());
    let disk = day.engine.disk().await.unwrap();
    assert_eq!((stats.inbox, disk.database_bytes > 0), (0, true));
    let answered: i64 = sqlx::query_scalar("SELECT count(*) FROM issues WHERE answer = 'yes'")
        .fetch_one(&day.pool)
        .await
        .unwrap();
    assert_eq!(answered, 40);
    let visits: i64 = sqlx::query_scalar("SELECT count(*) FROM visits")
        .fetch_one(&day.pool)
        .await
        .unwrap();
    assert_eq!(visits, 300);
    day.engine.shutdown().await.unwrap();
    day.pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_that_both_share_is_new_enough() {
    let day = day().await;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&day.pool)
        .await
        .unwrap();
    let parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(parts >= vec![3, 51, 3], "{version}");
}
