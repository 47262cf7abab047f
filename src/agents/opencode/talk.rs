//! One prompt of a session: handed over, followed, interrupted.

use std::{collections::HashSet, io, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    crashed,
    events::{Course, kind},
    http::{Client, Events},
};
use crate::{
    agents::{
        Answer, Choice, ChoiceKind, Listener, Outcome, Request, ToolCall, ToolKind, ToolStatus,
        Turn, Update, words,
    },
    model::Access,
};

/// How often the server is asked what it tells in no event: who is at work, what is to be allowed.
const TICK: Duration = Duration::from_millis(250);
/// After how many looks at a session that does nothing it counts as one that has given up.
const LOOKS: u32 = 8;
/// How long until a stream that ended is opened again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an interruption may take.
const CANCEL: Duration = Duration::from_secs(2);

/// How the course of a prompt ended.
#[derive(Debug)]
pub(super) enum End {
    /// The session is at rest.
    Settled,
    /// It was not handed over.
    Refused(Outcome),
    /// The server is gone.
    Gone,
    Stopped,
    Silent,
}

/// A prompt of a session.
pub(super) struct Talk<'a> {
    pub client: Client,
    pub course: Course,
    session: String,
    turn: &'a Turn,
    listener: &'a dyn Listener,
    asks: FuturesUnordered<BoxFuture<'a, (String, Request, Answer)>>,
    /// What was asked, answered or not.
    asked: HashSet<String>,
    /// Calls that somebody or something said no to. The server ends the turn with the first.
    denied: HashSet<String>,
}

impl<'a> Talk<'a> {
    pub fn new(
        client: Client,
        session: String,
        turn: &'a Turn,
        listener: &'a dyn Listener,
    ) -> Self {
        let (asks, asked, denied) = (FuturesUnordered::new(), HashSet::new(), HashSet::new());
        let course = Course::default();
        Self { client, course, session, turn, listener, asks, asked, denied }
    }

    /// Whether a call of a tool was denied.
    pub fn is_denied(&self) -> bool {
        !self.denied.is_empty()
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/session/{}{rest}", self.session)
    }

    /// Hands the prompt over, where it was not before, and follows it to its end.
    pub async fn run(&mut self, silence: Duration) -> End {
        match self.admit().await {
            Ok(true) => return End::Settled,
            Ok(false) => {}
            Err(outcome) => return End::Refused(outcome),
        }
        match self.follow(silence).await {
            Ok(end) => end,
            Err(_) => End::Gone,
        }
    }

    /// Hands the prompt over under an id that is made of the task. Whether it was already answered.
    async fn admit(&mut self) -> Result<bool, Outcome> {
        let task = self.turn.task.id.as_uuid().simple().to_string();
        let id = |number: u32| format!("msg_{task}{number:04}");
        let mut number = 0;
        while self.knows(&id(number)).await.map_err(crashed)? {
            number += 1;
        }
        if let Some(last) = number.checked_sub(1) {
            // It is there: this says where, and does nothing.
            self.course = self.hand_over(&id(last), false).await.map_err(crashed)?;
            self.catch_up().await.map_err(crashed)?;
            if self.course.is_answered() {
                return Ok(true);
            }
            if self.is_active().await.map_err(crashed)? {
                return Ok(false);
            }
        }
        self.listener.prompting().await.map_err(Outcome::Failed)?;
        let handed = self.hand_over(&id(number), true).await;
        let message =
            |error: io::Error| format!("whether the prompt was taken is unknown: {error}");
        self.course = handed.map_err(|error| Outcome::Interrupted { message: message(error) })?;
        Ok(false)
    }

    async fn knows(&mut self, message: &str) -> io::Result<bool> {
        let answer = self.client.get(&self.path(&format!("/message/{message}"))).await?;
        Ok(answer.status == 200)
    }

    async fn hand_over(&mut self, id: &str, runs: bool) -> io::Result<Course> {
        let prompt = json!({ "text": words(&self.turn.content_with_schema()) });
        let body = json!({"id": id, "prompt": prompt, "delivery": "queue", "resume": runs});
        let answer = self.client.post(&self.path("/prompt"), &body).await?;
        let admitted = answer.data().map_err(io::Error::other)?;
        let seq = admitted["admittedSeq"].as_u64().unwrap_or(1);
        Ok(Course::new(id, seq.saturating_sub(1)))
    }

    /// Whether the server is at work in the session.
    async fn is_active(&mut self) -> io::Result<bool> {
        let active = self.client.get("/api/session/active").await?;
        let active = active.data().map_err(io::Error::other)?;
        Ok(active.get(&self.session).is_some())
    }

