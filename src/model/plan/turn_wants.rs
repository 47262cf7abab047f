//! Which rows the commands of agents must see.

use std::collections::BTreeSet;

use super::are_texts;
use crate::{
    id::{AgentSessionId, TaskId, TurnId},
    model::{BeginTurn, Book, Command, Needs, Rows, TaskFlags, Write},
};

/// The rows that a command of agents needs. Those that are no such command need none.
pub(super) fn wants(command: &Command, rows: &Rows) -> Needs {
    match command {
        Command::BeginTurn(wish) => begun(wish),
        Command::NoteSession { turn, .. } | Command::Prompting { turn, .. } => {
            with_session(*turn, rows)
        }
        Command::Write(write) => written(write),
        Command::Book(book) => booked(book),
        _ => on_a_host(command),
    }
}

/// What a turn is begun with.
fn begun(wish: &BeginTurn) -> Needs {
    let askable = are_texts([&wish.agent]).is_ok();
    let newest = askable.then(|| (wish.chat, wish.agent.clone()));
    Needs {
        tasks: [wish.task].into(),
        turns: [TurnId::of(wish.task, wish.lease)].into(),
        chats: [wish.chat].into(),
        open_turns: [wish.chat].into(),
        agent_sessions: [wish.session].into(),
        newest_sessions: newest.into_iter().collect(),
        ..Needs::default()
    }
}

/// A turn, then its session.
fn with_session(turn: TurnId, rows: &Rows) -> Needs {
    let session = rows.turns.get(&turn).map(|turn| turn.session);
    let agent_sessions = session.into_iter().collect();
    Needs { turns: [turn].into(), agent_sessions, ..Needs::default() }
}

/// The account that a report is booked to, and the events that may have been booked before.
fn booked(book: &Book) -> Needs {
    let sources = book.reports.iter().map(|report| &report.source);
    let askable = sources.filter(|source| are_texts([source]).is_ok());
    let ledger: BTreeSet<(AgentSessionId, String)> =
        askable.map(|source| (book.session, source.clone())).collect();
    Needs {
        routes: [book.task].into(),
        turns: [book.turn].into(),
        agent_sessions: [book.session].into(),
        ledger,
        ..Needs::default()
    }
}

/// The messages that grow, and the parts that may be there: each, and the one before it.
fn written(write: &Write) -> Needs {
    let each = write.parts.iter().map(|part| (part.message, part.no));
    let parts = each.flat_map(|(message, no)| [(message, no), (message, no.saturating_sub(1))]);
    Needs {
        turns: [write.turn].into(),
        chats: [write.chat].into(),
        messages: write.parts.iter().map(|part| part.message).collect(),
        parts: parts.collect(),
        ..Needs::default()
    }
}

/// The turn that is taken in an attempt that ends, where the task says that there is one. Its chat
/// is known before it is locked.
pub(super) fn ending(id: TaskId, lease: i64, rows: &Rows) -> Needs {
    let turn = TurnId::of(id, lease);
    if let Some((chat, session)) = rows.turn_routes.get(&turn) {
        let mut needs = with_session(turn, rows);
        needs.chats.insert(*chat);
        needs.agent_sessions.insert(*session);
        return needs;
    }
    let task = rows.tasks.get(&id).filter(|task| task.lease == lease);
    let has_turn = task.is_some_and(|task| task.flags.has(TaskFlags::TURN));
    Needs { turn_routes: has_turn.then_some(turn).into_iter().collect(), ..Needs::default() }
}

/// Programs and agents on hosts.
fn on_a_host(command: &Command) -> Needs {
    let agent = |host: &String, name: &String| {
        let askable = are_texts([host, name]).is_ok();
        let agents = askable.then(|| (host.clone(), name.clone())).into_iter().collect();
        Needs { agents, ..Needs::default() }
    };
    match command {
        Command::Intend(program) => Needs { processes: [program.id].into(), ..Needs::default() },
        Command::Started { id, .. } => Needs { processes: [*id].into(), ..Needs::default() },
        Command::PutAgent(found) => agent(&found.host, &found.name),
        Command::Quarantine { host, name, .. } => agent(host, name),
        _ => Needs::default(),
    }
}
