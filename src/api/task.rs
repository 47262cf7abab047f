//! A task's handle.

use std::{future::IntoFuture, pin::Pin, sync::Arc};

use serde::de::DeserializeOwned;

use super::why::{self, Waiting};
use crate::{
    engine::Core,
    error::{Error, Result},
    id::TaskId,
    model::{Attempt, Command, Needs, Outcome, Page, Query, TaskFilter, TaskState, TaskView},
};

/// A task. Awaiting it waits for its end.
#[derive(Clone, Debug)]
pub struct Task {
    core: Arc<Core>,
    id: TaskId,
    created: bool,
}

impl Task {
    pub(crate) fn new(core: Arc<Core>, id: TaskId, created: bool) -> Self {
        Self { core, id, created }
    }

    /// Its id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the call that returned this handle made it; false where it existed before.
    pub fn created(&self) -> bool {
        self.created
    }

    /// What was asked for, where it stands, and its last attempt.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such task.
    pub async fn view(&self) -> Result<TaskView> {
        let ids = || [self.id].into();
        let needs = Needs { tasks: ids(), specs: ids(), attempts: ids(), ..Needs::default() };
        let mut rows = self.core.backend.read(&needs).await?;
        let spec = rows.specs.remove(&self.id).ok_or_else(|| Core::missing("task", self.id))?;
        let attempt = rows.attempts.into_values().next_back();
        Ok(TaskView { task: rows.tasks.remove(&self.id), spec, attempt })
    }

    /// All of its attempts, oldest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn attempts(&self) -> Result<Vec<Attempt>> {
        let needs = Needs { attempts: [self.id].into(), ..Needs::default() };
        Ok(self.core.backend.read(&needs).await?.attempts.into_values().collect())
    }

    /// Its state.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such task.
    pub async fn state(&self) -> Result<TaskState> {
        Ok(self.view().await?.state())
    }

    /// Why it is not done.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such task.
    pub async fn why(&self) -> Result<Waiting> {
        why::why(&self.core, self.id).await
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such task, [closed](Error::is_closed)
    /// when the engine shuts down first.
    pub async fn ended(&self) -> Result<TaskView> {
        loop {
            self.core.task_ended(self.id).await?;
            let view = self.view().await?;
            if view.state().is_terminal() {
                return Ok(view);
            }
        }
    }

    /// Waits until it has ended, and returns what it returned.
    ///
    /// # Errors
    /// [A task error](Error::is_task) when it failed or was cancelled,
    /// [a payload error](Error::is_payload) when its output is not a `T`.
    pub async fn output<T: DeserializeOwned>(&self) -> Result<T> {
        let view = self.ended().await?;
        let attempt = view.attempt.as_ref();
        if view.state() == TaskState::Completed
            && let Some(output) = attempt.and_then(|attempt| attempt.output.as_ref())
        {
            return Ok(output.decode()?);
        }
        let error = attempt.and_then(|attempt| attempt.error.as_deref()).unwrap_or("no output");
        let state = format!("{:?}", view.state()).to_lowercase();
        Err(Error::task(format!("task {} {state}: {error}", self.id)))
    }

    /// Cancels it and its descendants. One that runs is told to stop and is cancelled when
    /// it has.
    ///
    /// # Errors
    /// A refusal when it completed or failed already.
    pub async fn cancel(&self) -> Result<TaskState> {
        self.command(Command::Cancel(self.id)).await
    }

    /// Runs it again after it failed.
    ///
    /// # Errors
    /// A refusal when it did not fail.
    pub async fn retry(&self) -> Result<TaskState> {
        self.command(Command::Retry(self.id)).await
    }

    /// Holds it back while it is pending.
    ///
    /// # Errors
    /// A refusal when it is not pending.
    pub async fn pause(&self) -> Result<TaskState> {
        self.command(Command::Pause(self.id)).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [Not found](Error::is_not_found) when there is no such task.
    pub async fn resume(&self) -> Result<TaskState> {
        self.command(Command::Resume(self.id)).await
    }

    /// Its children, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn children(&self) -> Result<Vec<TaskView>> {
        let filter = TaskFilter { parent: Some(self.id), ..TaskFilter::default() };
        let query = Query::Tasks { filter, after: None, limit: 1_000 };
        match self.core.backend.list(&query).await? {
            Page::Tasks(tasks) => Ok(tasks),
            _ => Err(Error::database("a list of tasks was answered with another")),
        }
    }

    async fn command(&self, command: Command) -> Result<TaskState> {
        match self.core.submit(command).await? {
            Outcome::State(state) => Ok(state),
            other => Err(Error::database(format!("a task's command was answered with {other:?}"))),
        }
    }
}

impl IntoFuture for Task {
    type Output = Result<TaskView>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.ended().await })
    }
}
