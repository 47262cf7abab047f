//! A gate outlives the processes that work, and is answered by one person, from any process.

use std::path::Path;

use segue::{
    Engine, Flow, Verdict,
    model::{Item, ItemState, RunState},
};

use super::{
    child::{Child, say, told},
    place::{audited, engine, eventually, fresh, run},
};

fn gated() -> Flow<String, String> {
    let mut draft = Flow::new("gated");
    let input = draft.input::<String>();
    let text = draft.code("draft", input, async |_, text: String| Ok(text));
    let agreed = draft.gate("agree", text, "Shall it be sent like this?");
    let sent = draft.code("send", agreed, async |_, text: String| Ok(format!("sent: {text}")));
    draft.returns(input, sent)
}

/// Works until the parent closes the pipe.
pub async fn work(folder: &Path) {
    let engine = engine(folder).flow(&gated()).start().await.expect("an engine");
    say("ready");
    told().await;
    engine.shutdown().await.expect("an orderly end");
}

/// A person at another process: answers what is open when the parent says so.
pub async fn judge(folder: &Path) {
    let engine = engine(folder).connect().await.expect("a database");
    let item = engine.inbox(None, 10).await.expect("a list").remove(0);
    let name = std::process::id().to_string();
    say("ready");
    told().await;
    let verdict = Verdict::Edit(format!("by {name}"));
    match engine.judge(item.id, &verdict, &name).await {
        Ok(()) => say("said so"),
        Err(error) => say(&format!("refused: {:?}", error.rejection())),
    }
}

async fn open_item(reader: &Engine) -> Item {
    eventually("something is asked", || async {
        !reader.inbox(None, 10).await.unwrap().is_empty()
    })
    .await;
    let mut open = reader.inbox(None, 10).await.unwrap();
    assert_eq!(open.len(), 1, "it is asked once");
    open.remove(0)
}

/// Two processes answer at once. The name of the one whose answer counts.
fn two_answer(folder: &Path) -> String {
    let mut both = [(); 2].map(|()| Child::start(folder, "judge"));
    both.iter_mut().for_each(|child| drop(child.stdin.take()));
    let names = both.each_ref().map(|child| child.pid().to_string());
    let said = both.each_mut().map(|child| child.hear("s"));
    both.into_iter().for_each(Child::finish);
    let winner = usize::from(said[0].contains("refused"));
    assert!(said[winner].contains("said so"), "{said:?}");
    let refusal = format!("refused: Some(Answered {{ by: {:?} }})", names[winner]);
    assert!(said[1 - winner].contains(&refusal), "{said:?}");
    names[winner].clone()
}

#[test]
fn a_gate_waits_over_restarts_and_one_of_two_answers_counts() {
    run(async {
        let (folder, reader) = fresh().await;
        let path = folder.path();
        for round in 0..6 {
            let run = reader.launch(&gated(), "hello".into()).await.unwrap();
            let mut first = Child::start(path, "gate");
            let asked = open_item(&reader).await;
            first.kill();
            let second = Child::start(path, "gate");
            assert_eq!(open_item(&reader).await, asked, "the same item, not asked again");
            assert_eq!(run.state().await.unwrap(), RunState::Running);
            // Somebody works while they answer, or nobody does.
            let mut worker = Some(second).filter(|_| round % 2 == 0);
            let winner = two_answer(path);
            let worker = worker.take().unwrap_or_else(|| Child::start(path, "gate"));
            assert_eq!(run.output().await.unwrap(), format!("sent: by {winner}"));
            let item = reader.item(asked.id).await.unwrap();
            assert_eq!(item.state, ItemState::Answered);
            assert_eq!(item.answer.unwrap().by, winner);
            worker.finish();
            audited(&reader).await;
        }
    });
}
