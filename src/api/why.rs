//! Why a task is not done.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{
    clock::Timestamp,
    engine::Core,
    error::{Error, Result},
    id::{InstanceId, ItemId, RunId, TaskId},
    model::{
        Instance, ItemState, Lane, Needs, Page, Phase, Query, Rows, RunFlags, Task, TaskFilter,
        TaskFlags, TaskState,
    },
};

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Nothing: it has ended.
    Ended(TaskState),
    /// Nothing: a worker has it.
    Running {
        /// The instance that runs it.
        holder: Option<InstanceId>,
        /// Whether someone asked to cancel it.
        cancelling: bool,
    },
    /// A worker with a free place: it is its turn, or soon.
    Worker,
    /// Another program inserted it, and no engine has taken it in yet.
    Adoption,
    /// Its time.
    Time(Timestamp),
    /// The time of its next attempt, after so many failures.
    Retry {
        /// The time.
        at: Timestamp,
        /// How often it has failed.
        failures: u32,
    },
    /// A person to resume it.
    Paused,
    /// A person to resume its run.
    RunPaused(RunId),
    /// Answers to these items of the inbox.
    Answer(Vec<ItemId>),
    /// A free slot of a capacity key.
    Capacity {
        /// The key.
        key: String,
        /// How many may hold it.
        slots: u32,
    },
    /// The end of a parking.
    Parked {
        /// The key.
        key: String,
        /// The time.
        until: Timestamp,
    },
    /// A worker with this code: `task:NAME`, `agent:NAME` or `flow:NAME@VERSION`. None that
    /// lives has it.
    CodeMissing(String),
    /// A worker with this tag. None that lives has it.
    NoWorkerWithTag(String),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(state) => write!(f, "it has ended: {state:?}"),
            Self::Running { cancelling: true, .. } => f.write_str("it runs, and was told to stop"),
            Self::Running { .. } => f.write_str("it runs"),
            Self::Worker => f.write_str("a worker with a free place"),
            Self::Adoption => f.write_str("an engine to take it in"),
            Self::Time(time) => write!(f, "its time, {time}"),
            Self::Retry { at, failures } => {
                write!(f, "its next attempt at {at}, after {failures} failures")
            }
            Self::Paused => f.write_str("someone to resume it"),
            Self::RunPaused(run) => write!(f, "someone to resume run {run}"),
            Self::Answer(items) => write!(f, "{} answers in the inbox", items.len()),
            Self::Capacity { key, slots } => write!(f, "a free slot of `{key}`, which has {slots}"),
            Self::Parked { key, until } => write!(f, "`{key}`, which is parked until {until}"),
            Self::CodeMissing(need) => write!(f, "a worker that has the code of `{need}`"),
            Self::NoWorkerWithTag(tag) => write!(f, "a worker with the tag `{tag}`"),
        }
    }
}

/// Why the task is not done.
pub(super) async fn why(core: &Arc<Core>, id: TaskId) -> Result<Waiting> {
    let ids = || [id].into();
    let needs = Needs { tasks: ids(), specs: ids(), items_of: ids(), ..Needs::default() };
    let rows = core.backend.read(&needs).await?;
    let Some(task) = rows.tasks.get(&id) else {
        let known = rows.specs.contains_key(&id);
        return if known { Ok(Waiting::Adoption) } else { Err(Core::missing("task", id)) };
    };
    match task.phase {
        Phase::Ready => ready(core, task).await,
        Phase::Paused => paused(core, task).await,
        _ => Ok(of_row(task, &rows)),
    }
}

/// What the row alone says.
fn of_row(task: &Task, rows: &Rows) -> Waiting {
    match task.phase {
        Phase::Running => {
            Waiting::Running { holder: task.holder, cancelling: task.flags.has(TaskFlags::CANCEL) }
        }
        Phase::Scheduled if task.failures > 0 => {
            Waiting::Retry { at: task.run_at, failures: task.failures }
        }
        Phase::Scheduled => Waiting::Time(task.run_at),
        Phase::Blocked => {
            let open = rows.items.values().filter(|item| item.state == ItemState::Open);
            Waiting::Answer(open.map(|item| item.id).collect())
        }
        Phase::Paused => Waiting::Paused,
        Phase::Waiting | Phase::Ready => Waiting::Worker,
        Phase::Completed | Phase::Failed | Phase::Cancelled => Waiting::Ended(task.state()),
    }
}

