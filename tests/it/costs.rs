//! What large runs cost: rows that are loaded, in all, grow with the run and not with its square.

use segue::{
    backend::conformance,
    clock::ManualClock,
    id::{InstanceId, RunId, TaskId},
    model::*,
};

use crate::support::{
    Subject,
    runs::{Runs, done, failed, settle, spec, step},
    subjects,
};

const WIDE: u32 = 10_000;

fn join(name: &str, after: Vec<u32>, terms: Option<Tolerance>) -> NewStep {
    let mut join = NewStep::new(name, StepKind::Join, after);
    if let Some(tolerates) = terms {
        join.terms = join.after.iter().map(|on| (*on, Terms::tolerating(tolerates))).collect();
    }
    join
}

/// So many new steps after the one that adds them, each leading to step `into`.
fn items(count: u32, by: u32, into: u32, terms: &Terms) -> Growth {
    Growth {
        steps: (0..count).map(|n| step(format!("i{n}"), vec![by])).collect(),
        into: (0..count).map(|n| (n, into, terms.clone())).collect(),
    }
}

/// At most so many rows were loaded for each step that there is.
#[track_caller]
fn at_most(each: usize, runs: &Runs) {
    let steps = runs.rows.steps.len();
    assert!(runs.total <= each * steps, "{} rows for {steps} steps", runs.total);
}

fn ended(runs: &Runs, run: RunId, state: RunState) {
    assert_eq!(runs.rows.runs[&run].state, state);
    runs.sound();
}

#[test]
fn a_fan_out_of_10_000() {
    let wide = (0..WIDE).map(|n| step(format!("s{n}"), vec![0]));
    let (mut runs, run) = Runs::launch([step("root", vec![])].into_iter().chain(wide).collect());
    runs.end_step(run, 0, done(), None);
    for no in 1..=WIDE {
        runs.end_step(run, no, done(), None);
    }
    at_most(8, &runs);
    ended(&runs, run, RunState::Completed);
}

/// Each of so many items is settled for itself, and then the step behind the join.
#[test]
fn a_map_of_10_000() {
    for decision in [done(), failed()] {
        let steps = vec![
            step("map", vec![]),
            join("all", vec![0], None),
            step("after", vec![1]),
            step("other", vec![]),
        ];
        let (mut runs, run) = Runs::launch(steps);
        let terms = Terms::tolerating(Tolerance::FAILED);
        runs.end_step(run, 0, done(), Some(items(WIDE, 0, 1, &terms)));
        for no in 4..4 + WIDE {
            runs.end_step(run, no, decision.clone(), None);
            assert!(runs.loaded.0 <= 16, "item {no} loaded {:?}", runs.loaded);
        }
        runs.end_step(run, 2, done(), None);
        runs.end_step(run, 3, done(), None);
        at_most(8, &runs);
        let counts = decision == done();
        ended(&runs, run, if counts { RunState::Completed } else { RunState::Failed });
    }
}

/// A join of any lets the first through; the rest come in to a step that has ended.
#[test]
fn a_race_of_10_000() {
    let mut any = join("any", vec![0], None);
    any.policy.quorum = Quorum::AtLeast(2);
    let (mut runs, run) = Runs::launch(vec![step("map", vec![]), any, step("after", vec![1])]);
    runs.end_step(run, 0, done(), Some(items(WIDE, 0, 1, &Terms::default())));
    for no in 3..3 + WIDE {
        runs.end_step(run, no, if no % 2 == 0 { done() } else { failed() }, None);
        assert!(runs.loaded.0 <= 16, "item {no} loaded {:?}", runs.loaded);
    }
    at_most(8, &runs);
}

/// Each item is a pipeline of its own whose first step fails.
#[test]
fn a_map_of_pipelines_that_fail() {
    let (items, length) = (2_000, 3);
    let steps = vec![step("map", vec![]), join("all", vec![0], None), step("after", vec![1])];
    let (mut runs, run) = Runs::launch(steps);
    let mut growth = Growth::default();
    for item in 0..items {
        let first = item * length;
        for n in 0..length {
            let on = if n == 0 { 0 } else { Growth::NEW + first + n - 1 };
            growth.steps.push(step(format!("i{item} {n}"), vec![on]));
        }
        growth.into.push((first + length - 1, 1, Terms::tolerating(Tolerance::SKIPPED)));
    }
    runs.end_step(run, 0, done(), Some(growth));
    for item in 0..items {
        runs.end_step(run, 3 + item * length, failed(), None);
        assert!(runs.loaded.0 <= 24, "item {item} loaded {:?}", runs.loaded);
    }
    assert_eq!(runs.state(run, 2), StepState::Running);
    runs.end_step(run, 2, done(), None);
    at_most(10, &runs);
    ended(&runs, run, RunState::Failed);
}

