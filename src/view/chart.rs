//! A timeline as text, for terminals and logs.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    look,
    record::RunRecord,
    text,
    timeline::{Rest, Row, Rows, Timeline, What},
};

const ROWS: Rows = Rows { first: 40, striking: 10 };
/// The columns of the text at the end of a line.
const END: usize = 20;

/// What a text is drawn with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Glyphs {
    /// Block characters.
    #[default]
    Unicode,
    /// Only ASCII, except in names.
    Ascii,
}

impl Glyphs {
    const fn wait(self) -> char {
        match self {
            Self::Unicode => '\u{2591}',
            Self::Ascii => '.',
        }
    }

    const fn person(self) -> char {
        match self {
            Self::Unicode => '\u{2592}',
            Self::Ascii => ':',
        }
    }

    const fn run(self) -> char {
        match self {
            Self::Unicode => '\u{2500}',
            Self::Ascii => '-',
        }
    }

    const fn work(self) -> char {
        match self {
            Self::Unicode => '\u{2588}',
            Self::Ascii => '#',
        }
    }

    /// From nothing to the most.
    const fn levels(self) -> [char; 9] {
        match self {
            Self::Unicode => [
                ' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}',
                '\u{2587}', '\u{2588}',
            ],
            Self::Ascii => [' ', '.', ':', '-', '=', '+', '*', '%', '#'],
        }
    }

    fn own(self, text: &str) -> String {
        match self {
            Self::Unicode => text.to_owned(),
            Self::Ascii => text.replace('\u{d7}', "x").replace('\u{2026}', "~"),
        }
    }
}

impl RunRecord {
    /// When its steps waited and worked, as lines of at most `columns` columns (60 at least,
    /// 300 at most), each with its end of line.
    ///
    /// A step is a line: its name, its time, and how it ended. Waiting is drawn lighter than
    /// working. The last column of an attempt that did not complete has a mark: `x` failed,
    /// `!` interrupted, `?` asked a person, `w` awaited a run under it, `z` asked to run later,
    /// `p` met the limit of its provider, `c` cancelled, `>` still runs.
    ///
    /// Of more than 50 steps the first 40 are shown, and of the others up to 10 that failed,
    /// run, or ask a person. One more line then says how many of the rest worked at each time.
    pub fn timeline_text(&self, columns: usize, glyphs: Glyphs) -> String {
        let timeline = Timeline::of(self, ROWS);
        let chart = Chart::new(&timeline, columns.clamp(60, 300), glyphs);
        let mut drawn = chart.head(self);
        drawn.push_str(&chart.axis());
        timeline.rows.iter().for_each(|row| drawn.push_str(&chart.row(row)));
        timeline.rest.iter().for_each(|rest| drawn.push_str(&chart.rest(rest)));
        drawn.push_str(&chart.legend());
        drawn
    }
}

struct Chart<'a> {
    timeline: &'a Timeline,
    glyphs: Glyphs,
    columns: usize,
    names: usize,
    /// The columns of the time.
    bars: usize,
}

impl<'a> Chart<'a> {
    fn new(timeline: &'a Timeline, columns: usize, glyphs: Glyphs) -> Self {
        let longest = timeline.rows.iter().map(|row| text::width(&row.title())).max();
        let names = longest.unwrap_or(0).clamp(8, columns * 3 / 10);
        Self { timeline, glyphs, columns, names, bars: columns - names - END - 4 }
    }

    fn head(&self, record: &RunRecord) -> String {
        let run = &record.run;
        let state = format!("{:?}", run.state).to_lowercase();
        let paused = if run.paused { ", paused" } else { "" };
        let (total, steps) = (text::duration(self.timeline.total()), record.steps.len());
        let steps = text::counted(steps, "step");
        let rest = format!("{state}{paused}, {total}, {steps}, from {}", self.timeline.start);
        let name =
            text::short(&text::clean(&run.flow), self.columns.saturating_sub(rest.len() + 4));
        self.line(&format!("{name}: {rest}"))
    }

