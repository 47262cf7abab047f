//! Properties of runs, over random graphs: what holds whatever the steps return and in whatever
//! order they end. `SEEDS=1000` chooses how many.

use std::collections::BTreeMap;

use fastrand::Rng;
use segue::{
    clock::Timestamp,
    id::{RunId, TaskId},
    model::*,
};

use crate::support::runs::{Runs, done, failed, step};

fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// Steps in numbers that are mixed up. Whoever counts its edges asks for no condition, and
/// nobody stops the run: then the end of one step never takes back what another's allowed.
fn monotone(rng: &mut Rng) -> Vec<NewStep> {
    let count = rng.u32(2..40) * if rng.u32(0..10) == 0 { 5 } else { 1 };
    let mut place: Vec<u32> = (0..count).collect();
    rng.shuffle(&mut place);
    let mut steps: Vec<NewStep> = (0..count).map(|n| step(format!("s{n}"), vec![])).collect();
    for late in 1..count as usize {
        let own = &mut steps[place[late] as usize];
        for _ in 0..rng.u32(0..4) {
            let on = place[rng.usize(0..late)];
            own.after.push(on);
            let of = [Tolerance::NONE, Tolerance::FAILED, Tolerance::SKIPPED, Tolerance::ANY];
            own.terms.insert(on, Terms::tolerating(rng.choice(of).unwrap()));
        }
        own.kind = if rng.u32(0..6) == 0 { StepKind::Join } else { StepKind::Code };
        own.policy.otherwise = rng.choice([Otherwise::Skip, Otherwise::Cancel]).unwrap();
        own.policy.on_failure = rng.choice([OnFailure::FailRun, OnFailure::Ignore]).unwrap();
    }
    steps
}

/// How a step ends is its own, whenever it comes to that.
fn fate(seed: u64, name: &str) -> Decision {
    let hash = name.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
    match Rng::with_seed(hash).u32(0..10) {
        0..2 => failed(),
        2 => Decision::Cancelled,
        _ => done(),
    }
}

/// What a step adds: now and then a few, leading to a step that waits.
fn growth(seed: u64, runs: &Runs, run: RunId, no: u32) -> Option<Growth> {
    let name = &runs.rows.steps[&(run, no)].name;
    let mut rng = Rng::with_seed(seed ^ u64::from(no) << 20);
    if name.contains('/') || rng.u32(0..4) > 0 {
        return None;
    }
    let steps = (0..rng.u32(1..4)).map(|n| step(format!("n{n}"), vec![no])).collect();
    Some(Growth { steps, into: Vec::new() })
}

/// Lets steps end, in an order of its own, until the run has.
fn finish(runs: &mut Runs, run: RunId, seed: u64, order: u64) {
    let mut rng = Rng::with_seed(order);
    loop {
        let open = runs.rows.steps.values();
        let open = open.filter(|step| step.run == run && step.state == StepState::Running);
        let Some(no) = rng.choice(open.map(|step| step.no).collect::<Vec<_>>()) else {
            break;
        };
        let name = runs.rows.steps[&(run, no)].name.clone();
        let decision = fate(seed, &name);
        let completes = matches!(decision, Decision::Complete(_));
        let grow = growth(seed, runs, run, no).filter(|_| completes);
        runs.end_step(run, no, decision, grow);
    }
    runs.sound();
    assert!(runs.rows.runs[&run].state.is_terminal(), "a step was stranded");
}

fn ends(runs: &Runs, run: RunId) -> (RunState, BTreeMap<String, StepState>) {
    let steps = runs.rows.steps.values().filter(|step| step.run == run);
    let steps = steps.map(|step| (step.name.clone(), step.state));
    (runs.rows.runs[&run].state, steps.collect())
}

#[test]
fn the_order_in_which_steps_end_does_not_matter() {
    for seed in seeds() {
        let steps = monotone(&mut Rng::with_seed(seed));
        let (mut runs, run) = Runs::launch(steps.clone());
        finish(&mut runs, run, seed, 1);
        let first = ends(&runs, run);
        for order in 2..5 {
            let (mut runs, run) = Runs::launch(steps.clone());
            finish(&mut runs, run, seed, order);
            assert_eq!(ends(&runs, run), first, "seed {seed}, order {order}");
        }
    }
}

