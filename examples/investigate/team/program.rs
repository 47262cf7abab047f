//! The agents that can be asked for: what is installed, and how each is started.

use std::ffi::OsString;

use segue::{Engine, agents::cli::Cli, model::AvailableAgent};

use crate::session::Outcome;

/// The agent of this name. None: there is no adapter for it. Its program is given what this program has
/// in its environment for it: keys and addresses of models.
pub fn adapter(name: &str) -> Option<Cli> {
    let agent = match name {
        "claude" => Cli::claude(),
        "codex" => Cli::codex(),
        "gemini" => Cli::gemini(),
        "opencode" => Cli::opencode(),
        "qwen" => Cli::qwen(),
        _ => return None,
    };
    let is_own = |name: &OsString| name.to_str().is_some_and(is_for_agents);
    Some(agent.env(move |_| Ok(std::env::vars_os().filter(|(name, _)| is_own(name)).collect())))
}

fn is_for_agents(variable: &str) -> bool {
    const FAMILIES: [&str; 8] =
        ["ANTHROPIC_", "CLAUDE_", "OPENAI_", "CODEX_", "GEMINI_", "GOOGLE_", "OPENCODE_", "QWEN_"];
    let is_switch = variable.starts_with("DISABLE_");
    is_switch || FAMILIES.iter().any(|family| variable.starts_with(family))
}

/// Looks whether an agent is there and may be used.
///
/// # Errors
/// When it is not, with what is there instead.
pub async fn look(engine: &Engine, name: &str, is_known: bool) -> Outcome<()> {
    let found = engine.probe().await?;
    let own = found.iter().find(|row| row.name == name).filter(|_| is_known);
    let why = match own {
        Some(AvailableAgent { quarantined: Some(quarantine), .. }) => {
            format!("`{name}` is in quarantine: {}", quarantine.reason)
        }
        Some(row) if row.version.is_some() => return Ok(()),
        Some(row) => row.last_error.clone().unwrap_or_default(),
        None => format!("`{name}` is no agent that this program knows how to ask"),
    };
    let usable = |row: &&AvailableAgent| row.version.is_some();
    let here = found.iter().filter(usable).map(|row| {
        let (version, path) = (row.version.as_deref(), row.install_path.as_deref());
        format!("\n    {} {} ({})", row.name, version.unwrap_or("?"), path.unwrap_or("?"))
    });
    let here: String = here.collect();
    let here = if here.is_empty() { " nothing".to_owned() } else { here };
    Err(format!("{why}\nfound here:{here}").into())
}
