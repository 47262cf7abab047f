//! Every backend passes the conformance kit.

use segue::{backend_conformance, clock::ManualClock};

use crate::support::{insert_into_own, own_backend::OwnBackend};

backend_conformance!(
    own,
    async { OwnBackend::new(ManualClock::default()) },
    foreign: insert_into_own
);

#[cfg(feature = "sqlite")]
backend_conformance!(
    sqlite,
    crate::support::sqlite::temporary(ManualClock::default()),
    foreign: crate::support::sqlite::insert_foreign
);

#[cfg(feature = "postgres")]
backend_conformance!(
    postgres,
    crate::support::postgres::temporary(ManualClock::default()),
    foreign: crate::support::postgres::insert_foreign
);
