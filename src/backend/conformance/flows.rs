//! Clauses on what steps ask of each other, and on runs that grow, are done again and forked.

use super::kit::{Kit, done, fault, new_run, new_step, run, settle};
use crate::{
    id::{RunId, TaskId},
    model::{
        Band, Command, Condition, Decision, Growth, Memo, MemoKey, Needs, NewRun, NewStep,
        OnFailure, Otherwise, Outcome, Page, Payload, Phase, Policy, Prune, Query, Quorum, Recall,
        Rejection, RetryRun, RunAttempt, RunFilter, RunFlags, RunSpec, RunState, Settle, StepKind,
        StepState, Task, Terms, Tolerance,
    },
};

async fn read(kit: &Kit, needs: Needs) -> crate::model::Rows {
    kit.backend().read(&needs).await.expect("a read works")
}

async fn launch(kit: &Kit, steps: Vec<NewStep>) -> RunId {
    let new = new_run(steps);
    let id = new.spec.id;
    kit.done(Command::Launch(Box::new(new))).await;
    id
}

fn join(name: &str, after: Vec<u32>) -> NewStep {
    NewStep::new(name, StepKind::Join, after)
}

fn growing(held: &Task, growth: Growth) -> Command {
    match settle(held, done()) {
        Command::Settle(settle) => {
            Command::Settle(Box::new(crate::model::Settle { grow: Some(growth), ..*settle }))
        }
        other => other,
    }
}

/// A new step after the one that adds it and one after that, leading to step `into`.
fn two(by: u32, into: u32) -> Growth {
    let first = NewStep { input: Some(Payload::text("its own")), ..new_step("x", vec![by]) };
    let second = new_step("y", vec![Growth::NEW]);
    Growth { steps: vec![first, second], into: vec![(1, into, Terms::default())] }
}

pub(super) async fn every_field_of_a_step_is_kept(kit: Kit) {
    let whens = vec![
        Condition::Is("/a".into(), serde_json::json!({"b": [1, null, "c"]})),
        Condition::Not(Box::new(Condition::Exists("/b/0".into()))),
        Condition::Any(vec![
            Condition::AtLeast("/n".into(), 0.5),
            Condition::AtMost(String::new(), 2.0),
        ]),
    ];
    let tolerates = Tolerance::FAILED.and(Tolerance::CANCELLED);
    let terms = Terms { tolerates, when: Some(Condition::All(whens)) };
    let policy = Policy {
        quorum: Quorum::AtLeast(1),
        otherwise: Otherwise::Cancel,
        on_failure: OnFailure::StopRun,
        delay_ms: Some(1_500),
        code: Some("other".into()),
        ..Policy::default()
    };
    let input = Payload::text("it's its own");
    let mut full = NewStep::new("full", StepKind::Agent, vec![0, 1]);
    full.terms = [(1, terms.clone())].into();
    full.policy = policy.clone();
    full.input = Some(input.clone());
    full.agent = Some("claude".into());
    let id = launch(&kit, vec![new_step("a", vec![]), new_step("b", vec![]), full]).await;
    let rows = kit.rows().await;
    let step = &rows.steps[&(id, 2)];
    assert_eq!((&step.policy, step.kind), (&policy, StepKind::Agent));
    assert_eq!((step.waiting_on, step.open_edges, step.attempt), (1, 2, 1));
    assert_eq!(step.agent.as_deref(), Some("claude"));
    assert_eq!(rows.edges[&(id, 0, 2)], Terms::default());
    assert_eq!(rows.edges[&(id, 1, 2)], terms);
    assert_eq!(rows.step_inputs[&(id, 2)], input);
    let inputs = [(id, 0), (id, 2)].into();
    let found = read(&kit, Needs { step_inputs: inputs, ..Needs::default() }).await;
    assert_eq!(found.step_inputs, rows.step_inputs, "one of the two has an input");
    let found = read(&kit, Needs { dependents: [(id, 1)].into(), ..Needs::default() }).await;
    assert_eq!(found.edges.keys().collect::<Vec<_>>(), [&(id, 1, 2)]);
    assert_eq!(found.edges[&(id, 1, 2)], terms);
    assert_eq!(found.steps[&(id, 2)], *step);
    let found = read(&kit, Needs { run_attempts: [id].into(), ..Needs::default() }).await;
    assert_eq!(found.run_attempts, rows.run_attempts);
    let begun = &rows.run_attempts[&(id, 1)];
    assert_eq!((begun.state, begun.started_at, begun.retry), (RunState::Running, kit.now(), None));
}

