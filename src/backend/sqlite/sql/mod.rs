//! Every SQL statement of this backend. `postgres/sql/mod.rs` has the same names in the same
//! order: their difference is the list of dialect differences.

mod agents;
mod flows;

pub use agents::*;
pub use flows::*;

use crate::model::{ItemFilter, TaskFilter};

// ---- the connection and the schema

/// The oldest schema version that may write.
pub const WRITER_MIN: &str = "SELECT value FROM segue_meta WHERE name = 'writer_min'";
/// The newest migration that was applied.
pub const SCHEMA_VERSION: &str = "SELECT max(version) FROM segue_schema_history";
/// Whether migrations were ever applied here.
pub const HAS_SCHEMA: &str =
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'segue_schema_history'";

pub const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS segue_schema_history
    (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255))";
pub const HISTORY: &str = "SELECT version, checksum FROM segue_schema_history ORDER BY version";
pub const ADD_HISTORY: &str =
    "INSERT INTO segue_schema_history (version, name, applied_on, checksum)
    VALUES (?1, ?2, ?3, ?4)";

// ---- loading by key

pub const TASK: &str = "SELECT id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at
    FROM segue_task_states WHERE id = ?1";
/// Where a task belongs, and what its line is if it is a prompt.
pub const ROUTE: &str = "SELECT s.id, s.run_id, s.step_no, s.flags, t.chat_id, t.agent
    FROM segue_task_states s JOIN segue_tasks t ON t.id = s.id WHERE s.id = ?1";
pub const SPEC: &str = "SELECT id, project_id, kind, input, priority, run_at, parent_task_id,
    arena_id, session_id, chat_id, run_id, step_no, agent, model, mode_id, thinking_option_id,
    unique_key, options, labels, meta, created_at, origin
    FROM segue_tasks WHERE id = ?1";
pub const CHILDREN: &str = "SELECT id FROM segue_tasks WHERE parent_task_id = ?1";
pub const ATTEMPTS: &str = "SELECT task_id, lease, attempt, holder, started_at, ended_at, outcome,
    output, error, usage, recalled FROM segue_task_attempts WHERE task_id = ?1";
pub const ITEM: &str = "SELECT id, task_id, lease, kind, key, body, options, state, answer,
    answered_by, created_at, answered_at FROM segue_inbox_items WHERE id = ?1";
pub const ITEMS_OF: &str = "SELECT id, task_id, lease, kind, key, body, options, state, answer,
    answered_by, created_at, answered_at FROM segue_inbox_items WHERE task_id = ?1";
pub const UNIQUE: &str =
    "SELECT project_id, key, task_id FROM segue_unique_keys WHERE project_id = ?1 AND key = ?2";
pub const UNIQUE_ALL: &str = "SELECT project_id, key, task_id FROM segue_unique_keys";
pub const CAPACITY: &str =
    "SELECT name, slots, parked_until FROM segue_capacity_keys WHERE name = ?1";
pub const SLOTS: &str = "SELECT key, n, task_id, lease FROM segue_slots WHERE key = ?1";
pub const LANE: &str = "SELECT id, needs, keys FROM segue_lanes WHERE id = ?1";
pub const SESSION: &str =
    "SELECT id, project_id, title, meta, created_at FROM segue_sessions WHERE id = ?1";
pub const CHAT: &str = "SELECT id, project_id, session_id, title, meta, next_seq, created_at,
    forked_from, forked_seq FROM segue_chats WHERE id = ?1";
pub const MESSAGE: &str = "SELECT chat_id, seq, id, role, content, task_id, created_at
    FROM segue_messages WHERE id = ?1";
pub const INSTANCE: &str = "SELECT id, host, boot, pid, pid_start, beat, serves, started_at
    FROM segue_instances WHERE id = ?1";
pub const INSTANCES_ALL: &str = "SELECT id, host, boot, pid, pid_start, beat, serves, started_at
    FROM segue_instances";
pub const ENTRIES_ALL: &str = "SELECT pos, kind, stream, seq, at, body FROM segue_entries";

