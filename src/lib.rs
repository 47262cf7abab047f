//! segue runs coding agents durably.

#![warn(missing_docs, clippy::unwrap_used)]

pub mod backend;
pub mod clock;
mod engine;
mod error;
pub mod id;
pub mod model;

pub use engine::{Failure, Repaired};
pub use error::{Error, Result};
