//! What becomes of a step and of its run, as tables. The page on flows shows the same tables.

use segue::{id::RunId, model::*};

use crate::support::runs::{Runs, done, failed, step};

const PAGE: &str = include_str!("../../src/docs/flows.md");

/// How a step that another depends on can end.
const ENDS: [&str; 5] = ["completes", "completes otherwise", "fails", "is skipped", "is cancelled"];

const TOLERANCES: [(&str, Tolerance); 6] = [
    ("nothing", Tolerance::NONE),
    ("failed", Tolerance::FAILED),
    ("skipped", Tolerance::SKIPPED),
    ("cancelled", Tolerance::CANCELLED),
    ("failed, skipped", Tolerance::FAILED.and(Tolerance::SKIPPED)),
    ("any", Tolerance::ANY),
];

/// An edge, and what the step that it leads to does for each of [`ENDS`].
const EDGES: [(&str, bool, [&str; 5]); 12] = [
    ("nothing", false, ["starts", "starts", "skipped", "skipped", "skipped"]),
    ("nothing", true, ["starts", "skipped", "skipped", "skipped", "skipped"]),
    ("failed", false, ["starts", "starts", "starts", "skipped", "skipped"]),
    ("failed", true, ["starts", "skipped", "starts", "skipped", "skipped"]),
    ("skipped", false, ["starts", "starts", "skipped", "starts", "skipped"]),
    ("skipped", true, ["starts", "skipped", "skipped", "starts", "skipped"]),
    ("cancelled", false, ["starts", "starts", "skipped", "skipped", "starts"]),
    ("cancelled", true, ["starts", "skipped", "skipped", "skipped", "starts"]),
    ("failed, skipped", false, ["starts", "starts", "starts", "starts", "skipped"]),
    ("failed, skipped", true, ["starts", "skipped", "starts", "starts", "skipped"]),
    ("any", false, ["starts", "starts", "starts", "starts", "starts"]),
    ("any", true, ["starts", "skipped", "starts", "starts", "starts"]),
];

/// Of three edges so many have been met, and so many have not: what the step does.
const QUORUMS: [(u32, u32, [&str; 3]); 10] = [
    (0, 0, ["waits", "waits", "waits"]),
    (1, 0, ["waits", "waits", "starts"]),
    (2, 0, ["waits", "starts", "starts"]),
    (3, 0, ["starts", "starts", "starts"]),
    (0, 1, ["skipped", "waits", "waits"]),
    (1, 1, ["skipped", "waits", "starts"]),
    (2, 1, ["skipped", "starts", "starts"]),
    (0, 2, ["skipped", "skipped", "waits"]),
    (1, 2, ["skipped", "skipped", "starts"]),
    (0, 3, ["skipped", "skipped", "skipped"]),
];
const COUNTS: [Quorum; 3] = [Quorum::All, Quorum::AtLeast(2), Quorum::Any];

/// What the end of a step does to the rest of the run, and how the run ends.
const FAILURES: [(&str, OnFailure, &str, &str, &str); 9] = [
    ("fail the run", OnFailure::FailRun, "fails", "goes on", "failed"),
    ("fail the run", OnFailure::FailRun, "is cancelled", "goes on", "cancelled"),
    ("fail the run", OnFailure::FailRun, "is skipped", "goes on", "completed"),
    ("ignore", OnFailure::Ignore, "fails", "goes on", "completed"),
    ("ignore", OnFailure::Ignore, "is cancelled", "goes on", "completed"),
    ("ignore", OnFailure::Ignore, "is skipped", "goes on", "completed"),
    ("stop the run", OnFailure::StopRun, "fails", "is cancelled", "failed"),
    ("stop the run", OnFailure::StopRun, "is cancelled", "goes on", "cancelled"),
    ("stop the run", OnFailure::StopRun, "is skipped", "goes on", "completed"),
];

/// What becomes of a step that can't start any more, and of its run.
const OTHERWISES: [(&str, Otherwise, OnFailure, &str, &str); 4] = [
    ("skip", Otherwise::Skip, OnFailure::FailRun, "skipped", "completed"),
    ("cancel", Otherwise::Cancel, OnFailure::FailRun, "cancelled", "cancelled"),
    ("cancel, ignore", Otherwise::Cancel, OnFailure::Ignore, "cancelled", "completed"),
    ("cancel, stop the run", Otherwise::Cancel, OnFailure::StopRun, "cancelled", "cancelled"),
];

/// Root, then a step, neither of which counts for the run.
fn two() -> Vec<NewStep> {
    let mut steps = vec![step("root", vec![]), step("up", vec![0])];
    steps.iter_mut().for_each(|step| step.policy.on_failure = OnFailure::Ignore);
    steps
}

