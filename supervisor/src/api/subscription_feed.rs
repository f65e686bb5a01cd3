//! One subscription's results, as its reader gets them: those of its streams, by position.

use std::sync::Arc;

use rollcall_common::{
    ids::{Position, StreamName},
    limits::{CHUNK_BYTES, POSITIONS_PER_LOOK},
    problem::Problem,
};

use super::{Api, results::Feed, subscriptions::unknown};
use crate::{
    access::Caller,
    dispatcher::{Event, SubscriptionStatus, settings::Pattern},
    record::{Gap, SubscriptionId},
    views::{ReadFailed, ReleasedResult, Views},
    web::{contiguous_prefix_of_all, respond::look_at},
};

/// Results that are read at a time, some of which may not be wanted.
const READ: usize = 256;

/// What a subscription's reader gets, as it was when the reading began.
#[derive(Clone, Debug)]
pub struct FilteredFeed {
    /// `None`: of no subscription, but of all streams that a caller may see.
    subscription: Option<SubscriptionId>,
    pub(super) patterns: Arc<[Pattern]>,
    /// Where it begins.
    pub checkpoint: Position,
    /// Results up to here are replayed; `None`: nobody asks.
    pub replay_until: Option<Position>,
}

/// What was read.
#[derive(Debug)]
pub struct Batch {
    /// Wanted results, in order.
    pub results: Vec<ReleasedResult>,
    /// The last position that was looked at.
    pub to: Position,
    /// What was missing behind it.
    pub gap: Option<Gap>,
}

impl Api {
    /// The reading of a subscription, from its checkpoint on, by a caller who may see all of it.
    pub(super) async fn reading(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<FilteredFeed, Box<Problem>> {
        let asked = name.to_owned();
        let look = look_at(&self.handle, move |dispatcher| {
            let id = dispatcher.state().find_subscription(&asked)?;
            Some((id, dispatcher.subscription_status(id)?))
        });
        let (subscription, status) = look.await?.ok_or_else(|| unknown(name))?;
        caller.must_see(&status.plan.streams)?;
        Ok(FilteredFeed::of(subscription, &status))
    }

    /// Raises the alarm of a result that is missing; what its reader is told.
    pub(super) async fn tell_of_gap(&self, feed: &Feed, gap: Gap) -> Result<Problem, Box<Problem>> {
        tracing::error!(?feed, ?gap, "a result is missing");
        let detail = format!("{} should come next, and {} does", gap.expected, gap.got);
        if let Feed::Some(reading) = feed
            && let Some(subscription) = reading.subscription
        {
            self.handle.send(Event::GapFound { subscription, gap }).await?;
        }
        Ok(Problem::new(500, "position-gap", "Result missing", detail))
    }
}

impl FilteredFeed {
    /// The reading of a subscription that stands as `status` says.
    #[must_use]
    pub fn of(subscription: SubscriptionId, status: &SubscriptionStatus) -> Self {
        Self {
            subscription: Some(subscription),
            patterns: status.plan.streams.iter().map(|text| Pattern::new(text)).collect(),
            checkpoint: status.checkpoint,
            replay_until: Some(status.replay_until),
        }
    }

    /// Of all streams that fit one of these patterns, from the beginning.
    pub(super) fn of_streams(patterns: &[Pattern]) -> Self {
        let patterns = patterns.into();
        Self { subscription: None, patterns, checkpoint: Position(0), replay_until: None }
    }

    fn wants(&self, name: &StreamName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name.as_str()))
    }

    /// Up to `limit` wanted results after `after`. It looks at a bounded number of positions, and
    /// it may block.
    ///
    /// # Errors
    /// When some of them are no longer kept, or the journal can't be read.
    pub fn look(&self, views: &Views, after: Position, limit: usize) -> Result<Batch, ReadFailed> {
        // Also where nothing of what is gone was wanted: nobody knows.
        let first = views.first();
        if after.next() < first {
            return Err(ReadFailed::Gone { first: first.0 });
        }
        let mut looked = Batch { results: Vec::new(), to: after, gap: None };
        let mut room = CHUNK_BYTES;
        let most = Position(after.0.saturating_add(u64::try_from(POSITIONS_PER_LOOK).unwrap_or(0)));
        while looked.results.len() < limit && looked.to < most && room > 0 {
            // Where nothing is wanted for long, nothing is read.
            let (to, found) = views.scan(looked.to, READ, |name| self.wants(name))?;
            if found.is_empty() {
                if to == looked.to {
                    break;
                }
                looked.to = to;
                continue;
            }
            let read = views.results(looked.to, READ.min(limit), room)?;
            let (whole, gap) = contiguous_prefix_of_all(&read, looked.to);
            let count = read.len();
            for result in read.into_iter().take(whole) {
                if looked.results.len() == limit {
                    return Ok(looked);
                }
                looked.to = result.position;
                if self.wants(&result.stream) {
                    room = room.saturating_sub(result.answer.weight());
                    looked.results.push(result);
                }
            }
            looked.gap = gap;
            if looked.gap.is_some() || count == 0 {
                break;
            }
        }
        Ok(looked)
    }
}