#[test]
fn what_completed_is_never_executed_again_by_a_retry_of_what_failed() {
    for seed in seeds() {
        let (mut runs, run) = Runs::launch(monotone(&mut Rng::with_seed(seed)));
        finish(&mut runs, run, seed, seed);
        for attempt in 1..4 {
            let before = runs.rows.clone();
            let how = RetryRun::FailedOnly;
            let retry = Command::RetryRun { run, attempt, how };
            let receipt = runs.try_plan(vec![retry]).remove(0);
            let lost = before.steps.values().any(|step| step.state != StepState::Completed);
            assert_eq!(receipt.is_ok(), lost, "seed {seed}: {receipt:?}");
            if !lost {
                break;
            }
            finish(&mut runs, run, seed + u64::from(attempt), seed);
            for (key, old) in &before.steps {
                let kept = old.state == StepState::Completed;
                assert!(!kept || runs.rows.steps.get(key) == Some(old), "seed {seed}: {old:?}");
            }
            for (id, old) in before.tasks.iter().filter(|(_, task)| task.state().is_terminal()) {
                assert_eq!(runs.rows.tasks.get(id), Some(old), "seed {seed}");
            }
        }
    }
}

/// The steps below the failed ones are done again, and nothing else is.
#[test]
fn what_depends_on_what_failed_is_done_again_with_it() {
    for seed in seeds() {
        let (mut runs, run) = Runs::launch(monotone(&mut Rng::with_seed(seed)));
        finish(&mut runs, run, seed, seed);
        let before = runs.rows.clone();
        let mut again: Vec<u32> = before
            .steps
            .values()
            .filter(|s| s.state != StepState::Completed)
            .map(|s| s.no)
            .collect();
        if again.is_empty() {
            continue;
        }
        // Whatever an edge leads to, and whatever was added, until nothing is new.
        for at in 0.. {
            let Some(no) = again.get(at).copied() else { break };
            let edges = before.edges.keys().filter(|(_, from, _)| *from == no).map(|(.., to)| *to);
            let grown = before.steps.values().filter(|step| step.policy.grown_by == Some(no));
            for next in edges.chain(grown.map(|step| step.no)) {
                if !again.contains(&next) {
                    again.push(next);
                }
            }
        }
        let how = RetryRun::FailedAndDownstream;
        runs.plan(vec![Command::RetryRun { run, attempt: 1, how }]);
        runs.sound();
        for (key, old) in &before.steps {
            let same = runs.rows.steps.get(key) == Some(old);
            assert_eq!(same, !again.contains(&key.1), "seed {seed}: step {}", old.name);
        }
    }
}

#[test]
fn a_fork_owns_what_it_keeps_and_comes_to_an_end() {
    for seed in seeds() {
        let (mut runs, old) = Runs::launch(monotone(&mut Rng::with_seed(seed)));
        finish(&mut runs, old, seed, seed);
        let mut rng = Rng::with_seed(seed);
        let steps: Vec<u32> = runs.rows.steps.keys().map(|(_, no)| *no).collect();
        let (no, run) = (rng.choice(steps).unwrap(), RunId::new());
        let outputs = |runs: &Runs, of: RunId| -> BTreeMap<String, Option<Payload>> {
            let kept = runs.rows.steps.values().filter(|step| step.run == of && step.attempt == 0);
            let output = |task: TaskId| {
                let lease = runs.rows.tasks[&task].lease;
                runs.rows.attempts[&(task, lease)].output.clone()
            };
            kept.map(|step| (step.name.clone(), step.task.and_then(output))).collect()
        };
        runs.plan(vec![Command::Fork { from: old, no, run, input: None }]);
        runs.sound();
        assert_ne!(runs.rows.steps[&(run, no)].attempt, 0, "it is done again");
        let before = outputs(&runs, run);
        for (name, output) in &before {
            let step = runs.rows.steps.values().find(|s| s.run == old && s.name == *name).unwrap();
            let task = step.task.map(|task| (task, runs.rows.tasks[&task].lease));
            let old = task.and_then(|key| runs.rows.attempts[&key].output.clone());
            assert_eq!(*output, old, "seed {seed}: {name}");
        }
        let end = Timestamp::from_micros(i64::MAX);
        let none = Timestamp::ZERO;
        let prune = Prune { tasks_before: none, runs_before: end, entries_before: none, limit: 9 };
        assert_eq!(runs.rows.prune(&prune).runs, 1 + u64::from(ended(&runs, run)));
        if !runs.rows.runs.contains_key(&run) {
            continue;
        }
        assert!(!runs.rows.steps.keys().any(|(of, _)| *of == old));
        assert_eq!(outputs(&runs, run), before);
        finish(&mut runs, run, seed + 7, seed);
    }
}

fn ended(runs: &Runs, run: RunId) -> bool {
    runs.rows.runs[&run].state.is_terminal()
}