fn output(n: u32) -> Decision {
    Decision::Complete(Payload::of(&serde_json::json!({ "n": n })).unwrap())
}

/// Ends step 1 of [`two`] so.
fn end(runs: &mut Runs, run: RunId, how: &str) {
    let root = if how == "is skipped" { failed() } else { done() };
    runs.end_step(run, 0, root, None);
    match how {
        "completes" => runs.end_step(run, 1, output(1), None),
        "completes otherwise" => runs.end_step(run, 1, output(0), None),
        "fails" => runs.end_step(run, 1, failed(), None),
        "is cancelled" => runs.plan(vec![Command::CancelStep { run, no: 1 }]),
        _ => {}
    }
    runs.sound();
}

fn word(state: StepState) -> &'static str {
    match state {
        StepState::Pending => "waits",
        StepState::Running => "starts",
        StepState::Completed => "completed",
        StepState::Failed => "failed",
        StepState::Skipped => "skipped",
        StepState::Cancelled => "cancelled",
    }
}

fn terms(tolerates: &str, conditional: bool) -> Terms {
    let (_, tolerates) = TOLERANCES.into_iter().find(|(name, _)| *name == tolerates).unwrap();
    let when = conditional.then(|| Condition::AtLeast("/n".into(), 1.0));
    Terms { tolerates, when }
}

#[test]
fn an_edge_takes_the_ends_that_it_says_it_takes() {
    for (tolerates, conditional, becomes) in EDGES {
        for (how, expected) in ENDS.into_iter().zip(becomes) {
            let mut steps = two();
            let mut down = step("down", vec![1]);
            down.terms.insert(1, terms(tolerates, conditional));
            steps.push(down);
            let (mut runs, run) = Runs::launch(steps);
            end(&mut runs, run, how);
            let found = word(runs.state(run, 2));
            assert_eq!(found, expected, "{tolerates}, condition {conditional}: {how}");
        }
    }
}

/// The same, for a step that is added when what it depends on has ended, and for one that is
/// added by it.
#[test]
fn an_edge_of_a_new_step_takes_the_same_ends() {
    for (tolerates, conditional, becomes) in EDGES {
        for (how, expected) in ENDS.into_iter().zip(becomes) {
            let mut new = step("new", vec![1]);
            new.terms.insert(1, terms(tolerates, conditional));
            let mut steps = two();
            steps.push(step("grower", vec![]));
            let (mut runs, run) = Runs::launch(steps);
            end(&mut runs, run, how);
            let growth = Growth { steps: vec![new], into: vec![] };
            runs.end_step(run, 2, done(), Some(growth));
            runs.sound();
            let found = word(runs.state(run, 3));
            assert_eq!(found, expected, "{tolerates}, condition {conditional}: {how}");
        }
        for (n, expected) in [(1, becomes[0]), (0, becomes[1])] {
            let mut new = step("new", vec![0]);
            new.terms.insert(0, terms(tolerates, conditional));
            let (mut runs, run) = Runs::launch(vec![step("grower", vec![])]);
            let growth = Growth { steps: vec![new], into: vec![] };
            runs.end_step(run, 0, output(n), Some(growth));
            runs.sound();
            assert_eq!(word(runs.state(run, 1)), expected, "{tolerates}: {n}");
        }
    }
}

#[test]
fn a_quorum_starts_its_step_as_soon_as_it_is_met_and_gives_it_up_when_it_can_not_be() {
    for (met, lost, becomes) in QUORUMS {
        for (quorum, expected) in COUNTS.into_iter().zip(becomes) {
            for order in 0..6 {
                let mut steps: Vec<_> = (0..3).map(|n| step(format!("s{n}"), vec![])).collect();
                let mut down = step("down", vec![0, 1, 2]);
                down.policy.quorum = quorum;
                steps.push(down);
                let (mut runs, run) = Runs::launch(steps);
                let mut numbers = [0, 1, 2];
                numbers.swap(0, order % 3);
                if order >= 3 {
                    numbers.swap(1, 2);
                }
                for (at, no) in (0..).zip(&numbers[..(met + lost) as usize]) {
                    let is_met = if order % 2 == 0 { at < met } else { at >= lost };
                    let decision = if is_met { done() } else { failed() };
                    runs.end_step(run, *no, decision, None);
                    runs.sound();
                }
                let found = word(runs.state(run, 3));
                assert_eq!(found, expected, "{quorum:?}: {met} met, {lost} not, order {order}");
            }
        }
    }
}

