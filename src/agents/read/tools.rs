//! Tools: what they do, which files they are about, and when they were denied.

use serde_json::Value;

use crate::agents::{Location, PlanEntry, ToolCall, ToolKind, ToolStatus};

/// The kinds of tools by their names, of all agents, in lower case and without `_` and `-`.
const KINDS: &[(ToolKind, &str)] = &[
    (
        ToolKind::Read,
        "read readfile readmanyfiles notebookread readmcpresource viewimage zoomimage",
    ),
    (
        ToolKind::Edit,
        "edit write multiedit writefile replace notebookedit applypatch patch strreplace filechange",
    ),
    (
        ToolKind::Search,
        "grep glob ls list listdirectory grepsearch searchfilecontent toolsearch codesearch findfiles",
    ),
    (ToolKind::Execute, "bash shell runshellcommand execcommand monitor powershell writestdin"),
    (ToolKind::Fetch, "webfetch websearch googlewebsearch"),
    (ToolKind::Think, "todowrite todoread updateplan think savememory"),
    (ToolKind::SwitchMode, "exitplanmode enterplanmode"),
];

/// What a tool with this name does.
pub(super) fn kind(name: &str) -> ToolKind {
    let plain: String = name.to_lowercase().replace(['_', '-'], "");
    let is_it = |(_, names): &&(ToolKind, &str)| names.split(' ').any(|known| known == plain);
    KINDS.iter().find(is_it).map_or(ToolKind::Other, |(kind, _)| *kind)
}

/// A call of a tool that has begun.
pub(super) fn called(id: &str, name: &str, input: &Value) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        title: Some(title(name, input)),
        kind: Some(kind(name)),
        status: Some(ToolStatus::Running),
        locations: locations(input),
        input: Some(input.clone()),
        ..ToolCall::default()
    }
}

/// A call of a tool that has ended.
pub(super) fn ended(id: &str, output: String, is_error: bool) -> ToolCall {
    let status = if is_error { ToolStatus::Failed } else { ToolStatus::Completed };
    ToolCall {
        id: id.to_owned(),
        status: Some(status),
        denied: is_error && is_denial(&output),
        output: Some(output),
        ..ToolCall::default()
    }
}

/// The tool's name, with the command that a shell carries out.
fn title(name: &str, input: &Value) -> String {
    const SHOWN: usize = 200;
    match input["command"].as_str() {
        Some(command) if !command.is_empty() => {
            let shown: String = command.chars().take(SHOWN).collect();
            format!("{name}: {shown}")
        }
        _ => name.to_owned(),
    }
}

/// The files that an input names.
pub(super) fn locations(input: &Value) -> Vec<Location> {
    let names = ["file_path", "filePath", "absolute_path", "notebook_path", "path"];
    let line = input["offset"].as_u64().or_else(|| input["line"].as_u64());
    let line = line.and_then(|line| line.try_into().ok()).filter(|line| *line > 0);
    let path = names.iter().find_map(|name| input[name].as_str()).filter(|path| !path.is_empty());
    path.map(|path| Location { path: path.into(), line }).into_iter().collect()
}

/// What agents and systems say of what was not allowed.
const DENIALS: &[&str] = &[
    "haven't granted it",
    "doesn't want to proceed with this tool use",
    "doesn't want to take this action",
    "permission to use",
    "permission for this",
    "permission denied",
    "denied by",
    "has been denied",
    "was denied",
    "was declined",
    "was rejected",
    "rejected by",
    "user rejected",
    "user declined",
    "rejected permission",
    "prevents you from using",
    "not allowed",
    "not permitted",
    "blocked by",
    "read-only file system",
    "no such tool available",
    "call unavailable tool",
    "in plan mode",
];

/// Whether the words of a tool's failure say that it was not allowed.
pub(super) fn is_denial(text: &str) -> bool {
    let text = text.to_lowercase();
    DENIALS.iter().any(|words| text.contains(words))
}

/// A plan as the tools for lists of things to do have it.
pub(super) fn plan(items: &Value) -> Vec<PlanEntry> {
    let items = items.as_array().into_iter().flatten();
    let entries = items.filter_map(|item| {
        let text = ["content", "text", "step", "description"];
        let text = text.iter().find_map(|name| item[name].as_str())?;
        let is_done = item["completed"].as_bool().unwrap_or(false);
        let status = match item["status"].as_str().unwrap_or_default() {
            "in_progress" => ToolStatus::Running,
            "cancelled" => ToolStatus::Failed,
            status if status == "completed" || is_done => ToolStatus::Completed,
            _ => ToolStatus::Pending,
        };
        Some(PlanEntry { text: text.to_owned(), status })
    });
    entries.collect()
}

/// Whether a tool with this name tells a plan.
pub(super) fn tells_plan(name: &str) -> bool {
    name.to_lowercase().replace('_', "") == "todowrite"
}

/// The words of a tool's result: a string, or blocks of text.
pub(super) fn words(content: &Value) -> String {
    match content {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter_map(|block| block["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}