/// All rows of the table that a statement loads by key.
pub fn all(by_key: &'static str) -> &'static str {
    by_key.split_once(" WHERE ").map_or(by_key, |(all, _)| all)
}

// ---- saving

pub const INSERT_LANE: &str =
    "INSERT INTO segue_lanes (id, needs, keys) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
/// No row is written where the id is taken.
pub const INSERT_SPEC: &str = "INSERT INTO segue_tasks (id, project_id, kind, input, priority,
    run_at, parent_task_id, arena_id, session_id, chat_id, run_id, step_no, agent, model, mode_id,
    thinking_option_id, unique_key, options, labels, meta, created_at, origin)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
    ?20, ?21, 'segue') ON CONFLICT (id) DO NOTHING";
pub const ADOPT_SPEC: &str = "UPDATE segue_tasks SET origin = 'adopted' WHERE id = ?1";
pub const INSERT_TASK: &str = "INSERT INTO segue_task_states (id, phase, lane, priority, run_at,
    attempt, failures, interruptions, lease, rev, holder, claim, run_id, step_no, flags,
    started_at, ended_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
/// Guarded by the lease and the revision before: no row is written where it has moved on.
pub const UPDATE_TASK: &str = "UPDATE segue_task_states SET phase = ?2, run_at = ?3, attempt = ?4,
    failures = ?5, interruptions = ?6, rev = ?8, holder = ?9, claim = ?10, flags = ?11,
    started_at = ?12, ended_at = ?13 WHERE id = ?1 AND lease = ?7
    AND rev = ?8 - 1";
pub const INSERT_ATTEMPT: &str = "INSERT INTO segue_task_attempts (task_id, lease, attempt, holder,
    started_at, ended_at, outcome, output, error, usage, recalled)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
pub const FREE_SLOTS: &str =
    "UPDATE segue_slots SET task_id = NULL, lease = NULL WHERE task_id = ?1";
pub const INSERT_UNIQUE: &str =
    "INSERT INTO segue_unique_keys (project_id, key, task_id) VALUES (?1, ?2, ?3)";
pub const FREE_UNIQUE: &str = "DELETE FROM segue_unique_keys WHERE task_id = ?1";
pub const PUT_ITEM: &str = "INSERT OR REPLACE INTO segue_inbox_items (id, task_id, lease, kind,
    key, body, options, state, answer, answered_by, created_at, answered_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
pub const PUT_CAPACITY: &str =
    "INSERT OR REPLACE INTO segue_capacity_keys (name, slots, parked_until) VALUES (?1, ?2, ?3)";
/// Slots 0 to ?2 of a key, where they do not exist.
pub const ADD_SLOTS: &str = "WITH RECURSIVE number (n) AS
    (SELECT 0 WHERE ?2 > 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?2)
    INSERT INTO segue_slots (key, n) SELECT ?1, n FROM number WHERE true
    ON CONFLICT (key, n) DO NOTHING";
/// Free slots above a key's limit.
pub const DROP_SLOTS: &str = "DELETE FROM segue_slots WHERE key = ?1 AND task_id IS NULL AND n >=
    coalesce((SELECT slots FROM segue_capacity_keys WHERE name = ?1), 0)";
/// The same, for the keys that a task holds.
pub const DROP_SLOTS_OF: &str = "SELECT key FROM segue_slots WHERE task_id = ?1";
pub const PUT_SESSION: &str = "INSERT INTO segue_sessions (id, project_id, title, meta, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET title = excluded.title, meta = excluded.meta";
pub const DELETE_SESSION: &str = "DELETE FROM segue_sessions WHERE id = ?1";
pub const PUT_CHAT: &str = "INSERT INTO segue_chats (id, project_id, session_id, title, meta,
    next_seq, created_at, forked_from, forked_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (id) DO UPDATE SET session_id = excluded.session_id, title = excluded.title,
    meta = excluded.meta, next_seq = excluded.next_seq";
pub const DELETE_CHAT: &str = "DELETE FROM segue_chats WHERE id = ?1";
pub const DELETE_ENTRIES: &str = "DELETE FROM segue_entries WHERE stream = ?1";
pub const INSERT_MESSAGE: &str = "INSERT INTO segue_messages (chat_id, seq, id, role, content,
    task_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
pub const PUT_INSTANCE: &str = "INSERT OR REPLACE INTO segue_instances (id, host, boot, pid,
    pid_start, beat, serves, started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
