//! A listener that notes all it hears.

use std::sync::{Mutex, atomic::AtomicBool, atomic::Ordering};

use async_trait::async_trait;
use segue::{
    Failure,
    agents::{Answer, Listener, Request, ToolCall, Update},
};
use tokio::sync::watch;

/// Notes all that it hears, and answers as it is told to.
pub struct Ear {
    updates: Mutex<Vec<Update>>,
    /// What was noted, in order: `session ID`, `prompting`.
    pub notes: Mutex<Vec<String>>,
    pub asks: Mutex<Vec<Request>>,
    /// The option that is chosen; none: nobody ever answers.
    choice: Option<&'static str>,
    /// Whether what is to be noted is refused.
    pub refuses: AtomicBool,
    changed: watch::Sender<()>,
}

impl Default for Ear {
    fn default() -> Self {
        Self {
            updates: Mutex::default(),
            notes: Mutex::default(),
            asks: Mutex::default(),
            choice: None,
            refuses: AtomicBool::new(false),
            changed: watch::Sender::new(()),
        }
    }
}

impl Ear {
    pub fn choosing(option: &'static str) -> Self {
        Self { choice: Some(option), ..Self::default() }
    }

    /// All that was told, but for the commands of the session.
    pub fn updates(&self) -> Vec<Update> {
        let mut updates = self.updates.lock().unwrap().clone();
        updates.retain(|update| !matches!(update, Update::Commands { .. }));
        updates
    }

    pub fn all(&self) -> Vec<Update> {
        self.updates.lock().unwrap().clone()
    }

    /// All texts, each behind the other.
    pub fn text(&self) -> String {
        let texts = self.updates().into_iter().filter_map(|update| match update {
            Update::Text { text, .. } => Some(text),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("|")
    }

    pub fn tools(&self) -> Vec<ToolCall> {
        let tools = self.updates().into_iter().filter_map(|update| match update {
            Update::Tool(call) => Some(call),
            _ => None,
        });
        tools.collect()
    }

    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }

    /// The id of the session that was noted last.
    pub fn session(&self) -> String {
        let notes = self.notes();
        let session = notes.iter().rev().find_map(|note| note.strip_prefix("session "));
        session.expect("a session was noted").to_owned()
    }

    /// Waits until something is so.
    pub async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changes = self.changed.subscribe();
        while !is_so(self) {
            changes.changed().await.unwrap();
        }
    }

    fn note(&self, note: String) -> Result<(), Failure> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Failure::new("it is not this worker's turn any more"));
        }
        self.notes.lock().unwrap().push(note);
        self.changed.send_replace(());
        Ok(())
    }
}

#[async_trait]
impl Listener for Ear {
    async fn tell(&self, update: Update) {
        self.updates.lock().unwrap().push(update);
        self.changed.send_replace(());
    }

    async fn session(&self, id: &str) -> Result<(), Failure> {
        self.note(format!("session {id}"))
    }

    async fn prompting(&self) -> Result<(), Failure> {
        self.note("prompting".into())
    }

    async fn ask(&self, request: Request) -> Answer {
        self.asks.lock().unwrap().push(request);
        self.changed.send_replace(());
        match self.choice {
            Some("nobody") => Answer::Cancelled,
            Some(option) => Answer::Chosen(option.into()),
            None => std::future::pending().await,
        }
    }
}
