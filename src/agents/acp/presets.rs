//! Agents that are known, with their deviations: configuration and no code.

use super::{Acp, Meter, Quirks, ReadOnly};

impl Acp {
    /// Qwen Code: `qwen --acp`. What it asks its model beside the conversation it does not tell.
    pub fn qwen() -> Self {
        Self::new("qwen", "qwen").argument("--acp").quirks(Quirks {
            meter: Meter::Requests,
            read_only: Some(ReadOnly::Mode("plan".into())),
        })
    }

    /// opencode: `opencode acp`. By the protocol it tells what the last request of a turn used, and
    /// nothing of the others. With the feature `opencode` the server is asked that it runs beside it.
    pub fn opencode() -> Self {
        #[cfg(feature = "opencode")]
        let meter = Meter::Messages;
        #[cfg(not(feature = "opencode"))]
        let meter = Meter::LastRequest;
        Self::new("opencode", "opencode").argument("acp").quirks(Quirks {
            meter,
            // Its mode `plan` executes commands.
            read_only: Some(ReadOnly::opencode()),
        })
    }

    /// Gemini CLI: `gemini --acp`.
    pub fn gemini() -> Self {
        let gemini = Self::new("gemini", "gemini").argument("--acp").argument("--skip-trust");
        gemini
            .quirks(Quirks { meter: Meter::Quota, read_only: Some(ReadOnly::Mode("plan".into())) })
    }

    /// Claude Code by its adapter, `claude-agent-acp`.
    pub fn claude_agent_acp() -> Self {
        Self::new("claude-agent-acp", "claude-agent-acp")
            .quirks(Quirks { meter: Meter::Turn, read_only: Some(ReadOnly::Mode("plan".into())) })
    }

    /// Codex by its adapter, `codex-acp`.
    pub fn codex_acp() -> Self {
        Self::new("codex-acp", "codex-acp").quirks(Quirks {
            meter: Meter::Turn,
            read_only: Some(ReadOnly::Mode("read-only".into())),
        })
    }
}
