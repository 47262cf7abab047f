//! The engine from outside, on each backend: everything goes through the public API.

#[macro_use]
mod support;

mod cancelling;
mod capacity;
mod flows;
mod inbox;
mod leases;
mod lifecycle;
mod outside;
mod seeing;
mod tasks;
mod waiting;
mod watching;
