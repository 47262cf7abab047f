//! The machine and process we live in, and whether another process of it is alive.

use std::fs;

use crate::model::Host;

/// What is known of another instance's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs.
    Running,
    /// It was stopped, and may be continued.
    Stopped,
    /// It is gone for good.
    Dead,
    /// It lives elsewhere, or the system does not say.
    Unknown,
}

/// This process.
pub(crate) fn here() -> Host {
    let pid = std::process::id();
    Host { name: name(), boot: boot(), pid, pid_start: process(pid).map_or(0, |(_, start)| start) }
}

/// Whether the process of `other` lives, as far as it can be told from here.
pub(super) fn life(here: &Host, other: &Host) -> Life {
    if here.name != other.name || here.boot.is_empty() {
        return Life::Unknown;
    }
    if here.boot != other.boot {
        return Life::Dead;
    }
    match process(other.pid) {
        None => Life::Dead,
        Some((_, start)) if start != other.pid_start => Life::Dead,
        Some(('Z' | 'X', _)) => Life::Dead,
        Some(('T' | 't', _)) => Life::Stopped,
        Some(_) => Life::Running,
    }
}

/// The machine with its process namespace: two containers of one machine see other pids.
fn name() -> String {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", gethostname::gethostname().to_string_lossy(), namespace.display())
}

/// Which boot of the machine; empty where the system does not say.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The tick at which a process started.
#[cfg_attr(not(feature = "programs"), allow(dead_code, reason = "of programs"))]
pub(super) fn started(pid: u32) -> Option<u64> {
    process(pid).map(|(_, start)| start)
}

/// The state letter of a process and the tick it started at (proc(5), fields 3 and 22).
fn process(pid: u32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_others_are_told_apart() {
        let here = here();
        assert_eq!(life(&here, &here), Life::Running);
        let reused = Host { pid_start: here.pid_start + 1, ..here.clone() };
        assert_eq!(life(&here, &reused), Life::Dead, "a pid that was used again");
        let rebooted = Host { boot: "earlier".into(), ..here.clone() };
        assert_eq!(life(&here, &rebooted), Life::Dead, "another boot of this machine");
        let elsewhere = Host { name: "elsewhere".into(), ..here.clone() };
        assert_eq!(life(&here, &elsewhere), Life::Unknown);
    }
}
