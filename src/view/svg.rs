//! A timeline as a picture: one SVG that needs nothing else.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    look::{self, Standing},
    record::RunRecord,
    text::{self, xml},
    timeline::{Rest, Row, Rows, Span, Timeline, What},
};
use crate::model::{AttemptOutcome, RunState};

const ROWS: Rows = Rows { first: 60, striking: 20 };
const WIDTH: f64 = 800.0;
/// Where the time begins and ends.
const BARS: [f64; 2] = [232.0, 676.0];
/// Where the first row begins, and how high rows are.
const TOP: f64 = 82.0;
const ROW: f64 = 24.0;
const REST: f64 = 62.0;

/// Selectors and their colour, on light and on dark pages.
const COLOURS: [(&str, &str, &str); 15] = [
    (".page", "#ffffff", "#0d1117"),
    (".stripe", "#f6f8fa", "#151b23"),
    (".grid", "#d8dee4", "#2b323b"),
    ("text", "#1f2328", "#e6edf3"),
    ("text.quiet", "#59636e", "#9198a1"),
    (".wait", "#c8d1da", "#3d444d"),
    (".person", "#d8c3f5", "#553a86"),
    (".under", "#b6d9fb", "#1f4a75"),
    (".completed", "#2f9e4f", "#3fb950"),
    (".running,.queued", "#0969da", "#4493f8"),
    (".failed", "#cf222e", "#f85149"),
    (".interrupted", "#d4740b", "#e09b13"),
    (".blocked", "#8250df", "#ab7df8"),
    (".snoozed,.parked", "#57878f", "#56a3ad"),
    (".cancelled,.pending,.skipped", "#818b98", "#7d8590"),
];

/// What does not depend on the colours of the page.
const STYLE: &str = ".segue-timeline{font:14px system-ui,-apple-system,\"Segoe UI\",\"Noto Sans\",\
    \"DejaVu Sans\",sans-serif}.segue-timeline .head{font-size:18px;font-weight:600}\
    .segue-timeline .small{font-size:12px}.segue-timeline .end{text-anchor:end}\
    .segue-timeline .grid{stroke-width:1}.segue-timeline .mark{stroke-width:2;fill:none;\
    stroke-linecap:round;stroke-linejoin:round}.segue-timeline .halo{stroke-width:5}\
    .segue-timeline .work{stroke-width:1}";

impl RunRecord {
    /// When its steps waited and worked, as an SVG 800 units wide that can be read from 600 to
    /// 1,200 pixels. It holds no scripts and refers to nothing; its colours follow the page's
    /// preference for light or dark. It can stand inside HTML: all its rules begin with
    /// `.segue-timeline`.
    ///
    /// A step is a row. An attempt is a bar in the colour of its outcome, with a cross where
    /// it failed, a lightning where its worker died, a ring where it asked a person, and an
    /// arrow where it still runs. Waiting is a thin light line. Each bar says more when it is
    /// pointed at.
    ///
    /// Of more than 80 steps the first 60 are shown, and of the others up to 20 that failed,
    /// run, or ask a person. One more row then shows how many of the rest worked at each time.
    pub fn timeline_svg(&self) -> String {
        let timeline = Timeline::of(self, ROWS);
        let rows = timeline.rows.len() as f64 * ROW;
        let bottom = TOP + rows + timeline.rest.as_ref().map_or(0.0, |_| REST);
        let (legend, height) = legend(&timeline, bottom + 26.0);
        let mut drawn = open(self, height + 14.0);
        head(&mut drawn, self, &timeline);
        for (at, row) in timeline.rows.iter().enumerate() {
            draw_row(&mut drawn, row, at);
        }
        grid(&mut drawn, &timeline, bottom);
        for (at, row) in timeline.rows.iter().enumerate() {
            draw_bars(&mut drawn, &timeline, row, TOP + (at as f64 + 0.5) * ROW);
        }
        timeline.rest.iter().for_each(|rest| draw_rest(&mut drawn, &timeline, rest, TOP + rows));
        drawn + &legend + "</svg>\n"
    }
}

fn open(record: &RunRecord, height: f64) -> String {
    let [light, dark] = [false, true].map(colours);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"segue-timeline\" width=\"{WIDTH}\" \
         height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         style=\"max-width:100%;height:auto\">\n<title>Timeline of {}</title>\n<style>{STYLE}{}\
         @media (prefers-color-scheme:dark){{{}}}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        xml(&record.run.flow),
        light,
        dark,
    )
}

