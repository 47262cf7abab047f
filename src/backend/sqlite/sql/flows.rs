//! The statements on runs, their steps and edges. `postgres/sql/flows.rs` has the same names in the
//! same order.

use crate::{id::RunId, model::RunFilter};

// ---- loading by key

pub const RUN: &str = "SELECT id, state, flags, project_id, priority, open_steps, failed_steps,
    next_no, attempt, parent_task_id, budget, next_seq, updated_at, ended_at FROM segue_flow_run_states
    WHERE id = ?1";
pub const RUN_SPEC: &str = "SELECT id, project_id, flow_name, version, band, model, input,
    definition, labels, meta, fork_run, fork_step, fingerprint, base, created_at
    FROM segue_flow_runs WHERE id = ?1";
pub const STEP: &str = "SELECT run_id, no, step_id, kind, state, waiting_on, open_edges, attempt,
    task_id, lane, agent, options, policy, reserved, reason, updated_at
    FROM segue_flow_steps WHERE run_id = ?1 AND no = ?2";
pub const STEPS_OF: &str =
    "SELECT run_id, no, step_id, kind, state, waiting_on, open_edges, attempt,
    task_id, lane, agent, options, policy, reserved, reason, updated_at
    FROM segue_flow_steps WHERE run_id = ?1";
/// By the index that has nothing else: without statistics SQLite takes that of the key.
pub const STEPS_HUNGRY: &str =
    "SELECT run_id, no, step_id, kind, state, waiting_on, open_edges, attempt,
    task_id, lane, agent, options, policy, reserved, reason, updated_at
    FROM segue_flow_steps INDEXED BY segue_flow_steps_hungry
    WHERE run_id = ?1 AND state = 0 AND waiting_on = 0 ORDER BY no LIMIT ?2";
pub const EDGES_FROM: &str = "SELECT run_id, from_no, to_no, terms FROM segue_flow_edges
    WHERE run_id = ?1 AND from_no = ?2";
pub const EDGES_OF: &str = "SELECT run_id, from_no, to_no, terms FROM segue_flow_edges
    WHERE run_id = ?1";
pub const RUNS_UNDER: &str =
    "SELECT id, state, flags, project_id, priority, open_steps, failed_steps,
    next_no, attempt, parent_task_id, budget, next_seq, updated_at, ended_at
    FROM segue_flow_run_states WHERE parent_task_id = ?1";
pub const RUN_ATTEMPTS: &str = "SELECT run_id, attempt, how, state, started_at, ended_at
    FROM segue_flow_run_attempts WHERE run_id = ?1";
pub const STEP_INPUT: &str =
    "SELECT run_id, no, input FROM segue_flow_step_inputs WHERE run_id = ?1 AND no = ?2";
pub const STEP_INPUTS_ALL: &str = "SELECT run_id, no, input FROM segue_flow_step_inputs";
pub const MEMO: &str = "SELECT key, task_id, lease FROM segue_memos WHERE key = ?1";

// ---- saving

pub const INSERT_RUN_SPEC: &str = "INSERT INTO segue_flow_runs (id, project_id, flow_name, version,
    band, model, input, definition, labels, meta, fork_run, fork_step, fingerprint,
    base, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
pub const PUT_RUN: &str = "INSERT OR REPLACE INTO segue_flow_run_states (id, state, flags,
    project_id, priority, open_steps, failed_steps, next_no, attempt, parent_task_id, budget, next_seq,
    updated_at, ended_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
pub const INSERT_STEP: &str = "INSERT INTO segue_flow_steps (run_id, no, step_id, kind, state,
    waiting_on, open_edges, attempt, task_id, lane, agent, options, policy, reserved, reason, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
pub const UPDATE_STEP: &str = "UPDATE segue_flow_steps SET state = ?3, waiting_on = ?4,
    open_edges = ?5, attempt = ?6, task_id = ?7, reserved = ?8, reason = ?9, updated_at = ?10
    WHERE run_id = ?1 AND no = ?2";
pub const INSERT_EDGE: &str = "INSERT INTO segue_flow_edges (run_id, from_no, to_no, terms)
    VALUES (?1, ?2, ?3, ?4)";
pub const PUT_STEP_INPUT: &str =
    "INSERT OR REPLACE INTO segue_flow_step_inputs (run_id, no, input) VALUES (?1, ?2, ?3)";
pub const PUT_MEMO: &str =
    "INSERT OR REPLACE INTO segue_memos (key, task_id, lease) VALUES (?1, ?2, ?3)";
pub const PUT_RUN_ATTEMPT: &str = "INSERT OR REPLACE INTO segue_flow_run_attempts (run_id, attempt,
    how, state, started_at, ended_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
pub const DELETE_EDGE: &str =
    "DELETE FROM segue_flow_edges WHERE run_id = ?1 AND from_no = ?2 AND to_no = ?3";
pub const DELETE_STEP: [&str; 2] = [
    "DELETE FROM segue_flow_step_inputs WHERE run_id = ?1 AND no = ?2",
    "DELETE FROM segue_flow_steps WHERE run_id = ?1 AND no = ?2",
];

// ---- counting, pruning, listing

pub const COUNT_RUNS: &str = "SELECT state, count(*) FROM segue_flow_run_states GROUP BY state";
pub const OLD_RUNS: &str = "SELECT r.id FROM segue_flow_run_states r
    WHERE r.state <> 0 AND r.ended_at < ?1
    AND NOT EXISTS (SELECT 1 FROM segue_tasks t JOIN segue_tasks c
        ON c.parent_task_id = t.id WHERE t.run_id = r.id)
    AND NOT EXISTS (SELECT 1 FROM segue_task_states p
        WHERE p.id = r.parent_task_id AND p.ended_at = 0)
    ORDER BY r.id LIMIT ?2";
pub const TASKS_OF_RUN: &str = "SELECT id FROM segue_tasks WHERE run_id = ?1";
pub const DELETE_RUN: [&str; 7] = [
    "DELETE FROM segue_entries WHERE stream = ?1",
    "DELETE FROM segue_flow_step_inputs WHERE run_id = ?1",
    "DELETE FROM segue_flow_run_attempts WHERE run_id = ?1",
    "DELETE FROM segue_flow_edges WHERE run_id = ?1",
    "DELETE FROM segue_flow_steps WHERE run_id = ?1",
    "DELETE FROM segue_flow_run_states WHERE id = ?1",
    "DELETE FROM segue_flow_runs WHERE id = ?1",
];
/// The ids of runs, newest first: walks the index of the project, or that of all ids, from
/// the last one of the page before.
pub fn list_runs(filter: &RunFilter, after: Option<RunId>) -> String {
    let mut sql = "SELECT r.id FROM segue_flow_runs r CROSS JOIN segue_flow_run_states s
        ON s.id = r.id WHERE true"
        .to_owned();
    let conditions = [
        (after.is_some(), " AND r.id < :after"),
        (filter.project.is_some(), " AND r.project_id = :project"),
        (!filter.states.is_empty(), " AND s.state IN (SELECT value FROM json_each(:states))"),
        (filter.flow.is_some(), " AND r.flow_name = :flow"),
    ];
    let wanted = conditions.into_iter().filter(|(wanted, _)| *wanted);
    wanted.for_each(|(_, condition)| sql.push_str(condition));
    sql.push_str(" ORDER BY r.id DESC LIMIT :limit");
    sql
}