/// Cancelling at any time ends every step, and a retry of all makes the run as it was.
#[test]
fn a_run_that_was_cancelled_on_its_way_can_be_done_again() {
    for seed in seeds() {
        let steps = monotone(&mut Rng::with_seed(seed));
        let (mut runs, run) = Runs::launch(steps.clone());
        let mut rng = Rng::with_seed(seed);
        for _ in 0..rng.u32(0..10) {
            let open = runs.rows.steps.values().filter(|s| s.state == StepState::Running);
            let Some(no) = rng.choice(open.map(|s| s.no).collect::<Vec<_>>()) else { break };
            let grow = growth(seed, &runs, run, no);
            runs.end_step(run, no, done(), grow);
        }
        let over = ended(&runs, run);
        if !over {
            runs.plan(vec![Command::CancelRun(run)]);
        }
        assert!(ended(&runs, run), "nothing is at work");
        runs.sound();
        runs.plan(vec![Command::RetryRun { run, attempt: 1, how: RetryRun::All }]);
        runs.sound();
        assert_eq!(runs.rows.steps.len(), steps.len());
        let (fresh, other) = Runs::launch(steps);
        finish(&mut runs, run, seed, seed);
        let mut fresh = fresh;
        finish(&mut fresh, other, seed, seed + 1);
        // What a step adds depends on its number, which here are the same.
        assert_eq!(ends(&runs, run), ends(&fresh, other), "seed {seed}");
    }
}

/// What was added depends on the step that added it, also where no edge says so.
#[test]
fn what_waited_for_an_added_step_is_done_again_with_the_one_that_added_it() {
    let mut map = step("map", vec![0]);
    map.terms.insert(0, Terms::tolerating(Tolerance::FAILED));
    let steps = vec![step("first", vec![]), map, step("other", vec![]), step("last", vec![2])];
    let (mut runs, run) = Runs::launch(steps);
    runs.end_step(run, 0, failed(), None);
    let into = vec![(0, 3, Terms::default())];
    let growth = Growth { steps: vec![step("n", vec![])], into };
    runs.end_step(run, 1, done(), Some(growth));
    for no in [2, 4, 3] {
        runs.end_step(run, no, done(), None);
    }
    runs.plan(vec![Command::RetryRun { run, attempt: 1, how: RetryRun::FailedAndDownstream }]);
    runs.sound();
    let attempts = runs.rows.steps.values().map(|step| (step.no, step.attempt));
    assert_eq!(attempts.collect::<Vec<_>>(), [(0, 2), (1, 2), (2, 1), (3, 2)]);
}

/// What it leads to is given up in the same commit, and what depends on that.
#[test]
fn a_new_step_that_can_not_start_takes_along_what_it_leads_to() {
    let mut first = step("first", vec![]);
    first.policy.on_failure = OnFailure::Ignore;
    let names = ["other", "into", "behind", "last"];
    let behind =
        (2..).zip(names).map(|(no, name)| step(name, if no > 2 { vec![no - 1] } else { vec![] }));
    let steps = [first, step("map", vec![])].into_iter().chain(behind).collect();
    let (mut runs, run) = Runs::launch(steps);
    runs.end_step(run, 0, failed(), None);
    let growth = Growth { steps: vec![step("n", vec![0])], into: vec![(0, 3, Terms::default())] };
    runs.end_step(run, 1, done(), Some(growth));
    runs.sound();
    for no in 3..=6 {
        assert_eq!(runs.state(run, no), StepState::Skipped, "step {no}");
    }
    runs.end_step(run, 2, done(), None);
    assert_eq!(runs.rows.runs[&run].state, RunState::Completed);
}

/// Steps that are added and go again in one commit leave nothing behind.
#[test]
fn what_is_added_and_taken_back_in_one_commit_was_never_there() {
    let mut map = step("map", vec![]);
    map.policy.on_failure = OnFailure::Ignore;
    let (mut runs, run) = Runs::launch(vec![map]);
    let held = runs.claim(TaskId::of_step(run, 0, 1));
    let mut joins = vec![step("a", vec![0]), step("b", vec![Growth::NEW])];
    joins.iter_mut().for_each(|step| step.kind = StepKind::Join);
    joins[0].input = Some(Payload::null());
    let growth = Growth { steps: joins, into: vec![] };
    let how = RetryRun::All;
    runs.plan(vec![
        crate::support::runs::settle(held, done(), Some(growth)),
        Command::RetryRun { run, attempt: 1, how },
    ]);
    runs.sound();
    assert_eq!((runs.rows.steps.len(), runs.rows.edges.len()), (1, 0));
    assert_eq!(runs.state(run, 0), StepState::Running);
}
