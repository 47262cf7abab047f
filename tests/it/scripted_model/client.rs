//! A client that knows no more of HTTP than it must, so that it can also send what is wrong.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use segue::testing::model::{ModelServer, Protocol};

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: String,
    pub body: String,
    /// Whether the body ended as it said it would.
    pub is_whole: bool,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The data of all events but the `[DONE]` of completions.
    pub fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        let data = data.filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).expect("an event is JSON")).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.headers.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }
}

pub async fn connect(server: &ModelServer) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.port())).await.expect("the server listens")
}

/// Sends these bytes and reads until the server closes.
pub async fn raw(server: &ModelServer, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    // The server may answer and close before it has read all.
    let _ = stream.write_all(bytes).await;
    read(&mut stream).await
}

pub async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

pub async fn get(server: &ModelServer, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    parse(&raw(server, request.as_bytes()).await)
}

pub fn request(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\nx-api-key: secret\r\n\
         x-plain: seen\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

pub async fn post(server: &ModelServer, path: &str, body: &Value) -> Response {
    parse(&raw(server, request(path, &body.to_string()).as_bytes()).await)
}

/// A response, with the chunks of its body put together.
pub fn parse(text: &str) -> Response {
    let (headers, mut rest) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let headers = headers.replace("\r\n", "\n");
    if !headers.contains("transfer-encoding: chunked") {
        let body = rest.to_owned();
        return Response { status, headers, body, is_whole: true };
    }
    let mut body = String::new();
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        if size == 0 {
            return Response { status, headers, body, is_whole: true };
        }
        body.push_str(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    Response { status, headers, body, is_whole: false }
}

// ---- the three protocols, with one conversation

pub const PROTOCOLS: [Protocol; 3] =
    [Protocol::Messages, Protocol::Completions, Protocol::Responses];

pub fn path(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Messages => "/v1/messages",
        Protocol::Completions => "/v1/chat/completions",
        Protocol::Responses => "/v1/responses",
    }
}

/// A request with this prompt, for a model that has a tool called `read`.
pub fn ask(protocol: Protocol, stream: bool, prompt: &str) -> Value {
    let user = json!([{"role": "user", "content": prompt}]);
    match protocol {
        Protocol::Messages => json!({
            "model": "m", "stream": stream, "messages": user, "tools": [{"name": "read"}],
        }),
        Protocol::Completions => json!({
            "model": "m", "stream": stream, "messages": user,
            "stream_options": {"include_usage": stream},
            "tools": [{"type": "function", "function": {"name": "read"}}],
        }),
        Protocol::Responses => json!({
            "model": "m", "stream": stream, "input": user,
            "tools": [{"type": "function", "name": "read"}],
        }),
    }
}

/// The request with a call of the tool in it, and what the tool said.
pub fn with_result(protocol: Protocol, mut ask: Value, id: &str, result: &str) -> Value {
    let (list, more) = match protocol {
        Protocol::Messages => (
            "messages",
            json!([
                {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "read", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": result}]},
                    {"type": "text", "text": "Do not forget the list."},
                ]},
            ]),
        ),
        Protocol::Completions => (
            "messages",
            json!([
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": id, "type": "function", "function": {"name": "read", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": id, "content": result},
            ]),
        ),
        Protocol::Responses => (
            "input",
            json!([
                {"type": "function_call", "call_id": id, "name": "read", "arguments": "{}"},
                {"type": "function_call_output", "call_id": id, "output": result},
            ]),
        ),
    };
    let more = more.as_array().expect("a list").clone();
    ask[list].as_array_mut().expect("a list").extend(more);
    ask
}

/// What a client makes of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    pub thoughts: String,
    pub text: String,
    /// The id, name and input of the last call.
    pub call: Option<(String, String, Value)>,
    /// All that was read, what of it came from the cache, and all that was written.
    pub usage: (u64, u64, u64),
}

