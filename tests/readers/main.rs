//! Readers of agents' events: on recordings of real agents, and on streams that nobody hopes for.

mod awkward;
mod random;
mod recorded;

use std::{fs, path::Path};

use segue::{
    agents::{
        Outcome, Reply, Update,
        read::{End, Exit, Format, Reader},
    },
    clock::Timestamp,
    model::{Tokens, UsageReport},
};

/// The recordings, by format, with what ends a turn.
const RECORDED: [(Format, &str); 4] = [
    (Format::Claude, "claude-2.1.330"),
    (Format::Qwen, "qwen-0.24.4"),
    (Format::Codex, "codex-0.169.0"),
    (Format::Opencode, "opencode-1.18.33"),
];

/// A program that was given its prompt and ended by itself, well.
const WELL: End<'static> = End {
    exit: Exit::Code(0),
    errors: "",
    is_prompted: true,
    is_continued: false,
    is_stopped: false,
    now: Timestamp::from_micros(1_780_000_000_000_000),
};

/// The lines of a recording.
fn recording(name: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents/golden");
    let text = fs::read_to_string(root.join(format!("{name}.jsonl"))).expect("a recording");
    text.lines().map(str::to_owned).collect()
}

/// Reads a turn that ends in this way.
fn read<T: AsRef<str>>(
    format: Format,
    lines: impl IntoIterator<Item = T>,
    end: &End<'_>,
) -> (Vec<Update>, Outcome) {
    let mut reader = Reader::new(format);
    let mut updates = Vec::new();
    for line in lines {
        updates.extend(reader.line(line.as_ref()));
    }
    let (rest, outcome) = reader.end(end);
    updates.extend(rest);
    (updates, outcome)
}

/// The messages that were told, each with its pieces put together.
fn messages(updates: &[Update]) -> Vec<String> {
    let mut messages: Vec<(Option<String>, String)> = Vec::new();
    for update in updates {
        let Update::Text { message, text } = update else {
            continue;
        };
        match messages.last_mut() {
            Some((last, whole)) if last == message => whole.push_str(text),
            _ => messages.push((message.clone(), text.clone())),
        }
    }
    messages.into_iter().map(|(_, text)| text).collect()
}

fn reports(updates: &[Update]) -> Vec<&UsageReport> {
    let reports = updates.iter().filter_map(|update| match update {
        Update::Usage(report) => Some(report),
        _ => None,
    });
    reports.collect()
}

fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Completed(reply) => reply,
        other => panic!("it did not complete: {other:?}"),
    }
}

const fn tokens(input: u64, cache: (u64, u64), output: u64, reasoning: u64) -> Tokens {
    Tokens { input, cache_read: cache.0, cache_write: cache.1, output, reasoning }
}
