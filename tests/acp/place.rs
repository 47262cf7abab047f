//! Where an agent works, and how it is started.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use segue::{
    Failure,
    agents::{
        Agent, Block, Outcome, Resume, Turn,
        acp::Acp,
        process::{Custody, Mark},
    },
    id::{ChatId, TaskId},
    model::{Payload, TaskSpec},
};
use tempfile::TempDir;
use uuid::Uuid;

use super::{ear::Ear, program::program};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder, a chat, and who knows which programs were started.
pub struct Place {
    folder: TempDir,
    pub chat: ChatId,
    pub custody: Arc<Kept>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, chat: ChatId::new(), custody: Arc::default() }
    }

    /// The agent, with these of its manners.
    pub fn agent(&self, manners: &[&str]) -> Acp {
        let agent = Acp::new("scripted", program()).starting(LIMIT);
        manners.iter().fold(agent, |agent, manner| agent.argument(*manner))
    }

    /// A turn with this prompt.
    pub fn turn(&self, prompt: &str, resume: Resume) -> Turn {
        let task = TaskSpec::new(TaskId::new(), "agent", Payload::text(prompt));
        let mut turn = Turn::new(self.chat, task, vec![Block::text(prompt)]);
        turn.folder = self.folder.path().to_owned();
        turn.resume = resume;
        turn.custody = Some(self.custody.clone());
        turn
    }

    /// Takes a turn to its end.
    pub async fn take(&self, agent: &Acp, ear: &Ear, turn: Turn) -> Outcome {
        let ended = tokio::time::timeout(LIMIT, agent.turn(turn, ear)).await;
        ended.unwrap_or_else(|_| panic!("the turn does not end: {:?}", ear.all()))
    }

    /// Takes a turn in a new session.
    pub async fn first(&self, agent: &Acp, ear: &Ear, prompt: &str) -> Outcome {
        self.take(agent, ear, self.turn(prompt, Resume::Fresh)).await
    }

    /// Takes a turn in the session that the ear has heard of.
    pub async fn next(&self, agent: &Acp, ear: &Ear, prompt: &str) -> Outcome {
        let resume = Resume::Continue(ear.session());
        self.take(agent, ear, self.turn(prompt, resume)).await
    }

    /// Forgets all sessions.
    pub fn forget(&self) {
        fs::remove_dir_all(self.folder.path().join(".acp_agent")).unwrap();
    }
}

/// The words of an answer.
pub fn answer(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed(reply) => reply.text,
        other => panic!("no answer: {other:?}"),
    }
}

/// The name and the words of an outcome that is no answer.
pub fn words(outcome: Outcome) -> (&'static str, String) {
    let name = outcome.name();
    let words = match outcome {
        Outcome::Crashed { message }
        | Outcome::Interrupted { message }
        | Outcome::SessionLost { message }
        | Outcome::RateLimited { message, .. }
        | Outcome::Refused { message } => message,
        Outcome::LimitReached { limit } => limit,
        Outcome::Failed(failure) => failure.to_string(),
        other => panic!("{other:?}"),
    };
    (name, words)
}

/// Remembers what was started.
#[derive(Debug)]
pub struct Kept {
    owner: Uuid,
    marks: Mutex<Vec<Mark>>,
    pids: Mutex<Vec<u32>>,
    ended: Mutex<Vec<Mark>>,
}

impl Default for Kept {
    fn default() -> Self {
        let owner = Uuid::now_v7();
        Self { owner, marks: Mutex::default(), pids: Mutex::default(), ended: Mutex::default() }
    }
}

impl Kept {
    /// How many programs were started.
    pub fn starts(&self) -> usize {
        self.marks.lock().unwrap().len()
    }

    /// The processes that are there, of all that were started.
    pub fn left(&self) -> Vec<u32> {
        let marks = self.marks.lock().unwrap();
        marks.iter().flat_map(Mark::processes).collect()
    }

    /// Kills the program that was started last, and nothing else, and waits until it is dead.
    pub async fn kill(&self) {
        let pid = *self.pids.lock().unwrap().last().unwrap();
        // One that is about to be dead has no environment any more, and is not dead.
        let status = format!("/proc/{pid}/status");
        let lives = || fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let dead = async {
            while lives() || !self.left().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, dead).await.expect("it dies");
    }
}

#[async_trait]
impl Custody for Kept {
    async fn intend(&self, _: &str) -> Result<Mark, Failure> {
        let mark = Mark::new(self.owner);
        self.marks.lock().unwrap().push(mark);
        Ok(mark)
    }

    async fn started(&self, _: Mark, process: u32) -> Result<(), Failure> {
        self.pids.lock().unwrap().push(process);
        Ok(())
    }

    async fn ended(&self, mark: Mark) {
        self.ended.lock().unwrap().push(mark);
    }
}