#[test]
fn a_step_that_ends_badly_does_to_its_run_what_it_says() {
    for (name, on_failure, how, rest, state) in FAILURES {
        let mut steps = two();
        steps[1].policy.on_failure = on_failure;
        steps.extend([step("other", vec![]), step("waits", vec![2])]);
        let (mut runs, run) = Runs::launch(steps);
        end(&mut runs, run, how);
        let left = if rest == "goes on" { StepState::Running } else { StepState::Cancelled };
        assert_eq!(runs.state(run, 2), left, "{name}: {how}");
        if left == StepState::Running {
            runs.end_step(run, 2, done(), None);
            runs.end_step(run, 3, done(), None);
        }
        runs.sound();
        let found = format!("{:?}", runs.rows.runs[&run].state).to_lowercase();
        assert_eq!(found, state, "{name}: {how}");
    }
}

#[test]
fn a_step_that_can_not_start_any_more_ends_as_it_says() {
    for (name, otherwise, on_failure, step_state, run_state) in OTHERWISES {
        let mut steps = two();
        steps[1].policy.otherwise = otherwise;
        steps[1].policy.on_failure = on_failure;
        steps.push(step("other", vec![]));
        let (mut runs, run) = Runs::launch(steps);
        end(&mut runs, run, "is skipped");
        assert_eq!(word(runs.state(run, 1)), step_state, "{name}");
        runs.end_step(run, 2, done(), None);
        let found = format!("{:?}", runs.rows.runs[&run].state).to_lowercase();
        assert_eq!(found, run_state, "{name}");
    }
}

/// A table of the page, as it must stand there.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = |cells: &Vec<String>| format!("|{}\n", "---|".repeat(cells.len()));
    let rule = rule(&head);
    [line(head), rule].into_iter().chain(rows.map(line)).collect()
}

#[test]
fn the_page_on_flows_shows_these_tables() {
    let texts = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let edges = EDGES.iter().map(|(tolerates, conditional, becomes)| {
        let when = if *conditional { ", with a condition" } else { "" };
        [vec![format!("{tolerates}{when}")], texts(becomes)].concat()
    });
    let quorums = QUORUMS.iter().map(|(met, lost, becomes)| {
        [vec![met.to_string(), lost.to_string()], texts(becomes)].concat()
    });
    let failures = FAILURES.iter().map(|(name, _, how, rest, run)| texts(&[name, how, rest, run]));
    let otherwises = OTHERWISES.iter().map(|(name, _, _, step, run)| texts(&[name, step, run]));
    let tables = [
        table(&[&["tolerates"], &ENDS[..]].concat(), edges),
        table(&["met", "not met", "all", "at least 2", "any"], quorums),
        table(&["on failure", "the step", "the rest", "the run"], failures),
        table(&["otherwise", "the step", "the run"], otherwises),
    ];
    for table in tables {
        assert!(PAGE.contains(&table), "src/docs/flows.md lacks this table:\n{table}");
    }
}

#[test]
fn a_condition_holds_of_what_it_says() {
    use serde_json::json;
    let at = |place: &str| place.to_owned();
    let (least, most) = (|n| Condition::AtLeast(at("/n"), n), |n| Condition::AtMost(at("/n"), n));
    let rows = [
        (Condition::Is(at("/n"), json!(2)), true),
        (Condition::Is(at("/n"), json!(3)), false),
        (Condition::Is(at(""), json!({ "n": 2, "nothing": null })), true),
        (Condition::Exists(at("/n")), true),
        (Condition::Exists(at("/nothing")), false),
        (Condition::Exists(at("/other")), false),
        (least(2.0), true),
        (least(2.1), false),
        (most(2.0), true),
        (most(1.9), false),
        (Condition::AtMost(at("/other"), 9.0), false),
        (Condition::Not(Box::new(most(2.0))), false),
        (Condition::Not(Box::new(most(1.0))), true),
        (Condition::All(vec![least(1.0), most(3.0)]), true),
        (Condition::All(vec![least(1.0), most(1.0)]), false),
        (Condition::Any(vec![least(3.0), most(3.0)]), true),
        (Condition::Any(vec![least(3.0), most(1.0)]), false),
    ];
    let output = Payload::of(&json!({ "n": 2, "nothing": null })).unwrap();
    for (condition, holds) in rows {
        assert_eq!(condition.holds(Some(&output)), holds, "{condition:?}");
        assert!(!condition.holds(None), "nothing holds of no output: {condition:?}");
    }
}

/// A step that failed before the run was cancelled does not make it one that failed.
#[test]
fn a_run_that_someone_cancels_is_cancelled_whatever_failed() {
    let (mut runs, run) = Runs::launch(vec![step("a", vec![]), step("b", vec![])]);
    runs.end_step(run, 0, failed(), None);
    runs.plan(vec![Command::CancelRun(run)]);
    assert_eq!(runs.rows.runs[&run].state, RunState::Cancelled);
    runs.sound();
}
