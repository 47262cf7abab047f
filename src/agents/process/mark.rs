//! The mark that a program and all that it starts carry, and how they are found by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use uuid::Uuid;

/// The variable that carries the mark.
pub(super) const VARIABLE: &str = "SEGUE_MARK";
/// How long what was killed may take to be gone, before it counts as one that can't be.
const PATIENCE: Duration = Duration::from_secs(5);

/// What tells the processes of one turn from all others: `OWNER.TURN`, both UUIDs. The owner is
/// the engine that started them, so that all of a dead engine's are found at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    owner: Uuid,
    turn: Uuid,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.owner, self.turn)
    }
}

impl FromStr for Mark {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (owner, turn) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { owner: owner.parse()?, turn: turn.parse()? })
    }
}

/// Processes as they were at one moment.
#[derive(Clone, Debug, Default)]
pub struct Present(BTreeSet<(u32, u64)>);

/// Processes that could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("processes that were killed are still there: {0:?}")]
pub struct Survivors(pub Vec<u32>);

impl Mark {
    /// A new mark for a turn of this engine.
    pub fn new(owner: Uuid) -> Self {
        Self { owner, turn: Uuid::now_v7() }
    }

    /// The part of it that no other mark has.
    pub const fn turn(&self) -> Uuid {
        self.turn
    }

    /// The processes that carry it, and those below them, by id.
    pub fn processes(&self) -> Vec<u32> {
        let found = found(&self.to_string());
        found.into_iter().map(|process| process.pid).collect()
    }

    /// Kills all that carry it, and what is below them, until there are none. How many were there.
    ///
    /// # Errors
    /// When some are still there five seconds after they were killed.
    pub async fn sweep(&self) -> Result<usize, Survivors> {
        self.sweep_since(&Present::default()).await
    }

    /// Those of now.
    pub fn present(&self) -> Present {
        let found = found(&self.to_string());
        Present(found.into_iter().map(|process| (process.pid, process.start)).collect())
    }

    /// Kills those that have come since, as [`sweep`](Self::sweep) does: what a turn has started and
    /// left to a program that goes on. How many there were.
    ///
    /// # Errors
    /// As of `sweep`.
    pub async fn sweep_since(&self, before: &Present) -> Result<usize, Survivors> {
        sweep(&self.to_string(), before).await
    }
}

/// Kills all processes of an engine that is gone, whatever turn they are of. How many were there.
///
/// # Errors
/// When some are still there five seconds after they were killed.
pub async fn sweep_owner(owner: Uuid) -> Result<usize, Survivors> {
    sweep(&format!("{owner}."), &Present::default()).await
}

async fn sweep(mark: &str, before: &Present) -> Result<usize, Survivors> {
    let (mut known, mut since) = (BTreeSet::new(), Instant::now());
    loop {
        let mut found = found(mark);
        found.retain(|process| !before.0.contains(&(process.pid, process.start)));
        if found.is_empty() {
            return Ok(known.len());
        }
        // Who has just appeared has its own time.
        if found.iter().any(|process| known.insert((process.pid, process.start))) {
            since = Instant::now();
        }
        if since.elapsed() > PATIENCE {
            return Err(Survivors(found.into_iter().map(|process| process.pid).collect()));
        }
        found.iter().for_each(Process::kill);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A process, as it stood in `/proc` at one moment.
#[derive(Clone, Copy, Debug)]
struct Process {
    pid: u32,
    parent: u32,
    /// The tick at which it started: a process id is used again, this with it is not.
    start: u64,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // A zombie has ended, and only its parent can take it away.
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether its environment began with the mark.
    fn carries(&self, mark: &str) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| {
            let value = variable.strip_prefix(VARIABLE.as_bytes());
            value
                .and_then(|rest| rest.strip_prefix(b"="))
                .is_some_and(|value| value.starts_with(mark.as_bytes()))
        })
    }

    /// Kills the process that was seen, and no other that has its id by now.
    fn kill(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(handle) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            return;
        };
        if Self::read(self.pid).is_some_and(|now| now.start == self.start) {
            // It may have ended in between, which is all that is wanted.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

/// The processes that carry a mark, and those below them.
fn found(mark: &str) -> Vec<Process> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: BTreeMap<u32, Process> =
        numbers.filter_map(|pid| Some((pid, Process::read(pid)?))).collect();
    let mut ours: BTreeSet<u32> =
        all.values().filter(|process| process.carries(mark)).map(|process| process.pid).collect();
    // Some drop their environment. They are known by their parents, while those live.
    loop {
        let below = all.values().filter(|process| ours.contains(&process.parent));
        let below: BTreeSet<u32> = below.map(|process| process.pid).collect();
        if below.is_subset(&ours) {
            break;
        }
        ours.extend(below);
    }
    ours.iter().map(|pid| all[pid]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let mark = Mark::new(Uuid::now_v7());
        assert_eq!(mark.to_string().parse::<Mark>().expect("a mark"), mark);
        assert!("no mark".parse::<Mark>().is_err());
    }

    #[test]
    fn this_process_carries_no_mark() {
        let mark = Mark::new(Uuid::now_v7());
        assert!(mark.processes().is_empty());
        let own = Process::read(std::process::id()).expect("this process");
        assert!(own.carries("") == std::env::var_os(VARIABLE).is_some());
    }
}
