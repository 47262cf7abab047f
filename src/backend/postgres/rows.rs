//! Rows of PostgreSQL as rows of the model, and back.

use std::{collections::BTreeMap, error::Error as StdError};

use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked},
};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    error::{Error, Result},
    id::{RunId, TaskId},
    model::{
        Answer, Attempt, AttemptOutcome, Band, CapacityKey, CapacityView, Chat, Claimed, Cursor,
        Entry, Host, Instance, Item, ItemKind, ItemState, Lane, Memo, MemoKey, Message, Payload,
        Phase, Role, Route, Run, RunAttempt, RunFlags, RunSpec, RunState, Session, Slot, Step,
        StepKind, StepState, Stream, Task, TaskFlags, TaskOptions, TaskSpec, Terms,
    },
};

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;
/// The first and last moments that PostgreSQL can store, as it counts.
const FIRST: i64 = -211_813_488_000_000_000;
const LAST: i64 = 9_223_371_331_199_999_999;

/// A time as PostgreSQL keeps it, to the microsecond. What is later than it can store is
/// "infinity".
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub Timestamp);

impl ToSql for Time {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let micros = self.0.as_micros().saturating_sub(EPOCH);
        let micros = if micros > LAST { i64::MAX } else { micros.max(FIRST) };
        out.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(Timestamp::from_micros(micros.saturating_add(EPOCH))))
    }

    accepts!(TIMESTAMPTZ);
}

/// The columns of a row, one after the other.
pub(super) struct Cells<'a> {
    row: &'a Row,
    at: usize,
}

impl<'a> Cells<'a> {
    pub fn new(row: &'a Row) -> Self {
        Self { row, at: 0 }
    }

    pub fn next<T: FromSql<'a>>(&mut self) -> Result<T> {
        self.at += 1;
        self.row.try_get(self.at - 1).map_err(|error| {
            Error::database(format!("a row of an unexpected form: {error}")).caused_by(error)
        })
    }

    pub fn skip(&mut self, columns: usize) {
        self.at += columns;
    }

    /// Whether the next column is NULL; it stays the next.
    pub fn is_null(&mut self) -> Result<bool> {
        let id: Option<Uuid> = self.next()?;
        self.at -= 1;
        Ok(id.is_none())
    }

    pub fn id<T: From<Uuid>>(&mut self) -> Result<T> {
        self.next::<Uuid>().map(T::from)
    }

    pub fn id_or_null<T: From<Uuid>>(&mut self) -> Result<Option<T>> {
        Ok(self.next::<Option<Uuid>>()?.map(T::from))
    }

    pub fn time(&mut self) -> Result<Timestamp> {
        self.next::<Time>().map(|time| time.0)
    }

    pub fn time_or_null(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.next::<Option<Time>>()?.map(|time| time.0))
    }

    /// A count, which PostgreSQL keeps in a signed integer.
    pub fn count(&mut self) -> Result<u32> {
        self.next::<i32>().map(|number| number as u32)
    }

    fn bits(&mut self) -> Result<u16> {
        self.next::<i16>().map(|number| number as u16)
    }

    /// A number that stands for one of a type's values.
    pub fn number<T>(&mut self, known: fn(i64) -> Option<T>) -> Result<T> {
        let number: i16 = self.next()?;
        known(number.into()).ok_or_else(|| unreadable(format!("unknown number {number}")))
    }

    /// A name that stands for one of a type's values.
    pub fn name<T>(&mut self, known: fn(&str) -> Option<T>) -> Result<T> {
        let name: &str = self.next()?;
        known(name).ok_or_else(|| unreadable(format!("unknown name `{name}`")))
    }

    /// JSON that the engine wrote.
    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        let text: &str = self.next()?;
        serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))
    }

    /// JSON, or NULL for what says nothing.
    fn json_or_default<T: serde::de::DeserializeOwned + Default>(&mut self) -> Result<T> {
        let text: Option<&str> = self.next()?;
        let value = text.map(serde_json::from_str).transpose();
        value.map(Option::unwrap_or_default).map_err(|error| unreadable(error.to_string()))
    }

    pub fn payload(&mut self) -> Result<Payload> {
        self.next().map(Payload::trusted)
    }

    pub fn payload_or_null(&mut self) -> Result<Option<Payload>> {
        Ok(self.next::<Option<String>>()?.map(Payload::trusted))
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>> {
        let text: Option<&str> = self.next()?;
        Ok(TaskSpec::labels_from_row(text))
    }

    fn options(&mut self) -> Result<TaskOptions> {
        let text: Option<&str> = self.next()?;
        Ok(TaskOptions::from_row(text))
    }

    /// A run and the number of a step, where the run is not NULL.
    fn step(&mut self) -> Result<Option<(RunId, u32)>> {
        let run: Option<RunId> = self.id_or_null()?;
        let no: Option<i32> = self.next()?;
        Ok(run.zip(no.map(|no| no as u32)))
    }
}

