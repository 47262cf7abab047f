//! Room for warm programs: how many there are of all agents together, and for how long.
//!
//! A turn is never delayed for want of room, and no program is closed that a turn is at work in. So
//! there may be more than there is room for: as many as turns are at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{runtime::Handle, task::AbortHandle};

/// How much is kept warm, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many programs there may be, idle and at work. When there are more, those that have been
    /// idle for longest are closed. A program that a turn is at work in never is.
    pub at_most: usize,
    /// How long a program may be idle.
    pub idle: Duration,
}

impl Default for Limits {
    /// Eight, for ten minutes.
    fn default() -> Self {
        Self { at_most: 8, idle: Duration::from_secs(600) }
    }
}

/// Room for warm programs. Clones share it. An engine has one for the programs of all its agents.
#[derive(Clone)]
pub struct Room(Arc<Shared>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.0.places().by_number.len();
        f.debug_struct("Room").field("limits", &self.0.limits).field("places", &places).finish()
    }
}

/// Who has warm programs, and closes them.
#[async_trait]
pub trait Closer: Send + Sync + 'static {
    /// Closes the program that has the place of this number, unless a turn has begun to use it.
    async fn close_idle(&self, place: u64);
}

/// The place of a program. Dropped, it is free: keep it until the program has ended.
#[derive(Debug)]
pub struct Place {
    number: u64,
    room: Arc<Shared>,
}

/// A turn that is at work in a program. As long as there is one, the program is not closed.
#[derive(Debug)]
#[must_use = "the program is idle when this is dropped"]
pub struct AtWork {
    number: u64,
    room: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    places: Mutex<Places>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}

#[derive(Default)]
struct Places {
    /// Numbers are given in order, each once.
    last: u64,
    by_number: BTreeMap<u64, Occupied>,
}

/// A place that is taken.
struct Occupied {
    closer: Weak<dyn Closer>,
    /// How many turns are at work.
    at_work: usize,
    /// When it was left, as a number that grows.
    left: u64,
    /// Whether it is being closed.
    closes: bool,
    timer: Option<AbortHandle>,
}

impl Occupied {
    fn is_idle(&self) -> bool {
        self.at_work == 0 && !self.closes
    }
}

impl Room {
    /// With nobody in it.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, places: Mutex::default() }))
    }

    /// A place for a program that is about to be started for a turn. What is idle and too many with it
    /// has been closed when this returns.
    pub async fn enter(&self, closer: Weak<dyn Closer>) -> (Place, AtWork) {
        let number = {
            let mut places = self.0.places();
            let number = places.next();
            let new = Occupied { closer, at_work: 1, left: 0, closes: false, timer: None };
            places.by_number.insert(number, new);
            number
        };
        let (room, work) = (Arc::clone(&self.0), Arc::clone(&self.0));
        let entered = (Place { number, room }, AtWork { number, room: work });
        self.settle().await;
        entered
    }

    /// Closes what is idle and too much.
    pub async fn settle(&self) {
        let mut tried = BTreeSet::new();
        loop {
            let surplus = self.0.places().surplus(self.0.limits.at_most, &tried);
            let Some((number, closer)) = surplus else {
                return;
            };
            tried.insert(number);
            let room = Arc::clone(&self.0);
            // It goes on where the turn that waits for it is dropped.
            let closing = tokio::spawn(async move { close(&room, number, &closer).await });
            let _ = closing.await;
        }
    }

    /// How many programs there are, idle and at work.
    pub fn taken(&self) -> usize {
        self.0.places().by_number.len()
    }
}

async fn close(room: &Shared, number: u64, closer: &Weak<dyn Closer>) {
    if let Some(closer) = closer.upgrade() {
        closer.close_idle(number).await;
    }
    // One that is still there was taken by a turn in between.
    if let Some(place) = room.places().by_number.get_mut(&number) {
        place.closes = false;
    }
}

impl Place {
    /// Its number: no other of its room has it.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// A turn goes to work in the program.
    pub fn work(&self) -> AtWork {
        if let Some(place) = self.room.places().by_number.get_mut(&self.number) {
            place.at_work += 1;
            place.closes = false;
            place.timer.take().inspect(AbortHandle::abort);
        }
        AtWork { number: self.number, room: Arc::clone(&self.room) }
    }

    /// Whether no turn is at work in the program.
    pub fn is_idle(&self) -> bool {
        let places = self.room.places();
        places.by_number.get(&self.number).is_none_or(|place| place.at_work == 0)
    }

    /// The room that it is in.
    pub fn room(&self) -> Room {
        Room(Arc::clone(&self.room))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let place = self.room.places().by_number.remove(&self.number);
        // Where the timer is what closes it, it has nothing more to do.
        place.and_then(|place| place.timer).inspect(AbortHandle::abort);
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut places = self.room.places();
        let left = places.next();
        let Some(place) = places.by_number.get_mut(&self.number) else {
            return;
        };
        place.at_work -= 1;
        if place.at_work == 0 {
            place.left = left;
            place.timer = close_later(&self.room, self.number, left);
        }
    }
}

