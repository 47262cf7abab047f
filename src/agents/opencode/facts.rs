//! What opencode's server says of itself before anybody prompts it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::{http::Client, server::Server};
use crate::{
    agents::{
        CommandInfo, Facts, Look,
        launch::Launch,
        process::{Custody, Scratch, Unwatched},
    },
    failure::Failure,
    model::Access,
};

/// Starts a server, asks it about an empty folder, and ends it.
///
/// # Errors
/// When it can't be started, does not answer, or takes too long.
pub(super) async fn facts(launch: &Launch, look: Look) -> Result<Facts, Failure> {
    let folder = Scratch::new()?;
    let custody = look
        .custody
        .unwrap_or_else(|| Arc::new(Unwatched::new(Uuid::now_v7())) as Arc<dyn Custody>);
    let server = Server::start(launch, Access::Write, custody, look.limit).await?;
    let asked = timeout(look.limit, ask(&server.client, &folder.path().to_string_lossy())).await;
    server.finish().await?;
    asked.unwrap_or_else(|_| {
        let limit = Duration::as_secs(&look.limit);
        Err(Failure::new(format!("it did not answer within {limit} seconds")))
    })
}

async fn ask(client: &Client, folder: &str) -> Result<Facts, Failure> {
    let get = async |path: &str| -> Result<Value, Failure> {
        let answer = client.get(&format!("{path}?directory={folder}")).await?;
        answer.data().map_err(Failure::new)
    };
    let health = get("/global/health").await?;
    let (providers, agents) = (get("/config/providers").await?, get("/agent").await?);
    Ok(Facts {
        version: health["version"].as_str().map(str::to_owned),
        models: Some(models(&providers)),
        modes: Some(modes(&agents)),
        commands: Some(commands(&get("/command").await?)),
        capabilities: json!({ "default_models": providers["default"] }),
        ..Facts::default()
    })
}

/// `PROVIDER/MODEL`, as turns name them.
fn models(providers: &Value) -> Vec<String> {
    let providers = providers["providers"].as_array().into_iter().flatten();
    let of = |provider: &Value| {
        let id = provider["id"].as_str().unwrap_or_default().to_owned();
        let models = provider["models"].as_object().cloned().unwrap_or_default();
        models.into_iter().map(move |(model, _)| format!("{id}/{model}"))
    };
    providers.flat_map(of).collect()
}

/// Its agents that a person may choose.
fn modes(agents: &Value) -> Vec<String> {
    let agents = agents.as_array().into_iter().flatten();
    let chosen = agents.filter(|it| it["mode"] != "subagent" && it["hidden"] != true);
    chosen.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
}

fn commands(commands: &Value) -> Vec<CommandInfo> {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let commands = commands.as_array().into_iter().flatten();
    commands
        .map(|it| CommandInfo { name: text(it, "name"), description: text(it, "description") })
        .collect()
}
