//! What records make of subscriptions, and which streams know of which.

use std::{collections::BTreeSet, sync::Arc};

use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    time::Time,
};

use super::{State, index};
use crate::{
    dispatcher::subscription::Subscription,
    record::{DeliveryMode, Origin, Record, SubscriptionId, SubscriptionSpec},
};

impl State {
    /// Takes in a record that is about a subscription; others change nothing here.
    pub(super) fn apply_to_subscriptions(&mut self, record: &Record) {
        let (head, floor) = (self.head, self.floor);
        match record {
            Record::SubscriptionConfigured { subscription: id, plan } => self.arrange(*id, plan),
            Record::Batched { subscription, stream, batching } => {
                self.with(*subscription, |entry| entry.batched(*stream, *batching));
            }
            Record::Checkpointed { subscription, to } => {
                self.with(*subscription, |entry| entry.checkpointed(*to));
            }
            Record::Delivered { subscription, stream, through, floor } => {
                self.with(*subscription, |entry| entry.done(*stream, *through, *floor));
            }
            Record::PassedOver { subscription, stream, sequence, at } => {
                self.pass_over(*subscription, (*stream, *sequence), *at);
            }
            Record::Rewound { subscription, to } => {
                self.with(*subscription, |entry| entry.rewind(*to, head));
            }
            Record::Scanned { subscription, to, found } => {
                self.with(*subscription, |entry| entry.scanned(*to, found, (head, floor)));
            }
            Record::Subscribed { subscription, name, streams, after } => {
                let plan = SubscriptionSpec::new(Origin::Configuration, DeliveryMode::Push);
                let plan = Arc::new(SubscriptionSpec { streams: streams.clone(), ..plan });
                let entry = Subscription::new((**name).into(), plan, *after, head);
                self.subscribe(*subscription, entry);
            }
            Record::SubscriptionPaused { subscription, reason, at } => {
                self.last = self.last.max(*at);
                self.with(*subscription, |entry| entry.stand_still(*reason));
            }
            Record::SubscriptionResumed { subscription, at } => {
                self.last = self.last.max(*at);
                self.with(*subscription, |entry| entry.paused = None);
            }
            Record::Unsubscribed { subscription } => {
                self.subscriptions.remove(subscription);
                self.link();
            }
            Record::Accepted { .. }
            | Record::Alert(_)
            | Record::Answered { .. }
            | Record::Audited(_)
            | Record::Snapshot(_)
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Failed { .. }
            | Record::StreamCreated { .. }
            | Record::OutageBegan { .. }
            | Record::OutageEnded { .. }
            | Record::Parked { .. }
            | Record::PassedThrough { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Retried { .. }
            | Record::Started { .. }
            | Record::WorkerDied { .. }
            | Record::Trimmed { .. } => {}
        }
    }

    fn subscribe(&mut self, subscription: SubscriptionId, entry: Subscription) {
        self.next_subscription = subscription.0 + 1;
        self.subscriptions.insert(subscription, entry);
        self.link();
    }

    fn pass_over(&mut self, whose: SubscriptionId, what: (StreamId, Sequence), at: Time) {
        self.last = self.last.max(at);
        self.with(whose, |entry| entry.pass_over(what.0, what.1));
    }

    /// Changes a subscription. One that was removed meanwhile may still be spoken of.
    fn with(&mut self, subscription: SubscriptionId, change: impl FnOnce(&mut Subscription)) {
        if let Some(entry) = self.subscriptions.get_mut(&subscription) {
            change(entry);
        }
    }

    fn arrange(&mut self, subscription: SubscriptionId, plan: &Arc<SubscriptionSpec>) {
        let (head, streams) = (self.head, &self.streams);
        if let Some(entry) = self.subscriptions.get_mut(&subscription) {
            entry.arrange(Arc::clone(plan), head);
            let with_cursor = entry.cursors.keys().copied();
            let is_sent = |id: &StreamId| {
                streams.get(index(*id)).is_some_and(|stream| entry.is_sent(&stream.name))
            };
            let wanted: BTreeSet<StreamId> = with_cursor.filter(is_sent).collect();
            entry.drop_cursors(|stream| wanted.contains(&stream));
        }
        self.link();
    }

    /// Has each stream find out, before its next release, whose its results are.
    pub(in crate::dispatcher) fn link(&mut self) {
        self.linkage = self.linkage.checked_add(1).expect("there are fewer changes than that");
    }

    /// Finds out whose a stream's results are, if that may have changed.
    pub(super) fn relink(&mut self, stream: StreamId) {
        let (linkage, entry) = (self.linkage, self.stream(stream));
        if entry.linked != linkage {
            let subscriptions = self.subscriptions_of(&entry.name);
            let entry = self.stream_mut(stream);
            (entry.linked, entry.subscriptions) = (linkage, subscriptions);
        }
    }

    /// The push subscriptions that a stream's results are sent to, in the order of their numbers.
    pub(super) fn subscriptions_of(&self, name: &StreamName) -> Box<[SubscriptionId]> {
        let wanting = self.subscriptions.iter().filter(|(_, one)| one.is_sent(name));
        wanting.map(|(id, _)| *id).collect()
    }
}
