//! How many processes the machine has room for. What it has no room for waits until another one
//! has ended, as with `xargs -P`: it is never the fault of what was to be run.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollcall_common::exhaustion::is_exhausted;
use rustix::process::{Resource, getrlimit};
use tokio::{
    process::Command,
    sync::Notify,
    time::{sleep, timeout},
};

use super::process::Process;

/// Descriptors that a process takes here: three pipes, and one by which its end is heard of.
const DESCRIPTORS: u64 = 4;
/// Descriptors that are left to everything else, at most half of all: connections, files, and what
/// is needed for a moment while a process is started.
const SPARE: u64 = 64;
/// The wait before another look at whether there is room, when none of our own processes can make
/// any by ending.
const ALONE_WAIT: Duration = Duration::from_millis(200);

/// How many processes there may be at once by the limit of descriptors (`ulimit -n`).
#[must_use]
pub fn process_limit() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, places)
}

fn places(descriptors: u64) -> usize {
    let spare = SPARE.min(descriptors / 2);
    usize::try_from((descriptors - spare) / DESCRIPTORS).unwrap_or(usize::MAX).max(1)
}

/// Where processes are started, as many at once as there is room for.
#[derive(Debug)]
pub(super) struct Room {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    running: usize,
    /// How many there may be, as far as has been found out.
    most: usize,
    /// How many there may ever be.
    limit: usize,
    /// Processes started since it was last found out.
    started: usize,
}

/// Room for one process, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

/// Why a process was not started.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The machine has no room for it.
    NoRoom,
    /// The command can't be run.
    Failed(io::Error),
}

impl Room {
    pub(super) fn new() -> Arc<Self> {
        Self::of(process_limit())
    }

    fn of(limit: usize) -> Arc<Self> {
        let state = State { running: 0, most: limit, limit, started: 0 };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Starts `command` as soon as there is room; waits for it as long as `patience` says, which
    /// may be for ever.
    ///
    /// # Errors
    /// When there is no room in time, or the command can't be run.
    pub(super) async fn start(
        self: &Arc<Self>,
        command: &mut Command,
        patience: Option<Duration>,
    ) -> Result<Process, NotStarted> {
        let starting = self.start_some_time(command);
        let started = match patience {
            None => starting.await,
            Some(patience) => timeout(patience, starting).await.map_err(|_| NotStarted::NoRoom)?,
        };
        started.map_err(NotStarted::Failed)
    }

    async fn start_some_time(self: &Arc<Self>, command: &mut Command) -> io::Result<Process> {
        loop {
            let place = self.enter().await;
            match Process::start(command, place) {
                Ok(process) => {
                    self.fits();
                    return Ok(process);
                }
                Err((error, place)) if is_exhausted(&error) => {
                    if self.is_full(&error) == 0 {
                        sleep(ALONE_WAIT).await;
                    }
                    drop(place);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let changed = self.changed.notified();
            if self.state().enter() {
                return Place(Arc::clone(self));
            }
            changed.await;
        }
    }

    /// The machine had no room for one more; gives back how many others there are.
    fn is_full(&self, error: &io::Error) -> usize {
        let mut state = self.state();
        let others = state.running.saturating_sub(1);
        if state.most == state.limit {
            tracing::warn!(%error, at_once = others, "no room for another process; fewer at once");
        }
        state.most = others.max(1);
        state.started = 0;
        others
    }

    /// A process was started. After a while there may be room for more again.
    fn fits(&self) {
        let mut state = self.state();
        state.started += 1;
        if state.most < state.limit && state.started > state.most {
            state.most += 1;
            state.started = 0;
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self) -> bool {
        let fits = self.running < self.most;
        self.running += usize::from(fits);
        fits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn descriptors_are_left_for_everything_else() {
        assert_eq!((places(0), places(8), places(64), places(256)), (1, 1, 8, 48));
        assert_eq!((places(1024), places(1 << 20)), (240, 262_128));
    }

    #[tokio::test]
    async fn what_finds_no_room_waits_until_another_one_has_ended() {
        let room = Room::of(2);
        let (one, _two) = (room.enter().await, room.enter().await);
        assert!(room.enter().now_or_never().is_none());
        drop(one);
        let one = room.enter().now_or_never().expect("a place is free");
        // The second of the two was refused: one at once from now on.
        assert_eq!(room.is_full(&io::ErrorKind::Other.into()), 1);
        drop(one);
        assert!(room.enter().now_or_never().is_none());
    }

    #[tokio::test]
    async fn there_may_be_more_again_after_a_while() {
        let room = Room::of(2);
        let places = (room.enter().await, room.enter().await);
        room.is_full(&io::ErrorKind::Other.into());
        drop(places);
        for _ in 0..2 {
            let _place = room.enter().await;
            room.fits();
        }
        let _places = (room.enter().await, room.enter().now_or_never().expect("room again"));
    }
}
