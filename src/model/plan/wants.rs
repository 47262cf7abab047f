//! Which rows a command must see. Called again with what was loaded, until it wants no more.

use std::collections::BTreeSet;

use super::{
    Family, are_texts, line, past,
    reach::{self, Known},
    tasks_of, turn_wants,
};
use crate::{
    id::{ChatId, RunId, TaskId, TurnId},
    model::{
        Command, Decision, Import, Needs, OnFailure, Rows, Settle, StepState, TaskFlags, TaskSpec,
    },
};

/// The rows that `command` needs, as far as what is known lets one tell.
pub(super) fn wants(command: &Command, known: &Known<'_>) -> Needs {
    let rows = known.rows;
    match command {
        Command::Enqueue(spec) => new_task(spec),
        Command::Interject(spec) => interjected(spec, rows),
        Command::EnqueueAll(specs) => new_tasks(specs),
        Command::Import(import) => {
            let Import { spec, .. } = import.as_ref();
            new_task(spec)
        }
        Command::Adopt(id) => adopt(*id, rows),
        Command::Settle(settle) => settled(settle, known),
        Command::Ripen(task) => match task.flags.has(TaskFlags::PROMPT) {
            true => in_line(task.id, rows),
            false => tasks([task.id]),
        },
        Command::Rescue { task, lease } => {
            let mut needs = around(*task, rows);
            needs.turn_routes.insert(TurnId::of(*task, *lease));
            needs.extend(turn_wants::ending(*task, *lease, rows));
            needs
        }
        Command::Retry(task) => {
            let key = rows.specs.get(task).and_then(unique_key);
            let mut needs = around(*task, rows);
            needs.unique.extend(key);
            needs
        }
        Command::Pause(task) | Command::Resume(task) => around(*task, rows),
        Command::Cancel(task) => {
            let mut needs = around(*task, rows);
            if rows.routes.contains_key(task) {
                needs.extend(descendants(rows, [*task]));
            }
            needs
        }
        Command::Answer { .. } | Command::UseAnswer { .. } | Command::Ask { .. } => {
            asked(command, rows)
        }
        Command::SetCapacity { key, .. } | Command::Park { key, .. } => {
            Needs { capacity: capacity(key), ..Needs::default() }
        }
        Command::Launch(run) => Needs {
            runs: [run.spec.id].into(),
            tasks: run.parent.into_iter().collect(),
            ..Needs::default()
        },
        Command::CancelRun(id)
        | Command::CancelStep { run: id, .. }
        | Command::PauseRun(id)
        | Command::ResumeRun(id) => whole_run(*id, rows),
        Command::RetryRun { run, .. } => run_again(*run, rows),
        Command::Fork { from, run, .. } => {
            let mut needs = copied(*from, rows);
            needs.runs.insert(*run);
            needs
        }
        Command::DeleteChat(id) => deleted(*id, rows),
        Command::ImportChat(import) => past::wants_of_import(import),
        Command::ForkChat(fork) => past::wants_of_fork(fork),
        Command::OpenSession(_)
        | Command::DeleteSession(_)
        | Command::OpenChat(_)
        | Command::Append { .. } => of_a_chat(command),
        _ => turn_wants::wants(command, rows),
    }
}

/// What people are asked and answer.
fn asked(command: &Command, rows: &Rows) -> Needs {
    match command {
        Command::Answer { item, .. } => {
            let task = rows.items.get(item).map(|item| item.task);
            let mut needs = task.map(|task| around(task, rows)).unwrap_or_default();
            needs.items.insert(*item);
            needs
        }
        Command::UseAnswer { item, .. } => {
            let task = rows.items.get(item).map(|item| item.task);
            Needs { items: [*item].into(), tasks: task.into_iter().collect(), ..Needs::default() }
        }
        Command::Ask { task, chat, ask, .. } => {
            let (chats, items) = (chat.iter().copied().collect(), [ask.id].into());
            Needs { chats, items, ..tasks([*task]) }
        }
        _ => Needs::default(),
    }
}

/// Sessions, chats and messages.
fn of_a_chat(command: &Command) -> Needs {
    match command {
        Command::OpenSession(session) => {
            Needs { sessions: [session.id].into(), ..Needs::default() }
        }
        Command::DeleteSession(id) => Needs { sessions: [*id].into(), ..Needs::default() },
        Command::OpenChat(chat) => Needs {
            chats: [chat.id].into(),
            sessions: chat.session.into_iter().collect(),
            ..Needs::default()
        },
        Command::Append { chat, messages } => Needs {
            chats: [*chat].into(),
            messages: messages.iter().map(|message| message.id).collect(),
            ..Needs::default()
        },
        _ => Needs::default(),
    }
}

