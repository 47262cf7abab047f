//! Runs whose processes are killed at random moments end as runs that were never killed.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    child::{Child, say, told},
    ordeal::{INPUTS, KILLS_OF_ONE, Left, Notes, Ordeal, flow, seed},
    place::{engine, eventually, fresh, run},
};

const KILLS: u32 = 200;
/// A process is killed within so many microseconds, mostly of its being ready.
const MOMENTS: u64 = 60_000;

/// What a child does: it works until it is killed, or until the parent closes the pipe.
pub async fn work(folder: &Path) {
    let builder = engine(folder).flow(&flow()).host(notes(folder));
    let engine = builder.start().await.expect("an engine");
    say("ready");
    told().await;
    engine.shutdown().await.expect("an orderly end");
}

fn notes(folder: &Path) -> Notes {
    Notes(folder.join("notes"))
}

async fn launch(inputs: &[u32]) -> (tempfile::TempDir, Ordeal) {
    let (folder, reader) = fresh().await;
    let notes = notes(folder.path());
    (folder, Ordeal::launch(reader, notes, inputs).await)
}

/// Lets one process work, and kills it at a random moment.
async fn kill_one(folder: &Path, ordeal: &mut Ordeal, random: &mut fastrand::Rng) {
    let mut child = Child::spawn(folder, "ordeal");
    if random.u8(..4) > 0 {
        child.hear("ready");
    }
    let moment = Instant::now() + Duration::from_micros(random.u64(..MOMENTS));
    let come = async || Instant::now() >= moment || ordeal.is_over().await;
    eventually("the moment has come", come).await;
    child.kill();
    ordeal.killed().await;
}

/// Lets one process work to the end.
async fn end(folder: &Path, ordeal: Ordeal) -> Vec<Left> {
    let child = Child::start(folder, "ordeal");
    let left = ordeal.end().await;
    child.finish();
    left
}

#[test]
fn runs_that_are_killed_at_two_hundred_moments_end_as_if_nobody_had() {
    run(async {
        let mut random = fastrand::Rng::with_seed(seed());
        let mut unharmed = BTreeMap::new();
        for input in INPUTS {
            let (folder, ordeal) = launch(&[input]).await;
            unharmed.insert(input, end(folder.path(), ordeal).await.remove(0));
        }
        let mut kills = 0;
        while kills < KILLS {
            let inputs = [random.u32(INPUTS), random.u32(INPUTS)];
            let (folder, mut ordeal) = launch(&inputs).await;
            for _ in 0..KILLS_OF_ONE {
                kill_one(folder.path(), &mut ordeal, &mut random).await;
                if ordeal.is_over().await {
                    break;
                }
                kills += 1;
            }
            for (input, left) in inputs.into_iter().zip(end(folder.path(), ordeal).await) {
                assert_eq!(left, unharmed[&input], "input {input}");
            }
        }
    });
}
