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
use tokio::time::{Sleep, sleep};

/// Counts the beginnings and the ends of requests: odd while one is served.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<AtomicU64>);

impl Turns {
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
pub(super) struct Pace {
    turns: Turns,
    /// The turn to which `awaited` belongs.
    turn: u64,
    awaited: Awaited,
    late: Pin<Box<Sleep>>,
}

impl Pace {
    /// For a new connection, whose first head has to come at once.
    pub(super) fn new(turns: Turns) -> Self {
        let late = Box::pin(sleep(HEAD_TIMEOUT));
        Self { turns, turn: 0, awaited: Awaited::Rest, late }
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
        }
        if read.is_pending() && self.late.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }

    fn wait_for(&mut self, awaited: Awaited, longest: Duration) {
        self.awaited = awaited;
        self.late.set(sleep(longest));
    }
}
