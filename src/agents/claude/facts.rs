//! What Claude Code says of itself before anybody prompts it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::{ClaudeCode, link::Link};
use crate::{
    agents::{
        CommandInfo, Facts, Look, Turn,
        process::{Custody, Line, Scratch, Unwatched},
    },
    failure::Failure,
    id::{ChatId, TaskId},
    model::{Payload, TaskSpec},
};

/// Starts it in an empty folder, greets it, and ends it.
///
/// # Errors
/// When it can't be started, does not answer, or takes too long.
pub(super) async fn facts(claude: &ClaudeCode, look: Look) -> Result<Facts, Failure> {
    let folder = Scratch::new()?;
    let spec = TaskSpec::new(TaskId::new(), "agent", Payload::null());
    let mut turn = Turn::new(ChatId::new(), spec, Vec::new());
    turn.folder = folder.path().to_owned();
    let custody = look
        .custody
        .unwrap_or_else(|| Arc::new(Unwatched::new(Uuid::now_v7())) as Arc<dyn Custody>);
    let session = Uuid::now_v7().to_string();
    let mut link = Link::open(claude, &turn, &session, custody).await?;
    let answer = timeout(look.limit, greet(&mut link)).await;
    let finish = link.program.finish(Duration::from_millis(200)).await?;
    match answer {
        Ok(Ok(answer)) => Ok(read(&answer)),
        Ok(Err(failure)) => Err(Failure::new(format!("{failure} {}", finish.errors.trim()))),
        Err(_) => {
            Err(Failure::new(format!("it did not answer within {} seconds", look.limit.as_secs())))
        }
    }
}

async fn greet(link: &mut Link) -> Result<Value, Failure> {
    let id = link.request(&json!({"subtype": "initialize"})).await?;
    while let Some(line) = link.lines.next().await? {
        let Line::Whole(line) = line else { continue };
        let Ok(mut message) = serde_json::from_str::<Value>(&line) else { continue };
        let response = &mut message["response"];
        if response["request_id"] != id.as_str() {
            continue;
        }
        return match response["subtype"].as_str() {
            Some("success") => Ok(response["response"].take()),
            _ => Err(Failure::new(format!("it refuses: {}", response["error"]))),
        };
    }
    Err(Failure::new("it ended before it answered"))
}

/// Its answer. Fields that it does not have are not told.
fn read(answer: &Value) -> Facts {
    let list = |name: &str| answer[name].as_array();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let models = list("models").map(|all| all.iter().map(|it| text(it, "value")).collect());
    let command =
        |it: &Value| CommandInfo { name: text(it, "name"), description: text(it, "description") };
    let commands = list("commands").map(|all| all.iter().map(command).collect());
    let capabilities = json!({
        "output_styles": answer["available_output_styles"],
        "agents": answer["agents"],
    });
    Facts { models, commands, capabilities, ..Facts::default() }
}
