//! What happened in a run over time: the rows of a timeline, however it is drawn.

use std::{collections::BTreeMap, time::Duration};

use super::{
    look::{self, Standing},
    record::{RunRecord, StepRecord, TaskRecord},
    text,
};
use crate::{
    clock::Timestamp,
    model::{AttemptOutcome, StepKind},
};

/// How many steps a timeline shows before it folds: the first ones, and of the others so many
/// that failed, run, or ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub first: usize,
    pub striking: usize,
}

#[derive(Debug)]
pub(super) struct Timeline {
    /// When the run was launched, or what is earliest where clocks differ.
    pub start: Timestamp,
    /// After `start`.
    pub end: Timestamp,
    pub rows: Vec<Row>,
    pub rest: Option<Rest>,
}

/// A step.
#[derive(Debug)]
pub(super) struct Row {
    pub no: u32,
    pub name: String,
    pub kind: StepKind,
    pub agent: Option<String>,
    pub standing: Standing,
    /// In order of time; they do not overlap, unless clocks differ.
    pub spans: Vec<Span>,
    pub attempts: usize,
    /// Its output is that of earlier work.
    pub recalled: bool,
    pub worked: Duration,
}

/// A part of a step's time.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
    pub what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// It waits for its turn, its time, or its next attempt.
    Wait,
    /// It waits for a person.
    Person,
    /// It waits for a run under it.
    Run,
    /// An attempt; without an outcome it still runs.
    Work { attempt: usize, outcome: Option<AttemptOutcome>, error: Option<String> },
}

/// The steps that are not shown, together.
#[derive(Debug)]
pub(super) struct Rest {
    pub steps: usize,
    /// How many there are of each state, in the order of the legend.
    pub standings: Vec<(Standing, usize)>,
    /// When each attempt of them worked.
    pub work: Vec<(Timestamp, Timestamp)>,
}

impl Timeline {
    pub fn of(record: &RunRecord, limit: Rows) -> Self {
        let now = record.end();
        let all = record.steps.iter().map(|step| row(step, record.read_at));
        let all: Vec<Row> = all.collect();
        let spans = || all.iter().flat_map(|row| &row.spans);
        let start = spans().map(|span| span.from).chain([record.run.created_at]).min();
        let end = spans().map(|span| span.to).chain([now]).max();
        let start = start.unwrap_or_default();
        let end = end.unwrap_or_default().max(start + Duration::from_micros(1));
        let (mut rows, mut hidden, mut striking) = (Vec::new(), Vec::new(), 0);
        let folds = all.len() > limit.first + limit.striking;
        for (at, row) in all.into_iter().enumerate() {
            let strikes = row.standing.is_striking() && striking < limit.striking;
            let shown = !folds || at < limit.first || strikes;
            striking += usize::from(at >= limit.first && strikes);
            if shown { rows.push(row) } else { hidden.push(row) }
        }
        Self { start, end, rows, rest: (!hidden.is_empty()).then(|| rest(&hidden)) }
    }

    /// From its start to its end.
    pub fn total(&self) -> Duration {
        self.end.since(self.start)
    }

    /// Where a time lies, from 0 to 1.
    pub fn share(&self, time: Timestamp) -> f64 {
        let share = time.since(self.start).as_secs_f64() / self.total().as_secs_f64();
        share.clamp(0.0, 1.0)
    }

    /// Times that are good to label, from 0 on: at most so many.
    pub fn ticks(&self, most: usize) -> Vec<Duration> {
        const SECOND: u64 = 1_000_000;
        const STEPS: [u64; 12] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800];
        let hours = [1, 2, 3, 6, 12, 24, 48].map(|hours| hours * 3_600 * SECOND);
        let parts = (0..6).flat_map(|zeros| [1, 2, 5].map(|n| n * 10_u64.pow(zeros)));
        let weeks = (0..24).map(|double| (7 * 86_400 * SECOND) << double);
        let steps = parts.chain(STEPS.map(|step| step * SECOND)).chain(hours);
        let total = self.total().as_micros() as u64;
        let step = steps.chain(weeks).find(|step| total / step < most as u64);
        let step = step.unwrap_or(total.max(1));
        (0..=total / step).map(|n| Duration::from_micros(n * step)).collect()
    }
}

impl Row {
    /// What the end of its line says.
    pub fn outcome(&self) -> String {
        let often = match self.attempts {
            0 | 1 => String::new(),
            more => format!(" \u{d7}{more}"),
        };
        match self.standing {
            Standing::Completed if self.recalled => "recalled".to_owned() + &often,
            Standing::Completed => text::duration(self.worked) + &often,
            other if self.attempts == 0 => other.name().to_owned(),
            other => format!("{} {}{often}", other.name(), text::duration(self.worked)),
        }
    }

