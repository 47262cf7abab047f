//! What the clauses share: a backend with its clock, and short ways to ask it.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::dump;
use crate::{
    backend::Backend,
    clock::{Clock, ManualClock, Timestamp},
    id::{ChatId, InstanceId, RunId, TaskId},
    model::{
        Band, Batch, Chat, Claim, Claimed, Command, Committed, Cursor, Decision, Fault, FaultKind,
        Item, NewRun, NewStep, Outcome, Payload, Receipt, Retry, Rows, RunSpec, Settle, StepKind,
        Stream, Task, TaskOptions, TaskSpec,
    },
};

type Foreign = Arc<dyn Fn(TaskSpec) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A backend under test. Clones share it.
#[derive(Clone)]
pub struct Kit {
    backend: Arc<dyn Backend>,
    clock: ManualClock,
    foreign: Option<Foreign>,
    worker: InstanceId,
    claims: Arc<AtomicI64>,
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backend.fmt(f)
    }
}

impl Kit {
    /// The kit for an empty backend on a manual clock.
    ///
    /// # Panics
    /// When the backend runs on the machine's clock.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let Clock::Manual(clock) = backend.clock() else {
            panic!("the kit moves the time: give it a backend on a manual clock");
        };
        let claims = Arc::new(AtomicI64::new(0));
        Self { backend, clock, foreign: None, worker: InstanceId::new(), claims }
    }

    /// With a way to insert tasks as another program does.
    #[must_use]
    pub fn with_foreign(
        self,
        insert: impl Fn(TaskSpec) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static,
    ) -> Self {
        Self { foreign: Some(Arc::new(insert)), ..self }
    }

    /// The backend.
    pub fn backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    /// The same backend, seen by another worker.
    pub(super) fn other_worker(&self) -> Self {
        Self { worker: InstanceId::new(), claims: Arc::default(), ..self.clone() }
    }

    pub(super) fn worker(&self) -> InstanceId {
        self.worker
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(super) async fn insert_foreign(&self, spec: TaskSpec) -> bool {
        match &self.foreign {
            Some(insert) => insert(spec).await,
            None => return false,
        }
        true
    }

    pub(super) async fn rows(&self) -> Rows {
        dump(&*self.backend).await
    }

    /// Waits until every entry can be followed. Where writers run side by side, the stream of
    /// all shows an entry when nothing can slip in before it any more, and not sooner.
    pub(super) async fn all_entries_show(&self) {
        let there = self.rows().await.entries.len();
        for _ in 0..10_000 {
            let seen = self
                .backend()
                .tail(Stream::All, Cursor::START, there as u32 + 1)
                .await
                .expect("tail works");
            if seen.len() == there {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("an entry never shows in the stream of all");
    }

    pub(super) async fn row(&self, id: TaskId) -> Task {
        self.rows().await.tasks.remove(&id).expect("the task is there")
    }

    pub(super) async fn items(&self, task: TaskId) -> Vec<Item> {
        self.rows().await.items.into_values().filter(|item| item.task == task).collect()
    }

    pub(super) async fn commit_batch(&self, batch: Batch) -> Committed {
        self.backend.commit(batch).await.expect("a commit works")
    }

    pub(super) async fn commit(&self, commands: Vec<Command>) -> Vec<Receipt> {
        let count = commands.len();
        let committed = self.commit_batch(Batch { commands, claim: None }).await;
        assert_eq!(committed.receipts.len(), count, "one answer for each command");
        committed.receipts
    }

    pub(super) async fn one(&self, command: Command) -> Receipt {
        self.commit(vec![command]).await.remove(0)
    }

    /// Sends a command that must be carried out.
    pub(super) async fn done(&self, command: Command) -> Outcome {
        let text = format!("{command:?}");
        self.one(command).await.unwrap_or_else(|why| panic!("refused: {why}\n{text}"))
    }

    /// Sends a command twice: the second time nothing changes and the answer is the same.
    pub(super) async fn twice(&self, command: Command) -> Receipt {
        let first = self.one(command.clone()).await;
        let before = self.rows().await;
        let second = self.one(command.clone()).await;
        assert_eq!(without_created(&first), without_created(&second), "{command:?}");
        assert_eq!(before, self.rows().await, "the second {command:?} changed something");
        first
    }

    /// Sends a command that must be refused, and change nothing.
    pub(super) async fn refused(&self, command: Command) -> crate::model::Rejection {
        let before = self.rows().await;
        let receipt = self.one(command.clone()).await;
        assert_eq!(before, self.rows().await, "a refused command changed something: {command:?}");
        receipt.expect_err("it is refused")
    }

    pub(super) async fn enqueue(&self, spec: TaskSpec) -> TaskId {
        let id = spec.id;
        assert_eq!(self.done(enqueue(spec)).await, Outcome::Task { id, created: true });
        id
    }

    /// The next claim of this worker, of all that the kit's tasks need.
    pub(super) fn next_claim(&self, limit: u32) -> Claim {
        let agents = ["agent:claude", "agent:codex"];
        let serves = ["task:work", "task:other", "flow:test@1", "task:agent"].into_iter();
        let serves = serves.chain(agents);
        Claim {
            instance: self.worker,
            seq: self.claims.fetch_add(1, Ordering::SeqCst) + 1,
            limit,
            serves: Arc::new(serves.map(str::to_owned).collect()),
            again: false,
        }
    }

    pub(super) async fn claim_as(&self, claim: Claim) -> Vec<Claimed> {
        self.commit_batch(Batch { commands: Vec::new(), claim: Some(claim) }).await.claimed
    }

    pub(super) async fn claim(&self, limit: u32) -> Vec<Task> {
        let claimed = self.claim_as(self.next_claim(limit)).await;
        claimed.into_iter().map(|claimed| claimed.task).collect()
    }

    pub(super) async fn claim_ids(&self, limit: u32) -> Vec<TaskId> {
        self.claim(limit).await.iter().map(|task| task.id).collect()
    }

    /// Claims the one task that can be claimed.
    pub(super) async fn claim_one(&self) -> Task {
        let mut claimed = self.claim(2).await;
        assert_eq!(claimed.len(), 1, "one task is ready");
        claimed.remove(0)
    }

    /// A task that runs.
    pub(super) async fn running(&self, spec: TaskSpec) -> Task {
        let id = self.enqueue(spec).await;
        let task = self.claim_one().await;
        assert_eq!(task.id, id);
        task
    }

    pub(super) async fn settle(&self, held: &Task, decision: Decision) -> Receipt {
        self.one(settle(held, decision)).await
    }

    pub(super) async fn complete(&self, held: &Task) {
        self.done(settle(held, done())).await;
    }

    pub(super) async fn chat(&self) -> ChatId {
        let chat = chat();
        let id = chat.id;
        self.done(Command::OpenChat(chat)).await;
        id
    }

    /// Launches `steps`: each a name and the names that it depends on.
    pub(super) async fn launch(&self, steps: &[(&str, &[&str])]) -> RunId {
        let run = run(steps);
        let id = run.spec.id;
        let launched = self.done(Command::Launch(Box::new(run))).await;
        assert_eq!(launched, Outcome::Run { id, created: true });
        id
    }

    /// The states of a run's steps: `a=Running b=Pending`.
    pub(super) async fn steps(&self, id: RunId) -> String {
        let rows = self.rows().await;
        let steps = rows.steps.range((id, 0)..=(id, u32::MAX));
        let text = steps.map(|(_, step)| format!("{}={:?}", step.name, step.state));
        text.collect::<Vec<_>>().join(" ")
    }
}

fn without_created(receipt: &Receipt) -> Receipt {
    receipt.clone().map(|outcome| match outcome {
        Outcome::Task { id, .. } => Outcome::Task { id, created: false },
        Outcome::Run { id, .. } => Outcome::Run { id, created: false },
        Outcome::Tasks(tasks) => {
            Outcome::Tasks(tasks.into_iter().map(|(id, _)| (id, false)).collect())
        }
        other => other,
    })
}

pub(super) fn enqueue(spec: TaskSpec) -> Command {
    Command::Enqueue(Box::new(spec))
}

/// A task that the kit's workers can do.
pub(super) fn work() -> TaskSpec {
    TaskSpec::new(TaskId::new(), "work", Payload::text("do it"))
}

/// One that holds a slot of each of these keys.
pub(super) fn keyed(keys: &[&str]) -> TaskSpec {
    let capacity = keys.iter().map(|key| (*key).to_owned()).collect();
    TaskSpec { options: TaskOptions { capacity, ..TaskOptions::default() }, ..work() }
}

pub(super) fn settle(held: &Task, decision: Decision) -> Command {
    settle_retrying(held, Retry::NEVER, decision)
}

pub(super) fn settle_retrying(held: &Task, retry: Retry, decision: Decision) -> Command {
    let held = held.clone();
    Command::Settle(Box::new(Settle::new(held, retry, decision)))
}

pub(super) fn done() -> Decision {
    Decision::Complete(Payload::text("done"))
}

pub(super) fn fault() -> Decision {
    let message = "it broke".to_owned();
    Decision::Fail(Fault { kind: FaultKind::Error, message, retryable: true })
}

pub(super) fn chat() -> Chat {
    Chat {
        id: ChatId::new(),
        project: "default".into(),
        session: None,
        title: "a chat".into(),
        meta: None,
        next_seq: 1,
        created_at: Timestamp::ZERO,
        forked_from: None,
    }
}

/// A run of these steps: each a name and the names that it depends on.
pub(super) fn run(steps: &[(&str, &[&str])]) -> NewRun {
    let number = |name: &str| {
        let at = steps.iter().position(|(step, _)| *step == name);
        at.expect("the step is listed") as u32
    };
    let step = |(name, after): &(&str, &[&str])| {
        new_step(name, after.iter().map(|name| number(name)).collect())
    };
    new_run(steps.iter().map(step).collect())
}

pub(super) fn new_run(steps: Vec<NewStep>) -> NewRun {
    let spec = RunSpec {
        id: RunId::new(),
        project: "default".into(),
        flow: "test".into(),
        version: 1,
        band: Band::Small,
        model: None,
        input: Payload::null(),
        definition: Payload::of(&steps).expect("steps have a JSON form"),
        labels: [("kind".to_owned(), "test".to_owned())].into(),
        meta: None,
        forked_from: None,
        fingerprint: String::new(),
        base: None,
        created_at: Timestamp::ZERO,
    };
    NewRun { spec, priority: 0, steps, parent: None, budget: None, fresh: false }
}

pub(super) fn new_step(name: &str, after: Vec<u32>) -> NewStep {
    let lane = crate::model::Lane::new(vec!["flow:test@1".into()], Vec::new());
    NewStep { lane: Some(lane), ..NewStep::new(name, StepKind::Code, after) }
}

pub(super) fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}
