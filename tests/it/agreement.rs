//! One random history on all backends: after each step they have answered the same, hold the
//! same rows, and the rows fit together.
//!
//! `SEEDS=1000` chooses how many histories, `SEED=7` one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use segue::{
    backend::conformance,
    clock::{ManualClock, Timestamp},
    id::InstanceId,
    model::*,
};

use crate::{
    support::{Subject, in_memory, subjects},
    transitions::forbidden,
    workload::{EVERYTHING, Step, Workload},
};

const STEPS: usize = 120;

#[test]
fn all_backends_agree_and_their_rows_fit_together() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(60),
    };
    // Most of a history is waiting for the disk: several go side by side.
    let seeds = Mutex::new(seeds);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let next = || seeds.lock().unwrap().next();
                while let Some(seed) = next() {
                    let _told = Told(seed);
                    let clock = ManualClock::default();
                    let workload = match seed % 3 {
                        0 => Workload::new(seed, clock.clone()),
                        1 => Workload::of_runs(seed, clock.clone()),
                        _ => Workload::of_agents(seed, clock.clone()),
                    };
                    conformance::block_on(async {
                        history(&subjects(&clock).await, workload, &clock).await;
                    });
                }
            });
        }
    });
}

/// Says which seed it was when a history panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of SEED={} went wrong", self.0);
        }
    }
}

/// Runs with steps, edges and growth of every kind, in memory: what a plan loads must be enough.
#[test]
fn runs_come_to_the_same_whatever_is_loaded() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(40),
    };
    for seed in seeds {
        let _told = Told(seed);
        let clock = ManualClock::default();
        let all = in_memory(&clock);
        let workload = Workload::of_runs(seed, clock.clone());
        conformance::block_on(history(&all, workload, &clock));
    }
}

async fn history(all: &[Subject], mut workload: Workload, clock: &ManualClock) {
    let mut rows = Rows::default();
    for n in 0..STEPS {
        let step = workload.step(&rows);
        if let Step::Advance(by) = &step {
            clock.advance(*by);
        }
        let answers = each(all, |subject| subject.run(&step)).await;
        same(all, &answers, After(n, Some(&step)));
        workload.observe(&answers[0].claimed);
        let after = agreed(all, After(n, Some(&step))).await;
        let found = forbidden(&rows, &after, &step, &answers[0].receipts);
        assert!(found.is_empty(), "{found:#?}\nafter {}", After(n, Some(&step)));
        rows = after;
    }
    finish(all, clock).await;
}

/// Where a history stands: after a step, or in a round of its end.
#[derive(Clone, Copy)]
struct After<'a>(usize, Option<&'a Step>);

impl std::fmt::Display for After<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Some(step) => write!(f, "step {}: {step:?}", self.0),
            None => write!(f, "round {} of the end", self.0),
        }
    }
}

async fn each<'a, T, F: Future<Output = T>>(
    all: &'a [Subject],
    run: impl Fn(&'a Subject) -> F,
) -> Vec<T> {
    let mut answers = Vec::new();
    for subject in all {
        answers.push(run(subject).await);
    }
    answers
}

fn same(all: &[Subject], answers: &[Answer], after: After<'_>) {
    for (subject, answer) in all.iter().zip(answers) {
        let names = (all[0].name, subject.name);
        let (mut one, mut other) = (answers[0].clone(), answer.clone());
        if !subject.counts_revs {
            (one.next, other.next) = (None, None);
            one.tasks().chain(other.tasks()).for_each(|task| task.rev = 0);
        }
        let differ = one != other;
        assert!(!differ, "{names:?} differ: {}\nafter {after}", lines(&one, &other));
    }
}

/// The lines in which two values differ, from the first on.
fn lines<T: std::fmt::Debug>(one: &T, other: &T) -> String {
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    let equal = one.lines().zip(other.lines()).take_while(|(one, other)| one == other).count();
    let from = |text: &str| {
        text.lines().skip(equal.saturating_sub(3)).take(12).collect::<Vec<_>>().join("\n")
    };
    format!("\n{}\nand\n{}", from(&one), from(&other))
}

/// The rows of all backends, which are the same and fit together.
async fn agreed(all: &[Subject], after: After<'_>) -> Rows {
    let dumps = each(all, |subject| conformance::dump(&*subject.backend)).await;
    for (subject, rows) in all.iter().zip(&dumps) {
        let found = audit(rows);
        assert!(found.is_empty(), "{}: {found:#?}\nafter {after}", subject.name);
        let names = format!("{} and {}", all[0].name, subject.name);
        let [one, other] = [&dumps[0], rows].map(|rows| comparable(rows.clone(), subject));
        if let Some(what) = differ(&one, &other) {
            panic!("{names}: {what}\nafter {after}");
        }
    }
    dumps.into_iter().next().unwrap()
}

