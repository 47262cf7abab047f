//! Agents' sessions, turns and what they use: rows, loading, saving and lists.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::{
    load::{all, one},
    rows::{self, Cells, json},
    save::run,
    sql,
};
use crate::{
    error::Result,
    id::{AgentSessionId, ChatId, MessageId},
    model::{
        Account, AgentContext, AgentSession, AgentSessionState, Booking, Changes, Message,
        Metering, Needs, Part, PartKind, Prompt, Rows, Spent, Tokens, Transport, Turn, TurnState,
    },
};

pub(super) fn load(conn: &Connection, needs: &Needs, found: &mut Rows) -> rusqlite::Result<()> {
    for id in &needs.turns {
        found.turns.extend(one(conn, sql::TURN, [id], turn)?.map(|row| (row.id, row)));
    }
    for id in &needs.turn_routes {
        let route = |row: &Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)));
        found.turn_routes.extend(one(conn, sql::TURN_ROUTE, [id], route)?);
    }
    load_prompts(conn, needs, found)?;
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
    for (message, no) in &needs.parts {
        let row = one(conn, sql::PART, (message, no), part)?;
        found.parts.extend(row.map(|row| ((row.message, row.no), row)));
    }
    for (session, source) in &needs.ledger {
        let row = one(conn, sql::BOOKING, (session, source), booking)?;
        found.ledger.extend(row.map(|row| ((row.session, row.no), row)));
    }
    Ok(())
}

fn load_prompts(conn: &Connection, needs: &Needs, found: &mut Rows) -> rusqlite::Result<()> {
    let mut prompts = Vec::new();
    for id in &needs.prompts {
        prompts.extend(one(conn, sql::PROMPT, [id], prompt)?);
    }
    for (chat, agent, after) in &needs.lines {
        let params = params![chat, agent, after, Needs::LINE as i64];
        prompts.extend(all(conn, sql::PROMPTS_IN_LINE, params, prompt)?);
    }
    for chat in &needs.prompts_of {
        prompts.extend(all(conn, sql::PROMPTS_OF, [chat], prompt)?);
    }
    found.prompts.extend(prompts.into_iter().map(|row| (row.task, row)));
    Ok(())
}

/// A dump, for audits.
pub(super) fn everything(conn: &Connection, found: &mut Rows) -> rusqlite::Result<()> {
    let turns = all(conn, sql::all(sql::TURN), [], turn)?;
    found.turns = turns.into_iter().map(|row| (row.id, row)).collect();
    let sessions = all(conn, sql::all(sql::AGENT_SESSION), [], agent_session)?;
    found.agent_sessions = sessions.into_iter().map(|row| (row.id, row)).collect();
    let prompts = all(conn, sql::all(sql::PROMPT), [], prompt)?;
    found.prompts = prompts.into_iter().map(|row| (row.task, row)).collect();
    let parts = all(conn, sql::PARTS_ALL, [], part)?;
    found.parts = parts.into_iter().map(|row| ((row.message, row.no), row)).collect();
    let booked = all(conn, sql::LEDGER_ALL, [], booking)?;
    found.ledger = booked.into_iter().map(|row| ((row.session, row.no), row)).collect();
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
            row.bookings,
            json(&row.counters),
            row.reason,
            row.last_active_at,
            row.created_at,
            row.closed_at
        ];
        run(conn, sql::PUT_AGENT_SESSION, params)?;
    }
    changes.turns.iter().try_for_each(|row| put_turn(conn, row))?;
    for task in &changes.prompts_gone {
        run(conn, sql::DELETE_PROMPT, [task])?;
    }
    for row in &changes.prompts {
        run(conn, sql::PUT_PROMPT, params![row.task, row.chat, row.agent, row.place])?;
    }
    changes.ledger.iter().try_for_each(|row| insert_booking(conn, row))?;
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

