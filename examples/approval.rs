//! A letter that a person approves, edits or rejects before it is sent.
//!
//! ```text
//! cargo run --example approval -- work.db                                # works and waits
//! cargo run --example approval -- work.db --approve Ada                  # answers, in another
//! cargo run --example approval -- work.db --edit Ada "Dear all, hello"   # terminal
//! cargo run --example approval -- work.db --reject Ada "too short"
//! ```
//!
//! The first program may be stopped or killed while the gate waits: started again on the same
//! file, it goes on with the same run. The answer is recorded by whoever gives it, also while no
//! program works, and it is recorded once: who comes second is told who was first.

use std::process::ExitCode;

use segue::{
    Engine, Flow, Verdict,
    model::{Event, Item, ItemKind, RunState},
};

/// What is written, shown and sent.
type Letter = String;

fn flow() -> Flow<String, String> {
    let mut draft = Flow::new("letter");
    let topic = draft.input::<String>();
    let letter = draft.code("write", topic, async |_, topic: String| {
        Ok(format!("Dear all, this is about {topic}."))
    });
    let agreed = draft.gate("approve", letter, "Shall this be sent?");
    let sent = draft.code("send", agreed, async |_, letter: Letter| Ok(format!("sent: {letter}")));
    draft.returns(topic, sent)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [file] => work(file).await,
        [file, "--approve", by] => answer(file, Verdict::Approve, by).await,
        [file, "--edit", by, text] => answer(file, Verdict::Edit(text.into()), by).await,
        [file, "--reject", by, why] => answer(file, Verdict::Reject(why.into()), by).await,
        _ => {
            eprintln!("usage: approval FILE [--approve WHO | --edit WHO TEXT | --reject WHO WHY]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("approval: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Works until the letter is sent, or is not to be.
async fn work(file: &str) -> segue::Result<()> {
    let flow = flow();
    let engine = Engine::sqlite(file).flow(&flow).start().await?;
    let unfinished = engine.runs(None, &[RunState::Running], None, 1).await?;
    let run = match unfinished.first() {
        Some(view) => {
            eprintln!("goes on with run {}", view.spec.id);
            engine.run_of(&flow, view.spec.id)
        }
        None => {
            let run = engine.launch(&flow, "the summer party".into()).await?;
            eprintln!("launched run {}", run.id());
            run
        }
    };
    let mut watch = run.watch();
    'until_it_ends: loop {
        for event in watch.next().await?.events {
            match event {
                Event::StepReleased { name, .. } => eprintln!("{name}: released"),
                Event::StepWaits { name, .. } => match asked(&engine).await? {
                    Some(item) => eprintln!("{name}: waits for an answer to {}", item.body),
                    None => eprintln!("{name}: waited"),
                },
                Event::StepEnded { name, state, .. } => eprintln!("{name}: {state:?}"),
                Event::RunEnded { .. } => break 'until_it_ends,
                _ => {}
            }
        }
    }
    match run.output().await {
        Ok(sent) => println!("{sent}"),
        Err(error) => println!("not sent: {error}"),
    }
    engine.shutdown().await
}

/// What the gate asks, while it does.
async fn asked(engine: &Engine) -> segue::Result<Option<Item>> {
    let inbox = engine.inbox(None, 10).await?;
    Ok(inbox.into_iter().find(|item| item.kind == ItemKind::Review))
}

/// Answers the gate that waits, from a program that does no work.
async fn answer(file: &str, verdict: Verdict<Letter>, by: &str) -> segue::Result<()> {
    let engine = Engine::sqlite(file).connect().await?;
    let Some(item) = asked(&engine).await? else {
        println!("nobody asks anything");
        return Ok(());
    };
    engine.judge(item.id, &verdict, by).await?;
    println!("recorded: {verdict:?} by {by}");
    Ok(())
}
