//! Reports: the same bytes for the same values, every gap by name, and nothing that somebody wrote
//! becomes more than text.

use proptest::{collection::vec, prelude::*};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use segue::evidence::{
    Checked, Citation, Claim, End, Ledger, Limits, Report, Section, StepEnd, Verdict, markdown,
};

fn claim(text: &str, citations: &[(&str, &str, Verdict)]) -> Checked {
    let cite = |(path, quote, _): &(&str, &str, Verdict)| Citation {
        path: (*path).to_owned(),
        first: 3,
        last: 4,
        quote: (*quote).to_owned(),
        cut: false,
    };
    let verdicts = citations.iter().map(|(.., verdict)| verdict.clone()).collect();
    Checked {
        claim: Claim { text: text.into(), citations: citations.iter().map(cite).collect() },
        verdicts,
    }
}

fn report() -> Report {
    let mut ledger = Ledger::default();
    for (unit, reader) in [("a.rs", "read 1"), ("b.rs", "read 2"), ("c.rs", "read 2")] {
        ledger.expect(unit, reader);
    }
    ledger.cover("a.rs", "read 1");
    ledger.skipped.add("d.png", "binary");
    let step = |name: &str, end| StepEnd { name: name.into(), end };
    Report {
        question: "Where is it?".into(),
        opening: "Read by **two**.".into(),
        claims: vec![
            claim("It is there", &[("a.rs", "it", Verdict::Verified)]),
            claim(
                "It moved",
                &[
                    ("a.rs", "it", Verdict::Verified),
                    ("a.rs", "that", Verdict::Moved { first: 7, last: 9 }),
                ],
            ),
            claim("It is everywhere", &[]),
        ],
        sections: vec![Section { title: "Own".into(), body: "- *own*".into() }],
        ledger,
        units: "files".into(),
        steps: vec![
            step("read 1", End::Completed),
            step("read 2", End::Failed("out of tokens".into())),
            step("refute", End::Skipped("read 2 failed".into())),
            step("report", End::Completed),
        ],
        limits: Limits::default(),
    }
}

const EXPECTED: &str = "\
# Where is it?

Read by **two**.

## Claims

2 citations verified, 1 unverified. 1 claim cites nothing.

| no | claim | where | begins with | citation |
|---|---|---|---|---|
| C1 | It is there | `a.rs:3-4` | `it` | verified |
| C2 | It moved | `a.rs:3-4` | `it` | verified |
| C2 |  | `a.rs:3-4` | `that` | UNVERIFIED: the quote stands at lines 7-9 |
| C3 | It is everywhere | | | NO CITATION |

## Own

- *own*

## Evidence

C1 `a.rs:3-4`

```text
it
```

C2 `a.rs:3-4`

```text
it
```

## Coverage

1 of 3 files are covered.

| reader | expected | covered | missing | end |
|---|---|---|---|---|
| read 1 | 1 | 1 | 0 | completed |
| read 2 | 2 | 0 | 2 | failed |

## Gaps

- **Gap**: read 2 failed, so its 2 files are not covered (`b.rs` to `c.rs`). out of tokens
- **Gap**: step refute was skipped: read 2 failed

Not covered:

- `b.rs`: read 2 failed: out of tokens
- `c.rs`: read 2 failed: out of tokens

Skipped: binary: 1.

- `d.png`: binary
";

#[test]
fn a_report_is_the_same_bytes_each_time() {
    let report = report();
    assert_eq!(report.markdown(), EXPECTED);
    let json = serde_json::to_string(&report).expect("JSON");
    let again: Report = serde_json::from_str(&json).expect("a report");
    assert_eq!(again.markdown(), EXPECTED);
}

