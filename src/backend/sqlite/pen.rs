//! The connection that writes: transactions, and bringing them to the disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use rusqlite::{Connection, TransactionBehavior};

use super::{
    Durability, Options,
    claim::{self, Lanes},
    conn,
    fold::fold_back,
    load, log, save, sql,
    syncs::Syncs,
};
use crate::{
    clock::Clock,
    error::{Error, Result},
    model::{Batch, Committed, Split},
};

/// The log is folded back into the database when it has grown by so many pages.
const FOLD_PAGES: u32 = 1_000;
/// It is cut to nothing when it is larger than this.
const WAL_BYTES: u64 = 64 << 20;
/// How many transactions pass between looks at its size.
const WAL_LOOK: u32 = 256;

pub(super) struct Pen {
    conn: Connection,
    /// None where commits need not be on the disk, or SQLite sees to it.
    syncs: Option<Arc<Syncs>>,
    /// The last commit that what was returned rests on.
    number: u64,
    /// How many pages had been written when the log was folded back.
    folded: u32,
    commits: u32,
    clock: Clock,
    lanes: Lanes,
    schema: i64,
    path: PathBuf,
}

impl Pen {
    /// Opens the connection. Called with the turn to write: two processes may open a fresh file
    /// at once.
    pub fn open(options: &Options, syncs: Arc<Syncs>) -> Result<Self> {
        let conn = conn::writer(&options.path)?;
        let is_full = options.durability == Durability::Full;
        let is_shared = is_full && Syncs::is_possible() && log::spares_neighbours(&conn)?;
        if is_full && !is_shared {
            conn::sync_each_commit(&conn)?;
        }
        if is_shared {
            // A page that is new knows nothing of commits that nobody lived to sync.
            syncs.wrote(syncs.begin());
        }
        Ok(Self {
            folded: log::pages_written(&conn)?,
            conn,
            syncs: is_shared.then_some(syncs),
            number: 0,
            commits: 0,
            clock: options.clock.clone(),
            lanes: Lanes::new(),
            schema: super::migrate::newest(),
            path: options.path.clone(),
        })
    }

    /// Carries out batches in one transaction. They are in the log then, and on the disk after
    /// [`Pen::cover`]. Called with the turn to write.
    pub fn write(&mut self, batches: Vec<Batch>) -> Result<Vec<Committed>> {
        self.mend()?;
        let before = self.conn.total_changes();
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        may_write(&transaction, self.schema)?;
        let (clock, lanes) = (&self.clock, &mut self.lanes);
        let committed: Result<Vec<_>> =
            batches.into_iter().map(|batch| caught(&transaction, lanes, batch, clock)).collect();
        let committed = committed?;
        let Some(syncs) = &self.syncs else {
            transaction.commit()?;
            self.fold();
            return Ok(committed);
        };
        // What changed nothing may have seen what is not on the disk yet.
        let is_changed = transaction.total_changes() != before;
        let number = if is_changed { syncs.begin() } else { syncs.begun_by_others() };
        transaction.commit().inspect_err(|_| syncs.doubt())?;
        syncs.wrote(number);
        self.number = number;
        self.fold();
        Ok(committed)
    }

