//! Where known agents keep what is theirs: logins, sessions, logs. It is all that one may write that
//! only reads.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::launch::Environment;

/// A folder or file below one of the user's folders: the variable that names it, where it is in the
/// user's home without one, and the path from there.
type Kept = (&'static str, &'static str, &'static str);

const HOME: (&str, &str) = ("HOME", "");
const CONFIG: (&str, &str) = ("XDG_CONFIG_HOME", ".config");
const DATA: (&str, &str) = ("XDG_DATA_HOME", ".local/share");
const STATE: (&str, &str) = ("XDG_STATE_HOME", ".local/state");
const CACHE: (&str, &str) = ("XDG_CACHE_HOME", ".cache");

const fn at(base: (&'static str, &'static str), path: &'static str) -> Kept {
    (base.0, base.1, path)
}

const KEPT: &[(&str, &[Kept])] = &[
    ("claude", &[at(HOME, ".claude"), at(HOME, ".claude.json"), at(CACHE, "claude-cli-nodejs")]),
    ("codex", &[at(HOME, ".codex")]),
    ("gemini", &[at(HOME, ".gemini")]),
    (
        "opencode",
        &[
            at(CONFIG, "opencode"),
            at(DATA, "opencode"),
            at(STATE, "opencode"),
            at(CACHE, "opencode"),
        ],
    ),
    ("qwen", &[at(HOME, ".qwen")]),
];

/// What an agent of this name may write, whatever it does. Folders that are missing are made, since a
/// folder that is not there can't be allowed; an agent that is not known has none.
pub(super) fn of(agent: &str, env: &Environment) -> Vec<PathBuf> {
    let known = KEPT.iter().filter(|(name, _)| agent.split(['-', ' ', '_']).any(|it| it == *name));
    let kept = known.flat_map(|(_, kept)| kept.iter());
    kept.filter_map(|kept| place(*kept, env)).collect()
}

fn place((variable, below, path): Kept, env: &Environment) -> Option<PathBuf> {
    let of = |name: &str| env.get(OsStr::new(name)).map(PathBuf::from);
    let base = of(variable).or_else(|| Some(of("HOME")?.join(below)))?;
    let place = base.join(path);
    let is_file = Path::new(path).extension().is_some();
    if !is_file {
        fs::create_dir_all(&place).ok()?;
    }
    place.exists().then_some(place)
}
