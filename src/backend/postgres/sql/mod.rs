//! Every SQL statement of this backend. `sqlite/sql/mod.rs` has the same names in the same
//! order: their difference is the list of dialect differences.
//!
//! Names are not qualified: the schema is the connection's search path. Statements work on
//! sets of rows, which come as arrays, one for each column. `x IN (SELECT ..) OR x IS NULL`,
//! where x is never NULL, keeps the planner from making a join of it: the set is hashed once.

mod agents;
mod flows;
#[macro_use]
mod new;

pub use agents::*;
pub use flows::*;
pub use new::*;

// ---- the connection and the schema

/// What every connection sets; the search path comes before it. The hot statements have one
/// good plan each, whatever the tables hold: statistics that lag behind must not choose
/// another. A process that is frozen inside a transaction gives its locks back.
pub const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET jit = off;
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET idle_in_transaction_session_timeout = '30s'";
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
pub const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// For statements of people: planned anew for what was asked for.
pub const BEGIN_VIEW: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = on;
    SET LOCAL enable_bitmapscan = on; SET LOCAL enable_hashjoin = on;
    SET LOCAL enable_mergejoin = on";
pub const COMMIT: &str = "COMMIT";
pub const ROLLBACK: &str = "ROLLBACK";
/// The server's time.
pub const NOW: &str = "SELECT clock_timestamp()";
/// The oldest schema version that may write.
pub const WRITER_MIN: &str = "SELECT value FROM meta WHERE name = 'writer_min'";
/// The newest migration that was applied.
pub const SCHEMA_VERSION: &str = "SELECT max(version) FROM segue_schema_history";
/// Whether migrations were ever applied here.
pub const HAS_SCHEMA: &str =
    "SELECT to_regclass(format('%I.segue_schema_history', $1::text)) IS NOT NULL";
/// One process migrates a schema at a time.
pub const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(1936025461, hashtext($1::text))";
pub const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS segue_schema_history
    (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255))";
pub const HISTORY: &str = "SELECT version, checksum FROM segue_schema_history ORDER BY version";
pub const ADD_HISTORY: &str =
    "INSERT INTO segue_schema_history (version, name, applied_on, checksum)
    VALUES ($1, $2, $3, $4)";
pub const HAS_NAMESPACE: &str = "SELECT to_regnamespace($1::text) IS NOT NULL";
pub const TABLES: &str = "SELECT relname::text FROM pg_class
    WHERE relnamespace = to_regnamespace($1::text) AND relkind = 'r' ORDER BY relname";
/// Sets the search path until the transaction ends, and says what it was.
pub const SWAP_PATH: &str =
    "SELECT current_setting('search_path'), set_config('search_path', $1::text, true)";
pub const SAVEPOINT: &str = "SAVEPOINT segue_enqueue";
pub const RELEASE: &str = "RELEASE SAVEPOINT segue_enqueue";
pub const UNDO: &str = "ROLLBACK TO SAVEPOINT segue_enqueue; RELEASE SAVEPOINT segue_enqueue";

// ---- loading by key

/// Appended to what loads the rows that are locked, and ordered by id.
pub const LOCKED: &str = " FOR UPDATE";
pub const TASK: &str = "SELECT id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at
    FROM task_states WHERE id = ANY ($1::uuid[]) ORDER BY id";
/// Where tasks belong, and what their lines are if they are prompts.
pub const ROUTE: &str = "SELECT s.id, s.run_id, s.step_no, s.flags, t.chat_id, t.agent
    FROM task_states s JOIN tasks t ON t.id = s.id WHERE s.id = ANY ($1::uuid[])";
pub const SPEC: &str = "SELECT id, project_id, kind, input, priority, run_at, parent_task_id,
    arena_id, session_id, chat_id, run_id, step_no, agent, model, mode_id, thinking_option_id,
    unique_key, options, labels, meta, created_at, origin FROM tasks WHERE id = ANY ($1::uuid[])";
pub const CHILDREN: &str = "SELECT id, project_id, kind, input, priority, run_at, parent_task_id,
    arena_id, session_id, chat_id, run_id, step_no, agent, model, mode_id, thinking_option_id,
    unique_key, options, labels, meta, created_at, origin
    FROM tasks WHERE parent_task_id = ANY ($1::uuid[])";
pub const CHILD_TASKS: &str = "SELECT s.id, phase, lane, s.priority, s.run_at, attempt, failures,
    interruptions, lease, rev, holder, claim, s.run_id, s.step_no, flags, started_at, ended_at
    FROM task_states s WHERE s.id IN
    (SELECT t.id FROM tasks t WHERE t.parent_task_id = ANY ($1::uuid[])) ORDER BY s.id";
