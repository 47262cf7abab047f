//! segue runs coding agents durably.

#![warn(missing_docs, clippy::unwrap_used)]

pub mod agents;
mod api;
pub mod backend;
pub mod clock;
mod engine;
mod error;
mod failure;
pub mod id;
pub mod model;

pub use api::{
    Agent, Builder, Chat, ChatSpec, Context, Draft, Engine, Enqueue, Flow, Inputs, Launch, NewTask,
    Run, SessionSpec, Step, Task, Waiting, Watch,
};
pub use engine::Repaired;
pub use error::{Error, Result};
pub use failure::Failure;