/// The rules for the colours of one kind of page.
fn colours(dark: bool) -> String {
    let pick = |light, other| if dark { other } else { light };
    let mut rules = String::new();
    for (names, light, other) in COLOURS {
        let names = names.split(',').map(|name| format!(".segue-timeline {name}"));
        let (names, colour) = (names.collect::<Vec<_>>().join(","), pick(light, other));
        let _ = write!(rules, "{names}{{fill:{colour};stroke:{colour}}}");
    }
    let page = pick(COLOURS[0].1, COLOURS[0].2);
    let _ = write!(rules, ".segue-timeline .halo,.segue-timeline .work{{stroke:{page}}}");
    rules
        + ".segue-timeline .mark{fill:none}.segue-timeline text,.segue-timeline text[class]{stroke:none}"
}

fn head(drawn: &mut String, record: &RunRecord, timeline: &Timeline) {
    let run = &record.run;
    let (state, class) = match run.state {
        RunState::Running if run.paused => ("paused", "pending"),
        RunState::Running => ("running", "running"),
        RunState::Completed => ("completed", "completed"),
        RunState::Failed => ("failed", "failed"),
        RunState::Cancelled => ("cancelled", "cancelled"),
    };
    let flow = xml(&text::short(&run.flow, 60));
    let steps = text::counted(record.steps.len(), "step");
    let total = text::duration(timeline.total());
    let from = timeline.start.to_string().replace('T', " ");
    let from = from.split('.').next().unwrap_or_default();
    let _ = writeln!(drawn, "<text class=\"head\" x=\"16\" y=\"30\">{flow}</text>");
    let _ = writeln!(
        drawn,
        "<circle class=\"{class}\" cx=\"20\" cy=\"46\" r=\"4\"/>\
         <text class=\"quiet\" x=\"30\" y=\"51\">{state} \u{b7} {total} \u{b7} {steps} \u{b7} \
         from {from} UTC</text>"
    );
}

fn draw_row(drawn: &mut String, row: &Row, at: usize) {
    let top = TOP + at as f64 * ROW;
    if at.is_multiple_of(2) {
        let _ = writeln!(
            drawn,
            "<rect class=\"stripe\" x=\"8\" y=\"{top}\" width=\"784\" height=\"{ROW}\"/>"
        );
    }
    let (icon, class) = (look::kind(row.kind), row.standing.name());
    let (base, name) = (top + 16.5, xml(&text::short(&row.name, 27)));
    let quiet = if row.standing == Standing::Failed { "failed" } else { "quiet" };
    let end = match (row.standing, row.attempts) {
        (Standing::Completed, 0 | 1) => text::duration(row.worked),
        (Standing::Completed, n) => format!("{} \u{d7}{n}", text::duration(row.worked)),
        (other, 0 | 1) => other.name().to_owned(),
        (other, n) => format!("{} \u{d7}{n}", other.name()),
    };
    let tip = format!("{}. {}, {}, {}", row.no, row.title(), icon.name, row.outcome());
    let _ = writeln!(
        drawn,
        "<g><title>{}</title><text class=\"{class} small\" x=\"14\" y=\"{base}\">{}</text>\
         <svg x=\"32\" y=\"{top}\" width=\"192\" height=\"{ROW}\"><text y=\"16.5\">{name}</text>\
         </svg><text class=\"{quiet} small end\" x=\"786\" y=\"{base}\">{end}</text></g>",
        xml(&tip),
        icon.icon,
    );
}

fn grid(drawn: &mut String, timeline: &Timeline, bottom: f64) {
    for tick in timeline.ticks(6) {
        let x = at(timeline, timeline.start + tick);
        let label = text::duration(tick);
        let _ = writeln!(
            drawn,
            "<path class=\"grid\" d=\"M{x:.1} {}V{bottom}\"/>\
             <text class=\"quiet small\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            TOP - 4.0,
            TOP - 9.0,
        );
    }
}

fn draw_bars(drawn: &mut String, timeline: &Timeline, row: &Row, middle: f64) {
    for span in &row.spans {
        let (from, to) = (at(timeline, span.from), at(timeline, span.to));
        let tip = xml(&format!("{}: {}", row.name, span.tip()));
        let (class, high, least) = match &span.what {
            What::Wait => ("wait", 5.0, 0.0),
            What::Person => ("person", 5.0, 0.0),
            What::Run => ("under", 5.0, 0.0),
            What::Work { outcome, .. } => (look::outcome(*outcome).name, 14.0, 3.0),
        };
        let (wide, round) = ((to - from).max(least), if high > 5.0 { 2.5 } else { 0.0 });
        let work = if high > 5.0 { " work" } else { "" };
        let _ = writeln!(
            drawn,
            "<rect class=\"{class}{work}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" \
             height=\"{high}\" rx=\"{round}\"><title>{tip}</title></rect>",
            middle - high / 2.0,
        );
    }
    for span in &row.spans {
        let end = at(timeline, span.to).max(at(timeline, span.from) + 3.0);
        drawn.push_str(&mark(span, end, middle));
    }
}

