-- Agents: their sessions and the turns that they take in chats.

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

UPDATE meta SET value = 3 WHERE name = 'writer_min';

ALTER TABLE agent_sessions SET (fillfactor = 70);
ALTER TABLE turns SET (fillfactor = 70);
