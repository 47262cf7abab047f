//! Agents that are tried out: an empty home, and a model that says what it is told to say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::launch::Environment;

/// What an agent is told so that another model answers it. In texts, `{url}` stands for the model's
/// address without `/v1`.
#[derive(Debug)]
pub(super) struct Pointing {
    name: &'static str,
    /// The model that it is to ask for.
    pub model: &'static str,
    pub arguments: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// Files of its home.
    files: &'static [(&'static str, &'static str)],
    /// The arguments of a command line that keeps nobody from anything.
    #[cfg(any(feature = "cli", feature = "claude"))]
    pub free: &'static [&'static str],
    /// The tools that write, and what they are to write in a folder.
    pub calls: fn(&Path) -> Vec<(String, Value)>,
}

const KNOWN: [Pointing; 4] = [
    Pointing {
        name: "claude",
        model: "claude-sonnet-4-5",
        arguments: &[],
        env: &[
            ("ANTHROPIC_BASE_URL", "{url}"),
            ("ANTHROPIC_API_KEY", "x"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
        ],
        files: &[],
        #[cfg(any(feature = "cli", feature = "claude"))]
        free: &["--permission-mode", "acceptEdits", "--allowedTools=Bash,Write,Edit"],
        calls: |folder| {
            calls(
                "Write",
                json!({"file_path": made(folder), "content": "x"}),
                "Bash",
                |command| json!({"command": command, "description": "Writes"}),
            )
        },
    },
    Pointing {
        name: "codex",
        model: "scripted",
        arguments: &[
            "-c",
            "model_provider=\"scripted\"",
            "-c",
            "model_providers.scripted={name=\"scripted\",base_url=\"{url}/v1\",\
             wire_api=\"responses\",env_key=\"OPENAI_API_KEY\"}",
            // Without these it asks its maker's servers.
            "-c",
            "features.plugins=false",
            "-c",
            "features.apps=false",
            "-c",
            "analytics.enabled=false",
        ],
        env: &[("OPENAI_API_KEY", "x")],
        files: &[],
        #[cfg(any(feature = "cli", feature = "claude"))]
        free: &["--sandbox", "danger-full-access"],
        calls: |folder| {
            // It edits by its shell.
            let edit = json!({"cmd": format!("echo x > {}", made(folder))});
            calls("exec_command", edit, "exec_command", |command| json!({"cmd": command}))
        },
    },
    Pointing {
        name: "qwen",
        model: "scripted",
        // As an argument it must not stand there twice, and the host may have it there.
        arguments: &[],
        env: &[
            ("OPENAI_API_KEY", "x"),
            ("OPENAI_BASE_URL", "{url}/v1"),
            ("OPENAI_MODEL", "scripted"),
            ("QWEN_TELEMETRY_ENABLED", "false"),
        ],
        files: &[(
            ".qwen/settings.json",
            r#"{"privacy": {"usageStatisticsEnabled": false},
                "security": {"auth": {"selectedType": "openai"}}}"#,
        )],
        #[cfg(any(feature = "cli", feature = "claude"))]
        free: &["--approval-mode", "yolo"],
        calls: |folder| {
            let edit = json!({"file_path": made(folder), "content": "x"});
            calls(
                "write_file",
                edit,
                "run_shell_command",
                |command| json!({"command": command, "description": "Writes", "is_background": false}),
            )
        },
    },
    Pointing {
        name: "opencode",
        model: "scripted/scripted",
        arguments: &[],
        env: &[
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
            ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        ],
        files: &[
            (
                ".config/opencode/opencode.json",
                r#"{"autoupdate":false,"share":"disabled","model":"scripted/scripted",
                "small_model":"scripted/scripted","enabled_providers":["scripted"],
                "provider":{"scripted":{"npm":"@ai-sdk/openai-compatible","name":"scripted",
                "options":{"baseURL":"{url}/v1","apiKey":"x"},
                "models":{"scripted":{"name":"scripted","tool_call":true,
                "limit":{"context":200000,"output":8000}}}}}}"#,
            ),
            // Without these it installs a package of its own.
            (".config/opencode/node_modules/.keep", ""),
            (
                ".config/opencode/package-lock.json",
                r#"{"packages": {"": {"dependencies": {"@opencode-ai/plugin": "1.18.33"}}}}"#,
            ),
        ],
        #[cfg(any(feature = "cli", feature = "claude"))]
        free: &[],
        calls: |folder| {
            let edit = json!({"filePath": made(folder), "content": "x"});
            calls(
                "write",
                edit,
                "bash",
                |command| json!({"command": command, "description": "Writes"}),
            )
        },
    },
];

/// The file that is to be written.
fn made(folder: &Path) -> String {
    folder.join("made-by-its-tool").to_string_lossy().into_owned()
}

/// What is to be done by a tool that edits, and by one that runs commands. Modes and times are left out:
/// the kernel leaves them to their user, and a receipt finds them.
fn calls(
    edits: &str,
    edit: Value,
    shell: &str,
    run: impl Fn(&str) -> Value,
) -> Vec<(String, Value)> {
    let commands = [
        "touch made-by-its-shell",
        "echo x >> README.md",
        "git -c user.name=t -c user.email=t@t commit --allow-empty -qm made",
    ];
    let runs = commands.iter().map(|command| (shell.to_owned(), run(command)));
    std::iter::once((edits.to_owned(), edit)).chain(runs).collect()
}

/// What is known of an agent of this name.
pub(super) fn of(agent: &str) -> Option<&'static Pointing> {
    KNOWN.iter().find(|known| known.name == agent)
}

impl Pointing {
    /// Its arguments, with the model's address.
    pub fn arguments(&self, url: &str) -> impl Iterator<Item = String> {
        self.arguments.iter().map(move |text| text.replace("{url}", url))
    }

    /// Its environment: an empty home, and nothing that leads out.
    pub fn environment(&self, url: &str, home: &Path) -> std::io::Result<Environment> {
        for (name, content) in self.files {
            let path = home.join(name);
            fs::create_dir_all(path.parent().unwrap_or(home))?;
            fs::write(path, content.replace("{url}", url))?;
        }
        let mut env = Environment::new();
        for (name, folder) in [
            ("HOME", ""),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_STATE_HOME", ".local/state"),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_RUNTIME_DIR", "tmp"),
            ("TMPDIR", "tmp"),
        ] {
            let folder: PathBuf = home.join(folder);
            fs::create_dir_all(&folder)?;
            env.insert(name.into(), folder.into());
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"] {
            env.insert(name.into(), url.into());
        }
        for name in ["NO_PROXY", "no_proxy"] {
            env.insert(name.into(), "127.0.0.1,localhost".into());
        }
        let own = self.env.iter();
        env.extend(own.map(|(name, value)| ((*name).into(), value.replace("{url}", url).into())));
        Ok(env)
    }
}
