//! The messages that go to Claude Code and come from it, beside its events.

use serde_json::{Value, json};

use crate::agents::{Block, process::Line};

/// A message that belongs to the control of the program, and to no turn.
#[derive(Debug, PartialEq)]
pub(super) enum Control {
    /// It answers a request of ours: Err with its words where it refuses.
    Response { id: String, result: Result<(), String> },
    /// It asks.
    Request { id: String, request: Value },
    /// It takes back what it has asked.
    Withdrawn { id: String },
}

/// A line as a message of control; None where it is an event.
pub(super) fn control(line: &Line) -> Option<Control> {
    let Line::Whole(line) = line else {
        return None;
    };
    // Most lines are events, which are read elsewhere.
    if !line.contains("\"control_") {
        return None;
    }
    let message: Value = serde_json::from_str(line).ok()?;
    let id = |of: &Value| of["request_id"].as_str().unwrap_or_default().to_owned();
    match message["type"].as_str()? {
        "control_response" => {
            let response = &message["response"];
            let error = response["error"].as_str().unwrap_or("it refuses").to_owned();
            let result = if response["subtype"] == "success" { Ok(()) } else { Err(error) };
            Some(Control::Response { id: id(response), result })
        }
        "control_request" => {
            Some(Control::Request { id: id(&message), request: message["request"].clone() })
        }
        "control_cancel_request" => Some(Control::Withdrawn { id: id(&message) }),
        _ => None,
    }
}

/// A request of ours.
pub(super) fn request(id: &str, request: &Value) -> Value {
    json!({"type": "control_request", "request_id": id, "request": request})
}

/// The answer to a request of its.
pub(super) fn response(id: &str, response: &Value) -> Value {
    let response = json!({"subtype": "success", "request_id": id, "response": response});
    json!({"type": "control_response", "response": response})
}

/// The answer to a request that nobody knows.
pub(super) fn refusal(id: &str) -> Value {
    let response = json!({"subtype": "error", "request_id": id, "error": "it is not supported"});
    json!({"type": "control_response", "response": response})
}

/// A prompt.
pub(super) fn prompt(session: &str, content: &[Block]) -> Value {
    let content: Vec<_> = content.iter().map(block).collect();
    json!({
        "type": "user",
        "message": {"role": "user", "content": content},
        "parent_tool_use_id": null,
        "session_id": session,
    })
}

fn block(block: &Block) -> Value {
    match block {
        Block::Image { mime, data } => {
            json!({"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}})
        }
        other => json!({"type": "text", "text": other.to_text()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_control_are_told_from_events() {
        let read = |text: &str| control(&Line::Whole(text.to_owned()));
        let response = |subtype: &str| {
            read(&format!(
                r#"{{"response": {{"request_id": "7", "subtype": "{subtype}", "error": "no"}},
                "type": "control_response"}}"#
            ))
        };
        let id = "7".to_owned();
        assert_eq!(response("success"), Some(Control::Response { id: id.clone(), result: Ok(()) }));
        let result = Err("no".to_owned());
        assert_eq!(response("error"), Some(Control::Response { id: id.clone(), result }));
        let withdrawn = read(r#"{"type": "control_cancel_request", "request_id": "7"}"#);
        assert_eq!(withdrawn, Some(Control::Withdrawn { id }));
        // A text that speaks of them is an event.
        assert_eq!(read(r#"{"type": "assistant", "text": "\"control_request\""}"#), None);
        assert_eq!(read("\"control_request"), None);
        assert_eq!(control(&Line::TooLong), None);
    }

    #[test]
    fn pictures_are_given_as_pictures() {
        let picture = Block::Image { mime: "image/png".into(), data: "AA==".into() };
        let prompt = prompt("s", &[Block::text("Look."), picture]);
        let content = &prompt["message"]["content"];
        assert_eq!(content[0]["text"], "Look.");
        assert_eq!(content[1]["source"]["media_type"], "image/png");
    }
}
