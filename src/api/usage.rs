//! What agents have used.

use super::engine::Engine;
use crate::{
    error::{Error, Result},
    id::AgentSessionId,
    model::{Account, Booking, Page, Query, Spent},
};

impl Engine {
    /// The rows of the ledger of a chat, a task or a run: what agents have reported, as they
    /// did and as it was booked, by agent's session and number. `after` is the last row of the page
    /// before.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn ledger(
        &self,
        of: Account,
        after: Option<(AgentSessionId, u32)>,
        limit: u32,
    ) -> Result<Vec<Booking>> {
        match self.core().backend.list(&Query::Ledger { of, after, limit }).await? {
            Page::Ledger(rows) => Ok(rows),
            _ => Err(Error::database("a list of bookings was answered with another")),
        }
    }

    /// What a chat, a task or a run has used: the sum of its ledger.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn spent(&self, of: Account) -> Result<Spent> {
        match self.core().backend.list(&Query::Spent { of }).await? {
            Page::Spent(spent) => Ok(spent),
            _ => Err(Error::database("a sum was answered with something else")),
        }
    }
}
