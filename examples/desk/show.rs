//! A chat as another process sees it: what is durable, a quarter of a second after it was said.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use segue::{
    Chat, Engine,
    agents::{blocks, words},
    id::MessageId,
    model::{Event, Message, Role, Stream},
};

use crate::{
    Outcome,
    store::{Store, Tab},
};

pub fn tabs(store: &Store) -> Outcome<()> {
    for tab in store.tabs()? {
        println!("{}: {} in {}", tab.name, tab.agent, tab.folder);
    }
    Ok(())
}

/// Prints what was said, and with `follow` whatever is said from then on.
pub async fn chat(engine: &Engine, tab: &Tab, follow: bool) -> Outcome<()> {
    let chat = engine.chat_handle(tab.chat);
    // From before the look, so that nothing falls between the two.
    let mut watch = engine.watch(Stream::All).since(engine.now().await?);
    let mut shown = Shown::default();
    shown.catch_up(&chat, 0, tab).await?;
    io::stdout().flush()?;
    if !follow {
        println!();
        return Ok(());
    }
    loop {
        let entry = watch.next().await?;
        if entry.stream != Stream::Chat(tab.chat) {
            continue;
        }
        for event in entry.events {
            match event {
                Event::MessageAppended { seq, .. } | Event::MessageGrew { seq, .. } => {
                    shown.catch_up(&chat, seq - 1, tab).await?;
                }
                Event::Asked { item, .. } => print!("\n[asks: {item}]"),
                Event::TurnEnded { state, .. } => print!("\n[{state:?}]"),
                Event::ContextLost { reason, .. } | Event::ContextCarried { reason, .. } => {
                    print!("\n[a new session: {reason}]");
                }
                _ => {}
            }
            io::stdout().flush()?;
        }
    }
}

/// How much of each message was printed, in bytes.
#[derive(Default)]
struct Shown(HashMap<MessageId, usize>);

impl Shown {
    /// Prints what is new behind a place of the chat.
    async fn catch_up(&mut self, chat: &Chat, mut after: i64, tab: &Tab) -> Outcome<()> {
        loop {
            let page = chat.history(after, 100).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.seq;
            page.iter().for_each(|message| self.print(message, tab));
        }
    }

    fn print(&mut self, message: &Message, tab: &Tab) {
        let who = match message.role {
            Role::User => "you",
            Role::Assistant => &tab.agent,
            Role::System => "desk",
        };
        let text = words(&blocks(&message.content));
        let before = self.0.insert(message.id, text.len());
        if before.is_none() {
            print!("\n{who}: ");
        }
        print!("{}", &text[before.unwrap_or(0)..]);
    }
}
