//! The program that works: it has the engine, and prints what agents say while they say it.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use segue::{Delta, Engine, Heard, agents::warm::Limits, id::ChatId};

use crate::{Outcome, agents, store::Store};

/// Works until Ctrl-C.
pub async fn run(file: &Path, names: &[String]) -> Outcome<()> {
    // However many tabs there are, four programs are enough.
    let warm = Limits { at_most: 4, idle: Duration::from_secs(300) };
    let mut builder = Engine::sqlite(file).warm(warm);
    for name in names {
        let (name, agent) = agents::agent(name)?;
        builder = builder.agent(name, agent);
    }
    let engine = builder.start().await?;
    // Behind the engine, which makes the file as it wants it.
    let store = Store::open(file)?;
    eprintln!("at work; {:?}", engine.repaired());

    let (mut live, mut paper) = (engine.live(), Paper::new(&store));
    loop {
        tokio::select! {
            heard = live.next() => match heard {
                Some(Heard::More(delta)) => paper.print(&delta)?,
                Some(Heard::Missed(count)) => eprintln!("{count} pieces were too fast to print"),
                None => break,
            },
            stop = tokio::signal::ctrl_c() => {
                stop?;
                break;
            }
        }
    }
    Ok(engine.shutdown().await?)
}

/// Where it is printed: who speaks is named when it is another one.
struct Paper<'a> {
    store: &'a Store,
    names: HashMap<ChatId, String>,
    speaks: Option<(ChatId, bool)>,
}

impl<'a> Paper<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, names: HashMap::new(), speaks: None }
    }

    fn print(&mut self, delta: &Delta) -> Outcome<()> {
        let mut out = io::stdout().lock();
        if self.speaks.replace((delta.chat, delta.thought)) != Some((delta.chat, delta.thought)) {
            let thinks = if delta.thought { " (thinks)" } else { "" };
            write!(out, "\n{}{thinks}: ", self.name(delta.chat)?)?;
        }
        write!(out, "{}", delta.text)?;
        Ok(out.flush()?)
    }

    /// The tab of a chat, which another process may have opened a moment ago.
    fn name(&mut self, chat: ChatId) -> Outcome<&str> {
        if !self.names.contains_key(&chat) {
            self.names = self.store.tabs()?.into_iter().map(|tab| (tab.chat, tab.name)).collect();
        }
        Ok(self.names.get(&chat).map_or("?", String::as_str))
    }
}
