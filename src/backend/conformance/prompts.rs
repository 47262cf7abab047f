//! Clauses on prompts: an agent takes those of a chat one at a time, in their order.

use std::time::Duration;

use super::kit::{Kit, done, enqueue, fault, set, settle, settle_retrying, work};
use crate::{
    id::{ChatId, TaskId},
    model::{
        Answer, Ask, Batch, Command, Decision, Import, Interrupted, ItemKind, Needs, Outcome,
        Payload, Phase, Prompt, Rejection, Retry, Route, Task, TaskFlags, TaskOptions, TaskSpec,
        TaskState,
    },
};

/// A prompt for `claude`.
fn prompt(chat: ChatId) -> TaskSpec {
    TaskSpec { kind: "agent".into(), agent: Some("claude".into()), chat: Some(chat), ..work() }
}

impl Kit {
    /// So many prompts in a chat.
    async fn prompts(&self, chat: ChatId, count: usize) -> Vec<TaskId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.enqueue(prompt(chat)).await);
        }
        ids
    }

    async fn phase(&self, id: TaskId) -> Phase {
        self.row(id).await.phase
    }

    /// The prompt that may start, which is the only one.
    async fn at_work(&self, id: TaskId) -> Task {
        let task = self.claim_one().await;
        assert_eq!(task.id, id);
        task
    }
}

pub(super) async fn prompts_are_taken_one_at_a_time_in_the_order_of_sending(kit: Kit) {
    let (chat, other) = (kit.chat().await, kit.chat().await);
    // Neither its age nor its priority brings a prompt forward.
    let oldest = TaskSpec { priority: -9, ..prompt(chat) };
    let mut line = kit.prompts(chat, 2).await;
    line.push(kit.enqueue(oldest).await);
    let codex = TaskSpec { agent: Some("codex".into()), ..prompt(chat) };
    let elsewhere = [kit.enqueue(prompt(other)).await, kit.enqueue(codex).await];
    let taken = kit.claim(10).await;
    let ids = set(taken.iter().map(|task| task.id));
    let heads = set([line[0], elsewhere[0], elsewhere[1]]);
    assert_eq!(ids, heads, "each agent of each chat has a line");
    let mut held = taken.into_iter().find(|task| task.id == line[0]).expect("the first");
    for next in &line[1..] {
        assert_eq!(kit.phase(*next).await, Phase::Waiting);
        let claim = Some(kit.next_claim(10));
        let batch = Batch { commands: vec![settle(&held, done())], claim };
        let committed = kit.commit_batch(batch).await;
        assert!(committed.woke, "workers are told");
        let taken: Vec<_> = committed.claimed.into_iter().map(|claimed| claimed.task).collect();
        assert_eq!(taken.len(), 1, "the commit that ends one prompt lets the next one start");
        held = taken.into_iter().next().expect("one");
        assert_eq!(held.id, *next);
    }
    kit.complete(&held).await;
    let left = kit.rows().await.prompts;
    assert_eq!(left.len(), 2, "{left:?}");
    kit.prompts(chat, 1).await;
    assert_eq!(kit.claim(10).await.len(), 1, "an empty line lets a new prompt start");
}

pub(super) async fn a_prompt_keeps_its_place_until_it_has_ended(kit: Kit) {
    let chat = kit.chat().await;
    let line = kit.prompts(chat, 2).await;
    let mut held = kit.at_work(line[0]).await;
    let retry = Retry::every(9, Duration::from_secs(10));
    let ask = Ask {
        id: crate::id::ItemId::new(),
        kind: ItemKind::Question,
        key: "q".into(),
        body: Payload::text("?"),
        options: Vec::new(),
    };
    let item = ask.id;
    let wait = Duration::from_secs(10);
    let decisions = [
        (Decision::Release, Phase::Ready),
        (Decision::Snooze(wait), Phase::Scheduled),
        (fault(), Phase::Scheduled),
        (Decision::Park { key: "agent:claude".into(), wait }, Phase::Ready),
        (Decision::Block(vec![ask]), Phase::Blocked),
    ];
    for (decision, phase) in decisions {
        assert!(kit.twice(settle_retrying(&held, retry.clone(), decision)).await.is_ok());
        assert_eq!((kit.phase(line[0]).await, kit.phase(line[1]).await), (phase, Phase::Waiting));
        match phase {
            Phase::Blocked => {
                let answer = Answer { value: Payload::text("yes"), by: "ann".into() };
                kit.done(Command::Answer { item, answer }).await;
            }
            Phase::Scheduled => {
                kit.advance(11);
                let row = kit.row(line[0]).await;
                assert!(kit.twice(Command::Ripen(Box::new(row))).await.is_ok());
            }
            _ => kit.advance(11),
        }
        held = kit.at_work(line[0]).await;
    }
    kit.done(Command::Rescue { task: held.id, lease: held.lease }).await;
    let held = kit.at_work(line[0]).await;
    kit.complete(&held).await;
    kit.at_work(line[1]).await;
}

