//! segue runs coding agents durably.

#![warn(missing_docs, clippy::unwrap_used)]

pub mod backend;
pub mod clock;
mod engine;
mod error;
mod failure;
pub mod id;
pub mod model;

pub use engine::Repaired;
pub use failure::Failure;
pub use error::{Error, Result};