/// Each item of a map is a map, with a join of its own that leads to the outer one.
#[test]
fn a_map_of_maps() {
    let (outer, inner) = (300, 10);
    let (mut runs, run) = Runs::launch(vec![step("map", vec![]), join("all", vec![0], None)]);
    runs.end_step(run, 0, done(), Some(items(outer, 0, 1, &Terms::default())));
    for no in 2..2 + outer {
        let steps = (0..inner).map(|n| step(format!("i{n}"), vec![no])).collect();
        let mut growth = Growth { steps, into: vec![] };
        let all = (0..inner).map(|n| Growth::NEW + n).collect();
        growth.steps.push(join("all", all, None));
        growth.into.push((inner, 1, Terms::default()));
        let first = runs.rows.runs[&run].next_no;
        runs.end_step(run, no, done(), Some(growth));
        for no in first..first + inner {
            runs.end_step(run, no, done(), None);
            assert!(runs.loaded.0 <= 24, "item {no} loaded {:?}", runs.loaded);
        }
    }
    at_most(10, &runs);
    ended(&runs, run, RunState::Completed);
}

#[test]
fn joins_behind_each_other_end_in_one_plan() {
    let joins = (1..=WIDE).map(|n| join(&format!("j{n}"), vec![n - 1], None));
    let (mut runs, run) = Runs::launch([step("root", vec![])].into_iter().chain(joins).collect());
    runs.end_step(run, 0, done(), None);
    assert!(runs.loaded.1 <= 5, "loaded in {} rounds", runs.loaded.1);
    at_most(4, &runs);
    ended(&runs, run, RunState::Completed);
}

/// A ladder of joins, where each rung can be reached in two ways from the one below.
#[test]
fn joins_side_by_side_are_looked_at_once() {
    let rungs = (1..500u32).flat_map(|n| {
        let below = vec![2 * n - 2, 2 * n - 1];
        ["l", "r"].map(|side| join(&format!("{side}{n}"), below.clone(), None))
    });
    let both = [step("l0", vec![]), step("r0", vec![])];
    let (mut runs, run) = Runs::launch(both.into_iter().chain(rungs).collect());
    runs.end_step(run, 0, done(), None);
    runs.end_step(run, 1, done(), None);
    at_most(4, &runs);
    ended(&runs, run, RunState::Completed);
}

#[test]
fn what_is_done_again_is_loaded_once() {
    let (mut runs, run) = Runs::launch(vec![step("map", vec![]), join("all", vec![0], None)]);
    runs.end_step(run, 0, done(), Some(items(WIDE, 0, 1, &Terms::default())));
    let tasks: Vec<TaskId> = (2..2 + WIDE).map(|no| TaskId::of_step(run, no, 1)).collect();
    let held: Vec<Task> = tasks.into_iter().map(|id| runs.claim(id)).collect();
    let half = held.len() / 2;
    runs.end(held[..half].to_vec(), &done());
    runs.end(held[half..].to_vec(), &failed());
    ended(&runs, run, RunState::Failed);
    for (attempt, how) in [(1, RetryRun::FailedOnly), (2, RetryRun::All)] {
        runs.total = 0;
        runs.plan(vec![Command::RetryRun { run, attempt, how }]);
        assert!(runs.total <= 5 * WIDE as usize, "{how:?} loaded {}", runs.total);
        runs.sound();
        runs.plan(vec![Command::CancelRun(run)]);
    }
    assert_eq!(runs.rows.steps.len(), 2, "what the map added goes with it");
    assert_eq!(runs.rows.edges.len(), 1);
}

#[test]
fn a_fork_of_a_run_of_10_000_loads_it_once() {
    let (mut runs, run) = Runs::launch(vec![step("map", vec![]), join("all", vec![0], None)]);
    runs.end_step(run, 0, done(), Some(items(WIDE, 0, 1, &Terms::default())));
    let tasks: Vec<TaskId> = (2..2 + WIDE).map(|no| TaskId::of_step(run, no, 1)).collect();
    let held = tasks.into_iter().map(|id| runs.claim(id)).collect();
    runs.end(held, &done());
    runs.total = 0;
    let new = RunId::new();
    runs.plan(vec![Command::Fork { from: run, no: 1, run: new, input: None }]);
    at_most(5, &runs);
    runs.sound();
    assert_eq!(runs.rows.runs[&new].state, RunState::Completed);
}

