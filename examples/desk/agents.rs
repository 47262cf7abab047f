//! The agents: programs, each by the adapter that speaks its language.

use segue::agents::{Agent, acp::Acp, claude::ClaudeCode, cli::Cli};

/// What `--agent` said: a name that is known here, or `NAME=PROGRAM` for one that speaks the Agent
/// Client Protocol. They log in as you do, and keep their sessions where they always do.
///
/// # Errors
/// When nothing is known of the name.
pub fn agent(said: &str) -> Result<(String, Box<dyn Agent>), String> {
    if let Some((name, program)) = said.split_once('=') {
        return Ok((name.to_owned(), Box::new(Acp::new(name, program))));
    }
    let agent: Box<dyn Agent> = match said {
        // These stay between the turns of a chat, and ask before they act.
        "claude" => Box::new(ClaudeCode::new()),
        "qwen" => Box::new(Acp::qwen()),
        "opencode" => Box::new(Acp::opencode()),
        "gemini" => Box::new(Acp::gemini()),
        // This one is started for each turn, and can't ask.
        "codex" => Box::new(Cli::codex()),
        other => return Err(format!("`{other}` is not known; say NAME=PROGRAM")),
    };
    Ok((said.to_owned(), agent))
}
