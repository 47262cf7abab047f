//! Sessions, chats and messages.

use std::collections::BTreeSet;

use super::{are_names, are_texts, fits, line};
use crate::{
    id::{ChatId, MessageId, SessionId},
    model::{
        Chat, Event, Message, NewMessage, Outcome, PastMessage, Payload, Receipt, Rejection,
        Session, Stream, limits, plan::work::Work,
    },
};

/// Makes a session, or changes its title and meta.
pub(super) fn open_session(work: &mut Work, session: Session) -> Receipt {
    check(&session.project, &session.title, session.meta.as_ref())?;
    let created_at = or_now(session.created_at, work);
    let known = work.rows.sessions.get(&session.id).cloned();
    let known = known.unwrap_or(Session { created_at, ..session.clone() });
    let Session { title, meta, .. } = session;
    let session = Session { title, meta, ..known };
    work.rows.sessions.insert(session.id, session.clone());
    work.changes.sessions.retain(|old| old.id != session.id);
    work.changes.sessions.push(session);
    Ok(Outcome::Done)
}

/// Deletes a session. Its chats and tasks stay.
pub(super) fn delete_session(work: &mut Work, id: SessionId) -> Receipt {
    work.delete_session(id);
    Ok(Outcome::Done)
}

/// Makes a chat, or changes its title and meta.
pub(super) fn open(work: &mut Work, chat: Chat) -> Receipt {
    check(&chat.project, &chat.title, chat.meta.as_ref())?;
    if let Some(session) = chat.session
        && !work.rows.sessions.contains_key(&session)
    {
        return Err(session.missing());
    }
    let created_at = or_now(chat.created_at, work);
    let known = work.rows.chats.get(&chat.id).cloned();
    let known = known.unwrap_or(Chat { created_at, next_seq: 1, ..chat.clone() });
    let Chat { title, meta, .. } = chat;
    work.put_chat(Chat { title, meta, ..known });
    Ok(Outcome::Done)
}

/// A time that the host gave (an import), or now.
fn or_now(given: crate::clock::Timestamp, work: &Work) -> crate::clock::Timestamp {
    if given == crate::clock::Timestamp::ZERO { work.now } else { given }
}

fn check(project: &str, title: &str, meta: Option<&Payload>) -> Result<(), Rejection> {
    are_names([project])?;
    are_texts([title])?;
    fits("meta", meta.map_or(0, |meta| meta.as_str().len()), limits::META_BYTES)
}

/// Deletes a chat with its messages. Nobody is to answer its prompts any more.
pub(super) fn delete(work: &mut Work, id: ChatId) -> Receipt {
    if work.rows.chats.contains_key(&id) {
        line::cancel_all(work, id);
    }
    work.delete_chat(id);
    Ok(Outcome::Done)
}

/// Appends messages, each once.
pub(super) fn append(work: &mut Work, id: ChatId, messages: Vec<NewMessage>) -> Receipt {
    let created_at = work.now;
    let dated = messages.into_iter().map(|message| {
        let NewMessage { id, role, content, task } = message;
        PastMessage { id, role, content, task, created_at }
    });
    append_past(work, id, dated.collect())
}

/// Refuses messages that are too long.
pub(super) fn check_messages(messages: &[PastMessage]) -> Result<(), Rejection> {
    let mut sizes = messages.iter().map(|message| message.content.as_str().len());
    sizes.try_for_each(|bytes| fits("a message", bytes, limits::PAYLOAD_BYTES))
}

/// Appends messages of any time, each once.
pub(super) fn append_past(work: &mut Work, id: ChatId, messages: Vec<PastMessage>) -> Receipt {
    let Some(mut chat) = work.rows.chats.get(&id).cloned() else {
        return Err(Rejection::not_found("chat", id));
    };
    check_messages(&messages)?;
    let mut known: BTreeSet<MessageId> = work.rows.messages.values().map(|row| row.id).collect();
    for message in messages {
        if !known.insert(message.id) {
            continue;
        }
        let seq = chat.next_seq;
        chat.next_seq += 1;
        let PastMessage { id: message_id, role, content, task, created_at } = message;
        let (chat, parts) = (id, Vec::new());
        let message = Message { chat, seq, id: message_id, role, content, task, created_at, parts };
        work.tell(Stream::Chat(id), Event::MessageAppended { id: message_id, seq, role });
        work.rows.messages.insert((id, seq), message.clone());
        work.changes.messages.push(message);
    }
    work.put_chat(chat);
    Ok(Outcome::Done)
}