pub const DELETE_INSTANCE: &str = "DELETE FROM segue_instances WHERE id = ?1";
pub const INSERT_ENTRY: &str =
    "INSERT INTO segue_entries (kind, stream, seq, at, body) VALUES (?1, ?2, ?3, ?4, ?5)";

// ---- claiming

/// The next lane after ?1 that has a ready task, with its head.
pub const NEXT_LANE: &str = "SELECT lane, priority, id FROM segue_task_states
    WHERE phase = 1 AND lane > ?1 ORDER BY lane, priority, id LIMIT 1";
/// What follows (?2, ?3) in a lane.
pub const LANE_REST: &str = "SELECT lane, priority, id FROM segue_task_states
    WHERE phase = 1 AND lane = ?1 AND (priority, id) > (?2, ?3) ORDER BY priority, id LIMIT ?4";
pub const CLAIM: &str = "UPDATE segue_task_states SET phase = 4, attempt = attempt + 1,
    lease = lease + 1, rev = rev + 1, holder = ?2, claim = ?3, started_at = ?4
    WHERE id = ?1 AND phase = 1
    RETURNING id, phase, lane, priority, run_at, attempt, failures, interruptions, lease, rev,
    holder, claim, run_id, step_no, flags, started_at, ended_at";
pub const SLOTS_HELD: &str =
    "SELECT count(*) FROM segue_slots WHERE key = ?1 AND task_id IS NOT NULL";
pub const TAKE_SLOT: &str = "UPDATE segue_slots SET task_id = ?2, lease = ?3 WHERE key = ?1
    AND n = (SELECT min(n) FROM segue_slots WHERE key = ?1 AND task_id IS NULL)";
pub const CLAIMED_BEFORE: &str = "SELECT id FROM segue_task_states
    WHERE phase = 4 AND holder = ?1 AND claim = ?2 ORDER BY priority, id";

// ---- what is due

pub const BEAT: &str = "UPDATE segue_instances SET beat = beat + 1 WHERE id = ?1";
pub const RIPE: &str = "SELECT id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at
    FROM segue_task_states WHERE phase = 2 AND run_at <= ?1 ORDER BY run_at LIMIT ?2";
pub const NEXT_TIMER: &str = "SELECT min(run_at) FROM segue_task_states WHERE phase = 2";
pub const NEXT_UNPARK: &str =
    "SELECT min(parked_until) FROM segue_capacity_keys WHERE parked_until > ?1";
pub const FOREIGN: &str = "SELECT id FROM segue_tasks WHERE origin IS NULL ORDER BY id LIMIT ?1";
pub const HELD: &str = "SELECT id, phase, lane, priority, run_at, attempt, failures, interruptions,
    lease, rev, holder, claim, run_id, step_no, flags, started_at, ended_at
    FROM segue_task_states WHERE phase = 4 AND holder = ?1 LIMIT ?2";
/// The next holder after ?1 of a running task.
pub const NEXT_HOLDER: &str =
    "SELECT min(holder) FROM segue_task_states WHERE phase = 4 AND holder > ?1";
pub const ANY_READY: &str = "SELECT EXISTS (SELECT 1 FROM segue_task_states WHERE phase = 1)";
/// The newest entry, whether it is kept or was pruned.
pub const LAST_ENTRY: &str = "SELECT max(coalesce((SELECT max(pos) FROM segue_entries), 0),
    coalesce((SELECT value FROM segue_meta WHERE name = 'pruned'), 0))";

// ---- following

pub const TAIL: &str = "SELECT pos, kind, stream, seq, at, body FROM segue_entries
    WHERE stream = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
pub const TAIL_ALL: &str = "SELECT pos, kind, stream, seq, at, body FROM segue_entries
    WHERE pos > ?1 ORDER BY pos LIMIT ?2";

/// The newest entry that was pruned.
pub const PRUNED: &str = "SELECT value FROM segue_meta WHERE name = 'pruned'";
pub const ENTRY_IS_KEPT: &str =
    "SELECT EXISTS (SELECT 1 FROM segue_entries WHERE stream = ?1 AND seq = ?2)";

// ---- counting and pruning

