//! Who answers for the programs that are started.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use super::Mark;
use crate::failure::Failure;

/// Who writes down which programs are started, so that whoever comes after a crash can end them.
#[async_trait]
pub trait Custody: fmt::Debug + Send + Sync + 'static {
    /// Says that a program is about to be started, and gives the mark that it is to carry. Durable
    /// when it returns.
    ///
    /// # Errors
    /// When it can't be written. Then nothing may be started.
    async fn intend(&self, program: &str) -> Result<Mark, Failure>;

    /// Says that it runs, and as which process. Durable when it returns: nothing is given to a
    /// program that nobody could find again.
    ///
    /// # Errors
    /// When it can't be written. Then the program is to be ended.
    async fn started(&self, mark: Mark, process: u32) -> Result<(), Failure>;

    /// Says that nothing of it is left. What can't be written now is found out at the next start.
    async fn ended(&self, mark: Mark);
}

/// Writes nothing down: for programs that are tried out, and for tests.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched {
    owner: Uuid,
}

impl Unwatched {
    /// For the programs of this owner.
    pub const fn new(owner: Uuid) -> Self {
        Self { owner }
    }
}

#[async_trait]
impl Custody for Unwatched {
    async fn intend(&self, _: &str) -> Result<Mark, Failure> {
        Ok(Mark::new(self.owner))
    }

    async fn started(&self, _: Mark, _: u32) -> Result<(), Failure> {
        Ok(())
    }

    async fn ended(&self, _: Mark) {}
}
