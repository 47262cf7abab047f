//! In what agents differ, as data.

use std::ffi::OsString;

use serde_json::{Value, json};

use crate::{
    agents::process::Spawn,
    model::{Metering, Payload, Tokens, UsageReport},
};

/// In what an agent differs from others that speak the protocol.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Quirks {
    /// Where it says what was used, and what the numbers are.
    pub meter: Meter,
    /// What keeps it from changing anything. None: nothing is known that does.
    pub read_only: Option<ReadOnly>,
}

/// Where an agent says what was used. The size of its context, which agents tell as well, is no
/// usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meter {
    /// In the answer to a prompt: what the prompt used.
    #[default]
    Turn,
    /// In the answer to a prompt: what the last request to the model used. What the others of
    /// the turn used is told nowhere, so that no more than this can be booked.
    LastRequest,
    /// In the answer to a prompt: what the session has used in all.
    Session,
    /// In `_meta.usage` of texts, for each request to the model. What is read from a cache is part
    /// of what is read, thoughts are part of what is written.
    Requests,
    /// In `_meta.quota.token_count` of the answer to a prompt.
    Quota,
    /// In the messages that opencode's server has, which it runs beside the protocol.
    #[cfg(feature = "opencode")]
    Messages,
}

/// What keeps an agent from changing anything. It is the agent's own promise: a
/// [`Sandbox`](crate::agents::process::Sandbox) is what keeps it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReadOnly {
    /// A mode of its session.
    Mode(String),
    /// JSON that is merged into what this variable of its environment says.
    Variable {
        /// The variable's name.
        name: OsString,
        /// What its value has to say.
        value: Value,
    },
}

impl ReadOnly {
    /// The permissions with which opencode has no tools that change anything.
    pub(in crate::agents) fn opencode() -> Self {
        let permission = json!({
            "*": "deny", "read": "allow", "grep": "allow", "glob": "allow", "list": "allow"
        });
        let name = OsString::from("OPENCODE_CONFIG_CONTENT");
        Self::Variable { name, value: json!({ "permission": permission }) }
    }

    /// Puts it into the environment of a program, where it belongs there.
    pub(in crate::agents) fn apply(&self, spawn: &mut Spawn) {
        let Self::Variable { name, value } = self else {
            return;
        };
        let known = spawn.env.get(name).and_then(|known| known.to_str());
        let mut merged = known
            .and_then(|known| serde_json::from_str(known).ok())
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({}));
        merge(&mut merged, value);
        spawn.env.insert(name.clone(), merged.to_string().into());
    }
}

/// Puts the fields of a value over those of another.
fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().into_iter().flatten() {
        into[name] = value.clone();
    }
}

impl Meter {
    /// What the answer to a prompt says was used.
    pub(super) fn of_answer(self, answer: &Value) -> Option<UsageReport> {
        let (metering, usage) = match self {
            Self::Turn | Self::LastRequest => (Metering::Delta, &answer["usage"]),
            Self::Session => (Metering::Cumulative, &answer["usage"]),
            Self::Quota => (Metering::Delta, &answer["_meta"]["quota"]["token_count"]),
            Self::Requests => return None,
            #[cfg(feature = "opencode")]
            Self::Messages => return None,
        };
        let tokens = match self {
            Self::Quota => Tokens {
                input: number(usage, "input_tokens"),
                output: number(usage, "output_tokens"),
                ..Tokens::default()
            },
            _ => separate(usage),
        };
        report(metering, tokens, usage)
    }

    /// What an update says was used.
    pub(super) fn of_update(self, update: &Value) -> Option<UsageReport> {
        let usage = &update["_meta"]["usage"];
        let Tokens { input, cache_read, cache_write, output, reasoning } = separate(usage);
        let tokens = Tokens {
            input: input.saturating_sub(cache_read).saturating_sub(cache_write),
            output: output.saturating_sub(reasoning),
            ..separate(usage)
        };
        (self == Self::Requests).then(|| report(Metering::Delta, tokens, usage)).flatten()
    }
}

