//! Why a task is not done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use crate::{
    clock::Timestamp,
    engine::Core,
    error::{Error, Result},
    id::{InstanceId, ItemId, RunId, TaskId},
    model::{
        Instance, ItemState, Lane, LaneId, LineId, Needs, Page, Phase, Prompt, Query, Rows,
        RunFlags, Task, TaskFilter, TaskFlags, TaskState, flow_label,
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
    /// The end of a run that it launched under itself: [`Run::why`](crate::Run::why) says more.
    Run(RunId),
    /// The end of another prompt to the same agent in the same chat, which is the first in line.
    Prompt(TaskId),
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
    /// A worker with the steps that this flow, `flow:NAME@VERSION`, had when the run was launched.
    /// Those that live have other steps under the same version.
    CodeChanged(String),
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
            Self::Run(run) => write!(f, "the end of run {run}"),
            Self::Prompt(task) => write!(f, "the end of prompt {task}, which comes before it"),
            Self::Answer(items) => write!(f, "{} answers in the inbox", items.len()),
            Self::Capacity { key, slots } => write!(f, "a free slot of `{key}`, which has {slots}"),
            Self::Parked { key, until } => write!(f, "`{key}`, which is parked until {until}"),
            Self::CodeMissing(need) => write!(f, "a worker that has the code of `{need}`"),
            Self::CodeChanged(need) => write!(
                f,
                "a worker that has `{need}` with the steps it had when the run was launched; \
                 flows whose steps change need another version"
            ),
            Self::NoWorkerWithTag(tag) => write!(f, "a worker with the tag `{tag}`"),
        }
    }
}

impl Waiting {
    /// Whether it will go on without anyone doing anything, as far as can be seen. What waits
    /// for a place that others hold, or for a parking to end, does not. What waits for a run
    /// under it or for another prompt does: whether those move, their own tasks say.
    pub fn moves_by_itself(&self) -> bool {
        use Waiting::*;
        matches!(
            self,
            Ended(_)
                | Running { .. }
                | Worker
                | Adoption
                | Time(_)
                | Retry { .. }
                | Run(_)
                | Prompt(_)
        )
    }
}

/// Why the task is not done.
pub(super) async fn why(core: &Arc<Core>, id: TaskId) -> Result<Waiting> {
    let found = why_all(core, [id].into()).await?.remove(&id);
    found.ok_or_else(|| Core::missing("task", id))
}

/// Why each of these tasks is not done, in a few reads for all of them. Those that do not
/// exist are left out.
pub(super) async fn why_all(
    core: &Arc<Core>,
    ids: BTreeSet<TaskId>,
) -> Result<BTreeMap<TaskId, Waiting>> {
    let needs = Needs { tasks: ids.clone(), items_of: ids.clone(), ..Needs::default() };
    let rows = core.backend.read(&needs).await?;
    let of = |phase| rows.tasks.values().filter(move |task: &&Task| task.phase == phase);
    let unknown = ids.into_iter().filter(|id| !rows.tasks.contains_key(id)).collect();
    let lanes = of(Phase::Ready).map(|task| task.lane).collect();
    let runs = of(Phase::Paused).filter_map(|task| task.step).map(|(run, _)| run).collect();
    let runs_under = of(Phase::Waiting).map(|task| task.id).collect();
    let prompts = of(Phase::Waiting).map(|task| task.id).collect();
    let more = Needs { specs: unknown, lanes, runs, runs_under, prompts, ..Needs::default() };
    let more = if more.is_empty() { Rows::default() } else { core.backend.read(&more).await? };
    let lanes = of_lanes(core, &more).await?;
    let lines = heads(core, &more).await?;
    let foreign = more.specs.keys().map(|id| (*id, Waiting::Adoption));
    let known = rows.tasks.values().map(|task| {
        let waiting = match task.phase {
            Phase::Ready => lanes.get(&task.lane).cloned().unwrap_or(Waiting::Worker),
            Phase::Paused => paused(task, &more),
            Phase::Waiting => match more.prompts.get(&task.id).filter(|_| is_in_line(task)) {
                Some(prompt) => lines.get(&prompt.line()).map_or(Waiting::Worker, behind),
                None => of_run_under(task, &more),
            },
            _ => of_row(task, &rows),
        };
        (task.id, waiting)
    });
    Ok(foreign.chain(known).collect())
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
            let own = rows.items.values().filter(|item| item.task == task.id);
            let open = own.filter(|item| item.state == ItemState::Open);
            Waiting::Answer(open.map(|item| item.id).collect())
        }
        Phase::Paused => Waiting::Paused,
        Phase::Waiting | Phase::Ready => Waiting::Worker,
        Phase::Completed | Phase::Failed | Phase::Cancelled => Waiting::Ended(task.state()),
    }
}

