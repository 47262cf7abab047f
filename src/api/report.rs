//! What became of a run, in words.

use std::fmt::Write;

use super::run::output_of;
use crate::{
    id::RunId,
    model::{Rows, RunState, RunView, StepState},
    view::cell,
};

/// The longest output that a report shows of a step, in characters.
const SHOWN: usize = 2_000;

/// What is known of each step of a run.
pub(super) fn markdown(view: &RunView, rows: &Rows) -> String {
    let RunView { run, spec } = view;
    let mut text = format!("# {} ({:?})\n\n", spec.flow, run.state);
    text.push_str("| step | state | reason |\n|---|---|---|\n");
    for step in rows.steps.values() {
        let (name, reason) = (cell(&step.name), cell(step.reason.as_deref().unwrap_or("")));
        let _ = writeln!(text, "| {name} | {:?} | {reason} |", step.state);
    }
    for step in rows.steps.values() {
        if let Some(output) = step.task.and_then(|task| output_of(rows, task)) {
            let value = output.decode::<String>().unwrap_or_else(|_| output.to_string());
            let shown: String = value.chars().take(SHOWN).collect();
            let cut = if shown.len() < value.len() { "\n[...]" } else { "" };
            let _ = write!(text, "\n## {}\n\n{shown}{cut}\n", step.name);
        }
    }
    text
}

/// Why a run did not complete.
pub(super) fn failure(id: RunId, state: RunState, rows: &Rows) -> String {
    let lower = format!("{state:?}").to_lowercase();
    match reasons(rows) {
        None => format!("run {id} {lower}"),
        Some(reasons) => format!("run {id} {lower}: {reasons}"),
    }
}

/// The steps that failed, and why.
pub(super) fn reasons(rows: &Rows) -> Option<String> {
    let failed = rows.steps.values().filter(|step| step.state == StepState::Failed);
    let reasons: Vec<_> = failed
        .map(|step| format!("step `{}`: {}", step.name, step.reason.as_deref().unwrap_or("failed")))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
