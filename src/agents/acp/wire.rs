//! JSON-RPC 2.0, one message a line.
//! Invariant: nothing here performs I/O.
//!
//! Messages are read field by field from JSON values and not into types of the protocol: agents
//! deviate from it, and what one field lacks must not cost the others.

use serde_json::{Value, json};

/// The method is not known.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
/// The agent wants its user to log in first.
pub(super) const AUTH_REQUIRED: i64 = -32000;

/// What the other side says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// It wants an answer.
    Request { id: Value, method: String, params: Value },
    /// It wants none.
    Notice { method: String, params: Value },
    /// It answers the request with this id.
    Answer { id: i64, result: Result<Value, Error> },
}

/// A request has failed, in the words of the other side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Error {
    pub code: i64,
    pub message: String,
    pub data: Value,
}

impl Error {
    /// All that it says.
    pub fn words(&self) -> String {
        let details = match &self.data {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            data => match data["details"].as_str().or_else(|| data["message"].as_str()) {
                Some(text) => text.to_owned(),
                None => data.to_string(),
            },
        };
        if details.is_empty() || self.message.contains(&details) {
            self.message.clone()
        } else {
            format!("{}: {details}", self.message)
        }
    }
}

/// The messages of a line: one, those of a batch, or none where it is something else.
pub(super) fn read(line: &str) -> Vec<Message> {
    match serde_json::from_str(line) {
        Ok(Value::Array(batch)) => batch.into_iter().filter_map(message).collect(),
        Ok(value) => message(value).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

fn message(mut value: Value) -> Option<Message> {
    let fields = value.as_object_mut()?;
    let id = fields.remove("id");
    if let Some(Value::String(method)) = fields.remove("method") {
        let params = fields.remove("params").unwrap_or_default();
        return Some(match id {
            Some(id) => Message::Request { id, method, params },
            None => Message::Notice { method, params },
        });
    }
    let id = id?.as_i64()?;
    let result = match fields.remove("error") {
        Some(error) if !error.is_null() => Err(Error {
            code: error["code"].as_i64().unwrap_or(0),
            message: error["message"].as_str().unwrap_or("an error without words").to_owned(),
            data: error["data"].clone(),
        }),
        // An answer without a result is one: some agents leave `null` out.
        _ => Ok(fields.remove("result").unwrap_or_default()),
    };
    Some(Message::Answer { id, result })
}

/// A request, as a line.
pub(super) fn request(id: i64, method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A notice, as a line.
pub(super) fn notice(method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

/// An answer, as a line.
pub(super) fn answer(id: &Value, result: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

/// The answer that there is no such method, as a line.
pub(super) fn unknown(id: &Value, method: &str) -> String {
    let message = format!("there is no method `{method}` here");
    let error = json!({"code": METHOD_NOT_FOUND, "message": message});
    line(&json!({"jsonrpc": "2.0", "id": id, "error": error}))
}

fn line(value: &Value) -> String {
    value.to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_or_several_or_none() {
        let all = r#"[{"id":1,"result":null},{"id":"a","method":"m","params":[1]},
            {"method":"n"},{"id":2,"error":{"code":-1,"message":"no","data":{"details":"why"}}}]"#;
        let error = Error { code: -1, message: "no".into(), data: json!({"details": "why"}) };
        assert_eq!(error.words(), "no: why");
        assert_eq!(
            read(all),
            [
                Message::Answer { id: 1, result: Ok(Value::Null) },
                Message::Request { id: json!("a"), method: "m".into(), params: json!([1]) },
                Message::Notice { method: "n".into(), params: Value::Null },
                Message::Answer { id: 2, result: Err(error) },
            ]
        );
        for nothing in
            ["", "running 1 test", "{\"id\":1,\"resu", "42", "{}", "{\"id\":\"x\"}", "[]"]
        {
            assert_eq!(read(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn what_is_written_is_one_line_and_is_read_again() {
        let params = json!({"text": "two\nlines"});
        let written = request(7, "session/prompt", &params);
        assert_eq!(written.matches('\n').count(), 1);
        let read = read(&written);
        assert_eq!(
            read,
            [Message::Request { id: json!(7), method: "session/prompt".into(), params }]
        );
    }
}