/// Remembers, before entries are pruned, the newest of those that will be.
pub const NOTE_PRUNED: &str = "INSERT INTO segue_meta (name, value)
    SELECT 'pruned', max(pos) FROM segue_entries WHERE stream = ?1 HAVING max(pos) IS NOT NULL
    ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)";
pub const NOTE_PRUNED_ENTRIES: &str = "INSERT INTO segue_meta (name, value)
    SELECT 'pruned', max(pos) FROM (SELECT e.pos FROM segue_entries e
        LEFT JOIN segue_flow_run_states r ON r.id = e.stream
        WHERE e.at < ?1 AND coalesce(r.state, 1) <> 0 ORDER BY e.pos LIMIT ?2)
    HAVING max(pos) IS NOT NULL
    ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)";

pub const COUNT_TASKS: &str = "SELECT phase, count(*) FROM segue_task_states GROUP BY phase";
pub const COUNT_FOREIGN: &str = "SELECT count(*) FROM segue_tasks WHERE origin IS NULL";
pub const COUNT_INBOX: &str = "SELECT count(*) FROM segue_inbox_items WHERE state = 0";
/// The same of a project: tasks (0) by phase, runs (1) by state, open items (2).
pub const COUNT_PROJECT: &str = "SELECT 0, coalesce(s.phase, 1), count(*) FROM segue_tasks t
    LEFT JOIN segue_task_states s ON s.id = t.id WHERE t.project_id = ?1 GROUP BY 2
    UNION ALL SELECT 1, s.state, count(*) FROM segue_flow_runs r
    JOIN segue_flow_run_states s ON s.id = r.id WHERE r.project_id = ?1 GROUP BY 2
    UNION ALL SELECT 2, 0, count(*) FROM segue_inbox_items i CROSS JOIN
    segue_tasks t ON t.id = i.task_id WHERE i.state = 0 AND t.project_id = ?1";
/// The bytes of all pages, and of those that are in use.
pub const DISK_BYTES: &str =
    "SELECT page_count * page_size, (page_count - freelist_count) * page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
/// Finished tasks that are no steps and have no children, oldest first.
pub const OLD_TASKS: &str = "SELECT s.id FROM segue_task_states s
    WHERE s.phase >= 6 AND s.run_id IS NULL AND s.ended_at < ?1
    AND NOT EXISTS (SELECT 1 FROM segue_tasks c WHERE c.parent_task_id = s.id)
    ORDER BY s.id LIMIT ?2";
pub const DELETE_TASK: [&str; 5] = [
    "DELETE FROM segue_task_attempts WHERE task_id = ?1",
    "DELETE FROM segue_inbox_items WHERE task_id = ?1",
    "DELETE FROM segue_unique_keys WHERE task_id = ?1",
    "DELETE FROM segue_task_states WHERE id = ?1",
    "DELETE FROM segue_tasks WHERE id = ?1",
];
/// Old entries of chats and of runs that have ended.
pub const PRUNE_ENTRIES: &str = "DELETE FROM segue_entries WHERE pos IN (
    SELECT e.pos FROM segue_entries e LEFT JOIN segue_flow_run_states r ON r.id = e.stream
    WHERE e.at < ?1 AND coalesce(r.state, 1) <> 0 ORDER BY e.pos LIMIT ?2)";

// ---- listing

/// The ids of tasks, newest first. The conditions use the index that fits them best.
pub fn list_tasks(filter: &TaskFilter) -> String {
    let mut sql = "SELECT t.id FROM segue_tasks t LEFT JOIN segue_task_states s ON s.id = t.id
        WHERE (:after IS NULL OR t.id < :after)"
        .to_owned();
    let conditions = [
        (filter.project.is_some(), " AND t.project_id = :project"),
        (
            !filter.states.is_empty(),
            " AND coalesce(s.phase, 1) IN (SELECT value FROM json_each(:phases))",
        ),
        (filter.kind.is_some(), " AND t.kind = :kind"),
        (filter.parent.is_some(), " AND t.parent_task_id = :parent"),
        (filter.arena.is_some(), " AND t.arena_id = :arena"),
        (filter.chat.is_some(), " AND t.chat_id = :chat"),
        (filter.run.is_some(), " AND t.run_id = :run"),
        (
            filter.label.is_some(),
            " AND EXISTS (SELECT 1 FROM json_each(t.labels)
                WHERE key = :label AND type = 'text' AND value = :value)",
        ),
    ];
    for (wanted, condition) in conditions {
        if wanted {
            sql.push_str(condition);
        }
    }
    sql.push_str(" ORDER BY t.id DESC LIMIT :limit");
    sql
}

