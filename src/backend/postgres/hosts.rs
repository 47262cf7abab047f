//! Programs and agents on hosts: rows, and saving them.

use super::{
    columns::columns,
    pipe::{Param, Pipe},
    rows::{Cells, Time},
    sql,
};
use crate::{
    clock::Timestamp,
    error::Result,
    model::{AvailableAgent, Changes, Payload, Process, Quarantine, Transport},
};

/// Adds what saves the rows of hosts.
pub(super) fn save<'a>(pipe: &mut Pipe<'a>, changes: &'a Changes) {
    if !changes.processes.is_empty() {
        pipe.add(
            sql::PUT_PROCESS,
            columns!(
                changes.processes,
                |row| row.id.as_uuid(),
                row.instance.as_uuid(),
                row.host.as_str(),
                row.boot.as_str(),
                row.program.as_str(),
                row.agent.as_deref(),
                row.chat.map(|id| id.as_uuid()),
                row.started.map(|(pid, _)| i64::from(pid)),
                row.started.map(|(_, tick)| tick as i64),
                Time(row.at),
            ),
        );
    }
    if !changes.processes_gone.is_empty() {
        pipe.add(sql::DELETE_PROCESS, columns!(changes.processes_gone, |id| id.as_uuid()));
    }
    if !changes.agents.is_empty() {
        pipe.add(sql::PUT_AGENT, agent_columns(&changes.agents));
    }
}

fn agent_columns(rows: &[AvailableAgent]) -> Vec<Param<'_>> {
    let json = |value: &Option<Payload>| value.as_ref().map(|value| value.as_str().to_owned());
    let since = |row: &AvailableAgent| {
        row.quarantined.as_ref().map_or(Timestamp::ZERO, |quarantine| quarantine.at)
    };
    columns!(
        rows,
        |row| row.host.as_str(),
        row.name.as_str(),
        row.label.as_str(),
        row.install_path.as_deref(),
        row.version.as_deref(),
        row.sha256.as_deref(),
        row.transport.name(),
        row.supports_acp,
        row.can_ask,
        json(&row.models),
        json(&row.modes),
        json(&row.commands),
        json(&row.capabilities),
        json(&row.canary),
        row.quarantined.as_ref().map(|quarantine| quarantine.reason.as_str()),
        Time(since(row)),
        Time(row.last_probed_at),
        row.last_error.as_deref(),
    )
}

pub(super) fn process(cells: &mut Cells<'_>) -> Result<Process> {
    let (id, instance) = (cells.id()?, cells.id()?);
    let (host, boot, program) = (cells.next()?, cells.next()?, cells.next()?);
    let (agent, chat) = (cells.next()?, cells.id_or_null()?);
    let (pid, tick): (Option<i64>, Option<i64>) = (cells.next()?, cells.next()?);
    let started = pid.map(|pid| pid as u32).zip(tick.map(|tick| tick as u64));
    Ok(Process { id, instance, host, boot, program, agent, chat, started, at: cells.time()? })
}

pub(super) fn agent(cells: &mut Cells<'_>) -> Result<AvailableAgent> {
    Ok(AvailableAgent {
        host: cells.next()?,
        name: cells.next()?,
        label: cells.next()?,
        install_path: cells.next()?,
        version: cells.next()?,
        sha256: cells.next()?,
        transport: cells.name(Transport::from_name)?,
        supports_acp: cells.next()?,
        can_ask: cells.next()?,
        models: cells.payload_or_null()?,
        modes: cells.payload_or_null()?,
        commands: cells.payload_or_null()?,
        capabilities: cells.payload_or_null()?,
        canary: cells.payload_or_null()?,
        quarantined: {
            let (reason, at): (Option<String>, _) = (cells.next()?, cells.time()?);
            reason.map(|reason| Quarantine { reason, at })
        },
        last_probed_at: cells.time()?,
        last_error: cells.next()?,
    })
}
