//! How citations are read from text.

use super::Citation;

/// Said after a place whose quote is cut.
pub(super) const CUT: &str = " (cut)";

/// What may stand around a place.
const WRAPPERS: [char; 13] = ['`', '"', '\'', '“', '”', '(', ')', '[', ']', '{', '}', '<', '>'];

/// What may stand between a place and its quote on one line.
const BETWEEN: [char; 8] = [' ', '\t', ':', '-', '–', '—', '(', '['];

/// A text that is a citation and nothing else.
pub(super) fn whole(text: &str) -> Option<Citation> {
    let text = text.trim_start();
    let (line, below) = text.split_at(text.find('\n').unwrap_or(text.len()));
    let line = line.trim_end();
    let (place, cut) = line.strip_suffix(CUT).map_or((line, false), |place| (place, true));
    let (path, first, last) = whole_place(place.trim_matches(WRAPPERS))?;
    let quote = match below.trim().is_empty() {
        true => String::new(),
        false => quote_below(below)?.0,
    };
    Some(Citation { path: path.to_owned(), first, last, quote, cut })
}

/// A text that is a place and nothing else: its path and lines.
pub(super) fn whole_place(text: &str) -> Option<(&str, u64, u64)> {
    separators(text).find_map(|(at, from)| {
        let (first, last, length) = lines(&text[from..])?;
        (at > 0 && from + length == text.len()).then(|| (&text[..at], first, last))
    })
}

/// All citations in a text.
pub(super) fn all_in(text: &str) -> Vec<Citation> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((mut citation, end)) = first_place(rest) {
        rest = &rest[end..];
        let closed = rest.trim_start_matches(WRAPPERS);
        let after = closed.strip_prefix(CUT);
        citation.cut = after.is_some();
        if let Some((quote, length)) = quote_after(after.unwrap_or(closed)) {
            let after = after.unwrap_or(closed);
            citation.quote = quote;
            rest = &after[length..];
        }
        found.push(citation);
    }
    found
}

/// The first place in a text, and where it ends.
fn first_place(text: &str) -> Option<(Citation, usize)> {
    separators(text).find_map(|(at, from)| {
        let (first, last, length) = lines(&text[from..])?;
        let path = path_before(&text[..at])?;
        let citation = Citation { path: path.to_owned(), first, last, ..Citation::default() };
        Some((citation, from + length))
    })
}

/// Where a path may end and numbers begin.
fn separators(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.char_indices().filter_map(|(at, c)| {
        let length = match c {
            ':' => 1,
            '#' if text[at..].starts_with("#L") => 2,
            _ => return None,
        };
        Some((at, at + length))
    })
}

/// `10`, `10-12`, `L10-L12` or `10:5` at the beginning of a text: the lines, and its length.
fn lines(text: &str) -> Option<(u64, u64, usize)> {
    let (first, mut length) = number(text)?;
    let rest = &text[length..];
    let range = ['-', '–', '—'].iter().find_map(|dash| {
        let (last, digits) = number(rest.strip_prefix(*dash)?)?;
        Some((last, dash.len_utf8() + digits))
    });
    if let Some((last, more)) = range {
        return Some((first, last, length + more));
    }
    if let Some((_, more)) = rest.strip_prefix(':').and_then(number) {
        length += 1 + more;
    }
    Some((first, first, length))
}

/// A number, perhaps with an `L` before it, and its length. One that is too large is the largest.
fn number(text: &str) -> Option<(u64, usize)> {
    let bare = text.strip_prefix('L').unwrap_or(text);
    let digits = bare.len() - bare.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number = bare[..digits].parse().unwrap_or(u64::MAX);
    (digits > 0).then(|| (number, text.len() - bare.len() + digits))
}

