//! Runs as text for people: Markdown and Mermaid.

use std::fmt::Write;

use super::{flow::Definition, run::output_of};
use crate::{
    id::RunId,
    model::{Rows, RunState, RunView, StepKind, StepState},
};

/// The longest output that a report shows of a step, in characters.
const SHOWN: usize = 2_000;

/// What is known of each step of a run.
pub(super) fn markdown(view: &RunView, rows: &Rows) -> String {
    let RunView { run, spec } = view;
    let mut text = format!("# {} ({:?})\n\n", spec.flow, run.state);
    text.push_str("| step | state | reason |\n|---|---|---|\n");
    for step in rows.steps.values() {
        let reason = step.reason.as_deref().unwrap_or("").replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(text, "| {} | {:?} | {reason} |", step.name, step.state);
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
    let failed = rows.steps.values().filter(|step| step.state == StepState::Failed);
    let reasons: Vec<_> = failed
        .map(|step| format!("step `{}`: {}", step.name, step.reason.as_deref().unwrap_or("failed")))
        .collect();
    let state = format!("{state:?}").to_lowercase();
    match reasons.is_empty() {
        true => format!("run {id} {state}"),
        false => format!("run {id} {state}: {}", reasons.join("; ")),
    }
}

/// A flow's steps and edges.
pub(super) fn mermaid(definition: &Definition) -> String {
    draw(definition, |_| None)
}

/// A run's steps and edges, coloured by state.
pub(super) fn mermaid_with_states(definition: &Definition, rows: &Rows) -> String {
    let states: Vec<_> = rows.steps.values().map(|step| step.state).collect();
    let mut text = draw(definition, |no| states.get(no).copied());
    for (state, colour) in [
        (StepState::Completed, "#bfb"),
        (StepState::Failed, "#fbb"),
        (StepState::Running, "#bdf"),
        (StepState::Skipped, "#ddd"),
        (StepState::Cancelled, "#edc"),
    ] {
        let _ = writeln!(text, "    classDef {} fill:{colour}", class(state));
    }
    text
}

fn class(state: StepState) -> String {
    format!("{state:?}").to_lowercase()
}

fn draw(definition: &Definition, state: impl Fn(usize) -> Option<StepState>) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (no, step) in definition.steps.iter().enumerate() {
        let name = step.name.replace('"', "'");
        let shape = match (step.kind, &step.agent) {
            (StepKind::Code | StepKind::Map, _) => format!("[\"{name}\"]"),
            (StepKind::Gate, _) => format!("{{{{\"{name}\"}}}}"),
            (StepKind::Flow, _) => format!("[[\"{name}\"]]"),
            (StepKind::Timer | StepKind::Join, _) => format!("((\"{name}\"))"),
            (StepKind::Agent, agent) => {
                format!("([\"{name} ({})\"])", agent.as_deref().unwrap_or("agent"))
            }
        };
        let class = state(no).map(|state| format!(":::{}", class(state))).unwrap_or_default();
        let _ = writeln!(text, "    s{no}{shape}{class}");
    }
    for (no, step) in definition.steps.iter().enumerate() {
        for from in &step.after {
            let _ = writeln!(text, "    s{from} --> s{no}");
        }
    }
    text
}
