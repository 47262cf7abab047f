//! What a step may do to rows, whatever it is: the second auditor of random histories. The
//! model's own audit looks at one moment; this one at two, and at what was answered between.

use segue::{id::RunId, model::*};

use crate::workload::Step;

/// Everything that a step must not have done.
pub fn forbidden(before: &Rows, after: &Rows, step: &Step, receipts: &[Receipt]) -> Vec<String> {
    let mut found = Vec::new();
    tasks(before, after, &mut found);
    runs(before, after, step, &mut found);
    agents(before, after, &mut found);
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
}

/// A run that was over changes only by being done again, and so do its steps. Of a retry of what
/// failed, what completed knows nothing.
fn runs(before: &Rows, after: &Rows, step: &Step, found: &mut Vec<String>) {
    let commands = match step {
        Step::Commit(batch) => &batch.commands[..],
        _ => &[],
    };
    for (id, old) in &before.runs {
        let Some(new) = after.runs.get(id) else { continue };
        let retries: Vec<RetryRun> = commands
            .iter()
            .filter_map(|command| match command {
                Command::RetryRun { run, how, .. } if run == id => Some(*how),
                _ => None,
            })
            .collect();
        let again = new.attempt > old.attempt;
        if old.state.is_terminal() && old != new && (!again || retries.is_empty()) {
            found.push(format!("run {id} was over and changed"));
        }
        if new.attempt < old.attempt || new.next_no < old.next_no || new.parent != old.parent {
            found.push(format!("run {id} went back: {old:?} and {new:?}"));
        }
        let failed_only = retries.iter().all(|how| *how == RetryRun::FailedOnly);
        for (key, old) in before.steps.range((*id, 0)..=(*id, u32::MAX)) {
            let kept = old.state.is_terminal() && !again;
            let kept = kept || (old.state == StepState::Completed && failed_only);
            if after.steps.get(key) != Some(old) && kept {
                found.push(format!("step {key:?} was over and changed"));
            }
            if !again && !after.steps.contains_key(key) {
                found.push(format!("step {key:?} is gone"));
            }
        }
    }
}

/// A turn that has ended stays as it ended, but for what is booked later; a session that is closed
/// is never taken up again.
fn agents(before: &Rows, after: &Rows, found: &mut Vec<String>) {
    for (id, old) in &before.turns {
        let Some(new) = after.turns.get(id) else { continue };
        let booked = Turn { tokens: old.tokens, cost: old.cost, ..new.clone() };
        if !old.state.is_open() && booked != *old {
            found.push(format!("turn {id} was over and changed: {old:?} and {new:?}"));
        }
    }
    for (id, old) in &before.agent_sessions {
        let Some(new) = after.agent_sessions.get(id) else {
            found.push(format!("agent's session {id} is gone"));
            continue;
        };
        if !old.is_open() && (new.state, &new.reason) != (old.state, &old.reason) {
            found.push(format!("agent's session {id} was closed and changed: {old:?} and {new:?}"));
        }
        if new.turns < old.turns || new.generation != old.generation || new.agent != old.agent {
            found.push(format!("agent's session {id} went back: {old:?} and {new:?}"));
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
    unchanged! { attempts lanes run_specs ledger }
    if !trims {
        unchanged! { messages parts entries }
    }
    if !parts {
        unchanged! { specs }
    }
    for (id, old) in before.items.iter().filter(|(_, item)| item.state != ItemState::Open) {
        // Whoever asked goes on with the answer, once; it stays what it was.
        let used = |new: &Item| {
            let (state, lease) = (ItemState::Used, new.lease);
            old.state == ItemState::Answered && *new == Item { state, lease, ..old.clone() }
        };
        if after.items.get(id).is_none_or(|new| new != old && !used(new)) {
            found.push(format!("item {id} was settled and changed"));
        }
    }
    let stays = |run: &RunId, no: &u32| after.steps.contains_key(&(*run, *no));
    for ((run, from, to), terms) in &before.edges {
        let new = after.edges.get(&(*run, *from, *to));
        if new != Some(terms) && stays(run, from) && stays(run, to) {
            found.push(format!("the edge of run {run} from {from} to {to} became {new:?}"));
        }
    }
}

/// What was accepted is recorded, under the lease that it was accepted under.
fn answered(after: &Rows, command: &Command, receipt: &Receipt, found: &mut Vec<String>) {
    use AttemptOutcome::*;
    let (task, lease, allowed) = match command {
        Command::Settle(settle) => {
            let allowed: &[AttemptOutcome] = match settle.decision {
                Decision::Complete(_) if settle.grow.is_some() => &[Completed, Failed],
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
