//! Looking at runs: why they wait, and what they look like.

use std::{sync::Arc, time::Duration};

use segue::{
    Context, Dependency, Engine, Failure, Flow, NewTask, OpenStep, Run, RunWaiting, StepWaiting,
    Waiting,
    clock::ManualClock,
    id::RunId,
    model::{Event, Retry, RunFilter, RunState, StepState, TaskState},
    view::{Glyphs, RecordFormat, RunRecord},
};
use serde_json::{Value, json};

use super::support::{Probe, Store, eventually, hold};

each_backend!(
    a_step_says_what_it_waits_for,
    a_paused_run_waits_for_someone,
    a_run_says_what_its_steps_wait_for,
    a_record_is_the_same_after_json,
    large_outputs_are_cut_in_markdown_only,
    hostile_names_are_only_text,
    a_timeline_shows_each_attempt,
    a_live_run_is_drawn_until_now,
    a_run_of_many_steps_is_folded,
    runs_are_paged_and_filtered,
);

/// held -> after -> far; beside -> far.
fn holding() -> Flow<(), ()> {
    let mut draft = Flow::new("holding");
    let input = draft.input::<()>();
    let held =
        draft.code("held", input, async |context, ()| hold(context, json!(null)).await.map(drop));
    let after = draft.code("after", held, async |_, ()| Ok(()));
    let beside = draft.code("beside", input, async |_, ()| Ok(()));
    let far = draft.code("far", (after, beside), async |_, _: ((), ())| Ok(()));
    draft.returns(input, far)
}

async fn of_steps(run: &Run<()>, name: &str) -> StepWaiting {
    run.why_step(name).await.unwrap()
}

async fn a_step_says_what_it_waits_for(store: Store) {
    let (flow, probe) = (holding(), Probe::default());
    let engine = store.builder().flow(&flow).host(probe.clone()).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    probe.arrived(1).await;
    let beside = StepWaiting::Ended { state: StepState::Completed, reason: None };
    eventually("the other step ends", || async { of_steps(&run, "beside").await == beside }).await;
    let StepWaiting::Task { task, waiting } = of_steps(&run, "held").await else {
        panic!("a task")
    };
    assert_eq!(waiting, engine.task(task).why().await.unwrap(), "as the task says");
    assert!(matches!(waiting, Waiting::Running { cancelling: false, .. }), "{waiting}");
    let (running, pending) = (StepState::Running, StepState::Pending);
    let held =
        Dependency { no: 0, name: "held".into(), state: running, task: Some(TaskState::Running) };
    assert_eq!(of_steps(&run, "after").await, StepWaiting::Dependencies(vec![held]));
    let after = Dependency { no: 1, name: "after".into(), state: pending, task: None };
    let far = of_steps(&run, "far").await;
    assert_eq!(far, StepWaiting::Dependencies(vec![after]), "not for what has ended");
    assert_eq!(far.to_string(), "the end of `after`");
    assert!(run.why_step("nobody").await.unwrap_err().is_not_found());
    assert!(engine.run(RunId::new()).why_step("held").await.unwrap_err().is_not_found());
    run.cancel().await.unwrap();
    run.ended().await.unwrap();
    let state = StepState::Cancelled;
    let reason = Some("the run was cancelled".to_owned());
    assert_eq!(of_steps(&run, "far").await, StepWaiting::Ended { state, reason });
}

async fn a_paused_run_waits_for_someone(store: Store) {
    let (flow, probe) = (holding(), Probe::default());
    let engine = store.builder().flow(&flow).host(probe.clone()).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    probe.arrived(1).await;
    eventually("the other step ends", || async {
        matches!(of_steps(&run, "beside").await, StepWaiting::Ended { .. })
    })
    .await;
    run.pause().await.unwrap();
    let RunWaiting::Paused(steps) = run.why().await.unwrap() else { panic!("it is paused") };
    assert_eq!(steps.len(), 1, "what runs goes on: {steps:?}");
    assert!(matches!(of_steps(&run, "after").await, StepWaiting::Dependencies(_)));
    probe.let_go(1);
    let paused = StepWaiting::RunPaused(run.id());
    eventually("the next step is held back", || async { of_steps(&run, "after").await == paused })
        .await;
    let why = run.why().await.unwrap();
    let after = OpenStep { no: 1, name: "after".into(), waiting: paused };
    assert_eq!(why, RunWaiting::Paused(vec![after]));
    assert!(why.is_stuck());
    assert!(why.to_string().starts_with("someone to resume it"), "{why}");
    run.resume().await.unwrap();
    assert_eq!(run.ended().await.unwrap(), RunState::Completed);
    let ended = RunWaiting::Ended { state: RunState::Completed, reason: None };
    assert_eq!(run.why().await.unwrap(), ended);
}

