//! A run with a budget that is too small for it, worked on by two processes of four workers
//! each, some of which are killed.
//!
//! Every step overruns what it has reserved, so what the run may overrun its budget by is known
//! from what its steps have used.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use segue::{
    Context, Engine, Failure, Flow, Run,
    model::{
        AttemptOutcome, Budget, Event, ItemKind, Limits, Needs, OnBreach, Raise, Retry, Rows,
        RunState, Step, Usage, audit, limits,
    },
};
use serde_json::json;

/// Steps that run side by side: as many as there are workers.
const LANES: u32 = 8;
/// Steps behind each other.
const LENGTH: u32 = 15;
/// What each step reserves.
const DECLARED: u64 = 10;
/// Enough for half of the steps.
const BUDGET: u64 = LANES as u64 * LENGTH as u64 * DECLARED / 2 + 3;
/// Workers in each of two processes.
pub const WORKERS: u32 = 4;
/// A process is killed within so many microseconds of the last kill.
const MOMENTS: u64 = 60_000;
/// What a person adds to the budget, and how often.
const RAISE: u64 = 15;
const RAISES: usize = 8;

/// A process that works, and dies with its handle.
pub trait Process {
    fn kill(&mut self);
    fn finish(self);
}

fn tokens(tokens: u64) -> Limits {
    Limits { tokens: Some(tokens), ..Limits::default() }
}

/// What a step uses in all, unless it is killed: more than it has reserved.
fn uses(place: u32, declared: u64) -> u64 {
    declared + 1 + u64::from(place * 7 % 5)
}

/// Some use half of it in a first attempt that fails, and half of it in the next.
async fn spend(context: Context, place: u32, declared: u64) -> Result<u32, Failure> {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let fails = place % 5 == 2;
    let part = if fails { uses(place, declared) / 2 + 1 } else { uses(place, declared) };
    context.used(&json!({ "tokens": part }))?;
    match fails && context.attempt() == 1 {
        true => Err(Failure::new("once more")),
        false => Ok(place),
    }
}

/// A run under the run, which has what its step has reserved, and overruns it.
fn under() -> Flow<u32, u32> {
    let mut draft = Flow::new("under");
    let input = draft.input::<u32>();
    let mut last = input;
    for place in 0..2 {
        let half = DECLARED / 2;
        let work = move |context, _: u32| spend(context, place, half);
        last = draft.code(format!("half {place}"), last, work);
        draft.uses(last, tokens(half));
    }
    draft.returns(input, last)
}

/// Lanes of steps behind each other, where here and there one is a run of its own.
pub fn flow() -> Flow<u32, usize> {
    let (mut draft, under) = (Flow::new("spending"), under());
    let input = draft.input::<u32>();
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        let mut last = input;
        for no in 0..LENGTH {
            let (name, place) = (format!("lane {lane} step {no}"), lane * LENGTH + no);
            let work = move |context, _: u32| spend(context, place, DECLARED);
            last = match no % 4 == 1 && lane % 4 == 0 {
                true => draft.flow(name, last, &under),
                false => draft.code(name, last, work),
            };
            draft.uses(last, tokens(DECLARED));
            draft
                .options(last, |options| options.retry = Retry::every(3, Duration::from_millis(2)));
        }
        lanes.push(last.optional());
    }
    let ends = async |_, ends: Vec<Option<u32>>| Ok(ends.into_iter().flatten().count());
    let count = draft.code("count", lanes, ends);
    draft.returns(input, count)
}

/// What is known of a run that has ended.
#[derive(Debug)]
pub struct Spent {
    /// Attempts that were cut short.
    pub interrupted: usize,
    /// What was used beyond the budget.
    pub overrun: u64,
    /// Steps that failed since nothing was left for them.
    pub refused: usize,
    /// How often a person raised the budget.
    pub raised: usize,
}

/// A run in a database of its own, as another process than those that work sees it.
pub struct Spending {
    reader: Engine,
    run: Run<usize>,
    raised: usize,
}

impl Spending {
    pub async fn launch(reader: Engine, on_breach: OnBreach) -> Self {
        let run = reader.launch(&flow(), 0).budget(tokens(BUDGET), on_breach);
        let run = run.await.expect("a run");
        Self { reader, run, raised: 0 }
    }

