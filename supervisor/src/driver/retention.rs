//! What is kept, and for how long. Now and then a snapshot of the state is written to the
//! journal's end. When what lies before one is old enough, what of it is still needed is copied
//! to the end, too, and the rest is removed:
//!
//! ```text
//!   │ old segments │ B snapshot │ ..... │ copies │ "trimmed below B" │
//!   └─ removed, once all that is durable ────────┘
//! ```
//!
//! A process that ends between any two of these steps leaves a journal that is whole: a snapshot
//! that was not finished is taken no notice of, copies do no harm, and a removal that was
//! announced and not done is done the next time.

use std::{io, time::Duration};

use rollcall_common::{
    ids::Position,
    limits::{COPY_BYTES, SNAPSHOT_SHARE, TURN_BYTES},
    time::Time,
};

use crate::{
    dispatcher::{Dispatcher, Event, LaggingSubscribers, RequestId},
    journal::{Journal, Space},
    record::Record,
    views::{Place, ReadFailed, SnapshotRef, Views},
};

/// What is to be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetentionPolicy {
    /// How long results are kept, in the journal's own time.
    pub age: Duration,
    /// How large the journal may grow before older results go; absent: no bound.
    pub bytes: Option<u64>,
    /// Whether results go that a subscription has yet to take.
    pub slow: LaggingSubscribers,
    /// Bytes of the journal after which a snapshot is worth it.
    pub snapshot_bytes: u64,
}

/// What the dispatcher knows of it.
#[derive(Clone, Copy, Debug)]
pub struct RetentionInput {
    /// The journal's own time.
    pub now: Time,
    /// The slowest subscription's checkpoint.
    pub slowest: Position,
}

impl RetentionInput {
    /// How it stands at the clock's `now`.
    #[must_use]
    pub fn of(dispatcher: &Dispatcher, now: Time) -> Self {
        let state = dispatcher.state();
        Self { now: state.age_clock(now), slowest: state.slowest() }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Write a snapshot: [`Event::Snapshot`].
    Snapshot,
    /// Trim to this snapshot: see [`Trim`].
    Trim(SnapshotRef),
}

/// What is to be done next, as the rules have it.
#[must_use]
pub fn next_step(
    rules: &RetentionPolicy,
    standing: RetentionInput,
    journal: &dyn Journal,
    views: &Views,
) -> Step {
    let snapshots = views.snapshots();
    let size = journal.size_bytes();
    let old = |snapshot: &&SnapshotRef| standing.now.since(snapshot.at) >= rules.age;
    let free = |snapshot: &&SnapshotRef| {
        rules.slow == LaggingSubscribers::Dropped || snapshot.head <= standing.slowest
    };
    let by_age = snapshots.iter().rev().find(|snapshot| old(snapshot) && free(snapshot));
    let excess = rules.bytes.map_or(0, |most| size.saturating_sub(most));
    let by_size = snapshots.iter().filter(free).filter(|_| excess > 0);
    // The first that frees enough, or else the one that frees the most.
    let enough = |snapshot: &&SnapshotRef| journal.freed_by(snapshot.entry) >= excess;
    let by_size = by_size.clone().find(enough).or_else(|| by_size.clone().next_back());
    let wanted = by_age.into_iter().chain(by_size).max_by_key(|snapshot| snapshot.entry);
    if let Some(snapshot) = wanted
        && journal.freed_by(snapshot.entry) > 0
        && !views.is_degraded()
    {
        return Step::Trim(*snapshot);
    }
    // The segment in use can't go, nor what is written ahead of it: what counts are whole ones.
    let whole = journal.freed_by(journal.tail().borrow().next);
    let (grown, last) = snapshots.last().map_or((whole, 0), |snapshot| {
        let entries = snapshot.end.0.saturating_sub(snapshot.entry.0);
        let turn = u64::try_from(TURN_BYTES).unwrap_or(u64::MAX);
        (whole.saturating_sub(journal.freed_by(snapshot.end)), entries.saturating_mul(turn))
    });
    let worth = rules.snapshot_bytes.max(last.saturating_mul(SNAPSHOT_SHARE));
    if grown >= worth && !is_low(journal) { Step::Snapshot } else { Step::Rest }
}

/// Whether only the reserve is left, which is for the work in hand.
fn is_low(journal: &dyn Journal) -> bool {
    journal.tail().borrow().space == Space::Low
}

/// The way to a shorter journal, step by step.
#[derive(Debug)]
pub struct Trim {
    snapshot: SnapshotRef,
    slow: LaggingSubscribers,
    left: Vec<Place>,
    done: usize,
}

impl Trim {
    /// Begins to trim to `snapshot`; `None` when more would have to be copied than half of what is
    /// freed (then it is better to wait, or copying would never end), or when it is much and the
    /// disk is nearly full. May block.
    ///
    /// # Errors
    /// When the index can't be read.
    pub fn begin(
        (snapshot, slow): (SnapshotRef, LaggingSubscribers),
        journal: &dyn Journal,
        views: &Views,
    ) -> io::Result<Option<Self>> {
        let left = views.live_before(&snapshot)?;
        let room = u64::try_from(COPY_BYTES).unwrap_or(u64::MAX);
        let worth = left.bytes.saturating_mul(2) <= journal.freed_by(snapshot.entry)
            && (left.bytes <= room || !is_low(journal));
        Ok(worth.then_some(Self { snapshot, slow, left: left.places, done: 0 }))
    }

    /// What is to be written down next, [`Event::Copied`] and at last [`Event::Trim`]; each is to
    /// be durable before the next one, and before [`Trim::finish`]. May block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn next(&mut self, views: &Views) -> Result<Next, ReadFailed> {
        let rest = self.left.get(self.done..).unwrap_or_default();
        if rest.is_empty() {
            let (through, below, slow) = (self.snapshot.head, self.snapshot.entry.0, self.slow);
            return Ok(Next::Trimmed { through, below, slow });
        }
        let copies = views.copies(rest, COPY_BYTES)?;
        self.done += copies.len();
        Ok(Next::Copies(copies))
    }

    /// Removes what is no longer needed, if the dispatcher has agreed. May block.
    ///
    /// # Errors
    /// When files can't be removed.
    pub fn finish(&self, journal: &dyn Journal, views: &Views) -> io::Result<()> {
        if views.first() <= self.snapshot.head {
            return Ok(());
        }
        let first = journal.trim(self.snapshot.entry)?;
        let (copied, through) = (self.done, self.snapshot.head);
        tracing::info!(%first, copied, %through, "journal trimmed");
        Ok(())
    }
}

/// What is to be written down next.
#[derive(Debug)]
pub enum Next {
    /// Copies of what is still needed.
    Copies(Vec<Record>),
    /// That the rest may go.
    Trimmed {
        /// The last position that is no longer kept.
        through: Position,
        /// The entry before which all may go.
        below: u64,
        /// What becomes of results that a subscription has yet to take.
        slow: LaggingSubscribers,
    },
}

impl Next {
    /// The event that writes it down.
    #[must_use]
    pub fn event(self, request: RequestId) -> Event {
        match self {
            Self::Copies(copies) => Event::Copied { request, copies },
            Self::Trimmed { through, below, slow } => Event::Trim { request, through, below, slow },
        }
    }
}
