//! Lines of a file of any size, in bounded memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// How much of a line is kept.
pub const LINE_BYTES: usize = 16 << 10;

/// Reads lines one by one. Of a longer line than [`LINE_BYTES`] the rest is passed over.
#[derive(Debug)]
pub struct Lines {
    from: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    /// # Errors
    /// When the file can't be opened, or is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a file any more"));
        }
        let from = BufReader::with_capacity(64 << 10, file);
        Ok(Self { from, line: Vec::new() })
    }

    /// The next line without its end; None after the last.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let mut seen = 0_usize;
        loop {
            let buffer = self.from.fill_buf()?;
            if buffer.is_empty() {
                return Ok((seen > 0).then(|| without_return(&self.line)));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            seen += used;
            self.from.consume(used);
            if end.is_some() {
                return Ok(Some(without_return(&self.line)));
            }
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line as text; None when it is not UTF-8. A character that was cut in two at
/// [`LINE_BYTES`] is left out.
pub fn text(line: &[u8]) -> Option<&str> {
    match std::str::from_utf8(line) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && line.len() >= LINE_BYTES - 1 => {
            std::str::from_utf8(&line[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}
