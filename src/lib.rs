//! segue runs coding agents durably.

#![warn(missing_docs, clippy::unwrap_used)]

pub mod backend;
pub mod clock;
mod error;
pub mod id;
pub mod model;

pub use error::{Error, Result};