fn insert_booking(conn: &Connection, row: &Booking) -> rusqlite::Result<()> {
    let params = params![
        row.session,
        row.no,
        row.source,
        row.chat,
        row.agent,
        row.generation,
        row.task,
        row.run,
        row.turn,
        row.model,
        row.metering.name(),
        row.tokens.input as i64,
        row.tokens.cache_read as i64,
        row.tokens.cache_write as i64,
        row.tokens.output as i64,
        row.tokens.reasoning as i64,
        row.cost,
        row.raw,
        row.at
    ];
    run(conn, sql::INSERT_BOOKING, params).map(drop)
}

/// Parts of messages, which must be there.
pub(super) fn save_parts(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for row in &changes.parts {
        let params = params![row.message, row.no, row.kind as u8, row.offset as i64, row.body];
        run(conn, sql::INSERT_PART, params)?;
    }
    Ok(())
}

/// A page of messages, with their parts.
pub(super) fn messages(
    conn: &Connection,
    chat: ChatId,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<Message>> {
    let messages = all(conn, sql::LIST_MESSAGES, params![chat, after, limit], rows::message)?;
    let Some(last) = messages.last().map(|message| message.seq) else { return Ok(messages) };
    let mut parts: BTreeMap<MessageId, Vec<Part>> = BTreeMap::new();
    for part in all(conn, sql::PARTS_OF_PAGE, (chat, after, last), part)? {
        parts.entry(part.message).or_default().push(part);
    }
    let whole = |message: Message| {
        let parts = parts.remove(&message.id).unwrap_or_default();
        message.with_parts(parts)
    };
    Ok(messages.into_iter().map(whole).collect())
}

/// A page of the ledger.
pub(super) fn ledger(
    conn: &Connection,
    of: Account,
    after: Option<(AgentSessionId, u32)>,
    limit: u32,
) -> rusqlite::Result<Vec<Booking>> {
    let (session, no) = after.unzip();
    match of {
        Account::Chat(id) => {
            all(conn, sql::LEDGER_OF_CHAT, params![id, session, no, limit], booking)
        }
        Account::Task(id) => {
            all(conn, sql::LEDGER_OF_TASK, params![id, session, no, limit], booking)
        }
        Account::Run(id) => all(conn, sql::LEDGER_OF_RUN, params![id, session, no, limit], booking),
    }
}

/// The sum of an account.
pub(super) fn spent(conn: &Connection, of: Account) -> rusqlite::Result<Spent> {
    let read = |row: &Row<'_>| {
        let mut cells = Cells::new(row);
        let bookings = cells.next::<i64>()?.unsigned_abs();
        Ok(Spent { bookings, tokens: tokens(&mut cells)?, cost: cells.next()? })
    };
    let sum = match of {
        Account::Chat(id) => one(conn, sql::SPENT_OF_CHAT, [id], read)?,
        Account::Task(id) => one(conn, sql::SPENT_OF_TASK, [id], read)?,
        Account::Run(id) => one(conn, sql::SPENT_OF_RUN, [id], read)?,
    };
    Ok(sum.unwrap_or_default())
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
        bookings: cells.next()?,
        counters: cells.json()?,
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

fn prompt(row: &Row<'_>) -> rusqlite::Result<Prompt> {
    let mut cells = Cells::new(row);
    Ok(Prompt {
        task: cells.next()?,
        chat: cells.next()?,
        agent: cells.next()?,
        place: cells.next()?,
    })
}

fn booking(row: &Row<'_>) -> rusqlite::Result<Booking> {
    let mut cells = Cells::new(row);
    Ok(Booking {
        session: cells.next()?,
        no: cells.next()?,
        source: cells.next()?,
        chat: cells.next()?,
        agent: cells.next()?,
        generation: cells.next()?,
        task: cells.next()?,
        run: cells.next()?,
        turn: cells.next()?,
        model: cells.next()?,
        metering: cells.name(Metering::from_name)?,
        tokens: tokens(&mut cells)?,
        cost: cells.next()?,
        raw: cells.next()?,
        at: cells.next()?,
    })
}

pub(super) fn part(row: &Row<'_>) -> rusqlite::Result<Part> {
    let mut cells = Cells::new(row);
    Ok(Part {
        message: cells.next()?,
        no: cells.next()?,
        kind: cells.number(PartKind::from_number)?,
        offset: cells.next::<i64>()? as u64,
        body: cells.next()?,
    })
}
