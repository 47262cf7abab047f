//! The course of a prompt: what is heard until it is answered.

use std::{collections::HashSet, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    ending::Words,
    options::Choosable,
    permission::{self, Asked},
    quirks::{self, Meter},
    read::{self, Heard},
    session::Session,
    wire::{self, Error, Message},
};
use crate::{
    agents::{Answer, Block, Listener, Request, ToolStatus, Turn, Update},
    model::UsageReport,
};

/// How long an agent may take to answer a prompt that was cancelled.
const CANCEL: Duration = Duration::from_secs(2);

/// How the course of a prompt ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was answered.
    Answered(Value),
    /// It was answered with an error.
    Failed(Error),
    /// The turn is to stop.
    Stopped,
    /// The agent said nothing for too long.
    Silent,
    /// The agent is gone.
    Gone,
    /// The session changed to a mode in which more is allowed than the turn allows.
    Escaped(String),
}

/// An answer to a request of the agent: its id, what was asked, what a person said.
type Answered = (Value, Request, Answer);

/// The course of one prompt.
pub(super) struct Course<'a> {
    session: &'a mut Session,
    turn: &'a Turn,
    listener: &'a dyn Listener,
    meter: Meter,
    /// The mode that the session must stay in.
    mode: Option<&'a str>,
    asks: FuturesUnordered<BoxFuture<'a, Answered>>,
    /// The ids of what people are asked.
    open: Vec<Value>,
    /// Calls that somebody or something said no to.
    denied: HashSet<String>,
    cost: Option<i64>,
    pub words: Words,
}

