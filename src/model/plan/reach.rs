//! How far the end of a step reaches: which rows of its run a settle must see.
//!
//! Most ends touch the direct dependents and nothing else. Only where one of those may end at
//! once (a join whose edges are met, a step that can't start any more) more is asked for.

use super::wants::{ending, whole_run};
use crate::{
    id::RunId,
    model::{
        Decision, Growth, Needs, OnBreach, OnFailure, Payload, Quorum, Rows, Settle, Step,
        StepKind, StepState, TaskFlags, Terms,
    },
};

/// How an attempt's step may end, as far as it is known.
#[derive(Clone, Copy)]
struct End<'a> {
    state: StepState,
    output: Option<&'a Payload>,
}

/// What settling an attempt of a step must see of the run.
pub(super) fn step(settle: &Settle, (run, no): (RunId, u32), rows: &Rows) -> Needs {
    let mut needs =
        Needs { steps: [(run, no)].into(), dependents: [(run, no)].into(), ..ending(run, rows) };
    let grown = settle.grow.as_ref().map(|growth| growing((run, no), growth, rows));
    needs.extend(grown.unwrap_or_default());
    // A step for which nothing is left fails where others start, wherever that leads.
    let budget = rows.runs.get(&run).and_then(|run| run.budget.as_ref());
    if budget.is_some_and(|budget| budget.on_breach == OnBreach::Fail) {
        needs.graphs.insert(run);
    }
    let Some(step) = rows.steps.get(&(run, no)) else {
        return needs;
    };
    for end in ends(settle, rows) {
        if end.state == StepState::Failed && step.policy.on_failure == OnFailure::StopRun {
            needs.extend(whole_run(run, rows));
        }
        follow((run, no), end, rows, &mut needs);
    }
    needs
}

/// The ends that a decision may come to.
fn ends<'a>(settle: &'a Settle, rows: &Rows) -> Vec<End<'a>> {
    let task = rows.tasks.get(&settle.held.id);
    let cancelled = task.is_some_and(|task| task.flags.has(TaskFlags::CANCEL));
    let end = |state| End { state, output: None };
    match &settle.decision {
        _ if cancelled => vec![end(StepState::Cancelled)],
        Decision::Complete(output) => {
            let completed = End { state: StepState::Completed, output: Some(output) };
            // What it adds may be refused.
            let failed = settle.grow.as_ref().map(|_| end(StepState::Failed));
            [completed].into_iter().chain(failed).collect()
        }
        Decision::Fail(_) => vec![end(StepState::Failed)],
        Decision::Cancelled => vec![end(StepState::Cancelled)],
        _ => Vec::new(),
    }
}

/// Follows an end to the dependents that may end with it.
fn follow((run, no): (RunId, u32), end: End<'_>, rows: &Rows, needs: &mut Needs) {
    for ((_, _, to), terms) in rows.edges.range((run, no, 0)..=(run, no, u32::MAX)) {
        let Some(step) = rows.steps.get(&(run, *to)) else { continue };
        if step.state != StepState::Pending {
            continue;
        }
        let arrive = arriving(run, step, rows);
        if step.kind == StepKind::Join && step.waiting_on <= arrive {
            needs.dependents.insert((run, *to));
            follow((run, *to), End { state: StepState::Completed, output: None }, rows, needs);
        }
        // Each that does not bring what is asked for leaves one edge less to hope for.
        let hope = step.open_edges.saturating_sub(arrive);
        let lost = !is_met(terms, end) || step.policy.quorum != Quorum::All;
        if lost && step.waiting_on > hope {
            needs.graphs.insert(run);
        }
    }
}

fn is_met(terms: &Terms, end: End<'_>) -> bool {
    terms.are_met(end.state, end.output)
}

/// How many edges may come in with this commit: those that are loaded are from steps that end
/// in it.
fn arriving(run: RunId, step: &Step, rows: &Rows) -> u32 {
    let edges = rows.edges.range((run, 0, 0)..=(run, u32::MAX, u32::MAX));
    edges.filter(|((_, _, to), _)| *to == step.no).count() as u32
}

/// What new steps must see: the old ones that they depend on or lead to, with what those
/// returned where an edge asks for it. An edge on either side may close a cycle.
fn growing((run, by): (RunId, u32), growth: &Growth, rows: &Rows) -> Needs {
    let mut needs = Needs { run_specs: [run].into(), ..Needs::default() };
    if growth.may_close_a_cycle(by) {
        needs.graphs.insert(run);
    }
    // One that ends at once, wherever it leads.
    if growth.steps.iter().any(|step| step.kind == StepKind::Join) {
        needs.graphs.insert(run);
    }
    let into = growth.into.iter().map(|(_, to, _)| *to);
    for (on, when) in growth.steps.iter().flat_map(asked) {
        needs.steps.insert((run, on));
        if let Some(task) = rows.steps.get(&(run, on)).and_then(|step| step.task).filter(|_| when) {
            needs.tasks.insert(task);
            needs.attempts.insert(task);
        }
    }
    needs.steps.extend(into.map(|to| (run, to)));
    needs
}

/// The old steps that a new one depends on, and whether it asks for their output.
fn asked(step: &crate::model::NewStep) -> impl Iterator<Item = (u32, bool)> {
    let old = step.after.iter().filter(|on| **on < Growth::NEW);
    old.map(|on| (*on, step.terms.get(on).is_some_and(|terms| terms.when.is_some())))
}
