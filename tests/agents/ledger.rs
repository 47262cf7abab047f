//! What reports of usage add up to.

use std::collections::BTreeSet;

use segue::{
    model::{Metering, Tokens, UsageReport},
    testing::model::Usage,
};

/// The tokens of a session's reports: a source is booked once, a counter by what it has grown.
pub fn booked<'a>(reports: impl IntoIterator<Item = &'a UsageReport>) -> Usage {
    let (mut sum, mut counter) = (Tokens::default(), Tokens::default());
    let mut sources = BTreeSet::new();
    for report in reports {
        if !sources.insert(&report.source) {
            continue;
        }
        sum += match report.metering {
            Metering::Delta => report.tokens,
            Metering::Cumulative => {
                let before = std::mem::replace(&mut counter, report.tokens);
                report.tokens.since(before).unwrap_or(report.tokens)
            }
        };
    }
    let Tokens { input, cache_read, cache_write, output, reasoning } = sum;
    Usage { input, cache_read, cache_write, output, reasoning }
}
