//! Text of others within Markdown (CommonMark, with the tables of GitHub).
//!
//! What comes out shows what went in, and can't be more than it is given to be: no heading, no
//! link, no further cell. Characters that can't be seen, or that change how others are shown
//! (control characters, those that turn the direction of writing), are replaced by visible ones.

/// Text as text within a line: at the beginning of an item, in the middle of a sentence, in a
/// cell. Whitespace becomes one space each.
pub fn escape(text: &str) -> String {
    let text = one_line(text);
    let mut escaped = String::with_capacity(text.len());
    let mut before = None;
    for (at, c) in text.char_indices() {
        let after = text[at + c.len_utf8()..].chars().next();
        match c {
            '|' => escaped.push_str("&#124;"),
            _ if is_special(c, before, after) => escaped.extend(['\\', c]),
            _ if begins_block(c, &text[..at], after) => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
        before = Some(c);
    }
    escaped
}

/// Text as code within a line. Whitespace becomes one space each; what is blank is nothing.
pub fn code(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() {
        return text;
    }
    let ticks = "`".repeat(1 + shortest_missing(&text));
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// Text as code within a cell of a table. With a `|` it is text, as no code in a cell can hold
/// every text with one.
pub fn cell(text: &str) -> String {
    if text.contains('|') { escape(text) } else { code(text) }
}

/// Text as a block of code, line by line. Lines longer than `chars` and lines after the first
/// `lines` are cut, which is said in place of what is missing.
pub fn block(text: &str, lines: usize, chars: usize) -> String {
    let text = text.replace("\r\n", "\n");
    let all: Vec<_> = text.split('\n').collect();
    let shown = all.iter().take(lines).map(|line| cut(&visible(line), chars));
    let mut shown: Vec<_> = shown.collect();
    if all.len() > lines {
        shown.push(format!("… ({} more lines)", all.len() - lines));
    }
    let shown = shown.join("\n");
    let fence = fence(&shown);
    format!("{fence}text\n{shown}\n{fence}")
}

/// The beginning of a text, with a sign where it was cut.
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A line of a block, with how much is missing where it was cut.
fn cut(line: &str, chars: usize) -> String {
    let more = line.chars().skip(chars).count();
    let shown = shortened(line, chars);
    if more > 0 { format!("{shown} ({more} more characters)") } else { shown }
}

/// A fence that nothing in the text closes: backticks, three at least.
pub(super) fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(3.max(1 + longest))
}

fn one_line(text: &str) -> String {
    visible(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Text in which everything can be seen.
fn visible(text: &str) -> String {
    text.chars().map(visible_char).collect()
}

fn visible_char(c: char) -> char {
    match c {
        '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '␡',
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// Whether a character means something in the middle of a line. `_` in a name does not.
fn is_special(c: char, before: Option<char>, after: Option<char>) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    match c {
        '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '&' | '~' | '$' => true,
        '_' => !(is_word(before) && is_word(after)),
        _ => false,
    }
}

/// Whether a character begins a heading, a list or a rule, with what is before it on the line.
fn begins_block(c: char, before: &str, after: Option<char>) -> bool {
    let ends = after.is_none_or(|c| c == ' ');
    match c {
        '#' | '+' | '-' | '=' | ':' => before.is_empty(),
        '.' | ')' => ends && !before.is_empty() && before.chars().all(|c| c.is_ascii_digit()),
        _ => false,
    }
}

/// The length of the shortest run of backticks, minus one, that is not in the text.
fn shortest_missing(text: &str) -> usize {
    let runs: Vec<_> = text.split(|c| c != '`').map(str::len).collect();
    (0..).find(|length| !runs.contains(&(length + 1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_text() {
        for (text, escaped) in [
            ("plain next_claim() a-b 1.5", "plain next_claim() a-b 1.5"),
            ("a|b\\|c", "a&#124;b\\\\&#124;c"),
            ("# no\nheading", "\\# no heading"),
            ("1. no item", "1\\. no item"),
            ("_x_ `y` <b>", "\\_x\\_ \\`y\\` \\<b\\>"),
            ("nul \0 esc \x1b[1m", "nul ␀ esc ␛\\[1m"),
            ("\u{202e}turned", "\u{fffd}turned"),
        ] {
            assert_eq!(escape(text), escaped);
        }
        for (text, shown) in [
            ("a", "`a`"),
            ("a ` b", "``a ` b``"),
            ("`a", "`` `a ``"),
            ("a `` b", "`a `` b`"),
            (" \n", ""),
        ] {
            assert_eq!(code(text), shown);
        }
        assert_eq!(cell("a|`b`"), "a&#124;\\`b\\`");
    }

    #[test]
    fn blocks_are_closed_by_their_fence_and_cut_where_they_are_long() {
        assert_eq!(block("a\r\nb\0", 9, 9), "```text\na\nb␀\n```");
        assert_eq!(block("```\nx", 9, 9), "````text\n```\nx\n````");
        let cut = block("abcdef\n2\n3\n4", 2, 4);
        assert_eq!(cut, "```text\nabcd… (2 more characters)\n2\n… (2 more lines)\n```");
    }
}
