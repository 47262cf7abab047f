//! Turns of agents, and the sessions that they are taken in.
//!
//! A turn is open exactly as long as its task is held: whatever ends the attempt ends the turn, in
//! the same commit. A session that can't be continued is closed and followed by another, and
//! whoever watches the chat is told.

use super::{are_names, are_texts, fits, storable, task::find, work::Work};
use crate::{
    clock::Timestamp,
    id::{AgentSessionId, TaskId, TurnId},
    model::{
        AgentContext, AgentSession, AgentSessionState, BeginTurn, Begun, Counters, Event, Outcome,
        Payload, Phase, Receipt, Rejection, Resume, Sessions, Stream, TaskFlags, Tokens, Turn,
        TurnEnd, TurnState, Usage, limits,
    },
};

/// Begins a turn, or says once more how it was begun.
pub(super) fn begin(work: &mut Work, wish: BeginTurn) -> Receipt {
    check(&wish)?;
    let task = find(work, wish.task)?;
    if task.phase != Phase::Running || task.lease != wish.lease {
        return Err(Rejection::StaleLease);
    }
    if !work.rows.chats.contains_key(&wish.chat) {
        return Err(Rejection::not_found("chat", wish.chat));
    }
    let id = TurnId::of(wish.task, wish.lease);
    let session = match work.rows.turns.get(&id).cloned() {
        None => fresh(work, id, &wish)?,
        Some(turn) => again(work, turn, &wish)?,
    };
    let begun = Begun {
        turn: id,
        session: session.id,
        generation: session.generation,
        resume: resume(&session, &wish),
        context: session.context,
        seen: if wish.sessions == Sessions::None { 0 } else { session.seen },
    };
    Ok(Outcome::Turn(Box::new(begun)))
}

fn check(wish: &BeginTurn) -> Result<(), Rejection> {
    are_names([&wish.agent])?;
    are_texts([&wish.fingerprint, &wish.host, &wish.proposed])?;
    are_texts(&wish.worktree)?;
    for text in [&wish.fingerprint, &wish.host, &wish.proposed] {
        fits("what a session is known by", text.len(), limits::META_BYTES)?;
    }
    if wish.sessions == Sessions::Ours && wish.proposed.is_empty() {
        return Err(Rejection::Invalid("a session that we name needs a name".into()));
    }
    Ok(())
}

/// What the agent is to do about its own session.
fn resume(session: &AgentSession, wish: &BeginTurn) -> Resume {
    match (&session.token, wish.sessions) {
        (_, Sessions::None) => Resume::Fresh,
        (Some(token), _) if session.turns > 0 => Resume::Continue(token.clone()),
        (_, Sessions::Ours) => Resume::New(wish.proposed.clone()),
        (_, Sessions::Theirs) => Resume::Fresh,
    }
}

/// A turn that was not begun before.
fn fresh(work: &mut Work, id: TurnId, wish: &BeginTurn) -> Result<AgentSession, Rejection> {
    let same = |turn: &&Turn| turn.chat == wish.chat && turn.agent == wish.agent;
    let other = work.rows.turns.values().filter(same).find(|turn| turn.state.is_open());
    if let Some(turn) = other {
        return Err(Rejection::Busy { turn: turn.id });
    }
    let session = enter(work, wish)?;
    let turn = Turn {
        id,
        chat: wish.chat,
        agent: wish.agent.clone(),
        session: session.id,
        generation: session.generation,
        task: wish.task,
        lease: wish.lease,
        state: TurnState::Begun,
        reason: None,
        tokens: Tokens::default(),
        cost: 0,
        begun_at: work.now,
        prompted_at: Timestamp::ZERO,
        ended_at: Timestamp::ZERO,
    };
    let (agent, generation, task) = (turn.agent.clone(), turn.generation, turn.task);
    work.put_turn(turn);
    let task = work.task(task);
    task.flags = task.flags.with(TaskFlags::TURN);
    let task = task.id;
    work.tell(Stream::Chat(wish.chat), Event::TurnBegan { turn: id, agent, generation, task });
    Ok(session)
}

/// A turn that was begun before: as it stands, or in a new session where the agent does not know
/// the one that it was to continue.
fn again(work: &mut Work, turn: Turn, wish: &BeginTurn) -> Result<AgentSession, Rejection> {
    if !turn.state.is_open() {
        return Err(Rejection::StaleLease);
    }
    if turn.chat != wish.chat || turn.agent != wish.agent {
        let message = format!("turn {} was begun by another agent or in another chat", turn.id);
        return Err(Rejection::Invalid(message));
    }
    let session = find_session(work, turn.session)?.clone();
    if wish.lost.is_none() || wish.lost != session.token {
        return Ok(session);
    }
    let session = enter(work, wish)?;
    let (state, prompted_at) = (TurnState::Begun, Timestamp::ZERO);
    let (id, generation) = (session.id, session.generation);
    work.put_turn(Turn { session: id, generation, state, prompted_at, ..turn });
    Ok(session)
}

