//! The lines of agents in chats: an agent takes the prompts of a chat one at a time, in the order
//! in which they were sent.
//!
//! Only the head of a line may start; whatever waits behind it is not in the index of what is
//! ready. A prompt keeps its place until it has ended, whatever it waits for in between, and gives
//! it away when it is paused. Who leaves a line releases the one behind it in the same commit.

use std::collections::{BTreeMap, BTreeSet};

use super::{task, work::Work};
use crate::{
    id::{ChatId, TaskId},
    model::{LineId, Needs, Outcome, Phase, Prompt, Receipt, Rows, TaskFlags, TaskSpec},
};

/// Notes a new prompt, or one that is to be answered after all. It is not in line yet.
pub(super) fn note(work: &mut Work, spec: &TaskSpec) {
    let line = spec.line().filter(|(chat, _)| work.rows.chats.contains_key(chat));
    if let Some((chat, agent)) = line {
        work.put_prompt(Prompt { task: spec.id, chat, agent, place: None });
    }
}

/// Where a task that would be in `phase` is in view of its line, which it enters or leaves.
pub(super) fn stand(work: &mut Work, id: TaskId, phase: Phase) -> Phase {
    let Some(prompt) = work.rows.prompts.get(&id).cloned() else { return phase };
    match (phase, prompt.place) {
        (Phase::Paused, Some(_)) => {
            let line = prompt.line();
            work.put_prompt(Prompt { place: None, ..prompt });
            release(work, &line);
            phase
        }
        (Phase::Ready, None) => {
            let place = Some(next_place(work, &prompt));
            work.put_prompt(Prompt { place, ..prompt });
            behind_others(work, id, phase)
        }
        (_, None) => phase,
        (_, Some(_)) => behind_others(work, id, phase),
    }
}

fn behind_others(work: &Work, id: TaskId, phase: Phase) -> Phase {
    let line = work.rows.prompts[&id].line();
    if head(&work.rows, &line) == Some(id) { phase } else { Phase::Waiting }
}

/// A place behind all that were given in the chat before.
fn next_place(work: &mut Work, prompt: &Prompt) -> i64 {
    let mut chat = work.rows.chats.get(&prompt.chat).expect("a prompt is in a chat").clone();
    let place = chat.next_seq;
    chat.next_seq += 1;
    work.put_chat(chat);
    place
}

/// The first in a line.
pub(super) fn head(rows: &Rows, line: &LineId) -> Option<TaskId> {
    let of = rows.prompts.values().filter(|row| row.place.is_some() && row.is_of(line));
    of.min_by_key(|row| (row.place, row.task)).map(|row| row.task)
}

/// Ends a prompt whose task has ended, or is about to.
pub(super) fn leave(work: &mut Work, id: TaskId) {
    if let Some(prompt) = work.end_prompt(id) {
        release(work, &prompt.line());
    }
}

/// Lets the head of a line go on, if it has waited for another one.
fn release(work: &mut Work, line: &LineId) {
    let Some(head) = head(&work.rows, line) else { return };
    let waits = work.rows.tasks.get(&head).filter(|task| is_behind(task.phase, task.flags));
    if let Some(run_at) = waits.map(|task| task.run_at) {
        work.make_pending(head, run_at);
    }
}

/// Whether a task of this phase waits for another one in its line, and not for a run.
fn is_behind(phase: Phase, flags: TaskFlags) -> bool {
    phase == Phase::Waiting && !flags.has(TaskFlags::AWAITS)
}

/// Makes a prompt that goes before all others.
pub(super) fn interject(work: &mut Work, spec: TaskSpec) -> Receipt {
    let (id, line) = (spec.id, spec.line());
    let made = task::enqueue(work, spec)?;
    let in_line = work.rows.prompts.get(&id).is_some_and(|row| row.place.is_some());
    if let (Outcome::Task { created: true, .. }, Some(line), true) = (&made, line, in_line) {
        go_first(work, id, &line);
    }
    Ok(made)
}