/// Five steps that fail, ask, wait for a slot, and run.
fn waiting() -> Flow<(), ()> {
    let mut draft = Flow::new("waiting");
    let input = draft.input::<()>();
    let retried = draft.code("retried", input, async |_, ()| Err::<(), _>(Failure::new("no")));
    let retry = Retry::every(2, Duration::from_secs(60));
    draft.options(retried, |options| options.retry = retry);
    draft.code("asks", input, async |context: Context, ()| {
        context.ask("q", "well?", &[]).await.map(drop)
    });
    let full = ["one", "two", "three", "four"].map(|name| {
        let step = draft.code(name, input, async |_, ()| Ok(()));
        draft.options(step, |options| options.capacity = vec!["k".into()]);
        step
    });
    let end = draft.code("end", full, async |_, _| Ok(()));
    draft.returns(input, end)
}

async fn a_run_says_what_its_steps_wait_for(store: Store) {
    let (flow, clock, probe) = (waiting(), ManualClock::default(), Probe::default());
    let builder = store.builder().clock(clock.clone()).flow(&flow).host(probe.clone());
    let engine = builder.task("hold", hold).capacity("k", 1).start().await.unwrap();
    engine.submit(NewTask::new("hold", &()).capacity("k")).await.unwrap();
    probe.arrived(1).await;
    let run = engine.launch(&flow, ()).await.unwrap();
    eventually("two steps have failed and asked", || async {
        let steps = run.why().await.unwrap();
        !steps.steps()[..2].iter().any(|step| {
            matches!(&step.waiting, StepWaiting::Task { waiting, .. }
                if matches!(waiting, Waiting::Worker | Waiting::Running { .. }))
        })
    })
    .await;
    let why = run.why().await.unwrap();
    assert_eq!(why.steps().len(), 6, "all but the one that waits for others: {why:?}");
    for step in why.steps() {
        let StepWaiting::Task { task, waiting } = &step.waiting else { panic!("{step:?}") };
        assert_eq!(*waiting, engine.task(*task).why().await.unwrap(), "as the task says");
        assert_eq!(step.waiting, run.why_step(&step.name).await.unwrap(), "as the step says");
    }
    let of = |no: usize| match &why.steps()[no].waiting {
        StepWaiting::Task { waiting, .. } => waiting.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(of(0), Waiting::Retry { at: clock.now() + Duration::from_secs(60), failures: 1 });
    assert!(matches!(of(1), Waiting::Answer(items) if items.len() == 1));
    let full = Waiting::Capacity { key: "k".into(), slots: 1 };
    assert_eq!(of(5), full);
    assert!(!why.is_stuck(), "the retry comes by itself");
    let text = why.to_string();
    let group = format!("`one`, `two`, `three` and 1 more: {full}");
    assert!(text.contains(&group), "{text}");
    run.cancel().await.unwrap();
    run.ended().await.unwrap();
    probe.let_go(1);
}

/// A step that fails twice, one that fails, one that is skipped, and a report.
fn eventful() -> Flow<Value, String> {
    let mut draft = Flow::new("eventful");
    let input = draft.input::<Value>();
    let third =
        draft.code("third time", input, async |context: Context, _| match context.attempt() {
            3 => Ok(json!({"n": 18_446_744_073_709_551_615_u64, "f": 0.1})),
            n => Err(Failure::new(format!("attempt {n} | failed"))),
        });
    draft.options(third, |options| options.retry = Retry::every(3, Duration::ZERO));
    let nothing = draft.code("nothing", input, async |_, _| Ok(()));
    let bad = draft.code("bad", nothing, async |_, ()| Err::<(), _>(Failure::new("no\nway")));
    draft.code("skipped", bad, async |_, ()| Ok(()));
    let report = draft.code("report", third, async |_, _| Ok("# Found\n```\nopen".to_owned()));
    draft.reports(report);
    draft.returns(input, report)
}

async fn ended(engine: &Engine, flow: &Flow<Value, String>, input: Value) -> RunRecord {
    let launch = engine.launch(flow, input).project("p").label("who", "Ada");
    let run = launch.meta(&json!({"tab": 1})).await.unwrap();
    run.ended().await.unwrap();
    run.record().await.unwrap()
}

async fn a_record_is_the_same_after_json(store: Store) {
    let flow = eventful();
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let record = ended(&engine, &flow, json!({"q": "w\u{0}h\u{7}y?"})).await;
    let text = record.to_json();
    assert_eq!(RunRecord::from_json(&text).unwrap(), record);
    let compact = serde_json::to_vec(&record).unwrap();
    assert_eq!(serde_json::from_slice::<RunRecord>(&compact).unwrap(), record);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::from_value::<RunRecord>(value.clone()).unwrap(), record);
    assert_eq!(value["format"], "segue.run/1");
    assert_eq!(value["run"]["meta"]["tab"], 1, "JSON stands in it as JSON");
    let attempts = &value["steps"][0]["task"]["attempts"];
    assert_eq!(attempts.as_array().unwrap().len(), 3);
    assert_eq!(attempts[0]["error"], "attempt 1 | failed");
    assert_eq!(attempts[2]["output"]["n"], json!(18_446_744_073_709_551_615_u64));
    assert_eq!(value["edges"][0], json!({"from": 0, "to": 4}));
    assert_eq!(record.format, RecordFormat::V1);
    let null = record.steps[1].task.as_ref().unwrap().attempts[0].output.as_ref();
    assert_eq!(null.unwrap().as_str(), "null", "which is not no output");
    let told = record.events.iter().map(|entry| entry.seq);
    assert!(told.eq(1..=record.events.len() as i64), "without gaps");
    let last = record.events.last().and_then(|entry| entry.events.last());
    assert_eq!(last, Some(&Event::RunEnded { state: RunState::Failed }));
    let newer = text.replace("segue.run/1", "segue.run/99");
    let error = RunRecord::from_json(&newer).unwrap_err().to_string();
    assert!(error.contains("segue.run/99"), "{error}");
    assert!(engine.run(RunId::new()).record().await.unwrap_err().is_not_found());
}

