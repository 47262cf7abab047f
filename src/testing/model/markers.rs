//! Scripts that stand in the prompt.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;

use super::{Ask, Part, Reply, Usage, ask::without_reminders};

/// The markers that a prompt may have, for [`Script::markers`](super::Script::markers).
///
/// The model does what they say, in their order: a `TOOL` or the end of the prompt ends an
/// answer, and the result of the tool leads on to what stands behind it. Markers before a `TOOL`
/// belong to the answer that calls it. Without a `SAY` the last answer repeats what the last tool
/// said, or is `ok`. A request that offers no tools, as agents send for the title of a chat, is
/// answered with `ok`, whatever its prompt says. A prompt with a marker that can't be read is
/// answered with an error of status 400 that says so; what is not in this list is no marker.
pub const HELP: &str = "\
<<TOOL name {\"input\": 1}>>   calls the tool with this input
<<SAY words>>                 says these words
<<THINK words>>               thinks these
<<DELAY ms>>                  waits before it answers
<<PIECES n ms>>               streams each text in n pieces, with pauses
<<CUT n>>                     breaks off after n events
<<NEVER>>                     never answers
<<ERROR status [times]>>      fails, always or so many times
<<LIMIT seconds [times]>>     is limited (status 429), always or so many times
<<USAGE {\"input\": 1}>>        bills these tokens; what is not named is 0
";

/// Answers as the prompt's markers say.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// How often each prompt was refused.
    refused: Mutex<HashMap<String, usize>>,
}

#[derive(Clone, Debug)]
enum Marker {
    Tool(String, Value),
    Say(String),
    Think(String),
    Delay(Duration),
    Pieces(usize, Duration),
    Cut(usize),
    Never,
    Refuse(Reply, Option<usize>),
    Usage(Usage),
}

impl Markers {
    pub(super) fn answer(&self, ask: &Ask) -> Reply {
        if ask.tools.is_empty() {
            return Reply::text("ok");
        }
        let prompt = ask.prompt();
        match read(&prompt) {
            Ok(markers) => self.follow(ask, &prompt, &markers),
            Err(wrong) => Reply::error(400, wrong),
        }
    }

    fn follow(&self, ask: &Ask, prompt: &str, markers: &[Marker]) -> Reply {
        let results = ask.results();
        let mut answers = markers.split_inclusive(|marker| matches!(marker, Marker::Tool(..)));
        let Some(markers) = answers.nth(results.len()) else {
            return closing(ask);
        };
        let (mut reply, key) = (Reply::default(), format!("{} {prompt}", results.len()));
        for marker in markers {
            match marker.clone() {
                Marker::Never => return Reply::never(),
                Marker::Refuse(refusal, times) if self.refuses(&key, times) => {
                    return refusal.after(reply.before);
                }
                marker => reply = with(reply, marker),
            }
        }
        if reply.parts.iter().all(|part| matches!(part, Part::Thinking(_))) {
            let Reply { parts, .. } = closing(ask);
            reply.parts.extend(parts);
        }
        reply
    }

