//! One turn of a program, from its start to its end.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    process::ChildStdin,
    time::{Instant, sleep_until, timeout},
};
use uuid::Uuid;

use super::{Cli, Prompt, schema::SchemaFile};
use crate::{
    agents::{
        Listener, Outcome, Resume, Turn,
        process::{Custody, Finish, Lines, Program, Unwatched},
        read::{End, Exit},
        telling::{LINE_MOST, Telling},
    },
    clock::Clock,
    failure::Failure,
};

/// How long a program may take to end by itself when it has said all.
const LINGER: Duration = Duration::from_secs(10);

/// Why a program is not listened to any more.
#[derive(Debug)]
enum Stop {
    /// It has ended.
    Ended,
    /// It has said all, and does not end.
    Lingers,
    /// It says nothing.
    Silent,
    /// The turn is to stop.
    Told,
    /// The turn can't be written down.
    Unheard(Failure),
}

pub(super) async fn turn(
    cli: &Cli,
    turn: &Turn,
    listener: &dyn Listener,
) -> Result<Outcome, Failure> {
    if turn.stop.is_cancelled() {
        return Ok(Outcome::Cancelled);
    }
    let schema = SchemaFile::of(&cli.recipe, turn)?;
    let spawn = cli.spawn(turn, schema.as_ref().map(|file| file.0.as_path()))?;
    let known = match &turn.resume {
        Resume::Fresh => None,
        Resume::New(id) | Resume::Continue(id) => Some(id.as_str()),
    };
    if let Resume::New(id) = &turn.resume {
        listener.session(id).await?;
    }
    // What is given as an argument is handed over with the start.
    let is_argument = cli.recipe.prompt == Prompt::Argument;
    if is_argument {
        listener.prompting().await?;
    }
    let custody = turn.custody.clone();
    let custody =
        custody.unwrap_or_else(|| Arc::new(Unwatched::new(Uuid::now_v7())) as Arc<dyn Custody>);
    let mut program = Program::start(spawn, custody).await?;
    let mut telling = Telling::new(cli.recipe.format, listener, known);
    let prompted = if is_argument { Ok(()) } else { listener.prompting().await };
    let mut lines = program.lines(LINE_MOST).expect("nobody has taken its output");
    let input = program.take_input().filter(|_| !is_argument);
    let stop = match prompted {
        Ok(()) => tokio::select! {
            stop = hear(&mut program, &mut lines, &mut telling, cli, turn) => stop,
            stop = give(input, cli.recipe.prompt(turn)) => stop,
        },
        Err(failure) => Stop::Unheard(failure),
    };
    let finish = end(program, &mut lines, &mut telling, &stop, cli.grace).await?;
    if let Stop::Unheard(failure) = stop {
        return Err(failure);
    }
    let told = End {
        exit: exit(&finish, &stop, cli.silence),
        errors: &finish.errors,
        is_prompted: true,
        is_continued: matches!(turn.resume, Resume::Continue(_)),
        is_stopped: matches!(stop, Stop::Told),
        now: Clock::System.now(),
    };
    Ok(telling.end(&told).await)
}

/// Gives it the prompt, all at once or as it reads. What comes of it is for those who listen to say.
async fn give(input: Option<ChildStdin>, prompt: String) -> Stop {
    if let Some(mut input) = input {
        // One that does not read it says why, or ends.
        let _ = input.write_all(prompt.as_bytes()).await;
        let _ = input.shutdown().await;
    }
    pending().await
}

/// Tells what it prints, until it has ended or is to be ended.
async fn hear(
    program: &mut Program,
    lines: &mut Lines,
    telling: &mut Telling<'_>,
    cli: &Cli,
    turn: &Turn,
) -> Stop {
    let (mut until, mut is_open) = (Instant::now() + cli.silence, true);
    loop {
        tokio::select! {
            biased;
            () = turn.stop.cancelled() => return Stop::Told,
            line = lines.next(), if is_open => {
                let Ok(Some(line)) = line else {
                    (until, is_open) = (Instant::now() + LINGER, false);
                    continue;
                };
                if let Err(failure) = telling.line(&line).await {
                    return Stop::Unheard(failure);
                }
                let limit = if telling.is_at_end() { LINGER } else { cli.silence };
                until = Instant::now() + limit;
            }
            () = program.exited() => return Stop::Ended,
            () = sleep_until(until) => {
                let has_said_all = telling.is_at_end() || !is_open;
                return if has_said_all { Stop::Lingers } else { Stop::Silent };
            }
        }
    }
}

/// Ends it with all that it has started, and tells what it says while it ends.
async fn end(
    program: Program,
    lines: &mut Lines,
    telling: &mut Telling<'_>,
    stop: &Stop,
    grace: Duration,
) -> Result<Finish, Failure> {
    let finishing = async {
        match stop {
            Stop::Ended => program.ended().await,
            _ => program.finish(grace).await,
        }
    };
    let is_heard = !matches!(stop, Stop::Unheard(_));
    let rest = async {
        while let Ok(Some(line)) = lines.next().await {
            if is_heard {
                telling.line(&line).await?;
            }
        }
        Ok::<(), Failure>(())
    };
    // Its output ends with the last process that has it.
    let (finish, rest) = tokio::join!(finishing, timeout(LINGER, rest));
    rest.unwrap_or(Ok(()))?;
    finish
}

fn exit(finish: &Finish, stop: &Stop, silence: Duration) -> Exit {
    match stop {
        Stop::Silent => Exit::Silent(silence),
        _ => finish.ended.status.code().map_or(Exit::Killed, Exit::Code),
    }
}
