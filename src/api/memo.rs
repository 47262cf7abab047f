//! Taking what was returned before, instead of doing the same work again.

use std::future::Future;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::context::Context;
use crate::{
    engine::{Core, Done},
    failure::Failure,
    id::{RunId, TaskId},
    model::{MemoKey, Needs, Payload, Recall, RunFlags, RunSpec},
};

/// What the work of a step is, but for what it is given.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    run: RunId,
    known: Sha256,
}

impl Memory {
    /// Of the code with this name and number. What may differ between the runs of a flow is
    /// part of the work; the flow's version is not, so that the work outlives it.
    pub fn of(spec: &RunSpec, code: &str, number: u32) -> Self {
        let known = json!([1, spec.project, spec.flow, code, number, spec.base]);
        Self { run: spec.id, known: Sha256::new_with_prefix(known.to_string()) }
    }

    fn key(&self, given: &Value) -> MemoKey {
        MemoKey::new(self.known.clone().chain_update(given.to_string()).finalize().into())
    }

    /// What the work returned before, and the task that did it.
    async fn recall(
        &self,
        core: &Core,
        key: MemoKey,
    ) -> Result<Option<(TaskId, Payload)>, Failure> {
        let needs = Needs { runs: [self.run].into(), memos: [key].into(), ..Needs::default() };
        let rows = core.backend.read(&needs).await?;
        let fresh = rows.runs.get(&self.run).is_some_and(|run| run.flags.has(RunFlags::FRESH));
        let Some(memo) = rows.memos.get(&key).filter(|_| !fresh) else { return Ok(None) };
        let needs = Needs { attempts: [memo.task].into(), ..Needs::default() };
        let mut attempts = core.backend.read(&needs).await?.attempts;
        let attempt = attempts.remove(&(memo.task, memo.lease));
        Ok(attempt.and_then(|attempt| attempt.output).map(|output| (memo.task, output)))
    }
}

/// Does the work, or takes what it returned before where the step is told to remember it.
/// `given` is all that decides what comes out, besides the code.
pub(super) async fn once(
    context: &Context,
    given: impl FnOnce() -> Value,
    work: impl Future<Output = Result<Done, Failure>>,
) -> Result<Done, Failure> {
    let Some(memory) = context.memory() else { return work.await };
    let mut given = given();
    given.sort_all_objects();
    let key = memory.key(&given);
    let (done, from) = match memory.recall(&context.job().core, key).await? {
        Some((task, output)) => (Done::new(output), Some(task)),
        None => (work.await?, None),
    };
    Ok(Done { memo: Some(Recall { key, from }), ..done })
}
