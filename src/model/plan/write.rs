//! What an agent says in its turn, written down as it is said.

use std::collections::{BTreeMap, BTreeSet};

use super::{fits, storable, turn::find_open, work::Work};
use crate::{
    id::MessageId,
    model::{
        Event, Message, NewPart, Outcome, Part, Payload, Receipt, Rejection, Role, Stream, Turn,
        Write, limits,
    },
};

/// Appends parts to messages, each once, and makes the messages whose first part is among them.
pub(super) fn write(work: &mut Work, write: Write) -> Receipt {
    let turn = find_open(work, write.turn)?;
    if turn.chat != write.chat {
        return Err(Rejection::Invalid(format!("turn {} is in chat {}", turn.id, turn.chat)));
    }
    let mut new: BTreeMap<(MessageId, u32), Part> = BTreeMap::new();
    let mut order = Vec::new();
    for part in write.parts {
        let key = (part.message, part.no);
        if work.rows.parts.contains_key(&key) || new.contains_key(&key) {
            continue;
        }
        let offset = place(work, &turn, &part, &new)?;
        let NewPart { message, no, kind, body } = part;
        fits("a part of a message", body.len(), limits::PAYLOAD_BYTES)?;
        let part = Part { message, no, kind, offset, body: storable(body) };
        let said = offset.saturating_add(part.length()) as usize;
        fits("a message", said, limits::PAYLOAD_BYTES)?;
        new.insert(key, part);
        order.push(key);
    }
    let mut grown = BTreeSet::new();
    for (message, _) in &order {
        if grown.insert(*message) {
            append(work, &turn, *message);
            let parts = new.range((*message, 0)..=(*message, u32::MAX)).map(|(_, part)| part);
            tell(work, &turn, &parts.collect::<Vec<_>>());
        }
    }
    new.into_values().for_each(|part| work.insert_part(part));
    Ok(Outcome::Done)
}

/// How much was said before a part. It follows the one before it, in a message of this turn's task.
fn place(
    work: &Work,
    turn: &Turn,
    part: &NewPart,
    new: &BTreeMap<(MessageId, u32), Part>,
) -> Result<u64, Rejection> {
    let message = find(work, part.message);
    let own = message.is_none_or(|row| row.chat == turn.chat && row.task == Some(turn.task));
    if !own || (part.no == 0 && message.is_some()) {
        return Err(Rejection::Invalid(format!("message {} was written by another", part.message)));
    }
    let Some(before) = part.no.checked_sub(1) else { return Ok(0) };
    let key = (part.message, before);
    match new.get(&key).or_else(|| work.rows.parts.get(&key)) {
        Some(before) => Ok(before.offset + before.length()),
        None => {
            let (no, message) = (part.no, part.message);
            Err(Rejection::Invalid(format!("part {no} of message {message} comes before others")))
        }
    }
}

fn find(work: &Work, id: MessageId) -> Option<&Message> {
    work.rows.messages.values().find(|message| message.id == id)
}

/// Makes the message, unless it is there.
fn append(work: &mut Work, turn: &Turn, id: MessageId) {
    if find(work, id).is_some() {
        return;
    }
    let chat = work.rows.chats.get_mut(&turn.chat).expect("the chat of a turn is there");
    let (seq, role) = (chat.next_seq, Role::Assistant);
    chat.next_seq += 1;
    let message = Message {
        chat: turn.chat,
        seq,
        id,
        role,
        content: Payload::text(""),
        task: Some(turn.task),
        created_at: work.now,
        parts: Vec::new(),
    };
    work.tell(Stream::Chat(turn.chat), Event::MessageAppended { id, seq, role });
    work.rows.messages.insert((turn.chat, seq), message.clone());
    work.changes.messages.push(message);
}

/// Tells of what was added to a message.
fn tell(work: &mut Work, turn: &Turn, parts: &[&Part]) {
    let Some(first) = parts.first() else { return };
    let Some(seq) = find(work, first.message).map(|message| message.seq) else { return };
    let (id, no, offset) = (first.message, first.no, first.offset);
    let length = parts.iter().map(|part| part.length()).sum();
    work.tell(Stream::Chat(turn.chat), Event::MessageGrew { id, seq, no, offset, length });
}
