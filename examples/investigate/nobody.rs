//! Where no programs are started there are no coding agents.

use segue::{clock::Timestamp, model::RunSpec};

use crate::{
    args::Args,
    evidence::Question,
    session::{Ending, Outcome},
};

const NONE: &str = "this program was built without coding agents: they need Linux and \
    `--features cli`";

/// There is nobody to be asked.
///
/// # Errors
/// Always.
pub async fn investigate(_: &Args, _: &str, _: Question, _: Timestamp) -> Outcome<Ending> {
    Err(NONE.into())
}

/// There is nobody to go on.
///
/// # Errors
/// Always.
pub async fn resume(_: &Args, _: &RunSpec, _: Question, _: Timestamp) -> Outcome<Ending> {
    Err(NONE.into())
}

/// There is nothing to be drawn.
///
/// # Errors
/// Always.
pub fn graph(_: &Args, _: &str) -> Outcome<String> {
    Err(NONE.into())
}