pub(super) async fn a_tolerated_end_lets_a_join_through(kit: Kit) {
    let mut all = join("all", vec![0, 1]);
    all.terms = [(0, Terms::tolerating(Tolerance::FAILED))].into();
    let steps = vec![new_step("a", vec![]), new_step("b", vec![]), all, new_step("c", vec![2])];
    let id = launch(&kit, steps).await;
    let both = kit.claim(2).await;
    let ends = both.iter().map(|task| {
        let first = task.step.is_some_and(|(_, no)| no == 0);
        settle(task, if first { fault() } else { done() })
    });
    assert!(kit.commit(ends.collect()).await.iter().all(Result::is_ok));
    assert_eq!(kit.steps(id).await, "a=Failed b=Completed all=Completed c=Running");
    kit.complete(&kit.claim_one().await).await;
    assert_eq!(kit.rows().await.runs[&id].state, RunState::Failed);
}

pub(super) async fn a_condition_looks_at_what_was_returned(kit: Kit) {
    let mut steps = vec![new_step("a", vec![]), new_step("yes", vec![0]), new_step("no", vec![0])];
    let when = Condition::Is(String::new(), serde_json::json!("done"));
    let not = Condition::Not(Box::new(when.clone()));
    steps[1].terms = [(0, Terms { when: Some(when), ..Terms::default() })].into();
    steps[2].terms = [(0, Terms { when: Some(not), ..Terms::default() })].into();
    let id = launch(&kit, steps).await;
    kit.complete(&kit.claim_one().await).await;
    assert_eq!(kit.steps(id).await, "a=Completed yes=Running no=Skipped");
    let reason = kit.rows().await.steps[&(id, 2)].reason.clone();
    assert_eq!(
        reason.as_deref(),
        Some("`a`, which it depends on, did not return what was asked for")
    );
    // The condition is looked at again when the step is done again.
    kit.complete(&kit.claim_one().await).await;
    let again = Command::RetryRun { run: id, attempt: 1, how: RetryRun::FailedOnly };
    assert_eq!(kit.done(again).await, Outcome::RunState(RunState::Completed));
    assert_eq!(kit.steps(id).await, "a=Completed yes=Completed no=Skipped");
}

pub(super) async fn a_failure_may_stop_the_run(kit: Kit) {
    let mut steps = vec![new_step("a", vec![]), new_step("b", vec![]), new_step("c", vec![1])];
    steps[0].policy.on_failure = OnFailure::StopRun;
    let id = launch(&kit, steps).await;
    let both = kit.claim(2).await;
    let (first, other) = match both[0].step {
        Some((_, 0)) => (&both[0], &both[1]),
        _ => (&both[1], &both[0]),
    };
    kit.done(settle(first, fault())).await;
    assert_eq!(kit.steps(id).await, "a=Failed b=Running c=Cancelled");
    kit.done(settle(other, Decision::Cancelled)).await;
    assert_eq!(kit.rows().await.runs[&id].state, RunState::Failed);
}

pub(super) async fn a_delayed_step_waits_for_its_time(kit: Kit) {
    let mut later = new_step("b", vec![0]);
    later.policy.delay_ms = Some(10_000);
    let id = launch(&kit, vec![new_step("a", vec![]), later]).await;
    kit.complete(&kit.claim_one().await).await;
    assert_eq!(kit.steps(id).await, "a=Completed b=Running");
    assert!(kit.claim(1).await.is_empty());
    let task = kit.row(TaskId::of_step(id, 1, 1)).await;
    assert_eq!(task.phase, Phase::Scheduled);
    kit.advance(10);
    kit.done(Command::Ripen(Box::new(task))).await;
    kit.complete(&kit.claim_one().await).await;
}

pub(super) async fn a_step_adds_steps_when_it_completes(kit: Kit) {
    let id = launch(&kit, vec![new_step("map", vec![]), join("all", vec![0])]).await;
    let held = kit.claim_one().await;
    assert!(kit.twice(growing(&held, two(0, 1))).await.is_ok());
    assert_eq!(kit.steps(id).await, "map=Completed all=Pending map/x=Running map/y=Pending");
    let rows = kit.rows().await;
    assert_eq!((rows.runs[&id].next_no, rows.runs[&id].open_steps), (4, 3));
    assert_eq!(rows.steps[&(id, 2)].policy.grown_by, Some(0));
    assert_eq!(rows.step_inputs[&(id, 2)], Payload::text("its own"));
    kit.complete(&kit.claim_one().await).await;
    kit.complete(&kit.claim_one().await).await;
    assert_eq!(kit.rows().await.runs[&id].state, RunState::Completed);
}

