//! What a step may do to rows, whatever it is: the second auditor of random histories. The
//! model's own audit looks at one moment; this one at two, and at what was answered between.

use segue::model::*;

use crate::workload::Step;

/// Everything that a step must not have done.
pub fn forbidden(before: &Rows, after: &Rows, step: &Step, receipts: &[Receipt]) -> Vec<String> {
    let mut found = Vec::new();
    tasks(before, after, &mut found);
    if !matches!(step, Step::Prune(_)) {
        kept(before, after, step, &mut found);
    }
    if let Step::Commit(batch) = step {
        for (command, receipt) in batch.commands.iter().zip(receipts) {
            answered(after, command, receipt, &mut found);
        }
    }
    found
}

/// Leases and revisions grow; what has ended well or was cancelled is never touched again;
/// a lease is raised by a claim alone.
fn tasks(before: &Rows, after: &Rows, found: &mut Vec<String>) {
    for (id, new) in &after.tasks {
        let Some(old) = before.tasks.get(id) else { continue };
        if new.lease < old.lease || new.rev < old.rev {
            found.push(format!("task {id} went back: {old:?} and {new:?}"));
        }
        let over = matches!(old.phase, Phase::Completed | Phase::Cancelled);
        if over && old != new {
            found.push(format!("task {id} was over and changed: {old:?} and {new:?}"));
        }
        if new.lease > old.lease && (new.lease != old.lease + 1 || new.phase != Phase::Running) {
            found.push(format!("task {id} was not claimed once: {old:?} and {new:?}"));
        }
        if (old.step, old.lane, old.priority) != (new.step, new.lane, new.priority) {
            found.push(format!("task {id} became another: {old:?} and {new:?}"));
        }
    }
    for (id, old) in before.runs.iter().filter(|(_, run)| run.state.is_terminal()) {
        if after.runs.get(id).is_some_and(|new| new != old) {
            found.push(format!("run {id} was over and changed"));
        }
    }
}

/// What was recorded stays as it was.
fn kept(before: &Rows, after: &Rows, step: &Step, found: &mut Vec<String>) {
    let has = |wanted: fn(&Command) -> bool| matches!(step, Step::Commit(batch) if batch.commands.iter().any(wanted));
    let trims = has(|command| matches!(command, Command::DeleteChat(_)));
    let parts = trims || has(|command| matches!(command, Command::DeleteSession(_)));
    macro_rules! unchanged {
        ($($table:ident)+) => {$(
            for (key, old) in &before.$table {
                if after.$table.get(key) != Some(old) {
                    let new = after.$table.get(key);
                    found.push(format!("{} {key:?}: {old:?} became {new:?}", stringify!($table)));
                }
            }
        )+};
    }
    unchanged! { attempts lanes run_specs }
    if !trims {
        unchanged! { messages entries }
    }
    if !parts {
        unchanged! { specs }
    }
    for (id, old) in before.items.iter().filter(|(_, item)| item.state != ItemState::Open) {
        if after.items.get(id) != Some(old) {
            found.push(format!("item {id} was settled and changed"));
        }
    }
    if before.edges.keys().any(|edge| !after.edges.contains_key(edge)) {
        found.push("edges are gone".into());
    }
}

/// What was accepted is recorded, under the lease that it was accepted under.
fn answered(after: &Rows, command: &Command, receipt: &Receipt, found: &mut Vec<String>) {
    use AttemptOutcome::*;
    let (task, lease, allowed) = match command {
        Command::Settle(settle) => {
            let allowed: &[AttemptOutcome] = match settle.decision {
                Decision::Complete(_) => &[Completed],
                Decision::Fail(_) => &[Failed],
                Decision::Snooze(_) => &[Snoozed, Cancelled],
                Decision::Block(_) => &[Blocked, Cancelled],
                Decision::Park { .. } => &[Parked, Cancelled],
                Decision::Cancelled => &[Cancelled],
                Decision::Await(_) => &[Awaited, Cancelled],
                Decision::Release => return,
            };
            (settle.held.id, settle.held.lease, allowed)
        }
        Command::Rescue { task, lease } => (*task, *lease, &[Interrupted][..]),
        _ => return,
    };
    let recorded = after.attempts.get(&(task, lease)).map(|attempt| attempt.outcome);
    let fits = recorded.is_some_and(|outcome| allowed.contains(&outcome));
    if receipt.is_ok() && !fits {
        found.push(format!("{command:?} was answered {receipt:?}, but {recorded:?} is recorded"));
    }
}
