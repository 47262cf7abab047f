//! Counts the words of a folder: a step for each file, then one for every 200 words to look up.
//!
//! ```text
//! cargo run --example map_reduce -- src work.db
//!
//! list -> count (a step for each file) -> reduce -> locate (a step for each 200 words) -> tell
//! ```
//!
//! How many steps there are is known when the run gets there. A file that is no text fails its
//! own step and nothing else: the map goes on with what became of the others.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use segue::{Context, Ended, Engine, Failure, Flow, ItemPolicy, view::Glyphs};
use serde::{Deserialize, Serialize};

/// How many words one step looks up.
const WORDS_OF_A_STEP: usize = 200;

/// How often each word occurs.
type Counts = BTreeMap<String, u64>;

/// What all files together say.
#[derive(Serialize, Deserialize)]
struct Total {
    files: Vec<PathBuf>,
    unread: usize,
    counts: Counts,
}

fn flow() -> Flow<PathBuf, String> {
    let mut draft = Flow::new("words");
    let folder = draft.input::<PathBuf>();
    let files = draft.code("list", folder, async |_, folder: PathBuf| {
        let mut files = Vec::new();
        list(&folder, &mut files)?;
        files.sort();
        Ok(files)
    });
    let counts = draft.map("count", files, ItemPolicy::Ended, count);
    let total = draft.code("reduce", (files, counts.results()), reduce);
    let search = draft.template("search", search);
    let rare =
        draft.grow("locate", total, move |context: Context, total: Total, found| async move {
            let words: Vec<String> = total.counts.into_keys().collect();
            for (no, words) in words.chunks(WORDS_OF_A_STEP).enumerate() {
                let part = (words.to_vec(), total.files.clone());
                context.add(search, format!("part {no}"), &part)?.into(&found);
            }
            Ok(())
        });
    let told = draft.code("tell", (total, rare), async |_, (total, rare)| Ok(tell(total, rare)));
    draft.reports(told);
    draft.returns(folder, told)
}

fn list(folder: &PathBuf, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => list(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() > 3);
    words.map(str::to_lowercase)
}

async fn count(_: Context, file: PathBuf) -> Result<Counts, Failure> {
    let mut counts = Counts::new();
    for word in words(&fs::read_to_string(file)?) {
        *counts.entry(word).or_default() += 1;
    }
    Ok(counts)
}

async fn reduce(
    _: Context,
    (files, counts): (Vec<PathBuf>, Vec<Result<Counts, Ended>>),
) -> Result<Total, Failure> {
    let mut total = Total { files: Vec::new(), unread: 0, counts: Counts::new() };
    for (file, counts) in files.into_iter().zip(counts) {
        let Ok(counts) = counts else {
            total.unread += 1;
            continue;
        };
        total.files.push(file);
        for (word, count) in counts {
            *total.counts.entry(word).or_default() += count;
        }
    }
    Ok(total)
}

/// How many of the words occur in one file only.
async fn search(_: Context, part: (Vec<String>, Vec<PathBuf>)) -> Result<usize, Failure> {
    let (wanted, mut files) = (part.0, BTreeMap::<String, usize>::new());
    for file in &part.1 {
        let mut found: Vec<_> = words(&fs::read_to_string(file)?).collect();
        found.sort();
        found.dedup();
        found.into_iter().for_each(|word| *files.entry(word).or_default() += 1);
    }
    Ok(wanted.iter().filter(|word| files.get(*word) == Some(&1)).count())
}

fn tell(total: Total, rare: Vec<usize>) -> String {
    let mut words: Vec<_> = total.counts.iter().collect();
    words.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), *word));
    let most: Vec<_> = words.iter().take(5).map(|(word, n)| format!("{word} ({n})")).collect();
    format!(
        "{} files, {} that are no text, {} different words\nmost frequent: {}\nin one file only: {}",
        total.files.len(),
        total.unread,
        words.len(),
        most.join(", "),
        rare.iter().sum::<usize>()
    )
}

#[tokio::main]
async fn main() -> segue::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file] = arguments.as_slice() else {
        return Err(segue::Error::usage("usage: map_reduce FOLDER DATABASE"));
    };
    let flow = flow();
    let engine = Engine::sqlite(file).flow(&flow).start().await?;
    let run = engine.launch(&flow, folder.into()).await?;
    run.ended().await?;
    println!("{}", run.report().await?);
    let mut steps = BTreeMap::<_, usize>::new();
    for step in run.steps().await? {
        let added_by = step.name.split_once('/').map(|(grower, _)| grower.to_owned());
        *steps.entry(added_by.unwrap_or_default()).or_default() += 1;
    }
    let [planned, counts, located] =
        ["", "count", "locate"].map(|name| steps.get(name).unwrap_or(&0));
    // Of many steps the first are drawn, and the rest in one line.
    println!("{}", run.record().await?.timeline_text(100, Glyphs::Unicode));
    println!("steps: {planned} planned, {counts} added by `count`, {located} by `locate`");
    engine.shutdown().await
}
