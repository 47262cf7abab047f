//! Steps that are more than a function: people, time, items of a list, runs of other flows.

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Draft, Flow,
    draft::{NewCode, code_of, done},
    inputs::{Inputs, Items, Source, Step},
    plan::Template,
    subrun,
};
use crate::{
    api::{agent::Agent, context::Context},
    engine::Working,
    failure::Failure,
    model::{
        Growth, ItemKind, NewStep, OnFailure, Payload, Policy, Quorum, StepKind, Terms, Tolerance,
    },
};

/// What a person says to what a gate shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict<T> {
    /// It is good as it is.
    Approve,
    /// It is not, for this reason.
    Reject(String),
    /// It is good like this.
    Edit(T),
}

/// What becomes of a map whose items do not all complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ItemPolicy {
    /// All must complete: what depends on the map is skipped otherwise, and the run fails.
    #[default]
    All,
    /// All must end, however they do.
    Ended,
    /// So many must complete: the first that do are enough to go on with.
    AtLeast(u32),
}

/// The name under which a gate asks.
const GATE: &str = "gate";

impl Draft {
    /// A step that a person does: what `shown` returns is put before them, and is what the
    /// step returns when they approve; what they make of it is, when they edit it. When they
    /// reject it the step fails. It waits in the inbox, holding no worker.
    pub fn gate<T>(
        &mut self,
        name: impl Into<String>,
        shown: Step<T>,
        question: impl Into<String>,
    ) -> Step<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let question: Arc<str> = question.into().into();
        let code = code_of(shown, move |context: Context, shown: T| {
            let question = Arc::clone(&question);
            async move { judged(&context, &question, shown).await }
        });
        self.add(NewCode::new(name.into(), StepKind::Gate, code), &shown)
    }

    /// A step that waits for so long once `after` has completed, holding no worker.
    pub fn timer<S: Inputs>(
        &mut self,
        name: impl Into<String>,
        after: S,
        wait: Duration,
    ) -> Step<()> {
        let delay = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let policy = Policy { delay_ms: Some(delay), ..Policy::default() };
        let code = Box::new(|_, _| -> Working { Box::pin(async { done(&()) }) });
        let step = NewCode { policy, ..NewCode::new(name.into(), StepKind::Timer, code) };
        self.add(step, &after)
    }

    /// A step that is a run of another flow, with its own steps and report. It is cancelled
    /// with this run, and fails when that run does not complete.
    pub fn flow<S, I, O>(&mut self, name: impl Into<String>, input: S, flow: &Flow<I, O>) -> Step<O>
    where
        S: Inputs<Value = I>,
        I: Serialize + Send + 'static,
        O: DeserializeOwned + 'static,
    {
        let plan = Arc::clone(&flow.plan);
        self.nested.push(Arc::clone(&plan));
        let inputs = input.clone();
        let code = Box::new(move |context: Context, given: Vec<super::inputs::Given>| {
            let input = inputs.decode(&mut given.iter());
            let plan = Arc::clone(&plan);
            let work: Working = Box::pin(async move {
                let input = Payload::of(&input?);
                let input = input.map_err(|error| Failure::payload("the run's input", &error))?;
                subrun::attend(&context, &plan, input).await
            });
            work
        });
        self.add(NewCode::new(name.into(), StepKind::Flow, code), &input)
    }

    /// A step for each item of a list that is known only when the run gets there. The items'
    /// steps run beside each other; what takes the map gets their outputs, in the order of
    /// the list.
    pub fn map<S, I, T, F, Fut>(
        &mut self,
        name: impl Into<String>,
        items: S,
        policy: ItemPolicy,
        function: F,
    ) -> Items<T>
    where
        S: Inputs<Value = Vec<I>>,
        I: Serialize + DeserializeOwned + Send + Sync + 'static,
        T: Serialize + Send + 'static,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let name = name.into();
        let code = code_of(Step::<I>::new(self.id, Source::Input), function);
        let template = self.add_template(NewCode {
            policy: item_policy(policy),
            ..NewCode::new(name.clone(), StepKind::Code, code)
        });
        self.spread(name, items, policy, template)
    }

    /// As [`map`](Draft::map), with an agent's turn for each item.
    pub fn map_agent<S, I, T, F>(
        &mut self,
        name: impl Into<String>,
        items: S,
        policy: ItemPolicy,
        agent: &Agent,
        prompt: F,
    ) -> Items<T>
    where
        S: Inputs<Value = Vec<I>>,
        I: Serialize + DeserializeOwned + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(I) -> String + Send + Sync + 'static,
    {
        let name = name.into();
        let inputs = Step::<I>::new(self.id, Source::Input);
        let code = super::draft::turn_of::<_, T, F>(inputs, agent, prompt);
        let template = self.add_template(NewCode {
            policy: item_policy(policy),
            options: agent.options(),
            agent: Some(agent.name().to_owned()),
            ..NewCode::new(name.clone(), StepKind::Agent, code)
        });
        self.spread(name, items, policy, template)
    }

    /// The two steps of a map: one adds the items' steps, the other waits for them.
    fn spread<S, I, T>(
        &mut self,
        name: String,
        items: S,
        policy: ItemPolicy,
        template: Template<I, T>,
    ) -> Items<T>
    where
        S: Inputs<Value = Vec<I>>,
        I: Serialize + Send + Sync + 'static,
        T: 'static,
    {
        let all = self.steps.len() as u32 + 1;
        let code = code_of(items.clone(), move |context: Context, items: Vec<I>| async move {
            let step = context.template(template)?;
            let terms = match policy {
                ItemPolicy::Ended => Terms::tolerating(Tolerance::ANY),
                ItemPolicy::All | ItemPolicy::AtLeast(_) => Terms::default(),
            };
            let input = |item: &I| {
                let input = Payload::of(item);
                input.map_err(|error| Failure::payload("an item", &error))
            };
            let new = |(place, item): (usize, &I)| -> Result<NewStep, Failure> {
                Ok(NewStep { name: place.to_string(), input: Some(input(item)?), ..step.clone() })
            };
            let steps = items.iter().enumerate().map(new).collect::<Result<Vec<_>, _>>()?;
            let into = (0..steps.len() as u32).map(|place| (place, all, terms.clone())).collect();
            context.grow(Growth { steps, into })?;
            Ok(items.len())
        });
        let spread: Step<usize> = self.add(NewCode::new(name.clone(), StepKind::Map, code), &items);
        let no = self.add_join(format!("{name} (all)"), &spread);
        if let ItemPolicy::AtLeast(count) = policy {
            // The step that adds the others is one more.
            let count = count.saturating_add(1);
            self.steps[no as usize].new.policy.quorum = Quorum::AtLeast(count);
        }
        Items { step: Step::new(self.id, Source::Items(no)) }
    }
}