pub(super) fn unreadable(message: String) -> Error {
    Error::database(format!("a row holds what it can't: {message}"))
}

/// Labels for a row: NULL where there are none.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> Option<String> {
    (!labels.is_empty()).then(|| json(labels))
}

/// JSON of the engine's own values, which always have it.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the model's types have a JSON form")
}

/// How many columns a hot row of a task has.
pub(super) const TASK_COLUMNS: usize = 17;

/// A task, and where it belongs.
pub(super) fn route(cells: &mut Cells<'_>) -> Result<(TaskId, Route)> {
    let (id, step) = (cells.id()?, cells.step()?);
    let flags = TaskFlags::from_bits(cells.next::<i16>()? as u16);
    Ok((id, Route::of(id, step, flags, (cells.id_or_null()?, cells.next()?))))
}

pub(super) fn task(cells: &mut Cells<'_>) -> Result<Task> {
    Ok(Task {
        id: cells.id()?,
        phase: cells.number(Phase::from_number)?,
        lane: cells.next()?,
        priority: cells.next()?,
        run_at: cells.time()?,
        attempt: cells.count()?,
        failures: cells.count()?,
        interruptions: cells.count()?,
        lease: cells.next()?,
        rev: cells.next()?,
        holder: cells.id_or_null()?,
        claim: cells.next()?,
        step: cells.step()?,
        flags: TaskFlags::from_bits(cells.bits()?),
        started_at: cells.time()?,
        ended_at: cells.time()?,
    })
}

/// A cold row, and whether another program inserted it and it was not adopted yet.
pub(super) fn spec(cells: &mut Cells<'_>) -> Result<(TaskSpec, bool)> {
    let spec = TaskSpec {
        id: cells.id()?,
        project: cells.next()?,
        kind: cells.next()?,
        input: Payload::from_row(cells.next()?),
        priority: cells.next()?,
        run_at: cells.time_or_null()?,
        parent: cells.id_or_null()?,
        arena: cells.id_or_null()?,
        session: cells.id_or_null()?,
        chat: cells.id_or_null()?,
        step: cells.step()?,
        agent: cells.next()?,
        model: cells.next()?,
        mode: cells.next()?,
        thinking: cells.next()?,
        unique_key: cells.next()?,
        options: cells.options()?,
        labels: cells.labels()?,
        meta: cells.next::<Option<String>>()?.map(Payload::from_row),
        created_at: cells.time()?,
    };
    let origin: Option<&str> = cells.next()?;
    Ok((spec, origin.is_none()))
}

pub(super) fn claimed(cells: &mut Cells<'_>) -> Result<Claimed> {
    Ok(Claimed { task: task(cells)?, spec: spec(cells)?.0 })
}

