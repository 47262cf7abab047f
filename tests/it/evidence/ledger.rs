//! Ledgers: nothing that was expected gets lost, however they are merged.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};
use segue::evidence::{End, Ledger, Skipped};

/// One entry in a ledger.
#[derive(Clone, Debug)]
enum Entry {
    Expect(u8, u8),
    ExpectOfNobody(u8),
    Cover(u8, u8),
    Miss(u8, u8, u8),
    End(u8, End),
    Skip(u8, u8),
}

impl Entry {
    fn note(&self, ledger: &mut Ledger) {
        let name = |no: &u8| format!("r{no}");
        match self {
            Self::Expect(unit, reader) => ledger.expect(unit.to_string(), name(reader)),
            Self::ExpectOfNobody(unit) => ledger.expect_of_nobody(unit.to_string()),
            Self::Cover(unit, reader) => ledger.cover(unit.to_string(), name(reader)),
            Self::Miss(unit, reader, why) => {
                ledger.miss(unit.to_string(), name(reader), why.to_string());
            }
            Self::End(reader, end) => ledger.end(name(reader), end.clone()),
            Self::Skip(path, why) => ledger.skipped.add(path.to_string(), why.to_string()),
        }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let (unit, reader) = (0u8..12, 0u8..4);
    let end = prop_oneof![
        Just(End::Completed),
        "[ab]".prop_map(End::Failed),
        "[ab]".prop_map(End::Skipped),
        "[ab]".prop_map(End::Cancelled),
    ];
    prop_oneof![
        (unit.clone(), reader.clone()).prop_map(|(unit, reader)| Entry::Expect(unit, reader)),
        unit.clone().prop_map(Entry::ExpectOfNobody),
        (unit.clone(), reader.clone()).prop_map(|(unit, reader)| Entry::Cover(unit, reader)),
        (unit, reader.clone(), 0u8..3).prop_map(|(unit, reader, no)| Entry::Miss(unit, reader, no)),
        (reader, end).prop_map(|(reader, end)| Entry::End(reader, end)),
        (any::<u8>(), 0u8..3).prop_map(|(path, why)| Entry::Skip(path, why)),
    ]
}

fn ledger(entries: &[Entry]) -> Ledger {
    let mut ledger = Ledger::default();
    entries.iter().for_each(|entry| entry.note(&mut ledger));
    ledger
}

fn merged(one: &Ledger, other: &Ledger) -> Ledger {
    let mut sum = one.clone();
    sum.merge(other.clone());
    sum
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_associative_and_needs_no_order(
        a in vec(entry(), 0..60), b in vec(entry(), 0..60), c in vec(entry(), 0..60),
    ) {
        let (one, two, three) = (ledger(&a), ledger(&b), ledger(&c));
        let sum = merged(&merged(&one, &two), &three);
        prop_assert_eq!(&sum, &merged(&one, &merged(&two, &three)));
        prop_assert_eq!(&sum, &merged(&merged(&three, &one), &two));
        prop_assert_eq!(&sum, &ledger(&[c, a, b].concat()));
        prop_assert_eq!(&one, &merged(&one, &Ledger::default()));
        let json = serde_json::to_string(&sum).expect("JSON");
        prop_assert_eq!(&sum, &serde_json::from_str(&json).expect("a ledger"));
    }

    /// Merging the same part again changes nothing but the counts of what was skipped.
    #[test]
    fn a_part_that_comes_twice_counts_once(a in vec(entry(), 0..60), b in vec(entry(), 0..60)) {
        let sum = merged(&ledger(&a), &ledger(&b));
        let again = merged(&sum, &ledger(&b));
        prop_assert_eq!((sum.units, sum.ends), (again.units, again.ends));
    }

    /// Every unit that was expected is covered or missing for a reason, and each reader to whom
    /// it was given has it in its row.
    #[test]
    fn nothing_expected_is_lost(entries in vec(entry(), 0..80)) {
        let ledger = ledger(&entries);
        let (mut expected, mut covered) = (BTreeSet::new(), BTreeSet::new());
        for entry in &entries {
            match entry {
                Entry::Expect(unit, _) | Entry::ExpectOfNobody(unit) => {
                    expected.insert(unit.to_string());
                }
                Entry::Cover(unit, _) => {
                    covered.insert(unit.to_string());
                }
                _ => {}
            }
        }
        let lost: Vec<_> = expected.difference(&covered).map(String::as_str).collect();
        let missing: Vec<_> = ledger.missing().collect();
        prop_assert_eq!(missing.iter().map(|(name, _)| *name).collect::<Vec<_>>(), lost);
        prop_assert!(missing.iter().all(|(_, reasons)| !reasons.is_empty()));
        let counts = ledger.covered_of();
        prop_assert_eq!(counts.1, expected.len() as u64);
        prop_assert_eq!(counts.1 - counts.0, missing.len() as u64);

        let rows = ledger.coverage();
        for (name, _) in &missing {
            prop_assert!(rows.iter().any(|row| row.missing.contains(name)), "{}", name);
        }
        for entry in &entries {
            if let Entry::Expect(_, reader) | Entry::Cover(_, reader) | Entry::Miss(_, reader, _)
            | Entry::End(reader, _) = entry
            {
                let name = format!("r{reader}");
                prop_assert!(rows.iter().any(|row| row.reader == Some(&name)));
            }
        }
        let skipped = entries.iter().filter_map(|entry| match entry {
            Entry::Skip(path, why) => Some((path.to_string(), why.to_string())),
            _ => None,
        });
        prop_assert_eq!(ledger.skipped.total(), skipped.clone().count() as u64);
        let named: BTreeSet<_> = skipped.collect();
        let named: BTreeSet<_> = named.into_iter().take(Skipped::NAMED).collect();
        prop_assert_eq!(ledger.skipped.named, named);
    }

    #[test]
    fn of_what_was_skipped_the_first_are_named(paths in vec(any::<u16>(), 0..200)) {
        let mut skipped = Skipped::default();
        paths.iter().for_each(|path| skipped.add(path.to_string(), "binary"));
        let names: BTreeSet<_> = paths.iter().map(|path| (path.to_string(), "binary".to_owned())).collect();
        let names: BTreeSet<_> = names.into_iter().take(Skipped::NAMED).collect();
        prop_assert_eq!(skipped.named, names);
    }
}

#[test]
fn each_reason_for_a_gap_is_named() {
    let mut ledger = Ledger::default();
    for (unit, reader) in [("a", "failed"), ("b", "failed"), ("c", "silent"), ("d", "lazy")] {
        ledger.expect(unit, reader);
    }
    ledger.expect("e", "skipped");
    ledger.expect("f", "said");
    ledger.expect_of_nobody("g");
    ledger.cover("a", "failed");
    ledger.end("failed", End::Failed("no tokens".into()));
    ledger.end("lazy", End::Completed);
    ledger.end("skipped", End::Skipped("the survey failed".into()));
    ledger.miss("f", "said", "it is binary");
    ledger.end("said", End::Failed("odd".into()));
    let missing: Vec<_> = ledger.missing().map(|(name, why)| (name, why.join("; "))).collect();
    let expected = [
        ("b", "failed failed: no tokens"),
        ("c", "silent did not say why"),
        ("d", "lazy did not say why"),
        ("e", "skipped was skipped: the survey failed"),
        ("f", "said: it is binary"),
        ("g", "nobody was to cover it"),
    ];
    assert_eq!(missing, expected.map(|(name, why)| (name, why.to_owned())));
    assert_eq!(ledger.covered_of(), (1, 7));
    let rows = ledger.coverage();
    let of_nobody = rows.last().expect("rows");
    assert_eq!((of_nobody.reader, &of_nobody.missing[..]), (None, &["g"][..]));
}

/// Of a reader that was tried again, the better end counts, and the other is kept.
#[test]
fn a_second_attempt_mends_the_first() {
    let mut ledger = Ledger::default();
    ledger.end("a", End::Completed);
    ledger.end("a", End::Failed("at first".into()));
    assert_eq!(ledger.end_of("a"), Some(&End::Completed));
    assert_eq!(ledger.ends["a"].len(), 2);
    assert_eq!(ledger.end_of("b"), None);
}
