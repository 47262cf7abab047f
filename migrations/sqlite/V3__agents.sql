-- Agents: their sessions and the turns that they take in chats.

-- An agent's own session in a chat. One that is not continued is closed and followed by the next
-- generation. state: 0 idle, 1 active, 2 crashed, 3 closed.
CREATE TABLE segue_agent_sessions (
    id             BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    -- NULL: the chat was deleted. What was used in it is still known.
    chat_id        BLOB REFERENCES segue_chats (id) ON DELETE SET NULL,
    agent          TEXT NOT NULL,
    generation     INTEGER NOT NULL,
    transport      TEXT NOT NULL,
    -- What the agent calls it.
    agent_session_id TEXT,
    server_port    INTEGER,
    worktree       TEXT,
    host           TEXT NOT NULL,
    state          INTEGER NOT NULL,
    fingerprint    TEXT NOT NULL,
    context        TEXT NOT NULL CHECK (context IN ('full', 'carried', 'lost', 'partial')),
    seen_seq       INTEGER NOT NULL,
    turns          INTEGER NOT NULL,
    tokens_input   INTEGER NOT NULL,
    tokens_cache_read INTEGER NOT NULL,
    tokens_cache_write INTEGER NOT NULL,
    tokens_output  INTEGER NOT NULL,
    tokens_reasoning INTEGER NOT NULL,
    -- In millionths of a dollar.
    cost           INTEGER NOT NULL,
    reason         TEXT,
    last_active_at INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    closed_at      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX segue_agent_sessions_by_chat ON segue_agent_sessions (chat_id, agent, generation)
    WHERE chat_id IS NOT NULL;

-- One row per turn: an agent answers one prompt, for one attempt of a task. The id follows from the
-- task and the lease. state: 0 begun, 1 prompted, 2 completed, 3 refused, 4 limit reached,
-- 5 rate limited, 6 cancelled, 7 session lost, 8 crashed, 9 interrupted, 10 failed.
CREATE TABLE segue_turns (
    id          BLOB PRIMARY KEY NOT NULL,
    chat_id     BLOB NOT NULL REFERENCES segue_chats (id) ON DELETE CASCADE,
    agent       TEXT NOT NULL,
    agent_session BLOB NOT NULL,
    generation  INTEGER NOT NULL,
    task_id     BLOB NOT NULL,
    lease       INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    reason      TEXT,
    tokens_input INTEGER NOT NULL,
    tokens_cache_read INTEGER NOT NULL,
    tokens_cache_write INTEGER NOT NULL,
    tokens_output INTEGER NOT NULL,
    tokens_reasoning INTEGER NOT NULL,
    cost        INTEGER NOT NULL,
    begun_at    INTEGER NOT NULL,
    prompted_at INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_turns_by_chat ON segue_turns (chat_id, id);
CREATE INDEX segue_turns_open ON segue_turns (chat_id) WHERE state < 2;

UPDATE segue_meta SET value = 3 WHERE name = 'writer_min';