pub(super) fn attempt(cells: &mut Cells<'_>) -> Result<Attempt> {
    Ok(Attempt {
        task: cells.id()?,
        lease: cells.next()?,
        attempt: cells.count()?,
        holder: cells.id_or_null()?,
        started_at: cells.time()?,
        ended_at: cells.time()?,
        outcome: cells.number(AttemptOutcome::from_number)?,
        output: cells.payload_or_null()?,
        error: cells.next()?,
        usage: cells.payload_or_null()?,
        recalled: cells.id_or_null()?,
    })
}

pub(super) fn item(cells: &mut Cells<'_>) -> Result<Item> {
    let (id, task, lease) = (cells.id()?, cells.id()?, cells.next()?);
    let kind = cells.name(ItemKind::from_name)?;
    let (key, body, options) = (cells.next()?, cells.payload()?, cells.json()?);
    let state = cells.number(ItemState::from_number)?;
    let value = cells.payload_or_null()?;
    let by: Option<String> = cells.next()?;
    let answer = value.zip(by).map(|(value, by)| Answer { value, by });
    let (created_at, answered_at) = (cells.time()?, cells.time()?);
    Ok(Item { id, task, lease, kind, key, body, options, state, answer, created_at, answered_at })
}

pub(super) fn capacity(cells: &mut Cells<'_>) -> Result<CapacityKey> {
    let name = cells.next()?;
    let slots = cells.next::<Option<i32>>()?.map(|slots| slots as u32);
    Ok(CapacityKey { name, slots, parked_until: cells.time()? })
}

pub(super) fn capacity_view(cells: &mut Cells<'_>) -> Result<CapacityView> {
    let key = capacity(cells)?;
    let (held, waiting): (i64, i64) = (cells.next()?, cells.next()?);
    Ok(CapacityView { key, held: held.unsigned_abs(), waiting: waiting.unsigned_abs() })
}

pub(super) fn slot(cells: &mut Cells<'_>) -> Result<Slot> {
    let (key, n) = (cells.next()?, cells.count()?);
    let task = cells.id_or_null()?;
    let lease: Option<i64> = cells.next()?;
    Ok(Slot { key, n, held: task.zip(lease) })
}

pub(super) fn lane(cells: &mut Cells<'_>) -> Result<Lane> {
    Ok(Lane { id: cells.next()?, needs: cells.json()?, keys: cells.json()? })
}

pub(super) fn session(cells: &mut Cells<'_>) -> Result<Session> {
    Ok(Session {
        id: cells.id()?,
        project: cells.next()?,
        title: cells.next()?,
        meta: cells.payload_or_null()?,
        created_at: cells.time()?,
    })
}

pub(super) fn chat(cells: &mut Cells<'_>) -> Result<Chat> {
    Ok(Chat {
        id: cells.id()?,
        project: cells.next()?,
        session: cells.id_or_null()?,
        title: cells.next()?,
        meta: cells.payload_or_null()?,
        next_seq: cells.next()?,
        created_at: cells.time()?,
        forked_from: cells.id_or_null()?.zip(cells.next()?),
    })
}

pub(super) fn message(cells: &mut Cells<'_>) -> Result<Message> {
    Ok(Message {
        chat: cells.id()?,
        seq: cells.next()?,
        id: cells.id()?,
        role: cells.name(Role::from_name)?,
        content: cells.payload()?,
        task: cells.id_or_null()?,
        created_at: cells.time()?,
        parts: Vec::new(),
    })
}

pub(super) fn run(cells: &mut Cells<'_>) -> Result<Run> {
    Ok(Run {
        id: cells.id()?,
        state: cells.number(RunState::from_number)?,
        flags: RunFlags::from_bits(cells.bits()?),
        project: cells.next()?,
        priority: cells.next()?,
        open_steps: cells.count()?,
        failed_steps: cells.count()?,
        next_no: cells.count()?,
        attempt: cells.count()?,
        parent: cells.id_or_null()?,
        budget: cells.json_or_default()?,
        next_seq: cells.next()?,
        updated_at: cells.time()?,
        ended_at: cells.time()?,
    })
}

