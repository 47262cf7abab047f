//! Agents' sessions, turns and what they use: rows, saving and lists.

use super::{
    columns::columns,
    pipe::{Param, Pipe, params},
    rows::{self, Cells, Time, json},
    sql,
};
use crate::{
    error::Result,
    id::AgentSessionId,
    model::{
        Account, AgentContext, AgentSession, AgentSessionState, Booking, Changes, Message,
        Metering, Part, PartKind, Prompt, Spent, Tokens, Transport, Turn, TurnState,
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
    if !changes.prompts_gone.is_empty() {
        pipe.add(sql::DELETE_PROMPT, columns!(changes.prompts_gone, |id| id.as_uuid()));
    }
    if !changes.prompts.is_empty() {
        pipe.add(
            sql::PUT_PROMPT,
            columns!(
                changes.prompts,
                |row| row.task.as_uuid(),
                row.chat.as_uuid(),
                row.agent.as_str(),
                row.place,
            ),
        );
    }
    if !changes.ledger.is_empty() {
        pipe.add(sql::INSERT_BOOKING, booking_columns(&changes.ledger));
    }
}

/// Adds parts of messages, which must be there.
pub(super) fn save_parts<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.parts.is_empty() {
        pipe.add(
            sql::INSERT_PART,
            columns!(
                changes.parts,
                |row| row.message.as_uuid(),
                row.no as i32,
                row.kind as i16,
                row.offset as i64,
                row.body.as_str(),
            ),
        );
    }
}

fn booking_columns(rows: &[Booking]) -> Vec<Param<'_>> {
    columns!(
        rows,
        |row| row.session.as_uuid(),
        row.no as i32,
        row.source.as_str(),
        row.chat.map(|id| id.as_uuid()),
        row.agent.as_str(),
        row.generation as i32,
        row.task.as_uuid(),
        row.run.map(|id| id.as_uuid()),
        row.turn.as_uuid(),
        row.model.as_deref(),
        row.metering.name(),
        row.tokens.input as i64,
        row.tokens.cache_read as i64,
        row.tokens.cache_write as i64,
        row.tokens.output as i64,
        row.tokens.reasoning as i64,
        row.cost,
        row.raw.as_str(),
        Time(row.at),
    )
}

/// The statement of a page of the ledger, and its parameters.
pub(super) fn ledger(
    of: Account,
    after: Option<(AgentSessionId, u32)>,
    limit: u32,
) -> (&'static str, Vec<Param<'static>>) {
    let (session, no) = after.map(|(id, no)| (id.as_uuid(), no as i32)).unzip();
    let (sql, id) = match of {
        Account::Chat(id) => (sql::LEDGER_OF_CHAT, id.as_uuid()),
        Account::Task(id) => (sql::LEDGER_OF_TASK, id.as_uuid()),
        Account::Run(id) => (sql::LEDGER_OF_RUN, id.as_uuid()),
    };
    (sql, params![id, session, no, i64::from(limit)])
}

/// The statement of the sum of an account, and its parameters.
pub(super) fn sum(of: Account) -> (&'static str, Vec<Param<'static>>) {
    match of {
        Account::Chat(id) => (sql::SPENT_OF_CHAT, params![id.as_uuid()]),
        Account::Task(id) => (sql::SPENT_OF_TASK, params![id.as_uuid()]),
        Account::Run(id) => (sql::SPENT_OF_RUN, params![id.as_uuid()]),
    }
}

pub(super) fn spent(cells: &mut Cells<'_>) -> Result<Spent> {
    let bookings = cells.next::<i64>()?.unsigned_abs();
    Ok(Spent { bookings, tokens: tokens(cells)?, cost: cells.next()? })
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
        row.bookings as i32,
        json(&row.counters),
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
        bookings: cells.count()?,
        counters: cells.json()?,
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

pub(super) fn prompt(cells: &mut Cells<'_>) -> Result<Prompt> {
    Ok(Prompt { task: cells.id()?, chat: cells.id()?, agent: cells.next()?, place: cells.next()? })
}

pub(super) fn booking(cells: &mut Cells<'_>) -> Result<Booking> {
    Ok(Booking {
        session: cells.id()?,
        no: cells.count()?,
        source: cells.next()?,
        chat: cells.id_or_null()?,
        agent: cells.next()?,
        generation: cells.count()?,
        task: cells.id()?,
        run: cells.id_or_null()?,
        turn: cells.id()?,
        model: cells.next()?,
        metering: cells.name(Metering::from_name)?,
        tokens: tokens(cells)?,
        cost: cells.next()?,
        raw: cells.payload()?,
        at: cells.time()?,
    })
}

pub(super) fn part(cells: &mut Cells<'_>) -> Result<Part> {
    Ok(Part {
        message: cells.id()?,
        no: cells.count()?,
        kind: cells.number(PartKind::from_number)?,
        offset: cells.next::<i64>()? as u64,
        body: cells.next()?,
    })
}

/// A message with its parts, which are NULL where it has none.
pub(super) fn message(cells: &mut Cells<'_>) -> Result<Message> {
    let message = rows::message(cells)?;
    let nos: Option<Vec<i32>> = cells.next()?;
    let kinds: Option<Vec<i16>> = cells.next()?;
    let starts: Option<Vec<i64>> = cells.next()?;
    let bodies: Option<Vec<String>> = cells.next()?;
    let all = nos.into_iter().flatten().zip(kinds.into_iter().flatten());
    let all = all.zip(starts.into_iter().flatten()).zip(bodies.into_iter().flatten());
    let parts = all.map(|(((no, kind), start), body)| {
        let kind = PartKind::from_number(kind.into());
        let kind = kind.ok_or_else(|| rows::unreadable(format!("a part of unknown kind: {body}")));
        let (message, no, offset) = (message.id, no as u32, start as u64);
        Ok(Part { message, no, kind: kind?, offset, body })
    });
    let parts = parts.collect::<Result<_>>()?;
    Ok(message.with_parts(parts))
}
