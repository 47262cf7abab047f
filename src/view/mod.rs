//! A run as people look at it: a record that can be kept, and pictures and texts made of it.
//!
//! Invariant: everything here is a pure function of rows. Nothing reads a database or a clock.
//! A [`RunRecord`] that was written as JSON a year ago is drawn like one that was just read.

mod chart;
mod fold;
mod look;
mod markdown;
mod mermaid;
mod record;
mod svg;
mod text;
mod timeline;

pub use chart::Glyphs;
pub use record::{
    AttemptRecord, Edge, EntryRecord, RecordFormat, RunInfo, RunRecord, StepRecord, TaskRecord,
};

pub(crate) use mermaid::plan;
pub(crate) use record::Sources;
pub(crate) use text::cell;
