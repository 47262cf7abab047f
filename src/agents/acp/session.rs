//! A session of an agent: how it is opened, continued and set up.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    ending,
    link::Link,
    options::{Change, Choosable, Options},
    permission,
    read::{self, Heard},
    wire::{self, Error, METHOD_NOT_FOUND, Message},
};
use crate::{
    agents::{Listener, Outcome, Resume, Turn, Update, process::Finish, warm::Warm},
    failure::Failure,
    model::Access,
};

/// The version of the protocol that is spoken.
pub(super) const VERSION: u64 = 1;
/// How long a program that is no longer wanted may take to end by itself.
const END: Duration = Duration::from_secs(2);

/// A program, and the session that is open in it.
#[derive(Debug)]
pub(super) struct Session {
    pub link: Link,
    /// The agent's id of it; empty until it is open.
    pub id: String,
    pub access: Access,
    /// Who knows what it has used, where the agent does not tell.
    #[cfg(feature = "opencode")]
    pub beside: Option<super::beside::Beside>,
    /// What the agent said of itself.
    pub hello: Value,
    pub options: Options,
    /// The messages that were told again when the session was loaded.
    pub replayed: HashSet<String>,
    folder: PathBuf,
    /// What was said while it was opened, and is still to be told.
    early: Vec<Update>,
}

/// Why a session is not ready for a prompt.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The turn is to stop.
    Stopped,
    /// It took too long.
    Slow(Duration),
    /// The agent is gone.
    Gone,
    /// Something that has a name.
    Named(Outcome),
}

impl Trouble {
    /// The outcome of a turn that was not prompted.
    pub fn outcome(self, finish: Result<Finish, Failure>) -> Outcome {
        match self {
            Self::Stopped => Outcome::Cancelled,
            Self::Named(outcome) => outcome,
            Self::Slow(limit) => {
                let how = format!("the agent was not ready within {limit:?}");
                Outcome::Crashed { message: with_last_words(how, finish) }
            }
            Self::Gone => {
                let how = "the agent ended before it was ready".to_owned();
                Outcome::Crashed { message: with_last_words(how, finish) }
            }
        }
    }
}

/// What happened, with how the program ended and the last of what it said of its errors.
pub(super) fn with_last_words(mut how: String, finish: Result<Finish, Failure>) -> String {
    const SHOWN: usize = 2 << 10;
    match finish {
        Ok(finish) => {
            how = format!("{how} ({})", finish.ended.status);
            let errors = finish.errors.trim();
            let mut from = errors.len().saturating_sub(SHOWN);
            while !errors.is_char_boundary(from) {
                from += 1;
            }
            if errors.is_empty() { how } else { format!("{how}: {}", &errors[from..]) }
        }
        Err(failure) => format!("{how}, and could not be ended: {failure}"),
    }
}

fn crashed(message: String) -> Trouble {
    Trouble::Named(Outcome::Crashed { message })
}

#[async_trait]
impl Warm for Session {
    fn is_alive(&mut self) -> bool {
        self.link.is_alive()
    }

    async fn close(self) {
        // What is left is found by its mark at the next start.
        let _ = self.link.finish(END).await;
    }
}

impl Session {
    /// Of a program that was just started.
    pub fn new(link: Link, turn: &Turn) -> Self {
        Self {
            link,
            id: String::new(),
            access: turn.access,
            #[cfg(feature = "opencode")]
            beside: None,
            hello: Value::Null,
            options: Options::default(),
            replayed: HashSet::new(),
            folder: turn.folder.clone(),
            early: Vec::new(),
        }
    }

    /// With who knows what it has used.
    #[cfg(feature = "opencode")]
    pub fn with(self, beside: Option<super::beside::Beside>) -> Self {
        Self { beside, ..self }
    }

    /// Whether it is the one that a turn wants.
    pub fn fits(&self, turn: &Turn) -> bool {
        let is_same = matches!(&turn.resume, Resume::Continue(id) if *id == self.id);
        is_same && self.folder == turn.folder && self.access == turn.access
    }

    /// Opens the session that a turn wants, where it is not open, and sets it up.
    pub async fn ready(
        &mut self,
        turn: &Turn,
        setup: &Setup<'_>,
        listener: &dyn Listener,
    ) -> Result<(), Trouble> {
        if self.id.is_empty() {
            self.greet(setup.login).await?;
            self.open(&turn.resume).await?;
            let noted = listener.session(&self.id).await;
            noted.map_err(|failure| Trouble::Named(Outcome::Failed(failure)))?;
        }
        self.choose(Choosable::Model, turn.model.as_deref()).await?;
        self.choose(Choosable::Mode, setup.mode.or(turn.mode.as_deref())).await?;
        self.choose(Choosable::Thinking, turn.thinking.as_deref()).await?;
        for update in std::mem::take(&mut self.early) {
            listener.tell(update).await;
        }
        Ok(())
    }

    /// The first words between the two.
    pub async fn greet(&mut self, login: Option<&str>) -> Result<(), Trouble> {
        let hello = self.call("initialize", &hello()).await?;
        let hello =
            hello.map_err(|error| Trouble::Named(ending::of_error(&error, "initialize")))?;
        match hello["protocolVersion"].as_u64() {
            Some(VERSION) => self.hello = hello,
            Some(version) => {
                let message = format!("the agent speaks version {version} of the protocol only");
                return Err(Trouble::Named(Outcome::Failed(Failure::fatal(message))));
            }
            None => return Err(crashed("what the agent says of itself is no greeting".into())),
        }
        let Some(method) = login else {
            return Ok(());
        };
        let login = self.call("authenticate", &json!({ "methodId": method })).await?;
        login.map_err(|error| Trouble::Named(ending::of_error(&error, "authenticate")))?;
        Ok(())
    }