pub(super) async fn steps_that_have_no_place_fail_the_one_that_adds_them(kit: Kit) {
    let unknown = Growth { steps: vec![new_step("x", vec![9])], into: Vec::new() };
    let to_nothing = two(0, 9);
    let long = Growth { steps: vec![new_step(&"n".repeat(255), vec![])], into: Vec::new() };
    let circle = Growth {
        steps: vec![new_step("x", vec![Growth::NEW + 1]), new_step("y", vec![Growth::NEW])],
        into: Vec::new(),
    };
    let through_old =
        Growth { steps: vec![new_step("x", vec![2])], into: vec![(0, 1, Terms::default())] };
    let twice = Growth { steps: vec![new_step("x", vec![]); 2], into: Vec::new() };
    for growth in [unknown, to_nothing, long, circle, through_old, twice] {
        let id = kit.launch(&[("map", &[]), ("a", &["map"]), ("b", &["a"])]).await;
        let held = kit.claim_one().await;
        assert!(kit.twice(growing(&held, growth)).await.is_ok());
        assert_eq!(kit.steps(id).await, "map=Failed a=Skipped b=Skipped");
    }
}

pub(super) async fn one_step_is_cancelled(kit: Kit) {
    let id = kit.launch(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &["a"])]).await;
    let held = kit.claim_one().await;
    assert!(kit.twice(Command::CancelStep { run: id, no: 1 }).await.is_ok());
    assert_eq!(kit.steps(id).await, "a=Running b=Cancelled c=Skipped d=Pending");
    kit.complete(&held).await;
    let held = kit.claim_one().await;
    assert!(kit.twice(Command::CancelStep { run: id, no: 3 }).await.is_ok());
    assert_eq!(kit.steps(id).await, "a=Completed b=Cancelled c=Skipped d=Running");
    kit.done(settle(&held, Decision::Cancelled)).await;
    assert_eq!(kit.rows().await.runs[&id].state, RunState::Cancelled);
    let refused = kit.refused(Command::CancelStep { run: id, no: 0 }).await;
    assert!(matches!(refused, Rejection::Invalid(_)), "{refused}");
    let refused = kit.refused(Command::CancelStep { run: id, no: 9 }).await;
    assert!(matches!(refused, Rejection::NotFound { .. }), "{refused}");
}

pub(super) async fn a_run_is_done_again_in_three_ways(kit: Kit) {
    let id = kit.launch(&[("a", &[]), ("b", &["a"]), ("c", &["a"])]).await;
    kit.complete(&kit.claim_one().await).await;
    let both = kit.claim(2).await;
    kit.done(settle(&both[0], fault())).await;
    let again = |attempt, how| Command::RetryRun { run: id, attempt, how };
    let refused = kit.refused(again(1, RetryRun::All)).await;
    assert!(matches!(refused, Rejection::Invalid(_)), "it has not ended");
    kit.complete(&both[1]).await;
    let ended = kit.rows().await;
    assert_eq!(ended.run_attempts[&(id, 1)].state, RunState::Failed);
    let lost = both[0].step.map(|(_, no)| no).expect("it is a step's");
    for (attempt, how, open) in
        [(1, RetryRun::FailedOnly, 1), (2, RetryRun::FailedAndDownstream, 1), (3, RetryRun::All, 3)]
    {
        kit.advance(5);
        assert_eq!(kit.twice(again(attempt, how)).await, Ok(Outcome::RunState(RunState::Running)));
        let rows = kit.rows().await;
        assert_eq!((rows.runs[&id].attempt, rows.runs[&id].open_steps), (attempt + 1, open));
        let (run, started_at, retry) = (id, kit.now(), Some(how));
        let (state, ended_at) = (RunState::Running, crate::clock::Timestamp::ZERO);
        let begun = RunAttempt { run, attempt: attempt + 1, retry, state, started_at, ended_at };
        assert_eq!(rows.run_attempts[&(id, attempt + 1)], begun);
        assert_eq!(rows.steps[&(id, lost)].attempt, attempt + 1);
        assert!(rows.items.values().all(|item| item.state != crate::model::ItemState::Open));
        let held = kit.claim_one().await;
        kit.done(settle(&held, fault())).await;
    }
    let rows = kit.rows().await;
    assert_eq!(kit.steps(id).await, "a=Failed b=Skipped c=Skipped");
    assert_eq!(rows.attempts.len(), 6, "what was done before stays");
    let refused = kit.refused(again(9, RetryRun::All)).await;
    assert!(matches!(refused, Rejection::NotFound { .. }), "{refused}");
}

