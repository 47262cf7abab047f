//! A run as one value that can be kept outside the database.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{InstanceId, RunId, TaskId},
    model::{
        Attempt, AttemptOutcome, Band, Budget, Entry, Event, Payload, Phase, Policy, Rows, Run,
        RunFlags, RunSpec, RunState, Step, StepKind, StepState, Task, TaskOptions, TaskState,
        Terms, Usage,
    },
};

/// Everything that is known of a run, as of one moment: see
/// [`Run::record`](crate::Run::record).
///
/// It is written and read by serde as JSON. Inputs, outputs, usage and `meta` stand in it as
/// the JSON that they are, whole, however large. Times are microseconds since 1970 (UTC).
/// Fields may be added to a format; one that changes its meaning or goes makes a new
/// [`RecordFormat`].
///
/// ```json
/// {
///   "format": "segue.run/1",
///   "read_at": 1767225600000000,
///   "run": { "id": "..", "flow": "greet", "version": 1, "state": "completed", "input": {"who": "Ada"}, .. },
///   "steps": [
///     { "no": 0, "name": "hello", "kind": "code", "state": "completed",
///       "task": { "id": "..", "state": "completed", "released_at": 1767225600000000, "attempts": [
///         { "attempt": 1, "lease": 1, "started_at": .., "ended_at": .., "outcome": "completed", "output": "hello Ada" }
///       ], .. }, .. }
///   ],
///   "edges": [ { "from": 0, "to": 1 } ],
///   "events": [ { "seq": 1, "at": .., "events": [ { "type": "run_launched", .. } ] } ]
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The format it is written in.
    pub format: RecordFormat,
    /// When it was read: the end of what has not ended.
    pub read_at: Timestamp,
    /// The run.
    pub run: RunInfo,
    /// Its steps, by number.
    pub steps: Vec<StepRecord>,
    /// What depends on what.
    pub edges: Vec<Edge>,
    /// What watchers were told, in order, as far as it is kept.
    pub events: Vec<EntryRecord>,
}

/// The formats of a [`RunRecord`]. One that is not known here can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RecordFormat {
    /// The first.
    #[default]
    #[serde(rename = "segue.run/1")]
    V1,
}

/// What a run was launched with, and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id.
    pub id: RunId,
    /// The host's project.
    pub project: String,
    /// The flow's name.
    pub flow: String,
    /// The flow's version.
    pub version: u32,
    /// How wide.
    pub band: Band,
    /// The model that its agents use unless a step says otherwise.
    pub model: Option<String>,
    /// Of its tasks: smaller runs first.
    pub priority: i16,
    /// What it was launched with.
    #[serde(with = "json")]
    pub input: Payload,
    /// The fingerprint of the code that its steps need.
    #[serde(default)]
    pub fingerprint: String,
    /// The state of the files that it works on, as the host names it.
    #[serde(default)]
    pub base: Option<String>,
    /// The host's labels.
    pub labels: BTreeMap<String, String>,
    /// The host's own data.
    #[serde(default, with = "maybe_json", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Payload>,
    /// The number of the step whose output it returns; None: its input.
    pub returns: Option<u32>,
    /// The number of the step whose output is its report.
    pub reports: Option<u32>,
    /// Its state.
    pub state: RunState,
    /// Nothing of it starts until it is resumed.
    pub paused: bool,
    /// Someone asked to cancel it.
    pub cancelling: bool,
    /// How often it was begun: 1, and one more with each retry.
    pub attempt: u32,
    /// The task that waits for its end: a step of another run.
    pub parent: Option<TaskId>,
    /// The run and step that it was forked from.
    pub forked_from: Option<(RunId, u32)>,
    /// What it may use, where that is limited.
    pub budget: Option<Budget>,
    /// When it was launched.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its number in the run, from 0.
    pub no: u32,
    /// Its name, unique in the run.
    pub name: String,
    /// What does it.
    pub kind: StepKind,
    /// The agent that does it.
    pub agent: Option<String>,
    /// The options of its task.
    pub options: TaskOptions,
    /// What it was told besides its dependencies.
    pub policy: Policy,
    /// The attempt of the run in which it was last begun. 0: in the run that this one was
    /// forked from.
    pub attempt: u32,
    /// What it may still use of its run's budget.
    pub reserved: Option<Usage>,
    /// Its state.
    pub state: StepState,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its task, once it was released.
    pub task: Option<TaskRecord>,
}