    /// Opens a new session, or continues one.
    pub async fn open(&mut self, resume: &Resume) -> Result<(), Trouble> {
        let answer = match resume {
            Resume::Continue(id) => self.reopen(id).await?,
            Resume::Fresh | Resume::New(_) => {
                let answer = self.call("session/new", &self.place()).await?;
                let failed =
                    |error| Trouble::Named(ending::of_error(&error, "it opened no session"));
                let answer = answer.map_err(failed)?;
                let id = answer["sessionId"].as_str().filter(|id| !id.is_empty());
                let nameless = || crashed("the agent gave the new session no id".into());
                id.ok_or_else(nameless)?.clone_into(&mut self.id);
                answer
            }
        };
        self.options.opened(&answer);
        Ok(())
    }

    /// Continues a session: without its history where the agent can, else with it.
    async fn reopen(&mut self, id: &str) -> Result<Value, Trouble> {
        let mut params = self.place();
        params["sessionId"] = id.into();
        let abilities = &self.hello["agentCapabilities"];
        let has = |ability: &Value| !matches!(ability, Value::Null | Value::Bool(false));
        let loads = has(&abilities["loadSession"]);
        let mut last = None;
        if has(&abilities["sessionCapabilities"]["resume"]) {
            match self.call("session/resume", &params).await? {
                Ok(answer) => last = Some(Ok(answer)),
                Err(error) if error.code == METHOD_NOT_FOUND && loads => {}
                Err(error) => last = Some(Err(error)),
            }
        }
        if last.is_none() && loads {
            last = Some(self.call("session/load", &params).await?);
        }
        let lost = |message| Trouble::Named(Outcome::SessionLost { message });
        match last {
            Some(Ok(answer)) => {
                id.clone_into(&mut self.id);
                Ok(answer)
            }
            // Agents have no common code for a session that they don't know.
            Some(Err(error)) => {
                Err(match ending::of_error(&error, "the session was not continued") {
                    Outcome::Crashed { message } => lost(message),
                    named => Trouble::Named(named),
                })
            }
            None => Err(lost("the agent can't continue a session".into())),
        }
    }

    /// Has something chosen, where something is wanted.
    async fn choose(&mut self, which: Choosable, wanted: Option<&str>) -> Result<(), Trouble> {
        let Some(wanted) = wanted else {
            return Ok(());
        };
        let failed = |words: String| Trouble::Named(Outcome::Failed(Failure::fatal(words)));
        match self.options.change(&self.id, which, wanted) {
            Change::None => Ok(()),
            Change::NotOffered(words) => Err(failed(words)),
            Change::Call { method, params } => {
                let answer = self.call(method, &params).await?;
                let answer =
                    answer.map_err(|error| failed(format!("{method}: {}", error.words())))?;
                let ids = ["value", "modeId", "modelId"];
                let chosen = ids.iter().find_map(|id| params[id].as_str()).unwrap_or(wanted);
                self.options.changed(which, chosen, &answer);
                Ok(())
            }
        }
    }

    /// Calls a method, and waits for the answer. What is told in between is a part of the history.
    async fn call(
        &mut self,
        method: &str,
        params: &Value,
    ) -> Result<Result<Value, Error>, Trouble> {
        let call = self.link.request(method, params);
        loop {
            match self.link.next().await.ok_or(Trouble::Gone)? {
                Message::Answer { id, result } if id == call => return Ok(result),
                Message::Answer { .. } => {}
                Message::Notice { method, params } => self.hear_early(&method, &params),
                Message::Request { id, method, .. } => {
                    self.link.send(match method.as_str() {
                        "session/request_permission" => wire::answer(&id, &permission::cancelled()),
                        _ => wire::unknown(&id, &method),
                    });
                }
            }
        }
    }

    fn hear_early(&mut self, method: &str, params: &Value) {
        if method != "session/update" {
            return;
        }
        let update = &params["update"];
        self.replayed.extend(read::message_id(update));
        match read::update(update) {
            Heard::State(update) => {
                if let Update::Mode { mode } = &update {
                    self.options.moved(mode);
                }
                self.early.push(update);
            }
            Heard::Options(options) => self.options.reconfigured(&options),
            Heard::Said(_) | Heard::Cost(_) | Heard::Nothing => {}
        }
    }

    /// What was said of the session's state while it was opened.
    pub fn take_early(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.early)
    }

    /// Waits until something was said that `is_it`.
    pub async fn until(&mut self, is_it: impl Fn(&Update) -> bool) {
        while !self.early.iter().any(&is_it) {
            match self.link.next().await {
                Some(Message::Notice { method, params }) => self.hear_early(&method, &params),
                Some(Message::Request { id, method, .. }) => {
                    self.link.send(wire::unknown(&id, &method));
                }
                Some(Message::Answer { .. }) => {}
                None => return,
            }
        }
    }

    /// Ends the program.
    pub async fn finish(self, grace: Duration) -> Result<Finish, Failure> {
        self.link.finish(grace).await
    }

    fn place(&self) -> Value {
        json!({ "cwd": self.folder, "mcpServers": [] })
    }
}

/// How a session is set up, besides what the turn says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup<'a> {
    pub login: Option<&'a str>,
    /// The mode, where the turn has none to choose.
    pub mode: Option<&'a str>,
}

fn hello() -> Value {
    json!({
        "protocolVersion": VERSION,
        "clientCapabilities": {
            "fs": {"readTextFile": false, "writeTextFile": false},
            "terminal": false
        },
        "clientInfo": {
            "name": "segue",
            "title": "segue",
            "version": env!("CARGO_PKG_VERSION")
        }
    })
}
