//! Checks on the shape of a flow, before anything of it is stored.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{NewStep, Quorum, StepKind, limits};

/// Why a set of steps is not a flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DagError {
    /// Two steps have one name.
    #[error("two steps are called `{0}`; give each its own name")]
    DuplicateName(String),
    /// A step's name is empty or too long.
    #[error("a step's name must have 1 to {max} bytes, and `{0}` has not", max = limits::NAME_BYTES)]
    BadName(String),
    /// A step's name has a slash in it.
    #[error("`{0}` has a `/` in it: only the steps that a step adds are called `its name/theirs`")]
    Slash(String),
    /// A dependency is not a step of this flow.
    #[error("step `{step}` depends on step number {on}, which this flow does not have")]
    UnknownDependency {
        /// The dependent step.
        step: String,
        /// The number it names.
        on: u32,
    },
    /// A step needs more of its dependencies than it has.
    #[error("step `{step}` needs {needs} of its dependencies, and has {has}")]
    Quorum {
        /// The step.
        step: String,
        /// How many it needs.
        needs: u32,
        /// How many it has.
        has: u32,
    },
    /// Something is asked of a step that is no dependency.
    #[error("step `{step}` asks something of step number {of}, on which it does not depend")]
    NotAnEdge {
        /// The step.
        step: String,
        /// The number it names.
        of: u32,
    },
    /// A condition on the output of a step that has none.
    #[error("step `{step}` asks for an output of `{of}`, which is a join and has none")]
    NoOutput {
        /// The step.
        step: String,
        /// The join.
        of: String,
    },
    /// A step waits for itself, by way of others.
    #[error("these steps wait for each other and would never start: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// More steps than a run may have.
    #[error("the flow has {0} steps; {max} are allowed", max = limits::STEPS)]
    TooManySteps(usize),
}

/// The check itself, for whoever builds or launches a flow.
#[derive(Clone, Copy, Debug)]
pub struct Dag;

impl Dag {
    /// Whether `steps` are a directed graph without cycles, with unique names and known
    /// dependencies.
    ///
    /// # Errors
    /// The first fault found, by name.
    pub fn check(steps: &[NewStep]) -> Result<(), DagError> {
        if steps.len() > limits::STEPS {
            return Err(DagError::TooManySteps(steps.len()));
        }
        let mut names = HashSet::with_capacity(steps.len());
        for step in steps {
            check_step(step, steps)?;
            if !names.insert(step.name.as_str()) {
                return Err(DagError::DuplicateName(step.name.clone()));
            }
        }
        match unordered(steps) {
            left if left.is_empty() => Ok(()),
            left => Err(DagError::Cycle(one_cycle(steps, &left))),
        }
    }
}

fn check_step(step: &NewStep, steps: &[NewStep]) -> Result<(), DagError> {
    let name = || step.name.clone();
    if step.name.is_empty() || step.name.len() > limits::NAME_BYTES {
        return Err(DagError::BadName(name()));
    }
    if step.name.contains('/') {
        return Err(DagError::Slash(name()));
    }
    if let Some(on) = step.after.iter().find(|on| **on as usize >= steps.len()) {
        return Err(DagError::UnknownDependency { step: name(), on: *on });
    }
    for (of, terms) in &step.terms {
        if !step.after.contains(of) {
            return Err(DagError::NotAnEdge { step: name(), of: *of });
        }
        let upstream = &steps[*of as usize];
        if terms.when.is_some() && upstream.kind == StepKind::Join {
            return Err(DagError::NoOutput { step: name(), of: upstream.name.clone() });
        }
    }
    check_quorum(step)
}

/// Whether as many of its dependencies as a step needs can be there.
pub(crate) fn check_quorum(step: &NewStep) -> Result<(), DagError> {
    let has = step.after.iter().collect::<HashSet<_>>().len() as u32;
    let needs = step.policy.quorum.of(has);
    // A join may be given more edges later, but not when nothing is left that could add them.
    let enough = needs <= has || (step.kind == StepKind::Join && has > 0);
    let some = step.policy.quorum == Quorum::All || needs > 0;
    match enough && some {
        true => Ok(()),
        false => Err(DagError::Quorum { step: step.name.clone(), needs, has }),
    }
}

/// The steps that no order can reach: each waits for another of them.
fn unordered(steps: &[NewStep]) -> HashSet<usize> {
    let mut waiting: Vec<usize> = steps.iter().map(|step| step.after.len()).collect();
    let mut dependents = vec![Vec::new(); steps.len()];
    for (no, step) in steps.iter().enumerate() {
        for on in &step.after {
            dependents[*on as usize].push(no);
        }
    }
    let mut free: Vec<usize> = (0..steps.len()).filter(|no| waiting[*no] == 0).collect();
    let mut left: HashSet<usize> = (0..steps.len()).collect();
    while let Some(no) = free.pop() {
        left.remove(&no);
        for dependent in &dependents[no] {
            waiting[*dependent] -= 1;
            if waiting[*dependent] == 0 {
                free.push(*dependent);
            }
        }
    }
    left
}

/// Walks backwards among the steps that are left until one comes up again.
fn one_cycle(steps: &[NewStep], left: &HashSet<usize>) -> Vec<String> {
    let mut path: Vec<usize> = Vec::new();
    let mut place: HashMap<usize, usize> = HashMap::new();
    let mut at = *left.iter().min().expect("only called with steps left");
    while !place.contains_key(&at) {
        place.insert(at, path.len());
        path.push(at);
        let on = steps[at].after.iter().find(|on| left.contains(&(**on as usize)));
        at = *on.expect("each step that is left waits for another of them") as usize;
    }
    let start = place[&at];
    let mut names: Vec<String> = path[start..].iter().map(|no| steps[*no].name.clone()).collect();
    names.push(steps[at].name.clone());
    names.reverse();
    names
}
