//! How far the end of a step reaches: which rows of its run a settle must see.
//!
//! Most ends touch the direct dependents and nothing else. Only where one of those may end at
//! once (a join whose edges are met, a step that can't start any more) more is asked for: a few
//! levels one by one, then the whole run.
//!
//! Invariant: whatever may end in a commit has its dependents loaded.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    budget::is_waiting,
    wants::{ending, whole_run},
};
use crate::{
    id::RunId,
    model::{
        Decision, Growth, Needs, NewStep, OnBreach, OnFailure, Otherwise, Payload, Policy, Rows,
        Settle, Step, StepKind, StepState, TaskFlags, Terms,
    },
};

/// How many levels are loaded one by one before the whole run is.
const LEVELS: u32 = 4;

/// What a plan knows so far.
pub(super) struct Known<'a> {
    pub rows: &'a Rows,
    asked: &'a Needs,
    /// How many edges may come in at each step with this commit: those that are loaded are from
    /// steps that may end in it.
    arriving: BTreeMap<(RunId, u32), u32>,
}

impl<'a> Known<'a> {
    pub fn new(rows: &'a Rows, asked: &'a Needs) -> Self {
        let mut arriving = BTreeMap::new();
        for (run, _, to) in rows.edges.keys() {
            *arriving.entry((*run, *to)).or_default() += 1;
        }
        Self { rows, asked, arriving }
    }

    /// Whether a step may fail where others start: nothing is left for it, and nobody is asked.
    fn may_run_out(&self, run: RunId) -> bool {
        let budget = self.rows.runs.get(&run).and_then(|run| run.budget.as_ref());
        budget.is_some_and(|budget| budget.on_breach == OnBreach::Fail)
    }

    /// Whether a step may have ended by the end of the commit.
    fn may_have_ended(&self, key: (RunId, u32)) -> bool {
        let ended = self.rows.steps.get(&key).is_some_and(|step| step.state.is_terminal());
        ended || self.asked.dependents.contains(&key) || self.asked.graphs.contains(&key.0)
    }
}

/// How an attempt's step may end, as far as it is known.
#[derive(Clone, Copy)]
struct End<'a> {
    state: StepState,
    output: Option<&'a Payload>,
}

impl End<'_> {
    fn of(state: StepState) -> Self {
        Self { state, output: None }
    }

    fn meets(&self, terms: &Terms) -> bool {
        terms.are_met(self.state, self.output)
    }
}

/// What settling an attempt of a step must see of the run.
pub(super) fn step(settle: &Settle, (run, no): (RunId, u32), known: &Known<'_>) -> Needs {
    let rows = known.rows;
    let mut needs = Needs { steps: [(run, no)].into(), ..ending(run, rows) };
    let ends = ends(settle, rows);
    if ends.is_empty() {
        return needs;
    }
    needs.dependents.insert((run, no));
    let Some(step) = rows.steps.get(&(run, no)) else {
        return needs;
    };
    if let Some(growth) = &settle.grow {
        needs.extend(growing(settle, (run, no), growth, known));
    }
    let fails = ends.iter().any(|end| end.state == StepState::Failed);
    let stops = fails && step.policy.on_failure == OnFailure::StopRun;
    if stops || may_stop(settle, run, known) {
        needs.extend(whole_run(run, rows));
    }
    if !known.asked.graphs.contains(&run) {
        let ends = ends.into_iter().map(|end| (no, end)).chain(hungry(run, known)).collect();
        follow(run, ends, known, &mut needs);
    }
    needs
}

/// The ends that a decision may come to.
fn ends<'a>(settle: &'a Settle, rows: &Rows) -> Vec<End<'a>> {
    let task = rows.tasks.get(&settle.held.id);
    let cancelled = task.is_some_and(|task| task.flags.has(TaskFlags::CANCEL));
    match &settle.decision {
        _ if cancelled => vec![End::of(StepState::Cancelled)],
        Decision::Complete(output) => {
            let completed = End { state: StepState::Completed, output: Some(output) };
            // What it adds may be refused.
            let failed = settle.grow.as_ref().map(|_| End::of(StepState::Failed));
            [completed].into_iter().chain(failed).collect()
        }
        Decision::Fail(_) => vec![End::of(StepState::Failed)],
        Decision::Cancelled => vec![End::of(StepState::Cancelled)],
        _ => Vec::new(),
    }
}

/// The steps that wait for the budget of their run: what an end gives back lets them start, or
/// fail where nothing is left.
fn hungry<'a>(run: RunId, known: &Known<'_>) -> impl Iterator<Item = (u32, End<'a>)> {
    let fails = known.may_run_out(run);
    let steps = known.rows.steps.range((run, 0)..=(run, u32::MAX)).map(|(_, step)| step);
    let hungry: Vec<u32> =
        steps.filter(|step| fails && is_waiting(step)).map(|step| step.no).collect();
    hungry.into_iter().map(|no| (no, End::of(StepState::Failed)))
}

