//! The raw loops: what the bare drivers reach with the statements of the backends, with no
//! library in between. The files of the statements are compiled in here, and what is sent with
//! them has the types and widths of what the engine sends.

mod postgres;
mod sqlite;

pub use postgres::Pipeline;

use segue::model::{Event, Lane, Role};
use uuid::Uuid;

use super::{
    Result,
    place::{Kind, Place},
};

/// A queue of tasks by bare statements. Each call is one durable transaction.
pub trait Queue {
    /// Inserts ready tasks.
    fn enqueue(&mut self, count: usize) -> Result<()>;
    /// Settles what is held and claims up to `batch`. Says how many.
    fn exchange(&mut self, batch: usize) -> Result<usize>;
}

/// A chat by bare statements.
pub trait Chat {
    /// Appends a message, with its entry in the stream, in one durable transaction.
    fn append(&mut self) -> Result<()>;
    /// Reads the stream from its start, 256 entries at a time. Says how many there were.
    fn tail(&mut self) -> Result<usize>;
}

/// On segue's own tables.
pub fn own(place: &Place) -> Result<Box<dyn Queue>> {
    Ok(match place.kind {
        Kind::Sqlite => Box::new(sqlite::Own::new(place)?),
        Kind::Postgres => Box::new(postgres::Own::new(place)?),
    })
}

/// On the least that a queue can be: one table, one partial index.
pub fn minimal(place: &Place) -> Result<Box<dyn Queue>> {
    Ok(match place.kind {
        Kind::Sqlite => Box::new(sqlite::Minimal::new(place)?),
        Kind::Postgres => Box::new(postgres::Minimal::new(place)?),
    })
}

pub fn chat(place: &Place) -> Result<Box<dyn Chat>> {
    Ok(match place.kind {
        Kind::Sqlite => Box::new(sqlite::Talk::new(place)?),
        Kind::Postgres => Box::new(postgres::Talk::new(place)?),
    })
}

/// The number of the lane that the engine has for the tasks of the loops.
fn lane() -> i64 {
    Lane::new(vec!["task:count".into()], Vec::new()).id
}

/// The entry of a message in the stream of its chat.
fn told(id: Uuid, seq: i64) -> Result<String> {
    let told = Event::MessageAppended { id: id.into(), seq, role: Role::User };
    Ok(serde_json::to_string(&[told])?)
}

/// Fills segue's tables with `finished` tasks and `waiting` ones that are ready in the lane of
/// a task that is there.
pub fn fill(place: &Place, finished: usize, waiting: usize) -> Result<()> {
    match place.kind {
        Kind::Sqlite => sqlite::fill(place, finished, waiting),
        Kind::Postgres => postgres::fill(place, finished, waiting),
    }
}