/// What stands at the end of a bar, whatever its length.
fn mark(span: &Span, x: f64, y: f64) -> String {
    let What::Work { outcome, .. } = span.what else {
        return String::new();
    };
    let path = match outcome {
        Some(AttemptOutcome::Failed) => {
            format!("M{:.1} {:.1}l8 8m0 -8l-8 8", x - 4.0, y - 4.0)
        }
        Some(AttemptOutcome::Interrupted) => {
            format!("M{:.1} {:.1}l-4 9h6l-4 9", x + 2.0, y - 9.0)
        }
        Some(AttemptOutcome::Blocked) => {
            format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", x - 4.0)
        }
        None => format!("M{:.1} {:.1}l6 6l-6 6", x - 1.0, y - 6.0),
        Some(_) => return String::new(),
    };
    let class = look::outcome(outcome).name;
    format!("<path class=\"mark halo\" d=\"{path}\"/><path class=\"mark {class}\" d=\"{path}\"/>\n")
}

fn draw_rest(drawn: &mut String, timeline: &Timeline, rest: &Rest, top: f64) {
    const PARTS: usize = 222;
    let density = rest.density(timeline, PARTS);
    let most = density.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let (base, wide) = (top + 36.0, (BARS[1] - BARS[0]) / PARTS as f64);
    let mut path = format!("M{:.1} {base:.1}", BARS[0]);
    for (part, busy) in density.iter().enumerate() {
        let high = busy / most * 28.0;
        let _ = write!(path, "V{:.1}H{:.1}", base - high, BARS[0] + (part + 1) as f64 * wide);
    }
    let (steps, most) = (text::count(rest.steps), text::count(rest.most()));
    let _ = writeln!(
        drawn,
        "<g><title>How many attempts of the other {steps} steps worked at each time</title>\
         <text x=\"32\" y=\"{y}\">{steps} more steps</text>\
         <text class=\"quiet small end\" x=\"786\" y=\"{y}\">up to {most} at once</text>\
         <path class=\"running\" fill-opacity=\"0.35\" stroke-width=\"1\" d=\"{path}V{base:.1}Z\"/>\
         <text class=\"quiet small\" x=\"32\" y=\"{below}\">{summary}</text></g>",
        y = top + 24.0,
        below = top + 54.0,
        summary = xml(&rest.summary()),
    );
}

/// What the colours and marks of this picture mean, and where it ends.
fn legend(timeline: &Timeline, top: f64) -> (String, f64) {
    let spans = || timeline.rows.iter().flat_map(|row| &row.spans);
    let outcomes = spans().filter_map(|span| match span.what {
        What::Work { outcome, .. } => Some((outcome.map_or(0, |known| known as u8), outcome)),
        _ => None,
    });
    let outcomes: BTreeMap<_, _> = outcomes.collect();
    let waits = [
        (spans().any(|span| matches!(span.what, What::Wait)), What::Wait, "waits"),
        (spans().any(|span| matches!(span.what, What::Person)), What::Person, "waits for a person"),
        (spans().any(|span| matches!(span.what, What::Run)), What::Run, "waits for a run under it"),
    ];
    let waits = waits.into_iter().filter(|(is_there, ..)| *is_there);
    let mut items: Vec<_> = waits.map(|(_, what, name)| (what, name)).collect();
    items.extend(outcomes.into_values().map(|outcome| {
        let name = look::outcome(outcome).name;
        (What::Work { attempt: 0, outcome, error: None }, name)
    }));
    let (mut drawn, mut x, mut y) = (String::new(), 16.0, top);
    for (what, name) in items {
        let wide = 50.0 + name.len() as f64 * 6.6;
        if x + wide > WIDTH {
            (x, y) = (16.0, y + 20.0);
        }
        drawn.push_str(&sample(what, name, x, y));
        x += wide;
    }
    (drawn, y)
}

fn sample(what: What, name: &str, x: f64, y: f64) -> String {
    let (class, high) = match &what {
        What::Wait => ("wait", 5.0),
        What::Person => ("person", 5.0),
        What::Run => ("under", 5.0),
        What::Work { outcome, .. } => (look::outcome(*outcome).name, 12.0),
    };
    let span = Span { from: Default::default(), to: Default::default(), what };
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"18\" height=\"{high}\" rx=\"2\"/>{}\
         <text class=\"quiet small\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>\n",
        y - 4.0 - high / 2.0,
        mark(&span, x + 18.0, y - 4.0),
        x + 30.0,
    )
}

fn at(timeline: &Timeline, time: crate::clock::Timestamp) -> f64 {
    BARS[0] + timeline.share(time) * (BARS[1] - BARS[0])
}