/// The task of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// Its state.
    pub state: TaskState,
    /// When it was put into the queue.
    pub released_at: Timestamp,
    /// Not before this time, while it waits for one.
    pub due_at: Option<Timestamp>,
    /// When the attempt started that runs now.
    pub running_since: Option<Timestamp>,
    /// Who runs it.
    pub holder: Option<InstanceId>,
    /// The run that it launched under itself.
    pub run: Option<RunId>,
    /// How often it failed.
    pub failures: u32,
    /// How often its worker died.
    pub interruptions: u32,
    /// Its attempts that ended, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

/// An attempt that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number, for people. Work that was returned is not counted.
    pub attempt: u32,
    /// The number of its claim: unique for the task, and growing.
    pub lease: i64,
    /// Who ran it.
    pub holder: Option<InstanceId>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: AttemptOutcome,
    /// What it returned.
    #[serde(default, with = "maybe_json", skip_serializing_if = "Option::is_none")]
    pub output: Option<Payload>,
    /// What went wrong.
    pub error: Option<String>,
    /// What it used.
    #[serde(default, with = "maybe_json", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Payload>,
    /// The task whose output it took instead of doing the work again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<TaskId>,
}

/// One step depends on another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The number of the step that ends first.
    pub from: u32,
    /// The number of the step that depends on it.
    pub to: u32,
    /// What it asks for, where that is more or less than completion.
    #[serde(default, skip_serializing_if = "Terms::are_plain")]
    pub terms: Terms,
}

/// What one commit did to the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Its number in the run.
    pub seq: i64,
    /// When it was committed.
    pub at: Timestamp,
    /// What happened.
    pub events: Vec<Event>,
}

/// The rows that a record is made of.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub run: &'a Run,
    pub spec: &'a RunSpec,
    /// With the run's steps and edges, its tasks (hot and cold rows, and attempts), and the
    /// runs under them.
    pub rows: &'a Rows,
    pub entries: Vec<Entry>,
    /// See [`RunInfo`].
    pub returns: Option<u32>,
    /// See [`RunInfo`].
    pub reports: Option<u32>,
    pub now: Timestamp,
}

impl RunRecord {
    pub(crate) fn of(sources: Sources<'_>) -> Self {
        let (rows, id) = (sources.rows, sources.run.id);
        let steps = rows.steps.range((id, 0)..=(id, u32::MAX)).map(|(_, step)| step);
        let edges = rows.edges.range((id, 0, 0)..=(id, u32::MAX, u32::MAX));
        let edge = |(key, terms): (&(RunId, u32, u32), &Terms)| Edge {
            from: key.1,
            to: key.2,
            terms: terms.clone(),
        };
        let under = rows.runs.values().filter_map(|run| Some((run.parent?, run.id)));
        let under: BTreeMap<_, _> = under.collect();
        // Later ones came after the rows were read.
        let known = |entry: &Entry| entry.seq < sources.run.next_seq;
        Self {
            format: RecordFormat::V1,
            read_at: sources.now,
            run: info(&sources),
            steps: steps.map(|step| step_record(step, rows, &under)).collect(),
            edges: edges.map(edge).collect(),
            events: sources.entries.into_iter().filter(known).map(entry_record).collect(),
        }
    }

    /// As JSON, in lines for people.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has a JSON form")
    }

    /// From JSON.
    ///
    /// # Errors
    /// When it is not a record, or one of a format that is not known here.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// When it ended, or was read.
    pub(super) fn end(&self) -> Timestamp {
        self.run.ended_at.unwrap_or(self.read_at)
    }
}

impl StepRecord {
    /// How long its attempts worked, until `now` where one still does.
    pub(super) fn worked(&self, now: Timestamp) -> Duration {
        let Some(task) = &self.task else {
            return Duration::ZERO;
        };
        let ended = task.attempts.iter().map(|row| row.ended_at.since(row.started_at));
        ended.chain(task.running_since.map(|start| now.since(start))).sum()
    }

    /// How many attempts there were, with the one that runs.
    pub(super) fn attempts(&self) -> usize {
        self.task
            .as_ref()
            .map_or(0, |task| task.attempts.len() + usize::from(task.running_since.is_some()))
    }

    /// Whether it waits for a run under it.
    pub(super) fn awaits(&self) -> bool {
        let task = self.task.as_ref().filter(|task| task.state == TaskState::Pending);
        let last = task.and_then(|task| task.attempts.last());
        last.is_some_and(|row| row.outcome == AttemptOutcome::Awaited)
    }

    /// The task whose output it took, if it did.
    pub(super) fn recalled(&self) -> Option<TaskId> {
        self.task.as_ref()?.attempts.last()?.recalled
    }