/// The numbers as the protocol names them, each counted by itself.
fn separate(usage: &Value) -> Tokens {
    Tokens {
        input: number(usage, "inputTokens"),
        cache_read: number(usage, "cachedReadTokens"),
        cache_write: number(usage, "cachedWriteTokens"),
        output: number(usage, "outputTokens"),
        reasoning: number(usage, "thoughtTokens"),
    }
}

fn number(usage: &Value, name: &str) -> u64 {
    usage[name].as_u64().unwrap_or(0)
}

/// A report of tokens. It comes over the connection once, so that it is named by itself.
fn report(metering: Metering, tokens: Tokens, raw: &Value) -> Option<UsageReport> {
    raw.is_object().then(|| UsageReport {
        source: source("tokens"),
        model: None,
        metering,
        tokens,
        cost: None,
        raw: Payload::trusted(raw.to_string()),
    })
}

/// A report of what the session has cost in all.
pub(super) fn cost(micros: i64) -> UsageReport {
    UsageReport {
        source: source("cost"),
        model: None,
        // Of tokens it says nothing: none more.
        metering: Metering::Delta,
        tokens: Tokens::default(),
        cost: Some((Metering::Cumulative, micros)),
        raw: Payload::trusted(json!({ "cost": micros }).to_string()),
    }
}

fn source(what: &str) -> String {
    format!("{what}/{}", uuid::Uuid::now_v7())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn configuration(spawn: &Spawn) -> Value {
        let value = spawn.env[OsStr::new("OPENCODE_CONFIG_CONTENT")].to_str().expect("text");
        serde_json::from_str(value).expect("JSON")
    }

    #[test]
    fn each_meter_counts_each_token_once() {
        let usage = json!({"inputTokens": 118, "outputTokens": 20, "totalTokens": 138,
            "thoughtTokens": 3, "cachedReadTokens": 11});
        let update = json!({"_meta": {"usage": usage}});
        let requests = Meter::Requests.of_update(&update).expect("usage");
        let wanted =
            Tokens { input: 107, cache_read: 11, output: 17, reasoning: 3, ..Tokens::default() };
        assert_eq!((requests.metering, requests.tokens), (Metering::Delta, wanted));
        assert!(Meter::Turn.of_update(&update).is_none(), "another agent's own field");

        let answer = json!({"usage": usage});
        let turn = Meter::Turn.of_answer(&answer).expect("usage");
        let wanted = Tokens { input: 118, output: 20, ..wanted };
        assert_eq!((turn.metering, turn.tokens), (Metering::Delta, wanted));
        let session = Meter::Session.of_answer(&answer).expect("usage");
        assert_eq!((session.metering, session.tokens), (Metering::Cumulative, wanted));
        assert!(Meter::Requests.of_answer(&answer).is_none(), "it would be booked twice");
        assert!(Meter::Turn.of_answer(&json!({"usage": null})).is_none());

        let quota = json!({"input_tokens": 5, "output_tokens": 6});
        let quota = Meter::Quota.of_answer(&json!({"_meta": {"quota": {"token_count": quota}}}));
        let wanted = Tokens { input: 5, output: 6, ..Tokens::default() };
        assert_eq!(quota.expect("usage").tokens, wanted);
    }

    #[test]
    fn what_is_denied_is_merged_into_what_the_host_gives() {
        let mut spawn = Spawn {
            program: "opencode".into(),
            arguments: Vec::new(),
            env: [("OPENCODE_CONFIG_CONTENT".into(), r#"{"model":"m"}"#.into())].into(),
            folder: "/".into(),
            confined: None,
            scratch: None,
            terminal: crate::agents::process::Terminal::None,
        };
        ReadOnly::opencode().apply(&mut spawn);
        let value = configuration(&spawn);
        assert_eq!(value["model"], "m");
        assert_eq!(value["permission"]["*"], "deny");
        spawn.env.insert("OPENCODE_CONFIG_CONTENT".into(), "no JSON".into());
        ReadOnly::opencode().apply(&mut spawn);
        assert_eq!(configuration(&spawn)["permission"]["*"], "deny");
    }
}