/// What the failure of one item does to the run: nothing, where the map can do without it.
fn item_policy(policy: ItemPolicy) -> Policy {
    let on_failure = match policy {
        ItemPolicy::All => OnFailure::FailRun,
        ItemPolicy::Ended | ItemPolicy::AtLeast(_) => OnFailure::Ignore,
    };
    Policy { on_failure, ..Policy::default() }
}

/// What a person said of what a gate shows; asks them where they have not yet.
async fn judged<T>(context: &Context, question: &str, shown: T) -> Result<T, Failure>
where
    T: Serialize + DeserializeOwned,
{
    let ask = |question: &str| {
        let body = json!({ "question": question, "value": serde_json::to_value(&shown)? });
        Ok::<_, Failure>(Failure::ask(ItemKind::Review, GATE, Payload::of(&body)?, &[]))
    };
    let Some(answer) = context.answer(GATE).await? else {
        return Err(ask(question)?);
    };
    match answer.value.decode::<Verdict<T>>() {
        Ok(Verdict::Approve) => Ok(shown),
        Ok(Verdict::Edit(edited)) => Ok(edited),
        Ok(Verdict::Reject(why)) => {
            Err(Failure::fatal(format!("rejected by {}: {why}", answer.by)))
        }
        Err(error) => {
            Err(ask(&format!("{question} (the answer of {} was no verdict: {error})", answer.by))?)
        }
    }
}
