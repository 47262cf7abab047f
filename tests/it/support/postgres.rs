//! What another program does to a PostgreSQL database.

use std::sync::Arc;

use segue::{
    backend::postgres::PostgresBackend,
    clock::{ManualClock, Timestamp},
    model::TaskSpec,
};
use tokio_postgres::NoTls;

use super::cluster;

/// Inserts a task by plain SQL.
pub async fn insert_foreign(backend: Arc<PostgresBackend>, spec: TaskSpec) {
    let (client, connection) = tokio_postgres::connect(&cluster::url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let labels = serde_json::to_string(&spec.labels).unwrap();
    let labels = (!spec.labels.is_empty()).then_some(labels);
    let micros = Timestamp::as_micros;
    let sql = format!(
        "INSERT INTO {}.tasks (id, project_id, kind, input, priority, run_at, parent_task_id,
             arena_id, session_id, chat_id, agent, model, mode_id, thinking_option_id, unique_key,
             options, labels, meta, created_at)
         VALUES ($1, $2, $3, $4, $5, 'epoch'::timestamptz + $6::bigint * interval '1 microsecond',
             $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
             'epoch'::timestamptz + $19::bigint * interval '1 microsecond')",
        backend.schema()
    );
    client
        .execute(
            &sql,
            &[
                &spec.id.as_uuid(),
                &spec.project,
                &spec.kind,
                &spec.input.as_str(),
                &spec.priority,
                &spec.run_at.map(micros),
                &spec.parent.map(|id| id.as_uuid()),
                &spec.arena.map(|id| id.as_uuid()),
                &spec.session.map(|id| id.as_uuid()),
                &spec.chat.map(|id| id.as_uuid()),
                &spec.agent,
                &spec.model,
                &spec.mode,
                &spec.thinking,
                &spec.unique_key,
                &spec.options.to_row(),
                &labels,
                &spec.meta.as_ref().map(|meta| meta.as_str()),
                &micros(spec.created_at),
            ],
        )
        .await
        .unwrap();
}

/// An empty database.
pub async fn temporary(clock: ManualClock) -> PostgresBackend {
    cluster::fresh_schema(clock).await
}
