//! Programs and agents on hosts: rows, loading and saving.

use rusqlite::{Connection, Row, params};

use super::{
    load::{all, one},
    rows::Cells,
    save::run,
    sql,
};
use crate::{
    error::Result,
    model::{AvailableAgent, Changes, Needs, Process, Quarantine, Rows, Transport},
};

pub(super) fn load(conn: &Connection, needs: &Needs, found: &mut Rows) -> rusqlite::Result<()> {
    for id in &needs.processes {
        found.processes.extend(one(conn, sql::PROCESS, [id], process)?.map(|row| (row.id, row)));
    }
    for (host, name) in &needs.agents {
        let row = one(conn, sql::AGENT, (host, name), agent)?;
        found.agents.extend(row.map(|row| ((row.host.clone(), row.name.clone()), row)));
    }
    Ok(())
}

/// A dump, for audits.
pub(super) fn everything(conn: &Connection, found: &mut Rows) -> rusqlite::Result<()> {
    let processes = all(conn, sql::all(sql::PROCESS), [], process)?;
    found.processes = processes.into_iter().map(|row| (row.id, row)).collect();
    let agents = all(conn, sql::AGENTS_ALL, [], agent)?;
    let key = |row: &AvailableAgent| (row.host.clone(), row.name.clone());
    found.agents = agents.into_iter().map(|row| (key(&row), row)).collect();
    Ok(())
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> Result<()> {
    for row in &changes.processes {
        let (pid, pid_start) = row.started.unzip();
        let params = params![
            row.id,
            row.instance,
            row.host,
            row.boot,
            row.program,
            row.agent,
            row.chat,
            pid,
            pid_start.map(|tick| tick as i64),
            row.at
        ];
        run(conn, sql::PUT_PROCESS, params)?;
    }
    for id in &changes.processes_gone {
        run(conn, sql::DELETE_PROCESS, [id])?;
    }
    changes.agents.iter().try_for_each(|row| put_agent(conn, row))?;
    Ok(())
}

fn put_agent(conn: &Connection, row: &AvailableAgent) -> rusqlite::Result<()> {
    let quarantine = row.quarantined.as_ref();
    let params = params![
        row.host,
        row.name,
        row.label,
        row.install_path,
        row.version,
        row.sha256,
        row.transport.name(),
        row.supports_acp,
        row.can_ask,
        row.models,
        row.modes,
        row.commands,
        row.capabilities,
        row.canary,
        quarantine.map(|quarantine| &quarantine.reason),
        quarantine.map_or_else(Default::default, |quarantine| quarantine.at),
        row.last_probed_at,
        row.last_error
    ];
    run(conn, sql::PUT_AGENT, params).map(drop)
}

pub(super) fn process(row: &Row<'_>) -> rusqlite::Result<Process> {
    let mut cells = Cells::new(row);
    let (id, instance) = (cells.next()?, cells.next()?);
    let (host, boot, program) = (cells.next()?, cells.next()?, cells.next()?);
    let (agent, chat) = (cells.next()?, cells.next()?);
    let (pid, pid_start): (Option<u32>, Option<i64>) = (cells.next()?, cells.next()?);
    let started = pid.zip(pid_start.map(|tick| tick as u64));
    let at = cells.next()?;
    Ok(Process { id, instance, host, boot, program, agent, chat, started, at })
}

pub(super) fn agent(row: &Row<'_>) -> rusqlite::Result<AvailableAgent> {
    let mut cells = Cells::new(row);
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
        models: cells.next()?,
        modes: cells.next()?,
        commands: cells.next()?,
        capabilities: cells.next()?,
        canary: cells.next()?,
        quarantined: {
            let (reason, at): (Option<String>, _) = (cells.next()?, cells.next()?);
            reason.map(|reason| Quarantine { reason, at })
        },
        last_probed_at: cells.next()?,
        last_error: cells.next()?,
    })
}
