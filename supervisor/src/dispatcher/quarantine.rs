//! What contradicts itself is left alone, shown and told, and everything else goes on: one stream
//! or one subscription. Only what makes the whole journal doubtful ends the process.

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};

use super::{Dispatcher, effect::Effect};
use crate::record::{PauseReason, Record, Severity, Subject, SubscriptionId};

/// Who pauses what contradicts itself, in the audit.
const BY: &str = "supervisor";

impl Dispatcher {
    /// Lets a stream stand of which a message is needed that is not where it should be. Whoever
    /// resumes it has it looked for again.
    pub(super) fn quarantine_stream(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        now: Time,
    ) {
        self.counters.quarantined += 1;
        let name = self.state.stream(stream).name.to_string();
        let detail = format!(
            "message {sequence} has no result and is not in the journal; the stream is paused, and \
             resuming it looks again"
        );
        self.audit((BY, "pause"), name, &detail, now);
        self.commit(Record::Paused { stream, at: now });
        self.raise(Subject::Held(stream), (Severity::Critical, 1), detail, now);
        self.dirty.insert(stream);
    }

    /// Calls back the senders of a subscription that the fold has paused because what is known of
    /// it contradicts the journal, and says so.
    pub(super) fn look_at_quarantine(&mut self, id: SubscriptionId, now: Time) -> bool {
        let entry = self.state.subscriptions.get(&id);
        let Some(entry) = entry.filter(|one| one.paused == Some(PauseReason::Inconsistent)) else {
            return false;
        };
        let revision = entry.revision;
        let subject = Subject::Gap(id);
        if self.state.alerts.find(&subject).is_none() {
            self.counters.quarantined += 1;
            self.effects.push_back(Effect::Recall { subscription: id, revision });
        }
        let detail = "what it has had does not go on with what comes next; it is paused, and \
                      resuming or rewinding it goes on";
        self.raise(subject, (Severity::Critical, 1), detail.to_owned(), now);
        true
    }
}
