-- Tasks, what they wait for and what they leave behind. The schema is the
-- connection's search_path; JSON is kept as text, since jsonb changes what it is given.

CREATE TABLE meta (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);

-- The oldest schema a program must know to write here. Each commit checks it.
INSERT INTO meta (name, value) VALUES ('writer_min', 1);

CREATE TABLE sessions (
    id         uuid PRIMARY KEY,
    project_id text NOT NULL,
    title      text NOT NULL DEFAULT '',
    meta       text,
    created_at timestamptz NOT NULL
);
CREATE INDEX sessions_by_project ON sessions (project_id, id);

CREATE TABLE chats (
    id         uuid PRIMARY KEY,
    project_id text NOT NULL,
    session_id uuid REFERENCES sessions (id) ON DELETE SET NULL,
    title      text NOT NULL DEFAULT '',
    meta       text,
    next_seq   bigint NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX chats_by_project ON chats (project_id, id);
CREATE INDEX chats_by_session ON chats (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE messages (
    chat_id    uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq        bigint NOT NULL,
    id         uuid NOT NULL UNIQUE,
    role       text NOT NULL,
    content    text NOT NULL,
    task_id    uuid,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (chat_id, seq)
);

-- A time-ordered id (UUID version 7) for rows that other programs insert.
CREATE FUNCTION new_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;

-- Whether labels are an object of strings. Text that is no JSON, or whose strings can't be
-- stored as text, is an error. In plpgsql, since each statement that inserts would parse a
-- function in SQL anew.
CREATE FUNCTION are_labels(labels text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN json_typeof(labels::json) = 'object'
        AND NOT EXISTS (SELECT FROM json_each(labels::json) WHERE json_typeof(value) <> 'string');
END
$$;

-- What was asked for. Written once; no hot statement touches it. Another program
-- may insert here: it gives project_id and input, leaves origin NULL, and the
-- engine adopts the row.
CREATE TABLE tasks (
    id             uuid PRIMARY KEY DEFAULT new_id(),
    project_id     text NOT NULL,
    kind           text NOT NULL DEFAULT 'agent',
    input          text NOT NULL,
    priority       smallint NOT NULL DEFAULT 0,
    run_at         timestamptz,
    parent_task_id uuid REFERENCES tasks (id),
    arena_id       uuid,
    session_id     uuid REFERENCES sessions (id) ON DELETE SET NULL,
    chat_id        uuid REFERENCES chats (id) ON DELETE SET NULL,
    run_id         uuid,
    step_no        integer,
    agent          text,
    model          text,
    mode_id        text,
    thinking_option_id text,
    unique_key     text,
    options        text,
    labels         text CHECK (are_labels(labels)),
    meta           text CHECK (octet_length(meta) <= 4096),
    origin         text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX tasks_by_project ON tasks (project_id, id);
CREATE INDEX tasks_foreign ON tasks (id) WHERE origin IS NULL;
CREATE INDEX tasks_by_run ON tasks (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX tasks_by_parent ON tasks (parent_task_id) WHERE parent_task_id IS NOT NULL;
CREATE INDEX tasks_by_arena ON tasks (arena_id) WHERE arena_id IS NOT NULL;
CREATE INDEX tasks_by_session ON tasks (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX tasks_by_chat ON tasks (chat_id) WHERE chat_id IS NOT NULL;

-- Where a task stands: the hot row. phase: 0 waiting, 1 ready, 2 scheduled, 3 paused,
-- 4 running, 5 blocked, 6 completed, 7 failed, 8 cancelled. Finished rows are in none
-- of its indexes.
CREATE TABLE task_states (
    id            uuid PRIMARY KEY,
    phase         smallint NOT NULL,
    lane          bigint NOT NULL,
    priority      smallint NOT NULL,
    run_at        timestamptz NOT NULL,
    attempt       integer NOT NULL,
    failures      integer NOT NULL,
    interruptions integer NOT NULL,
    lease         bigint NOT NULL,
    rev           bigint NOT NULL,
    holder        uuid,
    claim         bigint NOT NULL,
    run_id        uuid,
    step_no       integer NOT NULL,
    flags         smallint NOT NULL,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz NOT NULL
);
CREATE INDEX task_states_ready ON task_states (lane, priority, id) WHERE phase = 1;
CREATE INDEX task_states_timer ON task_states (run_at) WHERE phase = 2;
CREATE INDEX task_states_running ON task_states (holder, claim) WHERE phase = 4;

-- One row per attempt, inserted once when it ends.
CREATE TABLE task_attempts (
    task_id     uuid NOT NULL,
    lease       bigint NOT NULL,
    attempt     integer NOT NULL,
    holder      uuid,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    outcome     smallint NOT NULL,
    output      text,
    error       text,
    usage       text,
    -- The task whose output it took instead of doing the work again.
    recalled    uuid,
    PRIMARY KEY (task_id, lease)
);

-- What decides whether a worker may take a task: what it must be able to do, and the
-- capacity keys. The id is a hash of both.
CREATE TABLE lanes (
    id    bigint PRIMARY KEY,
    needs text NOT NULL,
    keys  text NOT NULL
);

CREATE TABLE capacity_keys (
    name         text PRIMARY KEY,
    slots        integer,
    parked_until timestamptz NOT NULL
);

CREATE TABLE slots (
    key     text NOT NULL,
    n       integer NOT NULL,
    task_id uuid,
    lease   bigint,
    PRIMARY KEY (key, n)
);
CREATE INDEX slots_by_task ON slots (task_id) WHERE task_id IS NOT NULL;

CREATE TABLE unique_keys (
    project_id text NOT NULL,
    key        text NOT NULL,
    task_id    uuid NOT NULL,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX unique_keys_by_task ON unique_keys (task_id);

CREATE TABLE inbox_items (
    id          uuid PRIMARY KEY,
    task_id     uuid NOT NULL,
    lease       bigint NOT NULL,
    kind        text NOT NULL,
    key         text NOT NULL,
    body        text NOT NULL,
    options     text NOT NULL,
    state       smallint NOT NULL,
    answer      text,
    answered_by text,
    created_at  timestamptz NOT NULL,
    answered_at timestamptz NOT NULL
);
CREATE INDEX inbox_items_by_task ON inbox_items (task_id);
CREATE INDEX inbox_items_open ON inbox_items (id) WHERE state = 0;

CREATE TABLE instances (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    boot       text NOT NULL,
    pid        integer NOT NULL,
    pid_start  bigint NOT NULL,
    beat       bigint NOT NULL,
    serves     text NOT NULL,
    started_at timestamptz NOT NULL
);

-- What happened, for watchers: one packed row per stream and commit. (xid, pos) below
-- the oldest running transaction is an order that no later commit can slip into.
CREATE TABLE entries (
    pos    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream uuid NOT NULL,
    seq    bigint NOT NULL,
    kind   smallint NOT NULL,
    at     timestamptz NOT NULL,
    body   text NOT NULL,
    xid    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (stream, seq)
);

CREATE INDEX entries_by_commit ON entries (xid, pos);

-- A row that another program inserted wakes the engines at once. Only those notify:
-- the engine's own commits never do.
CREATE FUNCTION wake_for_foreign_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_wake', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER tasks_wake AFTER INSERT ON tasks
    FOR EACH ROW WHEN (NEW.origin IS NULL) EXECUTE FUNCTION wake_for_foreign_task();

-- Hot rows change often: vacuum early. A change of phase is never heap-only, since the
-- partial indexes name it, so room in the page would gain nothing.
ALTER TABLE task_states SET (autovacuum_vacuum_scale_factor = 0.02,
                             autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE slots SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE instances SET (fillfactor = 50, autovacuum_vacuum_threshold = 50);

CREATE VIEW task_overview AS
SELECT t.id, t.project_id, t.parent_task_id,
       CASE coalesce(s.phase, 1) WHEN 4 THEN 'running' WHEN 5 THEN 'blocked' WHEN 6 THEN 'completed'
            WHEN 7 THEN 'failed' WHEN 8 THEN 'cancelled' ELSE 'pending' END AS state,
       t.kind, t.input, substr(a.output, 1, 500) AS output_summary, a.error, t.agent, t.model,
       (a.usage::json ->> 'tokens')::numeric AS cost_tokens, t.session_id, t.chat_id, t.arena_id, t.mode_id,
       t.thinking_option_id, nullif(s.started_at, 'epoch') AS started_at, nullif(s.ended_at, 'epoch') AS ended_at,
       t.created_at
FROM tasks t
LEFT JOIN task_states s ON s.id = t.id
LEFT JOIN task_attempts a ON a.task_id = s.id AND a.lease = s.lease;

CREATE VIEW human_inbox AS
SELECT i.id, i.task_id, t.project_id, t.chat_id, i.kind, i.key, i.body, i.options, i.created_at
FROM inbox_items i JOIN tasks t ON t.id = i.task_id
WHERE i.state = 0;