pub const ATTEMPTS: &str = "SELECT task_id, lease, attempt, holder, started_at, ended_at, outcome,
    output, error, usage, recalled FROM task_attempts WHERE task_id = ANY ($1::uuid[])";
pub const ITEM: &str = "SELECT id, task_id, lease, kind, key, body, options, state, answer,
    answered_by, created_at, answered_at FROM inbox_items WHERE id = ANY ($1::uuid[])";
pub const ITEMS_OF: &str = "SELECT id, task_id, lease, kind, key, body, options, state, answer,
    answered_by, created_at, answered_at FROM inbox_items WHERE task_id = ANY ($1::uuid[])";
pub const UNIQUE: &str = "SELECT u.project_id, u.key, u.task_id
    FROM unnest($1::text[], $2::text[]) AS k (project_id, key)
    JOIN unique_keys u ON u.project_id = k.project_id AND u.key = k.key";
pub const UNIQUE_ALL: &str = "SELECT project_id, key, task_id FROM unique_keys";
pub const CAPACITY: &str = "SELECT name, slots, parked_until FROM capacity_keys WHERE name = ANY ($1::text[]) ORDER BY name";
pub const SLOTS: &str = "SELECT key, n, task_id, lease FROM slots WHERE key = ANY ($1::text[])";
pub const LANE: &str = "SELECT id, needs, keys FROM lanes WHERE id = ANY ($1::bigint[])";
pub const SESSION: &str =
    "SELECT id, project_id, title, meta, created_at FROM sessions WHERE id = ANY ($1::uuid[])";
pub const CHAT: &str = "SELECT id, project_id, session_id, title, meta, next_seq, created_at,
    forked_from, forked_seq FROM chats WHERE id = ANY ($1::uuid[]) ORDER BY id";
pub const MESSAGE: &str = "SELECT chat_id, seq, id, role, content, task_id, created_at
    FROM messages WHERE id = ANY ($1::uuid[])";
pub const INSTANCE: &str = "SELECT id, host, boot, pid, pid_start, beat, serves, started_at
    FROM instances WHERE id = ANY ($1::uuid[])";
pub const INSTANCES_ALL: &str = "SELECT id, host, boot, pid, pid_start, beat, serves, started_at
    FROM instances ORDER BY id";
pub const ENTRIES_ALL: &str =
    "SELECT xid::text::bigint, pos, kind, stream, seq, at, body FROM entries";

/// All rows of the table that a statement loads by key.
pub fn all(by_key: &'static str) -> &'static str {
    by_key.split_once(" WHERE ").map_or(by_key, |(all, _)| all)
}

// ---- saving

pub const INSERT_LANE: &str = "INSERT INTO lanes (id, needs, keys)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) ON CONFLICT (id) DO NOTHING";
/// Fails where not all of the ids in $1 are in `$written`, or where the tables may only be
/// written by programs that know more than `$newest`.
macro_rules! all_or_fail {
    ($written:literal, $newest:literal) => {
        concat!(
            " SELECT 1 / CASE WHEN (SELECT count(*) FROM ",
            $written,
            ") = cardinality($1) AND (SELECT value FROM meta WHERE name = 'writer_min') <= ",
            $newest,
            "::bigint THEN 1 ELSE 0 END"
        )
    };
}

/// New tasks, cold and hot rows. None is written where the id is taken; the others' ids are
/// returned.
pub const INSERT_SPEC: &str = concat!(
    new_tasks!(),
    " ON CONFLICT (id) DO NOTHING RETURNING id) ",
    insert_hot!(),
    new_hot!(),
    " WHERE id IN (SELECT id FROM cold) OR id IS NULL RETURNING id"
);
pub const ADOPT_SPEC: &str = "UPDATE tasks SET origin = 'adopted' WHERE id = ANY ($1::uuid[])";
/// Hot rows of tasks that another program inserted.
pub const INSERT_TASK: &str = "INSERT INTO task_states (id, phase, lane, priority, run_at, attempt,
    failures, interruptions, lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at)
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::smallint[],
    $5::timestamptz[], $6::int[], $7::int[], $8::int[], $9::bigint[], $10::bigint[], $11::uuid[],
    $12::bigint[], $13::uuid[], $14::int[], $15::smallint[], $16::timestamptz[],
    $17::timestamptz[])";