async fn large_outputs_are_cut_in_markdown_only(store: Store) {
    let flow = eventful();
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let record = ended(&engine, &flow, json!("`````".repeat(10_000))).await;
    assert_eq!(RunRecord::from_json(&record.to_json()).unwrap(), record);
    assert!(record.to_json().len() > 50_000, "whole in JSON");
    let page = record.markdown();
    assert!(page.len() < 20_000, "{} bytes", page.len());
    assert!(page.contains("*Cut: the first 4,000 of 50,000 characters.*"), "{page}");
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(lines[0], "# eventful (failed)");
    let row = |no: usize| lines.iter().find(|line| line.starts_with(&format!("| {no} |"))).unwrap();
    assert!(row(0).starts_with("| 0 | third time | code | completed | 3 |"), "{}", row(0));
    assert!(row(0).ends_with("| attempt 2 \\| failed |"), "{}", row(0));
    assert!(row(2).ends_with("| no way |"), "{}", row(2));
    assert!(row(3).contains("| skipped | 0 |  |  | \\`bad\\`, which it depends on"), "{}", row(3));
    assert!(page.contains("## Output of third time\n\n```json\n{"), "{page}");
    assert!(!page.contains("## Output of report"), "it stands once");
    let report = "## Report\n\n# Found\n```\nopen\n```\n";
    assert!(page.ends_with(report), "its open fence is closed: {page}");
    let ends_early = |line: &&&str| line.contains("`````") && line.len() < 100;
    assert_eq!(lines.iter().find(ends_early), None, "a value ends its block");
}

