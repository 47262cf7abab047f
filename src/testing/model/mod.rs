//! A model that says what it is told to: a server on the loopback address that speaks the
//! protocols of models' providers.
//!
//! Real agents run against it offline, deterministic and free. It answers Anthropic's
//! `/v1/messages` and `/v1/messages/count_tokens`, and OpenAI's `/v1/chat/completions`,
//! `/v1/responses` and `/v1/models`, each whole or as a stream of events. A [`Script`] decides
//! what is said, and every request is [recorded](ModelServer::records) with what it was billed.
//!
//! ```
//! # async fn run() -> std::io::Result<()> {
//! use segue::testing::model::{ModelServer, Reply, Script};
//!
//! let server = ModelServer::start(Script::by(|ask| match ask.results().last() {
//!     None => Reply::call("read_file", serde_json::json!({"path": "a.txt"})),
//!     Some(result) => Reply::text(format!("It says {}", result.text)),
//! }))
//! .await?;
//! println!("ANTHROPIC_BASE_URL={}", server.url());
//! println!("OPENAI_BASE_URL={}/v1", server.url());
//! # Ok(())
//! # }
//! ```

mod ask;
mod body;
mod http;
mod markers;
mod record;
mod reply;
mod script;
mod server;
mod wire;

pub use ask::{Ask, Entry, Protocol, ToolResult};
pub use markers::HELP as MARKERS;
pub use record::{End, Record};
pub use reply::{Part, Reply, Usage};
pub use script::Script;
pub use server::ModelServer;
