//! What happens, told on stderr while it happens.
//!
//! On a terminal there is a line for each step, redrawn in place. Elsewhere each change is a
//! line of its own.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use segue::{
    clock::Timestamp,
    model::{Entry, Event, Step, StepState},
};

/// How far readers of this process are.
#[derive(Debug, Default)]
pub struct Meter(Mutex<BTreeMap<usize, Gauge>>);

/// The files that a reader has read, and how many it has to read.
#[derive(Clone, Debug)]
struct Gauge {
    done: Arc<AtomicU64>,
    files: u64,
}

impl Meter {
    /// A reader begins. It counts its files in what this returns.
    pub fn begin(&self, reader: usize, files: u64) -> Arc<AtomicU64> {
        let gauge = Gauge { done: Arc::default(), files };
        let done = Arc::clone(&gauge.done);
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.insert(reader, gauge);
        done
    }

    /// A bar for the step of a reader.
    fn bar(&self, step: &str) -> Option<String> {
        let reader: usize = step.strip_prefix("read ")?.parse().ok()?;
        let readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Gauge { done, files } = readers.get(&reader)?.clone();
        let done = done.load(Ordering::Relaxed).min(files);
        let full = (done * 20 / files.max(1)) as usize;
        Some(format!("[{:20}] {done} of {files} files", "#".repeat(full)))
    }
}

/// A step as it is shown.
#[derive(Debug)]
struct Row {
    name: String,
    state: StepState,
    since: Option<Timestamp>,
    note: String,
}

/// Shows the steps of a run.
#[derive(Debug)]
pub struct Screen {
    rows: Vec<Row>,
    meter: Arc<Meter>,
    /// What was committed before is not news.
    start: Timestamp,
    clock: Instant,
    /// On a terminal: how many lines were drawn.
    drawn: Option<usize>,
}

impl Screen {
    /// A screen for a run with these steps. What happened before `start` is told as such.
    pub fn new(steps: &[Step], meter: Arc<Meter>, start: Timestamp) -> Self {
        let row = |step: &Step| Row {
            name: step.name.clone(),
            state: StepState::Pending,
            since: None,
            note: String::new(),
        };
        Self {
            rows: steps.iter().map(row).collect(),
            meter,
            start,
            clock: Instant::now(),
            drawn: io::stderr().is_terminal().then_some(0),
        }
    }

    /// Shows what a commit did. Returns whether the run has ended.
    pub fn show(&mut self, entry: &Entry) -> bool {
        let mut ended = false;
        for event in &entry.events {
            match event {
                Event::StepReleased { no, .. } => {
                    self.change(*no, StepState::Running, entry.at, "started".into());
                }
                Event::StepWaits { no, reason, .. } => {
                    self.change(*no, StepState::Running, entry.at, format!("waits: {reason}"));
                }
                Event::StepEnded { no, state, reason, .. } => {
                    let note = self.ending(*no, *state, reason.as_deref(), entry.at);
                    self.change(*no, *state, entry.at, note);
                }
                Event::RunEnded { .. } => ended = true,
                _ => {}
            }
        }
        self.draw();
        ended
    }

    fn ending(&self, no: u32, state: StepState, reason: Option<&str>, at: Timestamp) -> String {
        let mut note = format!("{state:?}").to_lowercase();
        let since = self.rows.get(no as usize).and_then(|row| row.since);
        match since {
            _ if at < self.start => note.push_str(" before, not repeated"),
            Some(since) => {
                let took = at.since(since.max(self.start));
                note.push_str(&format!(" after {:.1} s", took.as_secs_f64()));
            }
            None => {}
        }
        if let Some(reason) = reason {
            note.push_str(": ");
            note.push_str(reason);
        }
        note
    }

    fn change(&mut self, no: u32, state: StepState, at: Timestamp, note: String) {
        let Some(row) = self.rows.get_mut(no as usize) else {
            return;
        };
        row.state = state;
        row.since = row.since.or(Some(at));
        row.note = note;
        let is_news = at >= self.start || state.is_terminal();
        if self.drawn.is_none() && is_news {
            eprintln!("{}: {}", row.name, row.note);
        }
    }

    /// Draws all lines anew, on a terminal.
    pub fn draw(&mut self) {
        let Some(drawn) = self.drawn else {
            return;
        };
        let mut text = match drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        for row in &self.rows {
            text.push_str(&format!("\x1b[2K{}\n", self.line(row)));
        }
        self.drawn = Some(self.rows.len());
        // Progress that can't be shown is no reason to stop.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn line(&self, row: &Row) -> String {
        let sign = match row.state {
            StepState::Pending => ' ',
            StepState::Running => spinner(self.clock.elapsed()),
            StepState::Completed => '+',
            _ => '!',
        };
        let bar = self.meter.bar(&row.name);
        let note = match (row.state, bar) {
            (StepState::Running, Some(bar)) => bar,
            _ => row.note.clone(),
        };
        let line = format!("{sign} {:10} {note}", row.name);
        // A line that is broken by the terminal would confuse the next drawing.
        line.chars().filter(|c| !c.is_control()).take(78).collect()
    }
}

fn spinner(elapsed: Duration) -> char {
    let signs = ['-', '\\', '|', '/'];
    signs[(elapsed.as_millis() / 150) as usize % signs.len()]
}
