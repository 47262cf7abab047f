//! Random questions.

use segue::model::*;

use super::Workload;

impl Workload {
    pub(super) fn query(&mut self, rows: &Rows) -> Query {
        let limit = self.rng.u32(1..10);
        let project = self.rng.bool().then(|| self.project());
        match self.rng.u32(0..22) {
            0..4 => Query::Tasks {
                filter: self.filter(rows),
                after: self.rng.bool().then(|| self.task(rows)),
                limit,
            },
            4 => Query::Runs {
                filter: self.run_filter(project, rows),
                after: self.rng.bool().then(|| self.run(rows)),
                limit,
            },
            5..8 => Query::Inbox {
                filter: self.items(rows),
                after: self.pick(rows.items.keys().copied()).filter(|_| self.rng.bool()),
                limit,
            },
            8 => Query::Capacity {
                key: self.chance(30).then(|| "a".to_owned()),
                after: self.rng.bool().then(|| "a".to_owned()),
                limit,
            },
            9 => Query::Stats { project: self.project() },
            10 => Query::Messages {
                chat: self.chat(rows).unwrap_or_else(|| self.id()),
                after: self.rng.i64(0..9),
                limit,
            },
            11 => Query::Sessions { project, after: None, limit },
            12 => Query::Chats {
                project,
                session: self.pick(rows.sessions.keys().copied()),
                after: self.chat(rows),
                limit,
            },
            13..21 => self.query_of_agents(rows, limit),
            _ => Query::Instances,
        }
    }

    fn query_of_agents(&mut self, rows: &Rows, limit: u32) -> Query {
        match self.rng.u32(0..7) {
            0 => Query::AgentSessions {
                chat: self.chat(rows).unwrap_or_else(|| self.id()),
                after: self.pick(rows.agent_sessions.keys().copied()).filter(|_| self.rng.bool()),
                limit,
            },
            1 => Query::Turns {
                chat: self.chat(rows).unwrap_or_else(|| self.id()),
                after: self.pick(rows.turns.keys().copied()).filter(|_| self.rng.bool()),
                limit,
            },
            2 => Query::Ledger {
                of: self.account(rows),
                after: self.pick(rows.ledger.keys().copied()).filter(|_| self.rng.bool()),
                limit,
            },
            3 => Query::Parts {
                message: self.pick(rows.parts.keys().map(|key| key.0)).unwrap_or_else(|| self.id()),
                from: self.rng.u32(0..3),
                limit,
            },
            4 => Query::Orphans {
                host: "h".into(),
                after: self.pick(rows.processes.keys().copied()).filter(|_| self.rng.bool()),
                limit,
            },
            5 => Query::Agents {
                host: "h".into(),
                after: self.chance(30).then(|| "claude".into()),
                limit,
            },
            _ => Query::Spent { of: self.account(rows) },
        }
    }

    fn items(&mut self, rows: &Rows) -> ItemFilter {
        use ItemState::*;
        let states = [Open, Answered, Withdrawn].into_iter();
        ItemFilter {
            project: self.rng.bool().then(|| self.project()),
            task: self.chance(20).then(|| self.task(rows)),
            states: states.filter(|_| self.rng.bool()).collect(),
        }
    }

    fn run_filter(&mut self, project: Option<String>, rows: &Rows) -> RunFilter {
        use RunState::*;
        let states = [Running, Completed, Failed, Cancelled];
        let known = self.pick(rows.run_specs.values().map(|spec| spec.flow.clone()));
        let flow = if self.chance(20) { Some("none".into()) } else { known };
        RunFilter {
            project,
            states: states.into_iter().filter(|_| self.rng.u32(0..4) == 0).collect(),
            flow: flow.filter(|_| self.chance(40)),
        }
    }

    fn filter(&mut self, rows: &Rows) -> TaskFilter {
        use TaskState::*;
        let states = [Pending, Running, Blocked, Completed, Failed, Cancelled];
        TaskFilter {
            project: self.chance(30).then(|| self.project()),
            states: states.into_iter().filter(|_| self.rng.u32(0..6) == 0).collect(),
            kind: self.chance(20).then(|| "work".into()),
            parent: self.chance(10).then(|| self.task(rows)),
            run: self.chance(10).then(|| self.run(rows)),
            label: self.chance(10).then(|| ("l".into(), "v'%".into())),
            ..TaskFilter::default()
        }
    }
}
