//! The rules of tasks, as data.

use std::{collections::BTreeSet, time::Duration};

use segue::{id::TaskId, model::*};

use crate::support::world::{World, check_task, question};

fn plain() -> TaskOptions {
    TaskOptions::default()
}

fn retrying(retry: Retry) -> TaskOptions {
    TaskOptions { retry, ..plain() }
}

fn when_interrupted(interrupted: Interrupted) -> TaskOptions {
    TaskOptions { interrupted, ..plain() }
}

#[test]
fn attempts_failures_interruptions_and_leases_are_counted_apart() {
    let rows = [
        ("", "ready"),
        ("claim", "running attempt=1 lease=1"),
        ("claim; complete", "completed attempt=1 lease=1"),
        ("claim; release", "ready lease=1"),
        ("claim; release; claim; release; claim", "running attempt=1 lease=3"),
        ("claim; snooze", "scheduled attempt=1 lease=1"),
        ("claim; snooze; wait 9s", "scheduled attempt=1 lease=1"),
        ("claim; snooze; wait 10s", "ready attempt=1 lease=1"),
        ("claim; snooze; wait 10s; claim", "running attempt=2 lease=2"),
        ("claim; rescue", "ready attempt=1 lease=1 interruptions=1"),
        ("claim; rescue; claim; rescue", "ready attempt=2 lease=2 interruptions=2"),
        ("claim; park", "ready attempt=1 lease=1"),
        ("claim; block; yes", "ready attempt=1 lease=1"),
        ("claim; fail", "failed attempt=1 lease=1 failures=1"),
        ("claim; fail; retry", "ready attempt=1 lease=1"),
        ("claim; rescue; claim; fail; retry", "ready attempt=2 lease=2"),
        ("claim; fail; retry; claim; complete", "completed attempt=2 lease=2"),
    ];
    for (script, expected) in rows {
        check_task(plain(), script, expected);
    }
}

#[test]
fn a_failure_is_tried_again_as_often_as_the_policy_says() {
    let twice = || retrying(Retry::every(2, Duration::from_secs(5)));
    let rows = [
        ("claim; fail", "scheduled attempt=1 lease=1 failures=1"),
        ("claim; fail; wait 4s; claim! Invalid", "scheduled attempt=1 lease=1 failures=1"),
        ("claim; fail; wait 5s; claim", "running attempt=2 lease=2 failures=1"),
        ("claim; fail; wait 5s; claim; fail", "failed attempt=2 lease=2 failures=2"),
        ("claim; give-up", "failed attempt=1 lease=1 failures=1"),
        ("claim; rescue; claim; fail", "scheduled attempt=2 lease=2 failures=1 interruptions=1"),
        (
            "claim; fail; wait 5s; claim; fail; retry; claim; fail",
            "scheduled attempt=3 lease=3 failures=1",
        ),
    ];
    for (script, expected) in rows {
        check_task(twice(), script, expected);
    }
}

#[test]
fn being_interrupted_is_not_failing() {
    use Interrupted::*;
    let rows = [
        (RunAgain, "claim; rescue", "ready attempt=1 lease=1 interruptions=1"),
        (Ask, "claim; rescue", "blocked attempt=1 lease=1 interruptions=1"),
        (Ask, "claim; rescue; again", "ready attempt=1 lease=1 interruptions=1"),
        (Ask, "claim; rescue; again; again", "ready attempt=1 lease=1 interruptions=1"),
        (Ask, "claim; rescue; fail-it", "failed attempt=1 lease=1 interruptions=1"),
        (Ask, "claim; rescue; yes! NotAnOption", "blocked attempt=1 lease=1 interruptions=1"),
        (Ask, "claim; rescue; fail-it; retry", "ready attempt=1 lease=1"),
        (Fail, "claim; rescue", "failed attempt=1 lease=1 interruptions=1"),
        (Ask, "claim; cancel; rescue", "cancelled attempt=1 lease=1 interruptions=1"),
        (RunAgain, "claim; rescue; rescue", "ready attempt=1 lease=1 interruptions=1"),
        (RunAgain, "rescue! StaleLease", "ready"),
    ];
    for (policy, script, expected) in rows {
        check_task(when_interrupted(policy), script, expected);
    }
    let often = "claim; rescue; ".repeat(limits::INTERRUPTIONS as usize);
    let expected = "failed attempt=10 lease=10 interruptions=10";
    check_task(plain(), &often, expected);
}