pub(super) fn run_spec(cells: &mut Cells<'_>) -> Result<RunSpec> {
    Ok(RunSpec {
        id: cells.id()?,
        project: cells.next()?,
        flow: cells.next()?,
        version: cells.count()?,
        band: cells.name(Band::from_name)?,
        model: cells.next()?,
        input: cells.payload()?,
        definition: cells.payload()?,
        labels: cells.labels()?,
        meta: cells.payload_or_null()?,
        forked_from: cells.step()?,
        fingerprint: cells.next()?,
        base: cells.next()?,
        created_at: cells.time()?,
    })
}

pub(super) fn step(cells: &mut Cells<'_>) -> Result<Step> {
    Ok(Step {
        run: cells.id()?,
        no: cells.count()?,
        name: cells.next()?,
        kind: cells.number(StepKind::from_number)?,
        state: cells.number(StepState::from_number)?,
        waiting_on: cells.count()?,
        open_edges: cells.count()?,
        attempt: cells.count()?,
        task: cells.id_or_null()?,
        lane: cells.next()?,
        agent: cells.next()?,
        options: cells.options()?,
        policy: cells.json_or_default()?,
        reserved: cells.json_or_default()?,
        reason: cells.next()?,
        updated_at: cells.time()?,
    })
}

pub(super) fn edge(cells: &mut Cells<'_>) -> Result<((RunId, u32, u32), Terms)> {
    let key = (cells.id()?, cells.count()?, cells.count()?);
    Ok((key, cells.json_or_default()?))
}

pub(super) fn step_input(cells: &mut Cells<'_>) -> Result<((RunId, u32), Payload)> {
    Ok(((cells.id()?, cells.count()?), cells.payload()?))
}

pub(super) fn memo(cells: &mut Cells<'_>) -> Result<Memo> {
    let key: &[u8] = cells.next()?;
    let key = key.try_into().map_err(|_| unreadable("a key of another length".into()))?;
    Ok(Memo { key: MemoKey::new(key), task: cells.id()?, lease: cells.next()? })
}

pub(super) fn run_attempt(cells: &mut Cells<'_>) -> Result<RunAttempt> {
    Ok(RunAttempt {
        run: cells.id()?,
        attempt: cells.count()?,
        retry: cells.json_or_default()?,
        state: cells.number(RunState::from_number)?,
        started_at: cells.time()?,
        ended_at: cells.time()?,
    })
}

pub(super) fn instance(cells: &mut Cells<'_>) -> Result<Instance> {
    let id = cells.id()?;
    let (name, boot, pid) = (cells.next()?, cells.next()?, cells.count()?);
    let pid_start: i64 = cells.next()?;
    let host = Host { name, boot, pid, pid_start: pid_start as u64 };
    Ok(Instance { id, host, beat: cells.next()?, serves: cells.json()?, started_at: cells.time()? })
}

/// The number and id of a stream's owner, as they are stored.
pub(super) fn stream(stream: Stream) -> (i16, Uuid) {
    match stream {
        Stream::All => (0, Uuid::nil()),
        Stream::Run(id) => (1, id.as_uuid()),
        Stream::Chat(id) => (2, id.as_uuid()),
    }
}

/// An entry, its cursor being its place among all entries.
pub(super) fn entry(cells: &mut Cells<'_>) -> Result<Entry> {
    let cursor = Cursor { major: cells.next()?, minor: cells.next()? };
    let kind: i16 = cells.next()?;
    let stream = match kind {
        1 => Stream::Run(cells.id()?),
        _ => Stream::Chat(cells.id()?),
    };
    Ok(Entry { stream, seq: cells.next()?, cursor, at: cells.time()?, events: cells.json()? })
}

/// Reads all rows of an answer.
pub(super) fn all<T>(rows: &[Row], read: fn(&mut Cells<'_>) -> Result<T>) -> Result<Vec<T>> {
    rows.iter().map(|row| read(&mut Cells::new(row))).collect()
}
