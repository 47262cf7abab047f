-- Flow runs, their steps and edges. The definition a run started with is kept with it.

CREATE TABLE segue_flow_runs (
    id         BLOB PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL,
    flow_name  TEXT NOT NULL,
    version    INTEGER NOT NULL,
    band       TEXT NOT NULL CHECK (band IN ('small', 'medium', 'large')),
    model      TEXT,
    input      TEXT NOT NULL,
    definition TEXT NOT NULL,
    labels     TEXT,
    meta       TEXT,
    -- Where it was forked from.
    fork_run   BLOB,
    fork_step  INTEGER,
    -- Of the code that its steps need; '' where any of the version will do.
    fingerprint TEXT NOT NULL,
    -- The state of the files that it works on, as the host names it.
    base       TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_flow_runs_by_project ON segue_flow_runs (project_id, id);

-- state: 0 running, 1 completed, 2 failed, 3 cancelled.
CREATE TABLE segue_flow_run_states (
    id           BLOB PRIMARY KEY NOT NULL,
    state        INTEGER NOT NULL,
    flags        INTEGER NOT NULL,
    open_steps   INTEGER NOT NULL,
    failed_steps INTEGER NOT NULL,
    next_no      INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    -- The task, a step of another run, that waits for its end.
    parent_task_id BLOB,
    budget       TEXT,
    next_seq     INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    project_id   TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_flow_run_states_live ON segue_flow_run_states (id) WHERE state = 0;
CREATE INDEX segue_flow_run_states_under ON segue_flow_run_states (parent_task_id)
    WHERE parent_task_id IS NOT NULL;

-- One row for each time that a run was begun. how: NULL the first time, then what was done again.
CREATE TABLE segue_flow_run_attempts (
    run_id     BLOB NOT NULL REFERENCES segue_flow_runs (id) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    how        TEXT,
    state      INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    PRIMARY KEY (run_id, attempt)
) STRICT, WITHOUT ROWID;

-- state: 0 pending, 1 running, 2 completed, 3 failed, 4 skipped, 5 cancelled.
CREATE TABLE segue_flow_steps (
    run_id     BLOB NOT NULL REFERENCES segue_flow_runs (id) ON DELETE CASCADE,
    no         INTEGER NOT NULL,
    step_id    TEXT NOT NULL,
    kind       INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    waiting_on INTEGER NOT NULL,
    open_edges INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    task_id    BLOB,
    lane       INTEGER NOT NULL,
    agent      TEXT,
    options    TEXT,
    policy     TEXT,
    reserved   TEXT,
    reason     TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, no)
) STRICT, WITHOUT ROWID;

-- Steps that could start but for their run's budget.
CREATE INDEX segue_flow_steps_hungry ON segue_flow_steps (run_id, no) WHERE state = 0 AND waiting_on = 0;

CREATE TABLE segue_flow_edges (
    run_id  BLOB NOT NULL REFERENCES segue_flow_runs (id) ON DELETE CASCADE,
    from_no INTEGER NOT NULL,
    to_no   INTEGER NOT NULL,
    -- What it asks for besides completion.
    terms   TEXT,
    PRIMARY KEY (run_id, from_no, to_no)
) STRICT, WITHOUT ROWID;

-- Inputs that steps have of their own, besides what their dependencies return.
CREATE TABLE segue_flow_step_inputs (
    run_id BLOB NOT NULL REFERENCES segue_flow_runs (id) ON DELETE CASCADE,
    no     INTEGER NOT NULL,
    input  TEXT NOT NULL,
    PRIMARY KEY (run_id, no)
) STRICT, WITHOUT ROWID;

-- Work that was done, by a hash of what it is made of: the attempt that did it last.
CREATE TABLE segue_memos (
    key     BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
    task_id BLOB NOT NULL REFERENCES segue_tasks (id) ON DELETE CASCADE,
    lease   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_memos_by_task ON segue_memos (task_id);

UPDATE segue_meta SET value = 2 WHERE name = 'writer_min';
