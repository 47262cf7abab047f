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
    model::{Cursor, Entry, Needs, Rows, Step, StepKind, Stream},
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
        let graph = || Needs { graphs: [self.id()].into(), ..Needs::default() };
        let mut rows = self.read(graph()).await?;
        loop {
            let ids: BTreeSet<_> = rows.steps.values().filter_map(task_of).collect();
            let of_tasks = Needs {
                tasks: ids.clone(),
                specs: ids.clone(),
                attempts: ids.clone(),
                runs_under: ids.clone(),
                ..graph()
            };
            rows = self.read(of_tasks).await?;
            // Steps may have been added or begun again since the tasks were named.
            if rows.steps.values().filter_map(|step| step.task).all(|task| ids.contains(&task)) {
                return Ok(rows);
            }
        }
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

/// The task of a step; of one that was not released, the one it has if it is before the next
/// read. Joins have none.
fn task_of(step: &Step) -> Option<TaskId> {
    let next = || TaskId::of_step(step.run, step.no, step.attempt);
    step.task.or_else(|| (step.kind != StepKind::Join).then(next))
}