pub(super) async fn every_end_of_a_prompt_releases_the_next(kit: Kit) {
    let chat = kit.chat().await;
    let ends = [done(), fault(), Decision::Cancelled];
    let mut ids = kit.prompts(chat, 1).await;
    for end in ends {
        ids.extend(kit.prompts(chat, 1).await);
        let held = kit.at_work(ids.remove(0)).await;
        assert!(kit.twice(settle(&held, end)).await.is_ok());
    }
    let next = kit.prompts(chat, 2).await;
    // One that has not started, also from the middle of the line.
    kit.done(Command::Cancel(next[0])).await;
    kit.done(Command::Cancel(ids.remove(0))).await;
    let held = kit.at_work(next[1]).await;
    let behind = kit.prompts(chat, 1).await.remove(0);
    kit.done(Command::Cancel(held.id)).await;
    assert_eq!(kit.phase(behind).await, Phase::Waiting, "the one at work has yet to stop");
    kit.done(settle(&held, Decision::Cancelled)).await;
    let held = kit.at_work(behind).await;
    kit.complete(&held).await;
    let interrupted = Interrupted::Fail;
    let options = TaskOptions { interrupted, ..TaskOptions::default() };
    let lost = kit.enqueue(TaskSpec { options, ..prompt(chat) }).await;
    let behind = kit.prompts(chat, 1).await.remove(0);
    let held = kit.at_work(lost).await;
    assert!(kit.twice(Command::Rescue { task: lost, lease: held.lease }).await.is_ok());
    let held = kit.at_work(behind).await;
    // A person has the failed one done again: as one that is sent now.
    let later = kit.prompts(chat, 1).await.remove(0);
    assert!(kit.twice(Command::Retry(lost)).await.is_ok());
    kit.complete(&held).await;
    let held = kit.at_work(later).await;
    kit.complete(&held).await;
    kit.at_work(lost).await;
}

pub(super) async fn a_paused_prompt_gives_its_place_away(kit: Kit) {
    let chat = kit.chat().await;
    let line = kit.prompts(chat, 3).await;
    for paused in [line[0], line[1]] {
        assert!(kit.twice(Command::Pause(paused)).await.is_ok());
        assert_eq!(kit.phase(paused).await, Phase::Paused);
    }
    let held = kit.at_work(line[2]).await;
    assert!(kit.twice(Command::Resume(line[1])).await.is_ok());
    kit.done(Command::Resume(line[0])).await;
    assert_eq!(kit.claim(9).await.len(), 0);
    kit.complete(&held).await;
    let held = kit.at_work(line[1]).await;
    kit.complete(&held).await;
    kit.at_work(line[0]).await;
}

pub(super) async fn a_prompt_for_later_is_in_line_from_its_time(kit: Kit) {
    let chat = kit.chat().await;
    let later = TaskSpec { run_at: Some(kit.now() + Duration::from_secs(60)), ..prompt(chat) };
    let later = kit.enqueue(later).await;
    let line = kit.prompts(chat, 2).await;
    let held = kit.at_work(line[0]).await;
    kit.advance(61);
    let row = kit.row(later).await;
    assert_eq!(kit.rows().await.prompts[&later].place, None);
    assert!(kit.twice(Command::Ripen(Box::new(row))).await.is_ok());
    assert_eq!(kit.phase(later).await, Phase::Waiting);
    kit.complete(&held).await;
    let held = kit.at_work(line[1]).await;
    kit.complete(&held).await;
    kit.at_work(later).await;
}