macro_rules! update_task {
    () => {
        "WITH held AS (UPDATE task_states s SET phase = u.phase,
    run_at = u.run_at, attempt = u.attempt, failures = u.failures,
    interruptions = u.interruptions, rev = u.rev, holder = u.holder,
    claim = u.claim, flags = u.flags, started_at = u.started_at, ended_at = u.ended_at
    FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[], $4::int[], $5::int[], $6::int[],
    $7::bigint[], $8::bigint[], $9::uuid[], $10::bigint[], $11::smallint[], $12::timestamptz[],
    $13::timestamptz[]) AS u (id, phase, run_at, attempt, failures, interruptions, lease, rev,
    holder, claim, flags, started_at, ended_at)
    WHERE s.id = u.id AND s.lease = u.lease AND s.rev = u.rev - 1 RETURNING s.id),
    ended AS (INSERT INTO task_attempts (task_id, lease, attempt, holder, started_at, ended_at,
    outcome, output, error, usage, recalled)
    SELECT a.* FROM unnest($14::uuid[], $15::bigint[], $16::int[], $17::uuid[], $18::timestamptz[],
    $19::timestamptz[], $20::smallint[], $21::text[], $22::text[], $23::text[],
    $24::uuid[]) AS a (task_id, lease, attempt, holder, started_at, ended_at, outcome, output,
    error, usage, recalled)"
    };
}

/// Guarded by the lease and the revision before: no row is written where it has moved on, nor
/// its attempt. The ids of the others are returned.
pub const UPDATE_TASK: &str = concat!(
    update_task!(),
    " WHERE a.task_id IN (SELECT id FROM held) OR a.task_id IS NULL) SELECT id FROM held"
);
/// The same for all of them, or it fails.
pub const UPDATE_TASK_OR_FAIL: &str = concat!(update_task!(), ")", all_or_fail!("held", "$25"));
pub const INSERT_ATTEMPT: &str = "INSERT INTO task_attempts (task_id, lease, attempt, holder,
    started_at, ended_at, outcome, output, error, usage, recalled)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::uuid[], $5::timestamptz[],
    $6::timestamptz[], $7::smallint[], $8::text[], $9::text[], $10::text[], $11::uuid[])";
/// Those of tasks that do not run, or not under the lease that took them; slots above their
/// key's limit go. `phase + 0`, so that the planner does not read all that runs.
pub const FREE_SLOTS: &str = "WITH free AS MATERIALIZED (
    SELECT s.key, s.n, s.n < coalesce(k.slots, 0) AS kept
    FROM slots s LEFT JOIN capacity_keys k ON k.name = s.key
    WHERE s.task_id = ANY ($1::uuid[]) AND NOT EXISTS (SELECT FROM task_states t
        WHERE t.id = s.task_id AND t.phase + 0 = 4 AND t.lease = s.lease)),
    dropped AS (DELETE FROM slots s USING free f WHERE NOT f.kept AND s.key = f.key AND s.n = f.n)
    UPDATE slots s SET task_id = NULL, lease = NULL
    FROM free f WHERE f.kept AND s.key = f.key AND s.n = f.n";
pub const INSERT_UNIQUE: &str = "INSERT INTO unique_keys (project_id, key, task_id)
    SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[])";
pub const FREE_UNIQUE: &str = "DELETE FROM unique_keys WHERE task_id = ANY ($1::uuid[])";
pub const PUT_ITEM: &str = "INSERT INTO inbox_items (id, task_id, lease, kind, key, body, options,
    state, answer, answered_by, created_at, answered_at)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::smallint[], $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET lease = excluded.lease, state = excluded.state,
    answer = excluded.answer, answered_by = excluded.answered_by, answered_at = excluded.answered_at";
pub const PUT_CAPACITY: &str = "INSERT INTO capacity_keys (name, slots, parked_until)
    SELECT * FROM unnest($1::text[], $2::int[], $3::timestamptz[])
    ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, parked_until = excluded.parked_until";
/// Slots 0 to $2 of keys, where they do not exist.
pub const ADD_SLOTS: &str = "INSERT INTO slots (key, n)
    SELECT k.key, n FROM unnest($1::text[], $2::int[]) AS k (key, slots)
    CROSS JOIN LATERAL generate_series(0, coalesce(k.slots, 0) - 1) AS n
    ON CONFLICT (key, n) DO NOTHING";
/// Free slots above a key's limit.
pub const DROP_SLOTS: &str = "DELETE FROM slots s USING capacity_keys k
    WHERE s.key = ANY ($1::text[]) AND k.name = s.key AND s.task_id IS NULL
    AND s.n >= coalesce(k.slots, 0)";
pub const PUT_SESSION: &str = "INSERT INTO sessions (id, project_id, title, meta, created_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, title = excluded.title,
    meta = excluded.meta";
