//! How many connections a listener has, and which of them gives way when there is no place left:
//! one on which nothing has happened for long. Whoever comes is answered in any case.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rollcall_common::time::{Clock, Time};
use tokio::sync::Notify;

/// Places for the connections of a listener.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    most: usize,
    /// How long a connection has been idle that gives way.
    idle: Duration,
    clock: Clock,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    taken: BTreeMap<u64, Arc<State>>,
    next: u64,
}

#[derive(Debug)]
struct State {
    /// Since when nothing has happened, in microseconds; 0: something is under way.
    idle_since: AtomicU64,
    leave: Notify,
}

/// A connection's place, as long as this is there. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Seat(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    limiter: Arc<ConnectionLimiter>,
    number: u64,
    state: Arc<State>,
}

impl ConnectionLimiter {
    /// At most so many; one that has been idle for so long gives way.
    pub(super) fn new(most: usize, idle: Duration) -> Arc<Self> {
        let clock = Clock::start(Time::default());
        Arc::new(Self { most, idle, clock, seats: Mutex::default() })
    }

    /// A place for one more, if there is one, or if one gives way.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Seat> {
        let mut seats = self.lock();
        if seats.taken.len() >= self.most {
            let number = self.longest_idle(&seats)?;
            if let Some(leaving) = seats.taken.remove(&number) {
                leaving.leave.notify_one();
            }
        }
        seats.next += 1;
        let (number, state) = (seats.next, State { idle_since: 0.into(), leave: Notify::new() });
        let state = Arc::new(state);
        seats.taken.insert(number, Arc::clone(&state));
        Some(Seat(Arc::new(Taken { limiter: Arc::clone(self), number, state })))
    }

    fn longest_idle(&self, seats: &Seats) -> Option<u64> {
        let since = |state: &State| Some(state.idle_since.load(Ordering::Relaxed));
        let all = seats.taken.iter().filter_map(|(number, state)| Some((since(state)?, *number)));
        let (since, number) = all.filter(|(since, _)| *since > 0).min()?;
        let long = self.clock.now().since(Time::from_micros(since)) >= self.idle;
        long.then_some(number)
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Nothing is under way from now on, or still nothing.
    pub(super) fn idle(&self) {
        let since = &self.0.state.idle_since;
        if since.load(Ordering::Relaxed) == 0 {
            since.store(self.0.limiter.clock.now().as_micros().max(1), Ordering::Relaxed);
        }
    }

    /// Something is under way.
    pub(super) fn busy(&self) {
        self.0.state.idle_since.store(0, Ordering::Relaxed);
    }

    /// Waits until it has to give way.
    pub(super) async fn leaving(&self) {
        self.0.state.leave.notified().await;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.limiter.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_one_that_is_idle_for_the_longest_time_gives_way() {
        let limiter = ConnectionLimiter::new(3, Duration::ZERO);
        let [first, second, third] = [(); 3].map(|()| limiter.enter().unwrap());
        assert!(limiter.enter().is_none(), "all of them are busy");
        second.idle();
        std::thread::yield_now();
        third.idle();
        second.idle();
        let _fourth = limiter.enter().unwrap();
        let left = |seat: &Seat| seat.leaving().now_or_never().is_some();
        assert_eq!([&first, &second, &third].map(left), [false, true, false]);
        third.busy();
        assert!(limiter.enter().is_none());
        drop((second, third));
        assert!(limiter.enter().is_some());
        assert_eq!(limiter.lock().taken.len(), 2, "what has left gives its place back once");
    }

    #[test]
    fn one_that_is_idle_for_a_moment_stays() {
        let limiter = ConnectionLimiter::new(1, Duration::from_secs(3600));
        let only = limiter.enter().unwrap();
        only.idle();
        assert!(limiter.enter().is_none());
    }
}
