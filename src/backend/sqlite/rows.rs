//! Rows of SQLite as rows of the model, and back.

use std::collections::BTreeMap;

use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    id::{
        AgentSessionId, ArenaId, ChatId, InstanceId, ItemId, MessageId, ProcessId, RunId,
        SessionId, TaskId, TurnId,
    },
    model::{
        Answer, Attempt, AttemptOutcome, Band, CapacityKey, CapacityView, Chat, Cursor, Entry,
        Host, Instance, Item, ItemKind, ItemState, Lane, Memo, MemoKey, Message, Payload, Phase,
        Role, Route, Run, RunAttempt, RunFlags, RunSpec, RunState, Session, Slot, Step, StepKind,
        StepState, Stream, Task, TaskFlags, TaskOptions, TaskSpec, Terms,
    },
};

macro_rules! uuid_columns {
    ($($id:ty)+) => {$(
        impl ToSql for $id {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_uuid().as_bytes().to_vec().into())
            }
        }

        impl FromSql for $id {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let uuid = Uuid::from_slice(value.as_blob()?);
                uuid.map(Self::from).map_err(|error| FromSqlError::Other(Box::new(error)))
            }
        }
    )+};
}
uuid_columns! { TaskId RunId SessionId ChatId MessageId ItemId ArenaId InstanceId TurnId AgentSessionId ProcessId }

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_micros().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_micros)
    }
}

impl ToSql for Payload {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Payload {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self::trusted(value.as_str()?.to_owned()))
    }
}

/// The columns of a row, one after the other.
pub(super) struct Cells<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl<'a> Cells<'a> {
    pub fn new(row: &'a Row<'a>) -> Self {
        Self { row, at: 0 }
    }

    pub fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.at += 1;
        self.row.get(self.at - 1)
    }

    /// A number that stands for one of a type's values.
    pub fn number<T>(&mut self, known: fn(i64) -> Option<T>) -> rusqlite::Result<T> {
        let number = self.next()?;
        known(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(self.at - 1, number))
    }

    /// A name that stands for one of a type's values.
    pub fn name<T>(&mut self, known: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
        let name: String = self.next()?;
        known(&name).ok_or_else(|| self.unreadable(format!("unknown name `{name}`")))
    }

    /// JSON that the engine wrote.
    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        let text: String = self.next()?;
        serde_json::from_str(&text).map_err(|error| self.unreadable(error.to_string()))
    }

    /// JSON, or NULL for what says nothing.
    fn json_or_default<T: serde::de::DeserializeOwned + Default>(&mut self) -> rusqlite::Result<T> {
        let text: Option<String> = self.next()?;
        let value = text.map(|text| serde_json::from_str(&text)).transpose();
        value.map(Option::unwrap_or_default).map_err(|error| self.unreadable(error.to_string()))
    }

    fn labels(&mut self) -> rusqlite::Result<BTreeMap<String, String>> {
        let text: Option<String> = self.next()?;
        Ok(TaskSpec::labels_from_row(text.as_deref()))
    }

    fn options(&mut self) -> rusqlite::Result<TaskOptions> {
        let text: Option<String> = self.next()?;
        Ok(TaskOptions::from_row(text.as_deref()))
    }

    /// A run and the number of a step, where the run is not NULL.
    fn step(&mut self) -> rusqlite::Result<Option<(RunId, u32)>> {
        let run: Option<RunId> = self.next()?;
        let no: Option<u32> = self.next()?;
        Ok(run.zip(no))
    }

    fn unreadable(&self, message: String) -> rusqlite::Error {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(self.at - 1, kind, message.into())
    }
}

/// Labels for a row: NULL where there are none.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> Option<String> {
    (!labels.is_empty()).then(|| json(labels))
}

/// JSON of the engine's own values, which always have it.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the model's types have a JSON form")
}

/// A task, and where it belongs.
pub(super) fn route(row: &Row<'_>) -> rusqlite::Result<(TaskId, Route)> {
    let mut cells = Cells::new(row);
    let (id, step) = (cells.next()?, cells.step()?);
    let flags = TaskFlags::from_bits(cells.next()?);
    let (chat, agent): (Option<ChatId>, Option<String>) = (cells.next()?, cells.next()?);
    Ok((id, Route::of(id, step, flags, (chat, agent))))
}

