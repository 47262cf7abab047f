//! opencode by its server: one program for many chats, whose sessions outlive it.
//!
//! A prompt is admitted under an id that is made of its task, and all that comes of it is an event
//! that can be read again. So when the server or this process dies, what was answered is taken
//! as it is, and is not prompted again.
//!
//! The server takes its configuration from files, and not from `OPENCODE_CONFIG_CONTENT`. Without a
//! model it takes one that its makers host, so that a turn without one is refused. Nothing is known
//! that keeps it from writing but a sandbox.

mod events;
mod facts;
mod http;
mod server;
mod talk;

use std::{collections::BTreeMap, ffi::OsString, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

#[cfg(feature = "acp")]
pub(super) use self::events::used;
pub(super) use self::http::Client;
use self::{
    events::Finish,
    server::{Server, Servers},
    talk::{End, Talk},
};
use super::{
    Agent, Facts, Ground, Installed, Kept, Listener, Look, OnTrial, Outcome, Profile, Reply,
    Resume, Sessions, Transport, Turn,
    launch::Launch,
    process::{Custody, Rules, Sandbox, Spawn, Unwatched},
    trial,
    trouble::{Trouble, judge},
    warm::{AtWork, Place},
};
use crate::{clock::Clock, failure::Failure, model::Access};

/// How long one may be silent that is tried out.
const TRIED: Duration = Duration::from_secs(60);

/// opencode, by its server. The server lives until it is [stopped](Self::stop), until its engine
/// wants the room, or until the last clone of this is dropped.
#[derive(Clone, Debug)]
pub struct Opencode {
    launch: Launch,
    attached: Option<Client>,
    model: Option<String>,
    starting: Duration,
    silence: Duration,
    servers: Arc<Servers>,
}

impl Default for Opencode {
    fn default() -> Self {
        Self::new()
    }
}

impl Opencode {
    /// `opencode serve` at a port of its choice, with a password that nobody else knows.
    pub fn new() -> Self {
        let mut launch = Launch::new("opencode", "opencode");
        let arguments = ["serve", "--hostname", "127.0.0.1", "--port", "0"];
        launch.arguments.extend(arguments.map(OsString::from));
        Self {
            launch,
            attached: None,
            model: None,
            starting: Duration::from_secs(120),
            silence: Duration::from_secs(30 * 60),
            servers: Arc::default(),
        }
    }

    /// Of a server at `http://HOST:PORT` that somebody else runs, with the folders of the turns.
    ///
    /// # Errors
    /// When the address is another one.
    pub fn attach(url: &str, password: &str) -> io::Result<Self> {
        Ok(Self { attached: Some(Client::new(url, password)?), ..Self::new() })
    }

    /// With another program.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.launch.program = program.into();
        self
    }

    /// With these variables in the environment of the program, besides those that every program
    /// needs. The host is asked at each start, and what it gives is stored nowhere.
    #[must_use]
    pub fn env(
        mut self,
        give: impl Fn(&Spawn) -> Result<BTreeMap<OsString, OsString>, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.launch.env(give);
        self
    }

    /// Keeps the server from writing by this, in turns that may only read, and lets it write in these
    /// places besides its own. If not said, Landlock does so.
    #[must_use]
    pub fn sandbox(mut self, sandbox: Arc<dyn Sandbox>, rules: Rules) -> Self {
        self.launch.sandbox(sandbox, rules);
        self
    }

    /// Confines nothing, so that there are no turns that may only read.
    #[must_use]
    pub fn unconfined(mut self) -> Self {
        self.launch.unconfined();
        self
    }

    /// The model of turns that name none: `PROVIDER/MODEL`.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// How long it may take until the server is up and the session is open. Two minutes, if not
    /// said.
    #[must_use]
    pub const fn starting(mut self, limit: Duration) -> Self {
        self.starting = limit;
        self
    }

    /// How long nothing may happen in a turn before it counts as hung. A tool at work may say
    /// nothing for as long as it takes. Half an hour, if not said.
    #[must_use]
    pub const fn silence(mut self, limit: Duration) -> Self {
        self.silence = limit;
        self
    }

    /// Ends the servers that were started, with all that they have started. The next turn starts
    /// another one.
    ///
    /// # Errors
    /// When something can't be ended.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.servers.stop().await
    }

    /// The server of a turn, started where there is none, and the turn's place in it.
    async fn client(&self, turn: &Turn) -> Result<(Client, Option<AtWork>), Failure> {
        if turn.access == Access::ReadOnly && (self.attached.is_some() || !self.launch.confines()) {
            let message = "nothing but a sandbox keeps opencode's server from writing";
            return Err(Failure::fatal(message));
        }
        let mut slot = self.servers.of(turn.access).lock().await;
        if let Some(server) = slot.as_mut()
            && server.is_alive()
        {
            return Ok((server.client.clone(), server.place.as_ref().map(Place::work)));
        }
        if let Some(dead) = slot.take() {
            dead.finish().await?;
        }
        if let Some(client) = &self.attached {
            return Ok((slot.insert(Server::attached(client.clone())).client.clone(), None));
        }
        let (place, work) = match &turn.room {
            Some(room) => Some(room.enter(Arc::downgrade(&self.servers) as _).await).unzip(),
            None => (None, None),
        };
        let custody = turn.custody.clone();
        let unwatched = || -> Arc<dyn Custody> { Arc::new(Unwatched::new(Uuid::now_v7())) };
        let custody = custody.unwrap_or_else(unwatched);
        let mut server = Server::start(&self.launch, turn.access, custody, self.starting).await?;
        server.place = place;
        Ok((slot.insert(server).client.clone(), work))
    }

    /// Ends the server of a turn that does not stop otherwise. Other chats are interrupted.
    async fn end(&self, turn: &Turn) -> Result<(), Failure> {
        let mut slot = self.servers.of(turn.access).lock().await;
        if let Some(server) = slot.take_if(|server| server.is_ours()) {
            server.finish().await?;
        }
        Ok(())
    }

    /// The session of a turn, set up for it.
    async fn session(
        &self,
        client: &Client,
        turn: &Turn,
        listener: &dyn Listener,
    ) -> Result<String, Outcome> {
        let model = turn.model.as_ref().or(self.model.as_ref());
        let model = model.and_then(|model| parts(model, turn.thinking.as_deref()));
        let nameless = "opencode's server is told its model as `PROVIDER/MODEL`: without one it \
            takes a model that is hosted by its makers";
        let model = model.ok_or_else(|| Outcome::Failed(Failure::fatal(nameless)))?;
        let Resume::Continue(id) = &turn.resume else {
            let mut body = json!({"location": {"directory": turn.folder}, "model": model});
            if let Some(agent) = &turn.mode {
                body["agent"] = agent.as_str().into();
            }
            let answer = client.post("/api/session", &body).await.map_err(crashed)?;
            let session = answer.data().map_err(crashed)?;
            let id = session["id"].as_str().ok_or_else(|| crashed("the session has no id"))?;
            listener.session(id).await.map_err(Outcome::Failed)?;
            return Ok(id.to_owned());
        };
        let answer = client.get(&format!("/api/session/{id}")).await.map_err(crashed)?;
        // An id that is none of its own is refused before it is looked for.
        if matches!(answer.status, 400 | 404) {
            let message = answer.data().err().unwrap_or_default();
            return Err(Outcome::SessionLost { message });
        }
        let session = answer.data().map_err(crashed)?;
        let is_same = |name: &str| session["model"][name] == model[name];
        if !(is_same("id") && is_same("providerID")) || model["variant"].is_string() {
            let path = format!("/api/session/{id}/model");
            let switched = client.post(&path, &json!({ "model": model })).await.map_err(crashed)?;
            switched.data().map_err(crashed)?;
        }
        if let Some(agent) = turn.mode.as_ref().filter(|mode| session["agent"] != mode.as_str()) {
            let path = format!("/api/session/{id}/agent");
            let switched = client.post(&path, &json!({ "agent": agent })).await.map_err(crashed)?;
            switched.data().map_err(crashed)?;
        }
        Ok(id.clone())
    }

    /// A server and a session that are ready for the turn's prompt.
    async fn ready(
        &self,
        turn: &Turn,
        listener: &dyn Listener,
    ) -> Result<(Client, String, Option<AtWork>), Outcome> {
        let ready = async {
            let (client, work) = self.client(turn).await.map_err(Outcome::Failed)?;
            let session = self.session(&client, turn, listener).await?;
            Ok((client, session, work))
        };
        tokio::select! {
            biased;
            () = turn.stop.cancelled() => Err(Outcome::Cancelled),
            ready = timeout(self.starting, ready) => ready.unwrap_or_else(|_| {
                Err(crashed(format!("opencode was not ready within {:?}", self.starting)))
            }),
        }
    }

    /// The server is gone: what it has answered by then is in its files.
    async fn harvest(&self, talk: &mut Talk<'_>, turn: &Turn) -> Outcome {
        let interrupted = |how: String| {
            let message = format!("opencode's server was gone in the middle of the turn: {how}");
            Outcome::Interrupted { message }
        };
        let _work = match timeout(self.starting, self.client(turn)).await {
            Ok(Ok((client, work))) => {
                talk.client = client;
                work
            }
            Ok(Err(failure)) => return interrupted(failure.to_string()),
            Err(_) => return interrupted("it does not come back".into()),
        };
        match talk.catch_up().await {
            Ok(()) if talk.course.is_answered() => outcome(talk),
            Ok(()) => interrupted("the prompt was not answered".into()),
            Err(error) => interrupted(error.to_string()),
        }
    }
}