pub const DELETE_SESSION: &str = "DELETE FROM sessions WHERE id = ANY ($1::uuid[])";
pub const PUT_CHAT: &str = "INSERT INTO chats (id, project_id, session_id, title, meta, next_seq,
    created_at, forked_from, forked_seq) SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[],
    $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::uuid[], $9::bigint[])
    ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id,
    session_id = excluded.session_id, title = excluded.title, meta = excluded.meta,
    next_seq = excluded.next_seq";
/// What goes with chats is locked before it goes, in the order that everybody keeps.
pub const LOCK_OF_CHAT: [&str; 2] = [
    "SELECT FROM turns WHERE chat_id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE",
    "SELECT FROM agent_sessions WHERE chat_id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE",
];
pub const DELETE_CHAT: &str = "DELETE FROM chats WHERE id = ANY ($1::uuid[])";
pub const DELETE_ENTRIES: &str = "DELETE FROM entries WHERE stream = ANY ($1::uuid[])";
pub const INSERT_MESSAGE: &str = "INSERT INTO messages (chat_id, seq, id, role, content, task_id,
    created_at) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[],
    $6::uuid[], $7::timestamptz[])";
pub const PUT_INSTANCE: &str =
    "INSERT INTO instances (id, host, boot, pid, pid_start, beat, serves,
    started_at) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::bigint[],
    $6::bigint[], $7::text[], $8::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET host = excluded.host, boot = excluded.boot, pid = excluded.pid,
    pid_start = excluded.pid_start, beat = excluded.beat, serves = excluded.serves,
    started_at = excluded.started_at";
pub const DELETE_INSTANCE: &str = "DELETE FROM instances WHERE id = ANY ($1::uuid[])";
pub const INSERT_ENTRY: &str = "INSERT INTO entries (kind, stream, seq, at, body)
    SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::text[])";

// ---- claiming

/// The lanes with a ready task, one index probe each, and which of them may be served now:
/// given to the worker ($2), no key parked at $1, a free slot of each limited key. ($3, $4)
/// are the capacity keys of lanes. What is held is counted by `count(task_id)`, so that the
/// planner does not read the index of all held slots.
macro_rules! open_lanes {
    () => {
        "WITH RECURSIVE walk (lane) AS (
        (SELECT lane FROM task_states WHERE phase = 1 ORDER BY lane LIMIT 1)
        UNION ALL SELECT (SELECT s.lane FROM task_states s WHERE s.phase = 1 AND s.lane > w.lane
            ORDER BY s.lane LIMIT 1) FROM walk w WHERE w.lane IS NOT NULL),
    ready AS MATERIALIZED (SELECT lane FROM walk WHERE lane IS NOT NULL), gates AS MATERIALIZED (
        SELECT p.lane, bool_or(k.slots IS NOT NULL) AS limited,
            bool_or(k.parked_until > $1::timestamptz OR (k.slots IS NOT NULL AND k.slots <=
                (SELECT count(s.task_id) FROM slots s WHERE s.key = k.name)))
                AS shut FROM unnest($3::bigint[], $4::text[]) AS p (lane, key)
        JOIN capacity_keys k ON k.name = p.key
        WHERE p.lane IN (SELECT lane FROM ready) OR p.lane IS NULL GROUP BY p.lane),
    open AS MATERIALIZED (
        SELECT r.lane, r.lane IN (SELECT lane FROM gates WHERE limited) AS limited FROM ready r
        WHERE (r.lane IN (SELECT unnest($2::bigint[])) OR r.lane IS NULL)
        AND r.lane NOT IN (SELECT lane FROM gates WHERE shut))"
    };
}

/// The last part of a claim: marks the `heads`, and returns them with their cold rows.
#[rustfmt::skip]
macro_rules! taken {
    ($now:literal, $holder:literal, $claim:literal) => { concat!(
        "taken AS (UPDATE task_states s SET phase = 4, attempt = s.attempt + 1,
        lease = s.lease + 1, rev = s.rev + 1, holder = ", $holder, "::uuid, claim = ", $claim, "::bigint,
        started_at = ", $now, "::timestamptz FROM heads h WHERE s.id = h.id RETURNING s.*)"
    ) };
}

macro_rules! claimed_columns {
    () => {
        "s.id, s.phase, s.lane, s.priority, s.run_at, s.attempt, s.failures, s.interruptions,
    s.lease, s.rev, s.holder, s.claim, s.run_id, s.step_no, s.flags, s.started_at, s.ended_at,
    t.id, t.project_id, t.kind, t.input, t.priority, t.run_at, t.parent_task_id, t.arena_id,
    t.session_id, t.chat_id, t.run_id, t.step_no, t.agent, t.model, t.mode_id,
    t.thinking_option_id, t.unique_key, t.options, t.labels, t.meta, t.created_at, t.origin"
    };
}