async fn paused(core: &Arc<Core>, task: &Task) -> Result<Waiting> {
    let Some((run, _)) = task.step.filter(|_| !task.flags.has(TaskFlags::PAUSED)) else {
        return Ok(Waiting::Paused);
    };
    let rows = core.backend.read(&Needs { runs: [run].into(), ..Needs::default() }).await?;
    let by_run = rows.runs.get(&run).is_some_and(|run| run.flags.has(RunFlags::PAUSED));
    Ok(if by_run { Waiting::RunPaused(run) } else { Waiting::Paused })
}

/// Why nobody has claimed a task that is ready.
async fn ready(core: &Arc<Core>, task: &Task) -> Result<Waiting> {
    let lanes = Needs { lanes: [task.lane].into(), ..Needs::default() };
    let rows = core.backend.read(&lanes).await?;
    let Some(lane) = rows.lanes.get(&task.lane) else {
        return Ok(Waiting::Worker);
    };
    if let Some(missing) = unserved(lane, &instances(core).await?) {
        return Ok(missing);
    }
    let capacity = lane.keys.iter().cloned().collect();
    let rows = core.backend.read(&Needs { capacity, ..Needs::default() }).await?;
    let now = core.backend.clock().now();
    Ok(closed(&rows, now).unwrap_or(Waiting::Worker))
}

async fn instances(core: &Arc<Core>) -> Result<Vec<Instance>> {
    match core.backend.list(&Query::Instances).await? {
        Page::Instances(instances) => Ok(instances),
        _ => Err(Error::database("a list of instances was answered with another")),
    }
}

/// What no instance has of what a lane needs.
fn unserved(lane: &Lane, instances: &[Instance]) -> Option<Waiting> {
    if instances.iter().any(|instance| lane.served_by(&instance.serves)) {
        return None;
    }
    let served: BTreeSet<&String> =
        instances.iter().flat_map(|instance| &instance.serves).collect();
    let missing = lane.needs.iter().find(|need| !served.contains(need));
    let need = missing.or(lane.needs.first())?;
    Some(match need.strip_prefix("tag:") {
        Some(tag) => Waiting::NoWorkerWithTag(tag.to_owned()),
        None => Waiting::CodeMissing(need.clone()),
    })
}

/// The capacity key that lets nothing through.
fn closed(rows: &Rows, now: Timestamp) -> Option<Waiting> {
    rows.capacity.values().find_map(|key| {
        if key.parked_until > now {
            return Some(Waiting::Parked { key: key.name.clone(), until: key.parked_until });
        }
        let slots = key.slots?;
        let of_key = rows.slots.values().filter(|slot| slot.key == key.name);
        let held = of_key.filter(|slot| slot.held.is_some()).count() as u32;
        (held >= slots).then(|| Waiting::Capacity { key: key.name.clone(), slots })
    })
}

/// Every task that will not move by itself, with what it waits for.
pub(super) async fn stuck(core: &Arc<Core>) -> Result<Vec<(TaskId, Waiting)>> {
    let states = vec![TaskState::Pending, TaskState::Blocked];
    let (mut stuck, mut after) = (Vec::new(), None);
    loop {
        let filter = TaskFilter { states: states.clone(), ..TaskFilter::default() };
        let query = Query::Tasks { filter, after, limit: 500 };
        let Page::Tasks(tasks) = core.backend.list(&query).await? else {
            return Err(Error::database("a list of tasks was answered with another"));
        };
        let Some(last) = tasks.last() else {
            return Ok(stuck);
        };
        after = Some(last.spec.id);
        for task in &tasks {
            let reason = why(core, task.spec.id).await?;
            if !moves_by_itself(&reason) {
                stuck.push((task.spec.id, reason));
            }
        }
    }
}

fn moves_by_itself(reason: &Waiting) -> bool {
    use Waiting::*;
    matches!(reason, Ended(_) | Running { .. } | Worker | Adoption | Time(_) | Retry { .. })
}