#[test]
fn the_first_of_cancel_and_end_wins() {
    let rows = [
        ("cancel", "cancelled"),
        ("claim; cancel", "running cancelling attempt=1 lease=1"),
        ("claim; cancel; complete", "cancelled attempt=1 lease=1"),
        ("claim; cancel; fail", "cancelled attempt=1 lease=1"),
        ("claim; cancel; snooze; snooze", "cancelled attempt=1 lease=1"),
        ("claim; cancel; block; block", "cancelled attempt=1 lease=1"),
        ("claim; cancel; release; release", "cancelled attempt=1 lease=1"),
        ("claim; cancel; stop; stop", "cancelled attempt=1 lease=1"),
        ("claim; complete; cancel! Illegal", "completed attempt=1 lease=1"),
        ("claim; fail; cancel! Illegal", "failed attempt=1 lease=1 failures=1"),
        ("claim; block; cancel; yes! Withdrawn", "cancelled attempt=1 lease=1"),
        ("pause; cancel", "cancelled"),
        ("claim; snooze; cancel", "cancelled attempt=1 lease=1"),
        ("cancel; retry! Illegal", "cancelled"),
        ("cancel; cancel", "cancelled"),
    ];
    for (script, expected) in rows {
        check_task(plain(), script, expected);
    }
}

#[test]
fn a_late_word_of_an_old_attempt_counts_no_more() {
    let rows = [
        ("claim; rescue; old-complete! StaleLease", "ready attempt=1 lease=1 interruptions=1"),
        (
            "claim; rescue; claim; old-complete! StaleLease",
            "running attempt=2 lease=2 interruptions=1",
        ),
        ("claim; rescue; claim; old-stop! StaleLease", "running attempt=2 lease=2 interruptions=1"),
        (
            "claim; rescue; claim; old-release! StaleLease",
            "running attempt=2 lease=2 interruptions=1",
        ),
        ("claim; snooze; wait 10s; claim; old-snooze", "running attempt=2 lease=2"),
        ("claim; release; claim; old-release", "running attempt=1 lease=2"),
        ("claim; release; claim; old-complete! StaleLease", "running attempt=1 lease=2"),
        ("claim; release; claim; old-rescue! StaleLease", "running attempt=1 lease=2"),
        ("claim; fail; retry; claim; old-fail", "running attempt=2 lease=2"),
        ("claim; complete; fail! StaleLease", "completed attempt=1 lease=1"),
    ];
    for (script, expected) in rows {
        check_task(plain(), script, expected);
    }
}

#[test]
fn questions_block_until_they_are_answered() {
    let rows = [
        ("claim; block", "blocked attempt=1 lease=1"),
        ("claim; block; yes", "ready attempt=1 lease=1"),
        ("claim; block; yes; yes", "ready attempt=1 lease=1"),
        ("claim; block; yes; no! Answered", "ready attempt=1 lease=1"),
        ("claim; block; again! NotAnOption", "blocked attempt=1 lease=1"),
        ("claim; block; yes; claim; block", "blocked attempt=2 lease=2"),
        ("claim; block; pause! Illegal", "blocked attempt=1 lease=1"),
    ];
    for (script, expected) in rows {
        check_task(plain(), script, expected);
    }
}

/// Scripts that bring a task into each state.
const WAYS: [(TaskState, &str); 8] = [
    (TaskState::Pending, ""),
    (TaskState::Pending, "claim; snooze"),
    (TaskState::Pending, "claim; release; pause"),
    (TaskState::Running, "claim"),
    (TaskState::Blocked, "claim; block"),
    (TaskState::Completed, "claim; complete"),
    (TaskState::Failed, "claim; fail"),
    (TaskState::Cancelled, "claim; stop"),
];

const VERBS: [&str; 17] = [
    "claim",
    "complete",
    "fail",
    "give-up",
    "snooze",
    "block",
    "release",
    "park",
    "stop",
    "cancel",
    "retry",
    "pause",
    "resume",
    "rescue",
    "yes",
    "fail-it",
    "wait 100s",
];

/// Whether a verb makes sense after a script: a decision needs a claim, an answer a question.
fn applies(way: &str, verb: &str) -> bool {
    let decides = ["complete", "fail", "give-up", "snooze", "block", "release", "park", "stop"];
    match verb {
        "yes" | "fail-it" => way.contains("block") || way.contains("fail"),
        verb if decides.contains(&verb) => way.contains("claim"),
        _ => true,
    }
}

