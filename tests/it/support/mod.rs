//! What the tests share.

#[allow(dead_code, reason = "the example's main is not called here")]
#[path = "../../../examples/own_backend.rs"]
pub mod own_backend;
#[cfg(feature = "sqlite")]
pub mod sqlite;
