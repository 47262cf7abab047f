//! Connections that are kept warm between the turns of a chat.
//!
//! A turn takes its chat's [`Seat`], and with it the connection that an earlier turn has left there.
//! What it leaves in turn waits for the next one, until it was idle for too long, too many others
//! have come since, or somebody closes it. A connection is of one turn at a time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::task::{AbortHandle, JoinSet};

use crate::id::ChatId;

/// What can be kept warm: a program that waits for its next prompt.
#[async_trait]
pub trait Warm: Send + 'static {
    /// Whether it can take another turn, as far as that is known without asking it.
    fn is_alive(&mut self) -> bool;

    /// Ends it, with all that it has started.
    async fn close(self);
}

/// How much is kept warm, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many idle connections are kept. When there are more, the one that has been idle for
    /// longest is closed.
    pub idle_most: usize,
    /// How long a connection may be idle.
    pub idle_for: Duration,
}

impl Default for Limits {
    /// Eight, for ten minutes.
    fn default() -> Self {
        Self { idle_most: 8, idle_for: Duration::from_secs(600) }
    }
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
        let chats = self.shared.places().by_chat.len();
        f.debug_struct("Pool").field("limits", &self.shared.limits).field("chats", &chats).finish()
    }
}

impl<C: Warm> Pool<C> {
    /// Without connections.
    pub fn new(limits: Limits) -> Self {
        let places = Mutex::new(Places { by_chat: HashMap::new(), last: 0 });
        Self { shared: Arc::new(Shared { limits, places }) }
    }

    /// The seat of a chat, for one turn, with the connection that was left there. One that has
    /// ended is closed first.
    pub async fn seat(&self, chat: ChatId) -> Seat<C> {
        let (number, before) = {
            let mut places = self.shared.places();
            let number = places.next();
            (number, places.by_chat.insert(chat, Place::Taken { number }))
        };
        let mut seat = Seat { chat, number, shared: self.shared.clone(), connection: None };
        if let Some(mut connection) = before.and_then(Place::into_idle) {
            if connection.is_alive() {
                seat.connection = Some(connection);
            } else {
                connection.close().await;
            }
        }
        seat
    }

    /// Closes the connection of a chat: at once, or when the turn that has it leaves it.
    pub async fn close(&self, chat: ChatId) {
        let place = self.shared.places().by_chat.remove(&chat);
        if let Some(connection) = place.and_then(Place::into_idle) {
            connection.close().await;
        }
    }

    /// Closes all connections, each as [`close`](Self::close) does.
    pub async fn close_all(&self) {
        let places = std::mem::take(&mut self.shared.places().by_chat);
        let mut closing = JoinSet::new();
        for connection in places.into_values().filter_map(Place::into_idle) {
            closing.spawn(connection.close());
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
}

impl<C> fmt::Debug for Seat<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("chat", &self.chat).finish_non_exhaustive()
    }
}

impl<C> Drop for Seat<C> {
    fn drop(&mut self) {
        let mut places = self.shared.places();
        if places.is_taken_as(self.chat, self.number) {
            places.by_chat.remove(&self.chat);
        }
    }
}

impl<C: Warm> Seat<C> {
    /// The connection that an earlier turn has left: once.
    pub fn take(&mut self) -> Option<C> {
        self.connection.take()
    }

    /// Leaves a connection for the next turn. It is closed instead where somebody has closed the
    /// chat's in between. What this makes too many is closed when it returns.
    pub async fn leave(self, connection: C) {
        let surplus = {
            let mut places = self.shared.places();
            if places.is_taken_as(self.chat, self.number) {
                let number = places.next();
                let timer = self.close_later(number);
                places.by_chat.insert(self.chat, Place::Idle { number, connection, timer });
                places.surplus(self.shared.limits.idle_most)
            } else {
                vec![connection]
            }
        };
        for connection in surplus {
            connection.close().await;
        }
    }

    /// Closes what is left here when nobody has taken it for too long.
    fn close_later(&self, number: u64) -> AbortHandle {
        let (chat, idle_for) = (self.chat, self.shared.limits.idle_for);
        let shared: Weak<Shared<C>> = Arc::downgrade(&self.shared);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(idle_for).await;
            let place = shared.upgrade().and_then(|shared| {
                let mut places = shared.places();
                let is_same = places.by_chat.get(&chat).is_some_and(|it| it.number() == number);
                is_same.then(|| places.by_chat.remove(&chat)).flatten()
            });
            // Its own timer is not to be stopped: it closes it.
            if let Some(Place::Idle { connection, .. }) = place {
                connection.close().await;
            }
        });
        timer.abort_handle()
    }
}

struct Shared<C> {
    limits: Limits,
    places: Mutex<Places<C>>,
}

impl<C> Shared<C> {
    fn places(&self) -> MutexGuard<'_, Places<C>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Places<C> {
    by_chat: HashMap<ChatId, Place<C>>,
    last: u64,
}

