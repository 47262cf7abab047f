//! A listener that writes down what it hears.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    agents::{Answer, ChoiceKind, Listener, Request, ToolCall, Update},
    failure::Failure,
    model::UsageReport,
};

/// One thing that an agent said to its listener.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// It told something.
    Told(Update),
    /// It has this session.
    Session(String),
    /// It is given the prompt now.
    Prompting,
    /// It asked, and was answered.
    Asked(Request, Answer),
}

/// A listener that writes down what it hears, in its order, and answers as it is told to.
pub struct Recorder {
    heard: Mutex<Vec<Heard>>,
    changed: watch::Sender<()>,
    answer: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("heard", &self.heard()).finish_non_exhaustive()
    }
}

impl Default for Recorder {
    /// One that rejects whatever it is asked.
    fn default() -> Self {
        Self::answering(|request| chosen(request, ChoiceKind::RejectOnce))
    }
}

impl Recorder {
    /// One that answers so.
    pub fn answering(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let (heard, changed) = (Mutex::default(), watch::Sender::new(()));
        Self { heard, changed, answer: Box::new(answer) }
    }

    /// One that allows once whatever it is asked.
    pub fn allowing() -> Self {
        Self::answering(|request| chosen(request, ChoiceKind::AllowOnce))
    }

    /// All that was heard.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was told.
    pub fn updates(&self) -> Vec<Update> {
        let told = self.heard().into_iter().filter_map(|heard| match heard {
            Heard::Told(update) => Some(update),
            _ => None,
        });
        told.collect()
    }

    /// The messages, each with its pieces put together.
    pub fn messages(&self) -> Vec<String> {
        let mut messages: Vec<(Option<String>, String)> = Vec::new();
        for update in self.updates() {
            let Update::Text { message, text } = update else {
                continue;
            };
            match messages.last_mut() {
                Some((last, whole)) if *last == message => whole.push_str(&text),
                _ => messages.push((message, text)),
            }
        }
        messages.into_iter().map(|(_, text)| text).collect()
    }

    /// The calls of tools, each as it is now.
    pub fn tools(&self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = Vec::new();
        for update in self.updates() {
            let Update::Tool(now) = update else {
                continue;
            };
            match calls.iter_mut().find(|call| call.id == now.id) {
                Some(call) => merge(call, now),
                None => calls.push(now),
            }
        }
        calls
    }

    /// What was used, report by report.
    pub fn usage(&self) -> Vec<UsageReport> {
        let reports = self.updates().into_iter().filter_map(|update| match update {
            Update::Usage(report) => Some(report),
            _ => None,
        });
        reports.collect()
    }

    /// The ids of sessions that were noted.
    pub fn sessions(&self) -> Vec<String> {
        let sessions = self.heard().into_iter().filter_map(|heard| match heard {
            Heard::Session(id) => Some(id),
            _ => None,
        });
        sessions.collect()
    }

    /// Waits until what was heard is as `is_so` wants it. Without a limit: give it one.
    pub async fn until(&self, is_so: impl Fn(&[Heard]) -> bool) {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if is_so(&self.heard()) {
                return;
            }
            // The sender is ours, so the channel is open as long as we are.
            let _ = changes.changed().await;
        }
    }

    fn hear(&self, heard: Heard) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
        self.changed.send_replace(());
    }
}

/// The first option of this kind.
fn chosen(request: &Request, kind: ChoiceKind) -> Answer {
    let option = request.options.iter().find(|option| option.kind == kind);
    option.map_or(Answer::Cancelled, |option| Answer::Chosen(option.id.clone()))
}

/// What is `None` or empty is as it was.
fn merge(call: &mut ToolCall, now: ToolCall) {
    call.title = now.title.or(call.title.take());
    call.kind = now.kind.or(call.kind);
    call.status = now.status.or(call.status);
    call.input = now.input.or(call.input.take());
    call.output = now.output.or(call.output.take());
    call.denied |= now.denied;
    if !now.locations.is_empty() {
        call.locations = now.locations;
    }
}

#[async_trait]
impl Listener for Recorder {
    async fn tell(&self, update: Update) {
        self.hear(Heard::Told(update));
    }

    async fn session(&self, id: &str) -> Result<(), Failure> {
        self.hear(Heard::Session(id.to_owned()));
        Ok(())
    }

    async fn prompting(&self) -> Result<(), Failure> {
        self.hear(Heard::Prompting);
        Ok(())
    }

    async fn ask(&self, request: Request) -> Answer {
        let answer = (self.answer)(&request);
        self.hear(Heard::Asked(request, answer.clone()));
        answer
    }
}