impl<'a> Course<'a> {
    pub fn new(
        session: &'a mut Session,
        turn: &'a Turn,
        listener: &'a dyn Listener,
        (meter, mode): (Meter, Option<&'a str>),
    ) -> Self {
        Self {
            session,
            turn,
            listener,
            meter,
            mode,
            asks: FuturesUnordered::new(),
            open: Vec::new(),
            denied: HashSet::new(),
            cost: None,
            words: Words::default(),
        }
    }

    /// Hands the prompt over and hears what is said until its end. Where that is not the agent's
    /// own end, the prompt was cancelled when this returns.
    pub async fn run(&mut self, silence: Duration) -> End {
        let prompt = prompt(&self.turn.content_with_schema(), &self.session.hello);
        let params = json!({"sessionId": self.session.id, "prompt": prompt});
        let id = self.session.link.request("session/prompt", &params);
        let end = self.hear_to_the_end(id, silence).await;
        if matches!(end, End::Stopped | End::Silent | End::Escaped(_)) {
            self.cancel(id).await;
        }
        end
    }

    async fn hear_to_the_end(&mut self, id: i64, silence: Duration) -> End {
        let mut deadline = Instant::now() + silence;
        loop {
            tokio::select! {
                biased;
                () = self.turn.stop.cancelled() => return End::Stopped,
                Some((id, request, answer)) = self.asks.next() => {
                    self.answer(&id, &request, &answer);
                    deadline = Instant::now() + silence;
                }
                message = self.session.link.next() => {
                    let Some(message) = message else {
                        return End::Gone;
                    };
                    deadline = Instant::now() + silence;
                    if let Some(end) = self.hear(message, id).await {
                        return end;
                    }
                }
                // While a person is asked, it is the agent that waits.
                () = sleep_until(deadline), if self.open.is_empty() => return End::Silent,
            }
        }
    }

    /// Tells the agent to stop, and gives it time to.
    async fn cancel(&mut self, id: i64) {
        let params = json!({ "sessionId": self.session.id });
        self.session.link.send(wire::notice("session/cancel", &params));
        self.asks.clear();
        for id in std::mem::take(&mut self.open) {
            self.session.link.send(wire::answer(&id, &permission::cancelled()));
        }
        let ended = async {
            while let Some(message) = self.session.link.next().await {
                match message {
                    Message::Request { id, method, .. }
                        if method == "session/request_permission" =>
                    {
                        self.session.link.send(wire::answer(&id, &permission::cancelled()));
                    }
                    message => {
                        if self.hear(message, id).await.is_some_and(|end| end.is_of_the_prompt()) {
                            return;
                        }
                    }
                }
            }
        };
        let _ = timeout(CANCEL, ended).await;
    }

    /// Takes a message; the end, if it is one.
    async fn hear(&mut self, message: Message, prompt: i64) -> Option<End> {
        match message {
            Message::Answer { id, result } if id == prompt => match result {
                Ok(answer) => {
                    if let Some(report) = self.meter.of_answer(&answer) {
                        self.report(report).await;
                    }
                    return Some(End::Answered(answer));
                }
                Err(error) => return Some(End::Failed(error)),
            },
            Message::Answer { .. } => {}
            Message::Request { id, method, params } => self.asked(id, &method, &params),
            Message::Notice { method, params } if method == "session/update" => {
                let is_ours = params["sessionId"].as_str().is_none_or(|id| id == self.session.id);
                if is_ours {
                    return self.update(&params["update"]).await;
                }
            }
            Message::Notice { method, .. } if method.starts_with("$/") => {}
            Message::Notice { method, .. } => {
                self.listener.tell(Update::Unknown { event: method }).await;
            }
        }
        None
    }

    async fn update(&mut self, update: &Value) -> Option<End> {
        if read::message_id(update).is_some_and(|id| self.session.replayed.contains(&id)) {
            return None;
        }
        if let Some(report) = self.meter.of_update(update) {
            self.report(report).await;
        }
        match read::update(update) {
            Heard::Said(update) => {
                let update = self.with_denial(update);
                self.words.hear(&update);
                self.listener.tell(update).await;
            }
            Heard::State(update) => {
                if let Update::Mode { mode } = &update {
                    self.session.options.moved(mode);
                }
                self.listener.tell(update).await;
            }
            Heard::Options(options) => self.session.options.reconfigured(&options),
            Heard::Cost(micros) if self.cost != Some(micros) && !self.is_told_beside() => {
                self.cost = Some(micros);
                self.listener.tell(Update::Usage(quirks::cost(micros))).await;
            }
            Heard::Cost(_) | Heard::Nothing => {}
        }
        let wanted = self.mode?;
        let mode = self.session.options.chosen(Choosable::Mode).filter(|mode| *mode != wanted)?;
        Some(End::Escaped(mode.to_owned()))
    }

    /// Whether what is used is said elsewhere.
    fn is_told_beside(&self) -> bool {
        #[cfg(feature = "opencode")]
        return self.session.beside.is_some();
        #[cfg(not(feature = "opencode"))]
        false
    }

    /// Tells what was used, where that is not said in the protocol.
    pub async fn reckon(&mut self) {
        #[cfg(feature = "opencode")]
        if let Some(beside) = &self.session.beside {
            for report in beside.used(&self.session.id).await {
                self.listener.tell(Update::Usage(report)).await;
            }
        }
    }

    async fn report(&mut self, report: UsageReport) {
        let model = self.session.options.chosen(Choosable::Model).map(str::to_owned);
        self.listener.tell(Update::Usage(UsageReport { model, ..report })).await;
    }

    /// A call that was denied, and then failed, failed because it was denied.
    fn with_denial(&self, update: Update) -> Update {
        match update {
            Update::Tool(mut call) => {
                call.denied =
                    call.status == Some(ToolStatus::Failed) && self.denied.contains(&call.id);
                Update::Tool(call)
            }
            other => other,
        }
    }

    fn asked(&mut self, id: Value, method: &str, params: &Value) {
        if method != "session/request_permission" {
            self.session.link.send(wire::unknown(&id, method));
            return;
        }
        match permission::asked(params, self.turn.access) {
            Asked::Person(request) => {
                self.open.push(id.clone());
                let listener = self.listener;
                let answer = async move {
                    let answer = listener.ask(request.clone()).await;
                    (id, request, answer)
                };
                self.asks.push(answer.boxed());
            }
            Asked::Nobody { call, rejection } => {
                self.denied.insert(call);
                let result = rejection.as_deref();
                let result = result.map_or_else(permission::cancelled, permission::selected);
                self.session.link.send(wire::answer(&id, &result));
            }
        }
    }

    fn answer(&mut self, id: &Value, request: &Request, answer: &Answer) {
        self.open.retain(|open| open != id);
        if permission::denies(request, answer) {
            self.denied.insert(request.call.id.clone());
        }
        self.session.link.send(wire::answer(id, &permission::answered(request, answer)));
    }
}

impl End {
    /// Whether the agent itself has said the end.
    const fn is_of_the_prompt(&self) -> bool {
        matches!(self, Self::Answered(_) | Self::Failed(_))
    }
}

/// The blocks of a prompt, in the forms that the agent takes.
fn prompt(content: &[Block], hello: &Value) -> Vec<Value> {
    let takes =
        |what: &str| hello["agentCapabilities"]["promptCapabilities"][what].as_bool() == Some(true);
    let blocks = content.iter().map(|block| match block {
        Block::Image { mime, data } if takes("image") => {
            json!({"type": "image", "mimeType": mime, "data": data})
        }
        Block::ResourceLink { uri, name } => {
            json!({"type": "resource_link", "uri": uri, "name": name})
        }
        Block::Resource { uri, text } if takes("embeddedContext") => {
            json!({"type": "resource", "resource": {"uri": uri, "text": text}})
        }
        other => json!({"type": "text", "text": other.to_text()}),
    });
    blocks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_given_in_the_forms_that_the_agent_takes() {
        let resource = Block::Resource { uri: "file:///a".into(), text: "x".into() };
        let image = Block::Image { mime: "image/png".into(), data: "AA==".into() };
        let link = Block::ResourceLink { uri: "file:///b".into(), name: "b".into() };
        let content = [Block::text("hi"), image, link, resource];
        let types = |abilities: Value| {
            let hello = json!({"agentCapabilities": {"promptCapabilities": abilities}});
            let blocks = prompt(&content, &hello);
            let types = blocks.iter().map(|block| block["type"].as_str().unwrap_or("").to_owned());
            types.collect::<Vec<_>>().join(" ")
        };
        let all = json!({"image": true, "embeddedContext": true});
        assert_eq!(types(all), "text image resource_link resource");
        assert_eq!(types(json!({"image": false})), "text text resource_link text");
        assert_eq!(types(Value::Null), "text text resource_link text");
    }
}
