//! Budgets: what steps reserve before they start, and what becomes of those for which
//! nothing is left. The run's row carries the sums, so whoever settles a step of it, and
//! holds its lock, decides.

use super::{inbox, settle, steps, work::Work};
use crate::{
    id::{ItemId, RunId, TaskId},
    model::{
        Ask, Event, Grant, ItemKind, OnBreach, Payload, Phase, Raise, Step, StepKind, StepState,
        Stream, Usage,
    },
};

/// Whether a step may start. One that has to wait for others stays pending; one for which
/// nothing is left fails, or asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Now,
    Later,
    Asks,
    Fails,
}

/// Agents and other runs use something; whatever else says that it does.
fn draws(step: &Step) -> bool {
    matches!(step.kind, StepKind::Agent | StepKind::Flow) || step.policy.uses.is_some()
}

/// Reserves what a step may use.
pub(super) fn reserve(work: &mut Work, run: RunId, no: u32) -> Start {
    let step = &work.rows.steps[&(run, no)];
    let Some(budget) = work.rows.runs[&run].budget.as_ref().filter(|_| draws(step)) else {
        return Start::Now;
    };
    match budget.grant(step.policy.uses.unwrap_or_default(), work.now) {
        Grant::Reserved(usage) => {
            work.step(run, no).reserved = Some(usage);
            let budget = work.budget(run);
            budget.reserved = budget.reserved.plus(usage);
            Start::Now
        }
        Grant::Wait => {
            work.budget(run).waiting += 1;
            let name = work.rows.steps[&(run, no)].name.clone();
            let reason = "others have reserved what is left of the budget".into();
            work.tell(Stream::Run(run), Event::StepWaits { no, name, reason });
            Start::Later
        }
        Grant::Breach => match budget.on_breach {
            OnBreach::Ask => Start::Asks,
            OnBreach::Fail => Start::Fails,
        },
    }
}

/// Books what an attempt of a step has used. What it had reserved shrinks by as much.
pub(super) fn book(work: &mut Work, task: TaskId, usage: Option<&Payload>) {
    let Some((run, no)) = work.rows.tasks[&task].step else { return };
    let budgeted = work.rows.runs.get(&run).is_some_and(|run| run.budget.is_some());
    let usage = usage.map(Usage::of).unwrap_or_default();
    if !budgeted || usage == Usage::default() {
        return;
    }
    let reserved = work.rows.steps.get(&(run, no)).and_then(|step| step.reserved);
    let budget = work.budget(run);
    budget.used = budget.used.plus(usage);
    if let Some(reserved) = reserved {
        let left = reserved.minus(usage);
        let budget = work.budget(run);
        budget.reserved = budget.reserved.minus(reserved).plus(left);
        work.step(run, no).reserved = Some(left);
    }
}

/// Gives back what a step that ended had reserved, and lets others that wait for it start.
/// Returns those that ended at once.
pub(super) fn give_back(work: &mut Work, run: RunId, no: u32) -> Vec<u32> {
    let reserved = work.step(run, no).reserved.take();
    if let Some(reserved) = reserved {
        let budget = work.budget(run);
        budget.reserved = budget.reserved.minus(reserved);
    }
    feed(work, run)
}

/// Lets steps start that wait for the budget, as far as it goes.
fn feed(work: &mut Work, run: RunId) -> Vec<u32> {
    let waiting = work.rows.runs[&run].budget.as_ref().map_or(0, |budget| budget.waiting);
    if waiting == 0 || work.rows.runs[&run].state.is_terminal() {
        return Vec::new();
    }
    let steps = work.rows.steps.range((run, 0)..=(run, u32::MAX)).map(|(_, step)| step);
    let hungry: Vec<u32> = steps.filter(|step| is_waiting(step)).map(|step| step.no).collect();
    let mut ended = Vec::new();
    for no in hungry {
        // One before it may have failed, and stopped the run.
        if !is_waiting(&work.rows.steps[&(run, no)]) {
            continue;
        }
        work.budget(run).waiting -= 1;
        ended.extend(steps::release(work, run, no).then_some(no));
    }
    ended
}

/// Whether a step could start but for the budget, of which a join uses nothing.
pub(super) fn is_waiting(step: &Step) -> bool {
    let pending = step.state == StepState::Pending && step.kind != StepKind::Join;
    pending && step.waiting_on == 0
}

/// One step less waits for the budget of a run that has one.
pub(super) fn waits_no_more(work: &mut Work, run: RunId) {
    if let Some(budget) = work.run(run).budget.as_mut() {
        budget.waiting = budget.waiting.saturating_sub(1);
    }
}

/// Asks a person on behalf of a step for which nothing is left: its task is there, and
/// blocked.
pub(super) fn ask(work: &mut Work, run: RunId, task: TaskId) {
    work.task(task).phase = Phase::Blocked;
    let items = work.items_of(task).into_iter();
    let asked = items.filter(|item| item.kind == ItemKind::Budget).count() as u32;
    let budget = work.rows.runs[&run].budget.clone().unwrap_or_default();
    let ask = Ask {
        id: ItemId::of_budget(task, asked),
        kind: ItemKind::Budget,
        key: "budget".into(),
        body: Payload::of(&budget).unwrap_or_else(|_| Payload::null()),
        options: Vec::new(),
    };
    inbox::open(work, task, ask);
}

/// Carries out what a person said of a budget that is used up. What is no such thing lets
/// the step ask again.
pub(super) fn raised(work: &mut Work, task: TaskId, said: &Payload) {
    let Some((run, no)) = work.rows.tasks[&task].step else { return };
    match said.decode::<Raise>() {
        Ok(Raise::Fail) => {
            settle::fail_unstarted(work, task, "its run's budget is used up".into());
            return;
        }
        Ok(Raise::By(more)) => {
            let now = work.now;
            work.budget(run).raise(more, now);
        }
        Err(_) => {}
    }
    match reserve(work, run, no) {
        Start::Now => work.make_pending(task, work.now),
        Start::Later => {
            // It holds its place in the queue, so it can't wait as those without a task do.
            work.budget(run).waiting -= 1;
            ask(work, run, task);
        }
        Start::Asks | Start::Fails => ask(work, run, task),
    }
    let ended = feed(work, run);
    steps::spread(work, run, ended);
}

/// Whether a task's run has nothing left for another attempt.
pub(super) fn is_over(work: &Work, task: TaskId) -> bool {
    let run = work.rows.tasks[&task].step.and_then(|(run, _)| work.rows.runs.get(&run));
    let budget = run.and_then(|run| run.budget.as_ref());
    budget.is_some_and(|budget| budget.is_over(work.now) || budget.is_spent())
}

/// What is left of a run's time, for the limit of a step's attempts.
pub(super) fn time_left(work: &Work, run: RunId) -> Option<u64> {
    let budget = work.rows.runs[&run].budget.as_ref()?;
    let limited = budget.until != crate::clock::Timestamp::ZERO;
    limited.then(|| budget.until.since(work.now).as_millis() as u64)
}

/// Begins a run's budget anew: what was used stays used.
pub(super) fn restart(work: &mut Work, run: RunId) {
    let now = work.now;
    if work.rows.runs[&run].budget.is_some() {
        let budget = work.budget(run);
        (budget.reserved, budget.waiting) = (Usage::default(), 0);
        budget.begin(now);
    }
}
