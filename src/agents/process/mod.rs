//! Programs that agents are: started with a mark, confined, and ended with all that they started.
//!
//! Agents' tools leave their process group and outlive their agent, so neither the child alone nor
//! its group is what has to end. Every program is started with a [`Mark`] in its environment, which
//! whatever it starts inherits; [`sweep`](Mark::sweep) ends all that carry it, and those that are
//! below them, until there are none. A [`Watcher`] does the same when this process dies.

mod custody;
mod mark;
mod output;
mod program;
mod sandbox;
mod scratch;
mod spawn;
mod watcher;

pub use self::{
    custody::{Custody, Unwatched},
    mark::{Mark, Present, Survivors, sweep_owner},
    output::{Output, Terminal},
    program::{Finish, Line, Lines, Program},
    sandbox::{Landlock, Rules, Sandbox},
    scratch::Scratch,
    spawn::{Ended, Owned, Spawn},
    watcher::Watcher,
};