async fn hostile_names_are_only_text(store: Store) {
    let names = [
        "\"]; click s0 \"javascript:alert(1)\"",
        "]]><script>alert(1)<!--",
        "a | b `c` *d* [e](f)\nsecond line",
        "%%{init: {'theme':'x'}}%%",
        "\u{202e}gpj.exe\u{7}\u{1b}[31m",
        "1. a list",
        "end",
        "\u{65e5}\u{672c}\u{8a9e}",
    ];
    let mut draft = Flow::new("<img src=x onerror=alert(1)>\"]");
    let input = draft.input::<()>();
    let steps = names.map(|name| draft.code(name, input, async |_, ()| Ok(())));
    let end = draft.code("last", steps, async |_, _| Err::<(), _>(Failure::new("</style>|`]]>")));
    let flow = draft.returns(input, end);
    let plan = flow.mermaid(segue::model::Band::Small);
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    run.ended().await.unwrap();
    let record = run.record().await.unwrap();
    assert_eq!(RunRecord::from_json(&record.to_json()).unwrap(), record);
    for drawn in [plan, run.mermaid().await.unwrap()] {
        for line in drawn.lines().filter(|line| line.contains('"')) {
            let inside = line.split('"').nth(1).unwrap();
            assert_eq!(line.matches('"').count(), 2, "a name ends its label: {line}");
            let bad = |c: char| "<>[]{}%`:;\\|".contains(c) || c.is_control();
            let rest = entities_removed(inside);
            assert!(!rest.contains(bad) && !rest.contains('\u{202e}'), "{line}");
        }
        assert!(drawn.contains("s6[\"end\"]") && drawn.contains("\u{65e5}"), "{drawn}");
    }
    let svg = record.timeline_svg();
    well_formed(&svg);
    assert!(!svg.contains("<script") && !svg.contains("<img") && !svg.contains('\u{202e}'));
    for glyphs in [Glyphs::Unicode, Glyphs::Ascii] {
        let text = record.timeline_text(80, glyphs);
        assert!(text.lines().count() <= 9 + 4, "one line a step: {text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    let page = record.markdown();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #"));
    for row in rows {
        let bars = row.replace("\\\\", "").replace("\\|", "").matches('|').count();
        assert_eq!(bars, 9, "a name makes a cell: {row}");
    }
    assert!(!page.contains("\n<") && !page.contains(" <img"), "{page}");
}

/// Without the entities of Mermaid.
fn entities_removed(text: &str) -> String {
    let mut parts = text.split('#');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| all + part.split_once(';').expect("an entity ends").1)
}

/// Fails where tags do not nest, or something stands bare that must not.
fn well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some((text, tag)) = rest.split_once('<') {
        let bare = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
        let bare = bare.replace("&quot;", "").replace("&#39;", "");
        assert!(!bare.contains('&'), "a bare `&`: {text}");
        let (tag, then) = tag.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "an attribute is open: {tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "it closes another"),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split_whitespace().next().unwrap()),
        }
        rest = then;
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "open: {open:?}");
    let safe = ["<script", "href", "url(", "@import", "onload", "onerror"];
    let found: Vec<_> = safe.into_iter().filter(|part| svg.contains(part)).collect();
    assert!(found.iter().all(|part| *part == "onerror"), "{found:?}");
}

