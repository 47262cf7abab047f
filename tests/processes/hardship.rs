//! Processes that are stopped, and clocks that are set: nothing healthy is taken away.

use std::{
    fs,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use segue::{Engine, model::Needs};

use super::{
    child::Child,
    place::{all_completed, audited, enqueue, eventually, fresh, logged, run_beside},
};

/// How far this process's time of day is from the machine's, in seconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Sets the time of day of this process.
pub fn set_clock(seconds_ahead: i64) {
    AHEAD.store(seconds_ahead, Ordering::SeqCst);
}

/// The clock that everything in this process reads, put in the place of the C library's: as
/// if a person had set the machine's clock. Time that only grows is left alone.
#[allow(unsafe_code, reason = "the name and the pointer are the C library's")]
// SAFETY: the signature is that of the C library's function, whose callers pass a valid pointer.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(id: i32, time: *mut rustix::time::Timespec) -> i32 {
    use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};
    let clock = match id {
        0 => ClockId::Realtime,
        1 => ClockId::Monotonic,
        2 => ClockId::ProcessCPUTime,
        3 => ClockId::ThreadCPUTime,
        5 => ClockId::RealtimeCoarse,
        6 => ClockId::MonotonicCoarse,
        4 => ClockId::MonotonicRaw,
        _ => ClockId::Boottime,
    };
    let Ok(mut now) = clock_gettime_dynamic(DynamicClockId::Known(clock)) else {
        return -1;
    };
    if matches!(clock, ClockId::Realtime | ClockId::RealtimeCoarse) {
        now.tv_sec += AHEAD.load(Ordering::SeqCst);
    }
    // SAFETY: the caller's pointer is valid for one value.
    unsafe { time.write(now) };
    0
}

/// Two processes with four tasks each, all at work.
async fn at_work() -> (tempfile::TempDir, Engine, [Child; 2]) {
    let (folder, reader) = fresh().await;
    enqueue(&reader, "hold", 8).await;
    let both = ["hold"; 2].map(|role| Child::start(folder.path(), role));
    eventually("all run", || async { logged(folder.path()).len() == 8 }).await;
    (folder, reader, both)
}

/// Waits for so long: it is the time itself that is the hardship.
async fn endure(time: Duration) {
    let never = std::future::pending::<()>();
    tokio::time::timeout(time, never).await.unwrap_err();
}

/// Both processes are known and raise their beats, and each task is finished by its first
/// attempt.
async fn is_unharmed(folder: tempfile::TempDir, reader: Engine, both: [Child; 2]) {
    let beats = async || {
        let known = reader.instances().await.unwrap();
        known.iter().map(|instance| instance.beat).collect::<Vec<_>>()
    };
    let before = beats().await;
    assert_eq!(before.len(), 2);
    eventually("both beat", || async {
        let now = beats().await;
        now.iter().zip(&before).filter(|(now, then)| *now > then).count() == 2
    })
    .await;
    fs::write(folder.path().join("release"), "").unwrap();
    all_completed(&reader, 8).await;
    assert_eq!(logged(folder.path()).len(), 8, "each ran once");
    let rows = reader.backend().read(&Needs::everything()).await.unwrap();
    assert!(rows.tasks.values().all(|task| (task.lease, task.interruptions) == (1, 0)));
    both.into_iter().for_each(Child::finish);
    audited(&reader).await;
}

#[test]
fn a_process_that_is_stopped_for_two_minutes_keeps_its_work_and_nothing_runs_twice() {
    run_beside(async {
        let (folder, reader, both) = at_work().await;
        both[1].signal(Signal::STOP);
        endure(Duration::from_secs(120)).await;
        both[1].signal(Signal::CONT);
        is_unharmed(folder, reader, both).await;
    });
}

#[test]
fn a_clock_that_is_set_an_hour_forward_or_back_costs_no_healthy_task() {
    run_beside(async {
        let (folder, reader, mut both) = at_work().await;
        // One process, then both, then back again: each for longer than a lease.
        for (first, second) in [(3_600, 0), (3_600, 3_600), (-3_600, -3_600)] {
            both[0].tell(&first.to_string());
            both[1].tell(&second.to_string());
            endure(Duration::from_secs(35)).await;
        }
        is_unharmed(folder, reader, both).await;
    });
}

#[test]
fn a_clock_that_was_set_is_the_one_that_is_read() {
    run_beside(async {
        let start = Instant::now();
        let before = chrono::Utc::now();
        set_clock(3_600);
        let after = chrono::Utc::now();
        set_clock(0);
        assert!((after - before).num_seconds() >= 3_600);
        assert!(start.elapsed() < Duration::from_secs(3_600));
    });
}
