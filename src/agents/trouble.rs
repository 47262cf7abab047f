//! What the words of an error mean.
//!
//! Programs and providers have no common codes for these, so words are what there is. They are
//! looked for in messages of errors only, never in what a model says.

use std::time::Duration;

use chrono::DateTime;

use crate::clock::Timestamp;

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The session is not known.
    Session,
    /// The provider takes no more requests for now.
    Rate {
        wait: Option<Duration>,
    },
    /// The turn has reached a limit of its own.
    Limit,
    Other,
}

const SESSION: &[&str] = &[
    "no conversation found",
    "no rollout found",
    "session not found",
    "no session found",
    "no saved session found",
    "no session with id",
    "no session matches",
    "no previous sessions found",
    "thread not found",
    "conversation not found",
    "invalid session identifier",
];

const RATE: &[&str] = &[
    "rate limit",
    "rate_limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "usage limit",
    "hit your limit",
    "limit reached",
    "spend limit",
    "quota",
    "resource_exhausted",
    "resource has been exhausted",
    "overloaded",
];

const LIMIT: &[&str] = &[
    "prompt is too long",
    "context window",
    "context length",
    "context_length",
    "maximum context",
    "max turns",
    "max session turns",
    "turn limit",
    "number of turns",
    "maximum budget",
    "max_output_tokens",
    "output token maximum",
];

/// What a message of an error is about.
pub(super) fn judge(message: &str, now: Timestamp) -> Trouble {
    let text = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let numbers = text.split(|c: char| !c.is_ascii_alphanumeric());
    if has(SESSION) {
        Trouble::Session
    } else if has(LIMIT) {
        Trouble::Limit
    } else if has(RATE) || numbers.into_iter().any(|number| number == "429") {
        Trouble::Rate { wait: wait(&text, now) }
    } else {
        Trouble::Other
    }
}

/// No limit of a provider lasts longer.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// How long a message in lower case says that a limit lasts.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let until = |at: Timestamp| (at > now).then(|| at.since(now));
    let wait = lasting(text).or_else(|| moment(text).and_then(until));
    wait.filter(|wait| *wait <= LONGEST)
}

/// `try again in 1h 20m`, `retry after 30`, `wait 6.5 seconds`.
fn lasting(text: &str) -> Option<Duration> {
    ["in ", "after ", "after: ", "wait "].into_iter().find_map(|word| {
        let mut places = text.match_indices(word);
        places.find_map(|(at, _)| duration(&text[at + word.len()..], word.starts_with("after")))
    })
}

/// The duration that a text begins with: numbers with units, and where it is allowed a bare
/// number of seconds.
fn duration(text: &str, is_bare: bool) -> Option<Duration> {
    let (mut seconds, mut rest, mut found) = (0.0, text.trim_start(), false);
    loop {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let Ok(number) = rest[..end].trim_end_matches('.').parse::<f64>() else {
            break;
        };
        let after = rest[end..].trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let Some(unit) = unit(&after[..end]) else {
            seconds += if is_bare && !found { number } else { 0.0 };
            found |= is_bare;
            break;
        };
        (seconds, found) = (seconds + number * unit, true);
        rest = after[end..].trim_start_matches([' ', ',']).trim_start_matches("and ");
    }
    found.then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// A unit of time in seconds.
fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ms" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    })
}

/// A moment: seconds since 1970, or a date with its time and zone.
fn moment(text: &str) -> Option<Timestamp> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-:.+".contains(c);
    let words = text.split(|c: char| !is_part(c));
    let mut moments = words.filter_map(|word| {
        let word = word.trim_matches(['.', ':']).trim_start_matches("reset_at:");
        let is_seconds = word.len() == 10 && word.bytes().all(|byte| byte.is_ascii_digit());
        if is_seconds {
            return word.parse().ok().and_then(seconds);
        }
        let date = DateTime::parse_from_rfc3339(&word.to_uppercase()).ok()?;
        Some(Timestamp::from_micros(date.timestamp_micros()))
    });
    moments.next()
}

/// A moment in seconds since 1970.
pub(super) fn seconds(seconds: i64) -> Option<Timestamp> {
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_780_000_000;

    fn waits(message: &str) -> Option<Option<u64>> {
        match judge(message, Timestamp::from_micros(NOW * 1_000_000)) {
            Trouble::Rate { wait } => Some(wait.map(|wait| wait.as_secs())),
            _ => None,
        }
    }

    #[test]
    fn limits_of_providers_say_how_long_they_last() {
        for (message, seconds) in [
            ("API Error: Rate limit reached. Please try again in 20s.", Some(20)),
            ("exceeded retry limit, last status: 429 Too Many Requests", None),
            ("You've hit your usage limit. Try again in 4 days 3 hours 9 minutes.", Some(356_940)),
            ("rate limit: try again in 1m30s", Some(90)),
            ("429: retry after 30", Some(30)),
            ("Rate limited; Retry-After: 12 seconds", Some(12)),
            ("Claude AI usage limit reached|1780003600", Some(3600)),
            ("quota exhausted until 2026-05-28T21:26:40Z", Some(3600)),
            ("You've hit your limit · resets 3pm (America/New_York)", None),
            ("usage limit reached, resets in 2h and 5min", Some(7500)),
            ("usage limit reached|1770000000", None),
            ("rate limit: try again in 99999999999999999999999999 days", None),
        ] {
            assert_eq!(waits(message), Some(seconds), "{message}");
        }
    }

    #[test]
    fn other_errors_are_no_limits_of_providers() {
        let judge = |message| judge(message, Timestamp::ZERO);
        let lost = "No conversation found with session ID: 4290";
        assert_eq!(judge(lost), Trouble::Session);
        assert_eq!(judge("Prompt is too long"), Trouble::Limit);
        assert_eq!(judge("line 14290: no such file"), Trouble::Other);
        assert_eq!(judge(""), Trouble::Other);
    }
}
