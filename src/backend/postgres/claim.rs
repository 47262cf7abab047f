//! Claiming: the heads of the lanes that a worker may serve.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    failure::{Attempted, only},
    pipe::{Line, Param, Pipe, params},
    rows::{self, Cells, Time},
    sql,
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
    id::TaskId,
    model::{Claim, Claimed, Lane, LaneId},
};

/// How often a claim that others overtake is tried in one transaction.
const ROUNDS: usize = 4;

/// Lanes never change, so a process keeps those it has seen.
#[derive(Debug, Default)]
pub(super) struct Lanes(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    lanes: HashMap<LaneId, Lane>,
    /// Those that are certain to be in the tables: they are never removed.
    kept: HashSet<LaneId>,
}

impl Lanes {
    /// Adds lanes that the database has, or will have with the commit that is under way.
    pub fn learn(&self, lanes: impl IntoIterator<Item = Lane>) {
        let mut lanes = lanes.into_iter().peekable();
        if lanes.peek().is_some() {
            self.write().lanes.extend(lanes.map(|lane| (lane.id, lane)));
        }
    }

    /// Notes lanes that were committed.
    pub fn keep(&self, lanes: impl IntoIterator<Item = LaneId>) {
        let new: Vec<_> = lanes.into_iter().filter(|lane| !self.has(*lane)).collect();
        if !new.is_empty() {
            self.write().kept.extend(new);
        }
    }

    /// Whether a lane is certain to be in the tables.
    pub fn has(&self, lane: LaneId) -> bool {
        self.read().kept.contains(&lane)
    }

    /// Whether a lane that a worker serves has a capacity key.
    pub fn are_keyed(&self, serves: &BTreeSet<String>) -> bool {
        let keyed = |lane: &Lane| !lane.keys.is_empty() && lane.served_by(serves);
        self.read().lanes.values().any(keyed)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys_of(&self, lane: LaneId) -> Vec<String> {
        self.read().lanes.get(&lane).map(|lane| lane.keys.clone()).unwrap_or_default()
    }

    fn reach(&self, serves: &BTreeSet<String>) -> Reach {
        let known = &self.read().lanes;
        let mut reach = Reach { known: known.keys().copied().collect(), ..Reach::default() };
        for lane in known.values().filter(|lane| lane.served_by(serves)) {
            reach.served.push(lane.id);
            for key in &lane.keys {
                reach.keyed.push(lane.id);
                reach.keys.push(key.clone());
            }
        }
        reach
    }
}

/// Which of the known lanes a worker serves, and their capacity keys in pairs.
#[derive(Default)]
struct Reach {
    known: Vec<LaneId>,
    served: Vec<LaneId>,
    keyed: Vec<LaneId>,
    keys: Vec<String>,
}

/// A claim at a time.
#[derive(Clone, Copy)]
pub(super) struct Claiming<'a> {
    pub claim: &'a Claim,
    pub lanes: &'a Lanes,
    pub now: Timestamp,
    /// How many are still wanted.
    pub limit: u32,
}

/// What the first statement of a claim answers.
enum Answer {
    Took(Vec<Claimed>),
    Unknown(Vec<LaneId>),
    Limited,
}

