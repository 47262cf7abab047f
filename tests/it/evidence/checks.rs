//! Each verdict, and what it takes to get it.

use std::{
    cell::Cell,
    io::{self, Read},
};

use proptest::prelude::*;
use segue::evidence::{
    Citation, Claim, Entry, Folder, Standing, Tree, Verdict, check, check_claims,
};
use tokio_util::sync::CancellationToken;

use super::{Place, cite, verdict, verdicts};

const TEXT: &str = "\
fn one() {
\tlet limit = 10;

    call(limit);
}
fn two() {
    call(limit);
}
";

#[test]
fn every_verdict_is_given_for_its_reason() {
    let place = Place::new();
    place.write("root/a.rs", TEXT);
    place.write("root/folder/b.rs", "no end");
    place.write("root/empty", "");
    let tree = Folder::new(place.root());
    let moved = |first, last| Verdict::Moved { first, last };
    let none = |lines| Verdict::NoSuchLines { lines };
    for (cited, quote, expected) in [
        ("a.rs:1", "fn one() {", Verdict::Verified),
        ("a.rs:1-8", TEXT, Verdict::Verified),
        ("a.rs:2", "let limit = 10;", Verdict::Verified),
        ("a.rs:2", "  let  limit\n= 10", Verdict::Verified),
        ("a.rs:2-4", "let limit = 10;\r\n    call(limit);", Verdict::Verified),
        ("a.rs:2-4", "call", Verdict::Verified),
        ("a.rs:8", "}", Verdict::Verified),
        ("folder/b.rs:1", "no end", Verdict::Verified),
        ("a.rs:1", "let limit = 10;", moved(2, 2)),
        ("a.rs:1-2", "10;\ncall(limit);", moved(2, 4)),
        ("a.rs:3", "call(limit);", moved(4, 4)),
        ("a.rs:6", "call(limit);", moved(7, 7)),
        ("a.rs:8-9", "}", moved(8, 8)),
        ("a.rs:99", "fn one()", moved(1, 1)),
        ("a.rs:0", "fn one()", moved(1, 1)),
        ("a.rs:2-1", "let", moved(2, 2)),
        ("a.rs:2", "let limit = 1", Verdict::QuoteDiffers),
        ("a.rs:2", "et limit = 10;", Verdict::QuoteDiffers),
        ("a.rs:2", "let limit=10;", Verdict::QuoteDiffers),
        ("a.rs:2", "Let limit = 10;", Verdict::QuoteDiffers),
        ("a.rs:1", "fn three", Verdict::QuoteDiffers),
        ("a.rs:3", "", Verdict::Unquoted),
        ("a.rs:8", " \n", Verdict::Unquoted),
        ("a.rs:8-9", "fn three", none(8)),
        ("a.rs:9", "", none(8)),
        ("a.rs:0", "", none(8)),
        ("a.rs:2-1", "", none(8)),
        ("a.rs:1-18446744073709551615", "fn three", none(8)),
        ("folder/b.rs:2", "x", none(1)),
        ("empty:1", "x", none(0)),
        ("c.rs:1", "x", Verdict::NoSuchFile),
        ("folder:1", "x", Verdict::NoSuchFile),
    ] {
        assert_eq!(verdict(&tree, cited, quote), expected, "{cited} {quote:?}");
    }
}

#[test]
fn only_a_quote_that_is_cut_ends_within_a_word() {
    let place = Place::new();
    place.write("root/a.rs", TEXT);
    let tree = Folder::new(place.root());
    for (quote, expected) in
        [("let limit = 1", Verdict::Verified), ("et limit", Verdict::QuoteDiffers)]
    {
        let citation = Citation { cut: true, ..cite("a.rs:2", quote) };
        assert_eq!(verdicts(&tree, &[citation]), [expected]);
    }
}