#[test]
fn whatever_a_reader_left_open_is_a_gap() {
    let cover = |end: Option<End>, covered: &[&str]| {
        let mut ledger = Ledger::default();
        ["a", "b"].iter().for_each(|unit| ledger.expect(*unit, "r"));
        covered.iter().for_each(|unit| ledger.cover(*unit, "r"));
        end.into_iter().for_each(|end| ledger.end("r", end));
        let text = Report { ledger, ..Report::default() }.markdown();
        let (_, gaps) = text.split_once("## Gaps\n\n").expect("the section");
        gaps.lines().next().expect("a line").to_owned()
    };
    let failed = || Some(End::Failed("why".into()));
    for (end, covered, expected) in [
        (
            failed(),
            &[][..],
            "- **Gap**: r failed, so its 2 units are not covered (`a` to `b`). why",
        ),
        (failed(), &["a"], "- **Gap**: r failed, so 1 of its 2 units are not covered (`b`). why"),
        (
            failed(),
            &["a", "b"],
            "- **Gap**: r failed, all of its 2 units are covered nevertheless. why",
        ),
        (
            Some(End::Cancelled(String::new())),
            &["a"],
            "- **Gap**: r was cancelled, so 1 of its 2 units are not covered (`b`). ",
        ),
        (
            Some(End::Completed),
            &["a"],
            "- **Gap**: r completed, but left some out, so 1 of its 2 units are not covered (`b`).",
        ),
        (
            None,
            &["b"],
            "- **Gap**: r did not say how it ended, so 1 of its 2 units are not covered (`a`).",
        ),
        (Some(End::Completed), &["a", "b"], "No reader or step failed, and nothing is missing."),
    ] {
        assert_eq!(cover(end, covered), expected);
    }
    let mut ledger = Ledger::default();
    ledger.expect_of_nobody("a");
    let text = Report { ledger, ..Report::default() }.markdown();
    assert!(
        text.contains("- **Gap**: nobody was given some, so 1 units are not covered (`a`)."),
        "{text}"
    );
}

#[test]
fn limits_hide_only_what_is_good() {
    let mut report = report();
    let good = || claim("good", &[("a.rs", "it", Verdict::Verified)]);
    report.claims.extend((0..100).map(|_| good()));
    report.claims.extend((0..100).map(|_| claim("bad", &[("a.rs", "x", Verdict::NoSuchFile)])));
    (0..100).for_each(|no| report.ledger.expect(format!("{no}.rs"), "read 2"));
    report.limits = Limits { claims: 5, quotes: 3, names: 7, ..Limits::default() };
    let text = report.markdown();
    assert_eq!(text.matches("| good |").count(), 4);
    assert_eq!(text.matches("| bad |").count(), 100);
    assert!(text.contains("\n96 more of which all citations are verified.\n"), "{text}");
    assert_eq!(text.matches("```text").count(), 3);
    assert!(text.contains("\n99 more verified quotes are not shown.\n"), "{text}");
    assert!(text.contains("so its 102 files are not covered"), "{text}");
    assert!(text.contains("- and 95 more\n"), "{text}");
}

// ---- what a reader of Markdown sees

fn parse(text: &str) -> Vec<Event<'_>> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH).collect()
}

/// The shape of a text: its blocks, without what is in them.
fn shape(text: &str) -> Vec<String> {
    let blocks = parse(text).into_iter().filter_map(|event| match event {
        Event::Start(tag) => Some(format!("{tag:?}")),
        Event::End(_) | Event::Text(_) | Event::Code(_) => None,
        other => Some(format!("{:?}", std::mem::discriminant(&other))),
    });
    blocks.collect()
}

/// All that is shown as text or code.
fn shown(text: &str) -> String {
    let parts = parse(text).into_iter().filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.into_string()),
        _ => None,
    });
    parts.collect()
}

/// What is in the fences.
fn blocks(text: &str) -> Vec<String> {
    let (mut found, mut inside) = (Vec::new(), false);
    for event in parse(text) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                inside = true;
                found.push(String::new());
            }
            Event::End(TagEnd::CodeBlock) => inside = false,
            Event::Text(text) if inside => found.last_mut().expect("a block").push_str(&text),
            _ => {}
        }
    }
    found
}