fn paused(task: &Task, rows: &Rows) -> Waiting {
    let by_run = task
        .step
        .filter(|_| !task.flags.has(TaskFlags::PAUSED))
        .filter(|(run, _)| rows.runs.get(run).is_some_and(|run| run.flags.has(RunFlags::PAUSED)));
    by_run.map_or(Waiting::Paused, |(run, _)| Waiting::RunPaused(run))
}

/// A run that has ended wakes the task that waits for it in the same commit.
fn of_run_under(task: &Task, rows: &Rows) -> Waiting {
    let mut under = rows.runs.values().filter(|run| run.parent == Some(task.id));
    let open = under.find(|run| !run.state.is_terminal());
    open.map_or(Waiting::Worker, |run| Waiting::Run(run.id))
}

/// Whether a task that waits does so for another prompt.
fn is_in_line(task: &Task) -> bool {
    !task.flags.has(TaskFlags::AWAITS)
}

fn behind(head: &TaskId) -> Waiting {
    Waiting::Prompt(*head)
}

/// The first in the lines of these prompts.
async fn heads(core: &Arc<Core>, rows: &Rows) -> Result<BTreeMap<LineId, TaskId>> {
    let line = |prompt: &Prompt| (prompt.chat, prompt.agent.clone(), i64::MIN);
    let lines: BTreeSet<_> = rows.prompts.values().map(line).collect();
    if lines.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = core.backend.read(&Needs { lines, ..Needs::default() }).await?.prompts;
    let mut prompts: Vec<Prompt> = found.into_values().collect();
    prompts.sort_by_key(|prompt| std::cmp::Reverse(prompt.place));
    Ok(prompts.iter().map(|prompt| (prompt.line(), prompt.task)).collect())
}

/// Why nobody has claimed the ready tasks of these lanes.
async fn of_lanes(core: &Arc<Core>, rows: &Rows) -> Result<BTreeMap<LaneId, Waiting>> {
    if rows.lanes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let instances = instances(core).await?;
    let capacity = rows.lanes.values().flat_map(|lane| lane.keys.iter().cloned()).collect();
    let keys = core.backend.read(&Needs { capacity, ..Needs::default() }).await?;
    let now = core.backend.clock().now();
    let reason = |lane: &Lane| {
        let missing = unserved(lane, &instances);
        missing.or_else(|| closed(lane, &keys, now)).unwrap_or(Waiting::Worker)
    };
    Ok(rows.lanes.values().map(|lane| (lane.id, reason(lane))).collect())
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
        None => {
            let label = flow_label(need);
            let same = served.iter().any(|served| flow_label(served) == label);
            match same && missing.is_some() {
                true => Waiting::CodeChanged(label.to_owned()),
                false => Waiting::CodeMissing(label.to_owned()),
            }
        }
    })
}

/// The capacity key of a lane that lets nothing through.
fn closed(lane: &Lane, rows: &Rows, now: Timestamp) -> Option<Waiting> {
    lane.keys.iter().filter_map(|key| rows.capacity.get(key)).find_map(|key| {
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
        let mut reasons = why_all(core, tasks.iter().map(|task| task.spec.id).collect()).await?;
        let waits = tasks.iter().filter_map(|task| reasons.remove_entry(&task.spec.id));
        stuck.extend(waits.filter(|(_, reason)| !reason.moves_by_itself()));
    }
}
