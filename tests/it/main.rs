//! All integration tests, in one binary.

mod agreement;
mod conformance;
mod flows;
#[cfg(feature = "postgres")]
mod postgres;
mod properties;
mod rules;
mod support;
mod workload;
