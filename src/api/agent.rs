//! Which agent does a step, and how a turn becomes a task's result.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{context::Context, memo};
use crate::{
    agents,
    engine::{Done, Handler, Job, Prompt, json_in, take},
    failure::Failure,
    model::{Access, HandOff, Payload, Retry, TaskOptions, TaskSpec},
};

/// A recipe: which agent, and how it may work. The agent itself is registered under its name
/// with [`Builder::agent`](crate::Builder::agent).
#[derive(Clone, Debug)]
pub struct Agent {
    name: String,
    model: Option<String>,
    options: TaskOptions,
    /// What is wrong with it.
    fault: Option<String>,
}

impl Agent {
    /// The agent that is registered under this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), model: None, options: TaskOptions::default(), fault: None }
    }

    /// The folder that it works in: absolute.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<String>) -> Self {
        self.options.folder = Some(folder.into());
        self
    }

    /// It may only read.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.options.access = Access::ReadOnly;
        self
    }

    /// The model to use.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// What it is told of what was said in its chat without it.
    #[must_use]
    pub fn hand_off(mut self, hand_off: HandOff) -> Self {
        self.options.hand_off = hand_off;
        self
    }

    /// The JSON schema that its answer must satisfy. The agent is told of it, and asked once more
    /// where its answer does not. One that is none is a fault of the flow.
    ///
    /// A type that derives `schemars::JsonSchema` has one: `schemars::schema_for!(Findings)`.
    #[cfg(feature = "json-schema")]
    #[must_use]
    pub fn schema<S: Serialize + ?Sized>(mut self, schema: &S) -> Self {
        match Payload::of(schema) {
            Ok(schema) => {
                self.fault = crate::engine::check_schema(&schema).err();
                self.options.schema = Some(schema);
            }
            Err(error) => self.fault = Some(error.to_string()),
        }
        self
    }

    /// When a failed turn is taken again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = retry;
        self
    }

    /// How long a turn may take.
    #[must_use]
    pub fn timeout(mut self, limit: std::time::Duration) -> Self {
        self.options.timeout_ms = Some(limit.as_millis() as u64);
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Why no flow can use it, if none can.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The options of its tasks: they hold the capacity keys of the agent and its model.
    pub(crate) fn options(&self) -> TaskOptions {
        let mut options = self.options.clone();
        options.capacity.push(format!("agent:{}", self.name));
        options.capacity.extend(self.model.as_ref().map(|model| format!("model:{model}")));
        options
    }
}

/// Takes the turn of an agent step, whose value must be a `T`. An answer that is none is sent back
/// once.
pub(crate) async fn turn<T: Serialize + DeserializeOwned>(
    context: &Context,
    recipe: &Agent,
    prompt: String,
) -> Result<Done, Failure> {
    let registry = &context.job().core.registry;
    let agent = registry.agent(&recipe.name);
    let agent = agent.ok_or_else(|| Failure::fatal(format!("no agent `{}` here", recipe.name)))?;
    let model = match (&recipe.model, context.run()) {
        (None, Some(run)) => context.job().core.run_spec(run).await?.model.clone(),
        (model, _) => model.clone(),
    };
    let known = recipe_of(context.spec(), &recipe.name, model.as_deref());
    let given = json!([known, prompt]);
    let ask = Prompt {
        agent: recipe.name.clone(),
        model,
        content: Payload::text(&prompt),
        check: typed::<T>,
    };
    memo::once(context, || given, Box::pin(take(context.job(), &agent, &ask))).await
}

/// What decides what an agent makes of a prompt.
fn recipe_of(spec: &TaskSpec, agent: &str, model: Option<&str>) -> Value {
    let model = model.or(spec.model.as_deref());
    json!([agent, model, spec.mode, spec.thinking, spec.options.access, spec.options.schema])
}

/// The reply as a `T`: as it is, or the JSON in its words.
fn typed<T: Serialize + DeserializeOwned>(output: &Payload) -> serde_json::Result<Payload> {
    let value = output.decode::<T>().or_else(|error| {
        let words = output.decode::<String>().map_err(|_| error)?;
        match json_in(&words) {
            Some(value) => serde_json::from_value(value),
            None => serde_json::from_str(&words),
        }
    });
    value.and_then(|value| Payload::of(&value))
}

/// Gives tasks of kind `agent` to an agent. Their input is the prompt: a string, or content blocks.
pub(crate) struct AgentHandler {
    pub name: String,
    pub agent: Arc<dyn agents::Agent>,
}

impl Handler for AgentHandler {
    fn handle(&self, job: Job) -> crate::engine::Working {
        let agent = Arc::clone(&self.agent);
        let ask = Prompt {
            agent: self.name.clone(),
            model: None,
            content: job.claimed.spec.input.clone(),
            check: |output| Ok(output.clone()),
        };
        Box::pin(async move { take(&job, &agent, &ask).await })
    }
}