/// Whether a step for which nothing is left may stop the run: one that waits for the budget, one
/// whose last edge this end meets, or one that comes with it.
fn may_stop(settle: &Settle, run: RunId, known: &Known<'_>) -> bool {
    let stops = |policy: &Policy| policy.on_failure == OnFailure::StopRun;
    let mut new = settle.grow.iter().flat_map(|growth| &growth.steps);
    let mut steps = known.rows.steps.range((run, 0)..=(run, u32::MAX)).map(|(_, step)| step);
    let fails =
        |step: &Step| is_waiting(step) || may_end(step, true, known) == Some(StepState::Failed);
    known.may_run_out(run)
        && (new.any(|step| stops(&step.policy))
            || steps.any(|step| stops(&step.policy) && fails(step)))
}

/// Follows ends to the dependents that may end with them, and from those on.
fn follow(run: RunId, mut level: Vec<(u32, End<'_>)>, known: &Known<'_>, needs: &mut Needs) {
    needs.dependents.extend(level.iter().map(|(no, _)| (run, *no)));
    let mut seen = BTreeSet::new();
    for _ in 0..LEVELS {
        let mut next = Vec::new();
        for (from, end) in level {
            let edges = known.rows.edges.range((run, from, 0)..=(run, from, u32::MAX));
            for ((_, _, to), terms) in edges {
                let Some(step) = known.rows.steps.get(&(run, *to)) else { continue };
                let state = may_end(step, end.meets(terms), known);
                if let Some(state) = state.filter(|state| seen.insert((*to, *state))) {
                    needs.dependents.insert((run, *to));
                    next.push((*to, End::of(state)));
                }
            }
        }
        level = next;
    }
    if !level.is_empty() {
        needs.graphs.insert(run);
    }
}

/// How a dependent may end at once when an edge that leads to it is met, or is not.
fn may_end(step: &Step, met: bool, known: &Known<'_>) -> Option<StepState> {
    if step.state != StepState::Pending {
        return None;
    }
    let arriving = known.arriving.get(&(step.run, step.no)).copied().unwrap_or(0);
    match met {
        true => {
            let starts = step.waiting_on <= arriving;
            let end = match step.kind {
                StepKind::Join => Some(StepState::Completed),
                _ => known.may_run_out(step.run).then_some(StepState::Failed),
            };
            end.filter(|_| starts)
        }
        // Each that does not bring what is asked for leaves one edge less to hope for.
        false => {
            let lost = step.waiting_on > step.open_edges.saturating_sub(arriving);
            lost.then_some(match step.policy.otherwise {
                Otherwise::Skip => StepState::Skipped,
                Otherwise::Cancel => StepState::Cancelled,
            })
        }
    }
}

/// What new steps must see: the old ones that they depend on or lead to, with what those
/// returned where an edge asks for it. An edge on either side may close a cycle, and a new step
/// that ends at once may end old ones.
fn growing(settle: &Settle, (run, by): (RunId, u32), growth: &Growth, known: &Known<'_>) -> Needs {
    let rows = known.rows;
    let mut needs = Needs { run_specs: [run].into(), ..Needs::default() };
    let output = match &settle.decision {
        Decision::Complete(output) => Some(output),
        _ => None,
    };
    let by_end = End { state: StepState::Completed, output };
    let ends = |step: &NewStep| new_may_end(step, (run, by), by_end, known);
    let ends = !growth.into.is_empty() && growth.steps.iter().any(ends);
    if ends || growth.may_close_a_cycle(by) {
        needs.graphs.insert(run);
    }
    for (on, when) in growth.steps.iter().flat_map(asked) {
        needs.steps.insert((run, on));
        if let Some(task) = rows.steps.get(&(run, on)).and_then(|step| step.task).filter(|_| when) {
            needs.tasks.insert(task);
            needs.attempts.insert(task);
        }
    }
    needs.steps.extend(growth.into.iter().map(|(_, to, _)| (run, *to)));
    needs
}

/// Whether a new step may end in the commit that adds it, for the old steps it depends on.
fn new_may_end(step: &NewStep, (run, by): (RunId, u32), end: End<'_>, known: &Known<'_>) -> bool {
    let after: BTreeSet<u32> = step.after.iter().copied().collect();
    let ended = |on: &u32| *on == by || (*on < Growth::NEW && known.may_have_ended((run, *on)));
    let ended: Vec<u32> = after.iter().copied().filter(ended).collect();
    let (edges, came) = (after.len() as u32, ended.len() as u32);
    let needs = step.policy.quorum.of(edges);
    let plain = Terms::default();
    let unmet = |on: &u32| {
        let terms = step.terms.get(on).unwrap_or(&plain);
        *on != by || !end.meets(terms)
    };
    let starts = needs <= came && (step.kind == StepKind::Join || known.may_run_out(run));
    starts || (needs > edges - came && ended.iter().any(unmet))
}

/// The old steps that a new one depends on, and whether it asks for their output.
fn asked(step: &NewStep) -> impl Iterator<Item = (u32, bool)> {
    let old = step.after.iter().filter(|on| **on < Growth::NEW);
    old.map(|on| (*on, step.terms.get(on).is_some_and(|terms| terms.when.is_some())))
}