pub(super) async fn what_a_step_added_goes_when_it_is_done_again(kit: Kit) {
    let id = launch(&kit, vec![new_step("map", vec![]), join("all", vec![0])]).await;
    let other = launch(&kit, vec![new_step("a", vec![]), new_step("b", vec![0])]).await;
    let both = kit.claim(2).await;
    for held in &both {
        let ours = held.step.is_some_and(|(run, _)| run == id);
        let end = if ours { growing(held, two(0, 1)) } else { settle(held, done()) };
        kit.done(end).await;
    }
    kit.done(Command::CancelRun(id)).await;
    kit.done(Command::RetryRun { run: id, attempt: 1, how: RetryRun::All }).await;
    assert_eq!(kit.steps(id).await, "map=Running all=Pending");
    let rows = kit.rows().await;
    assert_eq!(rows.edges.keys().collect::<Vec<_>>().len(), 2);
    assert!(rows.edges.contains_key(&(id, 0, 1)) && rows.edges.contains_key(&(other, 0, 1)));
    assert!(rows.step_inputs.is_empty());
    let held = kit.claim(5).await;
    let held = held.iter().find(|task| task.step == Some((id, 0))).expect("it was claimed");
    kit.done(growing(held, two(0, 1))).await;
    assert!(kit.rows().await.steps.contains_key(&(id, 5)), "no number is given twice");
}

pub(super) async fn a_fork_owns_what_it_keeps(kit: Kit) {
    let mut steps = vec![new_step("a", vec![]), new_step("b", vec![0]), new_step("c", vec![1])];
    steps[0].input = Some(Payload::text("from outside"));
    let old = launch(&kit, steps).await;
    for _ in 0..3 {
        kit.complete(&kit.claim_one().await).await;
    }
    let run = RunId::new();
    let input = Some(Payload::text("edited"));
    let fork = Command::Fork { from: old, no: 1, run, input };
    assert_eq!(kit.twice(fork).await, Ok(Outcome::Run { id: run, created: true }));
    assert_eq!(kit.steps(run).await, "a=Completed b=Running c=Pending");
    kit.advance(10);
    kit.all_entries_show().await;
    let time = kit.now();
    let prune = Prune { tasks_before: time, runs_before: time, entries_before: time, limit: 100 };
    assert_eq!(kit.backend().prune(&prune).await.expect("pruning works").runs, 1);
    let rows = kit.rows().await;
    assert!(!rows.runs.contains_key(&old) && !rows.step_inputs.contains_key(&(old, 0)));
    assert!(rows.run_attempts.keys().all(|(of, _)| *of == run));
    assert_eq!(rows.run_specs[&run].forked_from, Some((old, 1)));
    let task = rows.steps[&(run, 0)].task.expect("it was copied");
    let attempt = &rows.attempts[&(task, rows.tasks[&task].lease)];
    assert_eq!(attempt.output, Some(Payload::text("done")));
    assert_eq!(rows.step_inputs[&(run, 0)], Payload::text("from outside"));
    assert_eq!(rows.step_inputs[&(run, 1)], Payload::text("edited"));
    kit.complete(&kit.claim_one().await).await;
    kit.complete(&kit.claim_one().await).await;
    assert_eq!(kit.rows().await.runs[&run].state, RunState::Completed);
    let refused = kit.refused(Command::Fork { from: run, no: 9, run: RunId::new(), input: None });
    assert!(matches!(refused.await, Rejection::NotFound { .. }));
}

pub(super) async fn a_task_waits_for_the_run_it_launched(kit: Kit) {
    let outer = kit.launch(&[("outer", &[])]).await;
    let held = kit.claim_one().await;
    let below =
        |parent| NewRun { parent: Some(parent), ..run(&[("inner", &[]), ("then", &["inner"])]) };
    let child = below(held.id);
    let id = child.spec.id;
    let end = settle(&held, Decision::Await(id));
    let both = kit.commit(vec![Command::Launch(Box::new(child)), end.clone()]).await;
    assert!(both.iter().all(Result::is_ok), "{both:?}");
    assert!(kit.twice(end).await.is_ok());
    assert_eq!(kit.row(held.id).await.phase, Phase::Waiting);
    let found = read(&kit, Needs { runs_under: [held.id].into(), ..Needs::default() }).await;
    assert_eq!(found.runs.keys().collect::<Vec<_>>(), [&id]);
    kit.complete(&kit.claim_one().await).await;
    kit.complete(&kit.claim_one().await).await;
    let held = kit.claim_one().await;
    assert_eq!(held.step, Some((outer, 0)), "it goes on when the run has ended");
    let second = below(held.id);
    let id = second.spec.id;
    kit.done(Command::Launch(Box::new(second))).await;
    kit.done(settle(&held, Decision::Await(id))).await;
    kit.done(Command::CancelRun(outer)).await;
    let rows = kit.rows().await;
    assert_eq!(rows.runs[&id].state, RunState::Cancelled);
    assert_eq!(rows.runs[&outer].state, RunState::Cancelled);
    assert_eq!(rows.steps[&(id, 0)].state, StepState::Cancelled);
    assert_eq!(rows.steps[&(id, 1)].state, StepState::Cancelled, "it is not skipped");
    let late = kit.refused(Command::Launch(Box::new(below(held.id)))).await;
    assert!(matches!(late, Rejection::Invalid(_)), "its task is cancelled");
    let nobody = kit.refused(Command::Launch(Box::new(below(TaskId::new())))).await;
    assert!(matches!(nobody, Rejection::NotFound { .. }), "{nobody}");
}

