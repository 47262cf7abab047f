//! segue runs coding agents durably: tasks, typed flows, agents' turns and transcripts, kept in
//! one database that your program opens by itself. The name says what it does: it moves to the
//! next step without a break, also across a crash.
//!
//! # First program
//!
//! ```no_run
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! Kill it at any moment and start it again: the run goes on where it was, and a step that was
//! recorded as done is not done again.
//!
//! # Four concepts
//!
//! * An [`Engine`] does the work. It is begun with [`Engine::sqlite`] (or another database), told
//!   what it can do (handlers, flows, agents), and [started](Builder::start); an engine that only
//!   looks at the work of others is [connected](Builder::connect). Clones share it, and dropping
//!   the last one ends it in order.
//! * A [`Flow`] says what is to be done: it has a name, a version, and typed steps. It is drawn
//!   with a [`Draft`].
//! * A [`Step`] is the promise of a value. A step that is used as another's input is an edge, so
//!   types and edges can't disagree. A step is a function, or an agent's turn.
//! * A [`Run`] is one launch of a flow. It keeps the shape it was launched with, and can be
//!   awaited, watched, paused, resumed, cancelled, and read at any time, from any process.
//!
//! Below them is a fifth that flows are made of and that works alone just as well: a [`Task`] is
//! one unit of work for a named handler, with a retry policy, a time limit, capacity keys, tags
//! and a unique key. See [`NewTask`] for all it can have, [`Context`] for what its handler gets,
//! and [`Failure`] for what a handler can return.
//!
//! # Around them
//!
//! * [`agents`]: the trait behind an agent's turn, and an adapter for async functions. [`Agent`]
//!   is a step's recipe: which agent, which model, whether it may write.
//! * [`Chat`]: messages in order. What an agent is told and answers is written there.
//! * [`evidence`]: what agents claim about a source tree, checked by code, with a ledger of what was
//!   read and a report.
//! * [`Engine::inbox`]: what waits for a person, [answered](Engine::answer) once.
//! * [`Watch`]: what happened, in commit order, from a cursor.
//! * [`Waiting`]: why a task is not done; [`Engine::stuck`] asks it of all of them, [`Run::why`]
//!   of a run, and [`Run::why_step`] of one of its steps.
//! * [`view`]: a run as JSON, as Markdown, as a Mermaid flowchart, and as a timeline in SVG or
//!   text, all from one [record](Run::record).
//! * [`clock`]: a manual clock, with which [`Engine::run_until_idle`] drives an engine in tests.
//! * [`backend`]: the contract with the database. [`model`]: rows, commands, and all rules.
//!
//! # What to read next
//!
//! * [`docs::guarantees`]: what is promised, what upholds it, and what it does not cover. Read it
//!   before you build on it.
//! * [`docs::architecture`]: how the parts fit, and where to find things in the code.
//! * [`docs::writing_a_backend`]: another database in a few hundred lines.
//!
//! # Features
//!
//! * `sqlite`, on by default: [`Engine::sqlite`] and [`backend::sqlite`], one file that the
//!   processes of a host share. SQLite is compiled in; a host that links SQLite as well must agree
//!   with it on one version of `rusqlite` (0.39 to 0.41).
//! * `postgres`: `Engine::postgres` and `backend::postgres`, for work that several hosts share.
//!   PostgreSQL 14 or newer; encrypted connections by rustls, without OpenSSL.
//! * `cli`: `agents::cli`, programs that are started for each turn: Claude Code, Codex, Qwen Code,
//!   opencode and Gemini CLI by recipes of the crate, others by the host's. Linux.
//! * `claude`: `agents::claude`, Claude Code that is kept warm between the turns of a chat and asks
//!   before it acts. Linux.
//! * `conformance`: `backend_conformance!`, the tests that every backend must pass. For the
//!   development dependencies of whoever writes one.
//! * `scripted-model`: `testing::model`, a server on the loopback address that speaks the protocols
//!   of models' providers and says what a script tells it to. For tests with real agents, and for
//!   `Engine::canary`, which tries out whether an agent keeps to reading.
//! * `replay`: `testing::Replay`, an agent that plays a recorded turn, and `testing::Recorder`, a
//!   listener that writes down what it hears. For tests without agents.
//!
//! Without any of them the crate has no backend, and the engine runs on one of the host's own by
//! [`Engine::on`].
//!
//! # Logging and counting
//!
//! Each attempt runs in a span of the `tracing` crate that names its task, kind and attempt. The
//! counters `segue_commits_total`, `segue_attempts_total` (by kind and outcome),
//! `segue_refused_settles_total` and `segue_rescued_tasks_total` are kept by the `metrics` crate
//! and cost nothing where the host installs no recorder.

#![warn(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod agents;
mod api;
pub mod backend;
pub mod clock;
pub mod docs;
mod engine;
mod error;
pub mod evidence;
mod failure;
pub mod id;
pub mod model;
#[cfg(any(feature = "scripted-model", feature = "replay"))]
pub mod testing;
pub mod view;
#[cfg(all(feature = "programs", target_os = "linux"))]
pub mod workspace;

pub use api::{
    Added, Agent, At, Builder, Chat, ChatSpec, Context, Dependency, Draft, Ended, Engine, Enqueue,
    Flow, Heard, History, Inputs, ItemPolicy, Items, Launch, Live, NewTask, OpenStep, Run,
    RunWaiting, SendPrompt, Session, SessionSpec, Step, StepWaiting, Steps, Task, Template,
    Verdict, Waiting, Watch, WhenBusy, any, at_least,
};
pub use engine::{Delta, ReadOnly, Repaired};
pub use error::{Error, Result};
pub use failure::Failure;
pub use model::HandOff;

/// The examples of the README, compiled.
#[cfg(all(doctest, feature = "sqlite", feature = "cli", feature = "claude", target_os = "linux"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
