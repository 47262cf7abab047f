//! Pruning, over plain rows: for backends that hold their rows in memory, and for
//! comparison.

use std::collections::BTreeSet;

use super::{Prune, Pruned, Rows, Run, Stream, Task};
use crate::id::{RunId, TaskId};

impl Rows {
    /// Removes what `prune` names. Whoever wants all of it gone calls it until it removes
    /// nothing: parents go after their children.
    pub fn prune(&mut self, prune: &Prune) -> Pruned {
        let limit = prune.limit as usize;
        let parents: BTreeSet<TaskId> =
            self.specs.values().filter_map(|spec| spec.parent).collect();
        let runs = self.old_runs(prune, &parents);
        let of_runs = self.tasks.values().filter(|task| is_of(task, &runs)).map(|task| task.id);
        let old = self.tasks.values().filter(|task| {
            let ended = task.state().is_terminal() && task.ended_at < prune.tasks_before;
            ended && task.step.is_none() && !parents.contains(&task.id)
        });
        let tasks: BTreeSet<TaskId> = old.map(|task| task.id).take(limit).chain(of_runs).collect();
        self.remove_tasks(&tasks);
        self.remove_runs(&runs);
        let entries = self.old_entries(prune);
        self.entries.retain(|key, _| !entries.contains(key));
        Pruned { tasks: tasks.len() as u64, runs: runs.len() as u64, entries: entries.len() as u64 }
    }

    /// Runs that ended before the time, unless a task that a step's task made is still kept.
    fn old_runs(&self, prune: &Prune, parents: &BTreeSet<TaskId>) -> BTreeSet<RunId> {
        let is_parent = |run: &Run| {
            let own = self.tasks.values().filter(|task| task.step.is_some_and(|of| of.0 == run.id));
            own.map(|task| task.id).any(|task| parents.contains(&task))
        };
        let is_awaited = |run: &Run| {
            let parent = run.parent.and_then(|task| self.tasks.get(&task));
            parent.is_some_and(|task| !task.state().is_terminal())
        };
        let old = self.runs.values().filter(|run| {
            let ended = run.state.is_terminal() && run.ended_at < prune.runs_before;
            ended && !is_parent(run) && !is_awaited(run)
        });
        old.map(|run| run.id).take(prune.limit as usize).collect()
    }

    fn remove_tasks(&mut self, gone: &BTreeSet<TaskId>) {
        self.tasks.retain(|id, _| !gone.contains(id));
        self.specs.retain(|id, _| !gone.contains(id));
        self.attempts.retain(|(id, _), _| !gone.contains(id));
        self.memos.retain(|_, memo| !gone.contains(&memo.task));
        self.items.retain(|_, item| !gone.contains(&item.task));
        self.unique.retain(|_, id| !gone.contains(id));
    }

    fn remove_runs(&mut self, gone: &BTreeSet<RunId>) {
        self.runs.retain(|id, _| !gone.contains(id));
        self.run_specs.retain(|id, _| !gone.contains(id));
        self.steps.retain(|(id, _), _| !gone.contains(id));
        self.edges.retain(|(id, _, _), _| !gone.contains(id));
        self.step_inputs.retain(|(id, _), _| !gone.contains(id));
        self.run_attempts.retain(|(id, _), _| !gone.contains(id));
        self.entries
            .retain(|(stream, _), _| !matches!(stream, Stream::Run(id) if gone.contains(id)));
    }

    fn old_entries(&self, prune: &Prune) -> BTreeSet<(Stream, i64)> {
        let live = |stream: &Stream| match stream {
            Stream::Run(id) => self.runs.get(id).is_some_and(|run| !run.state.is_terminal()),
            _ => false,
        };
        let old = self
            .entries
            .iter()
            .filter(|((stream, _), entry)| entry.at < prune.entries_before && !live(stream));
        old.map(|(key, _)| *key).take(prune.limit as usize).collect()
    }
}

fn is_of(task: &Task, runs: &BTreeSet<RunId>) -> bool {
    task.step.is_some_and(|(run, _)| runs.contains(&run))
}
