//! One running program, and what it was started with.

use std::{ffi::OsString, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::ChildStdin};

use super::{ClaudeCode, wire};
use crate::{
    agents::{
        Resume, Turn,
        process::{Custody, Lines, Program},
        telling::LINE_MOST,
        warm::Warm,
    },
    failure::Failure,
    model::Access,
};

/// What every start has. What would go on by itself between turns is left out.
const ARGUMENTS: &[&str] = &[
    "-p",
    "--input-format",
    "stream-json",
    "--output-format",
    "stream-json",
    "--verbose",
    "--include-partial-messages",
    "--permission-prompt-tool",
    "stdio",
    "--disallowedTools=ScheduleWakeup,CronCreate,Monitor",
];

/// What a turn that only reads has: no tool that could write, and none of the project's settings,
/// whose hooks could.
const READ_ONLY: &[&str] = &[
    "--permission-mode",
    "plan",
    "--tools=Read,Grep,Glob",
    "--setting-sources",
    "user",
    "--strict-mcp-config",
];

/// What a program was started with, and can't be told later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    folder: PathBuf,
    access: Access,
    thinking: Option<String>,
    schema: Option<String>,
}

/// What a program can be told at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub model: Option<String>,
    pub mode: String,
}

impl Settings {
    pub fn of(turn: &Turn) -> Self {
        let (folder, thinking) = (turn.folder.clone(), turn.thinking.clone());
        let schema = turn.schema.as_ref().map(ToString::to_string);
        Self { folder, access: turn.access, thinking, schema }
    }
}

impl Manner {
    pub fn of(claude: &ClaudeCode, turn: &Turn) -> Self {
        let mode = match (turn.access, &turn.mode) {
            (Access::ReadOnly, _) if claude.free.is_some() => claude.mode.clone(),
            (Access::ReadOnly, _) => "plan".to_owned(),
            (Access::Write, mode) => mode.clone().unwrap_or_else(|| claude.mode.clone()),
        };
        Self { model: turn.model.clone(), mode }
    }

    /// What has to be asked for to come from another one to this.
    pub fn since(&self, before: &Self) -> Vec<Value> {
        let model = (self.model != before.model)
            .then(|| json!({"subtype": "set_model", "model": self.model}));
        let mode = (self.mode != before.mode)
            .then(|| json!({"subtype": "set_permission_mode", "mode": self.mode}));
        model.into_iter().chain(mode).collect()
    }
}

/// A running program.
#[derive(Debug)]
pub(super) struct Link {
    pub program: Program,
    pub lines: Lines,
    pub session: String,
    pub settings: Settings,
    pub manner: Manner,
    input: Option<ChildStdin>,
    requests: u64,
    grace: Duration,
}

impl Link {
    /// Starts the program for a session: a new one, or one that goes on.
    pub async fn open(
        claude: &ClaudeCode,
        turn: &Turn,
        session: &str,
        custody: Arc<dyn Custody>,
    ) -> Result<Self, Failure> {
        let (settings, manner) = (Settings::of(turn), Manner::of(claude, turn));
        let mut launch = claude.launch.clone();
        launch.arguments = arguments(claude, turn, &manner, session);
        let mut spawn = launch.spawn(&turn.folder, turn.access)?;
        spawn.env.entry("DISABLE_AUTOUPDATER".into()).or_insert("1".into());
        let mut program = Program::start(spawn, custody).await?;
        let lines = program.lines(LINE_MOST).expect("nobody has taken its output");
        let input = program.take_input();
        let (session, grace) = (session.to_owned(), claude.grace);
        Ok(Self { program, lines, session, settings, manner, input, requests: 0, grace })
    }

    /// Whether it can take this turn.
    pub fn fits(&self, claude: &ClaudeCode, turn: &Turn) -> bool {
        let is_same = matches!(&turn.resume, Resume::Continue(id) if *id == self.session);
        // A mode that it comes to by its arguments only.
        let mode = Manner::of(claude, turn).mode;
        let is_free = mode == "bypassPermissions" && mode != self.manner.mode;
        is_same && !is_free && self.settings == Settings::of(turn)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When it no longer reads.
    pub async fn send(&mut self, message: &Value) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{message}\n").as_bytes()).await?;
        input.flush().await
    }

    /// Sends a request, and says how its answer is called.
    ///
    /// # Errors
    /// When it no longer reads.
    pub async fn request(&mut self, request: &Value) -> io::Result<String> {
        self.requests += 1;
        let id = format!("segue-{}", self.requests);
        self.send(&wire::request(&id, request)).await?;
        Ok(id)
    }
}

#[async_trait]
impl Warm for Link {
    fn is_alive(&mut self) -> bool {
        !self.program.has_ended()
    }

    async fn close(mut self) {
        // Without input it ends by itself; it is asked as well.
        self.input = None;
        if let Err(failure) = self.program.finish(self.grace).await {
            tracing::warn!(%failure, "Claude Code can't be ended");
        }
    }
}

fn arguments(claude: &ClaudeCode, turn: &Turn, manner: &Manner, session: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ARGUMENTS.iter().map(OsString::from).collect();
    match turn.access {
        Access::ReadOnly => {
            arguments.extend(claude.free.unwrap_or(READ_ONLY).iter().map(OsString::from));
        }
        Access::Write => arguments.push(format!("--permission-mode={}", manner.mode).into()),
    }
    let model = manner.model.as_ref().map(|model| format!("--model={model}"));
    let thinking = turn.thinking.as_ref().map(|thinking| format!("--effort={thinking}"));
    let schema = turn.schema.as_ref().map(|schema| format!("--json-schema={schema}"));
    arguments.extend([model, thinking, schema].into_iter().flatten().map(OsString::from));
    arguments.extend_from_slice(&claude.launch.arguments);
    arguments.push(match turn.resume {
        Resume::Continue(_) => format!("--resume={session}").into(),
        Resume::Fresh | Resume::New(_) => format!("--session-id={session}").into(),
    });
    arguments
}