    /// Lets two processes work, and kills one or the other at random moments, until the run has
    /// ended.
    pub async fn work<P: Process>(
        mut self,
        random: &mut fastrand::Rng,
        start: impl Fn() -> P,
    ) -> Spent {
        let mut both = [start(), start()];
        // A step whose worker died more often than this fails.
        for _ in 1..limits::INTERRUPTIONS {
            let moment = Instant::now() + Duration::from_micros(random.u64(..MOMENTS));
            while Instant::now() < moment && !self.is_over().await {
                self.answer().await;
            }
            if self.is_over().await {
                break;
            }
            let one = random.usize(..2);
            both[one].kill();
            self.rows().await;
            both[one] = start();
        }
        let limit = Instant::now() + Duration::from_secs(60);
        while !self.is_over().await {
            assert!(Instant::now() < limit, "the run does not end: {:?}", self.budget().await);
            self.answer().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        both.into_iter().for_each(Process::finish);
        self.spent().await
    }

    async fn is_over(&self) -> bool {
        self.run.state().await.expect("its state").is_terminal()
    }

    async fn budget(&self) -> Budget {
        self.run.view().await.expect("its row").run.budget.expect("it has a budget")
    }

    /// Everything there is, which fits together: what a budget says is reserved is what its
    /// steps have reserved.
    async fn rows(&self) -> Rows {
        let rows = self.reader.backend().read(&Needs::everything()).await.expect("all rows");
        assert_eq!(audit(&rows), []);
        rows
    }

    /// Answers what is asked of the budget: more at first, then no more.
    async fn answer(&mut self) {
        for item in self.reader.inbox(None, 20).await.expect("a list") {
            if item.kind != ItemKind::Budget {
                continue;
            }
            assert_eq!(self.budget().await.on_breach, OnBreach::Ask);
            let raises = self.raised < RAISES;
            let said = if raises { Raise::By(tokens(RAISE)) } else { Raise::Fail };
            self.reader.answer(item.id, &said, "Ada").await.expect("it is open");
            self.raised += usize::from(raises);
        }
    }

    async fn spent(self) -> Spent {
        let rows = self.rows().await;
        assert_eq!(self.run.state().await.expect("its state"), RunState::Failed);
        let budget = self.budget().await;
        let steps = self.run.steps().await.expect("its steps");
        nothing_leaks(&budget, &steps);
        for (id, run) in &rows.runs {
            let steps = rows.steps.range((*id, 0)..=(*id, u32::MAX)).map(|(_, step)| step.clone());
            let (steps, budget) = (steps.collect::<Vec<_>>(), run.budget.clone().expect("a share"));
            nothing_leaks(&budget, &steps);
            let used: u64 = steps.iter().map(|step| used(&rows, step)).sum();
            assert_eq!(budget.used.tokens, used, "each attempt is booked once");
            let above =
                rows.steps.values().find(|step| step.task.is_some_and(|t| run.parent == Some(t)));
            assert_eq!(above.map_or(used, |step| self::used(&rows, step)), used, "and so above");
        }
        let limit = budget.limits.tokens.expect("a limit");
        let overrun = budget.used.tokens.saturating_sub(limit);
        let reserve = steps.iter().filter(|step| step.policy.uses.is_some());
        let over = |step: &Step| (step.no, used(&rows, step).saturating_sub(DECLARED));
        let moments = self.over_at_work(&reserve.map(over).collect()).await.into_iter();
        // Nothing was granted after the last of them, but to those for which a person was asked.
        let bound = match budget.on_breach {
            OnBreach::Fail => moments.last(),
            OnBreach::Ask => moments.max(),
        };
        let bound = bound.expect("some began");
        println!("{} used of {limit}, the steps at work {bound} too many", budget.used.tokens);
        assert!(overrun <= bound, "{overrun} more than the budget, the steps at work {bound}");
        let reason = Some("its run's budget is used up");
        let refused = steps.iter().filter(|step| step.reason.as_deref() == reason).count();
        let cut = |outcome| outcome == AttemptOutcome::Interrupted;
        let interrupted = rows.attempts.values().filter(|attempt| cut(attempt.outcome)).count();
        Spent { interrupted, overrun, refused, raised: self.raised }
    }

    /// What the steps that were released and had not ended used beyond what they had reserved:
    /// at each moment at which one was released.
    async fn over_at_work(&self, over: &BTreeMap<u32, u64>) -> Vec<u64> {
        let (mut watch, mut moments) = (self.run.watch(), Vec::new());
        let mut at_work = BTreeSet::new();
        while let Some(entry) = watch.try_next().await.expect("what happened") {
            for event in entry.events {
                match event {
                    // What reserves nothing takes nothing from others.
                    Event::StepReleased { no, .. } if over.contains_key(&no) => {
                        at_work.insert(no);
                        moments.push(at_work.iter().map(|no| over[no]).sum());
                    }
                    Event::StepEnded { no, .. } => drop(at_work.remove(&no)),
                    _ => {}
                }
            }
        }
        moments
    }
}

/// The rounds were what they are for: processes died at work, the budget was overrun, steps were
/// refused, and a person was asked where that was chosen.
pub fn check(rounds: &[Spent], on_breach: OnBreach) {
    assert!(rounds.iter().map(|spent| spent.interrupted).sum::<usize>() > 0, "{rounds:?}");
    assert!(rounds.iter().any(|spent| spent.overrun > 0), "{rounds:?}");
    let raised = if on_breach == OnBreach::Ask { RAISES } else { 0 };
    assert!(rounds.iter().all(|spent| spent.refused > 0 && spent.raised == raised), "{rounds:?}");
}

/// Steps that have ended hold nothing of the budget.
fn nothing_leaks(budget: &Budget, steps: &[Step]) {
    let left = (budget.reserved, budget.waiting);
    assert_eq!(left, (Usage::default(), 0), "a reservation was not given back");
    assert!(steps.iter().all(|step| step.state.is_terminal() && step.reserved.is_none()));
}

/// What the attempts of a step have used, as far as they came to say so.
fn used(rows: &Rows, step: &Step) -> u64 {
    let attempts = step.task.into_iter();
    let attempts = attempts.flat_map(|task| rows.attempts.range((task, 0)..=(task, i64::MAX)));
    let usage = attempts.filter_map(|(_, attempt)| attempt.usage.as_ref());
    usage.map(|usage| Usage::of(usage).tokens).sum()
}
