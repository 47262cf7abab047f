//! What a draft says of steps besides their inputs.

use super::{
    Draft,
    inputs::{Items, Source, Step},
    plan::Template,
};
use crate::model::{Limits, NewStep, OnFailure, Otherwise, StepKind, TaskOptions};

/// Steps that a draft can say more about: a [`Step`], those that a [`Template`] makes, or
/// those of a map's [`Items`].
pub trait Steps {
    #[doc(hidden)]
    fn place(&self) -> Place;
}

/// Where what is said of steps belongs.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub enum Place {
    /// A step, or the run's input.
    Step(u64, Source),
    /// The steps that a template makes.
    Template(u64, usize),
    /// The steps of a map.
    Items(u64, Source),
}

impl<T> Steps for Step<T> {
    fn place(&self) -> Place {
        Place::Step(self.draft, self.source)
    }
}

impl<I, T> Steps for Template<I, T> {
    fn place(&self) -> Place {
        Place::Template(self.draft, self.at)
    }
}

impl<T> Steps for &Items<T> {
    fn place(&self) -> Place {
        Place::Items(self.step.draft, self.step.source)
    }
}

impl Draft {
    /// Changes the options of steps: retry, timeout, tags, capacity keys.
    pub fn options(&mut self, steps: impl Steps, change: impl FnOnce(&mut TaskOptions)) {
        if let Some(step) = self.told(&steps, "options") {
            change(&mut step.options);
        }
    }

    /// What the failure of a step does to the run. Unless it is said, the run fails once all
    /// that does not depend on the step has ended.
    pub fn on_failure(&mut self, steps: impl Steps, effect: OnFailure) {
        if let Some(step) = self.told(&steps, "on_failure") {
            step.policy.on_failure = effect;
        }
    }

    /// What a step uses of its run's [budget](crate::Launch::budget) at most. It is reserved
    /// before the step starts; of a step that does not say, all that is left is, so that
    /// no other that draws on the budget runs beside it.
    pub fn uses(&mut self, steps: impl Steps, limits: Limits) {
        if let Some(step) = self.told(&steps, "uses") {
            step.policy.uses = Some(limits);
        }
    }

    /// What becomes of a step that can't start any more. Unless it is said, it is skipped.
    pub fn otherwise(&mut self, steps: impl Steps, end: Otherwise) {
        if let Some(step) = self.told(&steps, "otherwise") {
            step.policy.otherwise = end;
        }
    }

    /// Work that was done once is not done again: where a step of this name, in any run of
    /// this flow and project, completed with the same input, it takes what that returned. The
    /// same input is: equal values of all that it takes, an equal [base](crate::Launch::base),
    /// and of an agent the same agent, model and prompt.
    ///
    /// `number` stands for what else decides: choose another when the code changes what it
    /// returns. A step that was recalled uses nothing of a budget, says nothing in a chat, and
    /// its attempt names the task that did the work. What is remembered goes with that task
    /// when it is pruned. A run that was launched [fresh](crate::Launch::fresh), is forked, or
    /// is retried as a whole does all of its work, and is remembered for it.
    ///
    /// Only steps that are a function or an agent's turn can be remembered; what adds steps to
    /// its run is not.
    pub fn memo(&mut self, steps: impl Steps, number: u32) {
        let Some(step) = self.told(&steps, "memo") else { return };
        if !matches!(step.kind, StepKind::Code | StepKind::Agent) {
            let fault =
                format!("`{}` can't be remembered: it is no function and no turn", step.name);
            self.fault.get_or_insert(fault);
            return;
        }
        step.policy.memo = Some(number);
    }

    /// The steps to change. Those of another draft are a fault of this one.
    fn told(&mut self, steps: &impl Steps, what: &str) -> Option<&mut NewStep> {
        match steps.place() {
            Place::Step(draft, source) => {
                let no = self.own(draft, source, what)?;
                self.steps.get_mut(no as usize).map(|step| &mut step.new)
            }
            Place::Template(draft, at) => {
                if draft != self.id {
                    let fault = format!("`{what}` is said of a template of another flow");
                    self.fault.get_or_insert(fault);
                    return None;
                }
                self.templates.get_mut(at).map(|template| &mut template.step)
            }
            Place::Items(draft, source) => self.told_items(draft, source, what),
        }
    }

    /// The steps of a map: their template has its name, and the step that adds them stands
    /// before the one that collects.
    fn told_items(&mut self, draft: u64, source: Source, what: &str) -> Option<&mut NewStep> {
        let no = self.own(draft, source, what)?;
        let map = no.checked_sub(1).and_then(|no| self.steps.get(no as usize));
        let map = map.filter(|step| step.new.kind == StepKind::Map);
        let Some(name) = map.map(|step| step.new.name.clone()) else {
            let fault = format!("`{what}` is said of a collection; say it of its templates");
            self.fault.get_or_insert(fault);
            return None;
        };
        let mut templates = self.templates.iter_mut();
        templates.find(|template| template.name() == name).map(|template| &mut template.step)
    }
}
