-- Tasks, what they wait for and what they leave behind. Times are microseconds
-- since 1970 (UTC); ids are 16 bytes; JSON is kept as text.

CREATE TABLE segue_meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The oldest schema a program must know to write here. Each commit checks it.
INSERT INTO segue_meta (name, value) VALUES ('writer_min', 1);

CREATE TABLE segue_sessions (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    project_id TEXT NOT NULL,
    title      TEXT NOT NULL DEFAULT '',
    meta       TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_sessions_by_project ON segue_sessions (project_id, id);

CREATE TABLE segue_chats (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    project_id TEXT NOT NULL,
    session_id BLOB REFERENCES segue_sessions (id) ON DELETE SET NULL,
    title      TEXT NOT NULL DEFAULT '',
    meta       TEXT,
    next_seq   INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_chats_by_project ON segue_chats (project_id, id);
CREATE INDEX segue_chats_by_session ON segue_chats (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE segue_messages (
    chat_id    BLOB NOT NULL REFERENCES segue_chats (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL,
    id         BLOB NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    content    TEXT NOT NULL,
    task_id    BLOB,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (chat_id, seq)
) STRICT;

-- What was asked for. Written once; no hot statement touches it. Another program
-- may insert here: it gives project_id and input, leaves origin NULL, and the
-- engine adopts the row. SQLite before 3.41 lacks unhex() and must give an id too.
CREATE TABLE segue_tasks (
    -- A row without an id gets one that is ordered by time (UUID version 7): the milliseconds
    -- since 1970, byte by byte, then random ones. SQLite before 3.41, which other programs may
    -- carry, has no function that makes a byte of a number; substr() of all bytes does.
    id             BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16) DEFAULT (CAST(
        substr(x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) >> 40 & 255) + 1, 1)
        || substr(x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) >> 32 & 255) + 1, 1)
        || substr(x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) >> 24 & 255) + 1, 1)
        || substr(x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) >> 16 & 255) + 1, 1)
        || substr(x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) >> 8 & 255) + 1, 1)
        || substr(x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) >> 0 & 255) + 1, 1)
        || substr(x'707172737475767778797a7b7c7d7e7f', (random() & 15) + 1, 1) || randomblob(1)
        || substr(x'808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf', (random() & 63) + 1, 1) || randomblob(7) AS BLOB)),
    project_id     TEXT NOT NULL,
    kind           TEXT NOT NULL DEFAULT 'agent',
    input          TEXT NOT NULL,
    priority       INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -32768 AND 32767),
    run_at         INTEGER,
    parent_task_id BLOB REFERENCES segue_tasks (id) CHECK (length(parent_task_id) = 16),
    arena_id       BLOB CHECK (length(arena_id) = 16),
    session_id     BLOB REFERENCES segue_sessions (id) ON DELETE SET NULL CHECK (length(session_id) = 16),
    chat_id        BLOB REFERENCES segue_chats (id) ON DELETE SET NULL CHECK (length(chat_id) = 16),
    run_id         BLOB CHECK (length(run_id) = 16),
    step_no        INTEGER,
    agent          TEXT,
    model          TEXT,
    mode_id        TEXT,
    thinking_option_id TEXT,
    unique_key     TEXT,
    options        TEXT,
    labels         TEXT CHECK (json_type(labels) = 'object'),
    meta           TEXT CHECK (length(CAST(meta AS BLOB)) <= 4096),
    origin         TEXT,
    created_at     INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)
) STRICT;
CREATE INDEX segue_tasks_by_project ON segue_tasks (project_id, id);
CREATE INDEX segue_tasks_foreign ON segue_tasks (id) WHERE origin IS NULL;
CREATE INDEX segue_tasks_by_run ON segue_tasks (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX segue_tasks_by_parent ON segue_tasks (parent_task_id) WHERE parent_task_id IS NOT NULL;
CREATE INDEX segue_tasks_by_arena ON segue_tasks (arena_id) WHERE arena_id IS NOT NULL;
CREATE INDEX segue_tasks_by_session ON segue_tasks (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX segue_tasks_by_chat ON segue_tasks (chat_id) WHERE chat_id IS NOT NULL;

-- Where a task stands: the hot row. phase: 0 waiting, 1 ready, 2 scheduled, 3 paused,
-- 4 running, 5 blocked, 6 completed, 7 failed, 8 cancelled. Finished rows are in none
-- of its indexes.
CREATE TABLE segue_task_states (
    id            BLOB PRIMARY KEY NOT NULL,
    phase         INTEGER NOT NULL,
    lane          INTEGER NOT NULL,
    priority      INTEGER NOT NULL,
    run_at        INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    interruptions INTEGER NOT NULL,
    lease         INTEGER NOT NULL,
    rev           INTEGER NOT NULL,
    holder        BLOB,
    claim         INTEGER NOT NULL,
    run_id        BLOB,
    step_no       INTEGER NOT NULL,
    flags         INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    ended_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_task_states_ready ON segue_task_states (lane, priority, id) WHERE phase = 1;
CREATE INDEX segue_task_states_timer ON segue_task_states (run_at) WHERE phase = 2;
CREATE INDEX segue_task_states_running ON segue_task_states (holder, claim) WHERE phase = 4;

-- One row per attempt, inserted once when it ends.
CREATE TABLE segue_task_attempts (
    task_id     BLOB NOT NULL,
    lease       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    holder      BLOB,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    outcome     INTEGER NOT NULL,
    output      TEXT,
    error       TEXT,
    usage       TEXT,
    -- The task whose output it took instead of doing the work again.
    recalled    BLOB,
    PRIMARY KEY (task_id, lease)
) STRICT;

-- What decides whether a worker may take a task: what it must be able to do, and the
-- capacity keys. The id is a hash of both.
CREATE TABLE segue_lanes (
    id    INTEGER PRIMARY KEY NOT NULL,
    needs TEXT NOT NULL,
    keys  TEXT NOT NULL
) STRICT;

CREATE TABLE segue_capacity_keys (
    name         TEXT PRIMARY KEY NOT NULL,
    slots        INTEGER,
    parked_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE segue_slots (
    key     TEXT NOT NULL,
    n       INTEGER NOT NULL,
    task_id BLOB,
    lease   INTEGER,
    PRIMARY KEY (key, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_slots_by_task ON segue_slots (task_id) WHERE task_id IS NOT NULL;

CREATE TABLE segue_unique_keys (
    project_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    task_id    BLOB NOT NULL,
    PRIMARY KEY (project_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_unique_keys_by_task ON segue_unique_keys (task_id);

CREATE TABLE segue_inbox_items (
    id          BLOB PRIMARY KEY NOT NULL,
    task_id     BLOB NOT NULL,
    lease       INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    key         TEXT NOT NULL,
    body        TEXT NOT NULL,
    options     TEXT NOT NULL,
    state       INTEGER NOT NULL,
    answer      TEXT,
    answered_by TEXT,
    created_at  INTEGER NOT NULL,
    answered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_inbox_items_by_task ON segue_inbox_items (task_id);
CREATE INDEX segue_inbox_items_open ON segue_inbox_items (id) WHERE state = 0;

CREATE TABLE segue_instances (
    id         BLOB PRIMARY KEY NOT NULL,
    host       TEXT NOT NULL,
    boot       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    pid_start  INTEGER NOT NULL,
    beat       INTEGER NOT NULL,
    serves     TEXT NOT NULL,
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened, for watchers: one packed row per stream and commit.
CREATE TABLE segue_entries (
    pos    INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    stream BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    body   TEXT NOT NULL,
    UNIQUE (stream, seq)
) STRICT;

CREATE VIEW segue_task_overview AS
SELECT t.id, t.project_id, t.parent_task_id,
       CASE coalesce(s.phase, 1) WHEN 4 THEN 'running' WHEN 5 THEN 'blocked' WHEN 6 THEN 'completed'
            WHEN 7 THEN 'failed' WHEN 8 THEN 'cancelled' ELSE 'pending' END AS state,
       t.kind, t.input, substr(a.output, 1, 500) AS output_summary, a.error, t.agent, t.model,
       a.usage ->> '$.tokens' AS cost_tokens, t.session_id, t.chat_id, t.arena_id, t.mode_id,
       t.thinking_option_id, nullif(s.started_at, 0) AS started_at, nullif(s.ended_at, 0) AS ended_at,
       t.created_at
FROM segue_tasks t
LEFT JOIN segue_task_states s ON s.id = t.id
LEFT JOIN segue_task_attempts a ON a.task_id = s.id AND a.lease = s.lease;

CREATE VIEW segue_human_inbox AS
SELECT i.id, i.task_id, t.project_id, t.chat_id, i.kind, i.key, i.body, i.options, i.created_at
FROM segue_inbox_items i JOIN segue_tasks t ON t.id = i.task_id
WHERE i.state = 0;
