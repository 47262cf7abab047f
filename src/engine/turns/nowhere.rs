//! Where no programs are started, a turn needs no place.

use crate::{
    agents::{Agent, Turn},
    engine::Job,
    failure::Failure,
};

/// The folder of a turn while it is taken.
#[derive(Debug)]
pub(super) struct Place;

impl Place {
    /// Nothing is to be prepared for a function.
    ///
    /// # Errors
    /// None.
    pub async fn enter(_: &Job, _: &str, _: &dyn Agent, _: &mut Turn) -> Result<Self, Failure> {
        Ok(Self)
    }

    /// Nothing is to be looked at.
    ///
    /// # Errors
    /// None.
    pub async fn leave(self, _: &Job, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}
