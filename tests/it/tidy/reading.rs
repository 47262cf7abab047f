//! Files, and their code as tokens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

// ---- files

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// All files below these folders with this ending, in order, from the root of the crate.
pub fn files(folders: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root().join(&folder)).into_iter().flatten() {
            let name = entry.expect("the folder can be read").file_name();
            let path = folder.join(&name);
            let is_folder = root().join(&path).is_dir();
            if is_folder && name != "target" {
                open.push(path);
            } else if !is_folder && name.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub fn sources() -> Vec<PathBuf> {
    files(&["src"], ".rs")
}

pub fn all_code() -> Vec<PathBuf> {
    files(&["src", "tests", "examples", "benches"], ".rs")
}

pub fn text(path: &Path) -> String {
    let text = fs::read(root().join(path));
    let text = text.unwrap_or_else(|error| panic!("{} can't be read: {error}", path.display()));
    String::from_utf8_lossy(&text).into_owned()
}

pub fn parsed(path: &Path) -> syn::File {
    let file = syn::parse_file(&text(path));
    file.unwrap_or_else(|error| panic!("{} is not Rust: {error}", path.display()))
}

// ---- tokens

/// The code of a file: without comments, attributes and tests.
pub fn code(path: &Path) -> Vec<TokenTree> {
    let tokens = text(path).parse::<TokenStream>();
    let tokens = tokens.unwrap_or_else(|error| panic!("{} is not Rust: {error}", path.display()));
    without_tests(&tokens.into_iter().collect::<Vec<_>>())
}

fn without_tests(tokens: &[TokenTree]) -> Vec<TokenTree> {
    let (mut left, mut at, mut in_test) = (Vec::new(), 0, false);
    while let Some(token) = tokens.get(at) {
        if let Some((name, length)) = attribute(&tokens[at..]) {
            in_test |= name == "test" || name.replace(' ', "") == "cfg(test)";
            at += length;
            continue;
        }
        let is_body = matches!(token, TokenTree::Group(it) if it.delimiter() == Delimiter::Brace);
        if !in_test {
            left.push(token.clone());
        }
        // What an attribute belongs to ends with its body, or without one.
        in_test &= !(is_body || is_punct(token, ';'));
        at += 1;
    }
    left
}

/// The attribute that stands here, such as `cfg(test)`, and how many tokens it has.
pub fn attribute(tokens: &[TokenTree]) -> Option<(String, usize)> {
    let (group, length) = match tokens {
        [hash, TokenTree::Group(group), ..] if is_punct(hash, '#') => (group, 2),
        [hash, bang, TokenTree::Group(group), ..] if is_punct(hash, '#') && is_punct(bang, '!') => {
            (group, 3)
        }
        _ => return None,
    };
    (group.delimiter() == Delimiter::Bracket).then(|| (group.stream().to_string(), length))
}

/// Calls `see` with each place in the code: the tokens from there to the end of its group.
pub fn each_place(tokens: &[TokenTree], see: &mut dyn FnMut(&[TokenTree])) {
    for at in 0..tokens.len() {
        see(&tokens[at..]);
        if let TokenTree::Group(group) = &tokens[at] {
            let inner: Vec<_> = group.stream().into_iter().collect();
            each_place(&without_tests(&inner), see);
        }
    }
}

/// What `judge` says of each place in the code of these files, with the place.
pub fn complaints(
    paths: &[PathBuf],
    judge: impl Fn(&Path, &[TokenTree]) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        each_place(&code(path), &mut |place| {
            let said = judge(path, place);
            let place = format!("{}:{}", path.display(), line(&place[0]));
            found.extend(said.map(|said| format!("{place}: {said}")));
        });
    }
    found
}

pub fn expect_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Whether a list in words has this one.
pub fn has(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

pub fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token? {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

pub fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

pub fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
