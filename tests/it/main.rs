//! All integration tests, in one binary.

mod agreement;
mod audits;
mod budget_rules;
mod conformance;
mod costs;
mod durability;
#[cfg(feature = "sqlite")]
mod engine;
mod evidence;
mod flow_properties;
mod flows;
mod migrations;
mod plans;
mod policies;
#[cfg(feature = "postgres")]
mod postgres;
mod postgres_engine;
mod properties;
mod rules;
mod run_rules;
#[cfg(feature = "scripted-model")]
mod scripted_model;
mod support;
mod tidy;
mod transitions;
mod workload;

#[cfg(feature = "sqlite")]
#[allow(unused_imports, reason = "the statements are compiled in by `plans`")]
use segue::{id, model};
