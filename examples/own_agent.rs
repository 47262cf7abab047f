//! An agent of the host's own, in one file: a program with a protocol that nobody else speaks.
//!
//! The program is this example itself, started with `answer`: it gets a prompt on its standard input,
//! and prints `say WORDS`, `used TOKENS` and `end`, a line each. It remembers what it was told in a
//! session, in a file of its own.
//!
//! ```text
//! cargo run --features programs --example own_agent -- work.db "What is my name?"
//! ```

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use segue::{
    ChatSpec, Engine, Failure,
    agents::{
        Agent, Listener, Outcome, Profile, Reply, Resume, Sessions, Transport, Turn, Update,
        process::{Custody, Line, Program, Spawn, Terminal},
    },
    id::ChatId,
    model::{Metering, Payload, Tokens, UsageReport},
};

/// How long the program may take to end when it is told to.
const GRACE: Duration = Duration::from_millis(500);

/// The agent: how its program is started, and what its lines mean.
#[derive(Debug)]
struct Parrot {
    program: PathBuf,
    /// Where the program keeps what it remembers.
    memory: PathBuf,
}

#[async_trait]
impl Agent for Parrot {
    async fn turn(&self, turn: Turn, listener: &dyn Listener) -> Outcome {
        self.take(&turn, listener).await.unwrap_or_else(Outcome::Failed)
    }

    fn profile(&self) -> Profile {
        Profile {
            transport: Transport::Cli,
            sessions: Sessions::Ours,
            can_ask: false,
            fingerprint: "parrot 1".into(),
        }
    }
}

impl Parrot {
    async fn take(&self, turn: &Turn, listener: &dyn Listener) -> Result<Outcome, Failure> {
        let (Resume::New(session) | Resume::Continue(session)) = &turn.resume else {
            return Err(Failure::fatal("the engine names the sessions of this agent"));
        };
        // Each is durable when it returns: the session before the program knows of it, and that the
        // prompt is handed over before it is.
        listener.session(session).await?;
        listener.prompting().await?;
        let custody = turn.custody.clone();
        let custody = custody.ok_or_else(|| Failure::fatal("an engine takes its turns"))?;
        let mut program = self.start(turn, session, custody).await?;
        let mut lines = program.lines(1 << 20).expect("nobody has taken its output");
        let mut said = String::new();
        let outcome = loop {
            let line = tokio::select! {
                () = turn.stop.cancelled() => break Outcome::Cancelled,
                line = lines.next() => line?,
            };
            let Some(Line::Whole(line)) = line else {
                break Outcome::Interrupted { message: "it ended in the middle".into() };
            };
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("say", words) => {
                    let text = format!("{words} ");
                    said.push_str(&text);
                    listener.tell(Update::Text { message: None, text }).await;
                }
                ("used", tokens) => listener.tell(Update::Usage(used(turn, tokens)?)).await,
                ("end", _) => break Outcome::Completed(Reply::text(said.trim_end())),
                (other, _) => {
                    listener.tell(Update::Unknown { event: other.to_owned() }).await;
                }
            }
        };
        // Nothing that the program has started is left when the turn is over.
        program.finish(GRACE).await?;
        Ok(outcome)
    }

    async fn start(
        &self,
        turn: &Turn,
        session: &str,
        custody: Arc<dyn Custody>,
    ) -> Result<Program, Failure> {
        let spawn = Spawn {
            program: self.program.clone(),
            arguments: vec!["answer".into(), self.memory.join(session).into()],
            env: BTreeMap::new(),
            folder: turn.folder.clone(),
            confined: None,
            scratch: None,
            terminal: Terminal::None,
        };
        let mut program = Program::start(spawn, custody).await?;
        program.write(turn.prompt.as_bytes()).await?;
        program.close_input();
        Ok(program)
    }
}

/// What a turn has used. The same line read twice would be booked once.
fn used(turn: &Turn, tokens: &str) -> Result<UsageReport, Failure> {
    Ok(UsageReport {
        source: format!("{} used", turn.task.id),
        model: None,
        metering: Metering::Delta,
        tokens: Tokens { output: tokens.parse()?, ..Tokens::default() },
        cost: None,
        raw: Payload::of(tokens)?,
    })
}

/// The program: says what it was told before, and what it is told now.
fn answer(memory: &str) -> io::Result<()> {
    let mut prompt = String::new();
    io::stdin().read_to_string(&mut prompt)?;
    let before = fs::read_to_string(memory).unwrap_or_default();
    let all = format!("{before}{prompt}\n");
    fs::write(memory, &all)?;
    all.lines().for_each(|line| println!("say {line}"));
    println!("used {}\nend", all.len());
    Ok(())
}

#[tokio::main]
async fn main() -> segue::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, memory] = &arguments[..]
        && role == "answer"
    {
        answer(memory).expect("its memory can be written");
        return Ok(());
    }
    let file = arguments.first().map_or("work.db", String::as_str);
    let prompt = arguments.get(1).map_or("What is my name?", String::as_str);
    let program = env::current_exe().expect("the path of this program");
    let memory = env::current_dir().expect("a folder").join(format!("{file}.parrot"));
    fs::create_dir_all(&memory).expect("a folder for what it remembers");
    let engine = Engine::sqlite(file).agent("parrot", Parrot { program, memory }).start().await?;
    // The host's own id: the next start speaks in the same chat, and the agent's session goes on.
    let chat: ChatId = "018f4e9a-0000-7000-8000-000000000001".parse().expect("an id");
    let chat = engine.chat(chat, ChatSpec::default()).await?;
    println!("{}", chat.send("parrot", prompt).await?.output::<String>().await?);
    for session in chat.agent_sessions().await? {
        println!("{} turns, {} tokens", session.turns, session.tokens.total());
    }
    engine.shutdown().await
}