    /// The labels stand where their times are, as far as there is room.
    fn axis(&self) -> String {
        let mut labels = String::new();
        for tick in self.timeline.ticks((self.bars / 11).max(3)) {
            let at = self.place(self.timeline.start + tick);
            let label = text::duration(tick);
            if at >= labels.len() && at + label.len() + 1 < self.bars {
                labels.push_str(&" ".repeat(at - labels.len()));
                let _ = write!(labels, "|{label} ");
            }
        }
        self.line(&format!("{}  {}", " ".repeat(self.names), labels))
    }

    fn row(&self, row: &Row) -> String {
        let mut cells = vec![' '; self.bars];
        for span in &row.spans {
            let (from, to) = (self.place(span.from), self.place(span.to));
            let glyph = match span.what {
                What::Wait => self.glyphs.wait(),
                What::Person => self.glyphs.person(),
                What::Run => self.glyphs.run(),
                What::Work { .. } => self.glyphs.work(),
            };
            let waits = !matches!(span.what, What::Work { .. });
            // Work that is shorter than a column is still to be seen.
            let free = |cell: &char| !waits || *cell == ' ';
            cells[from..=to].iter_mut().filter(|cell| free(cell)).for_each(|cell| *cell = glyph);
        }
        for (at, mark) in self.marks(row) {
            cells[at] = mark;
        }
        let bar: String = cells.into_iter().collect();
        let name = text::padded(&row.title(), self.names);
        self.line(&format!("{name} |{bar}| {}", row.outcome()))
    }

    /// The marks of attempts, the one that matters most last where several meet.
    fn marks(&self, row: &Row) -> Vec<(usize, char)> {
        let mark = |span: &super::timeline::Span| match span.what {
            What::Work { outcome, .. } => Some((self.place(span.to), look::outcome(outcome).mark?)),
            _ => None,
        };
        let mut marks: Vec<_> = row.spans.iter().filter_map(mark).collect();
        let weight = |mark: char| ['x', '!', '?'].iter().position(|known| *known == mark);
        marks.sort_by_key(|(_, mark)| weight(*mark).map_or(0, |at| 3 - at));
        marks
    }

    fn rest(&self, rest: &Rest) -> String {
        let density = rest.density(self.timeline, self.bars);
        let most = density.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let levels = self.glyphs.levels();
        let level = |busy: &f64| levels[(busy / most * 8.0).ceil().clamp(0.0, 8.0) as usize];
        let bar: String = density.iter().map(level).collect();
        let name = format!("+{} more", text::count(rest.steps));
        let name = text::padded(&name, self.names);
        let first =
            self.line(&format!("{name} |{bar}| up to {} at once", text::count(rest.most())));
        let summary = format!("of the other {}: {}", text::count(rest.steps), rest.summary());
        first + &self.line(&summary)
    }

    fn legend(&self) -> String {
        let (wait, person, work) = (self.glyphs.wait(), self.glyphs.person(), self.glyphs.work());
        let spans = || self.timeline.rows.iter().flat_map(|row| &row.spans);
        let mut parts = vec![format!("{work} works"), format!("{wait} waits")];
        if spans().any(|span| matches!(span.what, What::Person)) {
            parts.push(format!("{person} waits for a person"));
        }
        if spans().any(|span| matches!(span.what, What::Run)) {
            parts.push(format!("{} waits for a run under it", self.glyphs.run()));
        }
        let outcomes = spans().filter_map(|span| match span.what {
            What::Work { outcome, .. } => Some(look::outcome(outcome)),
            _ => None,
        });
        let marks: BTreeSet<_> =
            outcomes.filter_map(|look| Some((look.mark?, look.name))).collect();
        parts.extend(marks.into_iter().map(|(mark, name)| format!("{mark} {name}")));
        let (mut lines, mut line) = (String::new(), String::new());
        for part in parts {
            if text::width(&line) + text::width(&part) + 3 > self.columns {
                lines.push_str(&self.line(&line));
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { "   " });
            line.push_str(&part);
        }
        lines + &self.line(&line)
    }

    fn place(&self, time: crate::clock::Timestamp) -> usize {
        let place = self.timeline.share(time) * self.bars as f64;
        (place as usize).min(self.bars - 1)
    }

    fn line(&self, text: &str) -> String {
        let line = self.glyphs.own(&text::short(text, self.columns));
        format!("{}\n", line.trim_end())
    }
}
