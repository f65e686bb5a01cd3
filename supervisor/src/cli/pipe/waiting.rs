//! Results that wait to be printed, where there is no journal on the disk. They are bounded in
//! bytes: at the bound only the line for which they wait is worked on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rollcall_common::message::Payload;
use tokio::sync::watch;

use super::{Stop, embedded::Embedded};
use crate::dispatcher::Event;

/// Bytes of results that may wait to be printed before nothing new is begun.
const MOST_BYTES: usize = 64 << 20;

/// Results that wait to be printed. Their records in the journal have no bodies.
#[derive(Debug)]
pub(super) struct Waiting {
    state: Mutex<State>,
    pace: watch::Sender<Pace>,
}

#[derive(Debug, Default)]
struct State {
    bodies: BTreeMap<u64, Bytes>,
    bytes: usize,
    /// The last line whose result was taken.
    taken: u64,
}

/// How much is to be worked on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pace {
    /// As much as goes.
    Full,
    /// The line for which the others wait.
    HeadOnly,
    /// Nothing: what is there has to be printed first.
    Nothing,
}

impl Waiting {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), pace: watch::Sender::new(Pace::Full) })
    }

    /// Keeps the body of a line's result; leaves the payload without one.
    pub(super) fn keep(&self, line: u64, payload: &mut Payload) {
        let body = std::mem::take(&mut payload.body);
        let mut state = self.state();
        // Another answer to the same line is none.
        if line > state.taken && !state.bodies.contains_key(&line) {
            // What a process wrote lies in more room than it takes.
            let body = Bytes::from(body.to_vec().into_boxed_slice());
            state.bytes += body.len();
            state.bodies.insert(line, body);
        }
        self.adjust(&state);
    }

    /// The body of a line's result, when it is printed.
    pub(super) fn take(&self, line: u64) -> Bytes {
        let mut state = self.state();
        state.taken = line;
        let body = state.bodies.remove(&line).unwrap_or_default();
        state.bytes -= body.len();
        self.adjust(&state);
        body
    }

    fn adjust(&self, state: &State) {
        self.pace.send_if_modified(|pace| {
            let next = state.pace(*pace);
            std::mem::replace(pace, next) != next
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the work at the pace at which results are printed.
    pub(super) async fn govern(&self, embedded: &Embedded) -> Result<(), Stop> {
        let mut pace = self.pace.subscribe();
        // Err: the sender is here.
        while pace.changed().await.is_ok() {
            let settings = embedded.orders.settings(*pace.borrow_and_update());
            embedded.handle.send(Event::Settings(Arc::new(settings))).await?;
        }
        Ok(())
    }
}

impl State {
    fn pace(&self, now: Pace) -> Pace {
        let enough = if now == Pace::Full { MOST_BYTES } else { MOST_BYTES / 2 };
        if self.bytes <= enough {
            Pace::Full
        } else if self.bodies.contains_key(&(self.taken + 1)) {
            Pace::Nothing
        } else {
            Pace::HeadOnly
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(waiting: &Waiting, line: u64, bytes: usize) {
        let body = vec![b'x'; bytes].into();
        let mut payload = Payload { body, ..Payload::default() };
        waiting.keep(line, &mut payload);
        assert!(payload.body.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_the_head_goes_on() {
        let waiting = Waiting::new();
        let pace = || *waiting.pace.borrow();
        let half = MOST_BYTES / 2;
        keep(&waiting, 2, half);
        keep(&waiting, 3, half);
        assert_eq!(pace(), Pace::Full);
        keep(&waiting, 4, 1);
        assert_eq!(pace(), Pace::HeadOnly);
        keep(&waiting, 1, 1);
        assert_eq!(pace(), Pace::Nothing);
        assert_eq!((waiting.take(1).len(), pace()), (1, Pace::Nothing));
        assert_eq!((waiting.take(2).len(), pace()), (half, Pace::Nothing));
        assert_eq!((waiting.take(3).len(), pace()), (half, Pace::Full));
    }

    #[test]
    fn a_second_answer_is_none() {
        let waiting = Waiting::new();
        keep(&waiting, 1, 1);
        keep(&waiting, 1, 2);
        assert_eq!(waiting.take(1).len(), 1);
        keep(&waiting, 1, 2);
        assert_eq!(waiting.state().bytes, 0);
        assert!(waiting.take(2).is_empty());
    }
}
