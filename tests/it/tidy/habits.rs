//! What must not appear, and what must.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};

use super::reading::{all_code, attribute, complaints, expect_none, files, is_punct, line, text};

#[test]
fn every_file_says_what_it_is() {
    let silent = all_code().into_iter().filter(|path| !text(path).starts_with("//! "));
    let silent: Vec<_> = silent.map(|path| format!("{} has no header", path.display())).collect();
    expect_none(&silent);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    expect_none(&complaints(&files(&["src", "examples"], ".rs"), |_, place| match place {
        [dot, TokenTree::Ident(name), TokenTree::Group(_), ..] if is_punct(dot, '.') => {
            (name == "unwrap").then(|| "say with expect() why it can't be".to_owned())
        }
        _ => None,
    }));
}

#[test]
fn tests_wait_for_something_and_not_for_a_time() {
    expect_none(&complaints(&files(&["tests"], ".rs"), |_, place| match place {
        [TokenTree::Ident(name), TokenTree::Group(of), ..] if name == "sleep" => {
            let waits = !is_pause(&of.stream().to_string());
            waits.then(|| "a test waits for a condition or a signal, with a limit".to_owned())
        }
        _ => None,
    }));
}

/// Whether a sleep is the pause between two looks at a condition, or as long as its caller
/// says.
fn is_pause(time: &str) -> bool {
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    let short = digits.parse().is_ok_and(|number: u64| number <= 10);
    !time.contains("Duration") || (time.contains("from_millis") && short)
}

#[test]
fn no_test_is_left_out() {
    let mut found = Vec::new();
    for path in all_code() {
        let tokens: TokenStream = text(&path).parse().expect("the file is Rust");
        found.extend(ignored(tokens).map(|line| format!("{}:{line}: ignored", path.display())));
    }
    expect_none(&found);
}

/// The line of the first test that is ignored.
fn ignored(tokens: TokenStream) -> Option<usize> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    (0..tokens.len()).find_map(|at| match (&tokens[at], attribute(&tokens[at..])) {
        (token, Some((name, _))) if name.starts_with("ignore") => Some(line(token)),
        (TokenTree::Group(group), _) => ignored(group.stream()),
        _ => None,
    })
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let (mut inside, mut silent) = (false, BTreeSet::new());
    for line in text(Path::new("Cargo.toml")).lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && line.contains(" = ") && !line.contains(" # ") {
            silent.insert(line.to_owned());
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["TO DO", "FIX ME", "X XX", "to do!", "un implemented!"];
    let words = words.map(|word| word.replace(' ', ""));
    let folders = ["src", "tests", "examples", "benches", "migrations", "scripts"];
    let mut found = Vec::new();
    for path in files(&folders, "").into_iter().chain(files_at_the_root()) {
        for (at, line) in text(&path).lines().enumerate() {
            let part = |c: char| !(c.is_alphanumeric() || c == '!');
            let word = line.split(part).find(|part| words.iter().any(|word| word == part));
            found.extend(word.map(|word| format!("{}:{}: {word}", path.display(), at + 1)));
        }
    }
    expect_none(&found);
}

#[test]
fn the_readme_has_the_first_program() {
    // Without what rustfmt puts in and takes out.
    let bare = |text: &str| text.replace(|c: char| c.is_whitespace() || ",{}".contains(c), "");
    let example = text(Path::new("examples/quickstart.rs"));
    let (_, program) = example.split_once("\n\n").expect("a header, then the program");
    let readme = bare(&text(Path::new("README.md")));
    assert!(readme.contains(&bare(program)), "README.md shows another first program");
}

fn files_at_the_root() -> Vec<PathBuf> {
    ["README.md", "CHANGELOG.md", "Cargo.toml"].map(PathBuf::from).into()
}
