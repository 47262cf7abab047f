//! Streams that were damaged.

use proptest::{collection::vec, prelude::*};
use segue::agents::{
    Outcome,
    read::{End, Exit},
};

use super::{RECORDED, WELL, read, recording, reply};

/// Lines that are no events of anybody, or half of one.
fn junk() -> impl Strategy<Value = String> {
    let known = [
        "",
        "{",
        "null",
        "[1, 2]",
        "\"text\"",
        "{}",
        r#"{"type": 7}"#,
        r#"{"type": "from the future", "message": {"content": 3}}"#,
        r#"{"type": "assistant", "message": {"content": [{"type": "text"}, 4, null]}}"#,
        r#"{"type": "stream_event", "event": {"type": "content_block_delta", "delta": []}}"#,
        r#"{"type": "user", "message": {"content": [{"type": "tool_result", "content": {}}]}}"#,
        r#"{"type": "item.completed", "item": {"type": "file_change", "changes": 1}}"#,
        r#"{"type": "tool_use", "part": {"state": []}}"#,
        r#"{"type": "system", "subtype": "api_retry", "error_status": null}"#,
        "2026-11-23T00:00:00Z ERROR a line of a log",
    ];
    prop_oneof![proptest::sample::select(known.to_vec()).prop_map(str::to_owned), ".{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_between_the_lines_changes_nothing(
        which in 0..RECORDED.len(), places in vec((any::<prop::sample::Index>(), junk()), 0..8),
    ) {
        let (format, name) = RECORDED[which];
        let lines = recording(name);
        let (_, whole) = read(format, &lines, &WELL);
        let mut damaged = lines;
        for (place, line) in places {
            damaged.insert(place.index(damaged.len() + 1), line);
        }
        let (_, outcome) = read(format, &damaged, &WELL);
        prop_assert_eq!(reply(outcome).text, reply(whole).text);
    }

    #[test]
    fn a_stream_that_breaks_off_anywhere_is_not_complete(
        which in 0..RECORDED.len(), at in any::<prop::sample::Index>(), code in -1..3i32,
    ) {
        let (format, name) = RECORDED[which];
        let text = recording(name).join("\n");
        // The last line is cut in the middle.
        let bytes = text.as_bytes();
        let end = End { exit: Exit::Code(code), ..WELL };
        let cut = String::from_utf8_lossy(&bytes[..at.index(bytes.len())]).into_owned();
        let (_, outcome) = read(format, cut.lines(), &end);
        prop_assert!(!matches!(outcome, Outcome::Completed(_)), "{:?}", outcome);
        let end = End { is_stopped: true, ..end };
        let (_, outcome) = read(format, cut.lines(), &end);
        prop_assert!(matches!(outcome, Outcome::Cancelled), "{:?}", outcome);
    }

    #[test]
    fn lines_of_one_format_are_junk_to_another_and_no_more(
        reader in 0..RECORDED.len(), lines in vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..20),
    ) {
        let recordings = RECORDED.map(|(_, name)| recording(name));
        let lines = lines.into_iter().map(|(which, line)| {
            let of = &recordings[which.index(recordings.len())];
            of[line.index(of.len())].clone()
        });
        // Whatever it makes of them, it does not panic.
        let _ = read(RECORDED[reader].0, lines, &WELL);
    }
}
