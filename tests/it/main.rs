//! All integration tests, in one binary.

mod agreement;
mod conformance;
mod flows;
mod migrations;
mod postgres_engine;
mod properties;
mod rules;
mod support;
mod workload;