async fn a_timeline_shows_each_attempt(store: Store) {
    let flow = eventful();
    let engine = store.builder().flow(&flow).start().await.unwrap();
    let record = ended(&engine, &flow, json!(null)).await;
    let svg = record.timeline_svg();
    well_formed(&svg);
    let bars = |class: &str| svg.matches(&format!("<rect class=\"{class} work\"")).count();
    assert_eq!((bars("failed"), bars("completed")), (3, 3), "{svg}");
    assert!(svg.contains("attempt 2, failed, "), "a bar says which it is");
    assert!(svg.contains("@media (prefers-color-scheme:dark)"));
    assert!(svg.contains(" \u{d7}3</text>"), "how often it was tried");
    for (glyphs, cross) in [(Glyphs::Unicode, "\u{d7}3"), (Glyphs::Ascii, "x3")] {
        let text = record.timeline_text(80, glyphs);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5 + 3, "{text}");
        assert!(lines[0].starts_with("eventful: failed, "), "{text}");
        assert!(lines[2].starts_with("third time |") && lines[2].ends_with(cross), "{text}");
        assert!(lines[2].contains('x'), "a failed attempt: {text}");
        assert!(lines[5].ends_with("| skipped"), "{text}");
        assert!(lines[7].contains("x failed"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert!(glyphs == Glyphs::Unicode || text.is_ascii(), "{text}");
    }
}

async fn a_live_run_is_drawn_until_now(store: Store) {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let mut draft = Flow::new("live");
    let input = draft.input::<()>();
    draft.code("asks", input, async |context: Context, ()| {
        context.ask("q", "well?", &[]).await.map(drop)
    });
    let held =
        draft.code("held", input, async |context, ()| hold(context, json!(null)).await.map(drop));
    let after = draft.code("after", held, async |_, ()| Ok(()));
    let flow = draft.returns(input, after);
    let builder = store.builder().clock(clock.clone()).flow(&flow).host(probe.clone());
    let engine = builder.start().await.unwrap();
    let run = engine.launch(&flow, ()).await.unwrap();
    probe.arrived(1).await;
    eventually("it asks", || async { engine.inbox(None, 10).await.unwrap().len() == 1 }).await;
    clock.advance(Duration::from_secs(90));
    let record = run.record().await.unwrap();
    assert_eq!(record.read_at, clock.now());
    let text = record.timeline_text(100, Glyphs::Ascii);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("live: running, 1 min 30 s, 3 steps"), "{text}");
    assert!(lines[1].contains("|30 s") && lines[1].ends_with("|1 min"), "{text}");
    assert!(lines[2].contains("?:::::::::"), "it waits for a person: {text}");
    assert!(lines[2].ends_with("blocked 0 s"), "{text}");
    assert!(lines[3].contains("#########>| running 1 min 30 s"), "{text}");
    assert!(lines[4].starts_with("after    |   ") && lines[4].ends_with("  | pending"), "{text}");
    assert!(text.contains(": waits for a person"), "{text}");
    let svg = record.timeline_svg();
    well_formed(&svg);
    assert!(svg.contains("<rect class=\"person\"") && svg.contains("<rect class=\"running work\""));
    let drawn = record.mermaid();
    let nodes = ["s0[\"asks\"]:::blocked", "s1[\"held\"]:::running", "s2[\"after\"]:::pending"];
    assert!(nodes.iter().all(|node| drawn.contains(node)), "{drawn}");
    assert!(drawn.contains("[\"blocked 1\"]:::blocked"), "a legend: {drawn}");
    run.cancel().await.unwrap();
    run.ended().await.unwrap();
}

/// `width` readers, a checker for each, a sum of them all, then a chain of `width` steps.
fn large(width: u32) -> Flow<u32, u32> {
    let mut draft = Flow::new("large");
    let input = draft.input::<u32>();
    let readers: Vec<_> = (0..width)
        .map(|n| {
            draft.code(format!("read {n}"), input, move |_, at: u32| async move {
                if n == at { Err(Failure::new("unreadable")) } else { Ok(n) }
            })
        })
        .collect();
    let checkers: Vec<_> = readers
        .into_iter()
        .zip(0..)
        .map(|(read, n)| draft.code(format!("check {n}"), read, async |_, n: u32| Ok(n)))
        .collect();
    let all = checkers.len() as u32;
    let sum = draft.code("sum", checkers, async |_, all: Vec<u32>| Ok(all.len() as u32));
    let mut last = sum;
    for n in 0..all {
        last = draft.code(format!("link {n}"), last, async |_, n: u32| Ok(n));
    }
    draft.returns(input, last)
}

