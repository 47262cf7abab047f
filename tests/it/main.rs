//! All integration tests, in one binary.

mod agreement;
mod audits;
mod conformance;
mod flows;
mod migrations;
#[cfg(feature = "postgres")]
mod postgres;
mod postgres_engine;
mod properties;
mod rules;
mod run_rules;
mod support;
mod transitions;
mod workload;
