//! Looking at a run: why it does not move, and what is known of it.

use std::collections::BTreeSet;

use super::{
    flow::Definition,
    run::Run,
    waits::{self, RunWaiting, StepWaiting},
};
use crate::{
    error::Result,
    id::TaskId,
    model::{Cursor, Entry, Needs, Rows, Stream},
    view::{RunRecord, Sources},
};

/// How many entries are read at once.
const PAGE: u32 = 1_000;

impl<O> Run<O> {
    /// Why it has not ended: what each of its steps waits for that was released.
    ///
    /// # Errors
    /// [Not found](crate::Error::is_not_found) when there is no such run.
    pub async fn why(&self) -> Result<RunWaiting> {
        waits::of_run(self).await
    }

    /// Why the step with this name has not ended.
    ///
    /// # Errors
    /// [Not found](crate::Error::is_not_found) when there is no such run or step.
    pub async fn why_step(&self, name: &str) -> Result<StepWaiting> {
        waits::of_step(self, name).await
    }

    /// Everything that is known of it as one value, as of one moment: to be kept as JSON, or
    /// drawn. All of its outputs are in memory then.
    ///
    /// # Errors
    /// [Not found](crate::Error::is_not_found) when there is no such run.
    pub async fn record(&self) -> Result<RunRecord> {
        let rows = self.with_tasks().await?;
        let view = self.view_of(&rows)?;
        let definition: Definition = view.spec.definition.decode()?;
        Ok(RunRecord::of(Sources {
            run: &view.run,
            spec: &view.spec,
            rows: &rows,
            entries: self.entries().await?,
            returns: definition.returns,
            reports: definition.reports,
            now: self.core.backend.clock().now(),
        }))
    }

    /// Its steps and their states as a Mermaid flowchart: see [`RunRecord::mermaid`].
    ///
    /// # Errors
    /// [Not found](crate::Error::is_not_found) when there is no such run.
    pub async fn mermaid(&self) -> Result<String> {
        Ok(self.record().await?.mermaid())
    }

    /// The run with all of its steps, their tasks and attempts, as of one moment.
    async fn with_tasks(&self) -> Result<Rows> {
        let steps = self.steps().await?;
        // A step that is released before the next read has this task then.
        let task = |no, task: Option<TaskId>| task.unwrap_or(TaskId::of_step(self.id(), no));
        let ids: BTreeSet<_> = steps.iter().map(|step| task(step.no, step.task)).collect();
        self.read(Needs {
            graphs: [self.id()].into(),
            tasks: ids.clone(),
            specs: ids.clone(),
            attempts: ids,
            ..Needs::default()
        })
        .await
    }

    /// What is kept of what watchers were told.
    async fn entries(&self) -> Result<Vec<Entry>> {
        let (mut entries, mut after) = (Vec::new(), Cursor::START);
        loop {
            let page = self.core.backend.tail(Stream::Run(self.id()), after, PAGE).await;
            let page = match page {
                // What was read was pruned meanwhile: what is left is told from the start.
                Err(error) if error.is_cursor_expired() => {
                    (entries, after) = (Vec::new(), Cursor::START);
                    continue;
                }
                page => page?,
            };
            after = page.last().map_or(after, |entry| entry.cursor);
            let more = page.len() as u32 == PAGE;
            entries.extend(page);
            if !more {
                return Ok(entries);
            }
        }
    }
}
