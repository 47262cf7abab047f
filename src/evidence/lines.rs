//! The text of a file in the form in which quotes are compared, piece by piece.

use std::{
    io::{self, Read},
    ops::Range,
};

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// How much of a file is looked at to tell text from binary data.
const PROBE_BYTES: u64 = 8 << 10;

/// The longest character, which is looked at on both sides of a quote.
const CHAR_BYTES: usize = 4;

/// Reads a file once, from its beginning to its end, through a window that is as large as the
/// longest quote and some.
pub(super) struct Lines<'a> {
    from: Box<dyn Read + 'a>,
    chunk: Vec<u8>,
    keep: usize,
    text: Vec<u8>,
    /// Where each line that is not blank begins in `text`, with its number.
    starts: Vec<(usize, u64)>,
    line: u64,
    is_space: bool,
    /// Whether the last byte ended a line, or there was none.
    is_ended: bool,
    /// Whether the window begins where the file does.
    is_first: bool,
    is_done: bool,
}

impl<'a> Lines<'a> {
    /// The text of a file, for quotes of `longest` bytes. None when the file is binary.
    pub(super) fn new(mut from: Box<dyn Read + 'a>, longest: usize) -> io::Result<Option<Self>> {
        let mut start = Vec::new();
        from.by_ref().take(PROBE_BYTES).read_to_end(&mut start)?;
        let is_binary = start.contains(&0);
        let from = Box::new(io::Cursor::new(start).chain(from));
        let lines = Self {
            from,
            chunk: vec![0; CHUNK_BYTES.max(longest)],
            keep: longest + 2 * CHAR_BYTES,
            text: Vec::new(),
            starts: Vec::new(),
            line: 1,
            is_space: false,
            is_ended: true,
            is_first: true,
            is_done: false,
        };
        Ok((!is_binary).then_some(lines))
    }

    /// Moves the window on. False when there is nothing more; the window then holds the end.
    ///
    /// Every quote of the file is in one of the windows, together with the characters before and
    /// after it.
    pub(super) fn next(&mut self) -> io::Result<bool> {
        if self.is_done {
            return Ok(false);
        }
        self.forget();
        let mut chunk = std::mem::take(&mut self.chunk);
        let length = loop {
            match self.from.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                length => break length?,
            }
        };
        self.is_done = length == 0;
        chunk[..length].iter().for_each(|byte| self.add(*byte));
        self.chunk = chunk;
        Ok(true)
    }

    /// How many lines were read, with one that has not ended.
    pub(super) fn count(&self) -> u64 {
        self.line - u64::from(self.is_ended)
    }

    /// Whether nothing more of the lines up to this one will come.
    pub(super) fn is_past(&self, line: u64) -> bool {
        let next = self.starts.get(self.starts.partition_point(|(_, no)| *no <= line));
        next.is_some_and(|(at, _)| at + CHAR_BYTES <= self.text.len())
    }

    /// The window.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The part of the window that is in these lines.
    pub(super) fn within(&self, first: u64, last: u64) -> Range<usize> {
        let place = |line: u64| {
            let no = self.starts.partition_point(|(_, no)| *no < line);
            self.starts.get(no).map_or(self.text.len(), |(at, _)| *at)
        };
        place(first)..place(last.saturating_add(1))
    }

    /// Whether what is around a part of the window is in the window too. It was in an earlier one
    /// or will be in a later one if not.
    pub(super) fn shows_around(&self, part: &Range<usize>) -> bool {
        let starts = part.start >= CHAR_BYTES || self.is_first;
        starts && (self.is_done || part.end + CHAR_BYTES <= self.text.len())
    }

    /// The line of a place in the window.
    pub(super) fn line_of(&self, place: usize) -> u64 {
        let after = self.starts.partition_point(|(at, _)| *at <= place);
        after.checked_sub(1).map_or(1, |no| self.starts[no].1)
    }

    /// Forgets what no quote that is still to come can reach back to.
    fn forget(&mut self) {
        let gone = self.text.len().saturating_sub(self.keep);
        self.is_first &= gone == 0;
        self.text.drain(..gone);
        let whole = self.starts.partition_point(|(at, _)| *at <= gone).saturating_sub(1);
        self.starts.drain(..whole);
        self.starts.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(gone));
    }

    fn add(&mut self, byte: u8) {
        self.is_ended = byte == b'\n';
        self.is_space |= byte.is_ascii_whitespace();
        self.line += u64::from(self.is_ended);
        if byte.is_ascii_whitespace() {
            return;
        }
        if self.is_space && !self.text.is_empty() {
            self.text.push(b' ');
        }
        self.is_space = false;
        if self.starts.last().is_none_or(|(_, no)| *no < self.line) {
            self.starts.push((self.text.len(), self.line));
        }
        self.text.push(byte);
    }
}
