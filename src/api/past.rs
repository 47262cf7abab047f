//! Chats that begin elsewhere: in the host's own past, or like another chat.

use crate::{
    engine::{Core, here},
    error::Result,
    id::{AgentSessionId, ChatId, MessageId},
    model::{
        Command, Counters, ForkChat, ImportChat, Message, Needs, PastMessage, PastSession,
        Transport,
    },
};

/// How much one commit takes in: so many messages, and so many bytes of them, or one message that has
/// more.
const AT_ONCE: usize = 200;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What was said in a chat before it is segue's, and what agents know of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was said, oldest first, with the host's own ids and times.
    pub messages: Vec<PastMessage>,
    /// The sessions that agents have of it, one of each agent, by
    /// [`PastSession::new`](crate::model::PastSession::new).
    pub sessions: Vec<PastSession>,
}

impl PastSession {
    /// The session that `agent` calls `token`, on this host and of no folder in particular. The agent
    /// has read all that is taken in with it, and its counters begin at 0.
    pub fn new(agent: impl Into<String>, transport: Transport, token: impl Into<String>) -> Self {
        Self {
            id: AgentSessionId::new(),
            agent: agent.into(),
            transport,
            token: token.into(),
            host: here().name,
            worktree: None,
            seen: None,
            counters: Counters::new(),
            last_active_at: crate::clock::Timestamp::ZERO,
        }
    }
}

/// A place in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// That of a message.
    Message(MessageId),
    /// Up to and with this [`seq`](crate::model::Message::seq).
    Seq(i64),
}

impl From<MessageId> for At {
    fn from(id: MessageId) -> Self {
        Self::Message(id)
    }
}

impl From<i64> for At {
    fn from(seq: i64) -> Self {
        Self::Seq(seq)
    }
}

/// Takes in what was said, and with the last of it what agents know.
pub(super) async fn import(core: &Core, chat: ChatId, history: History) -> Result<()> {
    let mut parts = split(history.messages);
    let last = parts.pop().unwrap_or_default();
    for messages in parts {
        let import = ImportChat { chat, messages, sessions: Vec::new() };
        core.submit(Command::ImportChat(Box::new(import))).await?;
    }
    let import = ImportChat { chat, messages: last, sessions: history.sessions };
    core.submit(Command::ImportChat(Box::new(import))).await.map(drop)
}

/// Messages in the order in which they are, as many together as one commit takes.
fn split(messages: Vec<PastMessage>) -> Vec<Vec<PastMessage>> {
    let (mut parts, mut bytes) = (Vec::new(), 0);
    let mut part: Vec<PastMessage> = Vec::new();
    for message in messages {
        let more = message.content.as_str().len();
        let is_full = part.len() == AT_ONCE || bytes + more > BYTES_AT_ONCE;
        if is_full && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push(message);
    }
    parts.extend((!part.is_empty()).then_some(part));
    parts
}

/// Copies the beginning of a chat into a new one.
pub(super) async fn fork(core: &Core, from: &super::Chat, at: At, chat: ChatId) -> Result<()> {
    let seq = place(core, from.id(), at).await?;
    let fork = |messages| ForkChat { chat, from: from.id(), seq, messages };
    let (mut after, mut is_last) = (0, false);
    while !is_last {
        let page = from.history(after, AT_ONCE as u32).await?;
        is_last = page.len() < AT_ONCE || page.iter().any(|message| message.seq >= seq);
        after = page.last().map_or(after, |message| message.seq);
        let copies = page.into_iter().filter(|message| message.seq <= seq);
        let parts = split(copies.map(|message| copied(message, chat)).collect());
        // A fork of nothing is a chat as well.
        let parts = if parts.is_empty() { vec![Vec::new()] } else { parts };
        for messages in parts {
            core.submit(Command::ForkChat(Box::new(fork(messages)))).await?;
        }
    }
    Ok(())
}

fn copied(message: Message, chat: ChatId) -> PastMessage {
    let Message { id, role, content, task, created_at, .. } = message;
    PastMessage { id: id.in_fork(chat), role, content, task, created_at }
}

/// The number of a place.
async fn place(core: &Core, chat: ChatId, at: At) -> Result<i64> {
    let id = match at {
        At::Seq(seq) => return Ok(seq),
        At::Message(id) => id,
    };
    let needs = Needs { messages: [id].into(), ..Needs::default() };
    let found = core.backend.read(&needs).await?.messages;
    let own = found.into_values().find(|message| message.chat == chat);
    own.map(|message| message.seq).ok_or_else(|| Core::missing("message of the chat", id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        model::{Payload, Role},
    };

    fn message(bytes: usize) -> PastMessage {
        PastMessage {
            id: MessageId::new(),
            role: Role::User,
            content: Payload::text(&"x".repeat(bytes)),
            task: None,
            created_at: Timestamp::ZERO,
        }
    }

    #[test]
    fn a_commit_takes_no_more_than_it_may_and_loses_nothing() {
        let check = |sizes: &[usize], expected: &[usize]| {
            let parts = split(sizes.iter().map(|bytes| message(*bytes)).collect());
            let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
            assert_eq!(lengths, expected);
        };
        check(&[], &[]);
        check(&[1; AT_ONCE], &[AT_ONCE]);
        check(&[1; AT_ONCE + 1], &[AT_ONCE, 1]);
        check(&[BYTES_AT_ONCE, 1, BYTES_AT_ONCE + 1, 1], &[1, 1, 1, 1]);
        check(&[BYTES_AT_ONCE / 2, BYTES_AT_ONCE / 4, 9], &[3]);
    }
}