    /// Takes all events that have not been taken.
    pub async fn catch_up(&mut self) -> io::Result<()> {
        loop {
            let before = self.course.seq;
            let path = self.path(&format!("/history?after={before}"));
            let answer = self.client.get(&path).await?;
            let events = answer.data().map_err(io::Error::other)?;
            for event in events.as_array().into_iter().flatten() {
                self.take(event).await;
            }
            if self.course.seq == before {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, event: &Value) {
        for mut update in self.course.take(event) {
            if let Update::Tool(call) = &mut update {
                let is_failed = call.status == Some(ToolStatus::Failed);
                call.denied |= is_failed && self.denied.contains(&call.id);
            }
            self.listener.tell(update).await;
        }
    }

    async fn events(&mut self) -> io::Result<Events> {
        self.client.events(&self.path(&format!("/event?after={}", self.course.seq))).await
    }

    async fn follow(&mut self, silence: Duration) -> io::Result<End> {
        let mut events = self.events().await?;
        let (mut tick, mut deadline) = (Instant::now() + TICK, Instant::now() + silence);
        let mut looks = 0;
        loop {
            tokio::select! {
                biased;
                () = self.turn.stop.cancelled() => return Ok(End::Stopped),
                Some((id, request, answer)) = self.asks.next() => {
                    self.reply(&id, &request, &answer).await?;
                    deadline = Instant::now() + silence;
                }
                event = events.next() => match event {
                    Some(event) => {
                        self.take(&event).await;
                        (deadline, looks) = (Instant::now() + silence, 0);
                        if self.course.is_answered() {
                            tick = Instant::now();
                        }
                    }
                    // It may have been the stream alone.
                    None => {
                        sleep(PAUSE).await;
                        events = self.events().await?;
                    }
                },
                () = sleep_until(tick) => {
                    tick = Instant::now() + TICK;
                    self.look_for_asks().await?;
                    if !self.is_active().await? {
                        self.catch_up().await?;
                        looks += 1;
                        let is_over = self.course.finish.is_some() || self.is_denied();
                        if is_over || looks > LOOKS {
                            return Ok(End::Settled);
                        }
                    }
                }
                // While a person is asked, it is the agent that waits.
                () = sleep_until(deadline), if self.asks.is_empty() => return Ok(End::Silent),
            }
        }
    }

    /// Asks the listener what the server wants to know.
    async fn look_for_asks(&mut self) -> io::Result<()> {
        let answer = self.client.get(&self.path("/permission")).await?;
        let requests = answer.data().map_err(io::Error::other)?;
        for request in requests.as_array().into_iter().flatten() {
            let Some(id) = request["id"].as_str().filter(|id| !self.asked.contains(*id)) else {
                continue;
            };
            self.asked.insert(id.to_owned());
            let (id, request, listener) = (id.to_owned(), permission(request), self.listener);
            let writes = request.call.kind.is_none_or(ToolKind::writes);
            let is_forbidden = self.turn.access == Access::ReadOnly && writes;
            let answer = async move {
                let answer = if is_forbidden {
                    Answer::Chosen("reject".into())
                } else {
                    listener.ask(request.clone()).await
                };
                (id, request, answer)
            };
            self.asks.push(answer.boxed());
        }
        Ok(())
    }

    async fn reply(&mut self, id: &str, request: &Request, answer: &Answer) -> io::Result<()> {
        let chosen = match answer {
            Answer::Chosen(option) if request.options.iter().any(|it| it.id == *option) => option,
            _ => "reject",
        };
        if chosen == "reject" {
            self.denied.insert(request.call.id.clone());
        }
        let path = self.path(&format!("/permission/{id}/reply"));
        self.client.post(&path, &json!({ "reply": chosen })).await?;
        Ok(())
    }

    /// Interrupts the session, and takes what came of it. Whether it is at rest.
    pub async fn interrupt(&mut self) -> bool {
        self.asks.clear();
        let interrupted = async {
            self.client.post(&self.path("/interrupt"), &Value::Null).await?;
            while self.is_active().await? {
                sleep(Duration::from_millis(20)).await;
            }
            self.catch_up().await
        };
        matches!(tokio::time::timeout(CANCEL, interrupted).await, Ok(Ok(())))
    }
}

/// A request for leave, as the listener is asked.
fn permission(request: &Value) -> Request {
    let action = request["action"].as_str().unwrap_or_default();
    let resources = request["resources"].as_array().into_iter().flatten();
    let resources: Vec<_> = resources.filter_map(Value::as_str).collect();
    let title = format!("{action}: {}", resources.join(", "));
    let option = |id: &str, name: &str, kind| Choice { id: id.into(), name: name.into(), kind };
    Request {
        call: ToolCall {
            id: request["source"]["callID"].as_str().unwrap_or_default().to_owned(),
            title: Some(title.clone()),
            kind: Some(kind(action)),
            input: request.get("metadata").cloned(),
            ..ToolCall::default()
        },
        question: title,
        options: vec![
            option("once", "Allow once", ChoiceKind::AllowOnce),
            option("always", "Always allow", ChoiceKind::AllowAlways),
            option("reject", "Reject", ChoiceKind::RejectOnce),
        ],
    }
}
