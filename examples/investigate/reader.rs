//! The agent that reads an area: a native one, which searches without any model.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use segue::{
    Failure,
    agents::{Reply, Turn},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    block::{Block, bits},
    evidence::{Area, Finding, Question, Reading},
    lines::{self, Lines},
    progress::Meter,
    survey,
    terms::{self, Finder},
};

/// How many findings are kept for each term.
const FINDINGS: usize = 40;

/// How many lines are read between two looks at the stop token.
const LOOK_EVERY: u64 = 4_096;

/// What a reader is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Which reader it is, from 1.
    pub reader: usize,
    /// What is asked.
    pub question: Question,
    /// What it reads.
    pub area: Area,
}

/// Takes a turn. A reader that fails brings back the gap that it leaves, so that the others'
/// work is not lost.
///
/// # Errors
/// When it was told to stop.
pub async fn turn(turn: Turn, meter: Arc<Meter>, slow: Duration) -> Result<Reply, Failure> {
    let assignment: Assignment = serde_json::from_str(&turn.prompt)?;
    let stop = turn.stop.clone();
    let work = tokio::task::spawn_blocking(move || read(assignment, &meter, slow, &stop));
    let reading = match work.await {
        Ok(reading) => reading.ok_or_else(Failure::cancelled)?,
        Err(panic) => {
            Reading { gap: Some(format!("the reader failed: {panic}")), ..Reading::default() }
        }
    };
    Reply::value(&reading)
}

/// Reads all files of an area; None when it was told to stop.
fn read(
    assignment: Assignment,
    meter: &Meter,
    slow: Duration,
    stop: &CancellationToken,
) -> Option<Reading> {
    let Assignment { reader, question, area } = assignment;
    let progress = meter.begin(reader, area.files);
    let mut search = Search::new(&question, stop);
    for (folder, names) in &area.folders {
        for name in names {
            search.file(&Path::new(folder).join(name));
            progress.fetch_add(1, Ordering::Relaxed);
            rest(slow, stop);
            if stop.is_cancelled() {
                return None;
            }
        }
    }
    Some(search.finish(area.files))
}

/// Rests, but not when it is to stop.
fn rest(slow: Duration, stop: &CancellationToken) {
    let slice = Duration::from_millis(10);
    let mut left = slow;
    while !left.is_zero() && !stop.is_cancelled() {
        std::thread::sleep(left.min(slice));
        left = left.saturating_sub(slice);
    }
}

/// The best findings for one term: better ones first, earlier ones first among equals.
type Best = BTreeSet<(Reverse<u32>, u64)>;

struct Search<'a> {
    root: PathBuf,
    terms: &'a [String],
    finder: Finder<'a>,
    stop: &'a CancellationToken,
    reading: Reading,
    hits: Vec<u64>,
    best: Vec<Best>,
    /// Findings by number, with in how many of the lists they are.
    kept: BTreeMap<u64, (Finding, u32)>,
    found: u64,
}

impl<'a> Search<'a> {
    fn new(question: &'a Question, stop: &'a CancellationToken) -> Self {
        Self {
            root: PathBuf::from(&question.folder),
            terms: &question.terms,
            finder: Finder::new(&question.terms),
            stop,
            reading: Reading::default(),
            hits: vec![0; question.terms.len()],
            best: vec![Best::new(); question.terms.len()],
            kept: BTreeMap::new(),
            found: 0,
        }
    }

    /// Reads a file. One that can't be read to its end is noted, with what was found in it.
    fn file(&mut self, path: &Path) {
        let name = path.to_string_lossy();
        match self.lines(&name) {
            Ok(()) => self.reading.files += 1,
            Err(error) => {
                self.reading.unread.insert(name.into_owned(), survey::unreadable(&error));
            }
        }
    }

    fn lines(&mut self, path: &str) -> io::Result<()> {
        let mut lines = Lines::open(&self.root.join(path))?;
        let in_path = self.finder.find(path);
        let (mut no, mut open) = (0, None);
        while let Some(line) = lines.next()? {
            no += 1;
            if no % LOOK_EVERY == 0 && self.stop.is_cancelled() {
                break;
            }
            let Some(line) = lines::text(line) else {
                continue;
            };
            let mask = self.finder.find(line);
            if mask != 0 {
                self.hit(path, in_path, &mut open, (no, line, mask));
            }
        }
        self.reading.lines += no;
        if let Some(block) = open {
            self.offer(path, in_path, block);
        }
        Ok(())
    }

    /// A line with terms continues the open block, or begins another.
    fn hit(
        &mut self,
        path: &str,
        in_path: u16,
        open: &mut Option<Block>,
        (no, line, mask): (u64, &str, u16),
    ) {
        for (term, hits) in self.hits.iter_mut().enumerate() {
            *hits += u64::from(mask >> term & 1);
        }
        let defines = terms::definition(line).filter(|name| self.finder.find(name) != 0);
        match open.as_mut().filter(|block| block.goes_on(no)) {
            Some(block) => block.add(no, line, mask, defines),
            None => {
                let block = Block::new(no, line, mask, defines);
                if let Some(done) = open.replace(block) {
                    self.offer(path, in_path, done);
                }
            }
        }
    }

    /// Keeps a block if it is among the best for one of its terms.
    fn offer(&mut self, path: &str, in_path: u16, block: Block) {
        let score = block.mask.count_ones() * 8
            + u32::from(block.defines.is_some()) * 6
            + (in_path & !block.mask).count_ones() * 2;
        let no = self.found;
        self.found += 1;
        let mut places = 0;
        for term in bits(block.mask) {
            let best = &mut self.best[term];
            best.insert((Reverse(score), no));
            let worst = (best.len() > FINDINGS).then(|| best.pop_last()).flatten();
            match worst {
                Some((_, worst)) if worst == no => {}
                Some((_, worst)) => {
                    places += 1;
                    self.leave(worst);
                }
                None => places += 1,
            }
        }
        if places > 0 {
            let finding = block.finding(path, self.terms);
            self.kept.insert(no, (finding, places));
        }
    }

    /// A finding fell out of the list of a term. When it is in no other, it is forgotten.
    fn leave(&mut self, no: u64) {
        if let Some((_, places)) = self.kept.get_mut(&no) {
            *places -= 1;
            if *places == 0 {
                self.kept.remove(&no);
            }
        }
    }

    fn finish(self, files: u64) -> Reading {
        let mut reading = self.reading;
        reading.hits = self.terms.iter().cloned().zip(self.hits).collect();
        reading.findings = self.kept.into_values().map(|(finding, _)| finding).collect();
        if files > 0 && reading.files == 0 {
            let reason = reading.unread.values().next().map_or("", String::as_str);
            reading.gap = Some(format!("none of its files could be read, first: {reason}"));
        }
        reading
    }
}
