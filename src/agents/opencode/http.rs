//! Requests to opencode's server: HTTP on loopback, JSON, and a stream of events.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use super::events::Lines;

/// How long a request may take, but for a stream.
const LIMIT: Duration = Duration::from_secs(30);
/// No answer is longer.
const BYTES: usize = 256 << 20;

/// Where a server is, and what it lets in.
#[derive(Clone)]
pub(in crate::agents) struct Client {
    /// `HOST:PORT`.
    authority: String,
    authorization: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.authority).finish()
    }
}

/// An answer: its status and its body.
pub(in crate::agents) struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The data of an answer that is one.
    pub fn data(self) -> Result<Value, String> {
        let Self { status, mut body } = self;
        if (200..300).contains(&status) {
            return Ok(body.get_mut("data").map(Value::take).unwrap_or(body));
        }
        let words = ["message", "error"].iter().find_map(|name| body[*name].as_str());
        Err(words.map_or_else(|| format!("status {status}: {body}"), str::to_owned))
    }
}

impl Client {
    /// Of a server at `http://HOST:PORT`.
    pub fn new(url: &str, password: &str) -> io::Result<Self> {
        let authority = url.trim_end_matches('/').strip_prefix("http://");
        let authority = authority.filter(|it| !it.contains(['/', '@']) && it.contains(':'));
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "not `http://HOST:PORT`");
        let authority = authority.ok_or_else(wrong)?.to_owned();
        let authorization = format!("Basic {}", base64(format!("opencode:{password}").as_bytes()));
        Ok(Self { authority, authorization })
    }

    pub async fn get(&self, path: &str) -> io::Result<Answer> {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let asked = async {
            let response = self.send(method, path, body).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), BYTES).collect().await;
            let bytes = body.map_err(io::Error::other)?.to_bytes();
            let said = || String::from_utf8_lossy(&bytes).into_owned().into();
            Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| said()) })
        };
        timeout(LIMIT, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A stream of events.
    pub(super) async fn events(&self, path: &str) -> io::Result<Events> {
        let opened = timeout(LIMIT, self.send(Method::GET, path, None)).await;
        let response = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        if !response.status().is_success() {
            return Err(io::Error::other(format!("status {}", response.status())));
        }
        Ok(Events { body: response.into_body(), lines: Lines::default() })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<Response<Incoming>> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It ends with the answer, or with whoever reads it.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json");
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
        sender.send_request(request).await.map_err(io::Error::other)
    }
}

/// A stream of events.
#[derive(Debug)]
pub(super) struct Events {
    body: Incoming,
    lines: Lines,
}

impl Events {
    /// The next event; None at the end. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.lines.next() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(bytes) = frame.data_ref() {
                self.lines.push(bytes);
            }
        }
    }
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let of = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for place in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(sign) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_server_is_at_a_host_and_a_port() {
        assert!(Client::new("http://127.0.0.1:4096", "p").is_ok());
        for wrong in ["https://127.0.0.1:1", "127.0.0.1:1", "http://u:p@h:1", "http://h"] {
            assert!(Client::new(wrong, "p").is_err(), "{wrong}");
        }
    }
}
