//! All integration tests, in one binary.

mod agreement;
mod conformance;
mod support;
mod workload;