/// What stands at a chat's place. Numbers are given in order, each once.
enum Place<C> {
    Taken { number: u64 },
    Idle { number: u64, connection: C, timer: AbortHandle },
}

impl<C> Place<C> {
    const fn number(&self) -> u64 {
        match self {
            Self::Taken { number } | Self::Idle { number, .. } => *number,
        }
    }

    fn into_idle(self) -> Option<C> {
        match self {
            Self::Taken { .. } => None,
            Self::Idle { connection, timer, .. } => {
                timer.abort();
                Some(connection)
            }
        }
    }
}

impl<C> Places<C> {
    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn is_taken_as(&self, chat: ChatId, wanted: u64) -> bool {
        matches!(self.by_chat.get(&chat), Some(Place::Taken { number }) if *number == wanted)
    }

    /// Takes out those that have been idle for longest, so that no more are left than `most`.
    fn surplus(&mut self, most: usize) -> Vec<C> {
        let idle = self.by_chat.iter().filter(|(_, it)| matches!(it, Place::Idle { .. }));
        let mut idle: Vec<_> = idle.map(|(chat, place)| (place.number(), *chat)).collect();
        idle.sort_unstable_by_key(|(number, _)| *number);
        idle.truncate(idle.len().saturating_sub(most));
        let oldest = idle.into_iter().filter_map(|(_, chat)| self.by_chat.remove(&chat));
        oldest.filter_map(Place::into_idle).collect()
    }
}

#[cfg(test)]
mod tests {
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

    fn pool(idle_most: usize) -> Pool<Noted> {
        Pool::new(Limits { idle_most, ..Limits::default() })
    }

    #[tokio::test]
    async fn a_turn_finds_what_the_one_before_has_left() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        let mut seat = pool.seat(chat).await;
        assert!(seat.take().is_none());
        seat.leave(closed.connection("a")).await;
        assert!(pool.seat(ChatId::new()).await.take().is_none(), "it is of another chat");
        let mut seat = pool.seat(chat).await;
        let found = seat.take().expect("a connection");
        assert_eq!(found.name, "a");
        seat.leave(found).await;
        // A turn that leaves nothing: the next one begins anew.
        drop(pool.seat(chat).await.take());
        assert!(pool.seat(chat).await.take().is_none());
        assert!(closed.names().is_empty());
    }

    #[tokio::test]
    async fn the_one_that_is_idle_for_longest_is_closed_first() {
        let (pool, closed) = (pool(2), Closed::default());
        let chats = [ChatId::new(), ChatId::new(), ChatId::new()];
        pool.seat(chats[0]).await.leave(closed.connection("a")).await;
        pool.seat(chats[1]).await.leave(closed.connection("b")).await;
        let mut seat = pool.seat(chats[0]).await;
        let again = seat.take().expect("a connection");
        seat.leave(again).await;
        pool.seat(chats[2]).await.leave(closed.connection("c")).await;
        assert_eq!(closed.names(), ["b"]);
        pool.close_all().await;
        let mut names = closed.names();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_for_too_long_is_closed() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        pool.seat(chat).await.leave(closed.connection("a")).await;
        tokio::time::advance(Duration::from_secs(599)).await;
        let mut seat = pool.seat(chat).await;
        let connection = seat.take().expect("a connection");
        // It is at work for longer than it may be idle.
        tokio::time::advance(Duration::from_secs(900)).await;
        seat.leave(connection).await;
        assert!(closed.names().is_empty());
        while closed.names().is_empty() {
            // Time that is paused goes on where nobody has anything else to do.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(pool.seat(chat).await.take().is_none());
        assert_eq!(closed.names(), ["a"]);
    }

    #[tokio::test]
    async fn what_is_closed_during_a_turn_is_closed_behind_it() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        let seat = pool.seat(chat).await;
        pool.close(chat).await;
        seat.leave(closed.connection("a")).await;
        assert_eq!(closed.names(), ["a"]);
        pool.seat(chat).await.leave(closed.connection("b")).await;
        pool.close(chat).await;
        assert_eq!(closed.names(), ["a", "b"]);
        let seat = pool.seat(chat).await;
        pool.close_all().await;
        seat.leave(closed.connection("c")).await;
        assert_eq!(closed.names(), ["a", "b", "c"]);
        assert!(pool.seat(chat).await.take().is_none());
    }

    #[tokio::test]
    async fn what_has_ended_meanwhile_is_closed_and_not_given() {
        let (pool, closed, chat) = (pool(8), Closed::default(), ChatId::new());
        let dead = Noted { is_alive: false, ..closed.connection("a") };
        pool.seat(chat).await.leave(dead).await;
        assert!(pool.seat(chat).await.take().is_none());
        assert_eq!(closed.names(), ["a"]);
    }
}
