//! The statements on runs, their steps and edges. `sqlite/sql/flows.rs` has the same names in the
//! same order.

// ---- loading by key

pub const RUN: &str = "SELECT id, state, flags, project_id, priority, open_steps, failed_steps,
    next_no, attempt, parent_task_id, budget, next_seq, updated_at, ended_at FROM flow_run_states
    WHERE id = ANY ($1::uuid[]) ORDER BY id";
pub const RUN_SPEC: &str = "SELECT id, project_id, flow_name, version, band, model, input,
    definition, labels, meta, fork_run, fork_step, fingerprint, base, created_at
    FROM flow_runs WHERE id = ANY ($1::uuid[])";
pub const STEP: &str =
    "SELECT s.run_id, s.no, step_id, kind, state, waiting_on, open_edges, attempt,
    task_id, lane, agent, options, policy, reserved, reason, updated_at
    FROM unnest($1::uuid[], $2::int[]) AS k (run_id, no)
    JOIN flow_steps s ON s.run_id = k.run_id AND s.no = k.no";
pub const STEPS_OF: &str =
    "SELECT run_id, no, step_id, kind, state, waiting_on, open_edges, attempt,
    task_id, lane, agent, options, policy, reserved, reason, updated_at
    FROM flow_steps WHERE run_id = ANY ($1::uuid[])";
/// The steps that edges from these lead to.
pub const STEPS_AFTER: &str =
    "SELECT s.run_id, s.no, step_id, kind, state, waiting_on, open_edges, attempt,
    task_id, lane, agent, options, policy, reserved, reason, updated_at
    FROM unnest($1::uuid[], $2::int[]) AS k (run_id, no)
    JOIN flow_edges e ON e.run_id = k.run_id AND e.from_no = k.no
    JOIN flow_steps s ON s.run_id = e.run_id AND s.no = e.to_no";
pub const STEPS_HUNGRY: &str =
    "SELECT s.run_id, s.no, step_id, kind, state, waiting_on, open_edges, attempt,
    task_id, lane, agent, options, policy, reserved, reason, updated_at
    FROM unnest($1::uuid[]) AS k (run_id) CROSS JOIN LATERAL (SELECT * FROM flow_steps f
        WHERE f.run_id = k.run_id AND f.state = 0 AND f.waiting_on = 0
        ORDER BY f.no LIMIT $2::bigint) s";
pub const EDGES_FROM: &str = "SELECT e.run_id, from_no, to_no, terms
    FROM unnest($1::uuid[], $2::int[]) AS k (run_id, no)
    JOIN flow_edges e ON e.run_id = k.run_id AND e.from_no = k.no";
pub const EDGES_OF: &str = "SELECT run_id, from_no, to_no, terms FROM flow_edges
    WHERE run_id = ANY ($1::uuid[])";
/// Locked as other runs are.
pub const RUNS_UNDER: &str =
    "SELECT id, state, flags, project_id, priority, open_steps, failed_steps,
    next_no, attempt, parent_task_id, budget, next_seq, updated_at, ended_at
    FROM flow_run_states WHERE parent_task_id = ANY ($1::uuid[]) ORDER BY id";
pub const RUN_ATTEMPTS: &str = "SELECT run_id, attempt, how, state, started_at, ended_at
    FROM flow_run_attempts WHERE run_id = ANY ($1::uuid[])";
pub const STEP_INPUT: &str = "SELECT i.run_id, i.no, input
    FROM unnest($1::uuid[], $2::int[]) AS k (run_id, no)
    JOIN flow_step_inputs i ON i.run_id = k.run_id AND i.no = k.no";
pub const STEP_INPUTS_ALL: &str = "SELECT run_id, no, input FROM flow_step_inputs";
pub const MEMO: &str = "SELECT key, task_id, lease FROM memos WHERE key = ANY ($1::bytea[])";

// ---- saving

pub const INSERT_RUN_SPEC: &str = "INSERT INTO flow_runs (id, project_id, flow_name, version, band,
    model, input, definition, labels, meta, fork_run, fork_step, fingerprint, base, created_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::uuid[], $12::int[], $13::text[], $14::text[],
    $15::timestamptz[])";
pub const PUT_RUN: &str = "INSERT INTO flow_run_states (id, state, flags, project_id, priority,
    open_steps, failed_steps, next_no, attempt, parent_task_id, budget, next_seq, updated_at, ended_at)
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::text[], $5::smallint[],
    $6::int[], $7::int[], $8::int[], $9::int[], $10::uuid[], $11::text[], $12::bigint[],
    $13::timestamptz[], $14::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, flags = excluded.flags,
    priority = excluded.priority, open_steps = excluded.open_steps,
    failed_steps = excluded.failed_steps, next_no = excluded.next_no,
    attempt = excluded.attempt, budget = excluded.budget, next_seq = excluded.next_seq,
    updated_at = excluded.updated_at, ended_at = excluded.ended_at";
