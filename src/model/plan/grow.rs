//! Steps that a step adds to its own run. They come with its completion, in one commit:
//! either it completed and they exist, or neither.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    budget, flow,
    steps::{self, Fresh},
    work::Work,
};
use crate::{
    id::RunId,
    model::{
        Dag, DagError, Growth, NewStep, Quorum, Rejection, Run, StepKind, StepState, check_quorum,
        limits,
    },
};

/// Refuses steps that can't be stored, that have no place in the run, or that would wait for
/// each other. `by` is the step that adds them.
pub(super) fn check(
    work: &Work,
    (run, by): (RunId, u32),
    growth: &Growth,
) -> Result<(), Rejection> {
    let Some(grower) = work.rows.steps.get(&(run, by)) else {
        return Err(Rejection::not_found("step", by));
    };
    let owner = flow::find(work, run)?;
    let count = owner.next_no as usize + growth.steps.len();
    if count > limits::STEPS {
        return Err(DagError::TooManySteps(count).into());
    }
    for step in &growth.steps {
        flow::check_step(step)?;
        fits_name(&name(&grower.name, step))?;
        check_edges(work, owner, step)?;
        check_quorum(step)?;
    }
    check_into(work, owner, growth)?;
    Dag::check(&among_themselves(growth))?;
    match growth.may_close_a_cycle(by) {
        true => closes_no_cycle(work, (run, by), growth),
        false => Ok(()),
    }
}

/// Refuses edges from old steps that are not there or have no output to ask for.
fn check_edges(work: &Work, run: &Run, step: &NewStep) -> Result<(), Rejection> {
    for on in step.after.iter().filter(|on| **on < Growth::NEW) {
        is_known(work, run, &step.name, *on)?;
    }
    for (of, terms) in step.terms.iter().filter(|(of, _)| **of < Growth::NEW) {
        let upstream = work.rows.steps.get(&(run.id, *of)).filter(|_| step.after.contains(of));
        let Some(upstream) = upstream else {
            return Err(DagError::NotAnEdge { step: step.name.clone(), of: *of }.into());
        };
        if terms.when.is_some() && upstream.kind == StepKind::Join {
            let (step, of) = (step.name.clone(), upstream.name.clone());
            return Err(DagError::NoOutput { step, of }.into());
        }
    }
    Ok(())
}

/// Refuses edges to old steps that are not there, and a second one between the same two.
fn check_into(work: &Work, run: &Run, growth: &Growth) -> Result<(), Rejection> {
    let mut seen = BTreeSet::new();
    for (from, to, terms) in &growth.into {
        let new = growth.steps.get(*from as usize);
        let new = new.ok_or_else(|| Rejection::Invalid("an edge from no new step".into()))?;
        is_known(work, run, &new.name, *to)?;
        if !seen.insert((from, to)) {
            let message = format!("two edges from step `{}` to step number {to}", new.name);
            return Err(Rejection::Invalid(message));
        }
        if terms.when.is_some() && new.kind == StepKind::Join {
            let step = work.rows.steps[&(run.id, *to)].name.clone();
            return Err(DagError::NoOutput { step, of: new.name.clone() }.into());
        }
    }
    Ok(())
}

/// What a new step is called in the run.
fn name(grower: &str, step: &NewStep) -> String {
    format!("{grower}/{}", step.name)
}

fn fits_name(name: &str) -> Result<(), Rejection> {
    match name.len() <= limits::NAME_BYTES {
        true => Ok(()),
        false => Err(DagError::BadName(name.to_owned()).into()),
    }
}

fn is_known(work: &Work, run: &Run, step: &str, on: u32) -> Result<(), Rejection> {
    match work.rows.steps.contains_key(&(run.id, on)) {
        true => Ok(()),
        false => Err(DagError::UnknownDependency { step: step.to_owned(), on }.into()),
    }
}

/// The new steps with nothing but the edges between them.
fn among_themselves(growth: &Growth) -> Vec<NewStep> {
    let place = |on: &u32| on.checked_sub(Growth::NEW);
    let new = |step: &NewStep| NewStep {
        terms: step.terms.iter().filter_map(|(on, t)| Some((place(on)?, t.clone()))).collect(),
        ..NewStep::new(step.name.clone(), step.kind, step.after.iter().filter_map(place).collect())
    };
    growth.steps.iter().map(new).collect()
}

impl Growth {
    /// Whether an edge goes from old steps that may not have ended, by way of new ones, to
    /// old ones: only then the whole run must be looked at.
    pub(super) fn may_close_a_cycle(&self, by: u32) -> bool {
        let old = |on: &u32| *on < Self::NEW && *on != by;
        !self.into.is_empty() && self.steps.iter().any(|step| step.after.iter().any(old))
    }
}