/// Rows without which of its slots a task holds, and without revisions where those may differ. A
/// lane is a word for needs and keys. One that no task or step uses says nothing, and a new task
/// whose guard misses may have left it.
fn comparable(mut rows: Rows, subject: &Subject) -> Rows {
    let held = std::mem::take(&mut rows.slots).into_values();
    let mut held: Vec<Slot> = held.filter(|slot| slot.held.is_some()).collect();
    held.sort_by_key(|slot| (slot.key.clone(), slot.held));
    for (n, slot) in (0..).zip(held) {
        rows.slots.insert((slot.key.clone(), n), Slot { n, ..slot });
    }
    let tasks = rows.tasks.values().map(|task| task.lane);
    let used: BTreeSet<_> = tasks.chain(rows.steps.values().map(|step| step.lane)).collect();
    rows.lanes.retain(|id, _| used.contains(id));
    if !subject.counts_revs {
        rows.tasks.values_mut().for_each(|task| task.rev = 0);
    }
    rows
}

/// The first table in which two dumps differ, with the rows that do.
fn differ(one: &Rows, other: &Rows) -> Option<String> {
    macro_rules! tables {
        ($($table:ident)+) => {$(
            if one.$table != other.$table {
                let ours: Vec<_> = one.$table.iter().collect();
                let theirs: Vec<_> = other.$table.iter().collect();
                let left: Vec<_> = ours.iter().filter(|row| !theirs.contains(row)).collect();
                let right: Vec<_> = theirs.iter().filter(|row| !ours.contains(row)).collect();
                return Some(format!("{}: {left:#?} and {right:#?}", stringify!($table)));
            }
        )+};
    }
    tables! {
        tasks specs foreign attempts items unique capacity slots lanes sessions chats messages
        memos runs run_specs run_attempts steps step_inputs edges instances entries
        turns agent_sessions ledger parts processes agents
    }
    assert_eq!(one, other, "a table is missing from the list");
    None
}

/// What is due: ripe tasks, when to look again, tasks that are held, and by whom.
type Facts = (Vec<Task>, Option<Timestamp>, Vec<Task>, Vec<(InstanceId, Option<Instance>)>);

/// What a backend answered to a step, as far as it must be the same everywhere.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answer {
    receipts: Vec<Receipt>,
    claimed: Vec<Claimed>,
    next: Option<Timestamp>,
    page: Option<Page>,
    stats: Option<(BTreeMap<TaskState, u64>, u64)>,
    due: Option<Facts>,
    beat: Option<bool>,
}

impl Answer {
    /// Every hot row in it.
    fn tasks(&mut self) -> impl Iterator<Item = &mut Task> {
        let views = match &mut self.page {
            Some(Page::Tasks(views)) => &mut views[..],
            _ => &mut [],
        };
        let listed = views.iter_mut().filter_map(|view| view.task.as_mut());
        let due = self.due.iter_mut();
        let due = due.flat_map(|(ripe, _, held, _)| ripe.iter_mut().chain(held));
        let claimed = self.claimed.iter_mut().map(|claimed| &mut claimed.task);
        listed.chain(due).chain(claimed)
    }
}

impl Subject {
    async fn run(&self, step: &Step) -> Answer {
        match step {
            Step::Commit(batch) => self.commit(batch.clone()).await,
            Step::Insert(spec) => {
                (self.insert)(TaskSpec::clone(spec)).await;
                Answer::default()
            }
            Step::Advance(_) => Answer::default(),
            Step::Due(of) => self.due(*of).await,
            Step::Beat(id) => {
                Answer { beat: Some(self.backend.beat(*id).await.unwrap()), ..Answer::default() }
            }
            Step::Prune(prune) => {
                self.all_entries_show().await;
                let mut left = 1;
                while left > 0 {
                    let pruned = self.backend.prune(prune).await.unwrap();
                    left = pruned.tasks + pruned.runs + pruned.entries;
                }
                Answer::default()
            }
            Step::List(query) => self.list(query).await,
        }
    }

    async fn commit(&self, batch: Batch) -> Answer {
        let again = batch.claim.as_ref().is_some_and(|claim| claim.again);
        let mut done = self.persist(batch).await;
        if again {
            done.claimed.sort_by_key(|claimed| claimed.task.id);
        }
        let (receipts, claimed, next) = (done.receipts, done.claimed, done.next);
        Answer { receipts, claimed, next, ..Answer::default() }
    }

    /// Commits, and once more where the database was away, as an engine does: a machine that
    /// stands still for half a minute loses its connections.
    async fn persist(&self, mut batch: Batch) -> Committed {
        match self.backend.commit(batch.clone()).await {
            Err(error) if error.is_transient() => {
                eprintln!("sent again: {error}");
                batch.claim.iter_mut().for_each(|claim| claim.again = true);
                self.backend.commit(batch).await.unwrap()
            }
            done => done.unwrap(),
        }
    }

