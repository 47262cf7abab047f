//! What a step takes of others, and how their outputs become its input.

use std::{fmt, marker::PhantomData, slice::Iter};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    model::{Condition, Payload, Quorum, StepState, Terms, Tolerance},
};

/// Where something that a step takes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Source {
    /// The run's own input.
    Input,
    /// The output of a step.
    Step(u32),
    /// The outputs of the steps that were added to lead to this one.
    Items(u32),
}

/// Something that a step takes: an edge, an output to be read, or both in turn.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub enum Link {
    /// It waits for a step.
    Edge { draft: u64, no: u32, terms: Terms },
    /// It reads an output.
    Read { draft: u64, source: Source },
}

/// What became of something that a step takes.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub enum Given {
    /// The output of a step that completed, or the run's input.
    Output(Payload),
    /// The step did not complete, or not yet.
    Ended(Ended),
    /// Those of several steps.
    Many(Vec<Given>),
}

impl Given {
    /// The value of something that must be there.
    pub(crate) fn value<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        match self {
            Self::Output(output) => {
                output.decode().map_err(|error| Failure::payload("the step's input", &error))
            }
            Self::Ended(ended) => Err(Failure::fatal(format!("a step that it depends on {ended}"))),
            Self::Many(_) => Err(Failure::fatal("many outputs where one is taken")),
        }
    }
}

/// All that a step is given as one value: what [remembered](super::Draft::memo) work is known by.
pub(super) fn value_of(given: &[Given]) -> Value {
    let one = |given: &Given| match given {
        Given::Output(output) => match output.decode::<Value>() {
            Ok(output) => json!({ "output": output }),
            Err(_) => json!({ "text": output.as_str() }),
        },
        Given::Ended(ended) => json!({ "ended": ended }),
        Given::Many(many) => json!({ "many": value_of(many) }),
    };
    given.iter().map(one).collect()
}

/// How a step ended that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Ended {
    /// Its state.
    pub state: StepState,
    /// Why.
    pub reason: Option<String>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            StepState::Failed => "failed",
            StepState::Skipped => "was skipped",
            StepState::Cancelled => "was cancelled",
            _ => "has not ended",
        };
        match &self.reason {
            Some(reason) => write!(f, "{state}: {reason}"),
            None => f.write_str(state),
        }
    }
}

impl std::error::Error for Ended {}

/// A step of a draft, or its input: the promise of a `T`. Where it is used as another step's
/// input, that is an edge.
pub struct Step<T> {
    pub(super) draft: u64,
    pub(super) source: Source,
    output: PhantomData<fn() -> T>,
}

impl<T> Clone for Step<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Step<T> {}

impl<T> fmt::Debug for Step<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl<T> Step<T> {
    pub(super) fn new(draft: u64, source: Source) -> Self {
        Self { draft, source, output: PhantomData }
    }

    /// Its output, or nothing where it failed, was skipped or was cancelled: an edge that
    /// tolerates any end.
    pub fn optional(self) -> Optional<T> {
        self.tolerating(Tolerance::ANY)
    }

    /// Its output, or nothing where it ended in one of these ways. In any other the dependent
    /// step is skipped.
    pub fn tolerating(self, ends: Tolerance) -> Optional<T> {
        Optional { step: self, tolerates: ends }
    }

    /// Its output, or how else it ended.
    pub fn result(self) -> Outcome<T> {
        Outcome { step: self }
    }

    /// Its output, if a condition on it holds. If it does not, the dependent step is skipped.
    pub fn when(self, condition: Condition) -> When<T> {
        When { step: self, condition }
    }

    fn links(&self, terms: Terms, add: &mut dyn FnMut(Link)) {
        let Self { draft, source, .. } = *self;
        if let Source::Step(no) | Source::Items(no) = source {
            add(Link::Edge { draft, no, terms });
        }
        add(Link::Read { draft, source });
    }
}

