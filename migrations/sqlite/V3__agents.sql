-- Agents: their sessions, the turns that they take in chats, what they say
-- and use, the programs that they are, and where they are installed.

-- The chat that a chat began like, which may be gone, and up to which place of it.
ALTER TABLE segue_chats ADD COLUMN forked_from BLOB;
ALTER TABLE segue_chats ADD COLUMN forked_seq INTEGER;

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
    bookings       INTEGER NOT NULL,
    -- The last numbers of its counters, by model.
    counters       TEXT NOT NULL,
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

-- Prompts that have not ended. An agent takes those of a chat one at a time, the smallest place first;
-- place is NULL as long as a prompt is not in line.
CREATE TABLE segue_prompts (
    task_id BLOB PRIMARY KEY NOT NULL,
    chat_id BLOB NOT NULL REFERENCES segue_chats (id) ON DELETE CASCADE,
    agent   TEXT NOT NULL,
    place   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX segue_prompts_by_chat ON segue_prompts (chat_id, agent, place);

-- What an agent says in a message while it speaks, never written again: reading the message joins its
-- parts. kind: 0 text, 1 thought, 2 tool, 3 plan.
CREATE TABLE segue_message_parts (
    message_id BLOB NOT NULL REFERENCES segue_messages (id) ON DELETE CASCADE,
    no         INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    -- How many characters of text come before it.
    start      INTEGER NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (message_id, no)
) STRICT;

-- What agents have used: one row for each event that said so, never changed. No row of it refers to
-- another, since it stays when those go.
CREATE TABLE segue_usage_ledger (
    agent_session BLOB NOT NULL,
    no          INTEGER NOT NULL,
    -- The event.
    source      TEXT NOT NULL,
    chat_id     BLOB,
    agent       TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    task_id     BLOB NOT NULL,
    run_id      BLOB,
    turn_id     BLOB NOT NULL,
    model       TEXT,
    metering    TEXT NOT NULL,
    -- What was booked, not what was reported.
    tokens_input INTEGER NOT NULL,
    tokens_cache_read INTEGER NOT NULL,
    tokens_cache_write INTEGER NOT NULL,
    tokens_output INTEGER NOT NULL,
    tokens_reasoning INTEGER NOT NULL,
    cost        INTEGER,
    raw         TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (agent_session, no)
) STRICT;
CREATE UNIQUE INDEX segue_usage_ledger_by_source ON segue_usage_ledger (agent_session, source);
CREATE INDEX segue_usage_ledger_by_chat ON segue_usage_ledger (chat_id, agent_session, no)
    WHERE chat_id IS NOT NULL;
CREATE INDEX segue_usage_ledger_by_task ON segue_usage_ledger (task_id, agent_session, no);
CREATE INDEX segue_usage_ledger_by_run ON segue_usage_ledger (run_id, agent_session, no)
    WHERE run_id IS NOT NULL;

-- Programs that engines have started, or are about to start. A row goes when nothing of its program is
-- left; pid is NULL as long as it is not known to run.
CREATE TABLE segue_processes (
    id        BLOB PRIMARY KEY NOT NULL,
    instance  BLOB NOT NULL,
    host      TEXT NOT NULL,
    boot      TEXT NOT NULL,
    program   TEXT NOT NULL,
    agent     TEXT,
    chat_id   BLOB,
    pid       INTEGER,
    pid_start INTEGER,
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Agents on hosts, as they were found. What they say of themselves is JSON.
CREATE TABLE segue_available_agents (
    host         TEXT NOT NULL,
    name         TEXT NOT NULL,
    label        TEXT NOT NULL,
    install_path TEXT,
    version      TEXT,
    sha256       TEXT,
    transport    TEXT NOT NULL,
    supports_acp INTEGER NOT NULL,
    can_ask      INTEGER NOT NULL,
    models       TEXT,
    modes        TEXT,
    commands     TEXT,
    capabilities TEXT,
    -- How it was found to keep to reading only.
    canary       TEXT,
    -- It must not be used.
    quarantine_reason TEXT,
    quarantined_at INTEGER NOT NULL,
    last_probed_at INTEGER NOT NULL,
    last_error   TEXT,
    PRIMARY KEY (host, name)
) STRICT;

UPDATE segue_meta SET value = 3 WHERE name = 'writer_min';
