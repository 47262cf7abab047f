//! One turn, in a program that may have had others.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    ClaudeCode,
    asking::{self, Answered},
    link::{Link, Manner},
    wire::{self, Control},
};
use crate::{
    agents::{
        Listener, Outcome, Resume, Turn,
        process::{Custody, Line, Present, Unwatched},
        read::{End, Exit, Format},
        telling::Telling,
        warm::{Seat, Warm},
    },
    clock::Clock,
    failure::Failure,
};

/// How long a program may take to be ready for a prompt.
const READY: Duration = Duration::from_secs(60);

/// Why a program is not listened to any more.
#[derive(Debug)]
enum Stop {
    /// It has ended.
    Ended,
    /// It says nothing.
    Silent,
    /// The turn is to stop, and it does not.
    Told,
    /// It refuses to be as the turn wants it.
    Refused(String),
    /// The turn can't be written down.
    Unheard(Failure),
}

impl From<io::Error> for Stop {
    /// One that does not read any more is about to end.
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Unheard(failure)
    }
}

pub(super) async fn turn(
    claude: &ClaudeCode,
    turn: &Turn,
    listener: &dyn Listener,
) -> Result<Outcome, Failure> {
    if turn.stop.is_cancelled() {
        return Ok(Outcome::Cancelled);
    }
    let mut seat = claude.pool.seat(turn.chat, turn.room.as_ref()).await;
    let link = match seat.take() {
        Some(link) if link.fits(claude, turn) => Some(link),
        Some(other) => {
            other.close().await;
            None
        }
        None => None,
    };
    let (link, is_new) = match link {
        Some(link) => (link, false),
        None => (open(claude, turn, listener).await?, true),
    };
    let telling = Telling::new(Format::Claude, listener, Some(&link.session));
    let talk = Talk {
        claude,
        turn,
        listener,
        link,
        telling,
        asks: FuturesUnordered::new(),
        asked: Vec::new(),
        until: Instant::now() + claude.silence,
        is_stopping: false,
        is_prompted: false,
        before: Present::default(),
    };
    talk.run(is_new, seat).await
}

/// Starts a program, when the id of its session is written down.
async fn open(claude: &ClaudeCode, turn: &Turn, listener: &dyn Listener) -> Result<Link, Failure> {
    let session = match &turn.resume {
        Resume::Fresh => Uuid::now_v7().to_string(),
        Resume::New(id) | Resume::Continue(id) => id.clone(),
    };
    if !matches!(turn.resume, Resume::Continue(_)) {
        listener.session(&session).await?;
    }
    let custody = turn.custody.clone();
    let custody =
        custody.unwrap_or_else(|| Arc::new(Unwatched::new(Uuid::now_v7())) as Arc<dyn Custody>);
    Link::open(claude, turn, &session, custody).await
}

/// A question that is open: what it was called, and its answer, unless it is taken back.
type Ask<'a> = Pin<Box<dyn Future<Output = (String, Option<Answered>)> + Send + 'a>>;

/// A turn that is going on.
struct Talk<'a> {
    claude: &'a ClaudeCode,
    turn: &'a Turn,
    listener: &'a dyn Listener,
    link: Link,
    telling: Telling<'a>,
    asks: FuturesUnordered<Ask<'a>>,
    /// What takes questions back.
    asked: Vec<(String, CancellationToken)>,
    /// When its silence is too long.
    until: Instant,
    is_stopping: bool,
    is_prompted: bool,
    /// The processes that were there before.
    before: Present,
}

