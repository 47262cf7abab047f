//! Flows that are wrong, and flows that are large: through the plan alone, where the work
//! that a step costs can be counted.

use segue::{
    id::{RunId, TaskId},
    model::*,
};

use crate::support::runs::{Runs, done, failed, step};

fn chain(length: u32) -> Vec<NewStep> {
    let after = |no: u32| no.checked_sub(1).into_iter().collect();
    (0..length).map(|no| step(format!("s{no}"), after(no))).collect()
}

/// So many steps, then one that waits for all of them.
fn fan_in(width: u32) -> Vec<NewStep> {
    let wide = (0..width).map(|no| step(format!("s{no}"), vec![]));
    wide.chain([step("join", (0..width).collect())]).collect()
}

#[test]
fn a_chain_of_10_000_costs_a_few_rows_a_step() {
    let (mut flow, run) = Runs::launch(chain(10_000));
    for no in 0..10_000 {
        let task = flow.claim(TaskId::of_step(run, no, 1));
        flow.end(vec![task], &done());
        assert!(flow.loaded.0 <= 8, "step {no} loaded {:?}", flow.loaded);
    }
    assert_eq!(flow.rows.runs[&run].state, RunState::Completed);
    flow.sound();
}

#[test]
fn a_join_of_10_000_is_released_once_and_costs_a_few_rows_a_step() {
    let (mut flow, run) = Runs::launch(fan_in(10_000));
    let tasks: Vec<Task> = (0..10_000).map(|no| flow.claim(TaskId::of_step(run, no, 1))).collect();
    for task in &tasks[..5_000] {
        flow.end(vec![task.clone()], &done());
        assert!(flow.loaded.0 <= 8, "one of many loaded {:?}", flow.loaded);
    }
    for part in tasks[5_000..].chunks(100) {
        assert!(!flow.rows.tasks.contains_key(&TaskId::of_step(run, 10_000, 1)));
        flow.end(part.to_vec(), &done());
    }
    let join = flow.claim(TaskId::of_step(run, 10_000, 1));
    flow.sound();
    flow.end(vec![join], &done());
    assert_eq!(flow.rows.runs[&run].state, RunState::Completed);
}

#[test]
fn a_skip_goes_down_10_000_levels_in_one_plan() {
    let (mut flow, run) = Runs::launch(chain(10_000));
    let task = flow.claim(TaskId::of_step(run, 0, 1));
    flow.end(vec![task], &failed());
    // A few levels one by one, then all.
    assert!(flow.loaded.1 <= 5, "loaded in {} rounds", flow.loaded.1);
    assert_eq!(flow.count(StepState::Skipped), 9_999);
    assert_eq!(flow.rows.runs[&run].state, RunState::Failed);
    flow.sound();
}

#[test]
fn a_run_with_10_000_tasks_in_the_queue_is_cancelled_at_once() {
    let (mut flow, run) = Runs::launch(fan_in(10_000));
    for no in 0..5_000 {
        flow.claim(TaskId::of_step(run, no, 1));
    }
    flow.plan(vec![Command::CancelRun(run)]);
    assert_eq!(flow.count(StepState::Cancelled), 5_001);
    let asked = flow.rows.tasks.values().filter(|task| task.flags.has(TaskFlags::CANCEL));
    assert_eq!(asked.count(), 5_000);
    flow.sound();
}

