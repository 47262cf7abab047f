//! Sessions: files with what was said in them.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::PathBuf,
    process,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use agent_client_protocol::v1::schema::{SessionMode, SessionModeState};
use serde_json::{Value, json};
use tokio::sync::watch;

/// All sessions of this process, and the signal that the client cancels.
#[derive(Debug)]
pub struct Sessions {
    count: AtomicUsize,
    modes: Mutex<HashMap<String, String>>,
    cancelled: watch::Sender<usize>,
}

impl Default for Sessions {
    fn default() -> Self {
        let (count, modes) = (AtomicUsize::new(0), Mutex::default());
        Self { count, modes, cancelled: watch::Sender::new(0) }
    }
}

/// The modes that a session has.
pub fn modes(current: &str) -> SessionModeState {
    let modes = ["build", "plan"].map(|id| SessionMode::new(id, id.to_uppercase()));
    SessionModeState::new(current.to_owned(), modes.to_vec())
}

fn file(id: &str) -> PathBuf {
    PathBuf::from(".acp_agent").join(id)
}

impl Sessions {
    /// A new session: its id.
    pub fn create(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("session-{}-{number}", process::id());
        fs::create_dir_all(".acp_agent").expect("a folder");
        fs::write(file(&id), "").expect("a file");
        id
    }

    /// The history of a session, as updates; None where there is none.
    pub fn open(&self, id: &str) -> Option<Vec<Value>> {
        let text = fs::read_to_string(file(id)).ok()?;
        let prompts = text.lines().enumerate().flat_map(|(number, prompt)| {
            let chunk = |kind: &str, text: &str| {
                json!({"sessionUpdate": kind, "messageId": format!("old-{number}"),
                    "content": {"type": "text", "text": text}})
            };
            [chunk("user_message_chunk", prompt), chunk("agent_message_chunk", "an old answer")]
        });
        Some(prompts.collect())
    }

    /// Notes a prompt; how many there were before.
    pub fn note(&self, id: &str, prompt: &str) -> usize {
        let before = fs::read_to_string(file(id)).expect("a session").lines().count();
        let mut file = fs::OpenOptions::new().append(true).open(file(id)).expect("a session");
        writeln!(file, "{}", prompt.replace('\n', "; ")).expect("space");
        before
    }

    pub fn set_mode(&self, id: &str, mode: &str) {
        let mut modes = self.modes.lock().expect("nobody panicked");
        modes.insert(id.to_owned(), mode.to_owned());
    }

    pub fn mode(&self, id: &str) -> String {
        let modes = self.modes.lock().expect("nobody panicked");
        modes.get(id).cloned().unwrap_or_else(|| "build".into())
    }

    pub fn cancel(&self) {
        self.cancelled.send_modify(|count| *count += 1);
    }

    /// Tells of every time that the client cancels from now on.
    pub fn cancels(&self) -> watch::Receiver<usize> {
        let mut cancels = self.cancelled.subscribe();
        cancels.mark_unchanged();
        cancels
    }
}
