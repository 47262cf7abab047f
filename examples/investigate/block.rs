//! Lines that belong together, and how they are quoted.

use segue::evidence::Citation;

use crate::{evidence::Finding, lines};

/// How many lines that follow each other become one finding.
const BLOCK_LINES: u64 = 4;

/// How long a quote may be.
const QUOTE_BYTES: usize = 400;

/// Lines with terms that follow each other.
#[derive(Debug)]
pub struct Block {
    first: u64,
    last: u64,
    pub mask: u16,
    quote: String,
    cut: bool,
    pub defines: Option<String>,
}

impl Block {
    /// A block that begins with this line.
    pub fn new(no: u64, line: &str, mask: u16, defines: Option<&str>) -> Self {
        let mut block = Self {
            first: no,
            last: no,
            mask,
            quote: String::new(),
            cut: false,
            defines: defines.map(str::to_owned),
        };
        block.quote(line);
        block
    }

    /// Whether line `no` can be added.
    pub fn goes_on(&self, no: u64) -> bool {
        self.last + 1 == no && no - self.first < BLOCK_LINES && !self.cut
    }

    /// Adds the next line.
    pub fn add(&mut self, no: u64, line: &str, mask: u16, defines: Option<&str>) {
        self.last = no;
        self.mask |= mask;
        self.defines = self.defines.take().or(defines.map(str::to_owned));
        self.quote.push('\n');
        self.quote(line);
    }

    fn quote(&mut self, line: &str) {
        let room = QUOTE_BYTES.saturating_sub(self.quote.len());
        let part = &line[..boundary(line, room)];
        self.cut = part.len() < line.len() || line.len() >= lines::LINE_BYTES;
        self.quote.push_str(part);
    }

    /// The block as a finding in a file.
    pub fn finding(self, path: &str, terms: &[String]) -> Finding {
        Finding {
            citation: Citation {
                path: path.to_owned(),
                first: self.first,
                last: self.last,
                quote: self.quote,
                cut: self.cut,
            },
            terms: bits(self.mask).map(|term| terms[term].clone()).collect(),
            defines: self.defines,
        }
    }
}

/// The last place for a cut that is not after `room` and not within a character.
fn boundary(line: &str, room: usize) -> usize {
    let most = room.min(line.len());
    let mut places = (0..=most).rev();
    places.find(|at| line.is_char_boundary(*at)).unwrap_or(0)
}

/// The places of the bits that are set.
pub fn bits(mask: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |bit| mask >> bit & 1 == 1)
}