macro_rules! claim {
    ($limited:expr) => {
        concat!(
        open_lanes!(),
            ",
            found AS MATERIALIZED (SELECT (SELECT array_agg(lane) FROM ready
                    WHERE lane NOT IN (SELECT unnest($5::bigint[]))) AS unknown,
                EXISTS (SELECT FROM open WHERE limited) AS limited), shares AS MATERIALIZED (
                SELECT f.lane, count(*) AS share FROM (
                    SELECT l.lane, h.priority, h.id FROM open l CROSS JOIN LATERAL (
                        SELECT s.id, s.priority FROM task_states s WHERE s.phase = 1 AND s.lane = l.lane
                        ORDER BY s.priority, s.id LIMIT $6::bigint) h
                    WHERE (SELECT unknown IS NULL AND NOT limited FROM found)
                    ORDER BY h.priority, h.id LIMIT $6::bigint) f GROUP BY f.lane),
            heads AS MATERIALIZED ( SELECT h.id FROM shares l CROSS JOIN LATERAL (
                    SELECT s.id FROM task_states s WHERE s.phase = 1 AND s.lane = l.lane
                    ORDER BY s.priority, s.id LIMIT l.share FOR UPDATE SKIP LOCKED) h),
            ",
            taken!("$1", "$7", "$8"),
            "
            SELECT f.unknown, ",
            $limited,
            ", ",
            claimed_columns!(),
            "
            FROM found f LEFT JOIN (taken s JOIN tasks t ON t.id = s.id) ON true
            ORDER BY s.priority, s.id"
        )
    };
}

/// Takes the first $6 ready tasks of the open lanes, unless there are lanes that this process
/// does not know ($5 are those it knows) or open lanes with a limited key: then it takes
/// nothing and says so. How many each lane has among the first is counted before any is
/// locked, so that the order is exact and no lock is taken in vain.
///
/// Returns at least one row: the unknown lanes or NULL, whether there are limited ones, and a
/// claimed task or NULLs.
pub const CLAIM: &str = claim!("f.limited");
/// The same where all lanes are known and none is limited, or it fails. $9 as above.
pub const CLAIM_OR_FAIL: &str = claim!(
    "1 / CASE WHEN f.unknown IS NULL AND NOT f.limited
        AND (SELECT value FROM meta WHERE name = 'writer_min') <= $9::bigint
        THEN 1 ELSE 0 END <> 1"
);
/// The first $5 ready tasks of each open lane.
pub const LANE_HEAD: &str = concat!(
    open_lanes!(),
    "
    SELECT l.lane, h.priority, h.id FROM open l CROSS JOIN LATERAL (
        SELECT s.id, s.priority FROM task_states s WHERE s.phase = 1 AND s.lane = l.lane
        ORDER BY s.priority, s.id LIMIT $5::bigint) h
    ORDER BY h.priority, h.id"
);
/// The free slots of limited keys, at most $2 of each; NULL for a key without.
pub const SLOTS_FREE: &str = "SELECT k.name, s.n FROM capacity_keys k LEFT JOIN LATERAL (
        SELECT s.n FROM slots s WHERE s.key = k.name AND s.task_id IS NULL AND s.n < k.slots
        ORDER BY s.n LIMIT greatest(0, least($2::bigint, k.slots -
            (SELECT count(h.task_id) FROM slots h WHERE h.key = k.name)))) s
    ON true WHERE k.name = ANY ($1::text[]) AND k.slots IS NOT NULL ORDER BY k.name, s.n";
/// Takes the tasks $1 with the slots ($5, $6) for the tasks $4. One whose row or slots
/// another transaction has locked or taken since is left out.
pub const TAKE_SLOT: &str = concat!(
    "WITH got AS MATERIALIZED (
        SELECT p.id, s.key, s.n FROM unnest($5::uuid[], $6::text[], $7::int[]) AS p (id, key, n)
        JOIN slots s ON s.key = p.key AND s.n = p.n
        WHERE s.task_id IS NULL FOR UPDATE OF s SKIP LOCKED),
    heads AS MATERIALIZED (
        SELECT s.id FROM task_states s WHERE s.id = ANY ($4::uuid[]) AND s.phase + 0 = 1
        AND (SELECT count(*) FROM unnest($5::uuid[]) AS p (id) WHERE p.id = s.id)
            = (SELECT count(*) FROM got WHERE got.id = s.id)
        FOR UPDATE OF s SKIP LOCKED),
    ",
    taken!("$1", "$2", "$3"),
    ",
    kept AS (UPDATE slots s SET task_id = t.id, lease = t.lease
        FROM taken t JOIN got g ON g.id = t.id WHERE s.key = g.key AND s.n = g.n)
    SELECT ",
    claimed_columns!(),
    " FROM taken s JOIN tasks t ON t.id = s.id ORDER BY s.priority, s.id"
);
pub const CLAIMED_BEFORE: &str = concat!(
    "SELECT ",
    claimed_columns!(),
    " FROM task_states s JOIN tasks t ON t.id = s.id
    WHERE s.phase = 4 AND s.holder = $1::uuid AND s.claim = $2::bigint ORDER BY s.priority, s.id"
);

