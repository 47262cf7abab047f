//! Every backend passes the conformance kit.

use std::sync::Arc;

use segue::{backend_conformance, clock::ManualClock, model::TaskSpec};

use crate::support::own_backend::OwnBackend;

async fn insert_into_own(backend: Arc<OwnBackend>, spec: TaskSpec) {
    backend.insert_foreign(spec);
}

backend_conformance!(
    own,
    async { OwnBackend::new(ManualClock::default()) },
    foreign: insert_into_own
);

#[cfg(feature = "sqlite")]
backend_conformance!(
    sqlite,
    async {
        let clock = ManualClock::default();
        segue::backend::sqlite::SqliteBackend::temporary(clock).await.unwrap()
    },
    foreign: crate::support::sqlite::insert_foreign
);
