//! Tests of the engine, on each backend.

#[macro_use]
mod support;

#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "the server is not restarted here")]
#[path = "../it/support/cluster.rs"]
mod cluster;

mod cancelling;
mod capacity;
mod flows;
mod inbox;
mod leases;
mod lifecycle;
mod outside;
mod tasks;
mod waiting;
mod watching;