#[test]
fn verdicts_come_in_the_order_of_the_citations() {
    let place = Place::new();
    place.write("root/a", "one\ntwo\n");
    place.write("root/b", "three\n");
    let tree = Folder::new(place.root());
    let cited = [cite("b:1", "three"), cite("a:2", "one"), cite("c:1", "x"), cite("a:2", "two")];
    let expected = [
        Verdict::Verified,
        Verdict::Moved { first: 1, last: 1 },
        Verdict::NoSuchFile,
        Verdict::Verified,
    ];
    assert_eq!(verdicts(&tree, &cited), expected);

    let claim = |citations: &[Citation]| Claim { text: String::new(), citations: citations.into() };
    let claims = vec![claim(&cited[..2]), claim(&[]), claim(&cited[2..3]), claim(&cited[3..])];
    let stop = CancellationToken::new();
    let checked = check_claims(&tree, claims, &stop).expect("nobody stops it");
    let standings: Vec<_> = checked.iter().map(|checked| checked.standing()).collect();
    let expected = [Standing::Partly, Standing::Uncited, Standing::Unverified, Standing::Verified];
    assert_eq!(standings, expected);
}

#[test]
fn odd_bytes_are_compared_or_refused() {
    let place = Place::new();
    place.write("root/latin", b"caf\xe9 one\ncafe two\n");
    place.write("root/bom", b"\xef\xbb\xbffirst\r\nsecond\r\n");
    place.write("root/binary", b"text\n\0more text\n");
    place.write("root/late", [&vec![b'a'; 9_000][..], b" \0 end\n"].concat());
    place.write("root/signs", "a “quoted” word, größer\n");
    let tree = Folder::new(place.root());
    for (cited, quote, expected) in [
        ("latin:1", "one", Verdict::Verified),
        ("latin:2", "cafe two", Verdict::Verified),
        ("latin:1", "café one", Verdict::QuoteDiffers),
        ("bom:1", "first", Verdict::Verified),
        ("bom:2", "second", Verdict::Verified),
        ("binary:1", "text", Verdict::Unreadable("it is binary".into())),
        ("late:1", "\0 end", Verdict::Verified),
        ("signs:1", "quoted", Verdict::Verified),
        ("signs:1", "größer", Verdict::Verified),
        ("signs:1", "gr", Verdict::QuoteDiffers),
    ] {
        assert_eq!(verdict(&tree, cited, quote), expected, "{cited} {quote:?}");
    }
}

// ---- trees that are made up

/// One file, whose bytes are made while they are read, `step` at a time.
struct MadeUp<F> {
    step: usize,
    byte: F,
    read: Cell<u64>,
}

impl<F: Fn(u64) -> Option<io::Result<u8>>> MadeUp<F> {
    fn new(step: usize, byte: F) -> Self {
        Self { step, byte, read: Cell::new(0) }
    }
}

impl<F: Fn(u64) -> Option<io::Result<u8>>> Tree for MadeUp<F> {
    fn entry(&self, _: &str) -> io::Result<Entry> {
        Ok(Entry::File)
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(Bytes { of: self, at: 0 }))
    }
}

struct Bytes<'a, F> {
    of: &'a MadeUp<F>,
    at: u64,
}

impl<F: Fn(u64) -> Option<io::Result<u8>>> Read for Bytes<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(buffer.len() <= 64 << 10, "{} bytes at once", buffer.len());
        let room = buffer.len().min(self.of.step);
        for (no, place) in buffer[..room].iter_mut().enumerate() {
            match (self.of.byte)(self.at) {
                Some(byte) => *place = byte?,
                None => return Ok(no),
            }
            self.at += 1;
            self.of.read.set(self.of.read.get() + 1);
        }
        Ok(room)
    }
}

#[test]
fn of_a_file_without_end_no_more_is_read_than_is_needed() {
    let zeros = MadeUp::new(usize::MAX, |_| Some(Ok(0)));
    let expected = Verdict::Unreadable("it is binary".into());
    assert_eq!(verdict(&zeros, "a:1000000", "x"), expected);
    assert_eq!(zeros.read.get(), 8 << 10);

    let text = MadeUp::new(usize::MAX, |at| Some(Ok(b"line\n"[at as usize % 5])));
    assert_eq!(verdict(&text, "a:30000", "line"), Verdict::Verified);
    assert!(text.read.get() < 30_000 * 5 + (65 << 10), "{}", text.read.get());
}

#[test]
fn a_check_stops_within_a_file() {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let endless = MadeUp::new(usize::MAX, move |at| {
        if at == 1 << 20 {
            told.cancel();
        }
        Some(Ok(b'a'))
    });
    assert_eq!(check(&endless, &[cite("a:1", "b")], &stop), None);
    assert!(endless.read.get() < 2 << 20);
    assert_eq!(check(&endless, &[cite("../a:1", "b")], &stop), Some(vec![OUT]));
    assert_eq!(check(&endless, &[], &stop), Some(vec![]));
}