/// What a step can take: a step, an array, vector or tuple of them, or `()` for nothing.
pub trait Inputs: Clone + Send + Sync + 'static {
    /// What the step's code gets.
    type Value: Send + 'static;
    #[doc(hidden)]
    fn links(&self, add: &mut dyn FnMut(Link));
    #[doc(hidden)]
    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Self::Value, Failure>;
    #[doc(hidden)]
    fn quorum(&self) -> Option<Quorum> {
        None
    }
}

fn next<'a>(given: &mut Iter<'a, Given>) -> Result<&'a Given, Failure> {
    given.next().ok_or_else(|| Failure::fatal("fewer inputs than the step takes"))
}

impl<T: DeserializeOwned + Send + 'static> Inputs for Step<T> {
    type Value = T;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.links(Terms::default(), add);
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<T, Failure> {
        next(given)?.value()
    }
}

/// A step whose output may be missing: see [`Step::optional`].
pub struct Optional<T> {
    step: Step<T>,
    tolerates: Tolerance,
}

/// A step with whatever end it came to: see [`Step::result`].
pub struct Outcome<T> {
    step: Step<T>,
}

/// A step whose output must be of a kind: see [`Step::when`].
pub struct When<T> {
    step: Step<T>,
    condition: Condition,
}

/// Some of several steps: see [`any`] and [`at_least`].
pub struct SomeOf<T> {
    steps: Vec<Step<T>>,
    quorum: Quorum,
}

/// The first of several steps that completes is enough. Of the others there may be outputs,
/// or none.
pub fn any<T>(steps: impl IntoIterator<Item = Step<T>>) -> SomeOf<T> {
    SomeOf { steps: steps.into_iter().collect(), quorum: Quorum::Any }
}

/// So many of several steps are enough. Of the others there may be outputs, or none.
pub fn at_least<T>(count: u32, steps: impl IntoIterator<Item = Step<T>>) -> SomeOf<T> {
    SomeOf { steps: steps.into_iter().collect(), quorum: Quorum::AtLeast(count) }
}

macro_rules! plain_handles {
    ($($name:ident { $($field:ident),+ })+) => {$(
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone()),+ }
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))+.finish()
            }
        }
    )+};
}
plain_handles! {
    Optional { step, tolerates }
    Outcome { step }
    When { step, condition }
    SomeOf { steps, quorum }
}

impl<T: DeserializeOwned + Send + 'static> Inputs for Optional<T> {
    type Value = Option<T>;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.step.links(Terms::tolerating(self.tolerates), add);
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Option<T>, Failure> {
        maybe(next(given)?)
    }
}

/// The value of something that need not be there.
fn maybe<T: DeserializeOwned>(given: &Given) -> Result<Option<T>, Failure> {
    match given {
        Given::Ended(_) => Ok(None),
        given => given.value().map(Some),
    }
}

/// The value of something, or why there is none.
fn either<T: DeserializeOwned>(given: &Given) -> Result<Result<T, Ended>, Failure> {
    match given {
        Given::Ended(ended) => Ok(Err(ended.clone())),
        given => given.value().map(Ok),
    }
}

impl<T: DeserializeOwned + Send + 'static> Inputs for Outcome<T> {
    type Value = Result<T, Ended>;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.step.links(Terms::tolerating(Tolerance::ANY), add);
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Self::Value, Failure> {
        either(next(given)?)
    }
}

impl<T: DeserializeOwned + Send + 'static> Inputs for When<T> {
    type Value = T;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        let when = Some(self.condition.clone());
        self.step.links(Terms { when, ..Terms::default() }, add);
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<T, Failure> {
        next(given)?.value()
    }
}

impl<T: DeserializeOwned + Send + 'static> Inputs for SomeOf<T> {
    type Value = Vec<Option<T>>;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.steps.iter().for_each(|step| step.links(Terms::default(), add));
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Self::Value, Failure> {
        self.steps.iter().map(|_| maybe(next(given)?)).collect()
    }

    fn quorum(&self) -> Option<Quorum> {
        Some(self.quorum)
    }
}