pub(super) async fn a_prompt_that_interrupts_goes_first(kit: Kit) {
    let chat = kit.chat().await;
    let line = kit.prompts(chat, 2).await;
    let held = kit.at_work(line[0]).await;
    let first = prompt(chat);
    let interject = |spec: &TaskSpec| Command::Interject(Box::new(spec.clone()));
    assert!(kit.twice(interject(&first)).await.is_ok());
    let row = kit.row(held.id).await;
    assert!(row.phase == Phase::Running && row.flags.has(TaskFlags::CANCEL), "told to stop");
    // A second one goes before the first, and what has not begun stays.
    let second = prompt(chat);
    kit.done(interject(&second)).await;
    assert_eq!(kit.claim(9).await.len(), 0, "the one at work has yet to stop");
    kit.done(settle(&held, Decision::Cancelled)).await;
    let third = prompt(chat);
    kit.done(interject(&third)).await;
    let order = [third.id, second.id, first.id];
    for id in order {
        let held = kit.at_work(id).await;
        kit.complete(&held).await;
    }
    // One that has begun and waits is cancelled.
    let held = kit.at_work(line[1]).await;
    kit.done(settle(&held, Decision::Snooze(Duration::from_secs(60)))).await;
    let fourth = prompt(chat);
    kit.done(interject(&fourth)).await;
    assert_eq!(kit.phase(line[1]).await, Phase::Cancelled);
    kit.at_work(fourth.id).await;
    // One for later interrupts nobody.
    let run_at = Some(kit.now() + Duration::from_secs(60));
    kit.done(interject(&TaskSpec { run_at, ..prompt(chat) })).await;
    assert!(!kit.row(fourth.id).await.flags.has(TaskFlags::CANCEL));
}

pub(super) async fn many_ends_in_one_commit_release_the_right_prompt(kit: Kit) {
    let chat = kit.chat().await;
    let line = kit.prompts(chat, 4).await;
    let new = prompt(chat);
    let id = new.id;
    let commands =
        vec![Command::Cancel(line[1]), enqueue(new), Command::Cancel(line[0]), Command::Cancel(id)];
    let receipts = kit.commit(commands).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    assert_eq!(kit.phase(line[3]).await, Phase::Waiting);
    let held = kit.at_work(line[2]).await;
    // More than are looked at together.
    let count = Needs::LINE + 9;
    let specs: Vec<_> = (0..count).map(|_| prompt(chat)).collect();
    let ids: Vec<_> = specs.iter().map(|spec| spec.id).collect();
    kit.done(Command::EnqueueAll(specs)).await;
    let gone = [line[3]].into_iter().chain(ids[..count - 2].iter().copied());
    let mut commands: Vec<_> = gone.map(Command::Cancel).collect();
    commands.push(settle(&held, done()));
    let receipts = kit.commit(commands).await;
    assert!(receipts.iter().all(Result::is_ok));
    let held = kit.at_work(ids[count - 2]).await;
    kit.complete(&held).await;
    kit.at_work(ids[count - 1]).await;
}

pub(super) async fn a_deleted_chat_cancels_its_prompts(kit: Kit) {
    let chat = kit.chat().await;
    let line = kit.prompts(chat, 3).await;
    let later = TaskSpec { run_at: Some(kit.now() + Duration::from_secs(60)), ..prompt(chat) };
    let later = kit.enqueue(later).await;
    let child = kit.enqueue(TaskSpec { parent: Some(line[1]), kind: "x".into(), ..work() }).await;
    let failed = kit.at_work(line[0]).await;
    kit.done(settle(&failed, fault())).await;
    let held = kit.at_work(line[1]).await;
    assert!(kit.twice(Command::DeleteChat(chat)).await.is_ok());
    for id in [line[2], later, child] {
        assert_eq!(kit.phase(id).await, Phase::Cancelled);
    }
    let row = kit.row(line[1]).await;
    assert!(row.phase == Phase::Running && row.flags.has(TaskFlags::CANCEL));
    assert!(kit.rows().await.prompts.is_empty());
    kit.done(settle(&held, Decision::Snooze(Duration::ZERO))).await;
    assert_eq!(kit.phase(line[1]).await, Phase::Cancelled);
    let refused = kit.refused(Command::Retry(line[0])).await;
    assert!(matches!(refused, Rejection::Invalid(_)), "{refused:?}");
}

pub(super) async fn an_imported_prompt_is_in_line(kit: Kit) {
    let chat = kit.chat().await;
    let line = kit.prompts(chat, 1).await;
    let import = |state: TaskState| Import {
        spec: prompt(chat),
        state,
        started_at: None,
        ended_at: state.is_terminal().then(|| kit.now()),
        output: None,
        error: None,
        usage: None,
    };
    let (failed, pending) = (import(TaskState::Failed), import(TaskState::Pending));
    let ids = [failed.spec.id, pending.spec.id];
    for import in [failed, pending] {
        assert!(kit.twice(Command::Import(Box::new(import))).await.is_ok());
    }
    kit.done(Command::Retry(ids[0])).await;
    // What is in no chat of its own speaks in its own.
    let alone = TaskSpec { chat: None, ..prompt(chat) };
    let own = ChatId::of_task(alone.id);
    let alone = kit.enqueue(alone).await;
    let behind = kit.enqueue(prompt(own)).await;
    let mut taken = kit.claim(9).await;
    assert_eq!(taken.len(), 2);
    let held = taken.remove(0);
    assert_eq!((held.id, taken[0].id), (line[0], alone));
    kit.complete(&held).await;
    let held = kit.at_work(ids[1]).await;
    kit.complete(&held).await;
    let held = kit.at_work(ids[0]).await;
    kit.complete(&held).await;
    kit.complete(&taken[0]).await;
    kit.at_work(behind).await;
}

