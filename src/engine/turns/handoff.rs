//! What an agent is told about what was said in a chat without it.

use super::Asked;
use crate::{
    agents::{blocks, words},
    engine::Job,
    failure::Failure,
    id::MessageId,
    model::{Command, Message, NewMessage, Payload, Role},
};

/// The longest text of one message that is handed on, in characters. Of a longer one the begin is.
const LONGEST: usize = 20_000;

/// What was said, as an agent is told it; None where nothing was.
pub(super) fn told(missed: &[Message], begins: bool) -> Option<String> {
    if missed.is_empty() {
        return None;
    }
    let said = missed.iter().map(|message| {
        let text = words(&blocks(&message.content));
        let who = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
        };
        format!("<message from=\"{who}\">\n{}\n</message>\n", shortened(&text))
    });
    let since = if begins { "before" } else { "since your last answer" };
    let said: String = said.collect();
    Some(format!(
        "What was said in this conversation {since}:\n<conversation>\n{said}</conversation>"
    ))
}

/// What was said, in short. It is written down in the chat, so that it is made once.
pub(super) async fn summary(
    job: &Job,
    asked: &Asked,
    missed: Vec<Message>,
) -> Result<String, Failure> {
    let task = job.claimed.spec.id;
    let id = MessageId::of_summary(task);
    let known = asked.others.iter().find(|message| message.id == id);
    let text = match known {
        Some(known) => words(&blocks(&known.content)),
        None => {
            let summarize = job.core.registry.summarizer.as_ref().ok_or_else(|| {
                Failure::fatal("a summary is asked for, and `Builder::summarizer` was not called")
            })?;
            let text = summarize(missed).await?;
            let content = Payload::text(&text);
            let message = NewMessage { id, role: Role::System, content, task: Some(task) };
            let append = Command::Append { chat: asked.chat, messages: vec![message] };
            job.core.submit(append).await?;
            text
        }
    };
    Ok(format!(
        "What was said in this conversation before, in short:\n<summary>\n{text}\n</summary>"
    ))
}

fn shortened(text: &str) -> String {
    let mut rest = text.char_indices().skip(LONGEST);
    match rest.next() {
        None => text.to_owned(),
        Some((at, _)) => format!("{} [{} more characters]", &text[..at], 1 + rest.count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        id::{ChatId, MessageId},
        model::Payload,
    };

    fn said(role: Role, text: &str) -> Message {
        Message {
            chat: ChatId::new(),
            seq: 1,
            id: MessageId::new(),
            role,
            content: Payload::text(text),
            parts: Vec::new(),
            task: None,
            created_at: Timestamp::ZERO,
        }
    }

    #[test]
    fn what_was_said_is_told_in_order_and_long_texts_are_shortened() {
        assert_eq!(told(&[], true), None);
        let long = "ä".repeat(LONGEST + 7);
        let all = [said(Role::User, "why?"), said(Role::Assistant, &long)];
        let text = told(&all, false).expect("a text");
        assert!(text.contains("since your last answer"));
        let (user, rest) = text.split_once("why?").expect("the question");
        assert!(user.contains("from=\"user\"") && rest.contains("from=\"assistant\""));
        assert!(rest.contains("ä [7 more characters]"));
    }
}
