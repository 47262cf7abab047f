//! Rules as data: a flow, a script of commands, and what must come of it.
//!
//! `check("a -> b -> c; a -> d", "claim a; fail a", "a=failed b=skipped c=skipped d=skipped
//! run=failed")` is the door to the rules' tests.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::FutureExt;
use segue::{
    backend::Backend,
    clock::{ManualClock, Timestamp},
    id::*,
    model::*,
};

use super::own_backend::OwnBackend;

/// A backend with named tasks.
pub struct World {
    backend: OwnBackend,
    clock: ManualClock,
    names: BTreeMap<String, TaskId>,
    run: Option<RunId>,
    /// Each row that a claim gave, by name; the last is the current one.
    held: BTreeMap<String, Vec<Task>>,
    worker: InstanceId,
    claims: i64,
}

/// Runs a script on a flow. The result lists the steps and the run.
#[track_caller]
pub fn check(flow: &str, script: &str, expected: &str) {
    let mut world = World::new();
    world.launch(flow, &TaskOptions::default());
    world.script(script);
    assert_eq!(world.outcome(), expected, "{flow} / {script}");
}

/// Runs a script on one task, `t`, with these options.
#[track_caller]
pub fn check_task(options: TaskOptions, script: &str, expected: &str) {
    let mut world = World::new();
    world.enqueue("t", |spec| spec.options = options);
    world.script(script);
    assert_eq!(world.task_line("t"), expected, "{script}");
}

impl World {
    pub fn new() -> Self {
        let clock = ManualClock::default();
        Self {
            backend: OwnBackend::new(clock.clone()),
            clock,
            names: BTreeMap::new(),
            run: None,
            held: BTreeMap::new(),
            worker: InstanceId::new(),
            claims: 0,
        }
    }

    pub fn rows(&self) -> Rows {
        let all = Needs::everything();
        self.backend.read(&all).now_or_never().unwrap().unwrap()
    }

    pub fn task(&self, name: &str) -> Task {
        self.rows().tasks[&self.names[name]].clone()
    }

    pub fn id(&self, name: &str) -> TaskId {
        self.names[name]
    }

    pub fn run_id(&self) -> RunId {
        self.run.expect("the script has a run")
    }

    pub fn commit(&self, batch: Batch) -> Committed {
        let committed = self.backend.commit(batch).now_or_never().unwrap().unwrap();
        let found = audit(&self.rows());
        assert!(found.is_empty(), "{found:#?}");
        committed
    }

    pub fn one(&self, command: Command) -> Receipt {
        let commands = vec![command];
        self.commit(Batch { commands, claim: None }).receipts.remove(0)
    }

    /// Makes a task that only `claim NAME` takes.
    pub fn enqueue(&mut self, name: &str, change: impl FnOnce(&mut TaskSpec)) {
        let mut spec = TaskSpec::new(TaskId::new(), name, Payload::null());
        change(&mut spec);
        self.names.insert(name.into(), spec.id);
        self.one(Command::Enqueue(Box::new(spec))).unwrap();
    }

    /// Launches a flow: `a -> b; c` is three steps.
    pub fn launch(&mut self, flow: &str, options: &TaskOptions) {
        let steps = parse(flow, options);
        let id = RunId::new();
        for (no, step) in steps.iter().enumerate() {
            self.names.insert(step.name.clone(), TaskId::of_step(id, no as u32, 1));
        }
        let spec = RunSpec {
            id,
            project: "default".into(),
            flow: "test".into(),
            version: 1,
            band: Band::Small,
            model: None,
            input: Payload::null(),
            definition: Payload::of(&steps).unwrap(),
            labels: BTreeMap::new(),
            meta: None,
            forked_from: None,
            fingerprint: String::new(),
            base: None,
            created_at: Timestamp::ZERO,
        };
        self.run = Some(id);
        let launch = Command::Launch(Box::new(NewRun {
            spec,
            priority: 0,
            steps,
            parent: None,
            budget: None,
            fresh: false,
        }));
        self.one(launch).unwrap();
    }

    /// Carries out commands, parted by `;`. `! Why` after one says that it is refused so.
    #[track_caller]
    pub fn script(&mut self, script: &str) {
        for line in script.split(';').map(str::trim).filter(|line| !line.is_empty()) {
            let (words, refusal) = match line.split_once('!') {
                Some((words, refusal)) => (words.trim(), Some(refusal.trim())),
                None => (line, None),
            };
            match (self.line(words), refusal) {
                (Ok(_), None) => {}
                (Err(why), Some(expected)) if format!("{why:?}").starts_with(expected) => {}
                (receipt, _) => panic!("`{line}` in `{script}` was answered {receipt:?}"),
            }
        }
    }

    /// Carries out one command; its task is `t` unless it names another.
    pub fn line(&mut self, line: &str) -> Receipt {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let name = words.next().unwrap_or("t");
        match (verb, name) {
            ("claim", _) => return self.claim(name),
            ("wait", _) => {
                self.clock
                    .advance(Duration::from_secs(name.trim_end_matches('s').parse().unwrap()));
                return self.ripen();
            }
            ("cancel", "run") => return self.one(Command::CancelRun(self.run_id())),
            ("pause", "run") => return self.one(Command::PauseRun(self.run_id())),
            ("resume", "run") => return self.one(Command::ResumeRun(self.run_id())),
            _ => {}
        }
        let id = self.names[name];
        let command = match verb {
            "cancel" => Command::Cancel(id),
            "retry" => Command::Retry(id),
            "pause" => Command::Pause(id),
            "resume" => Command::Resume(id),
            "rescue" => Command::Rescue { task: id, lease: self.task(name).lease },
            "old-rescue" => {
                let lease = self.held[name].first().expect("it was claimed").lease;
                Command::Rescue { task: id, lease }
            }
            "yes" | "no" | "again" | "fail-it" => self.answer(id, verb),
            _ => self.settle(verb, name),
        };
        self.one(command)
    }

