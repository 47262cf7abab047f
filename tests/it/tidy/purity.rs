//! What has no place in code that is pure.

use std::path::Path;

use proc_macro2::TokenTree;

use super::reading::{complaints, expect_none, files, has, ident};

/// What has no place in them: I/O, clocks, and whatever is different each time.
const IMPURE: &str = "fs io net process env thread tokio SystemTime Instant Utc Local rand getrandom \
    now_v1 now_v7 new_v4 gethostname";

/// What of `evidence` is not pure.
const READ_FILES: [&str; 3] = ["check.rs", "lines.rs", "tree"];

#[test]
fn the_pure_modules_perform_no_io_read_no_clock_and_draw_nothing() {
    let mut pure = files(&["src/model", "src/evidence", "src/view", "src/agents/read"], ".rs");
    let reads = READ_FILES.map(|part| Path::new("src/evidence").join(part));
    pure.retain(|path| !reads.iter().any(|part| path.starts_with(part)));
    expect_none(&complaints(&pure, |path, place| {
        let name = ident(place.first())?;
        let fresh_id = name.ends_with("Id") && ident(place.get(3)).as_deref() == Some("new");
        let unseeded = name == "fastrand" && !(path.ends_with("retry.rs") && is_seeded(place));
        let impure = has(IMPURE, &name) || fresh_id || unseeded;
        impure.then(|| format!("`{name}` has no place in what is pure"))
    }));
}

/// `fastrand::Rng::with_seed`.
fn is_seeded(place: &[TokenTree]) -> bool {
    ident(place.get(6)).as_deref() == Some("with_seed")
}
