//! The connection to an agent: a program whose lines are messages.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::ChildStdin, sync::mpsc, task::JoinHandle, time::timeout};

use super::wire::{self, Message};
use crate::{
    agents::process::{Custody, Finish, Line, Lines, Program, Spawn},
    failure::Failure,
};

/// No message is longer. It would not be read in time, and fill the memory.
const LONGEST: usize = 64 << 20;
/// How many messages wait to be heard. The agent waits then as well.
const WAITING: usize = 256;
/// How often is looked whether a program has ended whose output somebody else holds open.
const LOOK: Duration = Duration::from_millis(500);

/// A connection. Messages come in the order in which they were sent, answers among them. While
/// nobody [hears](Self::hear) what is said is dropped, and what is asked is refused.
#[derive(Debug)]
pub(super) struct Link {
    program: Program,
    outgoing: mpsc::UnboundedSender<String>,
    incoming: mpsc::Receiver<Message>,
    is_heard: Arc<AtomicBool>,
    /// The id of the last request.
    last: i64,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Link {
    /// Starts the program. It is heard.
    pub async fn start(spawn: Spawn, custody: Arc<dyn Custody>) -> Result<Self, Failure> {
        let mut program = Program::start(spawn, custody).await?;
        let (input, lines) = (program.take_input(), program.lines(LONGEST));
        let (outgoing, said) = mpsc::unbounded_channel();
        let (heard, incoming) = mpsc::channel(WAITING);
        let is_heard = Arc::new(AtomicBool::new(true));
        let writer = tokio::spawn(write(input, said));
        let reader = Reader { lines, heard, is_heard: is_heard.clone(), back: outgoing.clone() };
        let reader = tokio::spawn(reader.read());
        // What was answered before it was asked has another id.
        let last = i64::from(fastrand::u32(..));
        Ok(Self { program, outgoing, incoming, is_heard, last, reader, writer })
    }

    /// Sends a request; the id of its answer.
    pub fn request(&mut self, method: &str, params: &Value) -> i64 {
        self.last += 1;
        self.send(wire::request(self.last, method, params));
        self.last
    }

    /// Sends a line. Where the agent is gone the next message says so.
    pub fn send(&self, line: String) {
        let _ = self.outgoing.send(line);
    }

    /// The next message; None when the agent is gone. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match timeout(LOOK, self.incoming.recv()).await {
                Ok(message) => return message,
                Err(_) if self.program.has_ended() => return self.incoming.try_recv().ok(),
                Err(_) => {}
            }
        }
    }

    /// Says whether somebody hears what is said from now on.
    pub fn hear(&mut self, is_heard: bool) {
        self.is_heard.store(is_heard, Ordering::Release);
        while self.incoming.try_recv().is_ok() {}
    }

    /// Whether the agent is there, as far as that is known.
    pub fn is_alive(&mut self) -> bool {
        !self.reader.is_finished() && !self.program.has_ended()
    }

    /// Ends the agent and all that it has started.
    pub async fn finish(self, grace: Duration) -> Result<Finish, Failure> {
        // Its input is closed with it.
        self.writer.abort();
        let finish = self.program.finish(grace).await;
        self.reader.abort();
        finish
    }
}

/// Writes lines until the agent reads no more.
async fn write(input: Option<ChildStdin>, mut said: mpsc::UnboundedReceiver<String>) {
    let Some(mut input) = input else {
        return;
    };
    while let Some(line) = said.recv().await {
        if write_line(&mut input, &line).await.is_err() {
            return;
        }
    }
}

async fn write_line(input: &mut ChildStdin, line: &str) -> io::Result<()> {
    input.write_all(line.as_bytes()).await?;
    input.flush().await
}

struct Reader {
    lines: Option<Lines>,
    heard: mpsc::Sender<Message>,
    is_heard: Arc<AtomicBool>,
    back: mpsc::UnboundedSender<String>,
}

impl Reader {
    /// Reads to the end of the agent's output.
    async fn read(self) {
        let Some(mut lines) = self.lines else {
            return;
        };
        while let Ok(Some(line)) = lines.next().await {
            let Line::Whole(line) = line else {
                continue;
            };
            for message in wire::read(&line) {
                if self.is_heard.load(Ordering::Acquire) {
                    if self.heard.send(message).await.is_err() {
                        return;
                    }
                } else if let Message::Request { id, method, .. } = message {
                    let _ = self.back.send(wire::unknown(&id, &method));
                }
            }
        }
    }
}
