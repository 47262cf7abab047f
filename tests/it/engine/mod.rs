//! The engine from outside, on each backend: everything goes through the public API.

#[macro_use]
mod support;

mod answers;
mod budgets;
mod cancelling;
mod capacity;
mod chats;
mod flows;
mod hardship;
mod inbox;
mod leases;
mod lifecycle;
mod memo;
mod operating;
mod outside;
mod policies;
mod seeing;
mod seeing_flows;
mod tasks;
mod turns;
mod versions;
mod waiting;
mod watching;
