//! What a prompt says is to be done, line by line.

use std::{future, process, process::Stdio, sync::Arc, time::Duration};

use agent_client_protocol::{
    Client, Error, Result, UntypedMessage,
    v1::{
        ConnectionTo, Responder,
        schema::{
            ContentBlock, EmbeddedResourceResource, PromptRequest, PromptResponse,
            RequestPermissionOutcome, RequestPermissionRequest, SessionNotification, StopReason,
            Usage,
        },
    },
};
use serde_json::{Value, from_value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{output::Output, sessions::Sessions};

/// A turn that does what its prompt says. One that was interrupted goes on behind the last step that
/// was done. The steps, with what follows the word:
///
/// `say TEXT`, `say-as MESSAGE TEXT`, `think TEXT`, `plan TEXT`, `huge BYTES` (a text so long),
/// `tool ID KIND`, `done ID`, `fail ID`, `ask ID KIND`, `ask-both ID ID`, `mode MODE`,
/// `count NUMBER MILLISECONDS` (says one word after the other, each so long after the one before),
/// `rest MILLISECONDS`, `shell COMMAND` (says what it prints), `cost DOLLARS`, `usage INPUT OUTPUT`, `before` (says how many prompts there were before), `which`
/// (says the mode), `raw LINE`, `half LINE` (without its end), `stray` (answers what nobody
/// asked, and asks what nobody knows), `twice` (answers the prompt twice, at once), `other` (an update of
/// another session), `child` (starts a process that keeps the output open, and dies itself),
/// `crash`, `wait` (until it is cancelled), `wait-error` (then answers with an error), `deaf`
/// (never answers), `error CODE TEXT`, `stop REASON`.
pub struct Turn {
    session: String,
    prompt: String,
    id: Value,
    connection: ConnectionTo<Client>,
    sessions: Arc<Sessions>,
    output: Output,
    cancels: watch::Receiver<usize>,
}

/// An update of a session. What is no update by the protocol's own types is a panic.
pub fn update(session: &str, update: Value) -> SessionNotification {
    let params = json!({"sessionId": session, "update": update});
    from_value(params).expect("an update of the protocol")
}

/// The words of a prompt.
fn words(prompt: &[ContentBlock]) -> String {
    let words = prompt.iter().map(|block| match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Resource(resource) => match &resource.resource {
            EmbeddedResourceResource::TextResourceContents(text) => format!("say {}", text.text),
            _ => "say a blob".into(),
        },
        ContentBlock::ResourceLink(link) => format!("say {}", link.uri),
        _ => "say a block".into(),
    });
    words.collect::<Vec<_>>().join("\n")
}

impl Turn {
    pub fn new(
        request: &PromptRequest,
        responder: &Responder<PromptResponse>,
        connection: &ConnectionTo<Client>,
        sessions: &Arc<Sessions>,
        output: &Output,
    ) -> Self {
        Self {
            session: request.session_id.0.to_string(),
            prompt: words(&request.prompt),
            id: serde_json::to_value(responder.id()).expect("an id"),
            connection: connection.clone(),
            sessions: sessions.clone(),
            output: output.clone(),
            cancels: sessions.cancels(),
        }
    }

    /// Does the steps, and answers.
    pub async fn run(mut self, responder: Responder<PromptResponse>) -> Result<()> {
        let before = self.sessions.note(&self.session, &self.prompt);
        let mut response = PromptResponse::new(StopReason::EndTurn);
        // What was said without it, which it is told before, has no steps.
        let told = self.prompt.rsplit_once("</conversation>\n");
        let steps = told.map_or(&*self.prompt, |(_, steps)| steps);
        let (steps, done) = self.sessions.begin(&self.session, steps);
        for step in &steps[done.min(steps.len())..] {
            let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
            match word {
                "before" => self.say(&format!("{before} before"))?,
                "which" => self.say(&self.sessions.mode(&self.session))?,
                "usage" => {
                    self.sessions.report(&format!("{rest} {}", self.session));
                    response = response.usage(usage(rest));
                }
                "stop" => response.stop_reason = from_value(json!(rest)).expect("a reason"),
                "error" => {
                    let (code, text) = rest.split_once(' ').expect("a code and a text");
                    let code: i32 = code.parse().expect("a code");
                    return responder.respond_with_error(Error::new(code, text));
                }
                "wait" => {
                    self.cancelled().await;
                    response.stop_reason = StopReason::Cancelled;
                }
                "wait-error" => {
                    self.cancelled().await;
                    let aborted = Error::new(-32603, "Request was aborted.");
                    return responder.respond_with_error(aborted);
                }
                word => self.step(word, rest).await?,
            }
            self.sessions.did(&self.session, step);
        }
        responder.respond(response)
    }

    async fn cancelled(&mut self) {
        self.cancels.changed().await.expect("the sessions are there");
    }

    fn tell(&self, value: Value) -> Result<()> {
        self.connection.send_notification(update(&self.session, value))
    }

    fn say(&self, text: &str) -> Result<()> {
        let content = json!({"type": "text", "text": text});
        self.tell(json!({"sessionUpdate": "agent_message_chunk", "content": content}))
    }