/// A report in which everything that somebody wrote is this.
fn full_of(text: &str) -> String {
    let mut ledger = Ledger::default();
    ledger.expect(text, text);
    ledger.expect(format!("{text}!"), text);
    ledger.expect("x", "fine");
    ledger.cover("x", "fine");
    ledger.miss(text, text, text);
    ledger.skipped.add(text, text);
    let step = |name: &str| StepEnd { name: name.into(), end: End::Failed(text.into()) };
    let verdicts = [Verdict::Verified, Verdict::Unreadable(text.into())];
    let [good, bad] = verdicts.map(|verdict| (text, text, verdict));
    Report {
        question: format!("Q {text}"),
        claims: vec![
            claim(&format!("A {text}"), &[good]),
            claim(&format!("B {text}"), &[bad]),
            claim(text, &[]),
        ],
        sections: vec![Section { title: format!("S {text}"), body: "own".into() }],
        ledger,
        units: "files".into(),
        steps: vec![step(text), step("other")],
        ..Report::default()
    }
    .markdown()
}

/// Whether there are characters that are shown as others.
fn has_unseen(text: &str) -> bool {
    text.contains(['\0', '\x1b', '\x7f', '\u{85}', '\u{202e}', '\u{feff}'])
}

fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[`|\\\\*_<>&#~$\\[\\]()!:.+=\"'-]{1,4}",
        "[a-z0-9]{1,3}",
        "[ \n\r\t]{1,2}",
        "[\0\x1b\x7f\u{85}\u{202e}\u{feff}é漢]{1,2}",
        Just("| C9 | x | y | z | verified |\n".to_owned()),
        Just("\n\n# Heading\n\n```\n</code><script>\n".to_owned()),
        Just("&lt;&#124;&nbsp; https://a.b ![x](y) [a]: b".to_owned()),
        Just("`".repeat(50)),
    ];
    vec(part, 1..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody's text changes what the report is made of.
    #[test]
    fn text_of_others_adds_nothing_to_a_report(text in hostile()) {
        let (plain, odd) = (full_of("plain"), full_of(&format!("p{text}")));
        prop_assert_eq!(shape(&odd), shape(&plain), "{}", odd);
        prop_assert!(!has_unseen(&odd));
    }

    #[test]
    fn what_is_escaped_is_shown_as_it_was(text in hostile()) {
        let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assume!(!has_unseen(&plain));
        let row = |cell: String| format!("| a | b |\n|---|---|\n| {cell} | end |\n");
        prop_assert_eq!(shown(&row(markdown::escape(&text))), format!("ab{plain}end"));
        prop_assert_eq!(shown(&row(markdown::cell(&text))), format!("ab{plain}end"));
        prop_assert_eq!(&shown(&markdown::escape(&text)), &plain);
        prop_assert_eq!(&shown(&format!("- {}", markdown::escape(&text))), &plain);
        prop_assert_eq!(shown(&markdown::code(&text)), plain);
    }

    #[test]
    fn a_quote_is_shown_line_by_line(text in hostile()) {
        let whole = text.replace("\r\n", "\n");
        prop_assume!(!has_unseen(&whole) && !whole.contains('\r'));
        let block = markdown::block(&text, 1_000, 1_000);
        prop_assert_eq!(blocks(&block), [format!("{whole}\n")]);
    }
}

#[test]
fn a_long_quote_is_cut() {
    let quote = format!("{}\n{}", "long ".repeat(1 << 20), "line\n".repeat(100_000));
    let report = Report {
        claims: vec![claim("x", &[("a", &quote, Verdict::Verified)])],
        ..Report::default()
    };
    let text = report.markdown();
    assert!(text.len() < 4_000, "{} bytes", text.len());
    assert!(text.contains("(5242480 more characters)"), "{text}");
    assert!(text.contains("… (99942 more lines)"), "{text}");
}
