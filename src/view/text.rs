//! Names, numbers and times as text, made harmless for what they are put into.

use std::{fmt::Write, time::Duration};

/// `text` in one line, without characters that are invisible, turn the direction of what
/// follows, or may not stand in XML.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() => '\u{fffd}',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => '\u{fffd}',
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(visible).collect()
}

/// At most so many columns of a terminal, the last of them an ellipsis where something is
/// missing.
pub(super) fn short(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let wide = columns_of(*c);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).chain(['\u{2026}']).collect()
}

/// `text` in exactly so many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let text = short(text, columns);
    let missing = columns.saturating_sub(width(&text));
    text + &" ".repeat(missing)
}

/// How many columns of a terminal `text` takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Two for the wide characters of Unicode's East Asian Width and for emoji, none for
/// combining marks.
const fn columns_of(c: char) -> usize {
    match c as u32 {
        0x300..=0x36f | 0x1ab0..=0x1aff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// For the inside of a quoted Mermaid label. What is no letter, digit or harmless sign
/// becomes an entity, so that no name can end the label, begin a directive, or be read as
/// Markdown.
pub(super) fn mermaid(text: &str) -> String {
    let mut escaped = String::new();
    for (at, c) in clean(text).chars().enumerate() {
        let harmless = c.is_alphanumeric() || " _,/".contains(c) || (c == '-' && at > 0);
        if harmless {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "#{};", c as u32);
        }
    }
    escaped
}

/// For the text or an attribute of XML.
pub(super) fn xml(text: &str) -> String {
    let mut escaped = String::new();
    for c in clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For a line or table cell of Markdown: nothing in it is markup.
pub(crate) fn cell(text: &str) -> String {
    let mut escaped = String::new();
    for c in clean(text).chars() {
        if "\\`*_[]<>|#~&!$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped.trim().to_owned()
}

/// The first characters of `text`, and how many there are if that is not all.
pub(super) fn cut(text: &str, limit: usize) -> (&str, Option<usize>) {
    match text.char_indices().nth(limit) {
        None => (text, None),
        Some((end, _)) => (&text[..end], Some(text.chars().count())),
    }
}

/// A duration in two units at most.
pub(super) fn duration(time: Duration) -> String {
    let (millis, seconds) = (time.as_secs_f64() * 1e3, time.as_secs());
    let pair = |of: u64, part: u64, names: [&str; 2]| match seconds % of / part {
        0 => format!("{} {}", seconds / of, names[0]),
        rest => format!("{} {} {rest} {}", seconds / of, names[0], names[1]),
    };
    match seconds {
        0 if time.is_zero() => "0 s".to_owned(),
        0 if millis < 9.95 => trimmed(millis, "ms"),
        0 => format!("{millis:.0} ms"),
        1..10 => trimmed(time.as_secs_f64(), "s"),
        10..60 => format!("{seconds} s"),
        60..3_600 => pair(60, 1, ["min", "s"]),
        3_600..86_400 => pair(3_600, 60, ["h", "min"]),
        _ => pair(86_400, 3_600, ["d", "h"]),
    }
}

fn trimmed(number: f64, unit: &str) -> String {
    let text = format!("{number:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A number with its thousands apart.
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 step`, `2 steps`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}
