//! Which agent does a step, and how a turn becomes a task's result.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{context::Context, memo};
use crate::{
    agents::{self, Answer, Block, Listener, Outcome, Reply, Request, Turn, Update},
    engine::{Done, Handler, Job},
    failure::Failure,
    id::{ChatId, MessageId},
    model::{
        Access, Chat, Command, Message, NewMessage, Page, Payload, Query, Retry, Role, TaskOptions,
        TaskSpec,
    },
};

/// A recipe: which agent, and how it may work. The agent itself is registered under its name
/// with [`Builder::agent`](crate::Builder::agent).
#[derive(Clone, Debug)]
pub struct Agent {
    name: String,
    model: Option<String>,
    options: TaskOptions,
}

impl Agent {
    /// The agent that is registered under this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), model: None, options: TaskOptions::default() }
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

    /// The options of its tasks: they hold the capacity keys of the agent and its model.
    pub(crate) fn options(&self) -> TaskOptions {
        let mut options = self.options.clone();
        options.capacity.push(format!("agent:{}", self.name));
        options.capacity.extend(self.model.as_ref().map(|model| format!("model:{model}")));
        options
    }
}

/// Takes the turn of an agent step, whose value must be a `T`.
pub(crate) async fn turn<T: Serialize + DeserializeOwned>(
    context: &Context,
    recipe: &Agent,
    prompt: String,
) -> Result<Done, Failure> {
    let registry = &context.job().core.registry;
    let handler = registry.agent(&recipe.name);
    let handler =
        handler.ok_or_else(|| Failure::fatal(format!("no agent `{}` here", recipe.name)))?;
    let model = match (&recipe.model, context.run()) {
        (None, Some(run)) => context.job().core.run_spec(run).await?.model.clone(),
        (model, _) => model.clone(),
    };
    let recipe = recipe_of(context.spec(), &recipe.name, model.as_deref());
    let given = json!([recipe, prompt]);
    let work = async {
        let done = speak(context.job(), &*handler, model, prompt).await?;
        Ok(Done { output: typed::<T>(&done.output)?, ..done })
    };
    memo::once(context, || given, work).await
}

/// What decides what an agent makes of a prompt.
fn recipe_of(spec: &TaskSpec, agent: &str, model: Option<&str>) -> Value {
    let model = model.or(spec.model.as_deref());
    json!([agent, model, spec.mode, spec.thinking, spec.options.access])
}

/// The reply as a `T`: as it is, or its words read as JSON.
fn typed<T: Serialize + DeserializeOwned>(output: &Payload) -> Result<Payload, Failure> {
    let value = output.decode::<T>().or_else(|error| {
        let words = output.decode::<String>().map_err(|_| error)?;
        serde_json::from_str(&words)
    });
    let again = value.and_then(|value| Payload::of(&value));
    again
        .map_err(|error| Failure::payload("the agent's reply is not what the step returns", &error))
}

/// Writes the prompt down, lets the agent answer, and hands in both.
async fn speak(
    job: &Job,
    agent: &dyn agents::Agent,
    model: Option<String>,
    prompt: String,
) -> Result<Done, Failure> {
    let spec = &job.claimed.spec;
    let (chat, history) = write_down(job, &prompt).await?;
    let mut turn = Turn::new(chat, spec.clone(), vec![Block::Text { text: prompt }]);
    turn.history = history;
    turn.model = model.or(turn.model);
    turn.stop = job.token.clone();
    let reply = answered(agent.turn(turn, &Unheard).await)?;
    let message = NewMessage {
        id: MessageId::new(),
        role: Role::Assistant,
        content: Payload::text(&reply.text),
        task: Some(spec.id),
    };
    let said = Some((chat, vec![message]));
    let output = reply.output();
    Ok(Done { usage: reply.usage, said, ..Done::new(output) })
}

/// What a turn returns to its task.
fn answered(outcome: Outcome) -> Result<Reply, Failure> {
    match outcome {
        Outcome::Completed(reply) => Ok(reply),
        Outcome::Cancelled => Err(Failure::cancelled()),
        Outcome::Failed(failure) => Err(failure),
        Outcome::Refused { message } => Err(Failure::fatal(format!("it refused: {message}"))),
        Outcome::LimitReached { limit } => Err(Failure::fatal(format!("it reached {limit}"))),
        Outcome::RateLimited { message, .. }
        | Outcome::SessionLost { message }
        | Outcome::Crashed { message }
        | Outcome::Interrupted { message } => Err(Failure::new(message)),
    }
}

/// Hears nothing.
struct Unheard;

#[async_trait]
impl Listener for Unheard {
    async fn tell(&self, _: Update) {}

    async fn session(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn prompting(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ask(&self, _: Request) -> Answer {
        Answer::Cancelled
    }
}

/// Appends the prompt to the task's chat before anyone acts on it. Returns what was said
/// there before.
async fn write_down(job: &Job, prompt: &str) -> Result<(ChatId, Vec<Message>), Failure> {
    let spec = &job.claimed.spec;
    let chat = spec.chat.unwrap_or(ChatId::of_task(spec.id));
    if spec.chat.is_none() {
        job.core.submit(Command::OpenChat(own_chat(job, chat))).await?;
    }
    let id = MessageId::of_prompt(spec.id);
    let content = Payload::text(prompt);
    let message = NewMessage { id, role: Role::User, content, task: Some(spec.id) };
    job.core.submit(Command::Append { chat, messages: vec![message] }).await?;
    let query = Query::Messages { chat, after: 0, limit: 10_000 };
    let Page::Messages(mut history) = job.core.backend.list(&query).await? else {
        return Err(Failure::fatal("the backend answered a list of messages with another"));
    };
    history.retain(|message| message.id != id);
    Ok((chat, history))
}

/// The chat of a task that another program inserted without one.
fn own_chat(job: &Job, id: ChatId) -> Chat {
    let spec = &job.claimed.spec;
    Chat {
        id,
        project: spec.project.clone(),
        session: spec.session,
        title: String::new(),
        meta: None,
        next_seq: 1,
        created_at: crate::clock::Timestamp::ZERO,
    }
}

/// Gives tasks of kind `agent` to an agent. Their input is the prompt.
pub(crate) struct AgentHandler(pub Arc<dyn agents::Agent>);

impl Handler for AgentHandler {
    fn handle(&self, job: Job) -> crate::engine::Working {
        let agent = Arc::clone(&self.0);
        Box::pin(async move {
            let input = &job.claimed.spec.input;
            let prompt = input.decode().unwrap_or_else(|_| input.as_str().to_owned());
            speak(&job, &*agent, None, prompt).await
        })
    }
}
