//! What tests of hosts and of segue itself need, and no work does.
//!
//! The scripted model is below everything: it knows nothing of tasks, flows or engines. What records
//! and plays agents' turns knows agents, and so does the canary, which tries them out with that model.

#[cfg(all(feature = "scripted-model", feature = "programs", target_os = "linux"))]
pub(crate) mod canary;
#[cfg(feature = "scripted-model")]
pub mod model;
#[cfg(feature = "replay")]
mod recorder;
#[cfg(feature = "replay")]
mod replay;

#[cfg(feature = "replay")]
pub use self::{
    recorder::{Heard, Recorder},
    replay::Replay,
};