pub const INSERT_STEP: &str =
    "INSERT INTO flow_steps (run_id, no, step_id, kind, state, waiting_on,
    open_edges, attempt, task_id, lane, agent, options, policy, reserved, reason, updated_at)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::smallint[], $5::smallint[],
    $6::int[], $7::int[], $8::int[], $9::uuid[], $10::bigint[], $11::text[], $12::text[],
    $13::text[], $14::text[], $15::text[], $16::timestamptz[])";
pub const UPDATE_STEP: &str = "UPDATE flow_steps s SET state = u.state, waiting_on = u.waiting_on,
    open_edges = u.open_edges, attempt = u.attempt, task_id = u.task_id,
    reserved = u.reserved, reason = u.reason, updated_at = u.updated_at
    FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::int[], $5::int[], $6::int[],
    $7::uuid[], $8::text[], $9::text[], $10::timestamptz[])
    AS u (run_id, no, state, waiting_on, open_edges, attempt, task_id, reserved, reason,
    updated_at)
    WHERE s.run_id = u.run_id AND s.no = u.no";
pub const INSERT_EDGE: &str = "INSERT INTO flow_edges (run_id, from_no, to_no, terms)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[])";
pub const PUT_STEP_INPUT: &str = "INSERT INTO flow_step_inputs (run_id, no, input)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[])
    ON CONFLICT (run_id, no) DO UPDATE SET input = excluded.input";
pub const PUT_MEMO: &str = "INSERT INTO memos (key, task_id, lease)
    SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::bigint[])
    ON CONFLICT (key) DO UPDATE SET task_id = excluded.task_id, lease = excluded.lease";
pub const PUT_RUN_ATTEMPT: &str = "INSERT INTO flow_run_attempts (run_id, attempt, how, state,
    started_at, ended_at) SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::smallint[],
    $5::timestamptz[], $6::timestamptz[])
    ON CONFLICT (run_id, attempt) DO UPDATE SET state = excluded.state,
    ended_at = excluded.ended_at";
pub const DELETE_EDGE: &str = "DELETE FROM flow_edges e
    USING unnest($1::uuid[], $2::int[], $3::int[]) AS k (run_id, from_no, to_no)
    WHERE e.run_id = k.run_id AND e.from_no = k.from_no AND e.to_no = k.to_no";
pub const DELETE_STEP: [&str; 2] = [
    "DELETE FROM flow_step_inputs i USING unnest($1::uuid[], $2::int[]) AS k (run_id, no)
    WHERE i.run_id = k.run_id AND i.no = k.no",
    "DELETE FROM flow_steps s USING unnest($1::uuid[], $2::int[]) AS k (run_id, no)
    WHERE s.run_id = k.run_id AND s.no = k.no",
];

// ---- counting, pruning, listing

pub const COUNT_RUNS: &str = "SELECT state::bigint, count(*) FROM flow_run_states GROUP BY state";
/// Nothing is pruned that the stream of all does not show yet: whoever began to follow it
/// after that entry would miss those that slip in before.
pub const OLD_RUNS: &str = "SELECT r.id FROM flow_run_states r
    WHERE r.state <> 0 AND r.ended_at < $1::timestamptz
    AND NOT EXISTS (SELECT FROM tasks t JOIN tasks c
        ON c.parent_task_id = t.id WHERE t.run_id = r.id)
    AND NOT EXISTS (SELECT FROM task_states p
        WHERE p.id = r.parent_task_id AND p.ended_at = $3::timestamptz)
    AND NOT EXISTS (SELECT FROM entries e
        WHERE e.stream = r.id AND e.xid >= pg_snapshot_xmin(pg_current_snapshot()))
    ORDER BY r.id LIMIT $2::bigint FOR UPDATE OF r SKIP LOCKED";
pub const TASKS_OF_RUN: &str = "SELECT id FROM tasks WHERE run_id = ANY ($1::uuid[])";
/// Its steps and edges go with its cold row.
pub const DELETE_RUN: [&str; 2] = [
    "DELETE FROM flow_run_states WHERE id = ANY ($1::uuid[])",
    "DELETE FROM flow_runs WHERE id = ANY ($1::uuid[])",
];
pub const LIST_RUNS: &str = "SELECT s.id, s.state, s.flags, s.project_id, s.priority, s.open_steps,
    s.failed_steps, s.next_no, s.attempt, s.parent_task_id, s.budget, s.next_seq, s.updated_at,
    s.ended_at, r.id, r.project_id, r.flow_name, r.version, r.band, r.model, r.input, r.definition,
    r.labels, r.meta, r.fork_run, r.fork_step, r.fingerprint, r.base, r.created_at
    FROM flow_runs r JOIN flow_run_states s ON s.id = r.id
    WHERE ($1::text IS NULL OR r.project_id = $1)
    AND ($2::smallint[] IS NULL OR s.state = ANY ($2))
    AND ($3::uuid IS NULL OR r.id < $3) AND ($4::text IS NULL OR r.flow_name = $4)
    ORDER BY r.id DESC LIMIT $5::bigint";
