//! Agents' sessions and turns: rows, loading and saving.

use rusqlite::{Connection, Row, params};

use super::{
    load::{all, one},
    rows::Cells,
    save::run,
    sql,
};
use crate::{
    error::Result,
    model::{
        AgentContext, AgentSession, AgentSessionState, Changes, Needs, Rows, Tokens, Transport,
        Turn, TurnState,
    },
};

pub(super) fn load(conn: &Connection, needs: &Needs, found: &mut Rows) -> rusqlite::Result<()> {
    for id in &needs.turns {
        found.turns.extend(one(conn, sql::TURN, [id], turn)?.map(|row| (row.id, row)));
    }
    for chat in &needs.open_turns {
        let open = all(conn, sql::OPEN_TURNS, [chat], turn)?;
        found.turns.extend(open.into_iter().map(|row| (row.id, row)));
    }
    for id in &needs.agent_sessions {
        let session = one(conn, sql::AGENT_SESSION, [id], agent_session)?;
        found.agent_sessions.extend(session.map(|row| (row.id, row)));
    }
    for key in &needs.newest_sessions {
        let session = one(conn, sql::NEWEST_AGENT_SESSION, (key.0, &key.1), agent_session)?;
        found.agent_sessions.extend(session.map(|row| (row.id, row)));
    }
    Ok(())
}

/// A dump, for audits.
pub(super) fn everything(conn: &Connection, found: &mut Rows) -> rusqlite::Result<()> {
    let turns = all(conn, sql::all(sql::TURN), [], turn)?;
    found.turns = turns.into_iter().map(|row| (row.id, row)).collect();
    let sessions = all(conn, sql::all(sql::AGENT_SESSION), [], agent_session)?;
    found.agent_sessions = sessions.into_iter().map(|row| (row.id, row)).collect();
    Ok(())
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> Result<()> {
    for row in &changes.agent_sessions {
        let params = params![
            row.id,
            row.chat,
            row.agent,
            row.generation,
            row.transport.name(),
            row.token,
            row.port,
            row.worktree,
            row.host,
            row.state as u8,
            row.fingerprint,
            row.context.name(),
            row.seen,
            row.turns,
            row.tokens.input as i64,
            row.tokens.cache_read as i64,
            row.tokens.cache_write as i64,
            row.tokens.output as i64,
            row.tokens.reasoning as i64,
            row.cost,
            row.reason,
            row.last_active_at,
            row.created_at,
            row.closed_at
        ];
        run(conn, sql::PUT_AGENT_SESSION, params)?;
    }
    changes.turns.iter().try_for_each(|row| put_turn(conn, row))?;
    Ok(())
}

fn put_turn(conn: &Connection, row: &Turn) -> rusqlite::Result<()> {
    let params = params![
        row.id,
        row.chat,
        row.agent,
        row.session,
        row.generation,
        row.task,
        row.lease,
        row.state as u8,
        row.reason,
        row.tokens.input as i64,
        row.tokens.cache_read as i64,
        row.tokens.cache_write as i64,
        row.tokens.output as i64,
        row.tokens.reasoning as i64,
        row.cost,
        row.begun_at,
        row.prompted_at,
        row.ended_at
    ];
    run(conn, sql::PUT_TURN, params).map(drop)
}

fn tokens(cells: &mut Cells<'_>) -> rusqlite::Result<Tokens> {
    let mut count = || cells.next::<i64>().map(|number| number as u64);
    Ok(Tokens {
        input: count()?,
        cache_read: count()?,
        cache_write: count()?,
        output: count()?,
        reasoning: count()?,
    })
}

pub(super) fn agent_session(row: &Row<'_>) -> rusqlite::Result<AgentSession> {
    let mut cells = Cells::new(row);
    Ok(AgentSession {
        id: cells.next()?,
        chat: cells.next()?,
        agent: cells.next()?,
        generation: cells.next()?,
        transport: cells.name(Transport::from_name)?,
        token: cells.next()?,
        port: cells.next()?,
        worktree: cells.next()?,
        host: cells.next()?,
        state: cells.number(AgentSessionState::from_number)?,
        fingerprint: cells.next()?,
        context: cells.name(AgentContext::from_name)?,
        seen: cells.next()?,
        turns: cells.next()?,
        tokens: tokens(&mut cells)?,
        cost: cells.next()?,
        reason: cells.next()?,
        last_active_at: cells.next()?,
        created_at: cells.next()?,
        closed_at: cells.next()?,
    })
}

pub(super) fn turn(row: &Row<'_>) -> rusqlite::Result<Turn> {
    let mut cells = Cells::new(row);
    Ok(Turn {
        id: cells.next()?,
        chat: cells.next()?,
        agent: cells.next()?,
        session: cells.next()?,
        generation: cells.next()?,
        task: cells.next()?,
        lease: cells.next()?,
        state: cells.number(TurnState::from_number)?,
        reason: cells.next()?,
        tokens: tokens(&mut cells)?,
        cost: cells.next()?,
        begun_at: cells.next()?,
        prompted_at: cells.next()?,
        ended_at: cells.next()?,
    })
}
