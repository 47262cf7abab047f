//! How a turn ended: from what was seen, and from how the program did.

use std::{borrow::Cow, time::Duration};

use super::seen::{Last, Seen, tail};
use crate::{
    agents::{
        Outcome, Reply,
        trouble::{Trouble, judge},
    },
    clock::Timestamp,
};

/// How much of what a program said of its errors is shown.
const SHOWN: usize = 2 << 10;

/// How the program of a turn ended.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The way it ended.
    pub exit: Exit,
    /// The end of what it said of its errors.
    pub errors: &'a str,
    /// Whether the prompt was handed to it.
    pub is_prompted: bool,
    /// Whether it was to continue a session.
    pub is_continued: bool,
    /// Whether it was told to stop.
    pub is_stopped: bool,
    /// The time, for limits that are said to last until another.
    pub now: Timestamp,
}

/// The way a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// It was killed, or its connection broke.
    Killed,
    /// It said nothing for so long, and was ended.
    Silent(Duration),
    /// It goes on: the turn alone has ended.
    Warm,
}

/// The outcome of a turn.
pub(super) fn outcome(mut seen: Seen, end: &End<'_>) -> Outcome {
    match seen.last.take() {
        Some(Last::Answered { text, output }) => {
            let text = text.unwrap_or_else(|| seen.last_text().to_owned());
            Outcome::Completed(Reply { text, output, usage: None })
        }
        _ if end.is_stopped => Outcome::Cancelled,
        Some(Last::Refused(message)) => Outcome::Refused { message },
        Some(Last::Limit(limit)) => Outcome::LimitReached { limit },
        Some(Last::Failed(message)) => {
            known(&seen, end, &message).unwrap_or(Outcome::Crashed { message })
        }
        None => unfinished(&seen, end),
    }
}

/// A program that ended without saying how the turn did.
fn unfinished(seen: &Seen, end: &End<'_>) -> Outcome {
    let said = said(seen, end);
    let is_by_itself = matches!(end.exit, Exit::Code(code) if code != 0);
    if let Some(outcome) = is_by_itself.then(|| known(seen, end, &said)).flatten() {
        return outcome;
    }
    // Some wait without a word for as long as their provider says, be it days.
    let is_silent = matches!(end.exit, Exit::Silent(_));
    let waits = is_silent && seen.is_retrying;
    if let Some(limit @ Outcome::RateLimited { .. }) =
        waits.then(|| known(seen, end, &said)).flatten()
    {
        return limit;
    }
    let how = match end.exit {
        Exit::Code(code) => format!("it ended with status {code} in the middle of the turn"),
        Exit::Killed | Exit::Warm => "it was gone in the middle of the turn".to_owned(),
        Exit::Silent(time) => format!("it said nothing for {time:?}"),
    };
    let message = if said.is_empty() { how } else { format!("{how}: {said}") };
    // One that has not even begun says by its status that it has failed.
    if !end.is_prompted || (is_by_itself && seen.events == 0) {
        Outcome::Crashed { message }
    } else {
        Outcome::Interrupted { message }
    }
}

/// An outcome with a name of its own, where a message means one.
fn known(seen: &Seen, end: &End<'_>, message: &str) -> Option<Outcome> {
    let message = message.to_owned();
    match judge(&message, end.now) {
        Trouble::Session if end.is_continued && !seen.has_worked => {
            Some(Outcome::SessionLost { message })
        }
        Trouble::Rate { wait } => {
            let told = seen.resets.filter(|at| *at > end.now).map(|at| at.since(end.now));
            Some(Outcome::RateLimited { wait: told.or(wait), message })
        }
        Trouble::Limit => Some(Outcome::LimitReached { limit: message }),
        Trouble::Session | Trouble::Other => None,
    }
}

/// What it said of its trouble: in an event, else on its standard error, else in between.
fn said(seen: &Seen, end: &End<'_>) -> String {
    let texts = [seen.trouble.as_deref().unwrap_or_default(), end.errors, &seen.junk];
    let said = texts.map(str::trim).into_iter().find(|text| !text.is_empty());
    plain(&ends(said.unwrap_or_default()))
}

/// A text, without its middle where it is long: the reason stands in front of help, and behind logs.
fn ends(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN {
        return text.into();
    }
    let front: String = text.chars().take(SHOWN / 2).collect();
    format!("{front} [...] {}", tail(text, SHOWN / 2)).into()
}

/// A text without what colours it.
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest)
    })
}
