//! Steps that a step adds to its own run. They come with its completion, in one commit:
//! either it completed and they exist, or neither.

use std::collections::BTreeSet;

use super::{are_texts, flow, steps, work::Work};
use crate::{
    id::RunId,
    model::{Dag, DagError, Growth, NewStep, Quorum, Rejection, Run, StepState, limits},
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
        are_texts([&step.name])?;
        fits_name(&name(&grower.name, step))?;
        let old = step.after.iter().filter(|on| **on < Growth::NEW);
        for on in old {
            is_known(work, owner, &step.name, *on)?;
        }
    }
    for (from, to, _) in &growth.into {
        let from = growth.steps.get(*from as usize);
        let from = from.ok_or_else(|| Rejection::Invalid("an edge from no new step".into()))?;
        is_known(work, owner, &from.name, *to)?;
    }
    Dag::check(&among_themselves(growth))?;
    match growth.may_close_a_cycle(by) {
        true => closes_no_cycle(work, (run, by), growth),
        false => Ok(()),
    }
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
    let new = |step: &NewStep| {
        let after = step.after.iter().filter(|on| **on >= Growth::NEW);
        let after: Vec<u32> = after.map(|on| on - Growth::NEW).collect();
        // How many of them it needs is for its edges to old steps as well.
        NewStep { name: step.name.clone(), ..NewStep::new("", step.kind, after) }
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

/// Follows every edge from the steps that new ones lead to.
fn closes_no_cycle(work: &Work, (run, by): (RunId, u32), growth: &Growth) -> Result<(), Rejection> {
    let next = |no: u32| -> Vec<u32> {
        if let Some(place) = no.checked_sub(Growth::NEW) {
            let among = growth.steps.iter().zip(Growth::NEW..);
            let new = among.filter(|(step, _)| step.after.contains(&no)).map(|(_, no)| no);
            let old = growth.into.iter().filter(|(from, ..)| *from == place).map(|(_, to, _)| *to);
            return new.chain(old).collect();
        }
        let old = work.rows.edges.range((run, no, 0)..=(run, no, u32::MAX));
        let among = growth.steps.iter().zip(Growth::NEW..);
        let new = among.filter(|(step, _)| step.after.contains(&no) && no != by);
        old.map(|((_, _, to), _)| *to).chain(new.map(|(_, no)| no)).collect()
    };
    for start in growth.into.iter().map(|(_, to, _)| *to).collect::<BTreeSet<_>>() {
        let (mut open, mut seen) = (next(start), BTreeSet::new());
        while let Some(no) = open.pop() {
            if no == start {
                let name = |no: u32| match no.checked_sub(Growth::NEW) {
                    Some(place) => growth.steps[place as usize].name.clone(),
                    None => work.rows.steps[&(run, no)].name.clone(),
                };
                return Err(DagError::Cycle(vec![name(start), name(start)]).into());
            }
            if seen.insert(no) {
                open.extend(next(no));
            }
        }
    }
    Ok(())
}

/// Adds the steps, which were checked. Returns their numbers.
pub(super) fn apply(work: &mut Work, (run, by): (RunId, u32), growth: Growth) -> Vec<u32> {
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
        step.after.iter_mut().for_each(|on| *on = number(*on));
        step.terms = step.terms.into_iter().map(|(on, terms)| (number(on), terms)).collect();
        let after = step.after.clone();
        flow::insert_step(work, (run, no), step, &code);
        let ended = after.into_iter().filter(|on| work.rows.steps[&(run, *on)].state.is_terminal());
        let ended: Vec<u32> = ended.collect();
        steps::count(work, (run, no), &ended);
        new.push(no);
    }
    for (place, to, terms) in growth.into {
        if work.rows.steps[&(run, to)].state == StepState::Pending {
            work.insert_edge((run, base + place, to), terms);
            let step = work.step(run, to);
            step.open_edges += 1;
            step.waiting_on += u32::from(step.policy.quorum == Quorum::All);
        }
    }
    new
}
