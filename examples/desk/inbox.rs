//! What waits for a person, and the answers.

use segue::{Engine, id::ItemId};
use serde_json::Value;

use crate::{Outcome, store::Store};

/// Prints what is open, with the tab that it is about.
pub async fn list(engine: &Engine, store: &Store) -> Outcome<()> {
    for item in engine.inbox(None, 100).await? {
        let tab = store.tab_of(item.task)?.unwrap_or_else(|| "?".into());
        // An agent asks with the call of its tool; a handler in words.
        let body: Value = item.body.decode()?;
        let question = body["question"].as_str().or(body.as_str()).unwrap_or_default();
        println!("{} {tab}: {question} [{}]", item.id, item.options.join("|"));
    }
    Ok(())
}

/// Answers an item: once, whoever is first. It reaches the turn that asked, in whatever process that
/// is by then.
pub async fn answer(engine: &Engine, item: ItemId, answer: &str, by: &str) -> Outcome<()> {
    engine.answer(item, answer, by).await?;
    println!("recorded: {answer}");
    Ok(())
}