// ---- what is due

pub const BEAT: &str = "UPDATE instances SET beat = beat + 1 WHERE id = $1::uuid";
pub const RIPE: &str = "SELECT id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at
    FROM task_states WHERE phase = 2 AND run_at <= $1::timestamptz ORDER BY run_at LIMIT $2::bigint";
/// Not `min`: where statistics know of no such row, the planner would read them all for it.
pub const NEXT_TIMER: &str =
    "SELECT (SELECT run_at FROM task_states WHERE phase = 2 ORDER BY run_at LIMIT 1)";
pub const NEXT_UNPARK: &str =
    "SELECT min(parked_until) FROM capacity_keys WHERE parked_until > $1::timestamptz";
pub const FOREIGN: &str = "SELECT id FROM tasks WHERE origin IS NULL ORDER BY id LIMIT $1::bigint";
pub const HELD: &str = "SELECT id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at
    FROM task_states WHERE phase = 4 AND holder = $1::uuid LIMIT $2::bigint";
/// The holders of running tasks, one index probe each.
pub const HOLDERS: &str = "WITH RECURSIVE walk (holder) AS (
        (SELECT holder FROM task_states WHERE phase = 4 ORDER BY holder LIMIT 1)
        UNION ALL
        SELECT (SELECT s.holder FROM task_states s WHERE s.phase = 4 AND s.holder > w.holder
            ORDER BY s.holder LIMIT 1)
        FROM walk w WHERE w.holder IS NOT NULL)
    SELECT w.holder, i.id, i.host, i.boot, i.pid, i.pid_start, i.beat, i.serves, i.started_at
    FROM walk w LEFT JOIN instances i ON i.id = w.holder WHERE w.holder IS NOT NULL";
/// Whether a lane with a ready task has no parked and no full key.
pub const ANY_READY: &str = "WITH RECURSIVE walk (lane) AS (
        (SELECT lane FROM task_states WHERE phase = 1 ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (SELECT s.lane FROM task_states s WHERE s.phase = 1 AND s.lane > w.lane
            ORDER BY s.lane LIMIT 1)
        FROM walk w WHERE w.lane IS NOT NULL)
    SELECT EXISTS (SELECT FROM walk w JOIN lanes l ON l.id = w.lane WHERE NOT EXISTS (
        SELECT FROM json_array_elements_text(l.keys::json) AS p (key)
        JOIN capacity_keys k ON k.name = p.key
        WHERE k.parked_until > $1::timestamptz OR k.slots <=
            (SELECT count(s.task_id) FROM slots s WHERE s.key = k.name)))";
/// The last entry that no running transaction can slip one before, or that was pruned.
pub const LAST_ENTRY: &str = "SELECT l.xid, l.pos FROM (
    (SELECT e.xid::text::bigint AS xid, e.pos FROM entries e
        WHERE e.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY e.xid DESC, e.pos DESC LIMIT 1)
    UNION ALL
    SELECT x.value, p.value FROM meta x, meta p WHERE x.name = 'pruned_xid' AND p.name = 'pruned_pos'
    ) l ORDER BY l.xid DESC, l.pos DESC LIMIT 1";

// ---- following

pub const TAIL: &str = "SELECT xid::text::bigint, pos, kind, stream, seq, at, body FROM entries
    WHERE stream = $1::uuid AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint";
/// In the order of the index: `e.xid`, since `xid` alone would be the number that is selected.
pub const TAIL_ALL: &str =
    "SELECT xid::text::bigint, pos, kind, stream, seq, at, body FROM entries e
    WHERE (e.xid, e.pos) > ($1::text::xid8, $2::bigint)
    AND e.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY e.xid, e.pos LIMIT $3::bigint";
/// Whether there are entries that a running transaction could still slip one before.
pub const HIDDEN: &str = "SELECT EXISTS (SELECT FROM entries
    WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()))";
/// The newest entry that was pruned.
pub const PRUNED: &str = "SELECT (SELECT value FROM meta WHERE name = 'pruned_xid'),
    (SELECT value FROM meta WHERE name = 'pruned_pos')";
