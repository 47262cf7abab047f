//! The statements on agents: their sessions, turns and what they use. `sqlite/sql/agents.rs` has the same names in the
//! same order.

// ---- loading by key

pub const AGENT_SESSION: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, bookings, counters, reason, last_active_at, created_at,
    closed_at FROM agent_sessions WHERE id = ANY ($1::uuid[]) ORDER BY id";
/// The newest of an agent in a chat.
pub const NEWEST_AGENT_SESSION: &str =
    "SELECT s.id, s.chat_id, s.agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, bookings, counters, reason, last_active_at, created_at,
    closed_at FROM unnest($1::uuid[], $2::text[]) AS k (chat_id, agent)
    JOIN agent_sessions s ON s.chat_id = k.chat_id AND s.agent = k.agent
    AND s.generation = (SELECT n.generation FROM agent_sessions n
        WHERE n.chat_id = k.chat_id AND n.agent = k.agent ORDER BY n.generation DESC LIMIT 1)
    ORDER BY s.id";
pub const TURN: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM turns WHERE id = ANY ($1::uuid[]) ORDER BY id";
/// The chats and sessions of turns.
pub const TURN_ROUTE: &str =
    "SELECT id, chat_id, agent_session FROM turns WHERE id = ANY ($1::uuid[])";
pub const PROMPT: &str =
    "SELECT task_id, chat_id, agent, place FROM prompts WHERE task_id = ANY ($1::uuid[])";
/// Those in line behind a place.
pub const PROMPTS_IN_LINE: &str = "SELECT p.task_id, p.chat_id, p.agent, p.place
    FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS k (chat_id, agent, after)
    CROSS JOIN LATERAL (SELECT * FROM prompts q WHERE q.chat_id = k.chat_id AND q.agent = k.agent
        AND q.place > k.after ORDER BY q.place LIMIT $4::bigint) p";
pub const PROMPTS_OF: &str =
    "SELECT task_id, chat_id, agent, place FROM prompts WHERE chat_id = ANY ($1::uuid[])";
/// Those of a chat that have not ended.
pub const OPEN_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM turns
    WHERE chat_id = ANY ($1::uuid[]) AND state < 2";
pub const BOOKING: &str =
    "SELECT l.agent_session, no, l.source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at FROM unnest($1::uuid[], $2::text[]) AS k (agent_session, source)
    JOIN usage_ledger l ON l.agent_session = k.agent_session AND l.source = k.source";
pub const LEDGER_ALL: &str =
    "SELECT agent_session, no, source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at FROM usage_ledger";
pub const PART: &str = "SELECT p.message_id, p.no, kind, start, body
    FROM unnest($1::uuid[], $2::int[]) AS k (message_id, no)
    JOIN message_parts p ON p.message_id = k.message_id AND p.no = k.no";
pub const PARTS_ALL: &str = "SELECT message_id, no, kind, start, body FROM message_parts";
pub const PROCESS: &str =
    "SELECT id, instance, host, boot, program, agent, chat_id, pid, pid_start, at
    FROM processes WHERE id = ANY ($1::uuid[]) ORDER BY id";
pub const AGENT: &str = "SELECT a.host, a.name, a.label, a.install_path, a.version, a.sha256, a.transport, a.supports_acp,
    a.can_ask, a.models, a.modes, a.commands, a.capabilities, a.canary, a.quarantine_reason,
    a.quarantined_at, a.last_probed_at, a.last_error
    FROM unnest($1::text[], $2::text[]) AS k (host, name)
    JOIN available_agents a ON a.host = k.host AND a.name = k.name ORDER BY a.host, a.name";
pub const AGENTS_ALL: &str = "SELECT host, name, label, install_path, version, sha256, transport, supports_acp, can_ask, models,
    modes, commands, capabilities, canary, quarantine_reason, quarantined_at, last_probed_at,
    last_error FROM available_agents";

// ---- saving

pub const PUT_AGENT_SESSION: &str = "INSERT INTO agent_sessions (id, chat_id, agent, generation,
    transport, agent_session_id, server_port, worktree, host, state, fingerprint, context, seen_seq,
    turns, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, bookings, counters, reason, last_active_at, created_at, closed_at)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[],
    $7::int[], $8::text[], $9::text[], $10::smallint[], $11::text[], $12::text[], $13::bigint[],
    $14::int[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
    $20::bigint[], $21::int[], $22::text[], $23::text[], $24::timestamptz[], $25::timestamptz[],
    $26::timestamptz[])
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
pub const PUT_PROMPT: &str = "INSERT INTO prompts (task_id, chat_id, agent, place)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[])
    ON CONFLICT (task_id) DO UPDATE SET chat_id = excluded.chat_id, agent = excluded.agent,
    place = excluded.place";
pub const DELETE_PROMPT: &str = "DELETE FROM prompts WHERE task_id = ANY ($1::uuid[])";
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
pub const INSERT_BOOKING: &str = "INSERT INTO usage_ledger (agent_session, no, source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::uuid[], $5::text[], $6::int[],
    $7::uuid[], $8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::bigint[], $13::bigint[],
    $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::timestamptz[])";
