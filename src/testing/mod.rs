//! What tests of hosts and of segue itself need, and no work does.
//!
//! It is below everything: it knows nothing of tasks, flows or engines.

pub mod model;