    /// Looks, ripens and adopts.
    async fn due(&self, of: InstanceId) -> Answer {
        let mut due = self.due_at_rest(of).await;
        due.foreign.sort();
        due.ripe.sort_by_key(|task| (task.run_at, task.id));
        due.held.sort_by_key(|task| task.id);
        due.holders.sort_by_key(|(id, _)| *id);
        let ripen = due.ripe.iter().cloned().map(|task| Command::Ripen(Box::new(task)));
        let adopt = due.foreign.iter().map(|id| Command::Adopt(*id));
        let commands = ripen.chain(adopt).collect();
        let answer = self.commit(Batch { commands, claim: None }).await;
        // With ripe tasks at hand, when to look again says little.
        let next = self.backend.due(of, 10_000).await.unwrap().next;
        Answer { due: Some((due.ripe, next, due.held, due.holders)), ..answer }
    }

    /// What does not show in the stream of all yet is not pruned yet.
    async fn all_entries_show(&self) {
        let there = self.backend.read(&Needs::everything()).await.unwrap().entries.len();
        let look = async {
            while self.backend.tail(Stream::All, Cursor::START, u32::MAX).await.unwrap().len()
                < there
            {
                tokio::task::yield_now().await;
            }
        };
        let shown = tokio::time::timeout(Duration::from_secs(120), look).await;
        assert!(shown.is_ok(), "an entry of {} never shows in the stream of all", self.name);
    }

    /// What is due, with the end of all streams. Between two looks an entry may show that
    /// another history's writer had held back.
    async fn due_at_rest(&self, of: InstanceId) -> Due {
        for _ in 0..100_000 {
            let due = self.backend.due(of, 10_000).await.unwrap();
            let late = self.backend.tail(Stream::All, due.tail, 10).await.unwrap();
            if late.is_empty() {
                return due;
            }
        }
        panic!("due names the end of all streams");
    }

    async fn list(&self, query: &Query) -> Answer {
        let page = self.backend.list(query).await.unwrap();
        let mut stats = self.backend.stats().await.unwrap();
        stats.tasks.retain(|_, count| *count > 0);
        Answer { page: Some(page), stats: Some((stats.tasks, stats.inbox)), ..Answer::default() }
    }
}

/// Lets everything go on that can. What is left then was stranded.
async fn finish(all: &[Subject], clock: &ManualClock) {
    let mut worker = Finisher { seq: 0, id: InstanceId::new() };
    for round in 0.. {
        clock.advance(Duration::from_secs(7_200));
        let rows = agreed(all, After(round, None)).await;
        let open = rows.tasks.values().filter(|task| !task.state().is_terminal());
        let open: Vec<_> = open.collect();
        assert!(round < 100, "it never comes to rest: {open:#?}");
        let commands = way_out(&rows);
        if commands.is_empty() && open.is_empty() && rows.foreign.is_empty() {
            let stuck: Vec<_> = rows.runs.values().filter(|run| !run.state.is_terminal()).collect();
            let open = rows.steps.values().filter(|step| !step.state.is_terminal());
            let open: Vec<_> = open.collect();
            let left = format!("{stuck:#?}, with these steps: {open:#?}");
            assert!(stuck.is_empty(), "every task has ended, but these runs have not: {left}");
            return;
        }
        let batch = Batch { commands, claim: Some(worker.claim()) };
        let answers = each(all, |subject| subject.commit(batch.clone())).await;
        same(all, &answers, After(round, None));
        let dues = each(all, |subject| subject.due(worker.id)).await;
        same(all, &dues, After(round, None));
    }
}

/// The commands that take each obstacle away.
fn way_out(rows: &Rows) -> Vec<Command> {
    let mut commands = Vec::new();
    let paused = rows.runs.values().filter(|run| run.flags.has(RunFlags::PAUSED));
    let paused = paused.filter(|run| !run.state.is_terminal());
    commands.extend(paused.map(|run| Command::ResumeRun(run.id)));
    let limited = rows.capacity.values().filter(|key| key.slots.is_some());
    let free = |key: &CapacityKey| Command::SetCapacity { key: key.name.clone(), slots: None };
    commands.extend(limited.map(free));
    for task in rows.tasks.values() {
        match task.phase {
            Phase::Running => commands.push(complete(task)),
            _ if task.flags.has(TaskFlags::PAUSED) => commands.push(Command::Resume(task.id)),
            _ => {}
        }
    }
    for item in rows.items.values().filter(|item| item.state == ItemState::Open) {
        let budget = item.kind == ItemKind::Budget;
        let value = item.options.first().map_or("anything", String::as_str);
        let value = if budget { "fail" } else { value };
        let answer = segue::model::Answer { value: Payload::text(value), by: "ann".into() };
        commands.push(Command::Answer { item: item.id, answer });
    }
    commands
}

fn complete(held: &Task) -> Command {
    let (held, retry) = (held.clone(), Retry::NEVER);
    let decision = Decision::Complete(Payload::null());
    Command::Settle(Box::new(Settle::new(held, retry, decision)))
}

struct Finisher {
    seq: i64,
    id: InstanceId,
}

impl Finisher {
    fn claim(&mut self) -> Claim {
        self.seq += 1;
        let serves = EVERYTHING.iter().map(|need| (*need).to_owned()).collect();
        let (instance, seq) = (self.id, self.seq);
        Claim { instance, seq, limit: 1_000, serves: Arc::new(serves), again: false }
    }
}