    fn refuses(&self, key: &str, times: Option<usize>) -> bool {
        let Some(times) = times else {
            return true;
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let count = refused.entry(key.to_owned()).or_default();
        *count += 1;
        *count <= times
    }
}

/// The reply with what a marker adds to it.
fn with(mut reply: Reply, marker: Marker) -> Reply {
    match marker {
        Marker::Tool(name, input) => reply.and_call(name, input),
        Marker::Say(words) => reply.and_text(words),
        Marker::Think(words) => {
            reply.parts.push(Part::Thinking(words));
            reply
        }
        Marker::Delay(time) => reply.after(time),
        Marker::Pieces(pieces, between) => reply.pieces(pieces).every(between),
        Marker::Cut(pieces) => reply.cut(pieces),
        Marker::Usage(usage) => reply.usage(usage),
        Marker::Never | Marker::Refuse(..) => reply,
    }
}

/// The last answer, where the prompt does not say it.
fn closing(ask: &Ask) -> Reply {
    let result = ask
        .results()
        .last()
        .map(|result| format!("The tool said: {}", without_reminders(&result.text).trim_end()));
    Reply::text(result.unwrap_or_else(|| "ok".into()))
}

/// The markers of a prompt, in their order.
fn read(prompt: &str) -> Result<Vec<Marker>, String> {
    let (mut found, mut rest) = (Vec::new(), prompt);
    while let Some((_, after)) = rest.split_once("<<") {
        let is_name = |c: char| c.is_ascii_uppercase();
        let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
        let (name, inside) = after.split_at(end);
        if !HELP.lines().any(|line| line[2..].split([' ', '>']).next() == Some(name)) {
            rest = after;
            continue;
        }
        let (marker, after) = one(name, inside.trim_start()).map_err(|wrong| {
            let shown: String = inside.chars().take(60).collect();
            format!("the marker <<{name}{shown} can't be read: {wrong}")
        })?;
        found.push(marker);
        rest = after;
    }
    Ok(found)
}

/// One marker, read from behind its name, and what follows it.
fn one<'a>(name: &str, inside: &'a str) -> Result<(Marker, &'a str), String> {
    match name {
        "TOOL" => {
            let (tool, input) = inside.split_once(' ').ok_or("it has a tool and its input")?;
            let (input, rest) = json(input)?;
            Ok((Marker::Tool(tool.to_owned(), input), rest))
        }
        "USAGE" => {
            let (counts, rest) = json(inside)?;
            let of = |name: &str| counts.get(name).and_then(Value::as_u64).unwrap_or(0);
            let usage = Usage {
                input: of("input"),
                cache_read: of("cache_read"),
                cache_write: of("cache_write"),
                output: of("output"),
                reasoning: of("reasoning"),
            };
            Ok((Marker::Usage(usage), rest))
        }
        _ => {
            let (words, rest) = inside.split_once(">>").ok_or("it has no end")?;
            Ok((plain(name, words.trim())?, rest))
        }
    }
}

/// A marker whose inside is words or numbers.
fn plain(name: &str, words: &str) -> Result<Marker, String> {
    let mut numbers = words
        .split_whitespace()
        .map(|word| word.parse::<u32>().map_err(|_| format!("`{word}` is no number that fits")));
    let mut may = || numbers.next().transpose();
    let must = |number: Option<u32>| number.ok_or_else(|| "it lacks a number".to_owned());
    let ms = |ms: u32| Duration::from_millis(ms.into());
    Ok(match name {
        "SAY" => Marker::Say(words.to_owned()),
        "THINK" => Marker::Think(words.to_owned()),
        "NEVER" => Marker::Never,
        "DELAY" => Marker::Delay(ms(must(may()?)?)),
        "PIECES" => Marker::Pieces(must(may()?)? as usize, ms(may()?.unwrap_or(0))),
        "CUT" => Marker::Cut(must(may()?)? as usize),
        "ERROR" => {
            let status = must(may()?)?;
            let fits = (400..600).contains(&status);
            let status = status.try_into().ok().filter(|_| fits);
            let status = status.ok_or("the status of an error is from 400 to 599")?;
            let refusal = Reply::error(status, format!("the script says {status}"));
            Marker::Refuse(refusal, may()?.map(|times| times as usize))
        }
        "LIMIT" => {
            let wait = Duration::from_secs(must(may()?)?.into());
            Marker::Refuse(Reply::limit(wait), may()?.map(|times| times as usize))
        }
        _ => return Err(format!("{name} is listed and not known")),
    })
}

/// The JSON value that stands here, and what follows the end of its marker.
fn json(inside: &str) -> Result<(Value, &str), String> {
    let mut values = serde_json::Deserializer::from_str(inside).into_iter::<Value>();
    let value = values.next().ok_or("it lacks its JSON")?.map_err(|wrong| wrong.to_string())?;
    let rest = inside[values.byte_offset()..].trim_start();
    let rest = rest.strip_prefix(">>").ok_or("it has no end behind its JSON")?;
    Ok((value, rest))
}
