//! Runs in memory that only plans change, where the work that a step costs can be counted.

use segue::{
    clock::Timestamp,
    id::{InstanceId, RunId, TaskId},
    model::*,
};

/// Rows that only plans change.
pub struct Runs {
    pub rows: Rows,
    now: Timestamp,
    /// Rows that the last plan loaded, and in how many rounds.
    pub loaded: (usize, usize),
    /// Rows that all plans have loaded.
    pub total: usize,
}

pub fn step(name: impl Into<String>, after: Vec<u32>) -> NewStep {
    NewStep::new(name, StepKind::Code, after)
}

pub fn spec(id: RunId) -> RunSpec {
    RunSpec {
        id,
        project: "default".into(),
        flow: "large".into(),
        version: 3,
        band: Band::Large,
        model: None,
        input: Payload::null(),
        definition: Payload::null(),
        labels: [].into(),
        meta: None,
        forked_from: None,
        fingerprint: String::new(),
        base: None,
        created_at: Timestamp::from_micros(1_000_000),
    }
}

pub fn done() -> Decision {
    Decision::Complete(Payload::null())
}

pub fn failed() -> Decision {
    let message = "broken".to_owned();
    Decision::Fail(Fault { kind: FaultKind::Error, message, retryable: false })
}

pub fn settle(held: Task, decision: Decision, grow: Option<Growth>) -> Command {
    let retry = Retry::NEVER;
    Command::Settle(Box::new(Settle { grow, ..Settle::new(held, retry, decision) }))
}

impl Runs {
    pub fn launch(steps: Vec<NewStep>) -> (Self, RunId) {
        Self::launch_within(steps, None)
    }

    pub fn launch_within(steps: Vec<NewStep>, budget: Option<Budget>) -> (Self, RunId) {
        let now = Timestamp::from_micros(1_000_000);
        let mut this = Self { rows: Rows::default(), now, loaded: (0, 0), total: 0 };
        let id = RunId::new();
        let new = NewRun { spec: spec(id), priority: 0, steps, parent: None, budget, fresh: false };
        this.plan(vec![Command::Launch(Box::new(new))]);
        (this, id)
    }

    pub fn advance(&mut self, by: std::time::Duration) {
        self.now = self.now + by;
    }

    pub fn plan(&mut self, commands: Vec<Command>) {
        let receipts = self.try_plan(commands);
        assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    }

    pub fn try_plan(&mut self, commands: Vec<Command>) -> Vec<Receipt> {
        let mut plan = Plan::new(commands, self.now);
        self.loaded = (0, 0);
        while let Some(needs) = plan.needs() {
            let rows = self.rows.load(&needs);
            self.loaded.0 += rows.tasks.len() + rows.steps.len() + rows.edges.len();
            self.loaded.1 += 1;
            plan.supply(rows, self.now);
        }
        self.total += self.loaded.0;
        let (changes, receipts) = plan.finish();
        self.rows.apply(changes);
        receipts
    }

    pub fn claim(&mut self, id: TaskId) -> Task {
        let worker = InstanceId::from(uuid::Uuid::nil());
        let serves = std::sync::Arc::default();
        let claim = Claim { instance: worker, seq: 1, limit: 1, serves, again: false };
        let task = self.rows.tasks[&id].claimed(&claim, self.now);
        self.rows.tasks.insert(id, task.clone());
        task
    }

    pub fn end(&mut self, held: Vec<Task>, decision: &Decision) {
        self.plan(held.into_iter().map(|held| settle(held, decision.clone(), None)).collect());
    }

    /// Claims and ends a step.
    pub fn end_step(&mut self, run: RunId, no: u32, decision: Decision, grow: Option<Growth>) {
        let task = self.rows.steps[&(run, no)].task.expect("it was released");
        let held = self.claim(task);
        self.plan(vec![settle(held, decision, grow)]);
    }

    pub fn sound(&self) {
        let found = audit(&self.rows);
        assert!(found.is_empty(), "{found:#?}");
    }

    pub fn count(&self, state: StepState) -> usize {
        self.rows.steps.values().filter(|step| step.state == state).count()
    }

    pub fn state(&self, run: RunId, no: u32) -> StepState {
        self.rows.steps[&(run, no)].state
    }
}
