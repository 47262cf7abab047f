//! Agents' sessions and turns: rows, and saving them.

use super::{
    pipe::{Param, Pipe},
    rows::{Cells, Time},
    save::columns,
    sql,
};
use crate::{
    error::Result,
    model::{
        AgentContext, AgentSession, AgentSessionState, Changes, Tokens, Transport, Turn, TurnState,
    },
};

/// Adds what saves the rows of agents.
pub(super) fn save<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.agent_sessions.is_empty() {
        pipe.add(sql::PUT_AGENT_SESSION, session_columns(&changes.agent_sessions));
    }
    if !changes.turns.is_empty() {
        pipe.add(
            sql::PUT_TURN,
            columns!(
                changes.turns,
                |row| row.id.as_uuid(),
                row.chat.as_uuid(),
                row.agent.as_str(),
                row.session.as_uuid(),
                row.generation as i32,
                row.task.as_uuid(),
                row.lease,
                row.state as i16,
                row.reason.as_deref(),
                row.tokens.input as i64,
                row.tokens.cache_read as i64,
                row.tokens.cache_write as i64,
                row.tokens.output as i64,
                row.tokens.reasoning as i64,
                row.cost,
                Time(row.begun_at),
                Time(row.prompted_at),
                Time(row.ended_at),
            ),
        );
    }
}

fn session_columns(rows: &[AgentSession]) -> Vec<Param<'_>> {
    columns!(
        rows,
        |row| row.id.as_uuid(),
        row.chat.map(|id| id.as_uuid()),
        row.agent.as_str(),
        row.generation as i32,
        row.transport.name(),
        row.token.as_deref(),
        row.port.map(i32::from),
        row.worktree.as_deref(),
        row.host.as_str(),
        row.state as i16,
        row.fingerprint.as_str(),
        row.context.name(),
        row.seen,
        row.turns as i32,
        row.tokens.input as i64,
        row.tokens.cache_read as i64,
        row.tokens.cache_write as i64,
        row.tokens.output as i64,
        row.tokens.reasoning as i64,
        row.cost,
        row.reason.as_deref(),
        Time(row.last_active_at),
        Time(row.created_at),
        Time(row.closed_at),
    )
}

fn tokens(cells: &mut Cells<'_>) -> Result<Tokens> {
    let mut count = || cells.next::<i64>().map(|number| number as u64);
    Ok(Tokens {
        input: count()?,
        cache_read: count()?,
        cache_write: count()?,
        output: count()?,
        reasoning: count()?,
    })
}

pub(super) fn agent_session(cells: &mut Cells<'_>) -> Result<AgentSession> {
    Ok(AgentSession {
        id: cells.id()?,
        chat: cells.id_or_null()?,
        agent: cells.next()?,
        generation: cells.count()?,
        transport: cells.name(Transport::from_name)?,
        token: cells.next()?,
        port: cells.next::<Option<i32>>()?.map(|port| port as u16),
        worktree: cells.next()?,
        host: cells.next()?,
        state: cells.number(AgentSessionState::from_number)?,
        fingerprint: cells.next()?,
        context: cells.name(AgentContext::from_name)?,
        seen: cells.next()?,
        turns: cells.count()?,
        tokens: tokens(cells)?,
        cost: cells.next()?,
        reason: cells.next()?,
        last_active_at: cells.time()?,
        created_at: cells.time()?,
        closed_at: cells.time()?,
    })
}

pub(super) fn turn(cells: &mut Cells<'_>) -> Result<Turn> {
    Ok(Turn {
        id: cells.id()?,
        chat: cells.id()?,
        agent: cells.next()?,
        session: cells.id()?,
        generation: cells.count()?,
        task: cells.id()?,
        lease: cells.next()?,
        state: cells.number(TurnState::from_number)?,
        reason: cells.next()?,
        tokens: tokens(cells)?,
        cost: cells.next()?,
        begun_at: cells.time()?,
        prompted_at: cells.time()?,
        ended_at: cells.time()?,
    })
}