fn tasks<const N: usize>(ids: [TaskId; N]) -> Needs {
    Needs { tasks: ids.into(), ..Needs::default() }
}

/// A unique key to look for. One with a NUL in it will be refused, and can't be asked for.
fn unique_key(spec: &TaskSpec) -> Option<(String, String)> {
    let key = spec.unique_key.clone().map(|key| (spec.project.clone(), key));
    key.filter(|(project, key)| are_texts([project, key]).is_ok())
}

fn capacity(key: &str) -> BTreeSet<String> {
    let askable = are_texts([key]).is_ok();
    askable.then(|| key.to_owned()).into_iter().collect()
}

fn new_tasks(specs: &[TaskSpec]) -> Needs {
    let mut needs = Needs::default();
    specs.iter().for_each(|spec| needs.extend(new_task(spec)));
    needs
}

fn new_task(spec: &TaskSpec) -> Needs {
    let key = unique_key(spec);
    let line = spec.line().map(|line| line::wanted(&line)).unwrap_or_default();
    Needs {
        tasks: [spec.id].into_iter().chain(spec.parent).collect(),
        specs: [spec.id].into(),
        sessions: spec.session.into_iter().collect(),
        chats: [spec.chat.unwrap_or(ChatId::of_task(spec.id))].into(),
        unique: key.into_iter().collect(),
        lines: line.lines,
        ..Needs::default()
    }
}

fn adopt(id: TaskId, rows: &Rows) -> Needs {
    let mut needs = Needs { specs: [id].into(), ..tasks([id]) };
    if let Some(spec) = rows.specs.get(&id) {
        needs.extend(new_task(spec));
    }
    needs
}

fn settled(settle: &Settle, known: &Known<'_>) -> Needs {
    let rows = known.rows;
    let id = settle.held.id;
    if settle.held.flags.has(TaskFlags::PROMPT) || is_prompt(id, rows) {
        let turn = TurnId::of(id, settle.held.lease);
        let routes = Needs { turn_routes: [turn].into(), ..in_line(id, rows) };
        return match rows.routes.contains_key(&id) {
            true => [routes, of_settled(settle, known)].into_iter().collect(),
            false => routes,
        };
    }
    of_settled(settle, known)
}

fn of_settled(settle: &Settle, known: &Known<'_>) -> Needs {
    let rows = known.rows;
    let id = settle.held.id;
    let mut needs = Needs { attempts: [id].into(), ..tasks([id]) };
    if let Some((run, no)) = settle.held.step {
        needs.extend(reach::step(settle, (run, no), known));
    }
    if let Some((chat, messages)) = &settle.said {
        needs.chats.insert(*chat);
        needs.messages.extend(messages.iter().map(|message| message.id));
    }
    if rows.tasks.get(&id).is_some_and(|task| task.flags.has(TaskFlags::ASKED)) {
        needs.items_of.insert(id);
    }
    needs.extend(turn_wants::ending(id, settle.held.lease, rows));
    match &settle.decision {
        Decision::Park { key, .. } => needs.capacity.extend(capacity(key)),
        Decision::Block(asks) => needs.items.extend(asks.iter().map(|ask| ask.id)),
        // Before the run it is of is locked: theirs are locked together, in one order.
        Decision::Await(run) => drop(needs.runs.insert(*run)),
        _ => {}
    }
    needs
}

/// A task with all that its end may touch. Where it belongs comes first, so that its run
/// is locked before it is.
fn around(id: TaskId, rows: &Rows) -> Needs {
    let mut needs = Needs { routes: [id].into(), ..Needs::default() };
    let Some(route) = rows.routes.get(&id) else {
        return needs;
    };
    if let Some((run, _)) = route.step {
        needs.extend(whole_graph(run, rows));
    }
    if route.line.is_some() {
        needs.extend(line::around(id, rows));
    }
    needs.tasks.insert(id);
    needs.specs.insert(id);
    needs.attempts.insert(id);
    needs.items_of.insert(id);
    needs
}

/// A run with all of its steps. One of them may stop the run, so the tasks of those that run
/// are among them.
fn whole_graph(id: RunId, rows: &Rows) -> Needs {
    let mut steps = rows.steps.range((id, 0)..=(id, u32::MAX));
    let stops = steps.any(|(_, step)| step.policy.on_failure == OnFailure::StopRun);
    match stops {
        true => whole_run(id, rows),
        false => Needs { graphs: [id].into(), ..ending(id, rows) },
    }
}

