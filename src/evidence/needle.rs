//! A quote, and how it is found in text.

use std::ops::Range;

/// A quote in the form in which it is compared: whitespace (of ASCII, line breaks too) is one
/// space, and none at either end. It is found by the algorithm of Knuth, Morris and Pratt, in
/// time that grows with the text alone, whatever the quote and the text are.
#[derive(Debug)]
pub(super) struct Needle {
    bytes: Vec<u8>,
    /// For each length of a beginning: how long the longest beginning is that also ends it.
    borders: Vec<usize>,
    cut: bool,
}

impl Needle {
    /// None when nothing is quoted. The end of a quote that is `cut` may be within a word.
    pub(super) fn new(quote: &str, cut: bool) -> Option<Self> {
        let bytes = quote.split_ascii_whitespace().collect::<Vec<_>>().join(" ").into_bytes();
        let borders = borders(&bytes);
        (!bytes.is_empty()).then_some(Self { bytes, borders, cut })
    }

    /// How many bytes it has, one at least.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where it begins in this part of `text`, which is in the same form, unless it begins or
    /// ends within a word there.
    pub(super) fn places<'a>(
        &'a self,
        text: &'a [u8],
        part: Range<usize>,
    ) -> impl Iterator<Item = usize> + 'a {
        let mut matched = 0;
        let ends = part.filter_map(move |at| {
            if matched == self.bytes.len() {
                matched = self.borders[matched];
            }
            while matched > 0 && self.bytes[matched] != text[at] {
                matched = self.borders[matched];
            }
            matched += usize::from(self.bytes[matched] == text[at]);
            (matched == self.bytes.len()).then_some(at + 1)
        });
        let places = ends.map(|end| (end - self.bytes.len(), end));
        let whole = move |(start, end): &(usize, usize)| {
            !splits_word(text, *start) && (self.cut || !splits_word(text, *end))
        };
        places.filter(whole).map(|(start, _)| start)
    }
}

fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut borders = vec![0; bytes.len() + 1];
    let mut length = 0;
    for at in 1..bytes.len() {
        while length > 0 && bytes[length] != bytes[at] {
            length = borders[length];
        }
        length += usize::from(bytes[length] == bytes[at]);
        borders[at + 1] = length;
    }
    borders
}

/// Whether there is a letter, digit or `_` on both sides of a place.
fn splits_word(text: &[u8], at: usize) -> bool {
    let (before, after) = text.split_at(at);
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    is_word(last_char(before)) && is_word(first_char(after))
}

fn last_char(text: &[u8]) -> Option<char> {
    let starts = (1..=4.min(text.len())).map(|length| &text[text.len() - length..]);
    starts.filter_map(|part| std::str::from_utf8(part).ok()).find_map(|part| part.chars().next())
}

fn first_char(text: &[u8]) -> Option<char> {
    let parts = (1..=4.min(text.len())).map(|length| &text[..length]);
    parts.filter_map(|part| std::str::from_utf8(part).ok()).find_map(|part| part.chars().next())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(quote: &str, cut: bool, text: &str) -> Vec<usize> {
        Needle::new(quote, cut).expect("a quote").places(text.as_bytes(), 0..text.len()).collect()
    }

    #[test]
    fn a_quote_is_found_where_its_words_are_whole() {
        for (quote, cut, text, found) in [
            ("port", false, "import port; ports", &[7][..]),
            ("port", true, "import port; ports", &[7, 13]),
            ("x = 1", false, "max = 1, x = 10, x = 1", &[17]),
            ("a a", false, "xa a a", &[3]),
            ("\n  fn   a(\r\n\tb)\n", false, "pub fn a( b) {", &[4]),
            ("Gr", false, "Größe Gr", &[8]),
            ("öße", false, "Größe öße", &[8]),
            ("()", false, "f()()", &[1, 3]),
            ("a", false, "", &[]),
        ] {
            assert_eq!(places(quote, cut, text), found, "{quote} in {text}");
        }
        assert!(Needle::new(" \n\t", false).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against the plain way of looking at each place.
        #[test]
        fn every_place_is_found(quote in "[ab(]{1,6}", text in "[ab(]{0,40}", cut: bool) {
            let (bytes, needle) = (text.as_bytes(), quote.as_bytes());
            let whole = |at: &usize| {
                let end = at + needle.len();
                bytes[*at..].starts_with(needle)
                    && !splits_word(bytes, *at)
                    && (cut || !splits_word(bytes, end))
            };
            let expected: Vec<_> = (0..bytes.len()).filter(whole).collect();
            prop_assert_eq!(places(&quote, cut, &text), expected);
        }
    }
}
