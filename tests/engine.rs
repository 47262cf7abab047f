//! The engine from outside: everything goes through the public API.

#![cfg(feature = "sqlite")]

#[path = "engine/mod.rs"]
mod engine;