    /// What it returned, if it completed.
    pub(super) fn output(&self) -> Option<&Payload> {
        let attempts = self.task.iter().flat_map(|task| task.attempts.iter().rev());
        let mut completed = attempts.filter(|row| row.outcome == AttemptOutcome::Completed);
        completed.next().and_then(|row| row.output.as_ref())
    }

    /// What went wrong last.
    pub(super) fn error(&self) -> Option<&str> {
        let attempts = self.task.iter().flat_map(|task| task.attempts.iter().rev());
        let last = attempts.filter_map(|row| row.error.as_deref()).next();
        self.reason.as_deref().or(last)
    }
}

fn info(sources: &Sources<'_>) -> RunInfo {
    let Sources { run, spec, .. } = sources;
    RunInfo {
        id: run.id,
        project: spec.project.clone(),
        flow: spec.flow.clone(),
        version: spec.version,
        band: spec.band,
        model: spec.model.clone(),
        priority: run.priority,
        input: bare(&spec.input),
        fingerprint: spec.fingerprint.clone(),
        base: spec.base.clone(),
        labels: spec.labels.clone(),
        meta: spec.meta.as_ref().map(bare),
        returns: sources.returns,
        reports: sources.reports,
        state: run.state,
        paused: run.flags.has(RunFlags::PAUSED),
        cancelling: run.flags.has(RunFlags::CANCELLING),
        attempt: run.attempt,
        parent: run.parent,
        forked_from: spec.forked_from,
        budget: run.budget.clone(),
        created_at: spec.created_at,
        ended_at: run.state.is_terminal().then_some(run.ended_at),
    }
}

fn step_record(step: &Step, rows: &Rows, under: &BTreeMap<TaskId, RunId>) -> StepRecord {
    let task = step.task.and_then(|id| task_record(rows.tasks.get(&id)?, rows));
    let run = step.task.and_then(|task| under.get(&task).copied());
    let task = task.map(|task| TaskRecord { run, ..task });
    StepRecord {
        no: step.no,
        name: step.name.clone(),
        kind: step.kind,
        agent: step.agent.clone(),
        options: step.options.clone(),
        policy: step.policy.clone(),
        attempt: step.attempt,
        reserved: step.reserved,
        state: step.state,
        reason: step.reason.clone(),
        updated_at: step.updated_at,
        task,
    }
}

fn task_record(task: &Task, rows: &Rows) -> Option<TaskRecord> {
    let attempts = rows.attempts.range((task.id, 0)..=(task.id, i64::MAX));
    let runs = task.phase == Phase::Running;
    Some(TaskRecord {
        id: task.id,
        state: task.state(),
        released_at: rows.specs.get(&task.id)?.created_at,
        due_at: (task.phase == Phase::Scheduled).then_some(task.run_at),
        running_since: runs.then_some(task.started_at),
        holder: task.holder,
        run: None,
        failures: task.failures,
        interruptions: task.interruptions,
        attempts: attempts.map(|(_, attempt)| attempt_record(attempt)).collect(),
    })
}

fn attempt_record(attempt: &Attempt) -> AttemptRecord {
    AttemptRecord {
        attempt: attempt.attempt,
        lease: attempt.lease,
        holder: attempt.holder,
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        outcome: attempt.outcome,
        output: attempt.output.as_ref().map(bare),
        error: attempt.error.clone(),
        usage: attempt.usage.as_ref().map(bare),
        recalled: attempt.recalled,
    }
}

fn entry_record(entry: Entry) -> EntryRecord {
    EntryRecord { seq: entry.seq, at: entry.at, events: entry.events }
}

/// Without the blanks around it, which JSON within JSON does not keep.
fn bare(payload: &Payload) -> Payload {
    match payload.as_str().trim() {
        text if text.len() == payload.as_str().len() => payload.clone(),
        text => Payload::trusted(text.to_owned()),
    }
}

/// A payload as the JSON that it is.
mod json {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    use crate::model::Payload;

    pub fn serialize<S: Serializer>(payload: &Payload, to: S) -> Result<S::Ok, S::Error> {
        let raw: Result<&RawValue, _> = serde_json::from_str(payload.as_str());
        raw.map_err(serde::ser::Error::custom)?.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Payload, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Ok(Payload::trusted(String::from(Box::<str>::from(raw))))
    }
}

/// The same for one that may be missing, which is not the same as one that is `null`.
mod maybe_json {
    use serde::{Deserializer, Serializer};

    use super::json;
    use crate::model::Payload;

    pub fn serialize<S: Serializer>(payload: &Option<Payload>, to: S) -> Result<S::Ok, S::Error> {
        match payload {
            Some(payload) => json::serialize(payload, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Payload>, D::Error> {
        json::deserialize(from).map(Some)
    }
}