/// The path that ends with a text, which somebody wrote.
fn path_before(text: &str) -> Option<&str> {
    let line = text.rsplit('\n').next()?;
    let ticks = line.matches('`').count();
    if ticks % 2 == 1 {
        return line.rsplit('`').next().filter(|path| !path.trim().is_empty());
    }
    let ends = |c: char| c.is_whitespace() || ",;|".contains(c) || WRAPPERS.contains(&c);
    let path = line.rsplit(ends).next()?;
    let is_path =
        path.contains(char::is_alphabetic) && path.contains(['.', '/']) && !path.contains("://");
    is_path.then_some(path)
}

/// The quote that follows a place, and where it ends.
fn quote_after(text: &str) -> Option<(String, usize)> {
    let rest = text.trim_start_matches(BETWEEN);
    let before = text.len() - rest.len();
    let quote = match rest.chars().next()? {
        '\r' | '\n' => quote_below(rest),
        '"' => quoted(rest, "\"", "\""),
        '“' => quoted(rest, "“", "”"),
        '`' => {
            let ticks = &rest[..rest.len() - rest.trim_start_matches('`').len()];
            quoted(rest, ticks, ticks).filter(|(quote, _)| whole_place(quote).is_none())
        }
        _ => None,
    };
    quote.map(|(quote, length)| (quote, before + length))
}

/// What stands between two marks of one paragraph.
fn quoted(text: &str, open: &str, close: &str) -> Option<(String, usize)> {
    let inside = text.strip_prefix(open)?;
    let end = inside.find(close)?;
    let quote = &inside[..end];
    let is_one = !quote.contains("\n\n") && !quote.trim().is_empty();
    is_one.then(|| (quote.to_owned(), open.len() + end + close.len()))
}

/// A fence or a block quote that begins below this line.
fn quote_below(text: &str) -> Option<(String, usize)> {
    let rest = text.trim_start_matches(['\r', '\n', ' ', '\t']);
    let before = text.len() - rest.len();
    let (quote, length) = match rest.chars().next()? {
        mark @ ('`' | '~') => fenced(rest, mark)?,
        '>' => block_quote(rest),
        _ => return None,
    };
    Some((quote, before + length))
}

/// What stands in a fence, and how long it is with the fence.
fn fenced(text: &str, mark: char) -> Option<(String, usize)> {
    let marks = text.len() - text.trim_start_matches(mark).len();
    let start = text.find('\n')? + 1;
    let mut end = start;
    for line in text[start..].split_inclusive('\n') {
        let bare = line.trim();
        if bare.len() >= marks && bare.chars().all(|c| c == mark) {
            let quote = text[start..end].strip_suffix('\n').unwrap_or("");
            return (marks >= 3).then(|| (quote.to_owned(), end + line.len()));
        }
        end += line.len();
    }
    None
}

