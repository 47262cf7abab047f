//! The rules of runs, as data.

use segue::model::{Command, Event, OnFailure, TaskOptions};

use crate::support::{
    runs::{Runs, failed, step},
    world::{World, check},
};

#[test]
fn a_step_starts_when_all_that_it_depends_on_has_completed() {
    let rows = [
        ("a", "", "a=ready run=running"),
        ("a", "claim a", "a=running run=running"),
        ("a", "claim a; complete a", "a=completed run=completed"),
        ("a -> b", "", "a=ready b=pending run=running"),
        ("a -> b", "claim b! Invalid", "a=ready b=pending run=running"),
        ("a -> b", "claim a; complete a", "a=completed b=ready run=running"),
        ("a -> c; b -> c", "claim a; complete a", "a=completed c=pending b=ready run=running"),
        (
            "a -> c; b -> c",
            "claim a; claim b; complete b; complete a",
            "a=completed c=ready b=completed run=running",
        ),
        (
            "a -> b -> d; a -> c -> d",
            "claim a; complete a; complete a; claim b; complete b; complete b",
            "a=completed b=completed d=pending c=ready run=running",
        ),
    ];
    for (flow, script, expected) in rows {
        check(flow, script, expected);
    }
}

/// Every end of a step, and what becomes of what depends on it, at once and by way of others.
#[test]
fn a_skip_travels_as_far_as_the_dependencies_and_no_farther() {
    let rows = [
        ("claim a; complete a", "a=completed b=ready c=pending d=ready e=ready run=running"),
        ("claim a; fail a", "a=failed b=skipped c=skipped d=skipped e=ready run=running"),
        ("claim a; stop a", "a=cancelled b=skipped c=skipped d=skipped e=ready run=running"),
        ("cancel a", "a=cancelled b=skipped c=skipped d=skipped e=ready run=running"),
        ("claim a; snooze a", "a=scheduled b=pending c=pending d=pending e=ready run=running"),
        ("claim a; block a", "a=blocked b=pending c=pending d=pending e=ready run=running"),
        ("claim a; rescue a", "a=ready b=pending c=pending d=pending e=ready run=running"),
    ];
    for (script, expected) in rows {
        check("a -> b -> c; a -> d; e", script, expected);
    }
    check(
        "a -> b; c -> b; c -> d",
        "claim a; fail a; claim c; complete c",
        "a=failed b=skipped c=completed d=ready run=running",
    );
}

#[test]
fn a_run_ends_with_its_last_step_and_as_its_steps_did() {
    let rows = [
        ("a -> b; a -> c", "claim a; fail a", "a=failed b=skipped c=skipped run=failed"),
        ("a; b", "claim a; fail a; cancel b", "a=failed b=cancelled run=failed"),
        ("a; b", "cancel b; claim a; complete a", "a=completed b=cancelled run=cancelled"),
        ("a; b", "claim a; cancel run; stop a", "a=cancelled b=cancelled run=cancelled"),
        ("a -> b", "claim a; cancel run; complete a", "a=cancelled b=cancelled run=cancelled"),
        ("a -> b", "claim a; cancel run; fail a", "a=cancelled b=cancelled run=cancelled"),
        ("a -> b", "claim a; complete a; cancel run", "a=completed b=cancelled run=cancelled"),
        ("a", "cancel run; cancel run", "a=cancelled run=cancelled"),
        ("a", "claim a; cancel run; rescue a", "a=cancelled run=cancelled"),
        ("a", "claim a; complete a; cancel run! RunEnded", "a=completed run=completed"),
    ];
    for (flow, script, expected) in rows {
        check(flow, script, expected);
    }
}

#[test]
fn a_paused_run_starts_nothing_and_what_runs_goes_on() {
    let rows = [
        ("pause run", "a=paused b=pending c=paused run=running"),
        ("claim a; pause run; complete a", "a=completed b=paused c=paused run=running"),
        ("claim a; pause run; snooze a", "a=paused b=pending c=paused run=running"),
        ("claim a; snooze a; pause run", "a=paused b=pending c=paused run=running"),
        ("claim a; pause run; rescue a", "a=paused b=pending c=paused run=running"),
        ("pause run; resume run", "a=ready b=pending c=ready run=running"),
        ("claim a; snooze a; pause run; resume run", "a=scheduled b=pending c=ready run=running"),
        (
            "claim a; snooze a; pause run; wait 60s; resume run",
            "a=ready b=pending c=ready run=running",
        ),
        ("pause c; pause run; resume run", "a=ready b=pending c=paused run=running"),
        ("pause c; pause run; resume c", "a=paused b=pending c=paused run=running"),
        ("pause c; pause run; resume c; resume run", "a=ready b=pending c=ready run=running"),
        ("claim a; block a; pause run; yes a", "a=paused b=pending c=paused run=running"),
        ("pause run; cancel run", "a=cancelled b=cancelled c=cancelled run=cancelled"),
        ("pause run; pause run; resume run; resume run", "a=ready b=pending c=ready run=running"),
    ];
    for (script, expected) in rows {
        check("a -> b; c", script, expected);
    }
}

#[test]
fn cancelling_a_run_cancels_what_its_steps_made() {
    let mut world = World::new();
    world.launch("a -> b", &TaskOptions::default());
    let step = world.id("a");
    world.script("claim a");
    world.enqueue("child", |spec| spec.parent = Some(step));
    world.script("cancel run");
    assert_eq!(world.task_line("child"), "cancelled");
    assert_eq!(world.task_line("a"), "running cancelling attempt=1 lease=1");
}

/// Cancelling ends the steps one by one, and each might end the run.
#[test]
fn the_end_of_a_run_is_told_once() {
    let mut first = step("a", vec![]);
    first.policy.on_failure = OnFailure::StopRun;
    for stops in [false, true] {
        let steps = vec![first.clone(), step("b", vec![]), step("c", vec![1])];
        let (mut runs, run) = Runs::launch(steps);
        match stops {
            true => runs.end_step(run, 0, failed(), None),
            false => runs.plan(vec![Command::CancelRun(run)]),
        }
        let events = runs.rows.entries.values().flat_map(|entry| &entry.events);
        let ends = events.filter(|event| matches!(event, Event::RunEnded { .. }));
        assert_eq!(ends.count(), 1, "stops: {stops}");
        runs.sound();
    }
}
