//! Programs that are kept warm between the turns of a chat.
//!
//! A turn takes its chat's [`Seat`], and with it the connection that an earlier turn has left there.
//! What it leaves in turn waits for the next one, until it was idle for too long, room is needed for
//! others, or somebody closes it. A connection is of one turn at a time.
//!
//! How many there are is counted in a [`Room`]: the engine's, so that all of its agents share it, or
//! the pool's own for turns that no engine takes.

mod room;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;
use tokio::task::JoinSet;

pub use self::room::{AtWork, Closer, Limits, Place, Room};
use crate::id::ChatId;

/// What can be kept warm: a program that waits for its next prompt.
#[async_trait]
pub trait Warm: Send + 'static {
    /// Whether it can take another turn, as far as that is known without asking it.
    fn is_alive(&mut self) -> bool;

    /// Ends it, with all that it has started.
    async fn close(self);
}

/// The warm connections of an agent, by chat. Clones share them. When the last one is dropped, so
/// are the connections.
pub struct Pool<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chats = self.shared.seats().by_chat.len();
        f.debug_struct("Pool").field("own", &self.shared.own).field("chats", &chats).finish()
    }
}

impl<C: Warm> Pool<C> {
    /// Without connections. The limits are those of turns that come with no room of an engine's.
    pub fn new(limits: Limits) -> Self {
        let seats = Mutex::new(Seats { by_chat: HashMap::new(), last: 0 });
        Self { shared: Arc::new(Shared { own: Room::new(limits), seats }) }
    }

    /// The seat of a chat, for one turn, with the connection that was left there. One that has
    /// ended is closed first. Without a connection there is room for one when this returns: in
    /// `room`, or else in the pool's own.
    pub async fn seat(&self, chat: ChatId, room: Option<&Room>) -> Seat<C> {
        let (number, before) = {
            let mut seats = self.shared.seats();
            let number = seats.next();
            (number, seats.by_chat.insert(chat, Taken::AtWork { number }))
        };
        let shared = Arc::clone(&self.shared);
        let mut seat = Seat { chat, number, shared, connection: None, place: None, work: None };
        if let Some((mut connection, place)) = before.and_then(Taken::into_idle) {
            let work = place.work();
            if connection.is_alive() {
                seat.connection = Some(connection);
            } else {
                connection.close().await;
            }
            (seat.place, seat.work) = (Some(place), Some(work));
        } else {
            let closer = Arc::downgrade(&self.shared) as Weak<dyn Closer>;
            let (place, work) = room.unwrap_or(&self.shared.own).enter(closer).await;
            (seat.place, seat.work) = (Some(place), Some(work));
        }
        seat
    }

    /// Closes the connection of a chat: at once, or when the turn that has it leaves it.
    pub async fn close(&self, chat: ChatId) {
        let seat = self.shared.seats().by_chat.remove(&chat);
        if let Some((connection, _place)) = seat.and_then(Taken::into_idle) {
            connection.close().await;
        }
    }

    /// Closes all connections, each as [`close`](Self::close) does.
    pub async fn close_all(&self) {
        let seats = std::mem::take(&mut self.shared.seats().by_chat);
        let mut closing = JoinSet::new();
        for (connection, place) in seats.into_values().filter_map(Taken::into_idle) {
            closing.spawn(async move {
                connection.close().await;
                drop(place);
            });
        }
        closing.join_all().await;
    }
}

/// A chat's seat, held by the one turn that may use its connection. Dropped, it leaves nothing.
pub struct Seat<C> {
    chat: ChatId,
    number: u64,
    shared: Arc<Shared<C>>,
    connection: Option<C>,
    place: Option<Place>,
    work: Option<AtWork>,
}

impl<C> fmt::Debug for Seat<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("chat", &self.chat).finish_non_exhaustive()
    }
}

impl<C> Drop for Seat<C> {
    fn drop(&mut self) {
        let mut seats = self.shared.seats();
        if seats.is_taken_as(self.chat, self.number) {
            seats.by_chat.remove(&self.chat);
        }
    }
}

impl<C: Warm> Seat<C> {
    /// The connection that an earlier turn has left: once.
    pub fn take(&mut self) -> Option<C> {
        self.connection.take()
    }

    /// Leaves a connection for the next turn. It is closed instead where somebody has closed the
    /// chat's in between. What is then too much in the room is closed when it returns.
    pub async fn leave(mut self, connection: C) {
        let (Some(place), work) = (self.place.take(), self.work.take()) else {
            return connection.close().await;
        };
        let room = place.room();
        let closed = {
            let mut seats = self.shared.seats();
            if seats.is_taken_as(self.chat, self.number) {
                seats.by_chat.insert(self.chat, Taken::Idle { connection, place });
                None
            } else {
                Some((connection, place))
            }
        };
        if let Some((connection, _place)) = closed {
            connection.close().await;
        }
        // Idle from now on.
        drop(work);
        room.settle().await;
    }
}

struct Shared<C> {
    own: Room,
    seats: Mutex<Seats<C>>,
}

impl<C> Shared<C> {
    fn seats(&self) -> MutexGuard<'_, Seats<C>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<C: Warm> Closer for Shared<C> {
    async fn close_idle(&self, place: u64) {
        let idle = self.seats().take_idle(place);
        if let Some((connection, _place)) = idle {
            connection.close().await;
        }
    }
}

