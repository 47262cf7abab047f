//! The statements on agents' sessions and turns. `postgres/sql/agents.rs` has the same names in the
//! same order.

// ---- loading by key

pub const AGENT_SESSION: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, reason, last_active_at, created_at,
    closed_at FROM segue_agent_sessions WHERE id = ?1";
/// The newest of an agent in a chat.
pub const NEWEST_AGENT_SESSION: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, reason, last_active_at, created_at,
    closed_at FROM segue_agent_sessions WHERE chat_id = ?1 AND agent = ?2
    ORDER BY generation DESC LIMIT 1";
pub const TURN: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM segue_turns WHERE id = ?1";
/// Those of a chat that have not ended. By the index that has nothing else.
pub const OPEN_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM segue_turns INDEXED BY segue_turns_open
    WHERE chat_id = ?1 AND state < 2";

// ---- saving

pub const PUT_AGENT_SESSION: &str = "INSERT INTO segue_agent_sessions (id, chat_id, agent,
    generation, transport, agent_session_id, server_port, worktree, host, state, fingerprint,
    context, seen_seq, turns, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, reason, last_active_at, created_at, closed_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
    ?20, ?21, ?22, ?23, ?24)
    ON CONFLICT (id) DO UPDATE SET chat_id = excluded.chat_id, transport = excluded.transport,
    agent_session_id = excluded.agent_session_id, server_port = excluded.server_port,
    worktree = excluded.worktree, host = excluded.host, state = excluded.state,
    fingerprint = excluded.fingerprint, context = excluded.context, seen_seq = excluded.seen_seq,
    turns = excluded.turns, tokens_input = excluded.tokens_input,
    tokens_cache_read = excluded.tokens_cache_read,
    tokens_cache_write = excluded.tokens_cache_write, tokens_output = excluded.tokens_output,
    tokens_reasoning = excluded.tokens_reasoning, cost = excluded.cost, reason = excluded.reason,
    last_active_at = excluded.last_active_at, closed_at = excluded.closed_at";
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

// ---- listing

pub const LIST_AGENT_SESSIONS: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, reason, last_active_at, created_at,
    closed_at FROM segue_agent_sessions WHERE chat_id = ?1 AND (?2 IS NULL OR id < ?2)
    ORDER BY id DESC LIMIT ?3";
pub const LIST_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM segue_turns
    WHERE chat_id = ?1 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3";
