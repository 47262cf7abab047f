//! A small app in which people chat with agents about issues. Its own tables are its own,
//! read and written with sqlx; tasks, flows and chats are segue's, in the same file.

use std::{path::Path, str::FromStr, time::Duration};

use segue::{
    Agent, ChatSpec, Context, Engine, Failure, Flow, NewTask, Run, Step, Task, agents,
    id::{ChatId, TaskId},
};
use serde::{Deserialize, Serialize};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// What a question flow is launched with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    pub question: String,
}

/// What one reader found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Findings {
    pub angle: String,
    pub count: u32,
}

/// The app's own database connections.
pub async fn open(path: &Path) -> sqlx::Result<SqlitePool> {
    let url = format!("sqlite://{}", path.display());
    let options = SqliteConnectOptions::from_str(&url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS issues (
            id INTEGER PRIMARY KEY, title TEXT NOT NULL, task BLOB, answer TEXT
        );
        CREATE TABLE IF NOT EXISTS visits (n INTEGER NOT NULL)",
    )
    .execute(&pool)
    .await?;
    Ok(pool)
}

/// The flow that answers a question: three readers, one report.
pub fn question_flow() -> Flow<Question, String> {
    let mut draft = Flow::new("question");
    let question = draft.input::<Question>();
    let reader = Agent::named("reader").read_only();
    let found: [Step<Findings>; 3] = ["errors", "data flow", "history"].map(|angle| {
        draft.agent(angle, question, &reader, move |ask: Question| {
            format!("{}\nAngle: {angle}", ask.question)
        })
    });
    let report = draft.code("report", found, report);
    draft.reports(report);
    draft.returns(question, report)
}

async fn report(_: Context, found: [Findings; 3]) -> Result<String, Failure> {
    let lines = found.map(|one| format!("* {}: {}", one.angle, one.count));
    Ok(format!("# Answer\n\n{}\n", lines.join("\n")))
}

/// Triages an issue, and asks a person before it closes one.
async fn triage(context: Context, issue: i64) -> Result<String, Failure> {
    let pool = context.host::<SqlitePool>()?;
    let title: String = sqlx::query_scalar("SELECT title FROM issues WHERE id = ?1")
        .bind(issue)
        .fetch_one(&*pool)
        .await?;
    let question = format!("Close `{title}`?");
    let answer = context.ask("close", &question, &["yes", "no"]).await?;
    let answer: String = answer.value.decode()?;
    sqlx::query("UPDATE issues SET answer = ?2 WHERE id = ?1")
        .bind(issue)
        .bind(&answer)
        .execute(&*pool)
        .await?;
    Ok(answer)
}

/// The engine of the app, on the file that its own tables are in.
pub async fn start(path: &Path, pool: &SqlitePool) -> segue::Result<Engine> {
    let reader = agents::native(async |turn: agents::Turn| {
        let angle = turn
            .prompt
            .rsplit(": ")
            .next()
            .unwrap_or_default()
            .to_owned();
        let count = turn.prompt.len() as u32;
        agents::Reply::value(&Findings { angle, count })
    });
    Engine::sqlite(path)
        .host(pool.clone())
        .task("triage", triage)
        .flow(&question_flow())
        .agent("reader", reader)
        .capacity("agent:reader", 2)
        .start()
        .await
}

/// Opens an issue and its triage. The task's id is chosen first and enqueuing it twice makes
/// one task, so a crash between the two is mended by doing it again.
pub async fn open_issue(pool: &SqlitePool, engine: &Engine, title: &str) -> (i64, Task) {
    let task = TaskId::new();
    let issue: i64 =
        sqlx::query_scalar("INSERT INTO issues (title, task) VALUES (?1, ?2) RETURNING id")
            .bind(title)
            .bind(task.as_uuid().as_bytes().as_slice())
            .fetch_one(pool)
            .await
            .expect("an issue");
    let new = NewTask::new("triage", &issue).id(task).project("app");
    let task = engine.submit(new).await.expect("its task");
    (issue, task)
}

/// Opens an issue and its triage in one transaction of the app's own.
pub async fn open_issue_at_once(pool: &SqlitePool, title: &str) -> sqlx::Result<TaskId> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let task = TaskId::new();
    let bytes = task.as_uuid().into_bytes();
    let issue: i64 =
        sqlx::query_scalar("INSERT INTO issues (title, task) VALUES (?1, ?2) RETURNING id")
            .bind(title)
            .bind(bytes.as_slice())
            .fetch_one(&mut *tx)
            .await?;
    sqlx::query(
        "INSERT INTO segue_tasks (id, project_id, kind, input) VALUES (?1, 'app', 'triage', ?2)",
    )
    .bind(bytes.as_slice())
    .bind(issue.to_string())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(task)
}

/// Asks the readers.
pub async fn ask(engine: &Engine, question: &str) -> segue::Result<Run<String>> {
    let question = Question {
        question: question.into(),
    };
    engine
        .launch(&question_flow(), question)
        .project("app")
        .await
}

/// A chat with the reader.
pub async fn chat(engine: &Engine, title: &str) -> segue::Result<segue::Chat> {
    let spec = ChatSpec {
        project: "app".into(),
        title: title.into(),
        ..ChatSpec::default()
    };
    engine.chat(ChatId::new(), spec).await
}
