//! Runs in random histories: steps with terms and policies of every kind, and all that is asked
//! of runs, also what is refused.

use super::*;

impl Workload {
    pub(super) fn launch(&mut self, rows: &Rows) -> Command {
        let count = if self.chance(70) { self.rng.u32(0..8) } else { self.rng.u32(8..30) };
        let mut numbers: Vec<u32> = (0..count).collect();
        self.rng.shuffle(&mut numbers);
        let mut steps: Vec<NewStep> =
            (0..count).map(|no| self.new_step(format!("s{no}"))).collect();
        for at in 1..numbers.len() {
            for _ in 0..self.rng.usize(0..4) {
                let on = numbers[self.rng.usize(0..at)];
                steps[numbers[at] as usize].after.push(on);
            }
        }
        let joins: Vec<bool> = steps.iter().map(|step| step.kind == StepKind::Join).collect();
        for step in &mut steps {
            self.ask(step, |on| joins[on as usize]);
        }
        if count > 0 && self.chance(5) {
            let at = self.rng.usize(0..steps.len());
            steps[at].after.push(self.rng.u32(0..count + 1));
        }
        let definition = Payload::of(&steps).unwrap();
        let spec = RunSpec {
            id: self.id(),
            project: self.project(),
            flow: if self.chance(30) { "other" } else { "test" }.into(),
            version: 1,
            band: Band::Medium,
            model: None,
            input: Payload::text("question"),
            definition,
            labels: [].into(),
            meta: None,
            forked_from: None,
            fingerprint: String::new(),
            base: self.chance(30).then(|| "0f3a".to_owned()),
            created_at: Timestamp::ZERO,
        };
        let known = self.chance(15).then(|| self.task(rows));
        let held: Vec<TaskId> = self.held.iter().rev().take(4).map(|task| task.id).collect();
        let held = self.pick(held);
        let parent = known.or(held.filter(|_| self.chance(15)));
        let priority = self.rng.i16(-2..3);
        let budget = self.chance(25).then(|| self.budget());
        let fresh = self.chance(20);
        Command::Launch(Box::new(NewRun { spec, priority, steps, parent, budget, fresh }))
    }

    fn new_step(&mut self, name: String) -> NewStep {
        let needs = vec!["flow:test@1".to_owned()];
        let keys = if self.chance(10) { vec!["a".to_owned()] } else { Vec::new() };
        let kind = match self.rng.u32(0..20) {
            0..4 => StepKind::Join,
            4 => StepKind::Agent,
            _ => StepKind::Code,
        };
        let mut step = NewStep::new(name, kind, Vec::new());
        step.lane = self.rng.bool().then(|| Lane::new(needs, keys));
        step.options = self.options();
        step.input = self.chance(10).then(|| Payload::text("of its own"));
        step.policy = Policy {
            otherwise: if self.chance(20) { Otherwise::Cancel } else { Otherwise::Skip },
            on_failure: match self.rng.u32(0..10) {
                0..6 => OnFailure::FailRun,
                6..9 => OnFailure::Ignore,
                _ => OnFailure::StopRun,
            },
            uses: self
                .chance(30)
                .then(|| Limits { tokens: Some(self.rng.u64(0..9)), ..Limits::default() }),
            delay_ms: self.chance(5).then(|| self.rng.u64(0..30_000)),
            ..Policy::default()
        };
        step
    }

    fn budget(&mut self) -> Budget {
        let limits = Limits {
            tokens: Some(self.rng.u64(0..25)),
            cost_micros: None,
            wall_ms: self.chance(20).then(|| self.rng.u64(0..90_000)),
        };
        Budget::new(limits, self.pick([OnBreach::Ask, OnBreach::Fail]).unwrap_or_default())
    }

    /// Gives a step terms on its edges and a quorum that they can mostly meet.
    fn ask(&mut self, step: &mut NewStep, is_join: impl Fn(u32) -> bool) {
        for on in step.after.clone() {
            if self.chance(45) {
                let mut terms = self.terms();
                terms.when.take_if(|_| is_join(on) && !self.chance(3));
                step.terms.insert(on, terms);
            }
        }
        let has = step.after.iter().collect::<BTreeSet<_>>().len() as u32;
        step.policy.quorum = match self.rng.u32(0..10) {
            0..6 => Quorum::All,
            6 | 7 if has > 0 => Quorum::Any,
            _ if has > 0 => Quorum::AtLeast(self.rng.u32(1..has + 1)),
            _ if self.chance(3) => Quorum::AtLeast(self.rng.u32(0..3)),
            _ => Quorum::All,
        };
    }

    fn terms(&mut self) -> Terms {
        let one = || [Tolerance::FAILED, Tolerance::SKIPPED, Tolerance::CANCELLED].into_iter();
        let tolerates = match self.rng.u32(0..10) {
            0..3 => Tolerance::NONE,
            3..6 => Tolerance::ANY,
            _ => {
                let two = (self.pick(one()), self.pick(one()));
                two.0.unwrap_or_default().and(two.1.unwrap_or_default())
            }
        };
        let least = Condition::AtLeast("/n".into(), self.rng.u32(0..5).into());
        let when = match self.rng.u32(0..10) {
            0 => Some(least),
            1 => Some(Condition::Not(Box::new(least))),
            2 => Some(Condition::Exists("/n".into())),
            _ => None,
        };
        Terms { tolerates, when }
    }

