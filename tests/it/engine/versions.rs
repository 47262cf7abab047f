//! Versions of a flow beside each other, and steps that changed under one version.

use std::collections::BTreeSet;

use segue::{
    Agent, Flow, Waiting,
    model::{Band, OnFailure, RunState},
};

use super::{flows::versioned, support::Store};

each_backend!(
    a_version_without_code_waits_and_runs_beside_the_new_one,
    a_flow_that_changed_under_its_version_waits_for_the_steps_it_had,
    a_band_is_found_by_its_steps_when_the_widths_have_changed,
    the_fingerprint_is_of_what_the_code_relies_on,
    a_tag_that_another_worker_has_is_no_change_of_the_code,
);

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

/// A flow of two steps, changed in one way.
fn drawn(change: &str) -> Flow<u32, u32> {
    let mut draft = Flow::new("drawn");
    let input = draft.input::<u32>();
    let first = if change == "name" { "other" } else { "first" };
    let add = async |_, n: u32| Ok(n + 1);
    let first = match change {
        "kind" => draft.gate(first, input, "good?"),
        "agent" => draft.agent(first, input, &Agent::named("a"), |n| n.to_string()),
        _ => draft.code(first, input, add),
    };
    let last = match change {
        "tolerance" => {
            draft.code("last", first.optional(), async |_, n: Option<u32>| Ok(n.unwrap_or(0)))
        }
        "order" => draft.code("last", (input, first), async |_, (a, b): (u32, u32)| Ok(a + b)),
        "sources" => draft.code("last", (first, input), async |_, (a, b): (u32, u32)| Ok(a + b)),
        _ => draft.code("last", first, add),
    };
    match change {
        "template" => drop(draft.template("t", async |_, n: u32| Ok(n))),
        "options" => draft.options(last, |options| options.timeout_ms = Some(9)),
        "policy" => draft.on_failure(first, OnFailure::Ignore),
        "memo" => draft.memo(last, 3),
        _ => {}
    }
    draft.returns(input, last)
}

async fn the_fingerprint_is_of_what_the_code_relies_on(store: Store) {
    let engine = store.builder().start().await.unwrap();
    let of = async |change: &str| {
        let run = engine.launch(&drawn(change), 1).await.unwrap();
        run.view().await.unwrap().spec.fingerprint
    };
    let plain = of("nothing").await;
    for change in ["options", "policy", "memo", "body"] {
        assert_eq!(of(change).await, plain, "{change}");
    }
    let mut known = BTreeSet::from([plain]);
    for change in ["name", "kind", "agent", "tolerance", "order", "sources", "template"] {
        assert!(known.insert(of(change).await), "{change}");
    }
    // Runs outlive programs: this is what a run that was launched before has.
    assert_eq!(of("nothing").await, "03ea41bef5e8");
}

async fn a_tag_that_another_worker_has_is_no_change_of_the_code(store: Store) {
    let mut draft = Flow::new("tagged");
    let input = draft.input::<()>();
    let step = draft.code("step", input, async |_, ()| Ok(1));
    draft.options(step, |options| options.tags = ["gpu".into()].into());
    let flow = draft.returns(input, step);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let other = store.builder().tag("gpu").start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    let task = engine.task(run.steps().await.unwrap()[0].task.unwrap());
    let missing = Waiting::CodeMissing("flow:tagged@1".into());
    assert_eq!(task.why().await.unwrap(), missing, "no worker has both");
    other.shutdown().await.unwrap();
    let none = Waiting::NoWorkerWithTag("gpu".into());
    assert_eq!(task.why().await.unwrap(), none);
}