/// The lines that begin with `>`, without it, and how long they are.
fn block_quote(text: &str) -> (String, usize) {
    let lines = text.split_inclusive('\n').map_while(|line| {
        let inside = line.trim_start().strip_prefix('>')?;
        Some((inside.strip_prefix(' ').unwrap_or(inside).trim_end(), line.len()))
    });
    let (lines, lengths): (Vec<_>, Vec<_>) = lines.unzip();
    (lines.join("\n"), lengths.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> Option<(String, u64, u64)> {
        let citation: Citation = text.parse().ok()?;
        Some((citation.path, citation.first, citation.last))
    }

    #[test]
    fn the_usual_forms_of_a_place_are_read() {
        for (text, path, first, last) in [
            ("src/a.rs:10", "src/a.rs", 10, 10),
            ("src/a.rs:10-12", "src/a.rs", 10, 12),
            ("src/a.rs:10–12", "src/a.rs", 10, 12),
            ("src/a.rs:10:5", "src/a.rs", 10, 10),
            ("src/a.rs:L10-L12", "src/a.rs", 10, 12),
            ("src/a.rs#L10", "src/a.rs", 10, 10),
            ("src/a.rs#L10-L12", "src/a.rs", 10, 12),
            ("src/a.rs#L10-12", "src/a.rs", 10, 12),
            (" `src/a.rs:10` ", "src/a.rs", 10, 10),
            ("(src/a.rs:10)", "src/a.rs", 10, 10),
            ("Makefile:3", "Makefile", 3, 3),
            ("my notes.txt:3", "my notes.txt", 3, 3),
            (r"C:\a.rs:3", r"C:\a.rs", 3, 3),
            ("a:5:10-10", "a:5", 10, 10),
            ("a.rs:9-3", "a.rs", 9, 3),
            ("a.rs:99999999999999999999", "a.rs", u64::MAX, u64::MAX),
        ] {
            assert_eq!(place(text), Some((path.to_owned(), first, last)), "{text}");
        }
        for text in ["", "a.rs", "a.rs:", ":10", "a.rs:x", "a.rs:10-", "a.rs:10 and more", "#L3"] {
            assert_eq!(place(text), None, "{text}");
        }
    }

    /// Each as `place|quote`.
    fn found(text: &str) -> Vec<String> {
        let citations = all_in(text);
        citations.iter().map(|it| format!("{}|{}", it.place(), it.quote)).collect()
    }

    #[test]
    fn citations_are_found_in_prose() {
        for (text, expected) in [
            ("It is 12:30 at http://host:80/, not std::fmt:3 or localhost:80.", &[][..]),
            (
                "see src/a.rs:10, b.rs:2-3 and `Makefile:4`.",
                &["src/a.rs:10|", "b.rs:2-3|", "Makefile:4|"],
            ),
            ("`a.rs:1`, `b.rs:2`", &["a.rs:1|", "b.rs:2|"]),
            ("`a.rs:1` `b.rs:2`", &["a.rs:1|", "b.rs:2|"]),
            ("`my notes:1`: \"as is\"", &["my notes:1|as is"]),
            ("(a.rs:1: “so it is”) and [b.rs#L2-L3](x)", &["a.rs:1|so it is", "b.rs:2-3|"]),
            ("a.rs:1 - ``let x = `y` ``, b.rs:2", &["a.rs:1|let x = `y` ", "b.rs:2|"]),
            ("a.rs:1 \"see b.rs:2\" c.rs:3", &["a.rs:1|see b.rs:2", "c.rs:3|"]),
            ("a.rs:1-2:\n```rust\nfn a() {\n}\n```\nb.rs:3", &["a.rs:1-2|fn a() {\n}", "b.rs:3|"]),
            ("a.rs:1\n\n> one\n>two\nb.rs:3", &["a.rs:1|one\ntwo", "b.rs:3|"]),
            ("a.rs:1\n```\nnever closed", &["a.rs:1|"]),
            ("a.rs:1 \"never closed", &["a.rs:1|"]),
            ("a.rs:1. \"Not of it\"", &["a.rs:1|"]),
            ("|a.rs:1|b.rs:2|", &["a.rs:1|", "b.rs:2|"]),
            ("a.rs:12:5: error", &["a.rs:12|"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    fn citation() -> impl Strategy<Value = Citation> {
        let path = "[a-z.][a-zA-Z0-9_./ #:L-]{0,16}[a-z0-9_]";
        (
            path,
            any::<u64>(),
            any::<u64>(),
            "[a-z`~> \n\r\t\"|é]{0,30}",
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(path, first, last, quote, cut, is_one)| {
                let last = if is_one { first } else { last };
                Citation { path, first, last, quote, cut }
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_printed_is_read_back(citation in citation()) {
            prop_assert_eq!(citation.to_string().parse(), Ok(citation));
        }

        /// It ends, and takes nothing for text that isn't.
        #[test]
        fn any_text_can_be_searched(text in "[a./:#L0-9`\"“”~>( )\n-]{0,60}|\\PC{0,40}") {
            let _ = (all_in(&text), text.parse::<Citation>());
        }
    }
}
