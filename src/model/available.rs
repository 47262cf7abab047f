//! Agents that are installed on hosts, as they were found there.

use serde::{Deserialize, Serialize};

use super::{Payload, Transport};
use crate::clock::Timestamp;

/// An agent on a host: facts that a look at it found. They are renewed by looking again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AvailableAgent {
    /// The host.
    pub host: String,
    /// Its name there.
    pub name: String,
    /// As people call it.
    pub label: String,
    /// Where it is installed.
    pub install_path: Option<String>,
    /// The version that answered.
    pub version: Option<String>,
    /// Of the program, as hexadecimal digits.
    pub sha256: Option<String>,
    /// How it is spoken to.
    pub transport: Transport,
    /// Whether it answered in the Agent Client Protocol.
    pub supports_acp: bool,
    /// Whether it can ask for leave in the middle of a turn.
    pub can_ask: bool,
    /// The models that it offers, as JSON.
    pub models: Option<Payload>,
    /// The modes of its sessions, as JSON.
    pub modes: Option<Payload>,
    /// The commands of its sessions, as JSON.
    pub commands: Option<Payload>,
    /// What it says that it can do, as JSON: `{"said": .., "file": .., "asked": ..}`. The last two are
    /// what the file and the configuration are recognised by.
    pub capabilities: Option<Payload>,
    /// How it was found to keep to reading only, as the JSON of a [`Canary`].
    pub canary: Option<Payload>,
    /// It must not be used.
    pub quarantined: Option<Quarantine>,
    /// When it was looked at.
    pub last_probed_at: Timestamp,
    /// What went wrong when it was looked at.
    pub last_error: Option<String>,
}

impl AvailableAgent {
    /// An agent of which nothing is known but that it is there.
    pub fn unknown(host: String, name: String) -> Self {
        Self {
            label: name.clone(),
            host,
            name,
            install_path: None,
            version: None,
            sha256: None,
            transport: Transport::Cli,
            supports_acp: false,
            can_ask: false,
            models: None,
            modes: None,
            commands: None,
            capabilities: None,
            canary: None,
            quarantined: None,
            last_probed_at: Timestamp::ZERO,
            last_error: None,
        }
    }
}

/// Why an agent must not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// In words.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// How an agent was tried out: told by its model to write where it may only read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Canary {
    /// The version that was tried.
    pub version: Option<String>,
    /// Its program, as hexadecimal digits.
    pub sha256: Option<String>,
    /// How it was configured, as a hash.
    pub configured: String,
    /// When.
    pub at: Timestamp,
    /// With nothing but its own way to only read. None: it has none.
    pub by_itself: Option<Trial>,
    /// With nothing but the system to keep it from writing. None: the host lets nothing confine it.
    pub by_kernel: Option<Trial>,
}

/// What came of one trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trial {
    /// The tools that its model called, in their order.
    pub tried: Vec<String>,
    /// How many of the calls it has taken, whatever it made of them.
    pub answered: usize,
    /// What it has changed before that by itself, in a turn whose model asks for nothing: what it keeps in
    /// a folder that it is in.
    pub beside: Vec<String>,
    /// What was changed when its model called the tools, in words.
    pub changes: Vec<String>,
    /// How the turn ended, where that is not with an answer.
    pub failed: Option<String>,
}

impl Trial {
    /// Whether it took every call, and changed nothing.
    pub fn is_passed(&self) -> bool {
        self.changes.is_empty() && self.answered >= self.tried.len() && !self.tried.is_empty()
    }
}

impl Canary {
    fn trials(&self) -> impl Iterator<Item = &Trial> {
        [&self.by_itself, &self.by_kernel].into_iter().flatten()
    }

    /// Whether something was tried, and all that was tried passed.
    pub fn is_passed(&self) -> bool {
        !self.is_failed() && self.trials().next().is_some() && self.trials().all(Trial::is_passed)
    }

    /// Whether it has changed something: when its model called tools, or by itself where whatever
    /// keeps it from writing was there.
    pub fn is_failed(&self) -> bool {
        let best = self.by_kernel.as_ref().or(self.by_itself.as_ref());
        let beside = best.is_some_and(|trial| !trial.beside.is_empty());
        beside || self.trials().any(|trial| !trial.changes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_tried_is_not_passed() {
        let whole = Trial { tried: vec!["edit".into()], answered: 1, ..Trial::default() };
        let silent = Trial { answered: 0, ..whole.clone() };
        let wrote = Trial { changes: vec!["`a` was created".into()], ..whole.clone() };
        let keeps = Trial { beside: vec!["`b` was created".into()], ..whole.clone() };
        let of = |by_itself: &Trial, by_kernel: Option<&Trial>| Canary {
            by_itself: Some(by_itself.clone()),
            by_kernel: by_kernel.cloned(),
            ..Canary::default()
        };
        for (canary, is_passed, is_failed) in [
            (Canary::default(), false, false),
            (of(&whole, None), true, false),
            (of(&whole, Some(&whole)), true, false),
            (of(&whole, Some(&silent)), false, false),
            (of(&whole, Some(&wrote)), false, true),
            (of(&keeps, Some(&whole)), true, false),
            (of(&keeps, None), false, true),
            (of(&whole, Some(&keeps)), false, true),
            (of(&Trial::default(), None), false, false),
        ] {
            assert_eq!(
                (canary.is_passed(), canary.is_failed()),
                (is_passed, is_failed),
                "{canary:?}"
            );
        }
    }
}
