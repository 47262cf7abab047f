//! Those who wait for a task or a run to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use tokio::sync::{Notify, oneshot};

use super::{Core, answer, lock};
use crate::{
    id::{RunId, TaskId},
    model::{Needs, Rows},
};

#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<Waiting>,
    look: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    tasks: BTreeMap<TaskId, Vec<oneshot::Sender<()>>>,
    runs: BTreeMap<RunId, Vec<oneshot::Sender<()>>>,
    /// Tasks that were not looked at since someone waits for them.
    new_tasks: BTreeSet<TaskId>,
    /// Runs that were not looked at since someone waits for them.
    new_runs: BTreeSet<RunId>,
    /// Anything may have changed elsewhere.
    all: bool,
}

impl Waiters {
    /// Resolves when the task has ended. Whoever missed the end is told at the first look.
    pub async fn task(&self, id: TaskId) {
        let ended = self.add(|waiting, reply| {
            waiting.tasks.entry(id).or_default().push(reply);
            waiting.new_tasks.insert(id);
        });
        // The sender goes only with the engine.
        let _ = ended.await;
    }

    /// Resolves when the run has ended.
    pub async fn run(&self, id: RunId) {
        let ended = self.add(|waiting, reply| {
            waiting.runs.entry(id).or_default().push(reply);
            waiting.new_runs.insert(id);
        });
        let _ = ended.await;
    }

    fn add(&self, add: impl FnOnce(&mut Waiting, oneshot::Sender<()>)) -> oneshot::Receiver<()> {
        let (reply, ended) = oneshot::channel();
        add(&mut lock(&self.waiting), reply);
        self.look.notify_one();
        ended
    }

    /// This process has just settled the task for good.
    pub fn task_ended(&self, id: TaskId) {
        let waiting = lock(&self.waiting).tasks.remove(&id);
        waiting.into_iter().flatten().for_each(answer);
    }

    /// This process has just ended the run.
    pub fn run_ended(&self, id: RunId) {
        let waiting = lock(&self.waiting).runs.remove(&id);
        waiting.into_iter().flatten().for_each(answer);
    }

    /// Something may have changed elsewhere.
    pub fn look(&self) {
        lock(&self.waiting).all = true;
        self.look.notify_one();
    }

    /// What must be read to know who can be told.
    fn needs(&self) -> Needs {
        let mut waiting = lock(&self.waiting);
        waiting.tasks.retain(|_, replies| replies.iter().any(|reply| !reply.is_closed()));
        waiting.runs.retain(|_, replies| replies.iter().any(|reply| !reply.is_closed()));
        let (tasks, runs) =
            (std::mem::take(&mut waiting.new_tasks), std::mem::take(&mut waiting.new_runs));
        match std::mem::take(&mut waiting.all) {
            true => Needs {
                tasks: waiting.tasks.keys().copied().collect(),
                runs: waiting.runs.keys().copied().collect(),
                ..Needs::default()
            },
            false => Needs { tasks, runs, ..Needs::default() },
        }
    }

    /// Tells those whose task or run has ended, or is gone.
    fn tell(&self, needs: &Needs, rows: &Rows) {
        let ended = |id: &TaskId| rows.tasks.get(id).is_none_or(|task| task.state().is_terminal());
        needs.tasks.iter().filter(|id| ended(id)).for_each(|id| self.task_ended(*id));
        let ended = |id: &RunId| rows.runs.get(id).is_none_or(|run| run.state.is_terminal());
        needs.runs.iter().filter(|id| ended(id)).for_each(|id| self.run_ended(*id));
    }
}

/// Looks on behalf of all who wait, in one read, whenever there may be news.
pub(super) async fn sweep(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = core.waiters.look.notified() => {}
            () = core.stopped.cancelled() => return,
        }
        let needs = core.waiters.needs();
        if needs.is_empty() {
            continue;
        }
        match core.backend.read(&needs).await {
            Ok(rows) => core.waiters.tell(&needs, &rows),
            Err(error) => {
                tracing::warn!(%error, "can't look for what has ended; the next look will");
                lock(&core.waiters.waiting).all = true;
            }
        }
    }
}
