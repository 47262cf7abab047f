//! What was said elsewhere: chats of the host's own past, and forks of chats.

use super::{are_names, are_texts, chat, fits, work::Work};
use crate::{
    clock::Timestamp,
    id::ChatId,
    model::{
        AgentContext, AgentSession, AgentSessionState, Chat, Event, ForkChat, ImportChat, Needs,
        Outcome, PastSession, Receipt, Rejection, Stream, Tokens, limits,
    },
};

/// Takes in a chat's past. What was taken in before stays as it is.
pub(super) fn import(work: &mut Work, import: ImportChat) -> Receipt {
    let ImportChat { chat: id, messages, sessions } = import;
    if !work.rows.chats.contains_key(&id) {
        return Err(Rejection::not_found("chat", id));
    }
    for session in &sessions {
        check(work, id, session)?;
        let is_known = |seen| {
            let known = work.rows.messages.values().any(|row| (row.chat, row.id) == (id, seen));
            known || messages.iter().any(|message| message.id == seen)
        };
        if let Some(seen) = session.seen.filter(|seen| !is_known(*seen)) {
            return Err(Rejection::not_found("message of the chat", seen));
        }
    }
    chat::append_past(work, id, messages)?;
    for session in sessions {
        take_in(work, id, session);
    }
    Ok(Outcome::Done)
}

fn check(work: &Work, chat: ChatId, session: &PastSession) -> Result<(), Rejection> {
    are_names([&session.agent, &session.host])?;
    are_texts(&session.worktree)?;
    are_texts(session.counters.keys())?;
    are_texts([&session.token])?;
    fits("the id of an agent's session", session.token.len(), limits::META_BYTES)?;
    if session.token.is_empty() {
        return Err(Rejection::Invalid("a session is continued by what its agent calls it".into()));
    }
    let known = work.rows.agent_sessions.get(&session.id);
    match known.filter(|known| (known.chat, &known.agent) != (Some(chat), &session.agent)) {
        Some(_) => {
            let message = format!("there is an agent's session {} already", session.id);
            Err(Rejection::Invalid(message))
        }
        None => Ok(()),
    }
}

/// The first session of an agent in a chat, unless it has one. What the agent was configured like is
/// not known: whoever continues it says so.
fn take_in(work: &mut Work, chat: ChatId, past: PastSession) {
    let mut sessions = work.rows.agent_sessions.values();
    if sessions.any(|row| row.chat == Some(chat) && row.agent == past.agent) {
        return;
    }
    let seen = work.rows.messages.values().find(|row| Some(row.id) == past.seen);
    let seen = seen.map_or(work.rows.chats[&chat].next_seq - 1, |message| message.seq);
    work.put_agent_session(AgentSession {
        id: past.id,
        chat: Some(chat),
        agent: past.agent,
        generation: 1,
        transport: past.transport,
        token: Some(past.token),
        port: None,
        worktree: past.worktree,
        host: past.host,
        state: AgentSessionState::Idle,
        fingerprint: String::new(),
        context: AgentContext::Full,
        seen,
        turns: 1,
        tokens: Tokens::default(),
        cost: 0,
        bookings: 0,
        counters: past.counters,
        reason: None,
        last_active_at: past.last_active_at,
        created_at: work.now,
        closed_at: Timestamp::ZERO,
    });
}

/// Makes a chat that begins like another one, or goes on with it.
pub(super) fn fork(work: &mut Work, fork: ForkChat) -> Receipt {
    let ForkChat { chat: id, from, seq, messages } = fork;
    let forked_from = Some((from, seq));
    match work.rows.chats.get(&id) {
        Some(known) if known.forked_from == forked_from => {}
        Some(_) => return Err(Rejection::Invalid(format!("there is another chat {id} already"))),
        None => {
            let origin = work.rows.chats.get(&from).cloned();
            let origin = origin.ok_or_else(|| Rejection::not_found("chat", from))?;
            chat::check_messages(&messages)?;
            work.put_chat(Chat { id, next_seq: 1, created_at: work.now, forked_from, ..origin });
            work.tell(Stream::Chat(id), Event::ChatForked { from, seq });
        }
    }
    chat::append_past(work, id, messages)?;
    Ok(Outcome::Done)
}

/// What an import must see.
pub(super) fn wants_of_import(import: &ImportChat) -> Needs {
    let sessions = import.sessions.iter();
    let askable = sessions.clone().filter(|session| are_texts([&session.agent]).is_ok());
    let seen = sessions.clone().filter_map(|session| session.seen);
    Needs {
        chats: [import.chat].into(),
        messages: import.messages.iter().map(|message| message.id).chain(seen).collect(),
        agent_sessions: sessions.map(|session| session.id).collect(),
        newest_sessions: askable.map(|session| (import.chat, session.agent.clone())).collect(),
        ..Needs::default()
    }
}

/// What a fork must see.
pub(super) fn wants_of_fork(fork: &ForkChat) -> Needs {
    Needs {
        chats: [fork.chat, fork.from].into(),
        messages: fork.messages.iter().map(|message| message.id).collect(),
        ..Needs::default()
    }
}
