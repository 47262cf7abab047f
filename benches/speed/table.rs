//! The one table that all rows end in.

use std::fmt::Write;

/// What a row is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// It is looked at, and nothing is asked of it.
    Shown,
}

impl Target {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::Shown => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {}", short(least)),
            Self::AtMost(most) => format!("<= {}", short(most)),
            Self::Shown => String::new(),
        }
    }
}

#[derive(Debug)]
pub struct Row {
    name: String,
    target: Target,
    value: f64,
    /// The smallest and the largest sample.
    range: Option<(f64, f64)>,
    /// The figures behind it.
    detail: String,
}

impl Row {
    /// The median of the quotients of pairs of rates.
    pub fn ratio(name: &str, target: Target, pairs: &[(f64, f64)]) -> Self {
        let quotients = sorted(pairs.iter().map(|(own, other)| own / other));
        let own = median(&sorted(pairs.iter().map(|pair| pair.0)));
        let other = median(&sorted(pairs.iter().map(|pair| pair.1)));
        let range = Some((quotients[0], quotients[quotients.len() - 1]));
        let detail = format!("{}/s : {}/s", short(own), short(other));
        Self { name: name.to_owned(), target, value: median(&quotients), range, detail }
    }

    /// One figure.
    pub fn figure(name: &str, target: Target, value: f64, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), target, value, range: None, detail: detail.into() }
    }
}

#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    /// Names of rows, each with that of the row that shows its limit.
    limits: Vec<(String, String)>,
}

impl Table {
    pub fn add(&mut self, row: Row) {
        eprintln!("{}: {} ({})", row.name, short(row.value), row.detail);
        self.rows.push(row);
    }

    /// Notes that the row `by` shows what `row` can reach on this machine.
    pub fn limit(&mut self, row: &str, by: &str) {
        self.limits.push((row.to_owned(), by.to_owned()));
    }

    /// The row that shows the limit of another, with what was measured of it.
    fn limit_of(&self, name: &str) -> String {
        let Some((_, by)) = self.limits.iter().find(|(row, _)| row == name) else {
            return String::new();
        };
        match self.rows.iter().find(|row| row.name == *by) {
            Some(row) => format!("{}: row \"{by}\"", short(row.value)),
            None => format!("row \"{by}\""),
        }
    }

    /// Prints it as Markdown.
    pub fn print(&self) {
        let mut text =
            "\n| row | measured | range | to reach | met | figures | limit |\n".to_owned();
        text += "|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            let met = match row.target.is_met(row.value) {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            let range = row.range.map(|(from, to)| format!("{} - {}", short(from), short(to)));
            let (value, target) = (short(row.value), row.target.text());
            let range = range.unwrap_or_default();
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "| {} | {value} | {range} | {target} | {met} | {} | {} |",
                row.name,
                row.detail,
                self.limit_of(&row.name)
            );
        }
        println!("{text}");
    }
}

pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

pub fn median(sorted: &[f64]) -> f64 {
    quantile(sorted, 0.5)
}

/// The value that so much of all is below.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Three digits, thousands as k.
pub fn short(value: f64) -> String {
    match value {
        _ if value >= 10_000.0 => format!("{:.0} k", value / 1000.0),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
