//! The rules of budgets, as data.

use std::time::Duration;

use segue::{id::RunId, model::*};

use crate::support::runs::{Runs, done, failed, step};

fn tokens(tokens: u64) -> Limits {
    Limits { tokens: Some(tokens), ..Limits::default() }
}

fn cost(cost_micros: u64) -> Limits {
    Limits { cost_micros: Some(cost_micros), ..Limits::default() }
}

fn wall(wall_ms: u64) -> Limits {
    Limits { wall_ms: Some(wall_ms), ..Limits::default() }
}

/// Steps side by side that say what they use, in a run with a budget.
fn side_by_side(limits: Limits, on_breach: OnBreach, uses: &[Limits]) -> (Runs, RunId) {
    let new = |(no, uses): (usize, &Limits)| {
        let mut step = step(format!("s{no}"), vec![]);
        step.policy.uses = Some(*uses);
        step
    };
    let steps = uses.iter().enumerate().map(new).collect();
    let launched = Runs::launch_within(steps, Some(Budget::new(limits, on_breach)));
    launched.0.sound();
    launched
}

fn states(runs: &Runs) -> Vec<StepState> {
    runs.rows.steps.values().map(|step| step.state).collect()
}

fn budget(runs: &Runs, run: RunId) -> Budget {
    runs.rows.runs[&run].budget.clone().unwrap()
}

/// Claims a step and hands in what it used.
fn end(runs: &mut Runs, run: RunId, no: u32, decision: Decision, used: Limits) {
    let held = runs.claim(runs.rows.steps[&(run, no)].task.unwrap());
    let usage =
        Usage { tokens: used.tokens.unwrap_or(0), cost_micros: used.cost_micros.unwrap_or(0) };
    let usage = Some(Payload::of(&usage).unwrap());
    let retry = Retry::times(5);
    let settle =
        Settle { held, retry, decision, usage, said: None, grow: None, memo: None, turn: None };
    runs.plan(vec![Command::Settle(Box::new(settle))]);
    runs.sound();
}

#[test]
fn a_step_starts_waits_or_fails_as_the_budget_has_room_for_it() {
    use StepState::{Failed, Pending, Running};
    let all = Limits::default();
    let rows: [(Limits, &[Limits], &[StepState]); 10] = [
        (tokens(10), &[tokens(4), tokens(4), tokens(4)], &[Running, Running, Pending]),
        (tokens(10), &[tokens(4), tokens(6), tokens(1)], &[Running, Running, Pending]),
        (tokens(10), &[tokens(10), tokens(10)], &[Running, Pending]),
        (tokens(10), &[tokens(4), tokens(11)], &[Running, Failed]),
        (tokens(10), &[tokens(11), tokens(10)], &[Failed, Running]),
        (tokens(10), &[all, tokens(1)], &[Running, Pending]),
        (tokens(10), &[tokens(4), all, all], &[Running, Running, Pending]),
        (cost(10), &[cost(4), cost(7), cost(11)], &[Running, Pending, Failed]),
        (tokens(0), &[tokens(0), all], &[Running, Failed]),
        (Limits::default(), &[tokens(9), all], &[Running, Running]),
    ];
    for (limits, uses, expected) in rows {
        let (runs, run) = side_by_side(limits, OnBreach::Fail, uses);
        assert_eq!(states(&runs), expected, "{limits:?} {uses:?}");
        let waiting = expected.iter().filter(|state| **state == Pending).count();
        assert_eq!(budget(&runs, run).waiting as usize, waiting);
    }
}

#[test]
fn what_an_end_gives_back_lets_others_start() {
    use StepState::{Completed, Failed, Pending, Running};
    let uses = [tokens(6), tokens(4), tokens(4), tokens(6)];
    let (mut runs, run) = side_by_side(tokens(10), OnBreach::Fail, &uses);
    assert_eq!(states(&runs), [Running, Running, Pending, Pending]);
    end(&mut runs, run, 0, done(), tokens(1));
    assert_eq!(states(&runs), [Completed, Running, Running, Pending]);
    let left = budget(&runs, run);
    assert_eq!((left.used.tokens, left.reserved.tokens, left.waiting), (1, 8, 1));
    end(&mut runs, run, 1, done(), tokens(4));
    assert_eq!(states(&runs), [Completed, Completed, Running, Failed], "6 are more than are left");
    let left = budget(&runs, run);
    assert_eq!((left.used.tokens, left.reserved.tokens, left.waiting), (5, 4, 0));
}

#[test]
fn what_an_attempt_used_is_taken_from_what_its_step_has_reserved() {
    let (mut runs, run) = side_by_side(tokens(10), OnBreach::Fail, &[tokens(6)]);
    let retried = || Decision::Fail(Fault { retryable: true, ..fault() });
    end(&mut runs, run, 0, retried(), tokens(4));
    let left = budget(&runs, run);
    assert_eq!((left.used.tokens, left.reserved.tokens), (4, 2));
    runs.advance(Duration::from_secs(3_600));
    end(&mut runs, run, 0, retried(), tokens(5));
    let left = budget(&runs, run);
    assert_eq!((left.used.tokens, left.reserved.tokens), (9, 0));
}

