//! One more stream, and what goes wrong with it.

use std::{sync::Arc, time::Duration};

use rollcall_common::ids::{Sequence, StreamId};
use rollcall_supervisor::dispatcher::{Arrival, Dispatch, Event, RequestId, WorkerReply};

use super::{Ending, HOP, Play, Time, What, message};

/// When the trouble begins.
pub(super) const FROM: Duration = Duration::from_secs(5);
/// How long a worker holds on to a message that hangs.
const HANGING: Duration = Duration::from_secs(30);
/// How long a worker that has died is away.
const AWAY: Duration = Duration::from_secs(1);
/// The troubled stream.
const STREAM: &str = "troubled";

/// What goes wrong with one stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// So many messages come at once.
    Backlog(u64),
    /// Twenty messages a second come, and each fails whenever it is tried.
    Failing,
    /// A message comes that hangs wherever it is tried.
    Hanging,
    /// Every ten seconds a message comes of which its worker dies.
    Killing,
    /// The first message is refused by everybody, and so many stand behind it.
    Stuck(u64),
}

impl Trouble {
    /// Whether this execution goes wrong.
    pub(super) fn hits(self, dispatch: &Dispatch) -> bool {
        match self {
            Self::Backlog(_) => false,
            Self::Failing | Self::Hanging | Self::Killing => true,
            Self::Stuck(_) => dispatch.sequence == Sequence::FIRST,
        }
    }

    /// When and how an execution that goes wrong ends.
    pub(super) fn ends(self, work: Duration) -> (Duration, Ending) {
        match self {
            Self::Backlog(_) => (work, Ending::Status(200)),
            Self::Failing => (work, Ending::Status(500)),
            Self::Hanging => (HANGING, Ending::Status(500)),
            Self::Killing => (work, Ending::Death),
            Self::Stuck(_) => (work, Ending::Status(422)),
        }
    }

    /// How many messages come, and when the next do.
    fn pace(self) -> (u64, Option<Duration>) {
        match self {
            Self::Backlog(count) | Self::Stuck(count) => (count, None),
            Self::Failing => (1, Some(Duration::from_millis(50))),
            Self::Hanging => (1, None),
            Self::Killing => (1, Some(Duration::from_secs(10))),
        }
    }
}

impl Play {
    pub(super) fn is_disturbed(&self, stream: StreamId) -> bool {
        self.plan.trouble.is_some() && self.dispatcher.state().find_stream(STREAM) == Some(stream)
    }

    /// The troubled stream's messages come.
    pub(super) fn disturb(&mut self, end: Time) {
        let Some((count, every)) = self.plan.trouble.map(Trouble::pace) else {
            return;
        };
        let before = self.disturbed.len() as u128;
        let numbers = (1..=u128::from(count)).map(|number| u128::MAX - before - number);
        let messages: Vec<_> = numbers.map(message).collect();
        self.disturbed.extend(messages.iter().map(Arc::clone));
        let (request, stream) = (RequestId(u64::MAX), STREAM.parse().expect("a good name"));
        self.tell(Event::Arrived(Arrival { request, stream, messages }));
        if let Some(every) = every.filter(|every| self.now + *every < end) {
            self.after(every, What::Disturb);
        }
    }

    /// Only the troubled stream ever has more than its window, or one that is alone.
    pub(super) fn fetch(&mut self, stream: StreamId, first: Sequence, last: Sequence) {
        let alone = self.plan.streams == 1 && !self.is_disturbed(stream);
        let messages = (first.0..=last.0).map_while(|sequence| {
            let message = match self.disturbed.get(usize::try_from(sequence).ok()? - 1) {
                Some(message) => Arc::clone(message),
                None if alone => message(u128::from(sequence)),
                None => return None,
            };
            Some((Sequence(sequence), self.now, message))
        });
        let messages = messages.collect();
        self.after(HOP, What::Tell(Event::Fetched { at: (stream, first), messages }));
    }

    /// A worker dies, with all that it has.
    pub(super) fn die(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.dead = true;
        worker.generation += 1;
        let queued = std::mem::take(&mut worker.queue);
        let queued = queued.into_iter().map(|(attempt, _)| attempt);
        let busy = std::mem::take(&mut worker.busy_with);
        for attempt in busy.into_iter().chain(queued) {
            let reply = WorkerReply::Broken("connection reset".into());
            self.after(HOP, What::Tell(Event::AttemptEnded { attempt, reply }));
        }
        self.after(AWAY, What::Revive(index));
    }
}