/// Tasks that wait for runs of their own, all cancelled with the run they belong to.
#[test]
fn runs_below_runs_are_cancelled_together() {
    let count = 1_000;
    let wide: Vec<_> = (0..count).map(|n| step(format!("s{n}"), vec![])).collect();
    let (mut runs, run) = Runs::launch(wide);
    for no in 0..count {
        let held = runs.claim(TaskId::of_step(run, no, 1));
        let id = RunId::new();
        let child = NewRun {
            spec: spec(id),
            priority: 0,
            steps: vec![step("a", vec![]), step("b", vec![0])],
            parent: Some(held.id),
            budget: None,
            fresh: false,
        };
        runs.plan(vec![Command::Launch(Box::new(child)), settle(held, Decision::Await(id), None)]);
    }
    runs.sound();
    runs.total = 0;
    runs.plan(vec![Command::CancelRun(run)]);
    assert!(runs.rows.runs.values().all(|run| run.state == RunState::Cancelled));
    at_most(6, &runs);
    runs.sound();
}

/// A worker of a backend that takes all that there is, a thousand at a time.
struct Worker<'a> {
    subject: &'a Subject,
    id: InstanceId,
    claims: i64,
}

impl Worker<'_> {
    async fn commit(&mut self, commands: Vec<Command>) -> Vec<Task> {
        self.claims += 1;
        let serves = std::sync::Arc::new(["flow:large@3".to_owned()].into());
        let (instance, seq) = (self.id, self.claims);
        let claim = Claim { instance, seq, limit: 1_000, serves, again: false };
        let batch = Batch { commands, claim: Some(claim) };
        let done = self.subject.backend.commit(batch).await.unwrap();
        assert!(done.receipts.iter().all(Result::is_ok), "{:?}", done.receipts);
        done.claimed.into_iter().map(|claimed| claimed.task).collect()
    }

    /// Lets a run end, each step as `decide` says.
    async fn run(
        &mut self,
        steps: Vec<NewStep>,
        decide: impl Fn(u32) -> (Decision, Option<Growth>),
    ) -> RunState {
        let id = RunId::new();
        let new =
            NewRun { spec: spec(id), priority: 0, steps, parent: None, budget: None, fresh: false };
        let mut commands = vec![Command::Launch(Box::new(new))];
        while !commands.is_empty() {
            let held = self.commit(commands).await.into_iter();
            let end = |held: Task| {
                let (decision, grow) = decide(held.step.map_or(0, |(_, no)| no));
                settle(held, decision, grow)
            };
            commands = held.map(end).collect();
        }
        let needs = Needs { runs: [id].into(), ..Needs::default() };
        self.subject.backend.read(&needs).await.unwrap().runs[&id].state
    }
}

/// What is linear in rows takes no longer in a database either.
#[test]
fn every_backend_carries_runs_of_10_000() {
    conformance::block_on(async {
        let clock = ManualClock::default();
        for subject in subjects(&clock).await.iter().filter(|subject| subject.name != "whole") {
            let mut worker = Worker { subject, id: InstanceId::new(), claims: 0 };
            let plain = |_| (done(), None);
            let wide = (0..WIDE).map(|n| step(format!("s{n}"), vec![0]));
            let root = step("root", vec![]);
            let fan_out: Vec<_> = [root.clone()].into_iter().chain(wide).collect();
            assert_eq!(worker.run(fan_out, plain).await, RunState::Completed);
            let wide = (0..WIDE).map(|n| step(format!("s{n}"), vec![]));
            let fan_in = wide.chain([step("last", (0..WIDE).collect())]).collect();
            assert_eq!(worker.run(fan_in, plain).await, RunState::Completed);
            let chain = (1..WIDE).map(|n| step(format!("s{n}"), vec![n - 1]));
            let chain: Vec<_> = [root].into_iter().chain(chain).collect();
            assert_eq!(worker.run(chain.clone(), |_| (failed(), None)).await, RunState::Failed);
            let short = chain[..1_000].to_vec();
            assert_eq!(worker.run(short, plain).await, RunState::Completed);
            let map = vec![step("map", vec![]), join("all", vec![0], None), step("end", vec![1])];
            let grown = |no| (done(), (no == 0).then(|| items(WIDE, 0, 1, &Terms::default())));
            assert_eq!(worker.run(map, grown).await, RunState::Completed);
        }
    });
}