/// The session that a turn is taken in: the agent's last one in the chat, or a new one.
fn enter(work: &mut Work, wish: &BeginTurn) -> Result<AgentSession, Rejection> {
    let of = |row: &&AgentSession| row.chat == Some(wish.chat) && row.agent == wish.agent;
    let sessions = work.rows.agent_sessions.values().filter(of);
    let last = sessions.max_by_key(|session| session.generation).cloned();
    let reason = match &last {
        None => origin(work, wish),
        Some(last) => match hindrance(last, wish) {
            None => return Ok(go_on(work, last.clone(), wish)),
            reason => reason,
        },
    };
    if work.rows.agent_sessions.contains_key(&wish.session) {
        let message = format!("there is an agent's session {} already", wish.session);
        return Err(Rejection::Invalid(message));
    }
    let generation = last.as_ref().map_or(1, |last| last.generation + 1);
    if let Some(last) = last {
        close(work, last, reason.as_deref().unwrap_or_default());
    }
    let context = match (&reason, wish.carries) {
        (None, _) => AgentContext::Full,
        (Some(_), true) => AgentContext::Carried,
        (Some(_), false) => AgentContext::Lost,
    };
    if let Some(reason) = reason {
        let agent = wish.agent.clone();
        let event = match wish.carries {
            true => Event::ContextCarried { agent, generation, reason },
            false => Event::ContextLost { agent, generation, reason },
        };
        work.tell(Stream::Chat(wish.chat), event);
    }
    let session = new_session(work.now, wish, generation, context);
    work.put_agent_session(session.clone());
    Ok(session)
}

/// Why an agent knows nothing of what was said in a chat in which it has no session yet: where that
/// is a fork.
fn origin(work: &Work, wish: &BeginTurn) -> Option<String> {
    let chat = work.rows.chats.get(&wish.chat)?;
    let (from, _) = chat.forked_from.filter(|_| wish.sessions != Sessions::None)?;
    Some(format!("the chat was forked from chat {from}"))
}

/// Why a session can't be continued, if it can't.
fn hindrance(session: &AgentSession, wish: &BeginTurn) -> Option<String> {
    if !session.is_open() {
        return Some(session.reason.clone().unwrap_or_default());
    }
    let lost = wish.lost.is_some() && wish.lost == session.token;
    match (&session.token, wish.sessions) {
        // Nothing was ever said in it, so nothing is lost with it.
        _ if session.turns == 0 => None,
        _ if lost => Some("the agent does not know its session any more".into()),
        (None, Sessions::None) => None,
        (Some(_), Sessions::None) => Some("the agent keeps no sessions any more".into()),
        (None, _) => Some("the agent has not said what it calls its session".into()),
        _ if session.host != wish.host => Some(format!("its session is on host {}", session.host)),
        // It was taken in: what the agent was configured like is said by who continues it first.
        _ if session.fingerprint.is_empty() => {
            let elsewhere = session.worktree.is_some() && session.worktree != wish.worktree;
            elsewhere.then(|| "its session is of another folder".into())
        }
        _ if session.fingerprint != wish.fingerprint => {
            Some("the agent's version or configuration has changed".into())
        }
        _ => None,
    }
}

/// Takes a turn in a session that there is.
fn go_on(work: &mut Work, session: AgentSession, wish: &BeginTurn) -> AgentSession {
    let untouched = session.turns == 0;
    let resumed = session.state == AgentSessionState::Crashed && session.token.is_some();
    if resumed && !untouched {
        let (agent, generation) = (wish.agent.clone(), session.generation);
        work.tell(Stream::Chat(wish.chat), Event::ContextResumed { agent, generation });
    }
    let begins = untouched || wish.sessions == Sessions::None;
    let session = AgentSession {
        counters: if begins { Counters::new() } else { session.counters },
        transport: wish.transport,
        token: session.token.filter(|_| !untouched),
        port: session.port.filter(|_| !untouched),
        seen: if untouched { 0 } else { session.seen },
        worktree: wish.worktree.clone(),
        host: wish.host.clone(),
        fingerprint: wish.fingerprint.clone(),
        state: AgentSessionState::Active,
        last_active_at: work.now,
        ..session
    };
    work.put_agent_session(session.clone());
    session
}

fn new_session(
    now: Timestamp,
    wish: &BeginTurn,
    generation: u32,
    context: AgentContext,
) -> AgentSession {
    AgentSession {
        id: wish.session,
        chat: Some(wish.chat),
        agent: wish.agent.clone(),
        generation,
        transport: wish.transport,
        token: None,
        port: None,
        worktree: wish.worktree.clone(),
        host: wish.host.clone(),
        state: AgentSessionState::Active,
        fingerprint: wish.fingerprint.clone(),
        context,
        seen: 0,
        turns: 0,
        tokens: Tokens::default(),
        cost: 0,
        bookings: 0,
        counters: Counters::new(),
        reason: None,
        last_active_at: now,
        created_at: now,
        closed_at: Timestamp::ZERO,
    }
}

