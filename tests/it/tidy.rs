//! Tidiness as tests: layers, purity, where SQL may be, sizes, and what must not appear.
//!
//! Code is read as tokens, so that comments and the examples in them don't count, and the
//! insides of macros do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Who may use whom, of the modules at the root of the crate. The page on the architecture has
/// the picture.
const LAYERS: [(&str, &[&str]); 11] = [
    ("id", &[]),
    ("clock", &[]),
    ("error", &["model"]),
    ("evidence", &[]),
    ("model", &["id", "clock"]),
    ("failure", &["id", "model"]),
    ("backend", &["id", "clock", "error", "model"]),
    ("agents", &["id", "clock", "error", "failure", "model"]),
    ("engine", &["id", "clock", "error", "failure", "model", "backend", "agents"]),
    (
        "api",
        &["id", "clock", "error", "evidence", "failure", "model", "backend", "agents", "engine"],
    ),
    ("docs", &[]),
];

/// The parts of `backend` that know nothing of each other, and of which nobody below the host's
/// side knows.
const DATABASES: [&str; 2] = ["sqlite", "postgres"];

/// What has no place in the model: I/O, clocks, and whatever is different each time.
const IMPURE: &str = "fs io net process env thread tokio SystemTime Instant Utc Local rand getrandom \
    now_v1 now_v7 new_v4 gethostname";

/// What of `evidence` is not pure.
const READ_FILES: [&str; 3] = ["check.rs", "lines.rs", "tree"];

/// Statements that SQLite alone needs.
const ONLY_SQLITE: &str = "DROP_SLOTS_OF NEXT_LANE SLOTS_HELD NEXT_HOLDER PRAGMAS DATA_VERSION \
    SHRINK CHECKPOINT BACK_UP LANE_REST NOTE_PRUNED_ENTRIES";

/// Statements that PostgreSQL alone needs.
const ONLY_POSTGRES: &str = "HIDDEN NOTIFIER_SETTINGS NOTIFY SETTINGS BEGIN BEGIN_SNAPSHOT BEGIN_VIEW COMMIT \
    ROLLBACK NOW MIGRATION_LOCK LANE_HEAD HAS_NAMESPACE TABLES \
    SWAP_PATH SAVEPOINT RELEASE UNDO LOCKED CHILD_TASKS STEPS_AFTER SLOTS_FREE HOLDERS \
    LIST_TASKS LIST_OPEN LIST_INBOX LANE_HEAD PRUNE_LOCK PRUNE_ENTRIES_OF";

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FUNCTION: usize = 70;

// ---- layers

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

// ---- purity

#[test]
fn the_model_performs_no_io_reads_no_clock_and_draws_nothing() {
    let mut pure = files(&["src/model", "src/evidence"], ".rs");
    let reads = READ_FILES.map(|part| Path::new("src/evidence").join(part));
    pure.retain(|path| !reads.iter().any(|part| path.starts_with(part)));
    expect_none(&complaints(&pure, |path, place| {
        let name = ident(place.first())?;
        let fresh_id = name.ends_with("Id") && ident(place.get(3)).as_deref() == Some("new");
        let unseeded = name == "fastrand" && !(path.ends_with("retry.rs") && is_seeded(place));
        let impure = has(IMPURE, &name) || fresh_id || unseeded;
        impure.then(|| format!("`{name}` has no place in what is pure"))
    }));
}

/// `fastrand::Rng::with_seed`.
fn is_seeded(place: &[TokenTree]) -> bool {
    ident(place.get(6)).as_deref() == Some("with_seed")
}

// ---- SQL

#[test]
fn statements_are_in_sql_files_only() {
    let all = sources().into_iter();
    let others = all.filter(|path| path.parent().is_none_or(|at| !at.ends_with("sql")));
    let others: Vec<_> = others.collect();
    expect_none(&complaints(&others, |_, place| match place.first()? {
        TokenTree::Literal(literal) => {
            let text = literal.to_string();
            is_sql(&text).then(|| format!("a statement outside sql/: {text}"))
        }
        _ => None,
    }));
}

/// Closing any descriptor of these files drops the locks that SQLite holds on them.
#[test]
fn the_files_of_sqlite_are_opened_by_sqlite_alone() {
    expect_none(&complaints(&files(&["src/backend/sqlite"], ".rs"), |path, place| {
        let (own, name) = (path.ends_with("neighbours.rs"), ident(place.first())?);
        let wrong = match name.as_str() {
            "File" | "OpenOptions" | "MmapRaw" => !own,
            "fs" if !own => !is_harmless(place),
            "open" if own => is_open_of_another(place),
            _ => false,
        };
        wrong.then(|| format!("`{name}`: only files of our own beside the database are opened"))
    }));
}

/// `fs::remove_file` and `fs::metadata` open nothing.
fn is_harmless(place: &[TokenTree]) -> bool {
    let called = ident(place.get(3)).unwrap_or_default();
    has("remove_file metadata", &called)
}

/// `open(..)` of what is not `&beside(..)`, and is neither a definition nor within it.
fn is_open_of_another(place: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(list)) = place.get(1) else { return false };
    let inside: Vec<_> = list.stream().into_iter().collect();
    let is_definition = inside.iter().any(|token| is_punct(token, ':'));
    let is_ours = ident(inside.get(1)).as_deref() == Some("beside");
    let is_within = inside.len() == 1 && ident(inside.first()).as_deref() == Some("path");
    !(inside.is_empty() || is_definition || is_within || is_ours)
}

