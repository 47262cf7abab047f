//! A run as a Markdown page.

use std::{fmt::Write, time::Duration};

use super::{
    look::{self, Standing},
    record::{RunRecord, StepRecord},
    text::{self, cell},
};
use crate::model::{Budget, Payload, RunState};

/// The longest input or output that is shown, in characters.
const VALUE: usize = 4_000;
/// The longest report, in characters.
const REPORT: usize = 100_000;
/// The longest error in the table, in characters.
const ERROR: usize = 300;
/// How many steps the table shows, and how many outputs stand below it.
const STEPS: usize = 500;
const OUTPUTS: usize = 50;

impl RunRecord {
    /// A Markdown page: title, facts, input, a table of the steps with their states, times and
    /// errors, their outputs, and the report where a step of the flow makes one.
    ///
    /// What is long is cut, with a note that says how much there is: inputs and outputs after
    /// 4,000 characters, the report after 100,000, errors after 300, the table after 500
    /// steps, and outputs after 50 steps. Nothing is cut in [`RunRecord::to_json`]. No name or
    /// error is read as markup; the report is Markdown of its own and comes last.
    pub fn markdown(&self) -> String {
        let run = &self.run;
        let mut page = format!("# {} ({})\n\n", cell(&run.flow), state(run.state));
        self.facts(&mut page);
        let _ = write!(page, "\n## Input\n\n{}", value(&run.input));
        self.table(&mut page);
        self.outputs(&mut page);
        if let Some(report) = self.report() {
            let _ = write!(page, "\n## Report\n\n{report}");
        }
        page
    }

    fn facts(&self, page: &mut String) {
        let run = &self.run;
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(page, "- {name}: {}", cell(value));
        };
        line("run", &run.id.to_string());
        line("flow", &format!("{}, version {}", run.flow, run.version));
        line("project", &run.project);
        line("launched", &run.created_at.to_string());
        match run.ended_at {
            Some(end) => line("ended", &end.to_string()),
            None => line("as of", &self.read_at.to_string()),
        }
        line("took", &text::duration(self.end().since(run.created_at)));
        let flags = [(run.paused, "paused"), (run.cancelling, "told to stop")];
        let flags = flags.into_iter().filter(|(set, _)| *set && run.ended_at.is_none());
        flags.for_each(|(_, flag)| line("it is", flag));
        if run.attempt > 1 {
            line("begun", &format!("{} times", run.attempt));
        }
        if let Some((from, no)) = run.forked_from {
            line("forked from", &format!("run {from}, step {no}"));
        }
        if let Some(parent) = run.parent {
            line("part of", &format!("task {parent}"));
        }
        if let Some(budget) = &run.budget {
            line("budget", &used_of(budget));
        }
        for (name, value) in &run.labels {
            line("label", &format!("{name} = {value}"));
        }
    }

    fn table(&self, page: &mut String) {
        page.push_str(
            "\n## Steps\n\n| # | step | kind | state | attempts | waited | worked | error |\n",
        );
        page.push_str("|--:|---|---|---|--:|--:|--:|---|\n");
        for step in self.steps.iter().take(STEPS) {
            let what = step.agent.as_deref().map(|agent| format!(" {}", cell(agent)));
            let _ = writeln!(
                page,
                "| {} | {} | {}{} | {} | {} | {} | {} | {} |",
                step.no,
                cell(&step.name),
                look::kind(step.kind).name,
                what.unwrap_or_default(),
                Standing::of(step).name(),
                step.attempts(),
                self.waited(step).map(text::duration).unwrap_or_default(),
                step.task
                    .as_ref()
                    .map(|_| text::duration(step.worked(self.read_at)))
                    .unwrap_or_default(),
                step.error().map(error).unwrap_or_default(),
            );
        }
        if let Some(more @ 1..) = self.steps.len().checked_sub(STEPS) {
            let _ = writeln!(page, "\n*Cut: {}.*", text::counted(more, "more step"));
        }
    }

    /// From the release of a step to its end, or now, without its work.
    fn waited(&self, step: &StepRecord) -> Option<Duration> {
        let task = step.task.as_ref()?;
        let end = match step.state.is_terminal() {
            true => task.attempts.last().map_or(step.updated_at, |row| row.ended_at),
            false => self.read_at,
        };
        Some(end.since(task.released_at).saturating_sub(step.worked(self.read_at)))
    }

    fn outputs(&self, page: &mut String) {
        let is_report = |step: &StepRecord| Some(step.no) == self.run.reports;
        let all = self.steps.iter().filter(|step| !is_report(step));
        let all: Vec<_> = all.filter_map(|step| Some((step, step.output()?))).collect();
        for (step, output) in all.iter().take(OUTPUTS) {
            let _ = write!(page, "\n## Output of {}\n\n{}", cell(&step.name), value(output));
        }
        if let Some(more @ 1..) = all.len().checked_sub(OUTPUTS) {
            let _ = writeln!(page, "\n*Cut: the outputs of {}.*", text::counted(more, "more step"));
        }
    }

    fn report(&self) -> Option<String> {
        let step = self.steps.iter().find(|step| Some(step.no) == self.run.reports)?;
        let report: String = step.output()?.decode().ok()?;
        let (shown, all) = text::cut(&report, REPORT);
        let fence = open_fence(shown).map(|fence| format!("\n{fence}")).unwrap_or_default();
        Some(format!("{shown}{fence}\n{}", note(all, REPORT)))
    }
}

/// What was used of what is limited, and of what is not.
fn used_of(budget: &Budget) -> String {
    let part = |used: u64, limit: Option<u64>, unit: &str| {
        let used = text::count(used as usize);
        match limit {
            Some(limit) => format!("{used} of {} {unit}", text::count(limit as usize)),
            None => format!("{used} {unit}"),
        }
    };
    let tokens = part(budget.used.tokens, budget.limits.tokens, "tokens");
    let cost = part(budget.used.cost_micros, budget.limits.cost_micros, "millionths of cost");
    format!("used {tokens}, {cost}")
}

fn state(state: RunState) -> String {
    format!("{state:?}").to_lowercase()
}

fn error(error: &str) -> String {
    let (shown, all) = text::cut(error, ERROR);
    let note = all.map(|all| format!(" *(cut, {} characters)*", text::count(all)));
    cell(shown) + &note.unwrap_or_default()
}

/// A value in a block of code that nothing in it can end.
fn value(payload: &Payload) -> String {
    let (language, whole) = match payload.decode::<String>() {
        Ok(text) => ("text", text),
        Err(_) => ("json", payload.to_string()),
    };
    let (shown, all) = text::cut(&whole, VALUE);
    let runs = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((runs + 1).max(3));
    format!("{fence}{language}\n{shown}\n{fence}\n{}", note(all, VALUE))
}

fn note(all: Option<usize>, limit: usize) -> String {
    let Some(all) = all else {
        return String::new();
    };
    let (limit, all) = (text::count(limit), text::count(all));
    format!("\n*Cut: the first {limit} of {all} characters.*\n")
}

/// The fence that a text leaves open.
fn open_fence(text: &str) -> Option<String> {
    let mut open: Option<String> = None;
    for line in text.lines() {
        let bare = line.trim_start();
        let sign = bare.chars().next().filter(|sign| "`~".contains(*sign));
        let Some(sign) = sign else { continue };
        let fence: String = bare.chars().take_while(|c| *c == sign).collect();
        let closes = bare.trim_end().len() == fence.len();
        open = match open {
            None if fence.len() >= 3 => Some(fence),
            Some(known) if closes && fence.starts_with(&known) => None,
            other => other,
        };
    }
    open
}
