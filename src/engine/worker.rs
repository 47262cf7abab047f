//! Attends to one attempt: its time limit, its panics, its cancellation.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::{Core, Done, Job, lock};
use crate::{
    error::panic_text,
    failure::Failure,
    model::{Claimed, Command, Decision, FaultKind, Payload, Settle, TurnState, limits},
};

/// How an attempt ended.
enum End {
    /// The handler returned.
    Returned(Result<Done, Failure>),
    /// It took longer than its limit.
    TimedOut(Duration),
    /// It was told to stop, and did not.
    Dropped,
}

/// Runs the handler of a claimed task and says what is to be handed in.
pub(super) async fn attend(job: Job) -> Command {
    let task = &job.claimed.task;
    let kind = job.claimed.spec.kind.clone();
    let span = tracing::info_span!("task", id = %task.id, kind, attempt = task.attempt);
    let end = execute(&job).instrument(span).await;
    let outcome = settle(&job, end);
    let label = match &outcome {
        Command::Settle(settle) => name(&settle.decision),
        _ => "interrupted",
    };
    metrics::counter!("segue_attempts_total", "kind" => kind, "outcome" => label).increment(1);
    outcome
}

async fn execute(job: &Job) -> End {
    let handler = match handler(&job.core, &job.claimed).await {
        Ok(handler) => handler,
        Err(failure) => return End::Returned(Err(failure)),
    };
    let work = AssertUnwindSafe(async move { handler.handle(job.clone()).await }).catch_unwind();
    tokio::pin!(work);
    let limit = job.claimed.spec.options.timeout_ms.map(Duration::from_millis);
    let limit_passed = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = &mut work => returned(result),
        () = job.token.cancelled() => {
            match timeout(job.core.settings.grace, work).await {
                Ok(result) => returned(result),
                Err(_) => End::Dropped,
            }
        }
        () = limit_passed => {
            job.token.cancel();
            // What it returns after its time is up no longer counts.
            let _ = timeout(job.core.settings.grace, work).await;
            End::TimedOut(limit.unwrap_or_default())
        }
    }
}

type Caught = Result<Result<Done, Failure>, Box<dyn std::any::Any + Send>>;

fn returned(result: Caught) -> End {
    End::Returned(result.unwrap_or_else(|panic| {
        let message = format!("panicked: {}", panic_text(&*panic));
        Err(Failure::fault(FaultKind::Panic, message, true))
    }))
}

/// The handler of a task. The lane promised that it is here.
async fn handler(core: &Arc<Core>, claimed: &Claimed) -> Result<Arc<dyn super::Handler>, Failure> {
    let spec = &claimed.spec;
    let name = match (&spec.step, &spec.agent) {
        (Some((run, _)), _) => {
            let run = core.run_spec(*run).await?;
            run.need()
        }
        (None, Some(agent)) if spec.kind == "agent" => format!("agent:{agent}"),
        _ => format!("task:{}", spec.kind),
    };
    core.registry.get(&name).ok_or_else(|| Failure::fatal(format!("no code for `{name}` here")))
}

/// The command that hands in how the attempt ended.
fn settle(job: &Job, end: End) -> Command {
    let (task, spec) = (&job.claimed.task, &job.claimed.spec);
    let stopping = job.core.stopping.is_cancelled();
    let told = job.token.is_cancelled();
    let (mut grow, mut memo) = (None, None);
    let (decision, usage, said) = match end {
        End::Returned(Ok(done)) => {
            (grow, memo) = (done.grow, done.memo);
            match too_large(&done.output) {
                Some(failure) => (failure.into_decision(), done.usage, done.said),
                None => (Decision::Complete(done.output), done.usage, done.said),
            }
        }
        End::Dropped if stopping => return interrupted(job),
        End::Returned(Err(failure)) => match failure.into_decision() {
            Decision::Fail(_) | Decision::Cancelled if stopping => return interrupted(job),
            Decision::Fail(_) if broke_off(job) => return interrupted(job),
            Decision::Fail(_) if told => (Decision::Cancelled, None, None),
            decision => (decision, None, None),
        },
        End::Dropped => (Decision::Cancelled, None, None),
        End::TimedOut(limit) => {
            let message = format!("took longer than {limit:?}");
            (Failure::fault(FaultKind::Timeout, message, true).into_decision(), None, None)
        }
    };
    let usage = usage.or_else(|| lock(&job.used).take());
    let retry = spec.options.retry.clone();
    let turn = lock(&job.ended).take();
    let held = task.clone();
    Command::Settle(Box::new(Settle { held, retry, decision, usage, said, grow, memo, turn }))
}

/// Whether an agent was gone in the middle of its turn: nobody knows what it did last.
fn broke_off(job: &Job) -> bool {
    lock(&job.ended).as_ref().is_some_and(|end| end.state == TurnState::Interrupted)
}

/// The shutdown ended the attempt, or its agent broke off: the task's policy for interruptions decides.
fn interrupted(job: &Job) -> Command {
    Command::Rescue { task: job.claimed.task.id, lease: job.claimed.task.lease }
}

fn too_large(output: &Payload) -> Option<Failure> {
    let (bytes, max) = (output.as_str().len(), limits::PAYLOAD_BYTES);
    (bytes > max).then(|| {
        let message = format!("the output has {bytes} bytes; {max} are allowed");
        Failure::fault(FaultKind::Payload, message, false)
    })
}

fn name(decision: &Decision) -> &'static str {
    match decision {
        Decision::Complete(_) => "completed",
        Decision::Fail(_) => "failed",
        Decision::Snooze(_) => "snoozed",
        Decision::Block(_) => "blocked",
        Decision::Release => "released",
        Decision::Park { .. } => "parked",
        Decision::Cancelled => "cancelled",
        Decision::Await(_) => "awaited",
    }
}
