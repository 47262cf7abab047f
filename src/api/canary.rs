//! Trying out whether an agent keeps to reading.

use super::engine::Engine;
use crate::{
    agents::Kept,
    engine::inventory,
    error::{Error, Result},
    model::Canary,
    testing::canary::try_out,
};

impl Engine {
    /// Tries out whether an agent that is registered here keeps to reading: a scripted model, on the
    /// loopback address, tells it to write by its tools, in a repository and with a home that are made
    /// for this and lost with it. First with nothing but its own way to only read, then with nothing
    /// but the system to keep it from writing. It takes a few seconds and asks no provider.
    ///
    /// What came of it is kept with the version that was tried. One that has changed something takes no
    /// turns that only read, until it is another version. See
    /// [`Builder::read_only`](crate::Builder::read_only) for what else follows from it.
    ///
    /// # Errors
    /// A [usage error](Error::is_usage) when there is no such agent here, it is not installed, or its
    /// model can't be another one; and when nothing could be tried.
    pub async fn canary(&self, name: &str) -> Result<Canary> {
        let core = self.core();
        let subject = inventory::subject(core, name).await?;
        let trial = async |kept: Kept| {
            let custody = inventory::custody(core, name);
            let tried = try_out(&*subject.agent, kept, custody).await;
            tried.map_err(|failure| Error::usage(format!("`{name}` can't be tried out: {failure}")))
        };
        let mut canary = subject.canary;
        canary.by_itself = trial(Kept::ByItself).await?;
        canary.by_kernel = trial(Kept::ByKernel).await?;
        if canary.by_itself.is_none() && canary.by_kernel.is_none() {
            let message = format!("nothing is known of how `{name}` is tried out");
            return Err(Error::usage(message));
        }
        inventory::judge(core, name, &canary).await?;
        Ok(canary)
    }
}