pub(super) async fn a_foreign_prompt_is_in_line(kit: Kit) {
    let chat = kit.chat().await;
    let line = kit.prompts(chat, 1).await;
    let foreign = prompt(chat);
    let id = foreign.id;
    let alone = TaskSpec { chat: None, ..prompt(chat) };
    let own = alone.id;
    if !kit.insert_foreign(foreign).await || !kit.insert_foreign(alone).await {
        return;
    }
    for id in [id, own] {
        assert!(kit.twice(Command::Adopt(id)).await.is_ok());
    }
    let behind = kit.enqueue(prompt(ChatId::of_task(own))).await;
    let mut taken = kit.claim(9).await;
    taken.sort_by_key(|task| task.id != line[0]);
    let ids: Vec<_> = taken.iter().map(|task| task.id).collect();
    assert_eq!(ids, [line[0], own]);
    kit.complete(&taken[0]).await;
    kit.at_work(id).await;
    kit.complete(&taken[1]).await;
    kit.at_work(behind).await;
}

pub(super) async fn prompts_are_read_by_task_line_and_chat(kit: Kit) {
    let (chat, other) = (kit.chat().await, kit.chat().await);
    let line = kit.prompts(chat, 3).await;
    kit.prompts(other, 1).await;
    let read = async |needs: Needs| kit.backend().read(&needs).await.expect("rows can be read");
    let all = read(Needs { prompts_of: [chat].into(), ..Needs::default() }).await.prompts;
    assert!(all.keys().eq(&line), "{all:?}");
    let first = Prompt { task: line[0], chat, agent: "claude".into(), place: all[&line[0]].place };
    let by_task = Needs { prompts: [line[0], TaskId::new()].into(), ..Needs::default() };
    assert_eq!(read(by_task).await.prompts, [(line[0], first.clone())].into());
    let after = first.place.expect("it is in line");
    let behind = Needs { lines: [(chat, "claude".into(), after)].into(), ..Needs::default() };
    assert!(read(behind).await.prompts.keys().eq(&line[1..]));
    let none = Needs { lines: [(chat, "codex".into(), i64::MIN)].into(), ..Needs::default() };
    assert!(read(none).await.prompts.is_empty());
    let heads = Needs { heads: [line[1]].into(), ..Needs::default() };
    assert!(read(heads).await.tasks.keys().eq([&line[1]]));
    let routes = read(Needs { routes: [line[2]].into(), ..Needs::default() }).await.routes;
    let line_id = Some((chat, "claude".to_owned()));
    assert_eq!(routes, [(line[2], Route { step: None, line: line_id })].into());
}

pub(super) async fn prompts_at_once_are_taken_one_at_a_time(kit: Kit) {
    const SENT: usize = 12;
    let chat = kit.chat().await;
    let sending = (0..SENT).map(|_| {
        let kit = kit.clone();
        tokio::spawn(async move { kit.enqueue(prompt(chat)).await })
    });
    let working = (0..3).map(|n| {
        let kit = kit.other_worker();
        tokio::spawn(async move {
            let mut ended = 0;
            for _ in 0..10_000 {
                let taken = kit.claim(3).await;
                assert!(taken.len() <= 1, "{} at once", taken.len());
                if let Some(held) = taken.first() {
                    let stops = n == 0 && kit.one(Command::Cancel(held.id)).await.is_ok();
                    let end = if stops { Decision::Cancelled } else { done() };
                    let answer = kit.settle(held, end).await;
                    assert!(matches!(answer, Ok(Outcome::State(_))), "{answer:?}");
                    ended += 1;
                }
                let tasks = kit.rows().await.tasks;
                if tasks.len() == SENT && tasks.values().all(|task| task.state().is_terminal()) {
                    break;
                }
            }
            ended
        })
    });
    let (sending, working): (Vec<_>, Vec<_>) = (sending.collect(), working.collect());
    for sent in sending {
        sent.await.expect("it is sent");
    }
    let mut ended = 0;
    for worker in working {
        ended += worker.await.expect("it works");
    }
    assert_eq!(ended, SENT);
}