#[test]
fn nothing_but_the_legal_moves_happens_and_each_of_them_does() {
    let policies = [Interrupted::RunAgain, Interrupted::Ask, Interrupted::Fail];
    let mut seen = BTreeSet::new();
    for (state, way) in WAYS {
        for verb in VERBS.into_iter().filter(|verb| applies(way, verb)) {
            for interrupted in policies {
                let mut world = World::new();
                world.enqueue("t", |spec| spec.options = when_interrupted(interrupted));
                world.script(way);
                let before = world.task("t");
                assert_eq!(before.state(), state, "{way}");
                let refused = world.line(verb).is_err();
                let after = world.task("t");
                assert!(!refused || before == after, "{way}; {verb}: refused, yet {after:?}");
                if before.state() != after.state() {
                    let to = after.state();
                    assert!(state.may_become(to), "{way}; {verb}: {state:?} became {to:?}");
                    seen.insert((state, to));
                }
                assert!(before.lease <= after.lease && before.attempt <= after.attempt + 1);
            }
        }
    }
    // Only an adopted row that makes no sense fails without having run, and only an
    // interrupted one fails while it waits for an answer: they have tests of their own.
    seen.insert((TaskState::Pending, TaskState::Failed));
    seen.insert((TaskState::Blocked, TaskState::Failed));
    let moves = TASK_MOVES.iter().flat_map(|(from, ends)| ends.iter().map(|to| (*from, *to)));
    let missing: Vec<_> = moves.filter(|step| !seen.contains(step)).collect();
    assert_eq!(missing, [(TaskState::Pending, TaskState::Blocked)], "legal, but never made");
}

#[test]
fn cancelling_a_parent_cancels_what_it_made() {
    let mut world = World::new();
    world.enqueue("parent", |_| ());
    let parent = world.id("parent");
    world.enqueue("child", |spec| spec.parent = Some(parent));
    let child = world.id("child");
    world.enqueue("grandchild", |spec| spec.parent = Some(child));
    world.enqueue("finished", |spec| spec.parent = Some(child));
    world.enqueue("stranger", |_| ());
    world.script("claim child; claim finished; complete finished; cancel parent");
    let lines = ["parent", "child", "grandchild", "finished", "stranger"];
    let lines = lines.map(|name| world.task_line(name));
    let expected = [
        "cancelled",
        "running cancelling attempt=1 lease=1",
        "cancelled",
        "completed attempt=1 lease=1",
        "ready",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_commands_of_a_batch_take_effect_in_order() {
    let mut world = World::new();
    world.enqueue("t", |_| ());
    world.script("claim");
    let held = world.task("t");
    let settle = Settle::new(held.clone(), Retry::NEVER, Decision::Complete(Payload::null()));
    let commands = vec![Command::Cancel(held.id), Command::Settle(Box::new(settle))];
    let receipts = world.commit(Batch { commands, claim: None }).receipts;
    let states = [TaskState::Running, TaskState::Cancelled].map(|state| Ok(Outcome::State(state)));
    assert_eq!(receipts, states);
}

#[test]
fn values_that_are_too_large_or_empty_are_refused() {
    let long = "x".repeat(limits::NAME_BYTES + 1);
    let huge = Payload::text(&"x".repeat(limits::PAYLOAD_BYTES));
    let wrong: [&dyn Fn(&mut TaskSpec); 9] = [
        &|spec| spec.kind = String::new(),
        &|spec| spec.kind = long.clone(),
        &|spec| spec.project = String::new(),
        &|spec| spec.unique_key = Some(String::new()),
        &|spec| spec.options.tags = vec![long.clone()],
        &|spec| spec.options.capacity = vec![String::new()],
        &|spec| spec.input = huge.clone(),
        &|spec| spec.options.retry.factor = f64::NAN,
        &|spec| spec.step = Some((segue::id::RunId::new(), 0)),
    ];
    let world = World::new();
    for change in wrong {
        let mut spec = TaskSpec::new(TaskId::new(), "work", Payload::null());
        change(&mut spec);
        let refused = world.one(Command::Enqueue(Box::new(spec))).unwrap_err();
        let kinds = matches!(refused, Rejection::TooLarge { .. } | Rejection::Invalid(_));
        assert!(kinds, "{refused}");
    }
    assert_eq!(world.rows(), Rows::default());
}

#[test]
fn a_block_must_ask_what_can_be_answered() {
    let mut world = World::new();
    world.enqueue("t", |_| ());
    world.script("claim");
    let twin = question();
    let failure = Ask { kind: ItemKind::Failure, ..question() };
    for asks in [vec![], vec![failure], vec![twin.clone(), twin]] {
        let settle = Settle::new(world.task("t"), Retry::NEVER, Decision::Block(asks));
        let refused = world.one(Command::Settle(Box::new(settle))).unwrap_err();
        assert!(matches!(refused, Rejection::Invalid(_)), "{refused}");
    }
    assert_eq!(world.task_line("t"), "running attempt=1 lease=1");
}
