//! How fast the engine is, against the bare drivers and against itself, as one table of ratios.
//!
//! ```text
//! cargo bench --all-features                  # everything
//! cargo bench --all-features -- --quick       # the same with less of everything: below 3 minutes
//! cargo bench --all-features -- sqlite drain  # rows that have all of these words
//! ```
//!
//! Both sides of a ratio run in turns, so that a disk or a machine that changes its speed meanwhile
//! changes both. Everything is durable: SQLite with `synchronous = FULL`, PostgreSQL with fsync.
//! The databases are made in the folder for temporary files (`TMPDIR`). PostgreSQL is started
//! from its programs, or is the server that `SEGUE_TEST_POSTGRES_URL` names.

use std::sync::Arc;

use tokio::runtime::Runtime;

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/support/cluster.rs"]
mod cluster;
mod place;
mod ratio;
mod raw;
mod rows;
mod table;

use place::Kind;
use ratio::Bench;
// The files of the statements name it so.
use segue::{id, model};

type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

/// What the command line asks for.
struct Wanted {
    quick: bool,
    words: Vec<String>,
}

impl Wanted {
    fn read() -> Self {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let quick = given.iter().any(|word| word == "--quick");
        let words = given.into_iter().filter(|word| !word.starts_with('-')).collect();
        Self { quick, words }
    }
}

fn main() -> Result<()> {
    let runtime = Arc::new(Runtime::new()?);
    if let Some(role) = std::env::var_os("SEGUE_BENCH_ROLE") {
        return rows::child::play(&runtime, &role.to_string_lossy());
    }
    let mut bench = Bench::new(Wanted::read(), runtime);
    for kind in [Kind::Sqlite, Kind::Postgres] {
        rows::all(&mut bench, kind)?;
    }
    bench.table.print();
    Ok(())
}
