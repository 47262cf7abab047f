-- Agents: their sessions, the turns that they take in chats, what they say
-- and use, the programs that they are, and where they are installed.

-- The chat that a chat began like, which may be gone, and up to which place of it.
ALTER TABLE chats ADD COLUMN forked_from uuid, ADD COLUMN forked_seq bigint;

-- An agent's own session in a chat. One that is not continued is closed and followed by the next
-- generation. state: 0 idle, 1 active, 2 crashed, 3 closed.
CREATE TABLE agent_sessions (
    id             uuid PRIMARY KEY,
    -- NULL: the chat was deleted. What was used in it is still known.
    chat_id        uuid REFERENCES chats (id) ON DELETE SET NULL,
    agent          text NOT NULL,
    generation     integer NOT NULL,
    transport      text NOT NULL,
    -- What the agent calls it.
    agent_session_id text,
    server_port    integer,
    worktree       text,
    host           text NOT NULL,
    state          smallint NOT NULL,
    fingerprint    text NOT NULL,
    context        text NOT NULL CHECK (context IN ('full', 'carried', 'lost', 'partial')),
    seen_seq       bigint NOT NULL,
    turns          integer NOT NULL,
    tokens_input   bigint NOT NULL,
    tokens_cache_read bigint NOT NULL,
    tokens_cache_write bigint NOT NULL,
    tokens_output  bigint NOT NULL,
    tokens_reasoning bigint NOT NULL,
    -- In millionths of a dollar.
    cost           bigint NOT NULL,
    bookings       integer NOT NULL,
    -- The last numbers of its counters, by model.
    counters       text NOT NULL,
    reason         text,
    last_active_at timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    closed_at      timestamptz NOT NULL
);
CREATE UNIQUE INDEX agent_sessions_by_chat ON agent_sessions (chat_id, agent, generation)
    WHERE chat_id IS NOT NULL;

-- One row per turn: an agent answers one prompt, for one attempt of a task. The id follows from the
-- task and the lease. state: 0 begun, 1 prompted, 2 completed, 3 refused, 4 limit reached,
-- 5 rate limited, 6 cancelled, 7 session lost, 8 crashed, 9 interrupted, 10 failed.
CREATE TABLE turns (
    id          uuid PRIMARY KEY,
    chat_id     uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    agent       text NOT NULL,
    agent_session uuid NOT NULL,
    generation  integer NOT NULL,
    task_id     uuid NOT NULL,
    lease       bigint NOT NULL,
    state       smallint NOT NULL,
    reason      text,
    tokens_input bigint NOT NULL,
    tokens_cache_read bigint NOT NULL,
    tokens_cache_write bigint NOT NULL,
    tokens_output bigint NOT NULL,
    tokens_reasoning bigint NOT NULL,
    cost        bigint NOT NULL,
    begun_at    timestamptz NOT NULL,
    prompted_at timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL
);
CREATE INDEX turns_by_chat ON turns (chat_id, id);
CREATE INDEX turns_open ON turns (chat_id) WHERE state < 2;

-- Prompts that have not ended. An agent takes those of a chat one at a time, the smallest place first;
-- place is NULL as long as a prompt is not in line.
CREATE TABLE prompts (
    task_id uuid PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    agent   text NOT NULL,
    place   bigint
);
CREATE INDEX prompts_by_chat ON prompts (chat_id, agent, place);

-- What an agent says in a message while it speaks, never written again: reading the message joins its
-- parts. kind: 0 text, 1 thought, 2 tool, 3 plan.
CREATE TABLE message_parts (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    no         integer NOT NULL,
    kind       smallint NOT NULL,
    -- How many characters of text come before it.
    start      bigint NOT NULL,
    body       text NOT NULL,
    PRIMARY KEY (message_id, no)
);

-- What agents have used: one row for each event that said so, never changed. No row of it refers to
-- another, since it stays when those go.
CREATE TABLE usage_ledger (
    agent_session uuid NOT NULL,
    no          integer NOT NULL,
    -- The event.
    source      text NOT NULL,
    chat_id     uuid,
    agent       text NOT NULL,
    generation  integer NOT NULL,
    task_id     uuid NOT NULL,
    run_id      uuid,
    turn_id     uuid NOT NULL,
    model       text,
    metering    text NOT NULL,
    -- What was booked, not what was reported.
    tokens_input bigint NOT NULL,
    tokens_cache_read bigint NOT NULL,
    tokens_cache_write bigint NOT NULL,
    tokens_output bigint NOT NULL,
    tokens_reasoning bigint NOT NULL,
    cost        bigint,
    raw         text NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (agent_session, no)
);
CREATE UNIQUE INDEX usage_ledger_by_source ON usage_ledger (agent_session, source);
CREATE INDEX usage_ledger_by_chat ON usage_ledger (chat_id, agent_session, no)
    WHERE chat_id IS NOT NULL;
CREATE INDEX usage_ledger_by_task ON usage_ledger (task_id, agent_session, no);
CREATE INDEX usage_ledger_by_run ON usage_ledger (run_id, agent_session, no)
    WHERE run_id IS NOT NULL;

-- Programs that engines have started, or are about to start. A row goes when nothing of its program is
-- left; pid is NULL as long as it is not known to run.
CREATE TABLE processes (
    id        uuid PRIMARY KEY,
    instance  uuid NOT NULL,
    host      text NOT NULL,
    boot      text NOT NULL,
    program   text NOT NULL,
    agent     text,
    chat_id   uuid,
    pid       bigint,
    pid_start bigint,
    at        timestamptz NOT NULL
);

-- Agents on hosts, as they were found. What they say of themselves is JSON.
CREATE TABLE available_agents (
    host         text NOT NULL,
    name         text NOT NULL,
    label        text NOT NULL,
    install_path text,
    version      text,
    sha256       text,
    transport    text NOT NULL,
    supports_acp boolean NOT NULL,
    can_ask      boolean NOT NULL,
    models       text,
    modes        text,
    commands     text,
    capabilities text,
    -- How it was found to keep to reading only.
    canary       text,
    -- It must not be used.
    quarantine_reason text,
    quarantined_at timestamptz NOT NULL,
    last_probed_at timestamptz NOT NULL,
    last_error   text,
    PRIMARY KEY (host, name)
);

UPDATE meta SET value = 3 WHERE name = 'writer_min';

ALTER TABLE agent_sessions SET (fillfactor = 70);
ALTER TABLE turns SET (fillfactor = 70);