    /// Its name with what does it.
    pub fn title(&self) -> String {
        match &self.agent {
            Some(agent) => format!("{} ({agent})", self.name),
            None => self.name.clone(),
        }
    }
}

impl Span {
    /// What it is, for people.
    pub fn tip(&self) -> String {
        let time = text::duration(self.to.since(self.from));
        match &self.what {
            What::Wait => format!("waits, {time}"),
            What::Person => format!("waits for a person, {time}"),
            What::Run => format!("waits for a run under it, {time}"),
            What::Work { attempt, outcome, error } => {
                let name = look::outcome(*outcome).name;
                let error = error.as_deref().map(|error| format!(": {}", text::short(error, 200)));
                format!("attempt {attempt}, {name}, {time}{}", error.unwrap_or_default())
            }
        }
    }
}

fn row(step: &StepRecord, now: Timestamp) -> Row {
    Row {
        no: step.no,
        name: text::clean(&step.name),
        kind: step.kind,
        agent: step.agent.as_deref().map(text::clean),
        standing: Standing::of(step),
        spans: step.task.as_ref().map(|task| spans(task, now)).unwrap_or_default(),
        attempts: step.attempts(),
        recalled: step.recalled().is_some(),
        worked: step.worked(now),
    }
}

fn spans(task: &TaskRecord, now: Timestamp) -> Vec<Span> {
    let mut spans = Vec::new();
    let (mut from, mut last) = (task.released_at, None);
    let wait = |from, to, last| {
        let what = match last {
            Some(AttemptOutcome::Blocked) => What::Person,
            Some(AttemptOutcome::Awaited) => What::Run,
            _ => What::Wait,
        };
        (from < to).then_some(Span { from, to, what })
    };
    for (row, attempt) in task.attempts.iter().zip(1..) {
        spans.extend(wait(from, row.started_at, last));
        let (outcome, error) = (Some(row.outcome), row.error.clone());
        let what = What::Work { attempt, outcome, error };
        spans.push(Span { from: row.started_at, to: row.ended_at.max(row.started_at), what });
        (from, last) = (row.ended_at, Some(row.outcome));
    }
    if let Some(start) = task.running_since {
        spans.extend(wait(from, start, last));
        let attempt = task.attempts.len() + 1;
        let what = What::Work { attempt, outcome: None, error: None };
        spans.push(Span { from: start, to: now.max(start), what });
    } else if !task.state.is_terminal() {
        spans.extend(wait(from, now, last));
    }
    spans
}

fn rest(hidden: &[Row]) -> Rest {
    let mut counts = BTreeMap::<Standing, usize>::new();
    for row in hidden {
        *counts.entry(row.standing).or_default() += 1;
    }
    let order = Standing::ALL.into_iter();
    let spans = hidden.iter().flat_map(|row| &row.spans);
    let work = spans.filter(|span| matches!(span.what, What::Work { .. }));
    Rest {
        steps: hidden.len(),
        standings: order.filter_map(|one| Some((one, *counts.get(&one)?))).collect(),
        work: work.map(|span| (span.from, span.to)).collect(),
    }
}

impl Rest {
    /// `40 completed, 2 queued`.
    pub fn summary(&self) -> String {
        let counts = self.standings.iter();
        let counts = counts.map(|(standing, n)| format!("{} {}", text::count(*n), standing.name()));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// How many attempts worked at once, on average, in each of so many equal parts of the
    /// time.
    pub fn density(&self, timeline: &Timeline, parts: usize) -> Vec<f64> {
        // Whole parts are booked as changes at their ends, what is left of a part in it.
        let (mut own, mut changes) = (vec![0.0; parts], vec![0_i64; parts + 1]);
        for (from, to) in &self.work {
            let [from, to] = [from, to].map(|time| timeline.share(*time) * parts as f64);
            let [first, last] = [from, to].map(|at| (at as usize).min(parts - 1));
            if first == last {
                own[first] += to - from;
                continue;
            }
            own[first] += (first + 1) as f64 - from;
            own[last] += to - last as f64;
            changes[first + 1] += 1;
            changes[last] -= 1;
        }
        let mut whole = 0;
        let busy = own.into_iter().zip(changes).map(|(own, change)| {
            whole += change;
            own + whole as f64
        });
        busy.collect()
    }

    /// How many attempts worked at once, at most.
    pub fn most(&self) -> usize {
        let ends = self.work.iter().flat_map(|(from, to)| [(*from, 1), (*to, -1_i64)]);
        let mut ends: Vec<_> = ends.collect();
        ends.sort_unstable();
        let at_once = ends.into_iter().scan(0, |now, (_, change)| {
            *now += change;
            Some(*now)
        });
        at_once.max().unwrap_or(0) as usize
    }
}