/// Closes what is left here when nobody has used it for too long.
fn close_later(room: &Arc<Shared>, number: u64, left: u64) -> Option<AbortHandle> {
    let (idle, room) = (room.limits.idle, Arc::downgrade(room));
    let timer = Handle::try_current().ok()?.spawn(async move {
        tokio::time::sleep(idle).await;
        let Some(room) = room.upgrade() else {
            return;
        };
        let closer = room.places().begin_to_close(number, left);
        if let Some(closer) = closer {
            close(&room, number, &closer).await;
        }
    });
    Some(timer.abort_handle())
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The one that has been idle for longest, where there are more than `most`. It is being closed
    /// from now on.
    fn surplus(&mut self, most: usize, tried: &BTreeSet<u64>) -> Option<(u64, Weak<dyn Closer>)> {
        let stays = self.by_number.values().filter(|place| !place.closes).count();
        if stays <= most {
            return None;
        }
        let idle = self.by_number.iter_mut();
        let idle = idle.filter(|(number, place)| place.is_idle() && !tried.contains(number));
        let (number, oldest) = idle.min_by_key(|(_, place)| place.left)?;
        oldest.closes = true;
        oldest.timer.take().inspect(AbortHandle::abort);
        Some((*number, Weak::clone(&oldest.closer)))
    }

    /// Who closes a place, if nobody has used it since it was left.
    fn begin_to_close(&mut self, number: u64, left: u64) -> Option<Weak<dyn Closer>> {
        let place = self.by_number.get_mut(&number)?;
        if !place.is_idle() || place.left != left {
            return None;
        }
        place.closes = true;
        // It is the timer that closes it, and is not to be stopped by that.
        place.timer = None;
        Some(Weak::clone(&place.closer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has places, and lets go of those that it is to close.
    #[derive(Default)]
    struct Holder {
        places: Mutex<Vec<Place>>,
        closed: Mutex<Vec<u64>>,
    }

    #[async_trait]
    impl Closer for Holder {
        async fn close_idle(&self, place: u64) {
            let mut places = self.places.lock().expect("no panic");
            let idle = places.iter().position(|it| it.number() == place && it.is_idle());
            if let Some(at) = idle {
                drop(places.remove(at));
                self.closed.lock().expect("no panic").push(place);
            }
        }
    }

    impl Holder {
        /// A place in which a turn is at work.
        async fn enter(self: &Arc<Self>, room: &Room) -> (u64, AtWork) {
            let holder = Arc::downgrade(self) as Weak<dyn Closer>;
            let (place, work) = room.enter(holder).await;
            let number = place.number();
            self.places.lock().expect("no panic").push(place);
            (number, work)
        }

        fn closed(&self) -> Vec<u64> {
            self.closed.lock().expect("no panic").clone()
        }
    }

    fn room(at_most: usize) -> Room {
        Room::new(Limits { at_most, ..Limits::default() })
    }

    #[tokio::test]
    async fn two_agents_share_a_room_and_the_one_that_is_idle_for_longest_goes() {
        let (room, one, two) = (room(2), Arc::<Holder>::default(), Arc::<Holder>::default());
        let (first, work) = one.enter(&room).await;
        let (second, other_work) = two.enter(&room).await;
        drop(other_work);
        drop(work);
        let (_, _work) = one.enter(&room).await;
        assert_eq!((one.closed(), two.closed()), (vec![], vec![second]), "it was idle before");
        let (_, _work) = two.enter(&room).await;
        assert_eq!((one.closed(), two.closed()), (vec![first], vec![second]));
        assert_eq!(room.taken(), 2);
    }

    #[tokio::test]
    async fn what_is_at_work_is_not_closed_and_no_turn_waits_for_it() {
        let (room, holder) = (room(1), Arc::<Holder>::default());
        let (first, work) = holder.enter(&room).await;
        let (_, second_work) = holder.enter(&room).await;
        assert_eq!((room.taken(), holder.closed()), (2, vec![]));
        drop(work);
        room.settle().await;
        assert_eq!(
            (room.taken(), holder.closed()),
            (1, vec![first]),
            "it is too much when it is idle"
        );
        drop(second_work);
        room.settle().await;
        assert_eq!(room.taken(), 1, "it may stay");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_again_is_idle_from_its_last_use_on() {
        let (room, holder) = (room(8), Arc::<Holder>::default());
        let (number, work) = holder.enter(&room).await;
        drop(work);
        tokio::time::sleep(Duration::from_secs(590)).await;
        let work = holder.places.lock().expect("no panic")[0].work();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(holder.closed(), [] as [u64; 0], "a turn is at work");
        drop(work);
        tokio::time::sleep(Duration::from_secs(599)).await;
        assert_eq!(holder.closed(), [] as [u64; 0]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(holder.closed(), [number]);
        assert_eq!(room.taken(), 0);
    }
}
