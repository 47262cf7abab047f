-- Flow runs, their steps and edges. The definition a run started with is kept with it.

CREATE TABLE flow_runs (
    id         uuid PRIMARY KEY,
    project_id text NOT NULL,
    flow_name  text NOT NULL,
    version    integer NOT NULL,
    band       text NOT NULL CHECK (band IN ('small', 'medium', 'large')),
    model      text,
    input      text NOT NULL,
    definition text NOT NULL,
    labels     text,
    meta       text,
    -- Where it was forked from.
    fork_run   uuid,
    fork_step  integer,
    -- Of the code that its steps need; '' where any of the version will do.
    fingerprint text NOT NULL,
    -- The state of the files that it works on, as the host names it.
    base       text,
    created_at timestamptz NOT NULL
);
CREATE INDEX flow_runs_by_project ON flow_runs (project_id, id);

-- state: 0 running, 1 completed, 2 failed, 3 cancelled.
CREATE TABLE flow_run_states (
    id           uuid PRIMARY KEY,
    state        smallint NOT NULL,
    flags        smallint NOT NULL,
    open_steps   integer NOT NULL,
    failed_steps integer NOT NULL,
    next_no      integer NOT NULL,
    attempt      integer NOT NULL,
    -- The task, a step of another run, that waits for its end.
    parent_task_id uuid,
    budget       text,
    next_seq     bigint NOT NULL,
    updated_at   timestamptz NOT NULL,
    project_id   text NOT NULL,
    priority     smallint NOT NULL,
    ended_at     timestamptz NOT NULL
);
CREATE INDEX flow_run_states_live ON flow_run_states (id) WHERE state = 0;
CREATE INDEX flow_run_states_under ON flow_run_states (parent_task_id)
    WHERE parent_task_id IS NOT NULL;

-- One row for each time that a run was begun. how: NULL the first time, then what was done again.
CREATE TABLE flow_run_attempts (
    run_id     uuid NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    attempt    integer NOT NULL,
    how        text,
    state      smallint NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    PRIMARY KEY (run_id, attempt)
);

-- state: 0 pending, 1 running, 2 completed, 3 failed, 4 skipped, 5 cancelled.
CREATE TABLE flow_steps (
    run_id     uuid NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    no         integer NOT NULL,
    step_id    text NOT NULL,
    kind       smallint NOT NULL,
    state      smallint NOT NULL,
    waiting_on integer NOT NULL,
    open_edges integer NOT NULL,
    attempt    integer NOT NULL,
    task_id    uuid,
    lane       bigint NOT NULL,
    agent      text,
    options    text,
    policy     text,
    reserved   text,
    reason     text,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, no)
);

-- Steps that could start but for their run's budget.
CREATE INDEX flow_steps_hungry ON flow_steps (run_id, no) WHERE state = 0 AND waiting_on = 0;

CREATE TABLE flow_edges (
    run_id  uuid NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    from_no integer NOT NULL,
    to_no   integer NOT NULL,
    -- What it asks for besides completion.
    terms   text,
    PRIMARY KEY (run_id, from_no, to_no)
);

-- Inputs that steps have of their own, besides what their dependencies return.
CREATE TABLE flow_step_inputs (
    run_id uuid NOT NULL REFERENCES flow_runs (id) ON DELETE CASCADE,
    no     integer NOT NULL,
    input  text NOT NULL,
    PRIMARY KEY (run_id, no)
);

-- Work that was done, by a hash of what it is made of: the attempt that did it last.
CREATE TABLE memos (
    key     bytea PRIMARY KEY CHECK (length(key) = 32),
    task_id uuid NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    lease   bigint NOT NULL
);
CREATE INDEX memos_by_task ON memos (task_id);

UPDATE meta SET value = 2 WHERE name = 'writer_min';

ALTER TABLE flow_run_states SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE flow_steps SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
