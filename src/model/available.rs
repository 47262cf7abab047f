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
    /// What it says that it can do, as JSON.
    pub capabilities: Option<Payload>,
    /// How it was found to keep to reading only, as JSON.
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