/// An answer in one body.
pub fn heard(protocol: Protocol, body: &Value) -> Heard {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parsed = |value: &Value| serde_json::from_str(&text(value)).expect("an input is JSON");
    let mut heard = Heard { usage: usage(protocol, &body["usage"]), ..Heard::default() };
    if protocol == Protocol::Completions {
        let message = &body["choices"][0]["message"];
        heard.thoughts = text(&message["reasoning_content"]);
        heard.text = text(&message["content"]);
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let input = parsed(&function["arguments"]);
            heard.call = Some((text(&call["id"]), text(&function["name"]), input));
        }
        return heard;
    }
    let list = if protocol == Protocol::Messages { &body["content"] } else { &body["output"] };
    for part in list.as_array().expect("a list") {
        match part["type"].as_str().expect("a type") {
            "thinking" => heard.thoughts += &text(&part["thinking"]),
            "reasoning" => heard.thoughts += &text(&part["summary"][0]["text"]),
            "text" => heard.text += &text(&part["text"]),
            "message" => heard.text += &text(&part["content"][0]["text"]),
            "tool_use" => {
                let input = part["input"].clone();
                heard.call = Some((text(&part["id"]), text(&part["name"]), input));
            }
            "function_call" => {
                let input = parsed(&part["arguments"]);
                heard.call = Some((text(&part["call_id"]), text(&part["name"]), input));
            }
            other => panic!("a part of type {other}"),
        }
    }
    heard
}

fn usage(protocol: Protocol, usage: &Value) -> (u64, u64, u64) {
    let of = |value: &Value| value.as_u64().expect("a count");
    match protocol {
        Protocol::Messages => {
            let read = of(&usage["cache_read_input_tokens"]);
            let all = of(&usage["input_tokens"]) + of(&usage["cache_creation_input_tokens"]) + read;
            (all, read, of(&usage["output_tokens"]))
        }
        Protocol::Completions => {
            let read = of(&usage["prompt_tokens_details"]["cached_tokens"]);
            (of(&usage["prompt_tokens"]), read, of(&usage["completion_tokens"]))
        }
        Protocol::Responses => {
            let read = of(&usage["input_tokens_details"]["cached_tokens"]);
            (of(&usage["input_tokens"]), read, of(&usage["output_tokens"]))
        }
    }
}

/// An answer in events, put together from its deltas alone.
pub fn heard_in_events(protocol: Protocol, events: &[Value]) -> Heard {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (mut heard, mut call, mut input) = (Heard::default(), None, String::new());
    for event in events {
        match protocol {
            Protocol::Messages => {
                let (delta, block) = (&event["delta"], &event["content_block"]);
                heard.thoughts += &text(&delta["thinking"]);
                heard.text += &text(&delta["text"]);
                input += &text(&delta["partial_json"]);
                if block["type"] == "tool_use" {
                    call = Some((text(&block["id"]), text(&block["name"])));
                }
                if event["type"] == "message_delta" {
                    heard.usage = usage(protocol, &event["usage"]);
                }
            }
            Protocol::Completions => {
                let delta = &event["choices"][0]["delta"];
                heard.thoughts += &text(&delta["reasoning_content"]);
                heard.text += &text(&delta["content"]);
                let part = &delta["tool_calls"][0];
                input += &text(&part["function"]["arguments"]);
                if !part["id"].is_null() {
                    call = Some((text(&part["id"]), text(&part["function"]["name"])));
                }
                if !event["usage"].is_null() {
                    heard.usage = usage(protocol, &event["usage"]);
                }
            }
            Protocol::Responses => match event["type"].as_str().expect("a type") {
                "response.reasoning_summary_text.delta" => heard.thoughts += &text(&event["delta"]),
                "response.output_text.delta" => heard.text += &text(&event["delta"]),
                "response.function_call_arguments.delta" => input += &text(&event["delta"]),
                "response.output_item.added" if event["item"]["type"] == "function_call" => {
                    let item = &event["item"];
                    call = Some((text(&item["call_id"]), text(&item["name"])));
                }
                "response.completed" => heard.usage = usage(protocol, &event["response"]["usage"]),
                _ => {}
            },
        }
    }
    let input = || serde_json::from_str(&input).expect("an input is JSON");
    heard.call = call.map(|(id, name)| (id, name, input()));
    heard
}