/// A session that is closed already stays as it is.
fn close(work: &mut Work, session: AgentSession, reason: &str) {
    if session.is_open() {
        let (state, closed_at) = (AgentSessionState::Closed, work.now);
        let reason = Some(reason.to_owned());
        work.put_agent_session(AgentSession { state, closed_at, reason, ..session });
    }
}

fn find_session(work: &Work, id: AgentSessionId) -> Result<&AgentSession, Rejection> {
    let session = work.rows.agent_sessions.get(&id);
    session.ok_or_else(|| Rejection::not_found("agent's session", id))
}

/// The turn, if it has not ended.
pub(super) fn find_open(work: &Work, id: TurnId) -> Result<Turn, Rejection> {
    let turn = work.rows.turns.get(&id).ok_or_else(|| Rejection::not_found("turn", id))?;
    if turn.state.is_open() { Ok(turn.clone()) } else { Err(Rejection::StaleLease) }
}

/// Notes what the agent calls its session.
pub(super) fn note_session(
    work: &mut Work,
    turn: TurnId,
    token: String,
    port: Option<u16>,
) -> Receipt {
    let turn = find_open(work, turn)?;
    are_texts([&token])?;
    fits("the id of an agent's session", token.len(), limits::META_BYTES)?;
    let session = find_session(work, turn.session)?.clone();
    let token = Some(token);
    if (&session.token, session.port) != (&token, port) {
        work.put_agent_session(AgentSession { token, port, ..session });
    }
    Ok(Outcome::Done)
}

/// Notes that the agent gets its prompt.
pub(super) fn prompting(work: &mut Work, turn: TurnId, seen: i64) -> Receipt {
    let turn = find_open(work, turn)?;
    if turn.state == TurnState::Prompted {
        return Ok(Outcome::Done);
    }
    let session = find_session(work, turn.session)?.clone();
    let (turns, seen) = (session.turns.saturating_add(1), session.seen.max(seen));
    work.put_agent_session(AgentSession { turns, seen, ..session });
    let (state, prompted_at) = (TurnState::Prompted, work.now);
    work.put_turn(Turn { state, prompted_at, ..turn });
    Ok(Outcome::Done)
}

/// Refuses an end that is none.
pub(super) fn check_end(end: Option<&TurnEnd>) -> Result<(), Rejection> {
    match end.filter(|end| end.state.is_open()) {
        Some(end) => {
            Err(Rejection::Invalid(format!("a turn does not end by being {:?}", end.state)))
        }
        None => Ok(()),
    }
}

/// Ends the turn that is taken in the attempt at work, if there is one, and says what was booked
/// for it. One of whose end nothing is known has broken off.
pub(super) fn end(work: &mut Work, id: TaskId, end: Option<TurnEnd>) -> Option<Payload> {
    let task = &work.rows.tasks[&id];
    if !task.flags.has(TaskFlags::TURN) {
        return None;
    }
    let turn = TurnId::of(id, task.lease);
    let task = work.task(id);
    task.flags = task.flags.without(TaskFlags::TURN);
    // It is gone where its chat was deleted.
    let turn = find_open(work, turn).ok()?;
    let end = end.unwrap_or_else(|| broken_off(&turn));
    let reason = end.reason.map(storable);
    leave(work, &turn, end.state, reason.clone(), (end.seen, end.compacted));
    let (id, chat, agent) = (turn.id, turn.chat, turn.agent.clone());
    let (state, ended_at) = (end.state, work.now);
    let used = Usage { tokens: turn.tokens.total(), cost_micros: turn.cost.unsigned_abs() };
    work.put_turn(Turn { state, ended_at, reason: reason.clone(), ..turn });
    work.tell(Stream::Chat(chat), Event::TurnEnded { turn: id, agent, state, reason });
    (used != Usage::default()).then(|| Payload::of(&used).ok()).flatten()
}

fn broken_off(turn: &Turn) -> TurnEnd {
    let state = match turn.state {
        TurnState::Prompted => TurnState::Interrupted,
        _ => TurnState::Crashed,
    };
    TurnEnd { reason: Some("it broke off".into()), ..TurnEnd::new(state) }
}

/// The session after a turn.
fn leave(
    work: &mut Work,
    turn: &Turn,
    how: TurnState,
    reason: Option<String>,
    (seen, compacted): (i64, bool),
) {
    let Some(session) = work.rows.agent_sessions.get(&turn.session).cloned() else { return };
    let state = match how {
        TurnState::Crashed | TurnState::Interrupted => AgentSessionState::Crashed,
        _ => AgentSessionState::Idle,
    };
    let context = if compacted { AgentContext::Partial } else { session.context };
    let (seen, last_active_at) = (session.seen.max(seen), work.now);
    let session = AgentSession { state, context, seen, last_active_at, ..session };
    match how {
        TurnState::SessionLost => close(work, session, reason.as_deref().unwrap_or("it was lost")),
        _ => work.put_agent_session(session),
    }
}