/// Items: the open ones oldest first, any others newest first. A cross join, so that the few items
/// are read before the many tasks of a project.
pub fn list_inbox(filter: &ItemFilter) -> String {
    let mut sql = "SELECT i.id, task_id, lease, i.kind, key, body, i.options, state, answer,
        answered_by, i.created_at, answered_at
        FROM segue_inbox_items i CROSS JOIN segue_tasks t ON t.id = i.task_id WHERE true"
        .to_owned();
    let (open, order) = match filter.is_open() {
        true => (true, " AND (:after IS NULL OR i.id > :after) ORDER BY i.id LIMIT :limit"),
        false => (false, " AND (:after IS NULL OR i.id < :after) ORDER BY i.id DESC LIMIT :limit"),
    };
    let some = !open && !filter.states.is_empty();
    let conditions = [
        (open, " AND i.state = 0"),
        (some, " AND i.state IN (SELECT value FROM json_each(:states))"),
        (filter.project.is_some(), " AND t.project_id = :project"),
        (filter.task.is_some(), " AND i.task_id = :task"),
    ];
    for (_, condition) in conditions.into_iter().filter(|(wanted, _)| *wanted) {
        sql.push_str(condition);
    }
    sql.push_str(order);
    sql
}

/// Capacity keys with the slots that are held and the ready tasks that carry them, which are
/// counted by lane.
pub const LIST_CAPACITY: &str = "WITH carried AS MATERIALIZED (
    SELECT j.value AS key, sum(r.tasks) AS tasks FROM
        (SELECT lane, count(*) AS tasks FROM segue_task_states WHERE phase = 1 GROUP BY lane) r
    JOIN segue_lanes l ON l.id = r.lane, json_each(l.keys) j GROUP BY j.value)
    SELECT k.name, k.slots, k.parked_until,
    (SELECT count(s.task_id) FROM segue_slots s WHERE s.key = k.name),
    coalesce((SELECT c.tasks FROM carried c WHERE c.key = k.name), 0)
    FROM segue_capacity_keys k WHERE (?1 IS NULL OR k.name = ?1) AND (?2 IS NULL OR k.name > ?2)
    ORDER BY k.name LIMIT ?3";
pub const LIST_MESSAGES: &str = "SELECT chat_id, seq, id, role, content, task_id, created_at
    FROM segue_messages WHERE chat_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
pub const LIST_SESSIONS: &str = "SELECT id, project_id, title, meta, created_at
    FROM segue_sessions WHERE (?1 IS NULL OR project_id = ?1) AND (?2 IS NULL OR id < ?2)
    ORDER BY id DESC LIMIT ?3";
pub const LIST_CHATS: &str = "SELECT id, project_id, session_id, title, meta, next_seq, created_at,
    forked_from, forked_seq FROM segue_chats WHERE (?1 IS NULL OR project_id = ?1) AND (?2 IS NULL OR session_id = ?2)
    AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4";

// ---- pragmas

/// In this order: the time to wait comes first, since changing the journal mode of a fresh
/// file may have to wait for another process that does the same.
/// The log is synced by its writers after each commit, and folded back by them.
pub const PRAGMAS: [(&str, &str); 8] = [
    ("busy_timeout", "10000"),
    ("auto_vacuum", "2"),
    ("journal_mode", "wal"),
    ("synchronous", "1"),
    ("wal_autocheckpoint", "0"),
    ("foreign_keys", "1"),
    ("cache_size", "-16000"),
    ("journal_size_limit", "67108864"),
];
pub const DATA_VERSION: &str = "PRAGMA data_version";
pub const SHRINK: &str = "PRAGMA incremental_vacuum(2000)";
pub const FOLD: &str = "PRAGMA wal_checkpoint(PASSIVE)";
pub const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
pub const BACK_UP: &str = "VACUUM INTO ?1";
