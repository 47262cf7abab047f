//! The statements that save new tasks; SQLite has none but `INSERT_SPEC` and `INSERT_TASK`.

/// That the tables may be written by a program that knows `$newest`, or it fails.
macro_rules! may_write {
    ($newest:literal) => {
        concat!(
            " WHERE 1 / CASE WHEN (SELECT value FROM meta WHERE name = 'writer_min') <= ",
            $newest,
            "::bigint THEN 1 ELSE 0 END = 1"
        )
    };
}

/// The rows of new tasks, as arrays.
macro_rules! new_tasks {
    () => {
        "WITH new AS MATERIALIZED (SELECT * FROM unnest($1::uuid[],
    $2::text[], $3::text[], $4::text[], $5::smallint[], $6::timestamptz[], $7::uuid[], $8::uuid[],
    $9::uuid[], $10::uuid[], $11::uuid[], $12::int[], $13::text[], $14::text[], $15::text[],
    $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::timestamptz[],
    $22::smallint[], $23::bigint[], $24::timestamptz[], $25::int[], $26::int[], $27::int[],
    $28::bigint[], $29::bigint[], $30::uuid[], $31::bigint[], $32::smallint[], $33::timestamptz[],
    $34::timestamptz[])
    AS u (id, project_id, kind, input, priority, run_at, parent_task_id, arena_id, session_id,
    chat_id, run_id, step_no, agent, model, mode_id, thinking_option_id, unique_key, options,
    labels, meta, created_at, phase, lane, due_at, attempt, failures, interruptions, lease, rev,
    holder, claim, flags, started_at, ended_at)),
    cold AS (INSERT INTO tasks (id, project_id, kind, input, priority, run_at, parent_task_id,
    arena_id, session_id, chat_id, run_id, step_no, agent, model, mode_id, thinking_option_id,
    unique_key, options, labels, meta, created_at, origin)
    SELECT id, project_id, kind, input, priority, run_at, parent_task_id, arena_id, session_id,
    chat_id, run_id, step_no, agent, model, mode_id, thinking_option_id, unique_key, options,
    labels, meta, created_at, 'segue' FROM new"
    };
}

macro_rules! insert_hot {
    () => {
        "INSERT INTO task_states (id, phase, lane, priority, run_at, attempt, failures,
    interruptions, lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at) "
    };
}

macro_rules! new_hot {
    () => {
        "SELECT id, phase, lane, priority, due_at, attempt, failures, interruptions, lease, rev,
    holder, claim, run_id, coalesce(step_no, 0), flags, started_at, ended_at FROM new"
    };
}

/// `INSERT_SPEC` for all of them, or it fails.
pub const INSERT_SPEC_OR_FAIL: &str =
    concat!(new_tasks!(), ") ", insert_hot!(), new_hot!(), may_write!("$35"));
/// The same for tasks of which all that is not named here is NULL, 0 or the beginning of time.
pub const INSERT_PLAIN_OR_FAIL: &str = concat!(
    "WITH new AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[],
    $5::smallint[], $6::timestamptz[], $7::smallint[], $8::bigint[], $9::timestamptz[])
    AS u (id, project_id, kind, input, priority, created_at, phase, lane, due_at)),
    cold AS (INSERT INTO tasks (id, project_id, kind, input, priority, created_at, origin)
    SELECT id, project_id, kind, input, priority, created_at, 'segue' FROM new) ",
    insert_hot!(),
    "SELECT id, phase, lane, priority, due_at, 0, 0, 0, 0, 0, NULL, 0, NULL, 0, 0, 'epoch', 'epoch'
    FROM new",
    may_write!("$10")
);
