//! All integration tests, in one binary.

mod agreement;
mod audits;
mod conformance;
mod flows;
#[cfg(feature = "postgres")]
mod postgres;
mod properties;
mod rules;
mod run_rules;
mod support;
mod transitions;
mod workload;
