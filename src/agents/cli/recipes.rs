//! The programs whose command lines are known.

use super::recipe::{Flags, Prompt, Recipe, Schema, Way};
use crate::agents::{Sessions, read::Format};

/// Claude Code, as of 2.1.330. In its mode `plan` hooks of the project's own settings run, and they
/// may write: a turn that only reads leaves them out, and has no tools that could write.
pub const CLAUDE: Recipe = Recipe {
    name: "claude",
    program: "claude",
    format: Format::Claude,
    terminal: false,
    sessions: Sessions::Ours,
    prompt: Prompt::Input,
    first: &["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"],
    last: &[],
    env: &[("DISABLE_AUTOUPDATER", "1")],
    write: Way {
        arguments: &["--permission-mode", "acceptEdits", "--allowedTools=Bash"],
        env: &[],
    },
    read_only: Some(Way {
        arguments: &[
            "--permission-mode",
            "plan",
            "--tools=Read,Grep,Glob",
            "--setting-sources",
            "user",
            "--strict-mcp-config",
        ],
        env: &[],
    }),
    confined: None,
    flags: Flags {
        model: &["--model", "{}"],
        mode: &["--permission-mode", "{}"],
        thinking: &["--effort", "{}"],
        new: &["--session-id", "{}"],
        new_is_random: false,
        resume: &["--resume", "{}"],
        schema: Schema::Text(&["--json-schema", "{}"]),
        steps: &["--max-turns", "{}"],
        dollars: &["--max-budget-usd", "{}"],
    },
};

/// Codex, as of 0.169.0. It confines its tools by itself, by namespaces. Where it is confined already it
/// can't: not one of its tools would start, so that nothing could be read. There it leaves it to the
/// system.
pub const CODEX: Recipe = Recipe {
    name: "codex",
    program: "codex",
    format: Format::Codex,
    terminal: false,
    sessions: Sessions::Theirs,
    prompt: Prompt::Input,
    first: &[
        "exec",
        "--json",
        "--skip-git-repo-check",
        "-c",
        "approval_policy=\"never\"",
        "-c",
        "check_for_update_on_startup=false",
    ],
    last: &["-"],
    env: &[],
    write: Way { arguments: &["--sandbox", "workspace-write"], env: &[] },
    read_only: Some(Way { arguments: &["--sandbox", "read-only"], env: &[] }),
    confined: Some(Way { arguments: &["--sandbox", "danger-full-access"], env: &[] }),
    flags: Flags {
        model: &["--model", "{}"],
        mode: &["--sandbox", "{}"],
        thinking: &["-c", "model_reasoning_effort=\"{}\""],
        resume: &["resume", "{}"],
        schema: Schema::File(&["--output-schema", "{}"]),
        ..Flags::NONE
    },
};

/// Qwen Code, as of 0.24.4.
pub const QWEN: Recipe = Recipe {
    name: "qwen",
    program: "qwen",
    format: Format::Qwen,
    terminal: false,
    sessions: Sessions::Ours,
    prompt: Prompt::Input,
    first: &["--output-format", "stream-json", "--include-partial-messages"],
    last: &[],
    env: &[("QWEN_CODE_SUPPRESS_YOLO_WARNING", "1")],
    write: Way { arguments: &["--approval-mode", "yolo"], env: &[] },
    read_only: Some(Way {
        arguments: &[
            "--approval-mode",
            "plan",
            "--exclude-tools=run_shell_command",
            "--exclude-tools=write_file",
            "--exclude-tools=edit",
            "--exclude-tools=notebook_edit",
            "--exclude-tools=monitor",
        ],
        env: &[],
    }),
    confined: None,
    flags: Flags {
        model: &["--model", "{}"],
        mode: &["--approval-mode", "{}"],
        new: &["--session-id", "{}"],
        new_is_random: true,
        resume: &["--resume", "{}"],
        schema: Schema::Text(&["--json-schema", "{}"]),
        steps: &["--max-session-turns", "{}"],
        ..Flags::NONE
    },
};

/// opencode, as of 1.18.33. Its agent `plan` writes: what keeps a turn from it is that it has no
/// tools that could.
pub const OPENCODE: Recipe = Recipe {
    name: "opencode",
    program: "opencode",
    format: Format::Opencode,
    terminal: false,
    sessions: Sessions::Theirs,
    prompt: Prompt::Input,
    // Without a title it asks a model for one.
    first: &["run", "--format", "json", "--thinking", "--title=segue"],
    last: &[],
    env: &[("OPENCODE_DISABLE_AUTOUPDATE", "1")],
    write: Way { arguments: &[], env: &[] },
    read_only: Some(Way {
        arguments: &["--pure"],
        env: &[(
            "OPENCODE_PERMISSION",
            r#"{"*":"deny","read":"allow","grep":"allow","glob":"allow","list":"allow"}"#,
        )],
    }),
    confined: None,
    flags: Flags {
        model: &["--model", "{}"],
        mode: &["--agent", "{}"],
        thinking: &["--variant", "{}"],
        resume: &["--session", "{}"],
        ..Flags::NONE
    },
};

/// Gemini CLI, as of 0.61.0.
pub const GEMINI: Recipe = Recipe {
    name: "gemini",
    program: "gemini",
    format: Format::Gemini,
    terminal: false,
    sessions: Sessions::Ours,
    prompt: Prompt::Input,
    first: &["--output-format", "stream-json", "--skip-trust"],
    last: &[],
    env: &[],
    write: Way { arguments: &["--approval-mode", "yolo"], env: &[] },
    read_only: Some(Way { arguments: &["--approval-mode", "plan"], env: &[] }),
    confined: None,
    flags: Flags {
        model: &["--model", "{}"],
        mode: &["--approval-mode", "{}"],
        new: &["--session-id", "{}"],
        resume: &["--resume", "{}"],
        ..Flags::NONE
    },
};