pub const ENTRY_IS_KEPT: &str =
    "SELECT EXISTS (SELECT FROM entries WHERE stream = $1::uuid AND seq = $2::bigint)";

// ---- counting and pruning

/// One process prunes at a time. Nobody else locks this row.
pub const PRUNE_LOCK: &str = "SELECT FROM meta WHERE name = 'writer_min' FOR UPDATE";
/// Remembers the newest of the entries that were pruned.
pub const NOTE_PRUNED: &str = "INSERT INTO meta (name, value)
    VALUES ('pruned_xid', $1::bigint), ('pruned_pos', $2::bigint)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

pub const COUNT_TASKS: &str = "SELECT phase::bigint, count(*) FROM task_states GROUP BY phase";
pub const COUNT_FOREIGN: &str = "SELECT count(*) FROM tasks WHERE origin IS NULL";
pub const COUNT_INBOX: &str = "SELECT count(*) FROM inbox_items WHERE state = 0";
/// The same of a project: tasks (0) by phase, runs (1) by state, open items (2).
pub const COUNT_PROJECT: &str =
    "SELECT 0::bigint, coalesce(s.phase, 1)::bigint AS n, count(*) FROM tasks t
    LEFT JOIN task_states s ON s.id = t.id WHERE t.project_id = $1::text GROUP BY n
    UNION ALL SELECT 1, s.state::bigint AS n, count(*) FROM flow_runs r
    JOIN flow_run_states s ON s.id = r.id WHERE r.project_id = $1 GROUP BY n
    UNION ALL SELECT 2, 0, count(*) FROM inbox_items i JOIN tasks t ON t.id = i.task_id
    WHERE i.state = 0 AND t.project_id = $1";
pub const DISK_BYTES: &str = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";
/// Finished tasks that are no steps and have no children, oldest first.
pub const OLD_TASKS: &str = "SELECT s.id FROM task_states s
    WHERE s.phase >= 6 AND s.run_id IS NULL AND s.ended_at < $1::timestamptz
    AND NOT EXISTS (SELECT FROM tasks c WHERE c.parent_task_id = s.id)
    ORDER BY s.id LIMIT $2::bigint FOR UPDATE OF s SKIP LOCKED";
pub const DELETE_TASK: [&str; 5] = [
    "DELETE FROM task_attempts WHERE task_id = ANY ($1::uuid[])",
    "DELETE FROM inbox_items WHERE task_id = ANY ($1::uuid[])",
    "DELETE FROM unique_keys WHERE task_id = ANY ($1::uuid[])",
    "DELETE FROM task_states WHERE id = ANY ($1::uuid[])",
    "DELETE FROM tasks WHERE id = ANY ($1::uuid[])",
];
/// The entries of runs. How many, and the newest.
pub const PRUNE_ENTRIES_OF: &str = "WITH gone AS (
    DELETE FROM entries WHERE stream = ANY ($1::uuid[]) RETURNING xid, pos)
    SELECT xid::text::bigint, pos, count(*) OVER () FROM gone ORDER BY xid DESC, pos DESC LIMIT 1";
/// Old entries of chats and of runs that have ended. How many, and the newest.
pub const PRUNE_ENTRIES: &str = "WITH gone AS (DELETE FROM entries WHERE pos = ANY (ARRAY(
    SELECT e.pos FROM entries e LEFT JOIN flow_run_states r ON r.id = e.stream
    WHERE e.at < $1::timestamptz AND coalesce(r.state, 1) <> 0
    AND e.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY e.pos LIMIT $2::bigint))
    RETURNING xid, pos)
    SELECT xid::text::bigint, pos, count(*) OVER () FROM gone ORDER BY xid DESC, pos DESC LIMIT 1";

// ---- listing

