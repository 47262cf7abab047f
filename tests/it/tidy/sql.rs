//! Where statements may be, and how databases are opened.

use std::path::Path;

use proc_macro2::TokenTree;

use super::{
    DATABASES,
    reading::{
        code, complaints, each_place, expect_none, files, has, ident, is_punct, parsed, sources,
    },
};

/// Statements that SQLite alone needs.
const ONLY_SQLITE: &str = "DROP_SLOTS_OF NEXT_LANE SLOTS_HELD NEXT_HOLDER PRAGMAS DATA_VERSION \
    SHRINK FOLD CHECKPOINT BACK_UP LANE_REST NOTE_PRUNED_ENTRIES PARTS_OF_PAGE";

/// Statements that PostgreSQL alone needs.
const ONLY_POSTGRES: &str = "HIDDEN NOTIFIER_SETTINGS NOTIFY SETTINGS BEGIN BEGIN_SNAPSHOT BEGIN_VIEW COMMIT \
    ROLLBACK NOW MIGRATION_LOCK LANE_HEAD HAS_NAMESPACE TABLES \
    SWAP_PATH SAVEPOINT RELEASE UNDO LOCKED CHILD_TASKS STEPS_AFTER SLOTS_FREE HOLDERS \
    LIST_TASKS LIST_RUNS LIST_OPEN LIST_INBOX PRUNE_LOCK PRUNE_ENTRIES_OF LOCK_OF_CHAT \
    INSERT_SPEC_OR_FAIL INSERT_PLAIN_OR_FAIL UPDATE_TASK_OR_FAIL CLAIM_OR_FAIL";

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
