//! What a host uses: the engine, flows, and the handles of what runs.

mod again;
mod agent;
mod builder;
#[cfg(all(feature = "scripted-model", feature = "programs", target_os = "linux"))]
mod canary;
mod chat;
mod context;
mod engine;
mod enqueue;
mod flow;
mod memo;
mod past;
mod prompt;
mod report;
mod run;
mod see;
mod session;
mod task;
mod usage;
mod waits;
mod watch;
mod why;

pub use agent::Agent;
pub use builder::Builder;
pub use chat::{Chat, ChatSpec};
pub use context::Context;
pub use engine::Engine;
pub use enqueue::{Enqueue, NewTask};
pub use flow::{
    Added, Draft, Ended, Flow, Inputs, ItemPolicy, Items, Step, Steps, Template, Verdict, any,
    at_least,
};
pub use past::{At, History};
pub use prompt::{Heard, Live, SendPrompt, WhenBusy};
pub use run::{Launch, Run};
pub use session::{Session, SessionSpec};
pub use task::Task;
pub use waits::{Dependency, OpenStep, RunWaiting, StepWaiting};
pub use watch::Watch;
pub use why::Waiting;
