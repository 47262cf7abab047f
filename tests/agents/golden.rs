//! Recorded streams, for readers of them. `GOLDEN=write` records them anew.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    process::{Finished, Place},
    recipes::Recipe,
    streams::events,
};

fn file(recipe: &Recipe) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/agents/golden").join(format!("{}-{}.jsonl", recipe.name, recipe.version))
}

/// The recorded stream of an agent.
pub fn stream(recipe: &Recipe) -> String {
    let path = file(recipe);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Records a stream, if that is wanted, without what is different each time.
pub fn keep(recipe: &Recipe, place: &Place, finished: &Finished) {
    if env::var("GOLDEN").is_ok_and(|wish| wish == "write") {
        let folder = place.path("");
        let folder = folder.to_str().expect("a path in Unicode").trim_end_matches('/');
        let mut scrub = Scrub { folder, ids: BTreeMap::new() };
        let lines = events(&finished.stdout).into_iter().map(|mut event| {
            scrub.value(&mut event, "");
            event.to_string() + "\n"
        });
        fs::write(file(recipe), lines.collect::<String>()).expect("the recording is written");
    }
}

/// Puts fixed values in the place of ids, times and paths.
struct Scrub<'a> {
    folder: &'a str,
    /// The ids that were seen, and what stands for each.
    ids: BTreeMap<String, String>,
}

impl Scrub<'_> {
    fn value(&mut self, value: &mut Value, name: &str) {
        let is_time = ["timestamp", "duration", "time", "start", "end", "_ms"];
        let is_time = is_time.iter().any(|time| name.contains(time));
        match value {
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(name, field)| self.value(field, name));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item, name)),
            Value::Number(_) if is_time => *value = 0.into(),
            Value::String(text) if name == "timestamp" => "2026-01-01T00:00:00Z".clone_into(text),
            Value::String(text) => {
                *text = text.replace(self.folder, "/scratch");
                let is_id = |end: &&str| name.ends_with(end);
                if ["id", "uuid", "ID", "snapshot"].iter().any(is_id) && text.len() > 16 {
                    *text = self.id(text);
                }
            }
            _ => {}
        }
    }

    /// An id of the same shape: zeros, and behind them a number that no other id has.
    fn id(&mut self, id: &str) -> String {
        let number = self.ids.len() + 1;
        let known = self.ids.entry(id.to_owned()).or_insert_with(|| {
            let start = id.find('_').map_or(0, |at| at + 1);
            let zero = |c: char| if c.is_ascii_alphanumeric() { '0' } else { c };
            let zeros: String = id[start..].chars().map(zero).collect();
            format!("{}{}{number:02}", &id[..start], &zeros[..zeros.len() - 2])
        });
        known.clone()
    }
}