pub(super) fn task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let mut cells = Cells::new(row);
    Ok(Task {
        id: cells.next()?,
        phase: cells.number(Phase::from_number)?,
        lane: cells.next()?,
        priority: cells.next()?,
        run_at: cells.next()?,
        attempt: cells.next()?,
        failures: cells.next()?,
        interruptions: cells.next()?,
        lease: cells.next()?,
        rev: cells.next()?,
        holder: cells.next()?,
        claim: cells.next()?,
        step: cells.step()?,
        flags: TaskFlags::from_bits(cells.next()?),
        started_at: cells.next()?,
        ended_at: cells.next()?,
    })
}

/// A cold row, and whether another program inserted it and it was not adopted yet.
pub(super) fn spec(row: &Row<'_>) -> rusqlite::Result<(TaskSpec, bool)> {
    let mut cells = Cells::new(row);
    let spec = TaskSpec {
        id: cells.next()?,
        project: cells.next()?,
        kind: cells.next()?,
        input: Payload::from_row(cells.next()?),
        priority: cells.next()?,
        run_at: cells.next()?,
        parent: cells.next()?,
        arena: cells.next()?,
        session: cells.next()?,
        chat: cells.next()?,
        step: cells.step()?,
        agent: cells.next()?,
        model: cells.next()?,
        mode: cells.next()?,
        thinking: cells.next()?,
        unique_key: cells.next()?,
        options: cells.options()?,
        labels: cells.labels()?,
        meta: cells.next::<Option<String>>()?.map(Payload::from_row),
        created_at: cells.next()?,
    };
    let origin: Option<String> = cells.next()?;
    Ok((spec, origin.is_none()))
}

pub(super) fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let mut cells = Cells::new(row);
    Ok(Attempt {
        task: cells.next()?,
        lease: cells.next()?,
        attempt: cells.next()?,
        holder: cells.next()?,
        started_at: cells.next()?,
        ended_at: cells.next()?,
        outcome: cells.number(AttemptOutcome::from_number)?,
        output: cells.next()?,
        error: cells.next()?,
        usage: cells.next()?,
        recalled: cells.next()?,
    })
}

pub(super) fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let mut cells = Cells::new(row);
    let (id, task, lease) = (cells.next()?, cells.next()?, cells.next()?);
    let kind = cells.name(ItemKind::from_name)?;
    let (key, body, options) = (cells.next()?, cells.next()?, cells.json()?);
    let state = cells.number(ItemState::from_number)?;
    let value: Option<Payload> = cells.next()?;
    let by: Option<String> = cells.next()?;
    let answer = value.zip(by).map(|(value, by)| Answer { value, by });
    let (created_at, answered_at) = (cells.next()?, cells.next()?);
    Ok(Item { id, task, lease, kind, key, body, options, state, answer, created_at, answered_at })
}

pub(super) fn unique(row: &Row<'_>) -> rusqlite::Result<((String, String), TaskId)> {
    Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
}

pub(super) fn capacity(row: &Row<'_>) -> rusqlite::Result<CapacityKey> {
    Ok(CapacityKey { name: row.get(0)?, slots: row.get(1)?, parked_until: row.get(2)? })
}

pub(super) fn capacity_view(row: &Row<'_>) -> rusqlite::Result<CapacityView> {
    let (held, waiting): (i64, i64) = (row.get(3)?, row.get(4)?);
    let (held, waiting) = (held.unsigned_abs(), waiting.unsigned_abs());
    Ok(CapacityView { key: capacity(row)?, held, waiting })
}

pub(super) fn slot(row: &Row<'_>) -> rusqlite::Result<Slot> {
    let task: Option<TaskId> = row.get(2)?;
    let lease: Option<i64> = row.get(3)?;
    Ok(Slot { key: row.get(0)?, n: row.get(1)?, held: task.zip(lease) })
}

pub(super) fn lane(row: &Row<'_>) -> rusqlite::Result<Lane> {
    let mut cells = Cells::new(row);
    Ok(Lane { id: cells.next()?, needs: cells.json()?, keys: cells.json()? })
}

pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let mut cells = Cells::new(row);
    Ok(Session {
        id: cells.next()?,
        project: cells.next()?,
        title: cells.next()?,
        meta: cells.next()?,
        created_at: cells.next()?,
    })
}

pub(super) fn chat(row: &Row<'_>) -> rusqlite::Result<Chat> {
    let mut cells = Cells::new(row);
    Ok(Chat {
        id: cells.next()?,
        project: cells.next()?,
        session: cells.next()?,
        title: cells.next()?,
        meta: cells.next()?,
        next_seq: cells.next()?,
        created_at: cells.next()?,
        forked_from: cells.next::<Option<ChatId>>()?.zip(cells.next()?),
    })
}

pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let mut cells = Cells::new(row);
    Ok(Message {
        chat: cells.next()?,
        seq: cells.next()?,
        id: cells.next()?,
        role: cells.name(Role::from_name)?,
        content: cells.next()?,
        task: cells.next()?,
        created_at: cells.next()?,
        parts: Vec::new(),
    })
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let mut cells = Cells::new(row);
    Ok(Run {
        id: cells.next()?,
        state: cells.number(RunState::from_number)?,
        flags: RunFlags::from_bits(cells.next()?),
        project: cells.next()?,
        priority: cells.next()?,
        open_steps: cells.next()?,
        failed_steps: cells.next()?,
        next_no: cells.next()?,
        attempt: cells.next()?,
        parent: cells.next()?,
        budget: cells.json_or_default()?,
        next_seq: cells.next()?,
        updated_at: cells.next()?,
        ended_at: cells.next()?,
    })
}

pub(super) fn run_spec(row: &Row<'_>) -> rusqlite::Result<RunSpec> {
    let mut cells = Cells::new(row);
    Ok(RunSpec {
        id: cells.next()?,
        project: cells.next()?,
        flow: cells.next()?,
        version: cells.next()?,
        band: cells.name(Band::from_name)?,
        model: cells.next()?,
        input: cells.next()?,
        definition: cells.next()?,
        labels: cells.labels()?,
        meta: cells.next()?,
        forked_from: cells.step()?,
        fingerprint: cells.next()?,
        base: cells.next()?,
        created_at: cells.next()?,
    })
}

pub(super) fn step(row: &Row<'_>) -> rusqlite::Result<Step> {
    let mut cells = Cells::new(row);
    Ok(Step {
        run: cells.next()?,
        no: cells.next()?,
        name: cells.next()?,
        kind: cells.number(StepKind::from_number)?,
        state: cells.number(StepState::from_number)?,
        waiting_on: cells.next()?,
        open_edges: cells.next()?,
        attempt: cells.next()?,
        task: cells.next()?,
        lane: cells.next()?,
        agent: cells.next()?,
        options: cells.options()?,
        policy: cells.json_or_default()?,
        reserved: cells.json_or_default()?,
        reason: cells.next()?,
        updated_at: cells.next()?,
    })
}

pub(super) fn edge(row: &Row<'_>) -> rusqlite::Result<((RunId, u32, u32), Terms)> {
    let mut cells = Cells::new(row);
    let key = (cells.next()?, cells.next()?, cells.next()?);
    Ok((key, cells.json_or_default()?))
}

pub(super) fn step_input(row: &Row<'_>) -> rusqlite::Result<((RunId, u32), Payload)> {
    Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
}

pub(super) fn memo(row: &Row<'_>) -> rusqlite::Result<Memo> {
    let mut cells = Cells::new(row);
    Ok(Memo { key: MemoKey::new(cells.next()?), task: cells.next()?, lease: cells.next()? })
}

pub(super) fn run_attempt(row: &Row<'_>) -> rusqlite::Result<RunAttempt> {
    let mut cells = Cells::new(row);
    Ok(RunAttempt {
        run: cells.next()?,
        attempt: cells.next()?,
        retry: cells.json_or_default()?,
        state: cells.number(RunState::from_number)?,
        started_at: cells.next()?,
        ended_at: cells.next()?,
    })
}

pub(super) fn instance(row: &Row<'_>) -> rusqlite::Result<Instance> {
    let mut cells = Cells::new(row);
    let id = cells.next()?;
    let (name, boot, pid) = (cells.next()?, cells.next()?, cells.next()?);
    let pid_start: i64 = cells.next()?;
    let host = Host { name, boot, pid, pid_start: pid_start as u64 };
    Ok(Instance { id, host, beat: cells.next()?, serves: cells.json()?, started_at: cells.next()? })
}

/// The number and id of a stream's owner, as they are stored.
pub(super) fn stream(stream: Stream) -> (i64, Vec<u8>) {
    match stream {
        Stream::All => (0, Vec::new()),
        Stream::Run(id) => (1, id.as_uuid().as_bytes().to_vec()),
        Stream::Chat(id) => (2, id.as_uuid().as_bytes().to_vec()),
    }
}

/// An entry, its cursor being its place among all entries.
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let mut cells = Cells::new(row);
    let cursor = Cursor { major: cells.next()?, minor: 0 };
    let kind: i64 = cells.next()?;
    let stream = match kind {
        1 => Stream::Run(cells.next()?),
        _ => Stream::Chat(cells.next()?),
    };
    Ok(Entry { stream, seq: cells.next()?, cursor, at: cells.next()?, events: cells.json()? })
}
