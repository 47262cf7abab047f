//! What this process can do.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Core;
use crate::{
    agents::Agent,
    failure::Failure,
    id::ChatId,
    model::{Claimed, Growth, Message, NewMessage, Payload, Recall, TurnEnd},
};

/// A boxed future that a handler returns.
pub(crate) type Working = Pin<Box<dyn Future<Output = Result<Done, Failure>> + Send>>;

/// Code that does one kind of task.
pub(crate) trait Handler: Send + Sync {
    fn handle(&self, job: Job) -> Working;
}

/// Code that says in short what was said in a chat.
pub(crate) type Summarizer =
    dyn Fn(Vec<Message>) -> BoxFuture<'static, Result<String, Failure>> + Send + Sync;

/// One attempt, as its handler gets it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub core: Arc<Core>,
    pub claimed: Arc<Claimed>,
    pub token: CancellationToken,
    /// What the attempt says that it has used so far.
    pub used: Arc<Mutex<Option<Payload>>>,
    /// How the agent's turn in it ended, once it has.
    pub ended: Arc<Mutex<Option<TurnEnd>>>,
}

/// What a handler hands in.
#[derive(Debug)]
pub(crate) struct Done {
    pub output: Payload,
    pub usage: Option<Payload>,
    pub said: Option<(ChatId, Vec<NewMessage>)>,
    pub grow: Option<Growth>,
    pub memo: Option<Recall>,
}

impl Done {
    pub fn new(output: Payload) -> Self {
        Self { output, usage: None, said: None, grow: None, memo: None }
    }
}

/// Handlers by what lanes call them: `task:NAME`, `agent:NAME`, `flow:NAME@VERSION#FINGERPRINT`.
#[derive(Default)]
pub(crate) struct Registry {
    handlers: HashMap<String, Arc<dyn Handler>>,
    flows: BTreeSet<String>,
    agents: HashMap<String, Arc<dyn Agent>>,
    /// What makes a short text of what was said.
    pub summarizer: Option<Arc<Summarizer>>,
    tags: BTreeSet<String>,
    twice: Option<String>,
}

impl Registry {
    pub fn insert(&mut self, name: String, handler: Arc<dyn Handler>) {
        if self.handlers.insert(name.clone(), handler).is_some() {
            self.twice.get_or_insert(name);
        }
    }

    /// The steps of a flow, by what their lanes call them.
    pub fn insert_flow(
        &mut self,
        label: String,
        needs: BTreeSet<String>,
        handler: Arc<dyn Handler>,
    ) {
        let handlers = needs.into_iter().map(|need| (need, Arc::clone(&handler)));
        self.handlers.extend(handlers);
        if !self.flows.insert(label.clone()) {
            self.twice.get_or_insert(label);
        }
    }

    /// A name under which two handlers were registered.
    pub fn twice(&self) -> Option<&str> {
        self.twice.as_deref()
    }

    /// An agent, for the steps of flows.
    pub fn insert_agent(&mut self, name: String, agent: Arc<dyn Agent>) {
        self.agents.insert(name, agent);
    }

    pub fn agent(&self, name: &str) -> Option<Arc<dyn Agent>> {
        self.agents.get(name).cloned()
    }

    /// The agents, by name.
    #[cfg(all(feature = "programs", target_os = "linux"))]
    pub fn agents(&self) -> impl Iterator<Item = (&str, Arc<dyn Agent>)> {
        self.agents.iter().map(|(name, agent)| (name.as_str(), Arc::clone(agent)))
    }

    /// Ends all that agents keep warm.
    pub async fn close_agents(&self) {
        for agent in self.agents.values() {
            agent.close_all().await;
        }
    }

    pub fn tag(&mut self, tag: &str) {
        self.tags.insert(format!("tag:{tag}"));
    }

    pub fn get(&self, name: &str) -> Option<Arc<dyn Handler>> {
        self.handlers.get(name).cloned()
    }

    /// The needs of lanes that can be served.
    pub fn serves(&self) -> BTreeSet<String> {
        self.handlers.keys().chain(&self.tags).cloned().collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.serves()).finish()
    }
}
