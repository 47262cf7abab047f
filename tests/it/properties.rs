//! Rules under inputs that nobody thought of.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use segue::{
    clock::Timestamp,
    id::{ItemId, RunId, TaskId},
    model::*,
};
use uuid::Uuid;

fn task_id() -> impl Strategy<Value = TaskId> {
    any::<u128>().prop_map(|bits| TaskId::from(Uuid::from_u128(bits)))
}

/// Any policy, with a limit that a double counts exactly: up to thirty years.
fn retry() -> impl Strategy<Value = Retry> {
    let numbers = (any::<u32>(), any::<u64>(), any::<f64>(), 0u64..1 << 40, any::<f64>());
    numbers.prop_map(|(attempts_max, delay_ms, factor, delay_max_ms, jitter)| Retry {
        attempts_max,
        delay_ms,
        factor,
        delay_max_ms,
        jitter,
    })
}

/// Steps with dependencies on earlier ones only, in numbers that are mixed up.
fn flow() -> impl Strategy<Value = Vec<NewStep>> {
    let edges = vec((any::<u16>(), any::<u16>()), 0..60);
    (1u32..30, edges, any::<u64>()).prop_map(|(count, edges, seed)| {
        let mut place: Vec<u32> = (0..count).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut place);
        let mut steps: Vec<NewStep> = (0..count).map(new_step).collect();
        for (one, other) in edges {
            let (one, other) = (u32::from(one) % count, u32::from(other) % count);
            if one != other {
                let (early, late) = (one.min(other) as usize, one.max(other) as usize);
                steps[place[late] as usize].after.push(place[early]);
            }
        }
        steps
    })
}

fn new_step(no: u32) -> NewStep {
    NewStep::new(format!("s{no}"), StepKind::Code, Vec::new())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_wait_never_exceeds_its_limit_and_is_the_same_each_time(
        retry in retry(), failures in any::<u32>(), task in task_id(),
    ) {
        let wait = retry.delay(failures, task);
        prop_assert!(wait <= Duration::from_millis(retry.delay_max_ms));
        prop_assert_eq!(wait, retry.delay(failures, task));
    }

    #[test]
    fn waits_grow_and_jitter_only_shortens_them(
        delay_ms in 0u64..10_000, factor in 1.0f64..4.0, jitter in 0.0f64..1.0,
        failures in 1u32..40, task in task_id(),
    ) {
        let plain = Retry { attempts_max: 50, delay_ms, factor, delay_max_ms: 3_600_000, jitter: 0.0 };
        prop_assert!(plain.delay(failures, task) <= plain.delay(failures + 1, task));
        let jittered = Retry { jitter, ..plain }.delay(failures, task);
        let full = plain.delay(failures, task);
        prop_assert!(jittered <= full);
        let least = full.mul_f64(1.0 - jitter);
        prop_assert!(jittered + Duration::from_micros(2) >= least, "{:?} of {:?}", jittered, full);
    }

    #[test]
    fn any_text_from_a_row_is_json(text in any::<String>()) {
        let payload = Payload::from_row(text.clone());
        let value = payload.decode::<serde_json::Value>();
        prop_assert!(value.is_ok(), "{payload}");
        prop_assert_eq!(Payload::text(&text).decode::<String>().unwrap(), text);
    }

    #[test]
    fn options_survive_their_row(
        tags in vec(any::<String>(), 0..3), capacity in vec(any::<String>(), 0..3),
        delay_ms in any::<u64>(), factor in -1e9f64..1e9, timeout_ms in any::<Option<u64>>(),
    ) {
        let retry = Retry { delay_ms, factor, ..Retry::times(3) };
        let options = TaskOptions { tags, capacity, timeout_ms, retry, ..TaskOptions::default() };
        prop_assert_eq!(TaskOptions::from_row(options.to_row().as_deref()), options);
    }

    #[test]
    fn options_of_another_program_never_panic(text in any::<String>()) {
        let options = TaskOptions::from_row(Some(&text));
        prop_assert!(options == TaskOptions::default() || options.unreadable.is_some());
    }

    #[test]
    fn derived_ids_differ(bits in any::<u128>(), one in 0u32..100_000, other in 0u32..100_000) {
        let run = RunId::from(Uuid::from_u128(bits));
        prop_assert_eq!(one == other, TaskId::of_step(run, one, 1) == TaskId::of_step(run, other, 1));
        let (a, b) = (TaskId::of_step(run, one, 1), i64::from(other));
        prop_assert!(ItemId::of_failure(a, b) != ItemId::of_interruption(a, b));
        prop_assert!(ItemId::of_failure(a, b) != ItemId::of_failure(a, b + 1));
    }

    #[test]
    fn a_cursor_survives_as_text(major in any::<i64>(), minor in 0i64..) {
        let cursor = Cursor { major, minor };
        prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
    }

    #[test]
    fn times_add_and_compare(micros in -1i64 << 60..1 << 60, by in 0u64..1 << 60) {
        let (time, by) = (Timestamp::from_micros(micros), Duration::from_micros(by));
        prop_assert_eq!((time + by).since(time), by);
        prop_assert_eq!(time.since(time + by), Duration::ZERO);
    }

    #[test]
    fn the_order_of_needs_and_keys_makes_no_other_lane(
        mut needs in vec("[a-c]{1,2}", 0..4), mut keys in vec("[a-c]{1,2}", 0..4),
    ) {
        let lane = Lane::new(needs.clone(), keys.clone());
        needs.reverse();
        keys.reverse();
        keys.extend(keys.clone());
        let same = Lane::new(needs.clone(), keys.clone());
        prop_assert_eq!(&lane, &same);
        let moved = Lane::new([needs, vec!["z".into()]].concat(), keys);
        prop_assert!(moved.id != lane.id);
    }

    #[test]
    fn an_acyclic_flow_passes_and_a_closed_one_does_not(steps in flow(), pick in any::<u16>()) {
        prop_assert_eq!(Dag::check(&steps), Ok(()));
        let edges: Vec<(usize, u32)> = steps.iter().enumerate()
            .flat_map(|(to, step)| step.after.iter().map(move |from| (to, *from)))
            .collect();
        if !edges.is_empty() {
            let (to, from) = edges[pick as usize % edges.len()];
            let mut closed = steps;
            closed[from as usize].after.push(to as u32);
            prop_assert!(matches!(Dag::check(&closed), Err(DagError::Cycle(_))));
        }
    }
}