struct Seats<C> {
    by_chat: HashMap<ChatId, Taken<C>>,
    last: u64,
}

/// What stands at a chat's seat. The numbers of turns are given in order, each once.
enum Taken<C> {
    AtWork { number: u64 },
    Idle { connection: C, place: Place },
}

impl<C> Taken<C> {
    fn into_idle(self) -> Option<(C, Place)> {
        match self {
            Self::AtWork { .. } => None,
            Self::Idle { connection, place } => Some((connection, place)),
        }
    }
}

impl<C> Seats<C> {
    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn is_taken_as(&self, chat: ChatId, wanted: u64) -> bool {
        matches!(self.by_chat.get(&chat), Some(Taken::AtWork { number }) if *number == wanted)
    }

    /// Takes out what has this place, if no turn has it.
    fn take_idle(&mut self, wanted: u64) -> Option<(C, Place)> {
        let is_it =
            |it: &Taken<C>| matches!(it, Taken::Idle { place, .. } if place.number() == wanted);
        let chat = *self.by_chat.iter().find(|(_, it)| is_it(it))?.0;
        self.by_chat.remove(&chat).and_then(Taken::into_idle)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A connection that says on a list that it was closed.
    struct Noted {
        name: &'static str,
        is_alive: bool,
        closed: Arc<Mutex<Vec<&'static str>>>,
    }

    #[async_trait]
    impl Warm for Noted {
        fn is_alive(&mut self) -> bool {
            self.is_alive
        }

        async fn close(self) {
            self.closed.lock().expect("no panic").push(self.name);
        }
    }

    #[derive(Default)]
    struct Closed(Arc<Mutex<Vec<&'static str>>>);

    impl Closed {
        fn connection(&self, name: &'static str) -> Noted {
            Noted { name, is_alive: true, closed: self.0.clone() }
        }

        fn names(&self) -> Vec<&'static str> {
            self.0.lock().expect("no panic").clone()
        }
    }

    fn pool(at_most: usize) -> Pool<Noted> {
        Pool::new(Limits { at_most, ..Limits::default() })
    }

    #[tokio::test]
    async fn a_turn_finds_what_the_one_before_has_left() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        let mut seat = pool.seat(chat, None).await;
        assert!(seat.take().is_none());
        seat.leave(closed.connection("a")).await;
        assert!(pool.seat(ChatId::new(), None).await.take().is_none(), "it is of another chat");
        let mut seat = pool.seat(chat, None).await;
        let found = seat.take().expect("a connection");
        assert_eq!(found.name, "a");
        seat.leave(found).await;
        // A turn that leaves nothing: the next one begins anew.
        drop(pool.seat(chat, None).await.take());
        assert!(pool.seat(chat, None).await.take().is_none());
        assert!(closed.names().is_empty());
    }

    #[tokio::test]
    async fn the_one_that_is_idle_for_longest_is_closed_first() {
        let (pool, closed) = (pool(2), Closed::default());
        let chats = [ChatId::new(), ChatId::new(), ChatId::new()];
        pool.seat(chats[0], None).await.leave(closed.connection("a")).await;
        pool.seat(chats[1], None).await.leave(closed.connection("b")).await;
        let mut seat = pool.seat(chats[0], None).await;
        let again = seat.take().expect("a connection");
        seat.leave(again).await;
        pool.seat(chats[2], None).await.leave(closed.connection("c")).await;
        assert_eq!(closed.names(), ["b"]);
        pool.close_all().await;
        let mut names = closed.names();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_for_too_long_is_closed() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        pool.seat(chat, None).await.leave(closed.connection("a")).await;
        tokio::time::advance(Duration::from_secs(599)).await;
        let mut seat = pool.seat(chat, None).await;
        let connection = seat.take().expect("a connection");
        // It is at work for longer than it may be idle.
        tokio::time::advance(Duration::from_secs(900)).await;
        seat.leave(connection).await;
        assert!(closed.names().is_empty());
        while closed.names().is_empty() {
            // Time that is paused goes on where nobody has anything else to do.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(pool.seat(chat, None).await.take().is_none());
        assert_eq!(closed.names(), ["a"]);
    }

    #[tokio::test]
    async fn what_is_closed_during_a_turn_is_closed_behind_it() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        let seat = pool.seat(chat, None).await;
        pool.close(chat).await;
        seat.leave(closed.connection("a")).await;
        assert_eq!(closed.names(), ["a"]);
        pool.seat(chat, None).await.leave(closed.connection("b")).await;
        pool.close(chat).await;
        assert_eq!(closed.names(), ["a", "b"]);
        let seat = pool.seat(chat, None).await;
        pool.close_all().await;
        seat.leave(closed.connection("c")).await;
        assert_eq!(closed.names(), ["a", "b", "c"]);
        assert!(pool.seat(chat, None).await.take().is_none());
    }

    #[tokio::test]
    async fn what_has_ended_meanwhile_is_closed_and_not_given() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        let dead = Noted { is_alive: false, ..closed.connection("a") };
        pool.seat(chat, None).await.leave(dead).await;
        assert!(pool.seat(chat, None).await.take().is_none());
        assert_eq!(closed.names(), ["a"]);
    }
}
