//! Rust functions as agents.

use std::{fmt, future::Future};

use async_trait::async_trait;

use super::{Agent, Listener, Outcome, Reply, Turn};
use crate::failure::Failure;

/// An agent that is a Rust async function.
pub fn native<F, Fut>(function: F) -> impl Agent
where
    F: Fn(Turn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    Native(function)
}

struct Native<F>(F);

impl<F> fmt::Debug for Native<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native")
    }
}

#[async_trait]
impl<F, Fut> Agent for Native<F>
where
    F: Fn(Turn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    async fn turn(&self, turn: Turn, _: &dyn Listener) -> Outcome {
        (self.0)(turn).await.into()
    }
}
