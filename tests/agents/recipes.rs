//! How each agent is run: all that an adapter must know of its command line.

use segue::testing::model::Usage;
use serde_json::{Value, json};

use crate::streams::{self, Turn};

/// How one turn of an agent is run. The prompt comes by the standard input: an argument may be too
/// long, stands in the list of processes, and opencode puts quotes around it. In texts, `{url}` (of
/// the model, without `/v1`) and `{home}` stand for what is different each time.
#[derive(Debug)]
pub struct Recipe {
    /// The name of its program, in the folder that `scripts/agents` prints.
    pub name: &'static str,
    /// The npm package that has it.
    pub package: &'static str,
    /// The version that all this was seen with.
    pub version: &'static str,
    /// The arguments of one turn without a session, of an agent that may do everything.
    pub arguments: &'static [&'static str],
    /// What an adapter is given beside what it knows by itself.
    pub own: &'static [&'static str],
    /// The model that an adapter is to use.
    pub model: &'static str,
    pub environment: &'static [(&'static str, &'static str)],
    /// Files that its home has before, from there.
    pub files: &'static [(&'static str, &'static str)],
    /// Its tool for commands of the shell, and the tool's input.
    pub shell: &'static str,
    pub shell_input: fn(&str) -> Value,
    /// Reads its standard output.
    pub read: fn(&str) -> Turn,
    /// What it books where the provider bills this.
    pub booked: fn(Usage) -> Usage,
}

pub const ALL: [&Recipe; 4] = [&CLAUDE, &CODEX, &QWEN, &OPENCODE];

pub const CLAUDE: Recipe = Recipe {
    name: "claude",
    package: "@anthropic-ai/claude-code",
    version: "2.1.330",
    arguments: &[
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--model",
        "claude-sonnet-4-5",
        "--setting-sources",
        "user",
        "--strict-mcp-config",
        "--allowedTools",
        "Bash",
    ],
    own: &["--setting-sources", "user", "--strict-mcp-config"],
    model: "claude-sonnet-4-5",
    environment: &[
        ("ANTHROPIC_BASE_URL", "{url}"),
        ("ANTHROPIC_API_KEY", "x"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_TELEMETRY", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
    ],
    files: &[],
    shell: "Bash",
    shell_input: |command| json!({"command": command, "description": "Runs a command"}),
    read: streams::claude,
    booked: |usage| usage,
};

pub const CODEX: Recipe = Recipe {
    name: "codex",
    package: "@openai/codex",
    version: "0.169.0",
    arguments: &[
        "exec",
        "--json",
        "--skip-git-repo-check",
        "--sandbox",
        "danger-full-access",
        "--model",
        "scripted",
        "-c",
        "approval_policy=\"never\"",
        "-c",
        "model_provider=\"scripted\"",
        "-c",
        "model_providers.scripted={name=\"scripted\",base_url=\"{url}/v1\",wire_api=\"responses\",\
         env_key=\"OPENAI_API_KEY\"}",
        // Without these it asks GitHub and its maker's servers.
        "-c",
        "features.plugins=false",
        "-c",
        "features.apps=false",
        "-c",
        "analytics.enabled=false",
        "-c",
        "check_for_update_on_startup=false",
        "-",
    ],
    own: &[
        "-c",
        "model_provider=\"scripted\"",
        "-c",
        "model_providers.scripted={name=\"scripted\",base_url=\"{url}/v1\",wire_api=\"responses\",\
         env_key=\"OPENAI_API_KEY\",request_max_retries=0,stream_max_retries=2}",
        "-c",
        "features.plugins=false",
        "-c",
        "features.apps=false",
        "-c",
        "analytics.enabled=false",
    ],
    model: "scripted",
    environment: &[("OPENAI_API_KEY", "x")],
    files: &[],
    shell: "exec_command",
    shell_input: |command| json!({"cmd": command}),
    read: streams::codex,
    booked: |usage| usage,
};

pub const QWEN: Recipe = Recipe {
    name: "qwen",
    package: "@qwen-code/qwen-code",
    version: "0.24.4",
    arguments: &[
        "--output-format",
        "stream-json",
        "--auth-type",
        "openai",
        "--model",
        "scripted",
        "--approval-mode",
        "yolo",
    ],
    own: &["--auth-type", "openai"],
    model: "scripted",
    environment: &[
        ("OPENAI_API_KEY", "x"),
        ("OPENAI_BASE_URL", "{url}/v1"),
        ("OPENAI_MODEL", "scripted"),
        ("QWEN_DISABLE_AUTO_TITLE", "1"),
        ("QWEN_CODE_SUPPRESS_YOLO_WARNING", "1"),
        ("QWEN_TELEMETRY_ENABLED", "false"),
    ],
    // Without it, it reports to its maker.
    files: &[(".qwen/settings.json", r#"{"privacy": {"usageStatisticsEnabled": false}}"#)],
    shell: "run_shell_command",
    shell_input: |command| json!({"command": command, "description": "Runs a command", "is_background": false}),
    read: streams::qwen,
    booked: |usage| Usage { output: usage.all_output(), reasoning: 0, ..of_completions(usage) },
};

pub const OPENCODE: Recipe = Recipe {
    name: "opencode",
    package: "opencode-ai",
    version: "1.18.33",
    arguments: &["run", "--format", "json", "--model", "scripted/scripted", "--title", "a turn"],
    own: &[],
    model: "scripted/scripted",
    environment: &[
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        (
            "OPENCODE_CONFIG_CONTENT",
            r#"{"autoupdate":false,"share":"disabled","model":"scripted/scripted",
            "small_model":"scripted/scripted","enabled_providers":["scripted"],
            "provider":{"scripted":{"npm":"@ai-sdk/openai-compatible","name":"scripted",
            "options":{"baseURL":"{url}/v1","apiKey":"x"},
            "models":{"scripted":{"name":"scripted","tool_call":true,"reasoning":true,
            "limit":{"context":200000,"output":8000}}}}}}"#,
        ),
    ],
    // Without these it installs a package of its own from npm, whatever it is told.
    files: &[
        (".config/opencode/node_modules/.keep", ""),
        (
            ".config/opencode/package-lock.json",
            r#"{"packages": {"": {"dependencies": {"@opencode-ai/plugin": "1.18.33"}}}}"#,
        ),
    ],
    shell: "bash",
    shell_input: |command| json!({"command": command, "description": "Runs a command"}),
    read: streams::opencode,
    booked: of_completions,
};

/// Chat completions count what is written into a cache as read.
fn of_completions(usage: Usage) -> Usage {
    Usage { input: usage.input + usage.cache_write, cache_write: 0, ..usage }
}
