//! What the tests share.

#[cfg(feature = "postgres")]
pub mod cluster;
#[cfg(feature = "sqlite")]
#[allow(dead_code, reason = "the tests of several processes need the rest of it")]
pub mod disk;
#[cfg(feature = "postgres")]
pub mod ordeal;
#[allow(dead_code, reason = "the example's main is not called here")]
#[path = "../../../examples/own_backend.rs"]
pub mod own_backend;
pub mod planned;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod runs;
#[cfg(feature = "postgres")]
pub mod spending;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod whole;
pub mod world;

use std::{pin::Pin, sync::Arc};

use segue::{backend::Backend, clock::ManualClock, model::TaskSpec};

use own_backend::OwnBackend;
use planned::Planned;
use whole::Whole;

type Insert = Box<dyn Fn(TaskSpec) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A backend under test, with a way to insert tasks as another program does.
pub struct Subject {
    pub name: &'static str,
    pub backend: Arc<dyn Backend>,
    pub insert: Insert,
    /// Whether it raises revisions as often as the others do, and hints at the same times.
    pub counts_revs: bool,
}

impl Subject {
    pub fn new<B: Backend, F: Future<Output = ()> + 'static>(
        name: &'static str,
        backend: B,
        insert: impl Fn(Arc<B>, TaskSpec) -> F + 'static,
    ) -> Self {
        let backend = Arc::new(backend);
        let same = Arc::clone(&backend);
        let insert: Insert = Box::new(move |spec| Box::pin(insert(Arc::clone(&same), spec)));
        Self { name, backend, insert, counts_revs: true }
    }
}

/// Every backend that there is, empty.
pub async fn subjects(clock: &ManualClock) -> Vec<Subject> {
    let clock = clock.clone();
    let mut all = in_memory(&clock);
    all.extend([
        #[cfg(feature = "sqlite")]
        Subject::new("sqlite", sqlite::temporary(clock.clone()).await, sqlite::insert_foreign),
        #[cfg(feature = "postgres")]
        Subject::new(
            "postgres",
            postgres::temporary(clock.clone()).await,
            postgres::insert_foreign,
        ),
    ]);
    all
}

/// The backends in memory, empty.
pub fn in_memory(clock: &ManualClock) -> Vec<Subject> {
    let clock = clock.clone();
    let planned = Planned(OwnBackend::new(clock.clone()));
    vec![
        Subject::new("own", OwnBackend::new(clock.clone()), insert_into_own),
        Subject { counts_revs: false, ..Subject::new("planned", planned, insert_into_planned) },
        Subject::new("whole", Whole::new(clock), insert_into_whole),
    ]
}

pub async fn insert_into_own(backend: Arc<OwnBackend>, spec: TaskSpec) {
    backend.insert_foreign(spec);
}

async fn insert_into_whole(backend: Arc<Whole>, spec: TaskSpec) {
    backend.insert_foreign(spec);
}

async fn insert_into_planned(backend: Arc<Planned>, spec: TaskSpec) {
    backend.0.insert_foreign(spec);
}
