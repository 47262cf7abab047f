//! What there is on hosts: programs that engines have started, and agents that are installed.

use super::{are_names, are_texts, fits, storable, work::Work};
use crate::{
    id::ProcessId,
    model::{AvailableAgent, Outcome, Process, Quarantine, Receipt, Rejection, limits},
};

/// A program is about to be started.
pub(super) fn intend(work: &mut Work, wish: Process) -> Receipt {
    if work.rows.processes.contains_key(&wish.id) {
        return Ok(Outcome::Done);
    }
    are_texts([&wish.host, &wish.boot])?;
    are_texts(&wish.agent)?;
    let program = storable(wish.program);
    fits("the name of a program", program.len(), limits::META_BYTES)?;
    work.put_process(Process { program, started: None, at: work.now, ..wish });
    Ok(Outcome::Done)
}

/// It runs.
pub(super) fn started(work: &mut Work, id: ProcessId, pid: u32, pid_start: u64) -> Receipt {
    let Some(known) = work.rows.processes.get(&id).cloned() else {
        return Err(Rejection::not_found("process", id));
    };
    work.put_process(Process { started: Some((pid, pid_start)), ..known });
    Ok(Outcome::Done)
}

/// Nothing of it is left.
pub(super) fn ended(work: &mut Work, id: ProcessId) -> Receipt {
    work.end_process(id);
    Ok(Outcome::Done)
}

/// Notes what was found of an agent. What was judged of another version is not known of this one. A
/// quarantine stays: what has once changed something is trusted again when a person says so.
pub(super) fn put_agent(work: &mut Work, agent: AvailableAgent) -> Receipt {
    are_names([&agent.host, &agent.name])?;
    let texts = [&agent.install_path, &agent.version, &agent.sha256];
    are_texts(texts.into_iter().flatten())?;
    are_texts([&agent.label])?;
    let facts = [&agent.models, &agent.modes, &agent.commands, &agent.capabilities, &agent.canary];
    for fact in facts.into_iter().flatten() {
        fits("what is known of an agent", fact.as_str().len(), limits::PAYLOAD_BYTES)?;
    }
    let key = (agent.host.clone(), agent.name.clone());
    let known = work.rows.agents.get(&key);
    let same =
        known.filter(|known| (&known.sha256, &known.version) == (&agent.sha256, &agent.version));
    let quarantined = known.and_then(|known| known.quarantined.clone());
    let canary = agent.canary.or_else(|| same.and_then(|known| known.canary.clone()));
    let last_error = agent.last_error.map(storable);
    work.put_agent(AvailableAgent { quarantined, canary, last_error, ..agent });
    Ok(Outcome::Done)
}

/// Forbids an agent, or allows it again.
pub(super) fn quarantine(
    work: &mut Work,
    (host, name): (String, String),
    reason: Option<String>,
) -> Receipt {
    let id = format!("{name} on {host}");
    let Some(agent) = work.rows.agents.get(&(host, name)).cloned() else {
        return Err(Rejection::not_found("agent", id));
    };
    let reason = reason.map(storable);
    if agent.quarantined.as_ref().map(|known| &known.reason) != reason.as_ref() {
        let at = work.now;
        let quarantined = reason.map(|reason| Quarantine { reason, at });
        work.put_agent(AvailableAgent { quarantined, ..agent });
    }
    Ok(Outcome::Done)
}
