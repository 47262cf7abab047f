//! Finding what a step takes: the run's input, and the outputs of other steps.

use std::collections::{BTreeMap, BTreeSet};

use super::inputs::{Ended, Given, Source};
use crate::{
    api::run::output_of,
    engine::Core,
    failure::Failure,
    id::{RunId, TaskId},
    model::{Needs, Payload, Rows, Step},
};

/// What a step of a run takes, as its sources say. `task` is the step's own.
pub(crate) async fn find(
    core: &Core,
    (run, task): (RunId, TaskId),
    input: &Payload,
    sources: &[Source],
) -> Result<Vec<Given>, Failure> {
    let steps: BTreeSet<u32> = sources.iter().filter_map(|source| step(*source)).collect();
    let items = sources.iter().any(|source| matches!(source, Source::Items(_)));
    if !items && let Some(known) = first(core, (run, task), &steps).await? {
        let given = |source: &Source| match step(*source) {
            None => Given::Output(input.clone()),
            Some(no) => Given::Output(known[&no].clone()),
        };
        return Ok(sources.iter().map(given).collect());
    }
    let mut needs =
        Needs { steps: steps.iter().map(|no| (run, *no)).collect(), ..Needs::default() };
    if items {
        needs.graphs.insert(run);
    }
    let mut rows = core.backend.read(&needs).await?;
    let wanted = sources.iter().flat_map(|source| steps_of(&rows, run, *source));
    let attempts: BTreeSet<TaskId> = wanted.filter_map(|step| step.task).collect();
    let needs = Needs { attempts, ..Needs::default() };
    if !needs.is_empty() {
        rows.attempts = core.backend.read(&needs).await?.attempts;
    }
    let given = |source: &Source| match source {
        Source::Input => Ok(Given::Output(input.clone())),
        Source::Step(_) => {
            let step = steps_of(&rows, run, *source).into_iter().next();
            step.map(|step| of_step(&rows, step)).ok_or_else(|| missing(*source))
        }
        Source::Items(_) => {
            let steps = steps_of(&rows, run, *source).into_iter();
            Ok(Given::Many(steps.map(|step| of_step(&rows, step)).collect()))
        }
    };
    sources.iter().map(given).collect()
}

fn missing(source: Source) -> Failure {
    Failure::fatal(format!("the run has no {source:?}"))
}

fn step(source: Source) -> Option<u32> {
    match source {
        Source::Input => None,
        Source::Step(no) | Source::Items(no) => Some(no),
    }
}

/// The outputs of steps in the first attempt of a run, where all of them completed. A step
/// that is in its first attempt is of a run that was never done again, so the ids of the
/// tasks are known.
async fn first(
    core: &Core,
    (run, task): (RunId, TaskId),
    steps: &BTreeSet<u32>,
) -> Result<Option<BTreeMap<u32, Payload>>, Failure> {
    if !is_first(run, task) {
        return Ok(None);
    }
    let id = |no: u32| TaskId::of_step(run, no, 1);
    let mut known = BTreeMap::new();
    known.extend(steps.iter().filter_map(|no| Some((*no, core.known_output(id(*no))?))));
    let unknown = steps.iter().filter(|no| !known.contains_key(no)).map(|no| id(*no)).collect();
    let needs = Needs { attempts: unknown, ..Needs::default() };
    if !needs.is_empty() {
        let rows = core.backend.read(&needs).await?;
        known.extend(steps.iter().filter_map(|no| Some((*no, output_of(&rows, id(*no))?.clone()))));
    }
    Ok((known.len() == steps.len()).then_some(known))
}

/// Whether a step's task is of the first attempt of its run: derived from its number alone.
fn is_first(run: RunId, task: TaskId) -> bool {
    task.step_of(run).is_some_and(|(_, attempt)| attempt == 1)
}

/// The steps that a source means.
fn steps_of(rows: &Rows, run: RunId, source: Source) -> Vec<&Step> {
    match source {
        Source::Input => Vec::new(),
        Source::Step(no) => rows.steps.get(&(run, no)).into_iter().collect(),
        Source::Items(no) => {
            let edges = rows.edges.range((run, 0, 0)..=(run, u32::MAX, u32::MAX));
            let into = edges.filter(|((_, _, to), _)| *to == no).map(|((_, from, _), _)| *from);
            let steps = into.filter_map(|from| rows.steps.get(&(run, from)));
            steps.filter(|step| step.policy.grown_by.is_some()).collect()
        }
    }
}

fn of_step(rows: &Rows, step: &Step) -> Given {
    match step.task.and_then(|task| output_of(rows, task)) {
        Some(output) => Given::Output(output.clone()),
        None => Given::Ended(Ended { state: step.state, reason: step.reason.clone() }),
    }
}
