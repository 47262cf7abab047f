//! Pages on how segue is built and what it promises. There is no code here.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("flows.md")]
pub mod flows {}

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("writing-a-backend.md")]
pub mod writing_a_backend {}