/// Follows every edge from the steps that new ones lead to. Those from a step to what it added
/// are left out: nothing waits for an edge that is not there before its step has ended.
fn closes_no_cycle(work: &Work, (run, by): (RunId, u32), growth: &Growth) -> Result<(), Rejection> {
    let mut next: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for ((_, from, to), _) in work.rows.edges.range((run, 0, 0)..=(run, u32::MAX, u32::MAX)) {
        let grown_by = work.rows.steps.get(&(run, *to)).and_then(|step| step.policy.grown_by);
        if grown_by != Some(*from) {
            next.entry(*from).or_default().push(*to);
        }
    }
    for (no, step) in (Growth::NEW..).zip(&growth.steps) {
        for on in step.after.iter().filter(|on| **on != by) {
            next.entry(*on).or_default().push(no);
        }
    }
    for (place, to, _) in &growth.into {
        next.entry(Growth::NEW + place).or_default().push(*to);
    }
    let starts: BTreeSet<u32> = growth.into.iter().map(|(_, to, _)| *to).collect();
    let Some(path) = one_cycle(&next, starts) else { return Ok(()) };
    let name = |no: u32| match no.checked_sub(Growth::NEW) {
        Some(place) => growth.steps[place as usize].name.clone(),
        None => work.rows.steps[&(run, no)].name.clone(),
    };
    Err(DagError::Cycle(path.into_iter().map(name).collect()).into())
}

/// A path that comes back to where it began, among all that can be reached from `starts`. Each
/// edge is followed once.
fn one_cycle(next: &BTreeMap<u32, Vec<u32>>, starts: BTreeSet<u32>) -> Option<Vec<u32>> {
    let after = |no: u32| next.get(&no).map_or(&[][..], Vec::as_slice);
    let (mut done, mut on_path) = (BTreeSet::new(), BTreeSet::new());
    for start in starts {
        let mut path = vec![(start, 0)];
        on_path.insert(start);
        while let Some((no, at)) = path.last_mut() {
            let (from, to) = (*no, after(*no).get(*at).copied());
            *at += 1;
            match to {
                Some(to) if on_path.contains(&to) => {
                    let path = path.iter().map(|(no, _)| *no).skip_while(|no| *no != to);
                    return Some(path.chain([to]).collect());
                }
                Some(to) if !done.contains(&to) => {
                    on_path.insert(to);
                    path.push((to, 0));
                }
                Some(_) => {}
                None => {
                    path.pop();
                    on_path.remove(&from);
                    done.insert(from);
                }
            }
        }
    }
    None
}

/// Adds the steps, which were checked.
pub(super) fn apply(work: &mut Work, (run, by): (RunId, u32), growth: Growth) -> Vec<Fresh> {
    let base = work.rows.runs[&run].next_no;
    let grower = work.rows.steps[&(run, by)].name.clone();
    let code = flow::code_of(work, run);
    let owner = work.run(run);
    owner.next_no += growth.steps.len() as u32;
    owner.open_steps += growth.steps.len() as u32;
    let number = |on: u32| on.checked_sub(Growth::NEW).map_or(on, |place| base + place);
    let mut new = Vec::new();
    for (no, mut step) in (base..).zip(growth.steps) {
        step.name = name(&grower, &step);
        step.policy.grown_by = Some(by);
        let old: BTreeSet<u32> =
            step.after.iter().copied().filter(|on| *on < Growth::NEW).collect();
        step.after.iter_mut().for_each(|on| *on = number(*on));
        step.terms = step.terms.into_iter().map(|(on, terms)| (number(on), terms)).collect();
        flow::insert_step(work, (run, no), step, &code);
        let ended = old.into_iter().filter(|on| work.rows.steps[&(run, *on)].state.is_terminal());
        let ended: Vec<u32> = ended.collect();
        new.push(steps::count(work, (run, no), &ended));
    }
    for (place, to, terms) in growth.into {
        if work.rows.steps[&(run, to)].state == StepState::Pending {
            work.insert_edge((run, base + place, to), terms);
            let waited = budget::is_waiting(&work.rows.steps[&(run, to)]);
            let step = work.step(run, to);
            step.open_edges += 1;
            step.waiting_on += u32::from(step.policy.quorum == Quorum::All);
            if waited && step.waiting_on > 0 {
                // It waits for the edge again, and no longer for the budget.
                budget::waits_no_more(work, run);
            }
        }
    }
    new
}
