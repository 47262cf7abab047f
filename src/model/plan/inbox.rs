//! The inbox: what is asked of people, answered once.

use std::collections::BTreeSet;

use super::{are_names, are_texts, budget, fits, settle, task};
use crate::{
    id::{ChatId, ItemId, TaskId},
    model::{
        Answer, Ask, Event, Item, ItemKind, ItemState, Outcome, Payload, Phase, Receipt, Rejection,
        Stream, TaskFlags, limits, plan::work::Work,
    },
};

/// The answers to an interrupted task.
pub(super) const RUN_AGAIN: &str = "run again";
pub(super) const FAIL: &str = "fail";

/// Refuses questions that could never be answered, or that would take another's place.
pub(super) fn check_asks(work: &Work, task: TaskId, asks: &[Ask]) -> Result<(), Rejection> {
    let invalid = |message: String| Err(Rejection::Invalid(message));
    if asks.is_empty() {
        return invalid("a task that asks nothing would wait for ever".into());
    }
    let mut ids = BTreeSet::new();
    for ask in asks {
        are_names([&ask.key])?;
        fits("a question", ask.body.as_str().len(), limits::PAYLOAD_BYTES)?;
        if matches!(ask.kind, ItemKind::Failure | ItemKind::Interrupted) {
            return invalid("only the engine tells of failures and interruptions".into());
        }
        let known = work.rows.items.get(&ask.id);
        let is_anothers = known.is_some_and(|item| (item.task, &item.key) != (task, &ask.key));
        if is_anothers || !ids.insert(ask.id) {
            return invalid(format!("item {} was asked before", ask.id));
        }
    }
    Ok(())
}

/// Asks a person on behalf of a task that is at work and stays so.
pub(super) fn ask(
    work: &mut Work,
    id: TaskId,
    lease: i64,
    chat: Option<ChatId>,
    ask: Ask,
) -> Receipt {
    let task = task::find(work, id)?;
    if task.phase != Phase::Running || task.lease != lease {
        return Err(Rejection::StaleLease);
    }
    check_asks(work, id, std::slice::from_ref(&ask))?;
    if !work.rows.items.contains_key(&ask.id) {
        let item = ask.id;
        open(work, id, ask);
        if let Some(chat) = chat.filter(|chat| work.rows.chats.contains_key(chat)) {
            work.tell(Stream::Chat(chat), Event::Asked { item, task: id });
        }
    }
    Ok(Outcome::Done)
}

/// Goes on with an answer. The same attempt may say so again; nobody else can.
pub(super) fn use_answer(work: &mut Work, id: ItemId, lease: i64) -> Receipt {
    let Some(item) = work.rows.items.get(&id).cloned() else {
        return Err(Rejection::not_found("item", id));
    };
    let task = task::find(work, item.task)?;
    if task.phase != Phase::Running || task.lease != lease {
        return Err(Rejection::StaleLease);
    }
    match item.state {
        ItemState::Answered => work.put_item(Item { state: ItemState::Used, lease, ..item }),
        ItemState::Used if item.lease == lease => {}
        ItemState::Used => return Err(Rejection::Used),
        ItemState::Withdrawn => return Err(Rejection::Withdrawn),
        ItemState::Open => return Err(Rejection::Invalid("nobody has answered yet".into())),
    }
    Ok(Outcome::Done)
}

/// Whether a task waits for an answer.
pub(super) fn is_asking(work: &Work, id: TaskId) -> bool {
    work.items_of(id).iter().any(|item| item.state == ItemState::Open)
}

/// Asks a person on behalf of a task.
pub(super) fn open(work: &mut Work, id: TaskId, ask: Ask) {
    let now = work.now;
    let task = work.task(id);
    task.flags = task.flags.with(TaskFlags::ASKED);
    let lease = task.lease;
    work.put_item(Item {
        id: ask.id,
        task: id,
        lease,
        kind: ask.kind,
        key: ask.key,
        body: ask.body,
        options: ask.options,
        state: ItemState::Open,
        answer: None,
        created_at: now,
        answered_at: crate::clock::Timestamp::ZERO,
    });
}

/// Nobody needs the open items of these tasks any more.
pub(super) fn withdraw_all(work: &mut Work, tasks: &BTreeSet<TaskId>) {
    let items = work.rows.items.values();
    let open = items.filter(|item| item.state == ItemState::Open && tasks.contains(&item.task));
    for item in open.cloned().collect::<Vec<_>>() {
        let answered_at = work.now;
        work.put_item(Item { state: ItemState::Withdrawn, answered_at, ..item });
    }
}

/// Records an answer. When it was the last that a blocked task waited for, the task goes on.
pub(super) fn answer(work: &mut Work, id: ItemId, answer: Answer) -> Receipt {
    let Some(item) = work.rows.items.get(&id).cloned() else {
        return Err(Rejection::not_found("item", id));
    };
    check(&item, &answer)?;
    if item.answer.is_some() {
        return Ok(Outcome::Done);
    }
    let (task, kind, answered_at) = (item.task, item.kind, work.now);
    let value = answer.value.clone();
    work.put_item(Item { state: ItemState::Answered, answer: Some(answer), answered_at, ..item });
    go_on(work, task, kind, &value);
    Ok(Outcome::Done)
}

/// Whether the item takes this answer. The same answer by the same person again is taken.
fn check(item: &Item, answer: &Answer) -> Result<(), Rejection> {
    match (item.state, &item.answer) {
        (ItemState::Withdrawn, _) => return Err(Rejection::Withdrawn),
        (_, Some(first)) if first != answer => {
            return Err(Rejection::Answered { by: first.by.clone() });
        }
        _ => {}
    }
    are_texts([&answer.by])?;
    let chosen = answer.value.decode::<String>().ok();
    let fits =
        item.options.is_empty() || chosen.is_some_and(|chosen| item.options.contains(&chosen));
    if fits { Ok(()) } else { Err(Rejection::NotAnOption(item.options.clone())) }
}

fn go_on(work: &mut Work, id: TaskId, kind: ItemKind, value: &Payload) {
    let Ok(task) = task::find(work, id) else {
        return;
    };
    if task.phase != Phase::Blocked {
        // One that is at work waits in whatever process it is in.
        work.changes.woke |= task.phase == Phase::Running;
        return;
    }
    if kind == ItemKind::Interrupted && *value == Payload::text(FAIL) {
        settle::fail_unstarted(work, id, "its worker died, and a person let it fail".into());
    } else if kind == ItemKind::Budget {
        budget::raised(work, id, value);
    } else if work.items_of(id).iter().all(|item| item.state != ItemState::Open) {
        work.make_pending(id, work.now);
    }
}