impl Claiming<'_> {
    /// Adds the first statement of a claim, and says where its answer will be.
    pub fn add(&self, pipe: &mut Pipe<'_>) -> usize {
        pipe.add(sql::CLAIM, self.params())
    }

    /// Adds a claim that fails where more than one statement is needed.
    pub fn add_or_fail(&self, pipe: &mut Pipe<'_>, newest: i64) -> usize {
        let mut params = self.params();
        params.push(Box::new(newest));
        pipe.add(sql::CLAIM_OR_FAIL, params)
    }

    fn params(&self) -> Vec<Param<'static>> {
        let Reach { known, served, keyed, keys } = self.lanes.reach(&self.claim.serves);
        let (holder, seq) = (self.claim.instance.as_uuid(), self.claim.seq);
        let limit = i64::from(self.limit);
        params![Time(self.now), served, keyed, keys, known, limit, holder, seq]
    }

    /// What a claim that did not fail has taken.
    pub fn took(&self, rows: &[Row]) -> Attempted<Vec<Claimed>> {
        match answer(rows)? {
            Answer::Took(claimed) => Ok(claimed),
            _ => Err(Error::database("a claim that should have failed").into()),
        }
    }

    /// What the claim took before, if it did; else what it takes now.
    pub async fn again(&self, line: Line<'_>) -> Attempted<Vec<Claimed>> {
        let params = params![self.claim.instance.as_uuid(), self.claim.seq];
        let before = Pipe::one(sql::CLAIMED_BEFORE, params).rows(line).await?;
        match before.is_empty() {
            true => self.take(line).await,
            false => Ok(rows::all(&before, rows::claimed)?),
        }
    }

    /// Takes what the claim asks for.
    pub async fn take(&self, line: Line<'_>) -> Attempted<Vec<Claimed>> {
        let mut pipe = Pipe::default();
        self.add(&mut pipe);
        let rows = pipe.rows(line).await?;
        self.go_on(line, rows).await
    }

    /// Goes on from the answer to the first statement.
    pub async fn go_on(&self, line: Line<'_>, mut rows: Vec<Row>) -> Attempted<Vec<Claimed>> {
        for _ in 0..ROUNDS {
            match answer(&rows)? {
                Answer::Took(claimed) => return Ok(claimed),
                Answer::Limited => return self.contend(line).await,
                Answer::Unknown(ids) => self.load_lanes(line, ids).await?,
            }
            let mut pipe = Pipe::default();
            self.add(&mut pipe);
            rows = pipe.rows(line).await?;
        }
        Ok(Vec::new())
    }

    async fn load_lanes(&self, line: Line<'_>, ids: Vec<LaneId>) -> Attempted<()> {
        let found = Pipe::one(sql::LANE, params![ids]).rows(line).await?;
        if found.is_empty() {
            return Err(Error::database("a lane with ready tasks is missing").into());
        }
        let found = rows::all(&found, rows::lane)?;
        self.lanes.keep(found.iter().map(|lane| lane.id));
        self.lanes.learn(found);
        Ok(())
    }

    /// Takes from lanes of which some have a limited key: chooses over what is seen, then
    /// takes what no other has taken since.
    async fn contend(&self, line: Line<'_>) -> Attempted<Vec<Claimed>> {
        let mut taken = Vec::new();
        for _ in 0..ROUNDS {
            let left = self.limit - taken.len() as u32;
            let chosen = self.choose(line, left).await?;
            if chosen.tasks.is_empty() {
                break;
            }
            let wanted = chosen.tasks.len();
            let rows = self.take_chosen(line, chosen).await?;
            taken.extend(rows::all(&rows, rows::claimed)?);
            if rows.len() == wanted {
                break;
            }
        }
        taken.sort_by_key(|claimed: &Claimed| (claimed.task.priority, claimed.task.id));
        Ok(taken)
    }

    /// The rule of [`choose`](crate::model::choose) over the heads of the open lanes.
    async fn choose(&self, line: Line<'_>, left: u32) -> Attempted<Chosen> {
        let Reach { served, keyed, keys, .. } = self.lanes.reach(&self.claim.serves);
        let limit = i64::from(left);
        let mut pipe = Pipe::default();
        pipe.add(sql::LANE_HEAD, params![Time(self.now), served, keyed, keys.clone(), limit]);
        pipe.add(sql::SLOTS_FREE, params![keys, limit]);
        let answers = pipe.send(line).await?;
        let mut slots = Slots::read(&answers[1])?;
        let mut chosen = Chosen::default();
        for row in &answers[0] {
            let mut cells = Cells::new(row);
            let (lane, _priority, id) =
                (cells.next()?, cells.next::<i16>()?, cells.id::<TaskId>()?);
            if chosen.tasks.len() == left as usize {
                break;
            }
            if let Some(held) = slots.take(&self.lanes.keys_of(lane)) {
                chosen.add(id, held);
            }
        }
        Ok(chosen)
    }

    async fn take_chosen(&self, line: Line<'_>, chosen: Chosen) -> Attempted<Vec<Row>> {
        let (holder, seq) = (self.claim.instance.as_uuid(), self.claim.seq);
        let Chosen { tasks, holders, keys, numbers } = chosen;
        let params = params![Time(self.now), holder, seq, tasks, holders, keys, numbers];
        Pipe::one(sql::TAKE_SLOT, params).rows(line).await
    }
}

fn answer(rows: &[Row]) -> Result<Answer> {
    let mut first = Cells::new(only(rows.first())?);
    let unknown: Option<Vec<LaneId>> = first.next()?;
    let limited: bool = first.next()?;
    if let Some(lanes) = unknown {
        return Ok(Answer::Unknown(lanes));
    }
    if limited {
        return Ok(Answer::Limited);
    }
    if first.is_null()? {
        return Ok(Answer::Took(Vec::new()));
    }
    let read = |cells: &mut Cells<'_>| {
        cells.skip(2);
        rows::claimed(cells)
    };
    rows::all(rows, read).map(Answer::Took)
}

/// The free slots of limited keys. A key that is not here has no limit.
struct Slots(HashMap<String, Vec<i32>>);

impl Slots {
    fn read(rows: &[Row]) -> Result<Self> {
        let mut free: HashMap<String, Vec<i32>> = HashMap::new();
        // From the end, so that the smallest number is the last and is taken first.
        for row in rows.iter().rev() {
            let mut cells = Cells::new(row);
            let key: String = cells.next()?;
            free.entry(key).or_default().extend(cells.next::<Option<i32>>()?);
        }
        Ok(Self(free))
    }

    /// One slot of each of these keys that is limited, if all have one.
    fn take(&mut self, keys: &[String]) -> Option<Vec<(String, i32)>> {
        if keys.iter().any(|key| self.0.get(key).is_some_and(Vec::is_empty)) {
            return None;
        }
        let slot = |key: &String| Some((key.clone(), self.0.get_mut(key)?.pop()?));
        Some(keys.iter().filter_map(slot).collect())
    }
}

/// Tasks to take, and the slots for them as columns.
#[derive(Default)]
struct Chosen {
    tasks: Vec<Uuid>,
    holders: Vec<Uuid>,
    keys: Vec<String>,
    numbers: Vec<i32>,
}

impl Chosen {
    fn add(&mut self, task: TaskId, held: Vec<(String, i32)>) {
        self.tasks.push(task.as_uuid());
        for (key, number) in held {
            self.holders.push(task.as_uuid());
            self.keys.push(key);
            self.numbers.push(number);
        }
    }
}