pub const INSERT_PART: &str = "INSERT INTO message_parts (message_id, no, kind, start, body)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::bigint[], $5::text[])";
pub const PUT_PROCESS: &str =
    "INSERT INTO processes (id, instance, host, boot, program, agent, chat_id, pid, pid_start, at)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::uuid[], $8::bigint[], $9::bigint[], $10::timestamptz[])
    ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, pid_start = excluded.pid_start";
pub const DELETE_PROCESS: &str = "DELETE FROM processes WHERE id = ANY ($1::uuid[])";
pub const PUT_AGENT: &str = "INSERT INTO available_agents (host, name, label, install_path, version, sha256, transport, supports_acp, can_ask, models,
    modes, commands, capabilities, canary, quarantine_reason, quarantined_at, last_probed_at,
    last_error)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::bool[], $9::bool[], $10::text[], $11::text[], $12::text[], $13::text[],
    $14::text[], $15::text[], $16::timestamptz[], $17::timestamptz[], $18::text[])
    ON CONFLICT (host, name) DO UPDATE SET label = excluded.label, install_path = excluded.install_path, version = excluded.version,
    sha256 = excluded.sha256, transport = excluded.transport, supports_acp =
    excluded.supports_acp, can_ask = excluded.can_ask, models = excluded.models, modes =
    excluded.modes, commands = excluded.commands, capabilities = excluded.capabilities, canary
    = excluded.canary, quarantine_reason = excluded.quarantine_reason, quarantined_at =
    excluded.quarantined_at, last_probed_at = excluded.last_probed_at, last_error =
    excluded.last_error";

// ---- listing

pub const LIST_AGENT_SESSIONS: &str =
    "SELECT id, chat_id, agent, generation, transport, agent_session_id, server_port,
    worktree, host, state, fingerprint, context, seen_seq, turns, tokens_input, tokens_cache_read,
    tokens_cache_write, tokens_output, tokens_reasoning, cost, bookings, counters, reason, last_active_at, created_at,
    closed_at FROM agent_sessions WHERE chat_id = $1::uuid AND ($2::uuid IS NULL OR id < $2)
    ORDER BY id DESC LIMIT $3::bigint";
pub const LIST_TURNS: &str =
    "SELECT id, chat_id, agent, agent_session, generation, task_id, lease, state,
    reason, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output, tokens_reasoning,
    cost, begun_at, prompted_at, ended_at FROM turns
    WHERE chat_id = $1::uuid AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3::bigint";
macro_rules! ledger_of {
    ($column:literal) => {
        concat!(
            "SELECT agent_session, no, source, chat_id, agent, generation, task_id, run_id, turn_id,
    model, metering, tokens_input, tokens_cache_read, tokens_cache_write, tokens_output,
    tokens_reasoning, cost, raw, at FROM usage_ledger WHERE ",
            $column,
            " = $1::uuid AND ($2::uuid IS NULL OR (agent_session, no) > ($2, $3::int))
    ORDER BY agent_session, no LIMIT $4::bigint"
        )
    };
}
pub const LEDGER_OF_CHAT: &str = ledger_of!("chat_id");
pub const LEDGER_OF_TASK: &str = ledger_of!("task_id");
pub const LEDGER_OF_RUN: &str = ledger_of!("run_id");
macro_rules! spent_of {
    ($column:literal) => {
        concat!(
            "SELECT count(*), coalesce(sum(tokens_input), 0)::bigint,
    coalesce(sum(tokens_cache_read), 0)::bigint, coalesce(sum(tokens_cache_write), 0)::bigint,
    coalesce(sum(tokens_output), 0)::bigint, coalesce(sum(tokens_reasoning), 0)::bigint,
    coalesce(sum(cost), 0)::bigint FROM usage_ledger WHERE ",
            $column,
            " = $1::uuid"
        )
    };
}
pub const SPENT_OF_CHAT: &str = spent_of!("chat_id");
pub const SPENT_OF_TASK: &str = spent_of!("task_id");
pub const SPENT_OF_RUN: &str = spent_of!("run_id");
pub const LIST_PARTS: &str = "SELECT message_id, no, kind, start, body FROM message_parts
    WHERE message_id = $1::uuid AND no >= $2::int ORDER BY no LIMIT $3::bigint";
pub const ORPHANS: &str = "SELECT p.id, p.instance, p.host, p.boot, p.program, p.agent, p.chat_id, p.pid, p.pid_start, p.at
    FROM processes p WHERE p.host = $1::text AND ($2::uuid IS NULL OR p.id < $2)
    AND NOT EXISTS (SELECT FROM instances i WHERE i.id = p.instance)
    ORDER BY p.id DESC LIMIT $3::bigint";
pub const LIST_AGENTS: &str = "SELECT host, name, label, install_path, version, sha256, transport, supports_acp, can_ask, models,
    modes, commands, capabilities, canary, quarantine_reason, quarantined_at, last_probed_at,
    last_error FROM available_agents
    WHERE host = $1::text AND ($2::text IS NULL OR name > $2 COLLATE \"C\")
    ORDER BY name COLLATE \"C\" LIMIT $3::bigint";
