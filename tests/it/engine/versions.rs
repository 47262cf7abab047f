//! Versions of a flow beside each other, and steps that changed under one version.

use segue::{
    Flow, Waiting,
    model::{Band, RunState},
};

use super::support::Store;

each_backend!(
    a_version_without_code_waits_and_runs_beside_the_new_one,
    a_flow_that_changed_under_its_version_waits_for_the_steps_it_had,
    a_band_is_found_by_its_steps_when_the_widths_have_changed,
);

fn versioned(version: u32) -> Flow<(), u32> {
    let mut draft = Flow::new("versioned");
    draft.version(version);
    let input = draft.input::<()>();
    let step = draft.code("step", input, move |_, ()| async move { Ok(version) });
    draft.returns(input, step)
}

async fn a_version_without_code_waits_and_runs_beside_the_new_one(store: Store) {
    let (old, new) = (versioned(1), versioned(2));
    let engine = store.builder().flow(&new).start().await.unwrap();
    let waits = engine.launch(&old, ()).await.unwrap();
    let runs = engine.launch(&new, ()).await.unwrap();
    assert_eq!(runs.output().await.unwrap(), 2);
    engine.run_until_idle().await.unwrap();
    let task = engine.task(waits.steps().await.unwrap()[0].task.unwrap());
    let missing = Waiting::CodeMissing("flow:versioned@1".into());
    assert_eq!(task.why().await.unwrap(), missing);
    assert_eq!(engine.stuck().await.unwrap(), [(task.id(), missing)]);
    engine.shutdown().await.unwrap();
    let both = store.builder().flow(&old).flow(&new).start().await.unwrap();
    assert_eq!(both.run_of(&old, waits.id()).output().await.unwrap(), 1);
}

/// Two flows of one name and version, with one step more in the second.
fn changed(more: bool) -> Flow<(), u32> {
    let mut draft = Flow::new("changed");
    let input = draft.input::<()>();
    let mut step = draft.code("step", input, async |_, ()| Ok(1));
    if more {
        step = draft.code("more", step, async |_, n: u32| Ok(n + 1));
    }
    draft.returns(input, step)
}

async fn a_flow_that_changed_under_its_version_waits_for_the_steps_it_had(store: Store) {
    let (old, new) = (changed(false), changed(true));
    let engine = store.builder().flow(&new).start().await.unwrap();
    let run = engine.launch(&old, ()).await.unwrap();
    assert_eq!(engine.launch(&new, ()).await.unwrap().output().await.unwrap(), 2);
    engine.run_until_idle().await.unwrap();
    let task = engine.task(run.steps().await.unwrap()[0].task.unwrap());
    let waits = Waiting::CodeChanged("flow:changed@1".into());
    assert_eq!(task.why().await.unwrap(), waits);
    assert_eq!(engine.stuck().await.unwrap(), [(task.id(), waits)]);
    engine.shutdown().await.unwrap();

    let refused = store.builder().flow(&old).flow(&new).start().await.unwrap_err();
    assert!(refused.to_string().contains("`flow:changed@1` was registered twice"), "{refused}");
    // The steps are the same, what they do may differ.
    let engine = store.builder().flow(&changed(false)).start().await.unwrap();
    assert_eq!(engine.run_of(&old, run.id()).output().await.unwrap(), 1);
    let spec = run.view().await.unwrap().spec;
    assert_eq!(spec.fingerprint.len(), 12);
    assert_eq!(spec.need(), format!("flow:changed@1#{}", spec.fingerprint));
}

async fn a_band_is_found_by_its_steps_when_the_widths_have_changed(store: Store) {
    let wide = |small: u32, large: u32| {
        Flow::banded("wide", move |mut draft, band| {
            let input = draft.input::<()>();
            let width = if band == Band::Large { large } else { small };
            let one = |n| draft.code(format!("read {n}"), input, async |_, ()| Ok(1_u32));
            let readers: Vec<_> = (0..width).map(one).collect();
            let sum =
                draft.code("sum", readers, async |_, all: Vec<u32>| Ok(all.iter().sum::<u32>()));
            draft.returns(input, sum)
        })
    };
    let (old, new) = (wide(1, 3), wide(3, 5));
    let engine = store.builder().flow(&new).start().await.unwrap();
    let was_large = engine.launch(&old, ()).band(Band::Large).await.unwrap();
    let was_small = engine.launch(&old, ()).await.unwrap();
    assert_eq!(was_large.output().await.unwrap(), 3, "the new small band has the same steps");
    engine.run_until_idle().await.unwrap();
    assert_eq!(was_small.state().await.unwrap(), RunState::Running, "no band has one reader");
}