    async fn step(&mut self, word: &str, rest: &str) -> Result<()> {
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let text = |text: &str| json!({"type": "text", "text": text});
        match word {
            "say" => self.say(rest),
            "say-as" => self.tell(json!({"sessionUpdate": "agent_message_chunk",
                "messageId": first, "content": text(second)})),
            "think" => {
                self.tell(json!({"sessionUpdate": "agent_thought_chunk", "content": text(rest)}))
            }
            "plan" => self.tell(json!({"sessionUpdate": "plan", "entries":
                [{"content": rest, "priority": "high", "status": "in_progress"}]})),
            "huge" => self.say(&"x".repeat(rest.parse().expect("a number"))),
            "tool" => self.tell(json!({"sessionUpdate": "tool_call", "toolCallId": first,
                "title": format!("tool {first}"), "kind": second, "status": "in_progress",
                "locations": [{"path": "/a/file", "line": 3}], "rawInput": {"path": "/a/file"}})),
            "done" => self.tell(json!({"sessionUpdate": "tool_call_update", "toolCallId": first,
                "status": "completed", "content": [
                    {"type": "content", "content": text("it is done")},
                    {"type": "diff", "path": "/a/file", "oldText": "a", "newText": "b"}]})),
            "fail" => self.tell(json!({"sessionUpdate": "tool_call_update", "toolCallId": first,
                "status": "failed", "rawOutput": {"output": "it failed"}})),
            "mode" => {
                self.tell(json!({"sessionUpdate": "current_mode_update", "currentModeId": first}))
            }
            "cost" => {
                let amount: f64 = first.parse().expect("an amount");
                self.tell(json!({"sessionUpdate": "usage_update", "used": 900, "size": 1000,
                    "cost": {"amount": amount, "currency": "USD"}}))
            }
            "other" => self.connection.send_notification(update(
                "another",
                json!({
                "sessionUpdate": "agent_message_chunk", "content": text("of another session")}),
            )),
            "count" => {
                self.count(first.parse().expect("a number"), second.parse().expect("a time")).await
            }
            "rest" => {
                let rest = Duration::from_millis(rest.parse().expect("a time"));
                tokio::time::sleep(rest).await;
                Ok(())
            }
            "shell" => {
                let mut shell = tokio::process::Command::new("sh");
                let printed = shell.arg("-c").arg(rest).stdin(Stdio::null()).output().await;
                self.say(&String::from_utf8_lossy(&printed.expect("a shell").stdout))
            }
            "ask" => {
                let answer = self.ask(first, second).await?;
                self.say(&answer)
            }
            "ask-both" => {
                let (one, two) = futures::join!(self.ask(first, "edit"), self.ask(second, "edit"));
                self.say(&format!("{} and {}", one?, two?))
            }
            word => self.misbehave(word, rest).await,
        }
    }

    /// Says one word after the other, each at its time: what is late is made up for.
    async fn count(&self, number: u64, millis: u64) -> Result<()> {
        let first = self.sessions.counted(&self.session);
        let start = Instant::now();
        for word in first..number {
            sleep_until(start + Duration::from_millis((word - first) * millis)).await;
            self.say(&format!("word{word:05} "))?;
            self.sessions.count(&self.session, word + 1);
        }
        Ok(())
    }

    /// What no agent should do.
    async fn misbehave(&mut self, word: &str, rest: &str) -> Result<()> {
        match word {
            "raw" => self.output.raw(&format!("{rest}\n")).await,
            "half" => self.output.raw(rest).await,
            "twice" => {
                let answer = json!({"jsonrpc": "2.0", "id": self.id,
                    "result": {"stopReason": "end_turn"}});
                self.output.raw(&format!("{answer}\n{answer}\n")).await;
            }
            "stray" => {
                let nobody = json!({"jsonrpc": "2.0", "id": 777, "result": {}});
                self.output.raw(&format!("{nobody}\n")).await;
                let question = UntypedMessage::new("_craft/drain", json!({})).expect("a message");
                let answer = self.connection.send_request(question).block_task().await;
                let code = answer.err().map(|error| i32::from(error.code));
                self.say(&format!("the answer is {code:?}"))?;
            }
            "crash" => {
                eprintln!("something broke inside");
                process::exit(3);
            }
            "child" => {
                let mut child = process::Command::new("sleep");
                child.arg("1000").stdin(Stdio::null()).stderr(Stdio::null());
                child.spawn().expect("a process");
                process::exit(0);
            }
            "deaf" => future::pending().await,
            other => panic!("`{other}` is no step"),
        }
        Ok(())
    }

    /// Asks for leave: what was chosen.
    async fn ask(&self, id: &str, kind: &str) -> Result<String> {
        let option = |id: &str, kind: &str| json!({"optionId": id, "name": id, "kind": kind});
        let request: RequestPermissionRequest = from_value(json!({
            "sessionId": self.session,
            "toolCall": {"toolCallId": id, "title": format!("may I {id}?"), "kind": kind},
            "options": [option("ever", "allow_always"), option("once", "allow_once"),
                option("no", "reject_once")],
        }))
        .expect("a request of the protocol");
        let response = self.connection.send_request(request).block_task().await?;
        Ok(match response.outcome {
            RequestPermissionOutcome::Selected(selected) => selected.option_id.0.to_string(),
            _ => "cancelled".into(),
        })
    }
}

/// Of two numbers, with a tenth of the first read from a cache.
fn usage(rest: &str) -> Usage {
    let mut numbers = rest.split(' ').map(|number| number.parse::<u64>().expect("a number"));
    let (input, output) = (numbers.next().expect("input"), numbers.next().expect("output"));
    Usage::new(input + output, input, output).cached_read_tokens(input / 10)
}
