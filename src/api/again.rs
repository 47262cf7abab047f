//! Doing a run again: in place, or as a run of its own from one of its steps on.

use std::sync::Arc;

use serde::Serialize;

use super::run::Run;
use crate::{
    engine::Core,
    error::Result,
    id::RunId,
    model::{Command, Payload, RetryRun, RunAttempt, RunState},
};

impl<O> Run<O> {
    /// Does it again, or some of it: it has ended, and goes on from the steps that are done
    /// again. What their earlier attempts returned stays in the history of their tasks.
    ///
    /// # Errors
    /// A refusal when it has not ended, or when there is nothing to do again.
    pub async fn retry(&self, how: RetryRun) -> Result<RunState> {
        let attempt = self.view().await?.run.attempt;
        self.command(Command::RetryRun { run: self.id(), attempt, how }).await
    }

    /// A new run that owns a copy of what this one returned before `step`, and does the step
    /// and everything that depends on it again. This run stays as it is.
    ///
    /// # Errors
    /// [Not found](crate::Error::is_not_found) when there is no such run or step.
    pub async fn fork(&self, step: &str) -> Result<Self> {
        self.fork_as(step, None).await
    }

    /// As [`fork`](Run::fork), with `input` instead of what the step would take: its one
    /// input, or an array of as many as it takes.
    ///
    /// # Errors
    /// As for `fork`, and when the input has no JSON form.
    pub async fn fork_with<I: Serialize + ?Sized>(&self, step: &str, input: &I) -> Result<Self> {
        self.fork_as(step, Some(Payload::of(input)?)).await
    }

    async fn fork_as(&self, step: &str, input: Option<Payload>) -> Result<Self> {
        let (from, no, run) = (self.id(), self.number(step).await?, RunId::new());
        self.core().submit(Command::Fork { from, no, run, input }).await?;
        Ok(Self::new(Arc::clone(self.core()), run))
    }

    /// Cancels one of its steps. What depends on the step is skipped, or goes on without it,
    /// as its edges say.
    ///
    /// # Errors
    /// [Not found](crate::Error::is_not_found) when there is no such step, a refusal when it
    /// has ended otherwise.
    pub async fn cancel_step(&self, step: &str) -> Result<RunState> {
        let no = self.number(step).await?;
        self.command(Command::CancelStep { run: self.id(), no }).await
    }

    /// The times that it was begun, the first one first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn attempts(&self) -> Result<Vec<RunAttempt>> {
        let needs = crate::model::Needs { run_attempts: [self.id()].into(), ..Default::default() };
        Ok(self.core().backend.read(&needs).await?.run_attempts.into_values().collect())
    }

    /// The number of a step by its name.
    async fn number(&self, step: &str) -> Result<u32> {
        let steps = self.steps().await?;
        let found = steps.iter().find(|known| known.name == step);
        Ok(found.ok_or_else(|| Core::missing("step", step))?.no)
    }
}
