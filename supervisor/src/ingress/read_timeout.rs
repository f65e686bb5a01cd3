//! How long a connection may be silent. hyper's own bound on a head begins while a kept
//! connection is still idle, and would end it; here the clock of a head begins with its first
//! byte, or with the connection for its first head.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rollcall_common::limits::{HEAD_TIMEOUT, IDLE_CLIENT};
use tokio::time::{Instant, Sleep, sleep};

use super::connection_limit::Seat;

/// Counts the beginnings and the ends of requests: odd while one is served.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestCounter(Arc<AtomicU64>);

impl RequestCounter {
    /// A request begins, or ends.
    pub(super) fn turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the reading end waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaited {
    /// The first byte of the next head.
    Head,
    /// The rest of a head.
    Rest,
}

/// Watches the reads of a connection.
#[derive(Debug)]
pub(super) struct ReadTimeout {
    turns: RequestCounter,
    /// The turn to which `awaited` belongs.
    turn: u64,
    awaited: Awaited,
    /// Where it is told that nothing is under way.
    seat: Option<Seat>,
    /// When that has to have come.
    until: Instant,
    /// Goes off at `until`, or before it: it is only set again when there is a wait at all, and
    /// most requests come and go without one.
    alarm: Pin<Box<Sleep>>,
}

impl ReadTimeout {
    /// For a new connection, whose first head has to come at once.
    pub(super) fn new(turns: RequestCounter, seat: Option<Seat>) -> Self {
        let alarm = Box::pin(sleep(HEAD_TIMEOUT));
        let until = alarm.deadline();
        Self { turns, turn: 0, awaited: Awaited::Rest, seat, until, alarm }
    }

    /// Looks at the outcome of a read that brought `bytes`.
    pub(super) fn watch(
        &mut self,
        read: Poll<io::Result<()>>,
        bytes: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = self.turns.0.load(Ordering::Relaxed);
        if turn % 2 == 1 {
            // Bodies have their own bound.
            return read;
        }
        if turn != self.turn {
            self.turn = turn;
            self.wait_for(Awaited::Head, IDLE_CLIENT);
        }
        if bytes > 0 && self.awaited == Awaited::Head {
            self.wait_for(Awaited::Rest, HEAD_TIMEOUT);
            self.seat.iter().for_each(Seat::busy);
        }
        if read.is_pending() && self.awaited == Awaited::Head {
            self.seat.iter().for_each(Seat::idle);
        }
        if read.is_pending() && self.is_late(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.alarm.deadline() > self.until {
            self.alarm.as_mut().reset(self.until);
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            if self.alarm.deadline() >= self.until {
                return true;
            }
            self.alarm.as_mut().reset(self.until);
        }
        false
    }

    #[expect(clippy::disallowed_methods, reason = "an alarm's deadline is of tokio's clock")]
    fn wait_for(&mut self, awaited: Awaited, longest: Duration) {
        self.awaited = awaited;
        self.until = Instant::now() + longest;
    }
}
