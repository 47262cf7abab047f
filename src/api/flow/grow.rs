//! Steps that a running step adds to its own run.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use super::{
    Draft, Shape,
    inputs::{Inputs, Items, Source, Step},
    plan::{Template, in_lane},
};
use crate::{
    api::context::Context,
    failure::Failure,
    model::{Growth, NewStep, Payload, RunSpec, Terms, Tolerance},
};

/// What a step is about to add to its run.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    shape: Arc<Shape>,
    spec: Arc<RunSpec>,
    growth: Arc<Mutex<Growth>>,
}

impl Growing {
    pub fn new(shape: Arc<Shape>, spec: Arc<RunSpec>) -> Self {
        Self { shape, spec, growth: Arc::default() }
    }

    /// The run, as it was launched.
    pub fn run(&self) -> &RunSpec {
        &self.spec
    }

    fn with<R>(&self, work: impl FnOnce(&mut Growth) -> R) -> R {
        work(&mut self.growth.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was added, if anything was.
    pub fn take(&self) -> Option<Growth> {
        let growth = self.with(std::mem::take);
        (!growth.steps.is_empty()).then_some(growth)
    }
}

/// A step that was added: it exists when the step that added it has completed.
pub struct Added<T> {
    growing: Growing,
    place: u32,
    output: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Added<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Added({})", self.place)
    }
}

impl<T> Added<T> {
    /// It starts when another step that was added has completed.
    pub fn after<U>(self, other: &Added<U>) -> Self {
        let on = Growth::NEW + other.place;
        self.growing.with(|growth| growth.steps[self.place as usize].after.push(on));
        self
    }

    /// What collects waits for it, and gets its output. Where it does not complete, what
    /// collects is skipped.
    pub fn into(self, items: &Items<T>) -> Self {
        self.lead(items, Terms::default())
    }

    /// What collects waits for its end, and gets its output where there is one.
    pub fn into_any_end(self, items: &Items<T>) -> Self {
        self.lead(items, Terms::tolerating(Tolerance::ANY))
    }

    fn lead(self, items: &Items<T>, terms: Terms) -> Self {
        if let Source::Items(no) = items.step.source {
            self.growing.with(|growth| growth.into.push((self.place, no, terms)));
        }
        self
    }
}

impl Draft {
    /// A step that adds steps to its run, and the place that they lead to. `function` is given
    /// the place, for [`Added::into`]; what takes it gets the outputs of what was led there, in
    /// the order in which it was added.
    pub fn grow<S, T, F, Fut>(
        &mut self,
        name: impl Into<String>,
        inputs: S,
        function: F,
    ) -> Items<T>
    where
        S: Inputs,
        T: 'static,
        F: Fn(Context, S::Value, Items<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let name = name.into();
        let no = self.steps.len() as u32 + 1;
        let all = Items { step: Step::new(self.id, Source::Items(no)) };
        let place = all.clone();
        let code = move |context: Context, value| function(context, value, place.clone());
        let grower = self.code(name.clone(), inputs, code);
        self.add_join(format!("{name} (all)"), &grower);
        all
    }
}

impl Context {
    /// Adds a step to the run that this step is of: it takes `input`, and starts when this
    /// step has completed. Steps are added with the completion, in one commit: an attempt that
    /// does not complete adds nothing. In the run the step's name begins with this step's.
    ///
    /// # Errors
    /// Outside a flow, with a template of another flow, and when the input has no JSON form.
    pub fn add<I: Serialize, T>(
        &self,
        template: Template<I, T>,
        name: impl Into<String>,
        input: &I,
    ) -> Result<Added<T>, Failure> {
        let step = self.template(template)?;
        let input = Payload::of(input).map_err(|error| Failure::payload("the input", &error))?;
        let growing = self.growing()?.clone();
        let step = NewStep { name: name.into(), input: Some(input), ..step };
        let place = growing.with(|growth| {
            growth.steps.push(step);
            growth.steps.len() as u32 - 1
        });
        Ok(Added { growing, place, output: PhantomData })
    }

    /// A step as a template has it, in its lane.
    pub(super) fn template<I, T>(&self, template: Template<I, T>) -> Result<NewStep, Failure> {
        let growing = self.growing()?;
        let known = growing.shape.templates.get(template.at);
        let known = known.filter(|_| growing.shape.draft == template.draft);
        let missing = || Failure::fatal("a template of another flow");
        Ok(in_lane(&known.ok_or_else(missing)?.step, &growing.spec.need()))
    }

    /// Adds steps and edges as they are.
    pub(super) fn grow(&self, growth: Growth) -> Result<(), Failure> {
        self.growing()?.with(|known| *known = growth);
        Ok(())
    }

    fn growing(&self) -> Result<&Growing, Failure> {
        self.growing.as_ref().ok_or_else(|| Failure::fatal("only a step of a flow can add steps"))
    }
}