/// Inputs behind a join: what takes it waits for the join, and reads what led there.
#[derive(Clone, Debug)]
pub struct Joined<S> {
    pub(super) draft: u64,
    pub(super) no: u32,
    pub(super) inputs: S,
}

impl<S: Inputs> Inputs for Joined<S> {
    type Value = S::Value;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        let Self { draft, no, .. } = *self;
        add(Link::Edge { draft, no, terms: Terms::default() });
        self.inputs.links(&mut |link| {
            if matches!(link, Link::Read { .. }) {
                add(link);
            }
        });
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<S::Value, Failure> {
        self.inputs.decode(given)
    }
}

/// The outputs of steps that a run is given while it goes on: one for each item of a map, or
/// whatever led to a [collection](super::Draft::collect).
pub struct Items<T> {
    pub(super) step: Step<T>,
}

impl<T> Items<T> {
    /// What became of each, in the order in which they were added.
    pub fn results(self) -> ItemResults<T> {
        ItemResults { step: self.step }
    }
}

/// What became of each of several items: see [`Items::results`].
pub struct ItemResults<T> {
    step: Step<T>,
}

plain_handles! {
    Items { step }
    ItemResults { step }
}

fn many(given: &Given) -> Result<&[Given], Failure> {
    match given {
        Given::Many(many) => Ok(many),
        _ => Err(Failure::fatal("one output where many are taken")),
    }
}

impl<T: DeserializeOwned + Send + 'static> Inputs for Items<T> {
    type Value = Vec<T>;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.step.links(Terms::default(), add);
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Vec<T>, Failure> {
        let completed = |given: &&Given| !matches!(given, Given::Ended(_));
        many(next(given)?)?.iter().filter(completed).map(Given::value).collect()
    }
}

impl<T: DeserializeOwned + Send + 'static> Inputs for ItemResults<T> {
    type Value = Vec<Result<T, Ended>>;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.step.links(Terms::default(), add);
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Self::Value, Failure> {
        many(next(given)?)?.iter().map(either).collect()
    }
}

impl<S: Inputs> Inputs for Vec<S> {
    type Value = Vec<S::Value>;

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.iter().for_each(|step| step.links(add));
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Self::Value, Failure> {
        self.iter().map(|step| step.decode(given)).collect()
    }

    fn quorum(&self) -> Option<Quorum> {
        self.iter().find_map(S::quorum)
    }
}

impl<S: Inputs, const N: usize> Inputs for [S; N] {
    type Value = [S::Value; N];

    fn links(&self, add: &mut dyn FnMut(Link)) {
        self.iter().for_each(|step| step.links(add));
    }

    fn decode(&self, given: &mut Iter<'_, Given>) -> Result<Self::Value, Failure> {
        let values: Vec<_> =
            self.iter().map(|step| step.decode(given)).collect::<Result<_, _>>()?;
        Ok(values.try_into().unwrap_or_else(|_| unreachable!("as many values as steps")))
    }

    fn quorum(&self) -> Option<Quorum> {
        self.iter().find_map(S::quorum)
    }
}

macro_rules! tuples {
    ($( ($($name:ident $at:tt),*) )+) => {$(
        impl<$($name: Inputs),*> Inputs for ($($name,)*) {
            type Value = ($($name::Value,)*);

            fn links(&self, _add: &mut dyn FnMut(Link)) {
                $( self.$at.links(_add); )*
            }

            #[allow(clippy::unused_unit, reason = "the empty tuple")]
            fn decode(&self, _given: &mut Iter<'_, Given>) -> Result<Self::Value, Failure> {
                Ok(($( self.$at.decode(_given)?, )*))
            }

            fn quorum(&self) -> Option<Quorum> {
                None$( .or_else(|| self.$at.quorum()) )*
            }
        }
    )+};
}
tuples! {
    () (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}
