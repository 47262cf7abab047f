//! Clauses on runs.

use super::kit::{Kit, done, fault, new_run, new_step, run, settle, settle_retrying};
use crate::model::{
    Command, DagError, Event, Outcome, Phase, Rejection, Retry, RunState, StepState, Stream, Task,
};

/// Claims all that is ready, and gives the task of step number `no`.
fn of(tasks: &[Task], no: u32) -> &Task {
    let task = tasks.iter().find(|task| task.step.is_some_and(|(_, step)| step == no));
    task.expect("the step's task was claimed")
}

pub(super) async fn a_launched_run_is_stored_once(kit: Kit) {
    let new = run(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])]);
    let id = new.spec.id;
    let receipt = kit.twice(Command::Launch(Box::new(new.clone()))).await;
    assert_eq!(receipt, Ok(Outcome::Run { id, created: true }));
    let rows = kit.rows().await;
    let spec = crate::model::RunSpec { created_at: kit.now(), ..new.spec.clone() };
    assert_eq!(rows.run_specs[&id], spec);
    assert_eq!((rows.runs[&id].open_steps, rows.runs[&id].state), (3, RunState::Running));
    let edges: Vec<_> = rows.edges.keys().map(|(_, from, to)| (*from, *to)).collect();
    assert_eq!(edges, [(0, 1), (0, 2), (1, 2)]);
    let waiting: Vec<_> = rows.steps.values().map(|step| step.waiting_on).collect();
    assert_eq!(waiting, [0, 1, 2]);
    assert_eq!(kit.steps(id).await, "a=Running b=Pending c=Pending");
    assert_eq!(rows.tasks.len(), 1, "only a step that can start has a task");
    kit.complete(&kit.claim_one().await).await;
    let before = kit.rows().await;
    let again = kit.done(Command::Launch(Box::new(new))).await;
    assert_eq!(again, Outcome::Run { id, created: false });
    assert_eq!(before, kit.rows().await, "it goes on from where it was");
}

pub(super) async fn a_join_is_released_when_all_have_completed(kit: Kit) {
    let id = kit.launch(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]).await;
    kit.complete(&kit.claim_one().await).await;
    let both = kit.claim(5).await;
    assert_eq!(both.len(), 2);
    kit.complete(of(&both, 2)).await;
    assert_eq!(kit.steps(id).await, "a=Completed b=Running c=Completed d=Pending");
    assert!(kit.twice(settle(of(&both, 1), done())).await.is_ok());
    let last = kit.claim_one().await;
    kit.complete(&last).await;
    let rows = kit.rows().await;
    assert_eq!(rows.runs[&id].state, RunState::Completed);
    assert_eq!(rows.runs[&id].ended_at, kit.now());
    let ends = rows.entries.values().flat_map(|entry| &entry.events);
    let ends = ends.filter(|event| matches!(event, Event::RunEnded { .. }));
    assert_eq!(ends.count(), 1, "a run ends once");
}

pub(super) async fn two_ends_in_one_commit_release_a_join_once(kit: Kit) {
    let id = kit.launch(&[("a", &[]), ("b", &[]), ("c", &["a", "b"])]).await;
    let both = kit.claim(5).await;
    let ends = || vec![settle(&both[0], done()), settle(&both[1], done())];
    assert!(kit.commit(ends()).await.iter().all(Result::is_ok));
    let before = kit.rows().await;
    assert!(kit.commit(ends()).await.iter().all(Result::is_ok));
    assert_eq!(before, kit.rows().await);
    assert_eq!(kit.steps(id).await, "a=Completed b=Completed c=Running");
    kit.complete(&kit.claim_one().await).await;
}

pub(super) async fn a_failure_skips_all_that_depends_on_it(kit: Kit) {
    let id =
        kit.launch(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &[]), ("e", &["c", "d"])]);
    let id = id.await;
    let both = kit.claim(5).await;
    kit.done(settle(of(&both, 0), fault())).await;
    assert_eq!(kit.steps(id).await, "a=Failed b=Skipped c=Skipped d=Running e=Skipped");
    let rows = kit.rows().await;
    let reason = rows.steps[&(id, 1)].reason.as_deref();
    assert_eq!(reason, Some("`a`, which it depends on, failed"));
    assert_eq!(rows.runs[&id].state, RunState::Running, "what can run goes on");
    kit.complete(of(&both, 3)).await;
    assert_eq!(kit.rows().await.runs[&id].state, RunState::Failed);
}

pub(super) async fn cancelling_a_run_stops_what_runs_and_drops_the_rest(kit: Kit) {
    let id = kit.launch(&[("a", &[]), ("b", &[]), ("c", &["a"])]).await;
    let task = kit.claim(1).await.remove(0);
    assert!(kit.twice(Command::CancelRun(id)).await.is_ok());
    assert_eq!(kit.steps(id).await, "a=Running b=Cancelled c=Cancelled");
    assert_eq!(
        kit.rows().await.runs[&id].state,
        RunState::Running,
        "its last step has not stopped"
    );
    assert!(kit.claim(5).await.is_empty());
    kit.done(settle(&task, crate::model::Decision::Cancelled)).await;
    assert_eq!(kit.rows().await.runs[&id].state, RunState::Cancelled);
    let cancelled = kit.twice(Command::CancelRun(id)).await;
    assert_eq!(cancelled, Ok(Outcome::RunState(RunState::Cancelled)));
    let ended = kit.launch(&[]).await;
    let refused = kit.refused(Command::CancelRun(ended)).await;
    assert_eq!(refused, Rejection::RunEnded(RunState::Completed));
}