async fn a_run_of_many_steps_is_folded(store: Store) {
    let flow = Arc::new(large(100));
    let engine = store.builder().flow(&flow).concurrency(16).start().await.unwrap();
    let run = engine.launch(&flow, 70).await.unwrap();
    run.ended().await.unwrap();
    let record = run.record().await.unwrap();
    let drawn = record.mermaid();
    let nodes: Vec<_> = drawn.lines().filter(|line| line.contains(":::")).collect();
    let expected = [
        "    s0[\"read 0 \u{2026} read 99<br/>99 steps\"]:::completed",
        "    s70[\"read 70\"]:::failed",
        "    s100[\"check 0 \u{2026} check 99<br/>99 steps\"]:::completed",
        "    s170[\"check 70\"]:::skipped",
        "    s200[\"sum \u{2026} link 99<br/>101 steps\"]:::skipped",
    ];
    assert_eq!(nodes[..5], expected, "{drawn}");
    assert_eq!(drawn.matches(" --> ").count(), 4, "{drawn}");
    assert!(drawn.contains("[\"completed 198\"]:::completed"), "{drawn}");
    let text = record.timeline_text(90, Glyphs::Unicode);
    assert_eq!(text.lines().count(), 2 + 41 + 2 + 1, "{text}");
    assert!(text.contains("\nread 70 "), "what failed is shown: {text}");
    let rest = "of the other 260: 158 completed, 102 skipped";
    assert!(text.contains(rest), "{text}");
    assert!(text.contains(" at once\n"), "{text}");
    let svg = record.timeline_svg();
    well_formed(&svg);
    assert!(svg.contains(">240 more steps</text>"), "{svg}");
    assert!(svg.contains("138 completed, 102 skipped"), "{svg}");
    assert!(record.markdown().contains("*Cut: the outputs of 148 more steps.*"));
}

async fn runs_are_paged_and_filtered(store: Store) {
    let (one, other) = (large(1), holding());
    let engine = store.builder().flow(&one).start().await.unwrap();
    let mut known = Vec::new();
    for n in 0..12 {
        let project = if n % 3 == 0 { "q" } else { "p" };
        let id = match n % 2 {
            0 => engine.launch(&one, 7).project(project).await.unwrap().id(),
            _ => engine.launch(&other, ()).project(project).await.unwrap().id(),
        };
        known.push((id, project, if n % 2 == 0 { "large" } else { "holding" }));
    }
    for (id, ..) in known.iter().filter(|(.., flow)| *flow == "large") {
        engine.run(*id).ended().await.unwrap();
    }
    let pages = async |filter: RunFilter| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = engine.runs(filter.clone(), after, 2).await.unwrap();
            after = page.last().map(|view| view.run.id);
            found.extend(page.into_iter().map(|view| view.run.id));
            if after.is_none() {
                return found;
            }
        }
    };
    let expected = |wanted: &dyn Fn(&str, &str) -> bool| -> Vec<RunId> {
        let wanted = known.iter().rev().filter(|(_, project, flow)| wanted(project, flow));
        wanted.map(|(id, ..)| *id).collect()
    };
    let project = || Some("p".to_owned());
    let flow = || Some("holding".to_owned());
    let any = RunFilter::default();
    assert_eq!(pages(any.clone()).await, expected(&|_, _| true));
    let of_project = RunFilter { project: project(), ..any.clone() };
    assert_eq!(pages(of_project).await, expected(&|project, _| project == "p"));
    let of_flow = RunFilter { flow: flow(), ..any.clone() };
    assert_eq!(pages(of_flow).await, expected(&|_, flow| flow == "holding"));
    let states = vec![RunState::Completed];
    let completed = RunFilter { states, ..any.clone() };
    assert_eq!(pages(completed).await, expected(&|_, flow| flow == "large"));
    let states = vec![RunState::Running, RunState::Failed];
    let all = RunFilter { project: project(), states, flow: flow() };
    assert_eq!(pages(all.clone()).await, expected(&|p, flow| p == "p" && flow == "holding"));
    assert!(pages(RunFilter { flow: Some("large".into()), ..all }).await.is_empty());
}
