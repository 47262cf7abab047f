//! What a handler is given besides its input.

use std::sync::{Arc, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{builder::HostState, enqueue::NewTask, flow::Growing, memo::Memory, task::Task};
use crate::{
    engine::Job,
    failure::Failure,
    id::{RunId, TaskId},
    model::{Answer, ItemKind, ItemState, Needs, Payload, TaskSpec},
};

/// An attempt's own view of the engine.
#[derive(Clone, Debug)]
pub struct Context {
    job: Job,
    host: HostState,
    pub(super) growing: Option<Growing>,
    memory: Option<Memory>,
}

impl Context {
    pub(crate) fn new(job: Job, host: HostState) -> Self {
        Self { job, host, growing: None, memory: None }
    }

    /// The context of a step, which may add others.
    pub(crate) fn of_step(
        job: Job,
        host: HostState,
        growing: Growing,
        memory: Option<Memory>,
    ) -> Self {
        Self { job, host, growing: Some(growing), memory }
    }

    /// Where the work of the step is remembered, if it is.
    pub(super) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.job.claimed.task.id
    }

    /// What was asked for, with the host's labels and meta.
    pub fn spec(&self) -> &TaskSpec {
        &self.job.claimed.spec
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.job.claimed.task.attempt
    }

    /// The run that the task is a step of.
    pub fn run(&self) -> Option<RunId> {
        self.job.claimed.task.step.map(|(run, _)| run)
    }

    /// The state of the files that the run works on, as it was
    /// [launched with](crate::Launch::base).
    pub fn base(&self) -> Option<&str> {
        self.growing.as_ref().and_then(|growing| growing.run().base.as_deref())
    }

    /// Says what the attempt has used, for the [budget](crate::Launch::budget) of its run and
    /// the record of the attempt. What is said later replaces it; what an agent reports is
    /// said by itself.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn used<T: serde::Serialize>(&self, usage: &T) -> Result<(), Failure> {
        let usage = Payload::of(usage).map_err(|error| Failure::payload("the usage", &error))?;
        *self.job.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
        Ok(())
    }

    /// Fires when the task is to stop: it was cancelled, its time is up, or the engine shuts
    /// down. A handler that goes on regardless is dropped after a grace time.
    pub fn stop(&self) -> &CancellationToken {
        &self.job.token
    }

    /// The host's own state, as given to [`Builder::host`](crate::Builder::host).
    ///
    /// # Errors
    /// When no state of this type was given.
    pub fn host<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, Failure> {
        self.host.get().ok_or_else(|| {
            let name = std::any::type_name::<T>();
            Failure::fatal(format!("no host state of type {name}; give it to Builder::host"))
        })
    }

    /// Asks a person. The first time, the attempt ends with the error that this returns, and
    /// the task waits in the inbox, holding no worker. When someone has answered, the task
    /// runs again and gets the answer here, under the same `key`.
    ///
    /// # Errors
    /// The one that blocks the task: pass it on with `?`.
    pub async fn ask(
        &self,
        key: &str,
        question: &str,
        options: &[&str],
    ) -> Result<Answer, Failure> {
        match self.answer(key).await? {
            Some(answer) => Ok(answer),
            None => Err(Failure::ask(ItemKind::Question, key, Payload::text(question), options)),
        }
    }

    /// The latest answer to what this task asked under `key`.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn answer(&self, key: &str) -> Result<Option<Answer>, Failure> {
        let needs = Needs { items_of: [self.task()].into(), ..Needs::default() };
        let rows = self.job.core.backend.read(&needs).await?;
        let answered = |item: &&crate::model::Item| {
            item.key == key && item.state == ItemState::Answered && item.kind != ItemKind::Failure
        };
        let latest = rows.items.values().filter(answered).max_by_key(|item| item.answered_at);
        Ok(latest.and_then(|item| item.answer.clone()))
    }

    /// Enqueues a child of this task: it is cancelled with it.
    ///
    /// # Errors
    /// When the rules refuse it, or the database is away.
    pub async fn spawn(&self, task: NewTask) -> crate::Result<Task> {
        let mut spec = task.into_spec_at(&self.job.core.backend.clock())?;
        spec.parent = Some(self.task());
        spec.project.clone_from(&self.spec().project);
        super::enqueue::submit(&self.job.core, spec).await
    }
}
