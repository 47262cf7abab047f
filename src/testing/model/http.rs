//! From requests to answers.

use std::{collections::VecDeque, future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming, header};
use serde_json::{Value, json};

use super::{
    Ask, Protocol, Reply, Script,
    body::{Body, Pieces, body},
    record::{End, Log, Pending, Record},
    reply::Refusal,
    wire,
};
use crate::clock::Clock;

/// More than any agent sends; a client that errs must not fill the memory.
const BYTES_OF_A_REQUEST: usize = 64 << 20;

/// Headers whose values are not recorded.
const SECRETS: [&str; 6] =
    ["authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key"];

#[derive(Debug)]
pub(super) struct Service {
    script: Script,
    log: Arc<Log>,
}

/// What is sent: a status, headers, and the pieces of a body.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    pieces: VecDeque<String>,
    between: Duration,
    is_cut: bool,
}

/// What a path stands for.
enum Route {
    Ask(Protocol),
    Count,
    Models(Option<String>),
    Nothing,
}

impl Service {
    pub(super) const fn new(script: Script, log: Arc<Log>) -> Self {
        Self { script, log }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (head, incoming) = request.into_parts();
        let (route, is_head) = (route(&head.method, head.uri.path()), head.method == Method::HEAD);
        let mut record = self.log.open(Record {
            method: head.method.to_string(),
            path: head.uri.to_string(),
            headers: visible(&head.headers),
            body: None,
            ask: None,
            usage: None,
            end: End::Open,
        });
        let read = Limited::new(incoming, BYTES_OF_A_REQUEST).collect().await;
        let answer = match read {
            Ok(read) => self.route(&record, route, &read.to_bytes()).await,
            Err(error) if error.is::<LengthLimitError>() => {
                Answer::wrong(route.protocol(), 413, "the body is too large")
            }
            // The client broke off in the middle of its request.
            Err(error) => return Err(io::Error::other(error)),
        };
        if is_head {
            // Nobody asks for the body, and so for its end.
            record.ends(End::Answered(answer.status));
        }
        answer.response(record)
    }

    async fn route(&self, record: &Pending, route: Route, bytes: &Bytes) -> Answer {
        let protocol = route.protocol();
        let posted = || match serde_json::from_slice::<Value>(bytes) {
            Ok(body) => {
                record.has_body(body.clone());
                Ok(body)
            }
            Err(error) => Err(format!("the body is not JSON: {error}")),
        };
        match route {
            Route::Ask(protocol) => match posted().and_then(|body| wire::ask(protocol, &body)) {
                Ok(ask) => self.ask(record, ask).await,
                Err(wrong) => Answer::wrong(protocol, 400, &wrong),
            },
            Route::Count => match posted().and_then(|body| wire::ask(protocol, &body)) {
                Ok(_) => {
                    let tokens = self.script.default_usage().all_input();
                    Answer::json(200, &json!({"input_tokens": tokens}))
                }
                Err(wrong) => Answer::wrong(protocol, 400, &wrong),
            },
            Route::Models(None) => Answer::json(200, &wire::models(&self.script.models)),
            Route::Models(Some(name)) => Answer::json(200, &wire::model(&name)),
            Route::Nothing => {
                let _ = posted();
                Answer::wrong(protocol, 404, "the scripted model has nothing here")
            }
        }
    }

    async fn ask(&self, record: &Pending, ask: Ask) -> Answer {
        let ask = record.asked(ask);
        let (reply, usage) = self.script.answer(&ask);
        if reply.is_never {
            return future::pending().await;
        }
        if !reply.before.is_zero() {
            tokio::time::sleep(reply.before).await;
        }
        if let Some(refusal) = &reply.refusal {
            return Answer::refusal(ask.protocol, refusal);
        }
        record.costs(usage);
        let (stream, mut pieces) = if ask.stream {
            ("text/event-stream", wire::stream(&ask, &reply, &usage))
        } else {
            ("application/json", [wire::whole(&ask, &reply, &usage).to_string()].into())
        };
        if let Some(left) = reply.cut {
            pieces.truncate(if ask.stream { left } else { 0 });
        }
        let headers = vec![
            ("content-type".to_owned(), stream.to_owned()),
            ("cache-control".to_owned(), "no-cache".to_owned()),
            ("request-id".to_owned(), format!("req_{}", ask.number)),
        ];
        let Reply { between, cut, .. } = reply;
        Answer { status: 200, headers, pieces: pieces.into(), between, is_cut: cut.is_some() }
    }
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (pieces, between) = ([body.to_string()].into(), Duration::ZERO);
        Self { status, headers, pieces, between, is_cut: false }
    }

    fn wrong(protocol: Protocol, status: u16, message: &str) -> Self {
        Self::json(status, &wire::error(protocol, status, message))
    }

    fn refusal(protocol: Protocol, refusal: &Refusal) -> Self {
        let own = || wire::error(protocol, refusal.status, &refusal.message);
        let body = refusal.body.clone().unwrap_or_else(own);
        let mut answer = Self::json(refusal.status, &body);
        let reset = refusal.wait.map(|wait| wire::reset(protocol, wait, Clock::System.now()));
        answer.headers.extend(reset.into_iter().flatten());
        answer.headers.extend(refusal.headers.clone());
        answer
    }

    fn response(self, record: Pending) -> io::Result<Response<Body>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let Self { status, pieces, between, is_cut, .. } = self;
        response
            .body(body(Pieces { pieces, between, is_cut, status, record }))
            .map_err(io::Error::other)
    }
}

impl Route {
    /// The protocol whose form an error has.
    const fn protocol(&self) -> Protocol {
        match self {
            Self::Ask(protocol) => *protocol,
            Self::Count => Protocol::Messages,
            Self::Models(_) | Self::Nothing => Protocol::Completions,
        }
    }
}

fn route(method: &Method, path: &str) -> Route {
    let path = path.trim_end_matches('/');
    match (method.as_str(), path.strip_prefix("/v1").unwrap_or(path)) {
        ("POST", "/messages") => Route::Ask(Protocol::Messages),
        ("POST", "/messages/count_tokens") => Route::Count,
        ("POST", "/chat/completions") => Route::Ask(Protocol::Completions),
        ("POST", "/responses") => Route::Ask(Protocol::Responses),
        ("GET", "/models") => Route::Models(None),
        ("GET", path) => match path.strip_prefix("/models/") {
            Some(name) => Route::Models(Some(name.to_owned())),
            None => Route::Nothing,
        },
        _ => Route::Nothing,
    }
}

/// The headers, without what is secret.
fn visible(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = SECRETS.contains(&name.as_str()) || name == header::SET_COOKIE;
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), if is_secret { "(hidden)".to_owned() } else { value.into_owned() })
    });
    shown.collect()
}