pub(super) async fn a_paused_run_starts_nothing(kit: Kit) {
    let id = kit.launch(&[("a", &[]), ("b", &[]), ("c", &["a"])]).await;
    let task = kit.claim(1).await.remove(0);
    assert!(kit.twice(Command::PauseRun(id)).await.is_ok());
    kit.complete(&task).await;
    assert!(kit.claim(5).await.is_empty(), "neither what waited nor what was released since");
    assert_eq!(kit.steps(id).await, "a=Completed b=Running c=Running");
    assert!(kit.twice(Command::ResumeRun(id)).await.is_ok());
    let rest = kit.claim(5).await;
    assert_eq!(rest.len(), 2);
    kit.complete(&rest[0]).await;
    kit.complete(&rest[1]).await;
    let refused = kit.refused(Command::PauseRun(id)).await;
    assert_eq!(refused, Rejection::RunEnded(RunState::Completed));
}

pub(super) async fn a_retried_step_keeps_its_run_going(kit: Kit) {
    let id = kit.launch(&[("a", &[]), ("b", &["a"])]).await;
    let task = kit.claim_one().await;
    kit.done(settle_retrying(&task, Retry::every(2, std::time::Duration::ZERO), fault())).await;
    assert_eq!(kit.steps(id).await, "a=Running b=Pending");
    let task = kit.claim_one().await;
    kit.done(Command::Rescue { task: task.id, lease: task.lease }).await;
    let task = kit.claim_one().await;
    assert_eq!((task.attempt, task.lease), (3, 3));
    kit.complete(&task).await;
    assert_eq!(kit.steps(id).await, "a=Completed b=Running");
    let refused = kit.refused(Command::Retry(task.id)).await;
    assert!(matches!(refused, Rejection::PartOfRun { .. }), "{refused}");
}

pub(super) async fn a_run_without_steps_is_complete(kit: Kit) {
    let id = kit.launch(&[]).await;
    assert_eq!(kit.rows().await.runs[&id].state, RunState::Completed);
}

pub(super) async fn steps_that_are_no_flow_are_refused(kit: Kit) {
    let cycle = new_run(vec![new_step("a", vec![1]), new_step("b", vec![0])]);
    let twice = new_run(vec![new_step("a", vec![]), new_step("a", vec![])]);
    let unknown = new_run(vec![new_step("a", vec![7])]);
    let mut found = Vec::new();
    for run in [cycle, twice, unknown] {
        match kit.refused(Command::Launch(Box::new(run))).await {
            Rejection::Dag(error) => found.push(error),
            other => panic!("{other}"),
        }
    }
    assert!(matches!(found[0], DagError::Cycle(_)));
    assert!(matches!(found[1], DagError::DuplicateName(_)));
    assert!(matches!(found[2], DagError::UnknownDependency { on: 7, .. }));
}

pub(super) async fn a_wide_run_is_joined(kit: Kit) {
    const WIDTH: u32 = 300;
    let mut steps: Vec<_> = (0..WIDTH).map(|no| new_step(&format!("s{no}"), vec![])).collect();
    steps.push(new_step("join", (0..WIDTH).collect()));
    kit.done(Command::Launch(Box::new(new_run(steps)))).await;
    let wide = kit.claim(WIDTH + 10).await;
    assert_eq!(wide.len(), WIDTH as usize);
    for part in wide.chunks(40) {
        let ends = part.iter().map(|task| settle(task, done())).collect();
        assert!(kit.commit(ends).await.iter().all(Result::is_ok));
    }
    let join = kit.claim_one().await;
    assert_eq!(join.step.map(|(_, no)| no), Some(WIDTH));
    kit.complete(&join).await;
}

pub(super) async fn a_skip_travels_through_10_000_levels(kit: Kit) {
    const DEPTH: u32 = 10_000;
    let after = |no: u32| if no == 0 { vec![] } else { vec![no - 1] };
    let steps = (0..DEPTH).map(|no| new_step(&format!("s{no}"), after(no))).collect();
    let new = new_run(steps);
    let id = new.spec.id;
    kit.done(Command::Launch(Box::new(new))).await;
    let task = kit.claim_one().await;
    kit.done(settle(&task, fault())).await;
    let rows = kit.rows().await;
    let skipped = rows.steps.values().filter(|step| step.state == StepState::Skipped);
    assert_eq!(skipped.count(), DEPTH as usize - 1);
    assert_eq!(rows.runs[&id].state, RunState::Failed);
    assert_eq!(rows.tasks[&task.id].phase, Phase::Failed);
    let entries = rows.entries.keys().filter(|(stream, _)| *stream == Stream::Run(id));
    assert_eq!(entries.count(), 2, "one entry for each commit");
}