    /// Runs something that commits by itself. Called with the turn to write.
    pub fn run<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        self.mend()?;
        let number = self.syncs.as_ref().map(|syncs| syncs.begin());
        let result = work(&mut self.conn);
        if let (Some(syncs), Some(number)) = (&self.syncs, number) {
            syncs.wrote(number);
            self.number = number;
            if result.as_ref().is_err_and(Error::is_transient) {
                syncs.doubt();
            }
        }
        result
    }

    /// Returns when what was written is on the disk. Needs no turn: others may write meanwhile.
    ///
    /// # Errors
    /// When it could not be brought there. Whether it happened is then not known.
    pub fn cover(&self) -> Result<()> {
        self.syncs.as_ref().map_or(Ok(()), |syncs| syncs.cover(&self.conn, self.number))
    }

    /// Puts right what a failed sync has left. Called with the turn to write.
    pub fn mend(&self) -> Result<()> {
        match &self.syncs {
            Some(syncs) if syncs.is_in_doubt() => syncs.mend(&self.conn),
            _ => Ok(()),
        }
    }

    pub fn is_in_doubt(&self) -> bool {
        self.syncs.as_ref().is_some_and(|syncs| syncs.is_in_doubt())
    }

    /// Changes when another connection commits, never with the own commits.
    pub fn version(&self) -> Result<i64> {
        Ok(self.conn.prepare_cached(sql::DATA_VERSION)?.query_row([], |row| row.get(0))?)
    }

    /// Folds the log back into the database. SQLite does so as well, and does not say when it
    /// can't sync the log.
    fn fold(&mut self) {
        let folding = log::pages_written(&self.conn).and_then(|pages| {
            if pages.wrapping_sub(self.folded) < FOLD_PAGES {
                return Ok(());
            }
            let counts = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get(2)?));
            let (all, folded): (_, i64) = self.conn.query_row(sql::FOLD, [], counts)?;
            // As long as others read what is in the log, each commit tries again.
            if all == folded {
                self.folded = pages;
            }
            Ok(())
        });
        self.note(folding);
    }

    /// Cuts the log that readers have let grow.
    pub fn bound_wal(&mut self) {
        self.commits += 1;
        if self.commits.is_multiple_of(WAL_LOOK) && super::wal_bytes(&self.path) > WAL_BYTES {
            self.note(fold_back(&self.conn).map(|is_cut| {
                if !is_cut {
                    tracing::debug!("the log grows: an old snapshot is being read");
                }
            }));
        }
    }

    fn note(&self, folding: rusqlite::Result<()>) {
        if let Err(error) = folding {
            tracing::warn!(%error, "the log can't be folded back yet");
            self.syncs.iter().for_each(|syncs| syncs.doubt());
        }
    }
}

/// Whether a program that knows `schema` may still write here.
pub(super) fn may_write(conn: &Connection, schema: i64) -> Result<()> {
    let oldest = load::one(conn, sql::WRITER_MIN, [], |row| row.get::<_, i64>(0))?.unwrap_or(0);
    if oldest <= schema {
        return Ok(());
    }
    Err(Error::schema_moved_on(format!(
        "a newer program has moved this database to schema {oldest}; this one knows {schema} and \
         may no longer write. Restart it with the newer version"
    )))
}

/// Carries out one batch inside a transaction. A panic of the rules fails it, and the thread
/// goes on.
fn caught(conn: &Connection, lanes: &mut Lanes, batch: Batch, clock: &Clock) -> Result<Committed> {
    let work = AssertUnwindSafe(|| carry_out(conn, lanes, batch, clock));
    catch_unwind(work).unwrap_or_else(|panic| Err(Error::panicked(&*panic)))
}

/// Carries out one batch inside a transaction.
pub(super) fn carry_out(
    conn: &Connection,
    lanes: &mut Lanes,
    batch: Batch,
    clock: &Clock,
) -> Result<Committed> {
    let mut split = Split::new(batch.commands, clock.now());
    let mut done = Committed::default();
    let missed = save::guarded(conn, split.changes())?;
    done.note(split.changes());
    let planned = match split.plan(&missed) {
        None => Vec::new(),
        Some(mut plan) => {
            while let Some(needs) = plan.needs() {
                plan.supply(load::load(conn, &needs)?, clock.now());
            }
            let (changes, receipts) = plan.finish();
            save::save(conn, &changes)?;
            done.note(&changes);
            receipts
        }
    };
    done.receipts = split.finish(planned);
    if let Some(wish) = batch.claim {
        done.claimed = claim::claim(conn, lanes, &wish, clock.now())?;
    }
    Ok(done)
}
