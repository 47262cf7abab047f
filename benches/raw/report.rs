//! Figures and the table that shows them.

use std::time::Duration;

use super::Case;

/// What a series of transactions took.
#[derive(Default)]
pub struct Figure {
    tasks: usize,
    times: Vec<Duration>,
}

impl Figure {
    pub fn add(&mut self, tasks: usize, time: Duration) {
        self.tasks += tasks;
        self.times.push(time);
    }

    pub fn spent(&self) -> Duration {
        self.times.iter().sum()
    }

    /// Tasks a second.
    pub fn rate(&self) -> f64 {
        self.tasks as f64 / self.spent().as_secs_f64()
    }

    /// The median transaction, in microseconds: a stalling disk moves it less than the rate.
    pub fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    }
}

pub struct Line {
    pub name: String,
    pub case: Case,
    pub figures: Vec<Figure>,
}

#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// Adds a line and shows it at once on stderr.
    pub fn add(&mut self, line: Line) {
        eprintln!("{}", self.row(&line));
        self.lines.push(line);
    }

    pub fn print(&self) {
        println!("\ntasks a second (median transaction in us)");
        println!(
            "{:<26}{:>8}{:>8}{:>6}  {:>15}{:>15}{:>15}  {:>15}{:>15}{:>6}",
            "statements",
            "waiting",
            "done",
            "lanes",
            "exchange 1",
            "10",
            "100",
            "enqueue 1",
            "1000",
            "slow"
        );
        self.lines.iter().for_each(|line| println!("{}", self.row(line)));
    }

    fn row(&self, line: &Line) -> String {
        let case = line.case;
        let cell = |f: &Figure| format!("{:.0} ({:.0})", f.rate(), f.median());
        let cells: Vec<String> = line.figures.iter().map(cell).collect();
        format!(
            "{:<26}{:>8}{:>8}{:>6}  {:>15}{:>15}{:>15}  {:>15}{:>15}{:>6}",
            line.name,
            case.waiting,
            case.finished,
            case.lanes,
            cells[0],
            cells[1],
            cells[2],
            cells[3],
            cells[4],
            self.slowdown(line)
        )
    }

    /// The worst of a line's medians over those of the same statements on empty tables.
    fn slowdown(&self, line: &Line) -> String {
        let empty =
            Case { waiting: 10 * line.case.lanes as usize, finished: 0, lanes: line.case.lanes };
        let Some(base) = self.lines.iter().find(|l| l.name == line.name && l.case == empty) else {
            return "-".to_owned();
        };
        let pairs = line.figures.iter().zip(&base.figures);
        let worst = pairs.map(|(now, then)| now.median() / then.median()).fold(0.0, f64::max);
        format!("{worst:.2}")
    }
}