/// A transaction that begins by reading is refused when it writes after another has written.
#[test]
fn transactions_of_sqlite_that_write_begin_by_writing() {
    let mut reading = 0;
    for path in files(&["src/backend/sqlite"], ".rs") {
        each_place(&code(&path), &mut |place| match place {
            [TokenTree::Ident(name), TokenTree::Group(list), ..] if list.stream().is_empty() => {
                reading += u32::from(name == "transaction" || name == "savepoint");
            }
            [TokenTree::Ident(name), ..] => {
                let deferred = has("Deferred unchecked_transaction", &name.to_string());
                assert!(!deferred, "{}: `{name}`", path.display());
            }
            _ => {}
        });
    }
    assert_eq!(reading, 1, "only `reading` begins one, on a connection that can't write");
}

fn is_sql(text: &str) -> bool {
    let words: Vec<&str> = text.trim_matches('"').split_whitespace().collect();
    let pair = |wanted: [&str; 2]| words.windows(2).any(|pair| pair == wanted);
    let update = words.iter().position(|word| *word == "UPDATE");
    let set = words.iter().rposition(|word| *word == "SET");
    words.contains(&"SELECT")
        || pair(["INSERT", "INTO"])
        || pair(["DELETE", "FROM"])
        || update.zip(set).is_some_and(|(update, set)| update < set)
}

#[test]
fn both_databases_have_the_same_statements_in_the_same_order() {
    let [sqlite, postgres] = DATABASES.map(|name| {
        let all = files(&[&format!("src/backend/{name}/sql")], ".rs");
        all.iter().flat_map(|path| statements(path)).collect::<Vec<_>>()
    });
    assert!(!sqlite.is_empty(), "there are statements");
    let alone = |own: &[String], other: &[String], known: &str| -> Vec<String> {
        let new = own.iter().filter(|name| !other.contains(name));
        new.filter(|name| !has(known, name)).cloned().collect()
    };
    assert_eq!(alone(&sqlite, &postgres, ONLY_SQLITE), [""; 0], "only SQLite has them");
    assert_eq!(alone(&postgres, &sqlite, ONLY_POSTGRES), [""; 0], "only PostgreSQL has them");
    let common = |own: &[String], other: &[String]| -> Vec<String> {
        own.iter().filter(|name| other.contains(name)).cloned().collect()
    };
    assert_eq!(common(&sqlite, &postgres), common(&postgres, &sqlite), "their order");
}

/// The constants of a file, in order.
fn statements(path: &Path) -> Vec<String> {
    let items = parsed(path).items.into_iter();
    let constants = items.filter_map(|item| match item {
        syn::Item::Const(item) => Some(item.ident.to_string()),
        _ => None,
    });
    constants.collect()
}

#[test]
fn both_databases_have_the_same_migrations() {
    let [sqlite, postgres] = DATABASES.map(|name| {
        let all = files(&[&format!("migrations/{name}")], ".sql").into_iter();
        let names = all.filter_map(|path| path.file_name().map(ToOwned::to_owned));
        names.collect::<Vec<_>>()
    });
    assert!(!sqlite.is_empty(), "there are migrations");
    assert_eq!(sqlite, postgres);
}

// ---- sizes

#[test]
fn functions_are_short() {
    let (mut long, mut lengths) = (Vec::new(), Vec::new());
    for path in all_code() {
        let mut functions = Functions::default();
        functions.visit_file(&parsed(&path));
        for (name, first, lines) in functions.0 {
            if lines > LINES_OF_A_FUNCTION {
                long.push(format!("{}:{first}: `{name}` has {lines} lines", path.display()));
            }
            lengths.extend(path.starts_with("src").then_some(lines));
        }
    }
    lengths.sort_unstable();
    let (middle, most) = (lengths[lengths.len() / 2], lengths[lengths.len() * 9 / 10]);
    println!("{} functions: median {middle} lines, nine in ten below {most}", lengths.len());
    expect_none(&long);
}

/// Functions: their names, first lines and lengths.
#[derive(Default)]
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn add(&mut self, sig: &syn::Signature, block: &syn::Block) {
        let first = sig.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        self.0.push((sig.ident.to_string(), first, last + 1 - first));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn files_are_short() {
    let lines = |path: &Path| text(path).lines().count();
    let long = all_code().into_iter().filter(|path| lines(path) > LINES_OF_A_FILE);
    let long: Vec<_> = long.map(|path| format!("{} is too long", path.display())).collect();
    expect_none(&long);
}

// ---- habits

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

// ---- reading files

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// All files below these folders with this ending, in order, from the root of the crate.
fn files(folders: &[&str], ending: &str) -> Vec<PathBuf> {
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

fn sources() -> Vec<PathBuf> {
    files(&["src"], ".rs")
}

fn all_code() -> Vec<PathBuf> {
    files(&["src", "tests", "examples", "benches"], ".rs")
}

fn text(path: &Path) -> String {
    let text = fs::read(root().join(path));
    let text = text.unwrap_or_else(|error| panic!("{} can't be read: {error}", path.display()));
    String::from_utf8_lossy(&text).into_owned()
}

fn parsed(path: &Path) -> syn::File {
    let file = syn::parse_file(&text(path));
    file.unwrap_or_else(|error| panic!("{} is not Rust: {error}", path.display()))
}

// ---- reading tokens

/// The code of a file: without comments, attributes and tests.
fn code(path: &Path) -> Vec<TokenTree> {
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
fn attribute(tokens: &[TokenTree]) -> Option<(String, usize)> {
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
fn each_place(tokens: &[TokenTree], see: &mut dyn FnMut(&[TokenTree])) {
    for at in 0..tokens.len() {
        see(&tokens[at..]);
        if let TokenTree::Group(group) = &tokens[at] {
            let inner: Vec<_> = group.stream().into_iter().collect();
            each_place(&without_tests(&inner), see);
        }
    }
}

/// What `judge` says of each place in the code of these files, with the place.
fn complaints(
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

fn expect_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Whether a list in words has this one.
fn has(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token? {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
