//! The in-memory backend without its fast path: what a worker hands in is planned on loaded
//! rows, never decided on the rows that it carries. Both ways must come to the same.

use std::time::Duration;

use segue::{Result, backend::Backend, clock::Clock, id::*, model::*};

use super::own_backend::OwnBackend;

#[derive(Debug)]
pub struct Planned(pub OwnBackend);

#[async_trait::async_trait]
impl Backend for Planned {
    /// A cancel may move any task, so nothing after it is decided ahead of it.
    async fn commit(&self, mut batch: Batch) -> Result<Committed> {
        let nobody = TaskId::from(uuid::Uuid::nil());
        batch.commands.insert(0, Command::Cancel(nobody));
        let mut committed = self.0.commit(batch).await?;
        committed.receipts.remove(0).unwrap_err();
        Ok(committed)
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }

    async fn migrate(&self) -> Result<()> {
        self.0.migrate().await
    }

    async fn beat(&self, instance: InstanceId) -> Result<bool> {
        self.0.beat(instance).await
    }

    async fn due(&self, of: InstanceId, limit: u32) -> Result<Due> {
        self.0.due(of, limit).await
    }

    async fn read(&self, needs: &Needs) -> Result<Rows> {
        self.0.read(needs).await
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        self.0.list(query).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.0.stats().await
    }

    async fn tail(&self, stream: Stream, after: Cursor, limit: u32) -> Result<Vec<Entry>> {
        self.0.tail(stream, after, limit).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned> {
        self.0.prune(prune).await
    }

    async fn wait(&self, limit: Duration) -> bool {
        self.0.wait(limit).await
    }
}
