//! A budget whose steps are at work in several processes, some of which are killed.

use std::path::Path;

use segue::model::OnBreach;

use super::{
    child::{Child, say, told},
    ordeal::seed,
    place::{engine, fresh, run},
    spending::{self, Process, Spending, WORKERS, flow},
};

impl Process for Child {
    fn kill(&mut self) {
        self.kill();
    }

    fn finish(self) {
        self.finish();
    }
}

/// What a child does: it works until it is killed, or until the parent closes the pipe.
pub async fn work(folder: &Path) {
    let builder = engine(folder).concurrency(WORKERS).flow(&flow());
    let engine = builder.start().await.expect("an engine");
    say("ready");
    told().await;
    engine.shutdown().await.expect("an orderly end");
}

#[test]
fn the_overrun_of_a_budget_is_at_most_that_of_the_steps_at_work_and_no_reservation_leaks() {
    run(async {
        let mut random = fastrand::Rng::with_seed(seed());
        for on_breach in [OnBreach::Fail, OnBreach::Ask] {
            let mut rounds = Vec::new();
            for _ in 0..6 {
                let (folder, reader) = fresh().await;
                let start = || Child::start(folder.path(), "spend");
                let spending = Spending::launch(reader, on_breach).await;
                rounds.push(spending.work(&mut random, start).await);
            }
            spending::check(&rounds, on_breach);
        }
    });
}
