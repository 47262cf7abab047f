//! In what the agent differs from one that keeps to the protocol.

use std::{env, future, io, process};

use serde_json::{Value, json};

use crate::output::Output;

/// In what it differs, each by an argument of its own.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// `--no-resume`: a session is loaded with its history.
    pub resumes: bool,
    /// `--no-load`.
    pub loads: bool,
    /// `--replay`: the history is told again where it must not be.
    pub replays_when_resumed: bool,
    /// `--no-commands`.
    pub tells_commands: bool,
}

impl Manners {
    pub fn of_arguments() -> Self {
        let has = |argument: &str| env::args().any(|it| it == argument);
        Self {
            resumes: !has("--no-resume"),
            loads: !has("--no-load"),
            replays_when_resumed: has("--replay"),
            tells_commands: !has("--no-commands"),
        }
    }

    /// What it does before it listens.
    pub async fn begin(self, output: &Output) {
        for argument in env::args() {
            match argument.as_str() {
                "--banner" => output.raw("running 1 test\n{\"half\": \n[1, 2\n").await,
                // An answer to a question that nobody has asked yet.
                "--early" => {
                    output.raw("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"odd\":true}}\n").await;
                }
                "--version-9" => {
                    let mut line = String::new();
                    io::stdin().read_line(&mut line).expect("a line");
                    let request: Value = serde_json::from_str(&line).expect("a request");
                    let answer = json!({"jsonrpc": "2.0", "id": request["id"],
                        "result": {"protocolVersion": 9}});
                    output.raw(&format!("{answer}\n")).await;
                    future::pending::<()>().await;
                }
                "--dead" => {
                    eprintln!("there is no licence for this machine");
                    process::exit(4);
                }
                "--mute" => future::pending().await,
                _ => {}
            }
        }
    }
}