const OUT: Verdict = Verdict::Outside(segue::evidence::Outside::Upwards);

#[test]
fn a_file_that_breaks_off_is_not_one_that_ends() {
    let broken = MadeUp::new(100, |at| match at {
        0..20_000 => Some(Ok(b"line\n"[at as usize % 5])),
        _ => Some(Err(io::Error::other("the disk is gone"))),
    });
    let gone = Verdict::Unreadable("the disk is gone".into());
    assert_eq!(verdict(&broken, "a:5000", "line"), gone);
    assert_eq!(verdict(&broken, "a:1", "other"), gone);
    assert_eq!(verdict(&broken, "a:1", "line"), Verdict::Verified);
}

/// Wherever a piece begins or ends, a word there is whole.
#[test]
fn a_word_is_not_split_by_where_a_piece_begins() {
    let text = format!("{}import exports and more of it", "x ".repeat(4_100));
    for step in 1..20 {
        let bytes = text.as_bytes();
        let tree = MadeUp::new(step, |at| bytes.get(at as usize).map(|byte| Ok(*byte)));
        let judged = ["port", "port export", "import"].map(|quote| verdict(&tree, "a:1", quote));
        let expected = [Verdict::QuoteDiffers, Verdict::QuoteDiffers, Verdict::Verified];
        assert_eq!(judged, expected, "{step} bytes at a time");
    }
}

/// What the documentation says, on a whole text.
fn judge(text: &str, citation: &Citation) -> Verdict {
    let (mut even, mut line_of, mut line) = (String::new(), Vec::new(), 1);
    for c in text.chars() {
        if !c.is_whitespace() {
            even.push(c);
            line_of.push(line);
        } else if !even.is_empty() && !even.ends_with(' ') {
            even.push(' ');
            line_of.push(line);
        }
        line += u64::from(c == '\n');
    }
    let lines = text.lines().count() as u64;
    let Citation { first, last, .. } = *citation;
    let exist = 1 <= first && first <= last && last <= lines;
    let quote = citation.quote.split_whitespace().collect::<Vec<_>>().join(" ");
    if quote.is_empty() {
        return if exist { Verdict::Unquoted } else { Verdict::NoSuchLines { lines } };
    }
    let bytes = even.as_bytes();
    let is_word = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric())
    };
    let splits = |at: usize| is_word(at.checked_sub(1)) && is_word(Some(at));
    let places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(quote.as_bytes()));
    let places = places.map(|at| (at, at + quote.len()));
    let places = places.filter(|(at, end)| !splits(*at) && (citation.cut || !splits(*end)));
    let places: Vec<_> = places.map(|(at, end)| (line_of[at], line_of[end - 1])).collect();
    if exist && places.iter().any(|(from, to)| first <= *from && *to <= last) {
        return Verdict::Verified;
    }
    match places.iter().min_by_key(|(from, _)| from.abs_diff(first)) {
        Some((first, last)) => Verdict::Moved { first: *first, last: *last },
        None if exist => Verdict::QuoteDiffers,
        None => Verdict::NoSuchLines { lines },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the file comes in pieces, and wherever in it the pieces meet.
    #[test]
    fn pieces_are_judged_as_the_whole(
        text in "([ab(]{1,4}[ \n]{1,3}){0,30}",
        quotes in prop::collection::vec(("[ab( \n]{0,7}", 0u64..20, 0u64..20, any::<bool>()), 1..4),
        step in 1usize..20,
        before in 0usize..3,
    ) {
        // What is looked at for NUL bytes comes as one piece.
        let before = [String::new(), "(\n".repeat(4_090), "z ".repeat(4_100)][before].clone();
        let (whole, skipped) = (format!("{before}{text}"), before.lines().count() as u64);
        let bytes = whole.as_bytes();
        let tree = MadeUp::new(step, |at| bytes.get(at as usize).map(|byte| Ok(*byte)));
        let cited: Vec<_> = quotes.into_iter().map(|(quote, first, last, cut)| {
            let (first, last) = (first + skipped, last + skipped);
            Citation { path: "a".into(), first, last, quote, cut }
        }).collect();
        let expected: Vec<_> = cited.iter().map(|citation| judge(&whole, citation)).collect();
        prop_assert_eq!(verdicts(&tree, &cited), expected);
    }
}
