//! Why a run, or one of its steps, is not done.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    report,
    run::Run,
    why::{self, Waiting},
};
use crate::{
    engine::Core,
    error::Result,
    id::{RunId, TaskId},
    model::{Needs, Rows, RunFlags, RunState, Step, StepState, TaskState},
};

/// What a step of a run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepWaiting {
    /// Nothing: it has ended.
    Ended {
        /// How.
        state: StepState,
        /// Why, where it did not complete.
        reason: Option<String>,
    },
    /// Steps that it depends on and that have not ended, by number.
    Dependencies(Vec<Dependency>),
    /// A person to resume its run. Nothing else holds it back.
    RunPaused(RunId),
    /// What other steps have reserved of its run's budget and may give back. Nothing else holds
    /// it back.
    Budget,
    /// What its task waits for.
    Task {
        /// The task.
        task: TaskId,
        /// What [`Task::why`](crate::Task::why) says.
        waiting: Waiting,
    },
    /// The end of a run that it launched under itself.
    Run {
        /// The run.
        run: RunId,
        /// What that waits for.
        waiting: Box<RunWaiting>,
    },
    /// Nothing: the commit that moves it is under way.
    Moving,
}

/// A step that another waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its number.
    pub no: u32,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: StepState,
    /// The state of its task, once it was released.
    pub task: Option<TaskState>,
}

/// What a run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunWaiting {
    /// Nothing: it has ended.
    Ended {
        /// How.
        state: RunState,
        /// Which steps failed, and why.
        reason: Option<String>,
    },
    /// These steps, by number: those that were released and have not ended, and those that
    /// only the run's budget holds back. All others wait for one of them.
    Steps(Vec<OpenStep>),
    /// A person to resume it. Of these steps, what runs goes on.
    Paused(Vec<OpenStep>),
    /// These steps, which were told to stop.
    Cancelling(Vec<OpenStep>),
}

/// A step that was released and has not ended, or that only the run's budget holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStep {
    /// Its number.
    pub no: u32,
    /// Its name.
    pub name: String,
    /// What it waits for.
    pub waiting: StepWaiting,
}

impl StepWaiting {
    /// Whether it will go on without anyone doing anything, as far as can be seen: see
    /// [`Waiting::moves_by_itself`]. Dependencies are not looked at: ask the run.
    pub fn moves_by_itself(&self) -> bool {
        match self {
            Self::Task { waiting, .. } => waiting.moves_by_itself(),
            Self::Run { waiting, .. } => !waiting.is_stuck(),
            Self::RunPaused(_) | Self::Budget => false,
            Self::Ended { .. } | Self::Dependencies(_) | Self::Moving => true,
        }
    }
}

impl RunWaiting {
    /// The steps that have not ended and wait for no other step.
    pub fn steps(&self) -> &[OpenStep] {
        match self {
            Self::Ended { .. } => &[],
            Self::Steps(steps) | Self::Paused(steps) | Self::Cancelling(steps) => steps,
        }
    }

    /// Whether nothing of it moves by itself, so that someone has to do something.
    pub fn is_stuck(&self) -> bool {
        let ended = matches!(self, Self::Ended { .. });
        !ended
            && !self.steps().is_empty()
            && !self.steps().iter().any(|step| step.waiting.moves_by_itself())
    }
}

impl fmt::Display for StepWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { state, reason: None } => write!(f, "it has ended: {state:?}"),
            Self::Ended { state, reason: Some(why) } => write!(f, "it has ended: {state:?}: {why}"),
            Self::Dependencies(steps) => {
                let names = steps.iter().map(|step| step.name.as_str());
                write!(f, "the end of {}", listed(names.collect()))
            }
            Self::RunPaused(run) => write!(f, "someone to resume run {run}"),
            Self::Budget => f.write_str("what others give back of the run's budget"),
            Self::Task { waiting, .. } => waiting.fmt(f),
            Self::Run { run, waiting } => write!(f, "run {run}, which waits for {waiting}"),
            Self::Moving => f.write_str("nothing: it moves"),
        }
    }
}

impl fmt::Display for RunWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { state, reason: None } => return write!(f, "it has ended: {state:?}"),
            Self::Ended { state, reason: Some(why) } => {
                return write!(f, "it has ended: {state:?}: {why}");
            }
            Self::Steps(_) => {}
            Self::Paused(_) => f.write_str("someone to resume it; ")?,
            Self::Cancelling(_) => f.write_str("the end of what was told to stop; ")?,
        }
        let mut reasons = BTreeMap::<String, Vec<&str>>::new();
        for step in self.steps() {
            reasons.entry(step.waiting.to_string()).or_default().push(&step.name);
        }
        let lines = reasons.into_iter().map(|(why, names)| format!("{}: {why}", listed(names)));
        f.write_str(&lines.collect::<Vec<_>>().join("; "))
    }
}