fn fault() -> Fault {
    match failed() {
        Decision::Fail(fault) => fault,
        other => panic!("{other:?}"),
    }
}

/// One that has used what there is, to the last token, is not tried again.
#[test]
fn nothing_is_tried_again_when_all_is_used() {
    for (limits, used, ends) in [
        (tokens(10), tokens(9), StepState::Running),
        (tokens(10), tokens(10), StepState::Failed),
        (cost(10), cost(9), StepState::Running),
        (cost(10), cost(10), StepState::Failed),
    ] {
        let (mut runs, run) = side_by_side(limits, OnBreach::Fail, &[limits]);
        end(&mut runs, run, 0, Decision::Fail(Fault { retryable: true, ..fault() }), used);
        assert_eq!(states(&runs), [ends], "{used:?}");
    }
}

#[test]
fn what_is_left_of_the_time_limits_each_attempt() {
    let mut steps: Vec<_> = (0..3).map(|no| step(format!("s{no}"), vec![])).collect();
    steps[1].options.timeout_ms = Some(1_000);
    steps[2].options.timeout_ms = Some(9_000);
    let (runs, _) = Runs::launch_within(steps, Some(Budget::new(wall(5_000), OnBreach::Fail)));
    let limits: Vec<_> = runs.rows.specs.values().map(|spec| spec.options.timeout_ms).collect();
    assert_eq!(limits, [Some(5_000), Some(1_000), Some(5_000)]);
}

#[test]
fn when_the_time_is_up_nothing_more_starts_unless_there_is_more() {
    for (raise, state) in
        [(Raise::By(wall(100)), TaskState::Pending), (Raise::Fail, TaskState::Failed)]
    {
        let mut steps = vec![step("a", vec![]), step("b", vec![0])];
        steps.iter_mut().for_each(|step| step.policy.uses = Some(tokens(1)));
        let limits = Limits { tokens: Some(10), wall_ms: Some(1_000), ..Limits::default() };
        let (mut runs, run) = Runs::launch_within(steps, Some(Budget::new(limits, OnBreach::Ask)));
        runs.advance(Duration::from_secs(1));
        end(&mut runs, run, 0, done(), tokens(1));
        let task = runs.rows.steps[&(run, 1)].task.unwrap();
        assert_eq!(runs.rows.tasks[&task].state(), TaskState::Blocked);
        let item = runs.rows.items.values().find(|item| item.task == task).unwrap().id;
        let answer = Answer { value: Payload::of(&raise).unwrap(), by: "Ada".into() };
        runs.plan(vec![Command::Answer { item, answer }]);
        runs.sound();
        assert_eq!(runs.rows.tasks[&task].state(), state);
    }
}

#[test]
fn what_one_raise_adds_is_there_for_all_that_wait() {
    let (mut runs, run) =
        side_by_side(tokens(10), OnBreach::Ask, &[tokens(11), tokens(8), tokens(9)]);
    let item = runs.rows.items.values().next().unwrap().id;
    let waits = StepState::Pending;
    assert_eq!(states(&runs), [StepState::Running, StepState::Running, waits]);
    let answer = Answer { value: Payload::of(&Raise::By(tokens(18))).unwrap(), by: "Ada".into() };
    runs.plan(vec![Command::Answer { item, answer }]);
    runs.sound();
    assert_eq!(states(&runs), [StepState::Running; 3]);
    assert_eq!(budget(&runs, run).reserved.tokens, 28);
}

/// What fails for want of a budget fails like any other step.
#[test]
fn a_step_that_fails_for_the_budget_stops_the_run_where_its_failure_does() {
    for (waits, reserved) in [(true, 8), (false, 0)] {
        let mut steps: Vec<_> = (0..4).map(|no| step(format!("s{no}"), vec![])).collect();
        steps[1].policy.uses = Some(tokens(6));
        steps[1].policy.on_failure = OnFailure::StopRun;
        steps[1].after = if waits { vec![] } else { vec![0] };
        steps[3].after = vec![2];
        steps[0].policy.uses = Some(tokens(reserved));
        let budget = Budget::new(tokens(10), OnBreach::Fail);
        let (mut runs, run) = Runs::launch_within(steps, Some(budget));
        assert_eq!(runs.state(run, 1), StepState::Pending);
        end(&mut runs, run, 0, done(), tokens(8));
        use StepState::{Cancelled, Completed, Failed};
        assert_eq!(states(&runs), [Completed, Failed, Cancelled, Cancelled], "waits: {waits}");
        assert_eq!(runs.rows.runs[&run].state, RunState::Failed);
    }
}