/// Tasks, newest first, each with its hot row and last attempt. It is planned for the
/// conditions that are given, so each may use the index that fits it.
pub const LIST_TASKS: &str = concat!(
    "SELECT ",
    claimed_columns!(),
    ", a.task_id, a.lease, a.attempt, a.holder, a.started_at, a.ended_at, a.outcome, a.output,
    a.error, a.usage, a.recalled FROM tasks t LEFT JOIN task_states s ON s.id = t.id
    LEFT JOIN LATERAL (SELECT * FROM task_attempts a WHERE a.task_id = t.id
        ORDER BY a.lease DESC LIMIT 1) a ON true
    WHERE ($1::uuid IS NULL OR t.id < $1) AND ($2::text IS NULL OR t.project_id = $2)
    AND ($3::smallint[] IS NULL OR coalesce(s.phase, 1) = ANY ($3))
    AND ($4::text IS NULL OR t.kind = $4) AND ($5::uuid IS NULL OR t.parent_task_id = $5)
    AND ($6::uuid IS NULL OR t.arena_id = $6) AND ($7::uuid IS NULL OR t.chat_id = $7)
    AND ($8::uuid IS NULL OR t.run_id = $8)
    AND ($9::text IS NULL OR t.labels::json ->> $9 = $10::text)
    ORDER BY t.id DESC LIMIT $11::bigint"
);
macro_rules! items {
    () => {
        "SELECT i.id, i.task_id, i.lease, i.kind, i.key, i.body, i.options, i.state, i.answer,
    i.answered_by, i.created_at, i.answered_at FROM inbox_items i JOIN tasks t ON t.id = i.task_id
    WHERE ($1::text IS NULL OR t.project_id = $1) AND ($2::uuid IS NULL OR i.task_id = $2)"
    };
}
/// Open items, oldest first.
pub const LIST_OPEN: &str = concat!(
    items!(),
    " AND i.state = 0 AND ($3::uuid IS NULL OR i.id > $3) ORDER BY i.id LIMIT $4::bigint"
);
/// Any items, newest first.
pub const LIST_INBOX: &str = concat!(
    items!(),
    " AND ($3::uuid IS NULL OR i.id < $3) AND ($5::smallint[] IS NULL OR i.state = ANY ($5))
    ORDER BY i.id DESC LIMIT $4::bigint"
);
/// Capacity keys with the slots that are held and the ready tasks that carry them, which are
/// counted by lane.
pub const LIST_CAPACITY: &str = "WITH carried AS MATERIALIZED (
    SELECT j.key, sum(r.tasks)::bigint AS tasks
    FROM (SELECT lane, count(*) AS tasks FROM task_states WHERE phase = 1 GROUP BY lane) r
    JOIN lanes l ON l.id = r.lane, json_array_elements_text(l.keys::json) AS j (key) GROUP BY j.key)
    SELECT k.name, k.slots, k.parked_until,
    (SELECT count(s.task_id) FROM slots s WHERE s.key = k.name),
    coalesce((SELECT c.tasks FROM carried c WHERE c.key = k.name), 0)
    FROM capacity_keys k WHERE ($1::text IS NULL OR k.name = $1)
    AND ($2::text IS NULL OR k.name > $2 COLLATE \"C\")
    ORDER BY k.name COLLATE \"C\" LIMIT $3::bigint";
/// Each with the parts that it was written in, as an array of each column.
pub const LIST_MESSAGES: &str = "SELECT m.chat_id, m.seq, m.id, m.role, m.content, m.task_id,
    m.created_at, p.nos, p.kinds, p.starts, p.bodies
    FROM messages m CROSS JOIN LATERAL (SELECT array_agg(no ORDER BY no) AS nos,
        array_agg(kind ORDER BY no) AS kinds, array_agg(start ORDER BY no) AS starts,
        array_agg(body ORDER BY no) AS bodies FROM message_parts WHERE message_id = m.id) p
    WHERE m.chat_id = $1::uuid AND m.seq > $2::bigint ORDER BY m.seq LIMIT $3::bigint";
pub const LIST_SESSIONS: &str = "SELECT id, project_id, title, meta, created_at
    FROM sessions WHERE ($1::text IS NULL OR project_id = $1) AND ($2::uuid IS NULL OR id < $2)
    ORDER BY id DESC LIMIT $3::bigint";
pub const LIST_CHATS: &str = "SELECT id, project_id, session_id, title, meta, next_seq, created_at,
    forked_from, forked_seq FROM chats WHERE ($1::text IS NULL OR project_id = $1)
    AND ($2::uuid IS NULL OR session_id = $2) AND ($3::uuid IS NULL OR id < $3)
    ORDER BY id DESC LIMIT $4::bigint";

// ---- names: statements that take no parameters

/// A name in a statement.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn search_path(schema: &str) -> String {
    format!("SET search_path = {}", quoted(schema))
}

pub fn create_schema(schema: &str) -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema))
}

pub fn back_up(schema: &str, copy: &str, table: &str) -> String {
    let (schema, copy, table) = (quoted(schema), quoted(copy), quoted(table));
    format!("CREATE TABLE {copy}.{table} AS TABLE {schema}.{table}")
}

/// The commit of a notification need not reach the disk before it is sent.
pub const NOTIFIER_SETTINGS: &str = "SET synchronous_commit = off";

pub fn listen(channel: &str) -> String {
    format!("LISTEN {}", quoted(channel))
}

pub const NOTIFY: &str = "SELECT pg_notify($1::text, $2::text)";
