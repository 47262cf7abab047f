//! All integration tests, in one binary.

mod agreement;
mod audits;
mod conformance;
mod flows;
mod properties;
mod rules;
mod run_rules;
mod support;
mod workload;