#[test]
fn a_cycle_of_100_000_is_named() {
    let mut steps = chain(100_000);
    steps[0].after.push(99_999);
    match Dag::check(&steps) {
        Err(DagError::Cycle(names)) => assert_eq!(names.len(), 100_001),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_flow_is_named() {
    let a = |after| step("a", after);
    let rows: Vec<(Vec<NewStep>, &str)> = vec![
        (vec![a(vec![0])], "these steps wait for each other and would never start: a -> a"),
        (
            vec![a(vec![1]), step("b", vec![0])],
            "these steps wait for each other and would never start: a -> b -> a",
        ),
        (
            vec![step("free", vec![]), a(vec![2]), step("b", vec![1, 0]), step("late", vec![2])],
            "these steps wait for each other and would never start: a -> b -> a",
        ),
        (vec![a(vec![]), a(vec![])], "two steps are called `a`; give each its own name"),
        (vec![a(vec![1])], "step `a` depends on step number 1, which this flow does not have"),
        (vec![step("", vec![])], "a step's name must have 1 to 255 bytes, and `` has not"),
    ];
    for (steps, expected) in rows {
        let error = Dag::check(&steps).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let many = vec![a(vec![]); limits::STEPS + 1];
    assert_eq!(Dag::check(&many), Err(DagError::TooManySteps(limits::STEPS + 1)));
}

/// It is not one that is met: nothing of what names it is stored.
#[test]
fn a_dependency_that_matches_no_step_is_an_error_when_a_flow_is_launched_and_when_it_grows() {
    let (mut flow, run) = Runs::launch(vec![step("a", vec![]), step("b", vec![0])]);
    let before = flow.rows.clone();
    let steps = vec![step("x", vec![]), step("y", vec![0, 7])];
    let spec = crate::support::runs::spec(segue::id::RunId::new());
    let new = NewRun { spec, priority: 0, steps, parent: None, budget: None, fresh: false };
    let unknown = |step: &str, on| DagError::UnknownDependency { step: step.into(), on };
    let receipts = flow.try_plan(vec![Command::Launch(Box::new(new))]);
    assert_eq!(receipts, [Err(unknown("y", 7).into())]);
    assert_eq!(flow.rows, before);
    let into = vec![(0, 7, Terms::default())];
    let grown = [
        Growth { steps: vec![step("n", vec![0, 7])], into: vec![] },
        Growth { steps: vec![step("n", vec![0])], into },
        Growth { steps: vec![step("n", vec![Growth::NEW + 1])], into: vec![] },
    ];
    for growth in grown {
        let (mut flow, run) = Runs::launch(vec![step("a", vec![]), step("b", vec![0])]);
        flow.end_step(run, 0, done(), Some(growth));
        assert_eq!(flow.state(run, 0), StepState::Failed, "the one that adds them fails");
        assert_eq!(flow.rows.steps.len(), 2);
        flow.sound();
    }
    flow.end_step(run, 0, done(), None);
}

#[test]
fn a_step_without_a_lane_waits_for_its_flows_code() {
    let mut wanted = step("a", vec![]);
    wanted.options.tags = vec!["gpu".into()];
    wanted.options.capacity = vec!["k".into()];
    let (flow, run) = Runs::launch(vec![wanted]);
    let lane = &flow.rows.lanes[&flow.rows.steps[&(run, 0)].lane];
    assert_eq!(lane.needs, ["flow:large@3", "tag:gpu"]);
    assert_eq!(lane.keys, ["k"]);
}

#[test]
fn a_step_frees_the_slots_that_only_its_lane_names() {
    let mut wanted = step("a", vec![]);
    wanted.lane = Some(Lane::new(vec!["x".into()], vec!["k".into()]));
    let (mut flow, run) = Runs::launch(vec![wanted]);
    flow.plan(vec![Command::SetCapacity { key: "k".into(), slots: Some(1) }]);
    let task = flow.claim(TaskId::of_step(run, 0, 1));
    flow.rows.hold(&task);
    flow.sound();
    flow.end(vec![task], &done());
    assert_eq!(flow.rows.slots[&("k".into(), 0)].held, None);
}

#[test]
fn a_step_that_waits_for_the_budget_waits_again_for_what_is_added_before_it() {
    let limited = |name| {
        let uses = Some(Limits { tokens: Some(10), ..Limits::default() });
        NewStep { policy: Policy { uses, ..Policy::default() }, ..step(name, vec![]) }
    };
    let (mut runs, other) = Runs::launch(vec![step("other", vec![])]);
    let spec = RunSpec { id: RunId::new(), ..runs.rows.run_specs[&other].clone() };
    let run = spec.id;
    let limits = Limits { tokens: Some(10), ..Limits::default() };
    let launch = NewRun {
        spec,
        priority: 0,
        steps: vec![step("grows", vec![]), limited("has it"), limited("waits")],
        parent: None,
        budget: Some(Budget::new(limits, OnBreach::Fail)),
        fresh: false,
    };
    runs.plan(vec![Command::Launch(Box::new(launch))]);
    let waiting = |runs: &Runs| runs.rows.runs[&run].budget.as_ref().unwrap().waiting;
    assert_eq!(waiting(&runs), 1);
    let growth = Growth { steps: vec![step("x", vec![0])], into: vec![(0, 2, Terms::default())] };
    runs.end_step(run, 0, done(), Some(growth));
    assert_eq!(waiting(&runs), 0);
    runs.sound();
    runs.end_step(run, 1, done(), None);
    assert_eq!(runs.rows.steps[&(run, 2)].state, StepState::Pending, "its new edge is not met");
    runs.end_step(run, 3, done(), None);
    assert_eq!(runs.rows.steps[&(run, 2)].state, StepState::Running);
    runs.sound();
}

#[test]
fn a_step_is_given_up_when_all_that_it_depended_on_is_removed() {
    let (mut runs, old) = Runs::launch(vec![step("grows", vec![]), step("joins", vec![])]);
    let growth = Growth { steps: vec![step("x", vec![0])], into: vec![] };
    runs.end_step(old, 0, done(), Some(growth));
    let policy = Policy { quorum: Quorum::Any, ..Policy::default() };
    let join = NewStep { policy, ..NewStep::new("join", StepKind::Join, vec![2]) };
    let after = step("after", vec![Growth::NEW]);
    let growth = Growth { steps: vec![join, after], into: vec![] };
    runs.end_step(old, 1, done(), Some(growth));
    let run = RunId::new();
    runs.plan(vec![Command::Fork { from: old, no: 0, run, input: None }]);
    for no in [3, 4] {
        assert_eq!(runs.rows.steps[&(run, no)].state, StepState::Skipped);
    }
    let why = runs.rows.steps[&(run, 3)].reason.as_deref();
    assert_eq!(why, Some("nothing that it depends on is left"));
    runs.sound();
    runs.end_step(run, 0, done(), None);
    assert_eq!(runs.rows.runs[&run].state, RunState::Completed);
    runs.sound();
}