/// What a run's end touches: the record of its beginning, and the task that waits for it.
pub(super) fn ending(id: RunId, rows: &Rows) -> Needs {
    let run = rows.runs.get(&id);
    let parent = run.and_then(|run| run.parent);
    let hungry = run.and_then(|run| run.budget.as_ref()).is_some_and(|budget| budget.waiting > 0);
    Needs {
        hungry: hungry.then_some(id).into_iter().collect(),
        runs: [id].into(),
        run_attempts: [id].into(),
        tasks: parent.into_iter().collect(),
        ..Needs::default()
    }
}

/// The descendants of tasks, with their items and the runs that they wait for.
fn descendants(rows: &Rows, roots: impl IntoIterator<Item = TaskId>) -> Needs {
    let Family { tasks, runs } = Family::of(rows, roots);
    let mut needs = Needs::default();
    for run in runs {
        needs.extend(with_tasks(run, rows));
    }
    for prompt in tasks.iter().filter(|id| is_prompt(**id, rows)) {
        needs.extend(line::around(*prompt, rows));
    }
    needs.extend(Needs {
        children: tasks.clone(),
        runs_under: tasks.clone(),
        items_of: tasks,
        ..Needs::default()
    });
    needs
}

fn is_prompt(id: TaskId, rows: &Rows) -> bool {
    rows.tasks.get(&id).is_some_and(|task| task.flags.has(TaskFlags::PROMPT))
}

/// A prompt with its line, which is locked before it is.
fn in_line(id: TaskId, rows: &Rows) -> Needs {
    let routes = Needs { routes: [id].into(), ..Needs::default() };
    match rows.routes.contains_key(&id) {
        true => [routes, tasks([id]), line::around(id, rows)].into_iter().collect(),
        false => routes,
    }
}

/// A prompt that goes before others: the one at the head may be cancelled.
fn interjected(spec: &TaskSpec, rows: &Rows) -> Needs {
    let mut needs = new_task(spec);
    if let Some(head) = spec.line().and_then(|line| line::head(rows, &line)) {
        needs.extend(around(head, rows));
        needs.extend(descendants(rows, [head]));
    }
    needs
}

/// A chat to delete, with its prompts and all that was made for them.
fn deleted(id: ChatId, rows: &Rows) -> Needs {
    let prompts = rows.prompts.values().filter(|prompt| prompt.chat == id);
    let prompts: BTreeSet<TaskId> = prompts.map(|prompt| prompt.task).collect();
    let of = Needs {
        chats: [id].into(),
        prompts_of: [id].into(),
        tasks: prompts.clone(),
        specs: prompts.clone(),
        ..Needs::default()
    };
    [of, descendants(rows, prompts)].into_iter().collect()
}

/// A run with all of its steps, the tasks of those that have not ended, and their families.
pub(super) fn whole_run(id: RunId, rows: &Rows) -> Needs {
    let mut needs = with_tasks(id, rows);
    needs.extend(descendants(rows, tasks_of(rows, id)));
    needs
}

fn with_tasks(id: RunId, rows: &Rows) -> Needs {
    let mut needs = Needs { graphs: [id].into(), ..ending(id, rows) };
    needs.tasks.extend(tasks_of(rows, id));
    needs.specs.extend(tasks_of(rows, id));
    needs
}

/// A run to be done again: what its steps have asked, and what those returned on whose
/// output something depends.
fn run_again(id: RunId, rows: &Rows) -> Needs {
    let mut needs = Needs { graphs: [id].into(), run_specs: [id].into(), ..ending(id, rows) };
    let task = |no: u32| rows.steps.get(&(id, no)).and_then(|step| step.task);
    let steps = rows.steps.range((id, 0)..=(id, u32::MAX));
    let lost = steps.filter(|(_, step)| step.state == StepState::Failed);
    needs.items_of.extend(lost.filter_map(|(_, step)| step.task));
    let edges = rows.edges.range((id, 0, 0)..=(id, u32::MAX, u32::MAX));
    for ((_, from, _), _) in edges.filter(|(_, terms)| terms.when.is_some()) {
        needs.tasks.extend(task(*from));
        needs.attempts.extend(task(*from));
    }
    needs
}

/// A run to be copied, with all that its steps returned, or may return in the same commit.
fn copied(id: RunId, rows: &Rows) -> Needs {
    let mut needs = run_again(id, rows);
    let steps = || rows.steps.range((id, 0)..=(id, u32::MAX));
    for task in steps().filter_map(|(_, step)| step.task) {
        needs.tasks.insert(task);
        needs.specs.insert(task);
        needs.attempts.insert(task);
    }
    needs.step_inputs.extend(steps().map(|(key, _)| *key));
    needs
}
