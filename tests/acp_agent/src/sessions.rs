//! Sessions: files with what was said in them.

use std::{
    collections::HashMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use agent_client_protocol::v1::schema::{SessionMode, SessionModeState};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How a prompt begins that is to go on with the one before.
const GO_ON: &str = "The turn was interrupted";

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

/// `ACP_AGENT_HOME`, or a folder of the one that it works in.
fn home() -> PathBuf {
    env::var_os("ACP_AGENT_HOME").unwrap_or_else(|| ".acp_agent".into()).into()
}

fn file(id: &str) -> PathBuf {
    home().join(id)
}

/// Adds a line in one write, so that whoever is killed leaves a whole one or none.
fn append(path: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("a folder");
    file.write_all(format!("{line}\n").as_bytes()).expect("space");
}

impl Sessions {
    /// A new session: its id.
    pub fn create(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("session-{}-{number}", process::id());
        fs::create_dir_all(home()).expect("a folder");
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
        append(&file(id), &prompt.replace('\n', "; "));
        before
    }

    /// The steps of a prompt, and how many of them were done before. A session that is told to go on
    /// does so with the prompt before, unless it is told of another that has not reached it.
    pub fn begin(&self, id: &str, prompt: &str) -> (Vec<String>, usize) {
        let (work, done) = (file(&format!("{id}.work")), file(&format!("{id}.done")));
        let told = prompt.strip_prefix(GO_ON).map(|told| told.split_once('\n').unwrap_or_default().1);
        let known = fs::read_to_string(&work).unwrap_or_default();
        let steps = |text: &str| text.lines().map(str::to_owned).collect();
        if told.is_some_and(|told| told.is_empty() || told == known) {
            let before = fs::read_to_string(done).unwrap_or_default();
            return (steps(&known), before.lines().count());
        }
        let anew = told.unwrap_or(prompt);
        fs::write(&work, anew).expect("space");
        fs::write(done, "").expect("space");
        let _ = fs::remove_file(file(&format!("{id}.count")));
        (steps(anew), 0)
    }

    /// Notes that a step is done.
    pub fn did(&self, id: &str, step: &str) {
        append(&file(&format!("{id}.done")), step);
    }

    /// How far a step has come that does one thing after the other.
    pub fn counted(&self, id: &str) -> u64 {
        let text = fs::read_to_string(file(&format!("{id}.count")));
        text.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub fn count(&self, id: &str, number: u64) {
        fs::write(file(&format!("{id}.count")), number.to_string()).expect("space");
    }

    /// Notes what was reported as used.
    pub fn report(&self, line: &str) {
        append(&file("reported"), line);
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
