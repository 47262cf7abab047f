//! The statements on agents: their sessions, turns and what they use. `postgres/sql/agents.rs` has the same names in the
//! same order.

// ---- loading by key

pub const AGENT_SESSION: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, bookings, counters, reason, last_active_at, created_at,
    closed_at FROM segue_agent_sessions WHERE id = ?1";
/// The newest of an agent in a chat.
pub const NEWEST_AGENT_SESSION: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, bookings, counters, reason, last_active_at, created_at,
    closed_at FROM segue_agent_sessions WHERE chat_id = ?1 AND agent = ?2
    ORDER BY generation DESC LIMIT 1";
pub const TURN: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM segue_turns WHERE id = ?1";
/// The chat and session of a turn.
pub const TURN_ROUTE: &str = "SELECT id, chat_id, agent_session FROM segue_turns WHERE id = ?1";
pub const PROMPT: &str =
    "SELECT task_id, chat_id, agent, place FROM segue_prompts WHERE task_id = ?1";
/// Those in line behind a place.
pub const PROMPTS_IN_LINE: &str = "SELECT task_id, chat_id, agent, place FROM segue_prompts
    WHERE chat_id = ?1 AND agent = ?2 AND place > ?3 ORDER BY place LIMIT ?4";
pub const PROMPTS_OF: &str =
    "SELECT task_id, chat_id, agent, place FROM segue_prompts WHERE chat_id = ?1";
/// Those of a chat that have not ended. By the index that has nothing else.
pub const OPEN_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM segue_turns INDEXED BY segue_turns_open
    WHERE chat_id = ?1 AND state < 2";
pub const BOOKING: &str =
    "SELECT agent_session, no, source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at
    FROM segue_usage_ledger WHERE agent_session = ?1 AND source = ?2";
pub const LEDGER_ALL: &str =
    "SELECT agent_session, no, source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at FROM segue_usage_ledger";
pub const PART: &str = "SELECT message_id, no, kind, start, body FROM segue_message_parts
    WHERE message_id = ?1 AND no = ?2";
pub const PARTS_ALL: &str = "SELECT message_id, no, kind, start, body FROM segue_message_parts";
pub const PROCESS: &str =
    "SELECT id, instance, host, boot, program, agent, chat_id, pid, pid_start, at
    FROM segue_processes WHERE id = ?1";
pub const AGENT: &str = "SELECT host, name, label, install_path, version, sha256, transport, supports_acp, can_ask, models,
    modes, commands, capabilities, canary, quarantine_reason, quarantined_at, last_probed_at,
    last_error FROM segue_available_agents WHERE host = ?1 AND name = ?2";
pub const AGENTS_ALL: &str = "SELECT host, name, label, install_path, version, sha256, transport, supports_acp, can_ask, models,
    modes, commands, capabilities, canary, quarantine_reason, quarantined_at, last_probed_at,
    last_error FROM segue_available_agents";

// ---- saving

pub const PUT_AGENT_SESSION: &str = "INSERT INTO segue_agent_sessions (id, chat_id, agent,
    generation, transport, agent_session_id, server_port, worktree, host, state, fingerprint,
    context, seen_seq, turns, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, bookings, counters, reason, last_active_at, created_at, closed_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
    ?20, ?21, ?22, ?23, ?24, ?25, ?26)
    ON CONFLICT (id) DO UPDATE SET chat_id = excluded.chat_id, transport = excluded.transport,
    agent_session_id = excluded.agent_session_id, server_port = excluded.server_port,
    worktree = excluded.worktree, host = excluded.host, state = excluded.state,
    fingerprint = excluded.fingerprint, context = excluded.context, seen_seq = excluded.seen_seq,
    turns = excluded.turns, tokens_input = excluded.tokens_input,
    tokens_cache_read = excluded.tokens_cache_read,
    tokens_cache_write = excluded.tokens_cache_write, tokens_output = excluded.tokens_output,
    tokens_reasoning = excluded.tokens_reasoning, cost = excluded.cost,
    bookings = excluded.bookings, counters = excluded.counters, reason = excluded.reason,
    last_active_at = excluded.last_active_at, closed_at = excluded.closed_at";
pub const PUT_PROMPT: &str =
    "INSERT OR REPLACE INTO segue_prompts (task_id, chat_id, agent, place) VALUES (?1, ?2, ?3, ?4)";
