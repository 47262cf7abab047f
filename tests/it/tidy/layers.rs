//! Who may use whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use proc_macro2::TokenTree;

use super::{
    DATABASES,
    reading::{code, complaints, each_place, expect_none, files, ident, is_punct, sources},
};

/// Who may use whom, of the modules at the root of the crate. The page on the architecture has
/// the picture.
const LAYERS: [(&str, &[&str]); 14] = [
    ("id", &[]),
    ("clock", &[]),
    ("error", &["model"]),
    ("evidence", &[]),
    ("model", &["id", "clock"]),
    ("failure", &["id", "model"]),
    ("view", &["id", "clock", "model"]),
    ("backend", &["id", "clock", "error", "model"]),
    ("agents", &["id", "clock", "error", "failure", "model", "workspace"]),
    ("engine", &["id", "clock", "error", "failure", "model", "backend", "agents", "workspace"]),
    (
        "api",
        &[
            "id", "clock", "error", "evidence", "failure", "model", "view", "backend", "agents",
            "engine", "testing",
        ],
    ),
    ("docs", &[]),
    ("testing", &["id", "clock", "failure", "model", "agents", "workspace"]),
    ("workspace", &[]),
];

#[test]
fn modules_use_only_what_is_below_them() {
    let (layers, exported, macros) = (BTreeMap::from(LAYERS), re_exports(), macros());
    let inner: Vec<_> = sources().into_iter().filter(|path| module(path).is_some()).collect();
    expect_none(&complaints(&inner, |path, place| {
        let own = module(path)?;
        let Some(allowed) = layers.get(own.as_str()) else {
            return Some(format!("`{own}` is not in the table of layers"));
        };
        let used = paths_from_root(place).into_iter().map(|(name, _)| name);
        let used = used.filter(|name| !macros.contains(name));
        let mut used = used.map(|name| exported.get(&name).cloned().unwrap_or(name));
        let wrong = used.find(|name| *name != own && !allowed.contains(&name.as_str()))?;
        Some(format!("`{own}` must not use `{wrong}`"))
    }));
}

#[test]
fn no_path_leaves_its_module_upwards() {
    expect_none(&complaints(&sources(), |path, place| {
        let inside = path.strip_prefix("src").ok()?.with_extension("");
        let depth = inside.iter().filter(|part| *part != "mod").count();
        let is_super = |up: &usize| ident(place.get(up * 3)).as_deref() == Some("super");
        let up = (0..).take_while(is_super).count();
        (up > 0 && up >= depth).then(|| "say `crate::` for what is outside".to_owned())
    }));
}

#[test]
fn databases_know_nothing_of_each_other_and_the_engine_of_none() {
    let folders = ["src/engine", "src/agents", "src/model", "src/backend"];
    expect_none(&complaints(&files(&folders, ".rs"), |path, place| {
        let paths = paths_from_root(place).into_iter();
        let mut named = paths.filter(|(name, _)| name == "backend").filter_map(|(_, then)| then);
        let foreign = |name: &String| {
            let own = path.starts_with(Path::new("src/backend").join(name));
            DATABASES.contains(&name.as_str()) && !own
        };
        named.find(foreign).map(|name| format!("must not name `{name}`"))
    }));
}

/// Names that `lib.rs` re-exports, and the module that each comes from.
fn re_exports() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    each_place(&code(Path::new("src/lib.rs")), &mut |place| {
        if let [TokenTree::Ident(start), TokenTree::Ident(from), _, _, rest @ ..] = place
            && start == "use"
        {
            found.extend(names(rest).into_iter().map(|(name, _)| (name, from.to_string())));
        }
    });
    found
}

/// The macros of the crate: those that are exported stand at its root, wherever they are.
fn macros() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources() {
        each_place(&code(&path), &mut |place| {
            if ident(place.first()).as_deref() == Some("macro_rules") {
                found.extend(ident(place.get(2)));
            }
        });
    }
    found
}

/// The module at the root that a file belongs to. None for `lib.rs`.
fn module(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").ok()?.iter().next()?.to_string_lossy();
    let name = first.strip_suffix(".rs").unwrap_or(&first);
    (name != "lib").then(|| name.to_owned())
}

/// The first two names of every path from the root of the crate that begins here.
fn paths_from_root(place: &[TokenTree]) -> Vec<(String, Option<String>)> {
    match place {
        [start, a, b, rest @ ..] if ident(Some(start)).as_deref() == Some("crate") => {
            if is_punct(a, ':') && is_punct(b, ':') { names(rest) } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// The first two names of a path, or of each path of a list in braces.
fn names(tokens: &[TokenTree]) -> Vec<(String, Option<String>)> {
    match tokens {
        [TokenTree::Group(list), ..] => each_of(list).iter().flat_map(|path| names(path)).collect(),
        [TokenTree::Ident(first), a, _, TokenTree::Group(list), ..] if is_punct(a, ':') => {
            let parts = each_of(list).into_iter();
            parts.map(|part| (first.to_string(), ident(part.first()))).collect()
        }
        [TokenTree::Ident(first), a, _, then, ..] if is_punct(a, ':') => {
            vec![(first.to_string(), ident(Some(then)))]
        }
        [TokenTree::Ident(first), ..] => vec![(first.to_string(), None)],
        _ => Vec::new(),
    }
}

/// What stands between the commas of a group.
fn each_of(group: &proc_macro2::Group) -> Vec<Vec<TokenTree>> {
    let inner: Vec<_> = group.stream().into_iter().collect();
    inner.split(|token| is_punct(token, ',')).map(<[_]>::to_vec).collect()
}