impl Talk<'_> {
    async fn run(mut self, is_new: bool, seat: Seat<Link>) -> Result<Outcome, Failure> {
        let stop = match self.talk(is_new).await {
            Ok(()) => return self.leave(seat).await,
            Err(stop) => stop,
        };
        let grace = self.claude.grace;
        let mut end = self.end(Exit::Killed);
        let Link { program, mut lines, .. } = self.link;
        let finish = match stop {
            Stop::Unheard(failure) => {
                program.finish(grace).await?;
                return Err(failure);
            }
            Stop::Ended => self.telling.ended(program, &mut lines).await?,
            _ => self.telling.finish(program, &mut lines, grace).await?,
        };
        end.exit = match stop {
            Stop::Silent => Exit::Silent(self.claude.silence),
            _ => finish.ended.status.code().map_or(Exit::Killed, Exit::Code),
        };
        end.errors = &finish.errors;
        match stop {
            Stop::Refused(message) => Ok(Outcome::Crashed { message }),
            _ => Ok(self.telling.end(&end).await),
        }
    }

    /// The turn has its result: what its tools have left is ended, the program is kept.
    async fn leave(self, seat: Seat<Link>) -> Result<Outcome, Failure> {
        let swept = self.link.program.mark().sweep_since(&self.before).await;
        let end = self.end(Exit::Warm);
        let outcome = self.telling.end(&end).await;
        match swept {
            Ok(_) => seat.leave(self.link).await,
            Err(survivors) => {
                self.link.close().await;
                return Err(Failure::new(survivors));
            }
        }
        Ok(outcome)
    }

    fn end(&self, exit: Exit) -> End<'static> {
        End {
            exit,
            errors: "",
            is_prompted: self.is_prompted,
            is_continued: matches!(self.turn.resume, Resume::Continue(_)),
            is_stopped: self.is_stopping,
            now: Clock::System.now(),
        }
    }

    async fn talk(&mut self, is_new: bool) -> Result<(), Stop> {
        self.prepare(is_new).await?;
        self.before = self.link.program.mark().present();
        self.listener.prompting().await?;
        self.is_prompted = true;
        let prompt = wire::prompt(&self.link.session, &self.turn.content);
        self.link.send(&prompt).await?;
        self.hear(None).await
    }

    /// Waits until it is ready, and is as the turn wants it.
    async fn prepare(&mut self, is_new: bool) -> Result<(), Stop> {
        let wanted = Manner::of(self.claude, self.turn);
        let requests = match is_new {
            true => vec![json!({"subtype": "initialize"})],
            false => wanted.since(&self.link.manner),
        };
        for request in &requests {
            let id = self.link.request(request).await?;
            self.hear(Some(&id)).await?;
        }
        self.link.manner = wanted;
        Ok(())
    }

    /// Listens until a request of ours is answered, or without one until the turn has its result.
    async fn hear(&mut self, goal: Option<&str>) -> Result<(), Stop> {
        let silence = match goal {
            Some(_) => self.claude.silence.min(READY),
            None => self.claude.silence,
        };
        self.quiet(silence);
        loop {
            tokio::select! {
                biased;
                () = self.turn.stop.cancelled(), if !self.is_stopping => {
                    self.is_stopping = true;
                    if goal.is_some() {
                        return Err(Stop::Told);
                    }
                    self.link.request(&json!({"subtype": "interrupt"})).await?;
                    self.quiet(self.claude.grace);
                }
                line = self.link.lines.next() => {
                    let Ok(Some(line)) = line else {
                        return Err(Stop::Ended);
                    };
                    if self.line(&line, goal).await? {
                        return Ok(());
                    }
                    if !self.is_stopping {
                        self.quiet(silence);
                    }
                }
                Some((id, answer)) = self.asks.next(), if !self.asks.is_empty() => {
                    self.answer(&id, answer).await?;
                }
                () = self.link.program.exited() => return Err(Stop::Ended),
                () = sleep_until(self.until), if self.is_stopping || self.asks.is_empty() => {
                    return Err(if self.is_stopping { Stop::Told } else { Stop::Silent });
                }
            }
        }
    }

    fn quiet(&mut self, limit: Duration) {
        self.until = Instant::now() + limit;
    }

    /// Takes a line. Whether it is what was waited for.
    async fn line(&mut self, line: &Line, goal: Option<&str>) -> Result<bool, Stop> {
        match wire::control(line) {
            Some(Control::Response { id, result }) if goal == Some(id.as_str()) => {
                result.map(|()| true).map_err(Stop::Refused)
            }
            Some(Control::Response { .. }) => Ok(false),
            Some(Control::Request { id, request }) => {
                self.asked(id, request).await?;
                Ok(false)
            }
            Some(Control::Withdrawn { id }) => {
                self.asked.iter().filter(|(open, _)| *open == id).for_each(|(_, it)| it.cancel());
                Ok(false)
            }
            // What it says between turns belongs to none, but for why it can't begin.
            None if goal.is_some() && !self.is_failure(line) => Ok(false),
            None => {
                self.telling.line(line).await?;
                Ok(goal.is_none() && self.telling.is_at_end())
            }
        }
    }

    /// Whether a line says that a session can't be begun.
    fn is_failure(&self, line: &Line) -> bool {
        let Line::Whole(line) = line else {
            return false;
        };
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        event["type"] == "result" && event["is_error"] == true && event["num_turns"] == 0
    }

    /// Asks what it asks, while it goes on.
    async fn asked(&mut self, id: String, request: Value) -> Result<(), Stop> {
        if request["subtype"] != "can_use_tool" {
            self.link.send(&wire::refusal(&id)).await?;
            return Ok(());
        }
        let (taken_back, listener) = (CancellationToken::new(), self.listener);
        self.asked.push((id.clone(), taken_back.clone()));
        let access = self.turn.access;
        self.asks.push(Box::pin(async move {
            let answer = tokio::select! {
                () = taken_back.cancelled() => None,
                answer = asking::answer(&request, access, listener) => Some(answer),
            };
            (id, answer)
        }));
        Ok(())
    }

    async fn answer(&mut self, id: &str, answer: Option<Answered>) -> Result<(), Stop> {
        self.asked.retain(|(open, _)| open != id);
        self.quiet(self.claude.silence);
        let Some(answer) = answer else {
            return Ok(());
        };
        if answer == Answered::Nobody {
            self.is_stopping = true;
            self.quiet(self.claude.grace);
        }
        self.link.send(&wire::response(id, &answer.to_value())).await?;
        Ok(())
    }
}
