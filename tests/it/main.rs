//! All integration tests, in one binary.

mod agreement;
mod conformance;
mod flows;
mod migrations;
mod plans;
mod postgres_engine;
mod properties;
mod rules;
mod support;
mod workload;

#[cfg(feature = "sqlite")]
#[allow(unused_imports, reason = "the statements are compiled in by `plans`")]
use segue::model;
