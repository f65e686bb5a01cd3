//! The queue of what was appended, and the one thread that empties it.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rollcall_common::ids::Epoch;
use tokio::sync::watch;

use super::{
    super::{AppendError, EntryNumber, Space, Tail, Ticket},
    disk::Disk,
    log::Log,
    preallocate::Load,
    writer::{Unwritten, WriteError},
};

/// How long to wait before a full disk is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// What was appended and is not yet written.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    tail: watch::Sender<Tail>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Unwritten>,
    next: EntryNumber,
    floor: Epoch,
    failed: Option<Arc<str>>,
    closing: bool,
    committer: Activity,
}

/// Whether the committer must be woken: otherwise it would be a call to the system in vain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Activity {
    #[default]
    Awake,
    Asleep,
}

/// What the committer waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pause {
    /// Something to write.
    Work,
    /// Something to write, or time to ask for room again.
    WorkOrRetry,
    /// Time to ask for room again.
    Retry,
}

impl Queue {
    /// An empty queue for `log`.
    pub(super) fn new<D: Disk>(log: &Log<D>, next_epoch: Epoch) -> Self {
        // The latest epoch that was seen may go on: it may have been this very owner's.
        let seen = next_epoch.0.get().saturating_sub(1);
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                next: log.next(),
                floor: super::segments::epoch(seen).unwrap_or(Epoch::FIRST),
                failed: None,
                closing: false,
                committer: Activity::Awake,
            }),
            wake: Condvar::new(),
            tail: watch::Sender::new(Tail {
                next: log.durable(),
                space: log.space(),
                failed: None,
            }),
        }
    }

    /// Enqueues an entry.
    pub(super) fn append(&self, payload: Bytes, epoch: Epoch) -> Result<Ticket, AppendError> {
        let mut state = self.state();
        if let Some(reason) = &state.failed {
            return Err(AppendError::Failed(reason.clone()));
        }
        if epoch < state.floor {
            return Err(AppendError::StaleEpoch { given: epoch, current: state.floor });
        }
        let number = state.next;
        state.floor = epoch;
        state.next = number.next();
        state.waiting.push_back(Unwritten { epoch, payload });
        let committer = mem::take(&mut state.committer);
        drop(state);
        if committer == Activity::Asleep {
            self.wake.notify_one();
        }
        Ok(Ticket(number))
    }

    /// From now on only `epoch` and later ones may append.
    pub(super) fn seal(&self, epoch: Epoch) {
        let mut state = self.state();
        state.floor = state.floor.max(epoch);
    }

    /// Lets the committer end when the queue is empty.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.wake.notify_one();
    }

    /// How far the log is safe.
    pub(super) fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    /// Whether everything is durable, after the committer has ended.
    pub(super) fn outcome(&self) -> Result<(), Arc<str>> {
        let state = self.state();
        match &state.failed {
            Some(reason) => Err(reason.clone()),
            None if self.tail.borrow().next < state.next => Err("the disk is full".into()),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as `pause` says, then moves what is waiting behind `group`. Gives whether to end.
    fn gather(&self, group: &mut VecDeque<Unwritten>, pause: Pause) -> bool {
        let mut state = self.state();
        let mut due = false;
        loop {
            let work = pause != Pause::Retry && !state.waiting.is_empty();
            if work || due || state.closing {
                break;
            }
            if pause != Pause::Retry {
                state.committer = Activity::Asleep;
            }
            if pause == Pause::Work {
                let waited = self.wake.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = self.wake.wait_timeout(state, RETRY);
                let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = guard;
                due = timeout.timed_out();
            }
        }
        state.committer = Activity::Awake;
        if group.is_empty() {
            mem::swap(group, &mut state.waiting);
        } else {
            group.append(&mut state.waiting);
        }
        state.closing
    }

    fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    fn publish<D: Disk>(&self, log: &Log<D>) {
        let (next, space) = (log.durable(), log.space());
        self.tail.send_if_modified(|tail| {
            let changed = (tail.next, tail.space) != (next, space);
            (tail.next, tail.space) = (next, space);
            changed
        });
    }

    fn fail(&self, reason: &Arc<str>) {
        let mut state = self.state();
        state.failed = Some(reason.clone());
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
        self.tail.send_modify(|tail| tail.failed = Some(reason.clone()));
    }
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Committer<D: Disk> {
    log: Log<D>,
    queue: Arc<Queue>,
    group: VecDeque<Unwritten>,
}

impl<D: Disk> Committer<D> {
    /// Writes what is in `queue` to `log`.
    pub(super) fn new(log: Log<D>, queue: Arc<Queue>) -> Self {
        Self { log, queue, group: VecDeque::new() }
    }

    /// Works until the queue is closed and empty, or storage has failed.
    pub(super) fn run(mut self) {
        if let Err(error) = self.work() {
            let reason: Arc<str> = match error {
                WriteError::Failed(reason) => reason,
                WriteError::Full => "the disk is full".into(),
            };
            tracing::error!(%reason, "the journal has failed");
            self.queue.fail(&reason);
        }
    }

    fn work(&mut self) -> Result<(), WriteError> {
        let mut pause = Pause::Work;
        loop {
            let closing = self.queue.gather(&mut self.group, pause);
            let full = self.commit()?;
            if closing && (full || (self.group.is_empty() && self.queue.is_empty())) {
                return self.log.finish();
            }
            let idle = self.queue.is_empty();
            if idle {
                self.log.mark()?;
            }
            self.log.maintain(if idle { Load::Idle } else { Load::Busy })?;
            self.queue.publish(&self.log);
            pause = if full {
                Pause::Retry
            } else if self.log.space() == Space::Low {
                Pause::WorkOrRetry
            } else {
                Pause::Work
            };
        }
    }

    /// Writes and syncs the group. Gives whether the disk is too full for all of it.
    fn commit(&mut self) -> Result<bool, WriteError> {
        let full = match self.log.write_group(&mut self.group) {
            Ok(()) => false,
            Err(WriteError::Full) => true,
            Err(error) => return Err(error),
        };
        self.log.sync()?;
        self.queue.publish(&self.log);
        Ok(full)
    }
}
