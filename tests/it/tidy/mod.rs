//! Tidiness as tests: layers, purity, where SQL may be, sizes, and what must not appear.
//!
//! Code is read as tokens, so that comments and the examples in them don't count, and the
//! insides of macros do.

mod habits;
mod layers;
mod purity;
mod reading;
mod sizes;
mod sql;

/// The parts of `backend` that know nothing of each other, and of which nobody below the host's
/// side knows.
const DATABASES: [&str; 2] = ["sqlite", "postgres"];