/// The first names of many.
fn listed(names: Vec<&str>) -> String {
    const SHOWN: usize = 3;
    let first: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// How often to look again at what moved between two reads.
const LOOKS: u32 = 10;

/// Why a run has not ended.
pub(super) async fn of_run<O>(run: &Run<O>) -> Result<RunWaiting> {
    for _ in 0..LOOKS {
        let rows = graph(run).await?;
        let owner = run.view_of(&rows)?.run;
        if owner.state.is_terminal() {
            return Ok(RunWaiting::Ended { state: owner.state, reason: report::reasons(&rows) });
        }
        let mut steps = open_steps(run, &rows).await?;
        for step in &mut steps {
            look_under(&run.core, &mut step.waiting).await?;
        }
        // All of them ended since they were read: others were released then.
        if steps.is_empty() && !owner.flags.has(RunFlags::PAUSED) {
            tokio::task::yield_now().await;
            continue;
        }
        return Ok(match owner.flags {
            flags if flags.has(RunFlags::CANCELLING) => RunWaiting::Cancelling(steps),
            flags if flags.has(RunFlags::PAUSED) => RunWaiting::Paused(steps),
            _ => RunWaiting::Steps(steps),
        });
    }
    Ok(RunWaiting::Steps(Vec::new()))
}

/// Says of a step that waits for a run under it what that run waits for.
async fn look_under(core: &Arc<Core>, waiting: &mut StepWaiting) -> Result<()> {
    if let StepWaiting::Task { waiting: Waiting::Run(id), .. } = *waiting {
        let under: Run = Run::new(Arc::clone(core), id);
        let found = Box::pin(of_run(&under)).await?;
        *waiting = StepWaiting::Run { run: id, waiting: Box::new(found) };
    }
    Ok(())
}

async fn open_steps<O>(run: &Run<O>, rows: &Rows) -> Result<Vec<OpenStep>> {
    let released = |step: &&Step| step.state == StepState::Running;
    let tasks = rows.steps.values().filter(released).filter_map(|step| step.task).collect();
    let mut reasons = why::why_all(&run.core, tasks).await?;
    let open = rows.steps.values().filter(|step| released(step) || is_hungry(step));
    let open = open.filter_map(|step| {
        let waiting = match step.task {
            _ if is_hungry(step) => StepWaiting::Budget,
            Some(task) => of_task(task, reasons.remove(&task)?),
            None => StepWaiting::Moving,
        };
        let ended = matches!(waiting, StepWaiting::Task { waiting: Waiting::Ended(_), .. });
        (!ended).then(|| OpenStep { no: step.no, name: step.name.clone(), waiting })
    });
    Ok(open.collect())
}

/// Whether a step could start but for the budget.
fn is_hungry(step: &Step) -> bool {
    step.state == StepState::Pending && step.waiting_on == 0
}

/// Why a step has not ended.
pub(super) async fn of_step<O>(run: &Run<O>, name: &str) -> Result<StepWaiting> {
    for _ in 0..LOOKS {
        let rows = graph(run).await?;
        run.view_of(&rows)?;
        let step = rows.steps.values().find(|step| step.name == name);
        let step = step.ok_or_else(|| Core::missing("step", name))?;
        let waiting = match (step.state, step.task) {
            (StepState::Pending, _) => held_back(run, &rows, step).await?,
            (StepState::Running, Some(task)) => {
                Some(of_task(task, why::why(&run.core, task).await?))
            }
            (StepState::Running, None) => Some(StepWaiting::Moving),
            (state, _) => Some(StepWaiting::Ended { state, reason: step.reason.clone() }),
        };
        let ended = matches!(waiting, Some(StepWaiting::Task { waiting: Waiting::Ended(_), .. }));
        // Where it stood a moment ago is no answer: it moved between two reads.
        if let Some(mut waiting) = waiting.filter(|_| !ended) {
            look_under(&run.core, &mut waiting).await?;
            return Ok(waiting);
        }
        tokio::task::yield_now().await;
    }
    Ok(StepWaiting::Moving)
}

/// What holds a pending step back. None: it is being released.
async fn held_back<O>(run: &Run<O>, rows: &Rows, step: &Step) -> Result<Option<StepWaiting>> {
    let before = rows.edges.keys().filter(|(_, _, to)| *to == step.no);
    let before: Vec<_> = before.filter_map(|(id, from, _)| rows.steps.get(&(*id, *from))).collect();
    let needs = Needs {
        steps: before.iter().map(|step| (step.run, step.no)).chain([(step.run, step.no)]).collect(),
        tasks: before.iter().filter_map(|step| step.task).collect(),
        ..Needs::default()
    };
    let rows = run.read(needs).await?;
    match rows.steps.get(&(step.run, step.no)) {
        Some(step) if is_hungry(step) => return Ok(Some(StepWaiting::Budget)),
        Some(step) if step.state == StepState::Pending => {}
        _ => return Ok(None),
    }
    let open = rows.steps.values().filter(|row| row.no != step.no && !row.state.is_terminal());
    let open: Vec<_> = open.map(|step| dependency(step, &rows)).collect();
    let paused = run.view_of(&rows)?.run.flags.has(RunFlags::PAUSED);
    Ok(Some(match (open.is_empty(), paused) {
        (false, _) => StepWaiting::Dependencies(open),
        (true, true) => StepWaiting::RunPaused(step.run),
        (true, false) => StepWaiting::Moving,
    }))
}

fn dependency(step: &Step, rows: &Rows) -> Dependency {
    let task = step.task.and_then(|id| rows.tasks.get(&id));
    let task = task.map(|task| task.state());
    Dependency { no: step.no, name: step.name.clone(), state: step.state, task }
}

/// What a task says for its step.
fn of_task(task: TaskId, waiting: Waiting) -> StepWaiting {
    match waiting {
        Waiting::RunPaused(run) => StepWaiting::RunPaused(run),
        waiting => StepWaiting::Task { task, waiting },
    }
}

async fn graph<O>(run: &Run<O>) -> Result<Rows> {
    run.read(Needs { graphs: [run.id()].into(), ..Needs::default() }).await
}
