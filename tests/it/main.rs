//! All integration tests, in one binary.

mod agreement;
mod conformance;
#[cfg(feature = "postgres")]
mod postgres;
mod support;
mod workload;