    /// What a step adds to its run, which now and then can't be.
    pub(super) fn growth(&mut self, rows: &Rows, (run, by): (RunId, u32)) -> Growth {
        let range = || rows.steps.range((run, 0)..=(run, u32::MAX)).map(|(_, step)| step);
        let old: Vec<u32> = range().map(|step| step.no).collect();
        let pending = range().filter(|step| step.state == StepState::Pending);
        let pending: Vec<u32> = pending.map(|step| step.no).collect();
        let mut growth = Growth::default();
        for place in 0..self.rng.u32(0..5) {
            let mut step = self.new_step(format!("n{place}"));
            for _ in 0..self.rng.u32(0..3) {
                let new = Growth::NEW + self.rng.u32(0..place + 1);
                let any = self.pick(old.iter().copied()).unwrap_or(by);
                let on = match self.rng.u32(0..10) {
                    0..4 => by,
                    4..7 if new < Growth::NEW + place || self.chance(3) => new,
                    _ => any,
                };
                step.after.push(on);
            }
            let joins: Vec<bool> =
                growth.steps.iter().map(|step| step.kind == StepKind::Join).collect();
            let is_join = |on: u32| match on.checked_sub(Growth::NEW) {
                Some(place) => joins.get(place as usize).copied().unwrap_or(false),
                None => rows.steps.get(&(run, on)).is_some_and(|step| step.kind == StepKind::Join),
            };
            self.ask(&mut step, is_join);
            growth.steps.push(step);
        }
        let count = growth.steps.len() as u32;
        for _ in 0..self.rng.u32(0..3) {
            let to = self.pick(pending.iter().copied()).or(self.pick(old.iter().copied()));
            if count > 0
                && let Some(to) = to
            {
                let from = self.rng.u32(0..count);
                let mut terms = self.terms();
                let join = growth.steps[from as usize].kind == StepKind::Join;
                terms.when.take_if(|_| join);
                growth.into.push((from, to, terms));
            }
        }
        self.spoil(&mut growth);
        growth
    }

    fn spoil(&mut self, growth: &mut Growth) {
        if growth.steps.is_empty() || !self.chance(10) {
            return;
        }
        let at = self.rng.usize(0..growth.steps.len());
        let step = &mut growth.steps[at];
        match self.rng.u32(0..7) {
            0 => step.name = "n".repeat(limits::NAME_BYTES),
            1 => step.name = "n/0".into(),
            2 => step.name = "n0".into(),
            3 => step.after.push(9_999),
            4 => step.after.push(Growth::NEW + 77),
            5 => growth.into.push((at as u32, 9_999, Terms::default())),
            _ => growth.into.extend(growth.into.first().cloned()),
        }
    }

    /// A run that the task launched, if there is one.
    pub(super) fn awaited(&mut self, rows: &Rows, held: &Task) -> Option<RunId> {
        let own = rows.runs.values().filter(|run| run.parent == Some(held.id));
        let own = self.pick(own.map(|run| run.id));
        own.or_else(|| self.chance(5).then(|| self.run(rows)))
    }

    pub(super) fn of_a_run(&mut self, rows: &Rows) -> Command {
        let run = self.run(rows);
        match self.rng.u32(0..20) {
            0..3 => Command::CancelRun(run),
            3..6 => Command::PauseRun(run),
            6..10 => Command::ResumeRun(run),
            10..13 => {
                let open = rows.steps.values().filter(|step| !step.state.is_terminal());
                let open = self.pick(open.map(|step| (step.run, step.no)));
                let (run, no) = open.filter(|_| self.chance(80)).unwrap_or((run, 1));
                Command::CancelStep { run, no }
            }
            13..18 => {
                let over = rows.runs.values().filter(|run| run.state.is_terminal());
                let over = self.pick(over.map(|run| (run.id, run.attempt)));
                let (run, attempt) = over.filter(|_| self.chance(90)).unwrap_or((run, 1));
                let all = [RetryRun::All, RetryRun::FailedOnly, RetryRun::FailedAndDownstream];
                let how = self.pick(all).unwrap_or(RetryRun::All);
                let attempt = if self.chance(95) { attempt } else { self.rng.u32(0..4) };
                Command::RetryRun { run, attempt, how }
            }
            _ => {
                let step = self.pick(rows.steps.keys().copied()).filter(|_| self.chance(95));
                let (from, no) = step.unwrap_or((run, 77));
                let known = self.chance(4).then(|| self.run(rows));
                let run = known.unwrap_or_else(|| self.id());
                let input = self.chance(40).then(|| Payload::text("another"));
                Command::Fork { from, no, run, input }
            }
        }
    }
}