/// A run whose one step has completed work with this key.
async fn remembered(kit: &Kit, key: MemoKey, from: Option<TaskId>) -> TaskId {
    kit.launch(&[("work", &[])]).await;
    let held = kit.claim_one().await;
    let Command::Settle(own) = settle(&held, done()) else { unreachable!("it settles") };
    let memo = Some(Recall { key, from });
    kit.done(Command::Settle(Box::new(Settle { memo, ..*own }))).await;
    held.id
}

pub(super) async fn work_is_remembered_with_its_last_attempt(kit: Kit) {
    let (key, other) = (MemoKey::new([7; 32]), MemoKey::new([8; 32]));
    let first = remembered(&kit, key, None).await;
    remembered(&kit, other, None).await;
    kit.advance(10);
    let time = kit.now();
    let last = remembered(&kit, key, Some(first)).await;
    let found = read(&kit, Needs { memos: [key].into(), ..Needs::default() }).await;
    assert_eq!(found.memos, [(key, Memo { key, task: last, lease: 1 })].into());
    let rows = kit.rows().await;
    assert_eq!(rows.attempts[&(last, 1)].recalled, Some(first));
    assert_eq!(rows.attempts[&(first, 1)].recalled, None);
    kit.all_entries_show().await;
    let never = crate::clock::Timestamp::ZERO;
    let prune = Prune { tasks_before: never, runs_before: time, entries_before: never, limit: 100 };
    assert_eq!(kit.backend().prune(&prune).await.expect("pruning works").runs, 2);
    let left = kit.rows().await.memos;
    assert_eq!(left.keys().collect::<Vec<_>>(), [&key], "what was pruned is forgotten");
    assert_eq!(left[&key].task, last);

    // What fails, or was to be cancelled, is not remembered.
    kit.launch(&[("fails", &[])]).await;
    let held = kit.claim_one().await;
    let Command::Settle(own) = settle(&held, fault()) else { unreachable!("it settles") };
    let memo = Some(Recall { key: other, from: None });
    kit.done(Command::Settle(Box::new(Settle { memo, ..*own }))).await;
    let run = kit.launch(&[("stops", &[])]).await;
    let held = kit.claim_one().await;
    kit.done(Command::CancelRun(run)).await;
    let Command::Settle(own) = settle(&held, done()) else { unreachable!("it settles") };
    kit.done(Command::Settle(Box::new(Settle { memo, ..*own }))).await;
    assert_eq!(kit.rows().await.memos, left);
}

pub(super) async fn every_field_of_a_run_is_kept(kit: Kit) {
    let mut new = run(&[("a", &[])]);
    let spec = RunSpec {
        project: "p".into(),
        flow: "a flow".into(),
        version: 7,
        band: Band::Large,
        model: Some("big".into()),
        input: Payload::text("it's"),
        definition: Payload::text("steps"),
        fingerprint: "0123".into(),
        base: Some("c0ffee".into()),
        meta: Some(Payload::text("meta")),
        ..new.spec
    };
    let id = spec.id;
    new = NewRun { spec: spec.clone(), priority: -3, fresh: true, ..new };
    kit.done(Command::Launch(Box::new(new))).await;
    let rows = kit.rows().await;
    assert_eq!(rows.run_specs[&id], RunSpec { created_at: kit.now(), ..spec });
    let run = &rows.runs[&id];
    assert_eq!((run.priority, run.project.as_str(), run.open_steps), (-3, "p", 1));
    assert!(run.flags.has(RunFlags::FRESH));
    let query = Query::Runs { filter: RunFilter::default(), after: None, limit: 5 };
    let found = kit.backend().list(&query).await.expect("a list works");
    let Page::Runs(views) = found else { panic!("another list") };
    assert_eq!((&views[0].spec, &views[0].run), (&rows.run_specs[&id], run));
}
