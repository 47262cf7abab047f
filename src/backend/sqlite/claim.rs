//! Claiming: the heads of the lanes that a worker may serve.

use std::collections::{HashMap, hash_map::Entry};

use rusqlite::{CachedStatement, Connection, Row, params};

use super::{load, rows, save, sql};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
    id::TaskId,
    model::{Claim, Claimed, Lane, LaneId, Task},
};

/// Lanes never change, so the writer keeps those it has seen.
pub(super) type Lanes = HashMap<LaneId, Lane>;

/// Takes what `claim` asks for.
pub(super) fn claim(
    conn: &Connection,
    lanes: &mut Lanes,
    claim: &Claim,
    now: Timestamp,
) -> Result<Vec<Claimed>> {
    if claim.again {
        let params = (claim.instance, claim.seq);
        let before = load::all(conn, sql::CLAIMED_BEFORE, params, |row| row.get::<_, TaskId>(0))?;
        if !before.is_empty() {
            return before.into_iter().map(|id| claimed(conn, id)).collect();
        }
    }
    let mut keys = Keys { conn, now, free: HashMap::new() };
    let (mut chosen, heads) = (Vec::new(), heads(conn, lanes, claim, &mut keys)?);
    if heads.is_empty() {
        return Ok(chosen);
    }
    let (mut mark, mut spec) = (conn.prepare_cached(sql::CLAIM)?, conn.prepare_cached(sql::SPEC)?);
    for head in heads {
        if chosen.len() == claim.limit as usize {
            break;
        }
        let lane = &lanes[&head.lane];
        if keys.take(lane)? {
            let task = take(&mut mark, lane, &keys, claim, head.task)?;
            chosen.push(with_spec(&mut spec, task)?);
        }
    }
    Ok(chosen)
}

/// A ready task, in the order in which tasks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    priority: i16,
    task: TaskId,
    lane: LaneId,
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { lane: row.get(0)?, priority: row.get(1)?, task: row.get(2)? })
}

/// The heads of all lanes that the worker may serve, in the order in which they are taken.
fn heads(
    conn: &Connection,
    lanes: &mut Lanes,
    claim: &Claim,
    keys: &mut Keys<'_>,
) -> Result<Vec<Head>> {
    let (mut firsts, mut at) = (Vec::new(), -1);
    while let Some(first) = load::one(conn, sql::NEXT_LANE, [at], head)? {
        at = first.lane;
        let lane = known(conn, lanes, at)?;
        if lane.served_by(&claim.serves) && keys.open(lane)? > 0 {
            firsts.push(first);
        }
    }
    let mut found = firsts.clone();
    let last = last_wanted(&firsts, lanes, claim);
    for first in firsts {
        if last.is_some_and(|last| first > last) {
            continue;
        }
        let limit = keys.open(&lanes[&first.lane])?.min(claim.limit).saturating_sub(1);
        let after = params![first.lane, first.priority, first.task, limit];
        found.extend(load::all(conn, sql::LANE_REST, after, head)?);
    }
    found.sort_unstable();
    Ok(found)
}

/// The head after which nothing is taken: enough that nothing can hold back come before.
fn last_wanted(firsts: &[Head], lanes: &Lanes, claim: &Claim) -> Option<Head> {
    let free = firsts.iter().filter(|first| lanes[&first.lane].keys.is_empty());
    let mut free: Vec<Head> = free.copied().collect();
    free.sort_unstable();
    free.get(claim.limit as usize).copied()
}

fn known<'a>(conn: &Connection, lanes: &'a mut Lanes, id: LaneId) -> Result<&'a Lane> {
    if let Entry::Vacant(unknown) = lanes.entry(id) {
        let lane = load::one(conn, sql::LANE, [id], rows::lane)?;
        unknown.insert(lane.ok_or_else(|| Error::database(format!("lane {id} is missing")))?);
    }
    Ok(&lanes[&id])
}

/// How many slots of each capacity key are free, counted once a claim. None: any number.
struct Keys<'a> {
    conn: &'a Connection,
    now: Timestamp,
    free: HashMap<String, Option<u32>>,
}

impl Keys<'_> {
    /// How many tasks of a lane may start.
    fn open(&mut self, lane: &Lane) -> Result<u32> {
        let mut open = u32::MAX;
        for key in &lane.keys {
            open = open.min(self.free(key)?.unwrap_or(u32::MAX));
        }
        Ok(open)
    }

    /// Counts one more task of a lane, if it may start.
    fn take(&mut self, lane: &Lane) -> Result<bool> {
        if self.open(lane)? == 0 {
            return Ok(false);
        }
        for key in &lane.keys {
            if let Some(Some(free)) = self.free.get_mut(key) {
                *free -= 1;
            }
        }
        Ok(true)
    }

    fn free(&mut self, name: &str) -> Result<Option<u32>> {
        if let Some(free) = self.free.get(name) {
            return Ok(*free);
        }
        let free = match load::one(self.conn, sql::CAPACITY, [name], rows::capacity)? {
            None => None,
            Some(key) if key.parked_until > self.now => Some(0),
            Some(key) => match key.slots {
                None => None,
                Some(slots) => Some(slots.saturating_sub(self.held(name)?)),
            },
        };
        self.free.insert(name.to_owned(), free);
        Ok(free)
    }

    fn held(&self, name: &str) -> Result<u32> {
        Ok(load::one(self.conn, sql::SLOTS_HELD, [name], |row| row.get(0))?.unwrap_or(0))
    }
}

/// Marks one task as claimed, with the slots of its limited keys.
fn take(
    mark: &mut CachedStatement<'_>,
    lane: &Lane,
    keys: &Keys<'_>,
    claim: &Claim,
    id: TaskId,
) -> Result<Task> {
    let params = params![id, claim.instance, claim.seq, keys.now];
    let task = load::first(mark, params, rows::task)?;
    let task = task.ok_or_else(|| Error::database(format!("task {id} was not ready")))?;
    let limited = lane.keys.iter().filter(|key| matches!(keys.free.get(*key), Some(Some(_))));
    for key in limited {
        save::run(keys.conn, sql::TAKE_SLOT, params![key, id, task.lease])?;
    }
    Ok(task)
}

/// A task that this claim took before.
fn claimed(conn: &Connection, id: TaskId) -> Result<Claimed> {
    let task = load::one(conn, sql::TASK, [id], rows::task)?;
    let task = task.ok_or_else(|| Error::database(format!("task {id} vanished")))?;
    with_spec(&mut conn.prepare_cached(sql::SPEC)?, task)
}

fn with_spec(statement: &mut CachedStatement<'_>, task: Task) -> Result<Claimed> {
    let spec = load::first(statement, [task.id], rows::spec)?;
    let (spec, _) =
        spec.ok_or_else(|| Error::database(format!("task {} has no cold row", task.id)))?;
    Ok(Claimed { task, spec })
}
