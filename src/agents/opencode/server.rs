//! The server: started when it is needed, or run by somebody else.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Mutex, time::timeout};
use uuid::Uuid;

use super::http::Client;
use crate::{
    agents::{
        launch::Launch,
        process::{Custody, Finish, Line, Lines, Program},
        warm::{Closer, Place},
    },
    failure::Failure,
    model::Access,
};

/// How long a server that is no longer wanted may take to end by itself.
const END: Duration = Duration::from_secs(2);
const LINE: usize = 1 << 20;
/// What stands before the address in the line that says it.
const LISTENING: &str = "listening on ";

/// The servers of an agent: one whose turns may write, and one whose turns may not.
#[derive(Debug, Default)]
pub(super) struct Servers([Mutex<Option<Server>>; 2]);

impl Servers {
    /// The one of turns with this access.
    pub fn of(&self, access: Access) -> &Mutex<Option<Server>> {
        &self.0[access as usize]
    }

    /// Ends those that were started.
    pub async fn stop(&self) -> Result<(), Failure> {
        for slot in &self.0 {
            if let Some(server) = slot.lock().await.take() {
                server.finish().await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Closer for Servers {
    async fn close_idle(&self, number: u64) {
        for slot in &self.0 {
            // One that is held is about to be used.
            let Ok(mut slot) = slot.try_lock() else {
                continue;
            };
            let is_it = |place: &Place| place.number() == number && place.is_idle();
            if let Some(server) = slot.take_if(|server| server.place.as_ref().is_some_and(is_it))
                && let Err(failure) = server.finish().await
            {
                tracing::warn!(%failure, "the server of opencode did not end");
            }
        }
    }
}

/// A server that can be asked.
#[derive(Debug)]
pub(super) struct Server {
    pub client: Client,
    /// The program, where it is ours.
    program: Option<Program>,
    /// Its place among the programs of its engine.
    pub place: Option<Place>,
    /// Reads what it prints: its pipe must not fill up.
    reader: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    /// One that somebody else runs.
    pub const fn attached(client: Client) -> Self {
        Self { client, program: None, place: None, reader: None }
    }

    /// Starts one, and waits until it is healthy.
    pub async fn start(
        launch: &Launch,
        access: Access,
        custody: Arc<dyn Custody>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        // It works in the folders that it is told, not in its own.
        let mut spawn = launch.spawn(Path::new(&std::env::temp_dir()), access)?;
        let password = format!("{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple());
        spawn.env.insert("OPENCODE_SERVER_PASSWORD".into(), password.clone().into());
        let mut program = Program::start(spawn, custody).await?;
        let lines = program.lines(LINE);
        match timeout(limit, healthy(lines, &password)).await {
            Ok(Some((client, reader))) => {
                Ok(Self { client, program: Some(program), place: None, reader: Some(reader) })
            }
            failed => {
                let how = match failed {
                    Ok(_) => "opencode's server ended before it listened".to_owned(),
                    Err(_) => format!("opencode's server was not ready within {limit:?}"),
                };
                let errors = program.finish(END).await?.errors;
                Err(Failure::new(format!("{how}: {}", errors.trim())))
            }
        }
    }

    /// Whether it is there, as far as that is known without asking it.
    pub fn is_alive(&mut self) -> bool {
        self.program.as_mut().is_none_or(|program| !program.has_ended())
    }

    /// Whether it is a program of ours.
    pub const fn is_ours(&self) -> bool {
        self.program.is_some()
    }

    /// Ends it and all that it has started, where it is ours.
    pub async fn finish(self) -> Result<Option<Finish>, Failure> {
        let finish = match self.program {
            Some(program) => Some(program.finish(END).await?),
            None => None,
        };
        if let Some(reader) = self.reader {
            reader.abort();
        }
        Ok(finish)
    }
}

/// Waits for the address and for the server's health. What is printed from then on is dropped.
async fn healthy(
    lines: Option<Lines>,
    password: &str,
) -> Option<(Client, tokio::task::JoinHandle<()>)> {
    let mut lines = lines?;
    let url = loop {
        if let Line::Whole(line) = lines.next().await.ok()??
            && let Some((_, url)) = line.split_once(LISTENING)
        {
            break url.trim().to_owned();
        }
    };
    let reader = tokio::spawn(async move { while let Ok(Some(_)) = lines.next().await {} });
    let client = Client::new(&url, password).ok()?;
    loop {
        match client.get("/global/health").await {
            Ok(answer) if answer.status == 200 => return Some((client, reader)),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