/// A model as the server names it.
fn parts(model: &str, variant: Option<&str>) -> Option<Value> {
    let (provider, id) = model.split_once('/')?;
    let mut parts = json!({"providerID": provider, "id": id});
    if let Some(variant) = variant {
        parts["variant"] = variant.into();
    }
    Some(parts)
}

fn crashed(error: impl std::fmt::Display) -> Outcome {
    Outcome::Crashed { message: format!("opencode's server: {error}") }
}

/// What came of a prompt that is at its end.
fn outcome(talk: &mut Talk<'_>) -> Outcome {
    let text = std::mem::take(&mut talk.course.text);
    match talk.course.finish.take() {
        Some(Finish::Ended(reason)) => match reason.as_str() {
            "length" => Outcome::LimitReached { limit: "the model's longest answer".into() },
            "content-filter" => Outcome::Refused { message: text },
            "tool-calls" => crashed("the turn was interrupted by somebody else"),
            _ => Outcome::Completed(Reply::text(text)),
        },
        Some(Finish::Failed(message)) => match judge(&message, Clock::System.now()) {
            Trouble::Rate { wait } => Outcome::RateLimited { wait, message },
            Trouble::Limit => Outcome::LimitReached { limit: message },
            Trouble::Session | Trouble::Other => Outcome::Crashed { message },
        },
        // It is at rest because somebody said no.
        None if talk.is_denied() => Outcome::Completed(Reply::text(text)),
        None => crashed("it gave up without an answer, as it does where it has no such model"),
    }
}

