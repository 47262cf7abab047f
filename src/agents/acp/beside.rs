//! The server that opencode runs beside the protocol: it knows what each request to the model used.

use std::{io, net::TcpListener, time::Duration};

use serde_json::Value;
use tokio::time::timeout;

use crate::{
    agents::{
        opencode::{Client, used},
        process::Spawn,
    },
    model::UsageReport,
};

/// How long it may take to say what was used.
const LIMIT: Duration = Duration::from_secs(10);

/// The server.
#[derive(Debug)]
pub(super) struct Beside(Client);

impl Beside {
    /// Has a program that is about to start listen where it is found. It listens in any case.
    pub fn of(spawn: &mut Spawn) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        spawn.arguments.extend(["--port".into(), port.to_string().into()]);
        Ok(Self(Client::new(&format!("http://127.0.0.1:{port}"), "")?))
    }

    /// What the requests of a session used, by the names that the server gives them: who asks twice
    /// is told the same. Nothing where it can't be asked.
    pub async fn used(&self, session: &str) -> Vec<UsageReport> {
        let path = format!("/session/{session}/message");
        let asked = timeout(LIMIT, self.0.get(&path)).await;
        let messages = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match messages.map_err(|error| error.to_string()).and_then(|answer| answer.data()) {
            Ok(messages) => of_messages(&messages),
            Err(error) => {
                tracing::warn!(error, "what was used is not known");
                Vec::new()
            }
        }
    }
}

/// What each request used: its part says so at its end.
fn of_messages(messages: &Value) -> Vec<UsageReport> {
    let messages = messages.as_array().into_iter().flatten();
    let parts = messages.flat_map(|message| {
        let model = message["info"]["modelID"].as_str();
        let parts = message["parts"].as_array().into_iter().flatten();
        let ended = parts.filter(|part| part["type"] == "step-finish");
        ended.map(move |part| used(part, model.map(str::to_owned)))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_request_is_a_report_by_its_own_name() {
        let step = |id: &str, input: u64| {
            let tokens = json!({"input": input, "output": 2, "reasoning": 1,
                "cache": {"read": 11, "write": 0}});
            json!({"id": id, "type": "step-finish", "cost": 0.002, "tokens": tokens})
        };
        let messages = json!([
            {"info": {"role": "user"}, "parts": [{"id": "p1", "type": "text", "text": "hi"}]},
            {"info": {"modelID": "m"}, "parts": [{"type": "text"}, step("p2", 5), step("p3", 7)]},
        ]);
        let reports = of_messages(&messages);
        let told = reports.iter().map(|it| (it.source.as_str(), it.tokens.input));
        assert_eq!(told.collect::<Vec<_>>(), [("p2", 5), ("p3", 7)]);
        assert_eq!(reports[0].model.as_deref(), Some("m"));
        assert_eq!(reports[0].tokens.total(), 19);
        assert!(of_messages(&json!({"error": "?"})).is_empty());
    }
}
