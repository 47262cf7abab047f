//! How the end of a turn is named.

use serde_json::Value;

use super::wire::{AUTH_REQUIRED, Error};
use crate::{
    agents::{
        Outcome, Reply, ToolCall, Update,
        trouble::{Trouble, judge},
    },
    clock::Clock,
    failure::Failure,
};

/// The answer as it comes: the last of the agent's messages.
#[derive(Debug, Default)]
pub(super) struct Words {
    message: Option<String>,
    text: String,
    /// What comes next is another message: a tool was called in between.
    is_ended: bool,
}

impl Words {
    /// Takes what is told.
    pub fn hear(&mut self, update: &Update) {
        match update {
            Update::Text { message, text } => {
                if self.is_ended || (message.is_some() && *message != self.message) {
                    self.text.clear();
                }
                self.message.clone_from(message);
                self.is_ended = false;
                self.text.push_str(text);
            }
            Update::Tool(ToolCall { .. }) => self.is_ended = true,
            _ => {}
        }
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

/// What the answer to a prompt means: how the turn ended, and whether the session can be kept warm.
pub(super) fn of_answer(answer: &Value, words: Words) -> (Outcome, bool) {
    let reason = answer["stopReason"].as_str().unwrap_or_default();
    let outcome = match reason {
        "end_turn" => Outcome::Completed(Reply::text(words.into_text())),
        "max_tokens" | "max_turn_requests" => Outcome::LimitReached { limit: reason.to_owned() },
        "refusal" => Outcome::Refused { message: words.into_text() },
        "cancelled" => {
            let message = "the agent says that the turn was cancelled; nobody here did".to_owned();
            return (Outcome::Crashed { message }, false);
        }
        other => {
            let message =
                format!("the agent ended the turn for a reason that is not known: `{other}`");
            return (Outcome::Crashed { message }, false);
        }
    };
    (outcome, true)
}

/// What an error means that an agent answers with.
pub(super) fn of_error(error: &Error, doing: &str) -> Outcome {
    let message = format!("{doing}: {}", error.words());
    if error.code == AUTH_REQUIRED {
        return Outcome::Failed(Failure::fatal(format!(
            "the agent wants a login first: {message}"
        )));
    }
    match judge(&message, Clock::System.now()) {
        Trouble::Rate { wait } => Outcome::RateLimited { wait, message },
        Trouble::Limit => Outcome::LimitReached { limit: message },
        Trouble::Session | Trouble::Other => Outcome::Crashed { message },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn text(message: Option<&str>, text: &str) -> Update {
        Update::Text { message: message.map(str::to_owned), text: text.into() }
    }

    fn words(updates: &[Update]) -> String {
        let mut words = Words::default();
        updates.iter().for_each(|update| words.hear(update));
        words.into_text()
    }

    #[test]
    fn the_answer_is_the_last_message() {
        let tool = Update::Tool(ToolCall::default());
        assert_eq!(words(&[text(None, "a"), text(None, "b")]), "ab");
        assert_eq!(words(&[text(None, "a"), tool.clone(), text(None, "b")]), "b");
        assert_eq!(words(&[text(None, "a"), tool]), "a");
        assert_eq!(words(&[text(Some("1"), "a"), text(Some("1"), "b")]), "ab");
        assert_eq!(words(&[text(Some("1"), "a"), text(Some("2"), "b")]), "b");
    }

    #[test]
    fn reasons_to_stop_have_names() {
        let name = |reason: Value| {
            let (outcome, is_warm) = of_answer(&json!({ "stopReason": reason }), Words::default());
            (outcome.name(), is_warm)
        };
        assert_eq!(name(json!("end_turn")), ("completed", true));
        assert_eq!(name(json!("max_tokens")), ("limit_reached", true));
        assert_eq!(name(json!("max_turn_requests")), ("limit_reached", true));
        assert_eq!(name(json!("refusal")), ("refused", true));
        assert_eq!(name(json!("cancelled")), ("crashed", false));
        assert_eq!(name(json!("bored")), ("crashed", false));
        assert_eq!(name(Value::Null), ("crashed", false));
    }

    #[test]
    fn errors_have_names() {
        let error =
            |code, message: &str| Error { code, message: message.into(), data: Value::Null };
        let of = |code, message| of_error(&error(code, message), "the prompt");
        assert_eq!(of(-32603, "it broke").name(), "crashed");
        assert_eq!(of(-32000, "Authentication required").name(), "failed");
        let Outcome::RateLimited { wait, .. } = of(-32603, "429: try again in 1.5 minutes") else {
            panic!("a limit");
        };
        assert_eq!(wait, Some(Duration::from_secs(90)));
        let Outcome::RateLimited { wait: None, .. } = of(-32603, "You hit your usage limit") else {
            panic!("a limit that does not say how long");
        };
        assert_eq!(of(-32603, "port 14290 is taken").name(), "crashed");
    }
}
