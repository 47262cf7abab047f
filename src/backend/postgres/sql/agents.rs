//! The statements on agents' sessions and turns. `sqlite/sql/agents.rs` has the same names in the
//! same order.

// ---- loading by key

pub const AGENT_SESSION: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, reason, last_active_at, created_at,
    closed_at FROM agent_sessions WHERE id = ANY ($1::uuid[]) ORDER BY id";
/// The newest of an agent in a chat.
pub const NEWEST_AGENT_SESSION: &str =
    "SELECT s.id, s.chat_id, s.agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, reason, last_active_at, created_at,
    closed_at FROM unnest($1::uuid[], $2::text[]) AS k (chat_id, agent)
    JOIN agent_sessions s ON s.chat_id = k.chat_id AND s.agent = k.agent
    AND s.generation = (SELECT n.generation FROM agent_sessions n
        WHERE n.chat_id = k.chat_id AND n.agent = k.agent ORDER BY n.generation DESC LIMIT 1)
    ORDER BY s.id";
pub const TURN: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM turns WHERE id = ANY ($1::uuid[]) ORDER BY id";
/// Those of a chat that have not ended.
pub const OPEN_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM turns
    WHERE chat_id = ANY ($1::uuid[]) AND state < 2";

// ---- saving

pub const PUT_AGENT_SESSION: &str = "INSERT INTO agent_sessions (id, chat_id, agent, generation,
    transport, agent_session_id, server_port, worktree, host, state, fingerprint, context, seen_seq,
    turns, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, reason, last_active_at, created_at, closed_at)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[],
    $7::int[], $8::text[], $9::text[], $10::smallint[], $11::text[], $12::text[], $13::bigint[],
    $14::int[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
    $20::bigint[], $21::text[], $22::timestamptz[], $23::timestamptz[], $24::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET chat_id = excluded.chat_id, transport = excluded.transport,
    agent_session_id = excluded.agent_session_id, server_port = excluded.server_port,
    worktree = excluded.worktree, host = excluded.host, state = excluded.state,
    fingerprint = excluded.fingerprint, context = excluded.context, seen_seq = excluded.seen_seq,
    turns = excluded.turns, tokens_input = excluded.tokens_input,
    tokens_cache_read = excluded.tokens_cache_read,
    tokens_cache_write = excluded.tokens_cache_write, tokens_output = excluded.tokens_output,
    tokens_reasoning = excluded.tokens_reasoning, cost = excluded.cost, reason = excluded.reason,
    last_active_at = excluded.last_active_at, closed_at = excluded.closed_at";
pub const PUT_TURN: &str =
    "INSERT INTO turns (id, chat_id, agent, agent_session, generation, task_id,
    lease, state, reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, begun_at, prompted_at, ended_at)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::int[], $6::uuid[],
    $7::bigint[], $8::smallint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[],
    $13::bigint[], $14::bigint[], $15::bigint[], $16::timestamptz[], $17::timestamptz[],
    $18::timestamptz[])
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
    closed_at FROM agent_sessions WHERE chat_id = $1::uuid AND ($2::uuid IS NULL OR id < $2)
    ORDER BY id DESC LIMIT $3::bigint";
pub const LIST_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM turns
    WHERE chat_id = $1::uuid AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3::bigint";
