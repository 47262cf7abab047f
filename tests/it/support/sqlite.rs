//! What another program does to a SQLite database.

use std::sync::Arc;

use segue::{backend::sqlite::SqliteBackend, model::TaskSpec};

/// Inserts a task by plain SQL.
pub async fn insert_foreign(backend: Arc<SqliteBackend>, spec: TaskSpec) {
    let conn = rusqlite::Connection::open(backend.path()).unwrap();
    let wait = std::time::Duration::from_secs(5);
    conn.busy_timeout(wait).unwrap();
    let labels = serde_json::to_string(&spec.labels).unwrap();
    let labels = (!spec.labels.is_empty()).then_some(labels);
    let params = rusqlite::params![
        spec.id,
        spec.project,
        spec.kind,
        spec.input,
        spec.priority,
        spec.run_at,
        spec.parent,
        spec.arena,
        spec.session,
        spec.chat,
        spec.agent,
        spec.model,
        spec.mode,
        spec.thinking,
        spec.unique_key,
        spec.options.to_row(),
        labels,
        spec.meta,
        spec.created_at
    ];
    conn.execute(
        "INSERT INTO segue_tasks (id, project_id, kind, input, priority, run_at, parent_task_id,
             arena_id, session_id, chat_id, agent, model, mode_id, thinking_option_id, unique_key,
             options, labels, meta, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19)",
        params,
    )
    .unwrap();
}

/// An empty database.
pub async fn temporary(clock: segue::clock::ManualClock) -> SqliteBackend {
    SqliteBackend::temporary(clock).await.unwrap()
}
