//! Removing what is old.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    failure::Attempted,
    list,
    pipe::{Line, Pipe, params},
    rows::{self, Cells, Time},
    sql,
};
use crate::{
    clock::Timestamp,
    error::Result,
    model::{Cursor, Prune, Pruned},
};

/// Removes what is old, inside a transaction.
pub(super) async fn prune(line: Line<'_>, prune: &Prune) -> Attempted<Pruned> {
    Pipe::one(sql::PRUNE_LOCK, Vec::new()).rows(line).await?;
    let limit = i64::from(prune.limit);
    let params = params![Time(prune.runs_before), limit, Time(Timestamp::ZERO)];
    let runs = ids(&Pipe::one(sql::OLD_RUNS, params).rows(line).await?)?;
    prune_runs(line, &runs).await?;
    let params = params![Time(prune.tasks_before), limit];
    let tasks = ids(&Pipe::one(sql::OLD_TASKS, params).rows(line).await?)?;
    delete(line, &sql::DELETE_TASK, &tasks).await?;
    let params = params![Time(prune.entries_before), limit];
    let entries = Pipe::one(sql::PRUNE_ENTRIES, params).rows(line).await?;
    Ok(Pruned {
        tasks: tasks.len() as u64,
        runs: runs.len() as u64,
        entries: note_pruned(line, &entries).await?,
    })
}

async fn prune_runs(line: Line<'_>, runs: &[Uuid]) -> Attempted<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let params = params![runs];
    let tasks = ids(&Pipe::one(sql::TASKS_OF_RUN, params).rows(line).await?)?;
    delete(line, &sql::DELETE_TASK, &tasks).await?;
    let params = params![runs];
    let entries = Pipe::one(sql::PRUNE_ENTRIES_OF, params).rows(line).await?;
    note_pruned(line, &entries).await?;
    delete(line, &sql::DELETE_RUN, runs).await
}

/// Remembers how far entries were pruned, so that a cursor before that is told so, and says how
/// many they were.
async fn note_pruned(line: Line<'_>, newest: &[Row]) -> Attempted<u64> {
    let Some((newest, count)) = rows::all(newest, counted)?.pop() else {
        return Ok(0);
    };
    let before = Pipe::one(sql::PRUNED, Vec::new()).rows(line).await?;
    if list::pruned(&before)?.is_none_or(|before| before < newest) {
        let params = params![newest.major, newest.minor];
        Pipe::one(sql::NOTE_PRUNED, params).rows(line).await?;
    }
    Ok(count)
}

fn counted(cells: &mut Cells<'_>) -> Result<(Cursor, u64)> {
    let (major, minor) = (cells.next()?, cells.next()?);
    Ok((Cursor { major, minor }, cells.next::<i64>()?.unsigned_abs()))
}

fn ids(found: &[Row]) -> Result<Vec<Uuid>> {
    rows::all(found, |cells| cells.next())
}

async fn delete(line: Line<'_>, statements: &[&'static str], ids: &[Uuid]) -> Attempted<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut pipe = Pipe::default();
    for sql in statements {
        pipe.add(*sql, params![ids]);
    }
    pipe.send(line).await.map(drop)
}