    fn claim(&mut self, name: &str) -> Receipt {
        self.claims += 1;
        let claim = Claim {
            instance: self.worker,
            seq: self.claims,
            limit: 1,
            serves: Arc::new([format!("task:{name}")].into()),
            again: false,
        };
        let batch = Batch { commands: Vec::new(), claim: Some(claim) };
        match self.commit(batch).claimed.pop() {
            Some(claimed) => {
                self.held.entry(name.into()).or_default().push(claimed.task);
                Ok(Outcome::Done)
            }
            None => Err(Rejection::Invalid("nothing to claim".into())),
        }
    }

    fn ripen(&self) -> Receipt {
        let due = self.backend.due(self.worker, 1_000).now_or_never().unwrap().unwrap();
        for task in due.ripe {
            self.one(Command::Ripen(Box::new(task))).unwrap();
        }
        Ok(Outcome::Done)
    }

    fn answer(&self, task: TaskId, value: &str) -> Command {
        let value = match value {
            "again" => "run again",
            "fail-it" => "fail",
            other => other,
        };
        let rows = self.rows();
        let mut items = rows.items.values().filter(|item| item.task == task);
        let open = items.clone().find(|item| item.state == ItemState::Open);
        let item = open.or_else(|| items.next_back()).expect("something was asked").id;
        Command::Answer { item, answer: Answer { value: Payload::text(value), by: "ann".into() } }
    }

    /// A decision on the current attempt; with `old-` before it, on the first one.
    fn settle(&self, verb: &str, name: &str) -> Command {
        let (verb, attempts) = match verb.strip_prefix("old-") {
            Some(verb) => (verb, self.held[name].first()),
            None => (verb, self.held[name].last()),
        };
        let held = attempts.expect("it was claimed").clone();
        let fault = |retryable| {
            let message = "broken".to_owned();
            Decision::Fail(Fault { kind: FaultKind::Error, message, retryable })
        };
        let decision = match verb {
            "complete" => Decision::Complete(Payload::text("output")),
            "fail" => fault(true),
            "give-up" => fault(false),
            "snooze" => Decision::Snooze(Duration::from_secs(10)),
            "block" => Decision::Block(vec![question()]),
            "release" => Decision::Release,
            "park" => Decision::Park { key: "k".into(), wait: Duration::from_secs(10) },
            "stop" => Decision::Cancelled,
            other => panic!("no command is called `{other}`"),
        };
        let spec = &self.rows().specs[&held.id];
        let retry = spec.options.retry.clone();
        Command::Settle(Box::new(Settle::new(held, retry, decision)))
    }

    /// `ready attempt=1 lease=1 failures=0 interruptions=0`, without the zeros.
    pub fn task_line(&self, name: &str) -> String {
        let task = self.task(name);
        let counts = [
            ("attempt", i64::from(task.attempt)),
            ("lease", task.lease),
            ("failures", i64::from(task.failures)),
            ("interruptions", i64::from(task.interruptions)),
        ];
        let counts = counts.iter().filter(|(_, count)| *count != 0);
        let counts = counts.map(|(what, count)| format!(" {what}={count}")).collect::<String>();
        let cancel = if task.flags.has(TaskFlags::CANCEL) { " cancelling" } else { "" };
        format!("{:?}{cancel}{counts}", task.phase).to_lowercase()
    }

    fn outcome(&self) -> String {
        let (rows, run) = (self.rows(), self.run_id());
        let steps = rows.steps.values().filter(|step| step.run == run);
        let state = |step: &Step| match step.state {
            StepState::Running => format!("{:?}", rows.tasks[&step.task.unwrap()].phase),
            state => format!("{state:?}"),
        };
        let steps = steps.map(|step| format!("{}={} ", step.name, state(step).to_lowercase()));
        let run = format!("run={:?}", rows.runs[&run].state).to_lowercase();
        steps.chain([run]).collect()
    }
}

pub fn question() -> Ask {
    Ask {
        id: ItemId::new(),
        kind: ItemKind::Question,
        key: "sure".into(),
        body: Payload::text("sure?"),
        options: vec!["yes".into(), "no".into()],
    }
}

/// Steps in the order in which they are first named.
fn parse(flow: &str, options: &TaskOptions) -> Vec<NewStep> {
    let mut steps: Vec<NewStep> = Vec::new();
    for path in flow.split(';').map(str::trim).filter(|path| !path.is_empty()) {
        let mut before = None;
        for name in path.split("->").map(str::trim) {
            let at = steps.iter().position(|step| step.name == name).unwrap_or_else(|| {
                steps.push(step(name, options));
                steps.len() - 1
            });
            steps[at].after.extend(before);
            before = Some(at as u32);
        }
    }
    steps
}

fn step(name: &str, options: &TaskOptions) -> NewStep {
    NewStep {
        lane: Some(Lane::new(vec![format!("task:{name}")], Vec::new())),
        options: options.clone(),
        ..NewStep::new(name, StepKind::Code, Vec::new())
    }
}