impl Opencode {
    async fn take(&self, turn: &Turn, listener: &dyn Listener) -> Outcome {
        let (client, session, _work) = match self.ready(turn, listener).await {
            Ok(ready) => ready,
            Err(outcome) => return outcome,
        };
        let mut talk = Talk::new(client, session, turn, listener);
        match talk.run(self.silence).await {
            End::Settled => outcome(&mut talk),
            End::Refused(outcome) => outcome,
            End::Gone => self.harvest(&mut talk, turn).await,
            end @ (End::Stopped | End::Silent) => {
                if !talk.interrupt().await
                    && let Err(failure) = self.end(turn).await
                {
                    return Outcome::Failed(failure);
                }
                match end {
                    End::Stopped => Outcome::Cancelled,
                    _ => {
                        let message = format!("opencode did nothing for {:?}", self.silence);
                        Outcome::Interrupted { message }
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Agent for Opencode {
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        let outcome = self.take(&turn, listener).await;
        // What it was at work in may be idle now, and too much.
        if let Some(room) = &turn.room {
            room.settle().await;
        }
        outcome
    }

    async fn close_all(&self) {
        if let Err(failure) = self.stop().await {
            tracing::warn!(%failure, "the server of opencode did not end");
        }
    }

    fn installed(&self) -> Result<Option<Installed>, Failure> {
        if self.attached.is_some() {
            return Ok(None);
        }
        self.launch.installed()
    }

    async fn facts(&self, look: Look) -> Result<Facts, Failure> {
        facts::facts(&self.launch, look).await
    }

    /// Nothing but the kernel keeps it from writing.
    fn on_trial(&self, ground: &Ground) -> Result<Option<OnTrial>, Failure> {
        let Some(at) = trial::of("opencode").filter(|_| ground.kept == Kept::ByKernel) else {
            return Ok(None);
        };
        let Some(launch) = self.launch.pointed(at, ground)?.filter(|_| self.attached.is_none())
        else {
            return Ok(None);
        };
        let server = Self { launch, servers: Arc::default(), silence: TRIED, ..self.clone() };
        let (model, calls) = (Some(at.model.to_owned()), (at.calls)(&ground.folder));
        Ok(Some(OnTrial { agent: Box::new(server), model, calls }))
    }

    fn profile(&self) -> Profile {
        let model = self.model.as_deref().unwrap_or_default();
        Profile {
            transport: Transport::OpencodeServer,
            sessions: Sessions::Theirs,
            can_ask: true,
            fingerprint: format!("opencode server {} {model}", self.launch.fingerprint()),
        }
    }
}
