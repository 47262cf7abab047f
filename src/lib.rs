//! segue
#![forbid(clippy::unwrap_used)]
pub mod clock;
pub mod id;
pub mod model;