/// Brings a prompt to the head of its line, or behind one that is at work and told to stop. It may
/// have been made for the one that it stops, and then it is cancelled with it.
fn go_first(work: &mut Work, id: TaskId, line: &LineId) {
    let Some(other) = head(&work.rows, line).filter(|head| *head != id) else { return };
    let Some(task) = work.rows.tasks.get(&other) else { return };
    let (phase, run_at) = (task.phase, task.run_at);
    match phase {
        // It waits for a worker, and has to wait longer.
        Phase::Ready => {
            overtake(work, id, other);
            work.make_pending(other, run_at);
            work.make_pending(id, work.now);
        }
        Phase::Running => {
            stay_behind(work, id, other);
            task::cancel_families(work, [other]);
        }
        _ => {
            overtake(work, id, other);
            task::cancel_families(work, [other]);
        }
    }
}

fn overtake(work: &mut Work, id: TaskId, other: TaskId) {
    let place = work.rows.prompts[&other].place.map(|place| place - 1);
    let own = work.rows.prompts[&id].clone();
    work.put_prompt(Prompt { place, ..own });
}

/// Takes the place of the head, which goes one before it.
fn stay_behind(work: &mut Work, id: TaskId, head: TaskId) {
    let head = work.rows.prompts[&head].clone();
    let own = work.rows.prompts[&id].clone();
    work.put_prompt(Prompt { place: head.place, ..own });
    work.put_prompt(Prompt { place: head.place.map(|place| place - 1), ..head });
}

/// Cancels the prompts of a chat that is about to go.
pub(super) fn cancel_all(work: &mut Work, chat: ChatId) {
    let of = work.rows.prompts.values().filter(|row| row.chat == chat);
    let tasks: Vec<TaskId> = of.map(|row| row.task).collect();
    for task in &tasks {
        work.end_prompt(*task);
    }
    task::cancel_families(work, tasks);
}

// ---- what must be seen

/// The line that a task stands in, where it is known.
fn line_of(id: TaskId, rows: &Rows) -> Option<LineId> {
    let is_prompt = rows.tasks.get(&id).is_some_and(|task| task.flags.has(TaskFlags::PROMPT));
    let spec = rows.specs.get(&id).filter(|_| is_prompt);
    let routed = rows.routes.get(&id).and_then(|route| route.line.clone());
    routed.or_else(|| spec.and_then(TaskSpec::line))
}

/// What a prompt that may move or end must see of its line.
pub(super) fn around(id: TaskId, rows: &Rows) -> Needs {
    let line = line_of(id, rows).map(|line| wanted(&line));
    Needs { prompts: [id].into(), ..line.unwrap_or_default() }
}

/// The beginning of a line. One whose name can't be asked for does not exist.
pub(super) fn wanted((chat, agent): &LineId) -> Needs {
    let askable = super::are_texts([agent]).is_ok();
    let line = askable.then(|| (*chat, agent.clone(), i64::MIN));
    Needs { chats: [*chat].into(), lines: line.into_iter().collect(), ..Needs::default() }
}

/// Who comes to the head of the lines in which those in front may leave: all whose hot rows are
/// loaded for another reason than this. Where all that are known may leave, more is asked for.
pub(super) fn next_heads(rows: &Rows, asked: &Needs, now_asked: &Needs) -> Needs {
    let may_leave = |task: &TaskId| {
        let named = asked.tasks.contains(task) || now_asked.tasks.contains(task);
        named || (rows.tasks.contains_key(task) && !asked.heads.contains(task))
    };
    let mut pages: BTreeMap<(ChatId, &str), i64> = BTreeMap::new();
    for (chat, agent, after) in &asked.lines {
        let last = pages.entry((*chat, agent)).or_insert(i64::MIN);
        *last = (*last).max(*after);
    }
    let mut needs = Needs::default();
    for ((chat, agent), after) in pages {
        let of =
            rows.prompts.values().filter(|row| (row.chat, row.agent.as_str()) == (chat, agent));
        let line: BTreeSet<(i64, TaskId)> =
            of.filter_map(|row| Some((row.place?, row.task))).collect();
        let leaving = line.iter().take_while(|(_, task)| may_leave(task)).count();
        let page = line.iter().filter(|(place, _)| *place > after).count();
        match (line.iter().nth(leaving), line.last()) {
            (Some((_, next)), _) if leaving > 0 => drop(needs.heads.insert(*next)),
            (None, Some((last, _))) if page >= Needs::LINE => {
                needs.lines.insert((chat, agent.to_owned(), *last));
            }
            _ => {}
        }
    }
    needs
}
