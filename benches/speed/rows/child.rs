//! Other processes: the bench starts itself again, with a part to play.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};

use tokio::runtime::Runtime;

use super::{
    super::{
        Result,
        place::{Address, Kind, Place},
        raw,
    },
    cost, enqueue_from, limits,
};

/// A process that is told what to do by lines, and answers each with a line.
pub struct Player {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Player {
    pub fn start(kind: Kind, role: &str, address: &Address) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env("SEGUE_BENCH_ROLE", format!("{} {role} {}", kind.name(), address.text()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().ok_or("its input is piped")?;
        let answers = BufReader::new(child.stdout.take().ok_or("its output is piped")?);
        let mut player = Self { child, orders, answers };
        player.wait()?;
        Ok(player)
    }

    pub fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}")?;
        Ok(self.orders.flush()?)
    }

    pub fn wait(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err("the other process has ended".into()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    pub fn end(mut self) -> Result<()> {
        drop(self.orders);
        self.answers.read_to_string(&mut String::new())?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the other process: {status}").into()) }
    }
}

/// What a process does that was started so.
pub fn play(runtime: &Arc<Runtime>, role: &str) -> Result<()> {
    let mut words = role.splitn(3, ' ');
    let kind = if words.next() == Some("sqlite") { Kind::Sqlite } else { Kind::Postgres };
    let part = words.next().ok_or("a part to play")?.to_owned();
    let address = Address::read(kind, words.next().ok_or("an address")?);
    match part.as_str() {
        "memory" => return runtime.block_on(cost::remember(&address)),
        "raw" => return enqueue_raw(runtime, &address),
        _ => {}
    }
    if part.starts_with("raw") {
        let place = Place::of_another(runtime, address, part != "raw-shared");
        return limits::play(&place, &part);
    }
    runtime.block_on(async {
        let engine = address.builder().connect().await?;
        say("ready")?;
        for line in std::io::stdin().lines() {
            let numbers: Vec<usize> = line?.split(' ').filter_map(|n| n.parse().ok()).collect();
            match (part.as_str(), numbers[..].first(), numbers.get(1)) {
                // One task; the time of the commit, since any clock of the host is as good here.
                ("once", ..) => {
                    engine.enqueue("note", &()).await?;
                    say(&super::waking::monotonic().to_string())?;
                }
                ("enqueue", Some(callers), Some(each)) => {
                    enqueue_from(&engine, *callers, *each).await?;
                    say("done")?;
                }
                _ => return Err(format!("unknown: {part} {numbers:?}").into()),
            }
        }
        Ok(engine.shutdown().await?)
    })
}

/// Is told how many tasks a statement has, how many statements there are, and how many of them
/// are in flight at once.
fn enqueue_raw(runtime: &Arc<Runtime>, address: &Address) -> Result<()> {
    let pipeline = raw::Pipeline::new(runtime, address)?;
    say("ready")?;
    for line in std::io::stdin().lines() {
        let numbers: Vec<usize> = line?.split(' ').filter_map(|n| n.parse().ok()).collect();
        let [tasks, statements, in_flight] = numbers[..] else {
            return Err(format!("three numbers: {numbers:?}").into());
        };
        pipeline.enqueue(tasks, statements, in_flight)?;
        say("done")?;
    }
    Ok(())
}

pub fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