pub const DELETE_PROMPT: &str = "DELETE FROM segue_prompts WHERE task_id = ?1";
pub const PUT_TURN: &str = "INSERT INTO segue_turns (id, chat_id, agent, agent_session, generation,
    task_id, lease, state, reason, tokens_input, tokens_cache_read, tokens_cache_write,
    tokens_output, tokens_reasoning, cost, begun_at, prompted_at, ended_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
    ON CONFLICT (id) DO UPDATE SET agent_session = excluded.agent_session,
    generation = excluded.generation, state = excluded.state, reason = excluded.reason,
    tokens_input = excluded.tokens_input, tokens_cache_read = excluded.tokens_cache_read,
    tokens_cache_write = excluded.tokens_cache_write, tokens_output = excluded.tokens_output,
    tokens_reasoning = excluded.tokens_reasoning, cost = excluded.cost,
    prompted_at = excluded.prompted_at, ended_at = excluded.ended_at";
pub const INSERT_BOOKING: &str = "INSERT INTO segue_usage_ledger (agent_session, no, source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
pub const INSERT_PART: &str = "INSERT INTO segue_message_parts (message_id, no, kind, start, body)
    VALUES (?1, ?2, ?3, ?4, ?5)";
pub const PUT_PROCESS: &str = "INSERT OR REPLACE INTO segue_processes (id, instance, host, boot, program, agent, chat_id, pid, pid_start, at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
pub const DELETE_PROCESS: &str = "DELETE FROM segue_processes WHERE id = ?1";
pub const PUT_AGENT: &str = "INSERT OR REPLACE INTO segue_available_agents (host, name, label, install_path, version, sha256, transport, supports_acp, can_ask, models,
    modes, commands, capabilities, canary, quarantine_reason, quarantined_at, last_probed_at,
    last_error)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

// ---- listing

pub const LIST_AGENT_SESSIONS: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, bookings, counters, reason, last_active_at, created_at,
    closed_at FROM segue_agent_sessions WHERE chat_id = ?1 AND (?2 IS NULL OR id < ?2)
    ORDER BY id DESC LIMIT ?3";
pub const LIST_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM segue_turns
    WHERE chat_id = ?1 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3";
macro_rules! ledger_of {
    ($column:literal) => {
        concat!(
            "SELECT agent_session, no, source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at FROM segue_usage_ledger WHERE ",
            $column,
            " = ?1 AND (?2 IS NULL OR (agent_session, no) > (?2, ?3))
    ORDER BY agent_session, no LIMIT ?4"
        )
    };
}
pub const LEDGER_OF_CHAT: &str = ledger_of!("chat_id");
pub const LEDGER_OF_TASK: &str = ledger_of!("task_id");
pub const LEDGER_OF_RUN: &str = ledger_of!("run_id");
macro_rules! spent_of {
    ($column:literal) => {
        concat!(
            "SELECT count(*), coalesce(sum(tokens_input), 0), coalesce(sum(tokens_cache_read), 0),
    coalesce(sum(tokens_cache_write), 0), coalesce(sum(tokens_output), 0),
    coalesce(sum(tokens_reasoning), 0), coalesce(sum(cost), 0) FROM segue_usage_ledger WHERE ",
            $column,
            " = ?1"
        )
    };
}
pub const SPENT_OF_CHAT: &str = spent_of!("chat_id");
pub const SPENT_OF_TASK: &str = spent_of!("task_id");
pub const SPENT_OF_RUN: &str = spent_of!("run_id");
pub const LIST_PARTS: &str = "SELECT message_id, no, kind, start, body FROM segue_message_parts
    WHERE message_id = ?1 AND no >= ?2 ORDER BY no LIMIT ?3";
/// Those of the messages of a page.
pub const PARTS_OF_PAGE: &str =
    "SELECT p.message_id, p.no, p.kind, p.start, p.body FROM segue_messages m
    CROSS JOIN segue_message_parts p ON p.message_id = m.id
    WHERE m.chat_id = ?1 AND m.seq > ?2 AND m.seq <= ?3 ORDER BY m.seq, p.no";
pub const ORPHANS: &str =
    "SELECT id, instance, host, boot, program, agent, chat_id, pid, pid_start, at
    FROM segue_processes WHERE host = ?1 AND (?2 IS NULL OR id < ?2)
    AND NOT EXISTS (SELECT 1 FROM segue_instances i WHERE i.id = instance)
    ORDER BY id DESC LIMIT ?3";
pub const LIST_AGENTS: &str = "SELECT host, name, label, install_path, version, sha256, transport, supports_acp, can_ask, models,
    modes, commands, capabilities, canary, quarantine_reason, quarantined_at, last_probed_at,
    last_error FROM segue_available_agents
    WHERE host = ?1 AND (?2 IS NULL OR name > ?2) ORDER BY name LIMIT ?3";
