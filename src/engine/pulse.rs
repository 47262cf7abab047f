//! The beat: raised on a thread of its own, so that neither a blocked runtime nor a long
//! write makes a healthy instance look dead.

use std::{sync::Arc, thread, time::Duration};

use super::Core;
use crate::error::{Error, Result};

/// Starts the thread. It ends when the engine has stopped.
pub(super) fn start(core: Arc<Core>) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("can't start the thread of the beat: {error}")).caused_by(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let thread = thread::Builder::new().name("segue-pulse".into());
    thread.spawn(move || runtime.block_on(beat(core))).map(drop).map_err(failed)
}

async fn beat(core: Arc<Core>) {
    while !core.stopped.is_cancelled() {
        match tokio::time::timeout(core.settings.lapse, core.backend.beat(core.instance)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => core.announce_again(),
            Ok(Err(error)) => tracing::warn!(%error, "can't raise the beat"),
            Err(_) => tracing::warn!("raising the beat takes too long"),
        }
        tokio::select! {
            () = tokio::time::sleep(core.settings.beat) => {}
            () = core.stopped.cancelled() => {}
        }
    }
    // What the backend started in this runtime ends with it.
    tokio::time::sleep(Duration::ZERO).await;
}
