//! What records make of subscriptions, and which streams know of which.

use std::{collections::BTreeSet, sync::Arc};

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};

use super::State;
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
                self.link(*subscription);
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
        self.link(subscription);
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
            let named = (0_u32..).map(StreamId).zip(streams.iter());
            let wanted: BTreeSet<StreamId> =
                named.filter(|(_, stream)| entry.is_sent(&stream.name)).map(|(id, _)| id).collect();
            entry.drop_cursors(|stream| wanted.contains(&stream));
        }
        self.link(subscription);
    }

    /// Lets each stream know whether its results are to be sent to this subscription.
    pub(in crate::dispatcher) fn link(&mut self, subscription: SubscriptionId) {
        let entry = self.subscriptions.get(&subscription);
        for stream in self.streams.iter_mut() {
            let is_sent = entry.is_some_and(|entry| entry.is_sent(&stream.name));
            if is_sent || !stream.subscriptions.is_empty() {
                let all = stream.subscriptions.iter().copied();
                let others = all.filter(|other| *other != subscription);
                let linked: BTreeSet<SubscriptionId> =
                    others.chain(is_sent.then_some(subscription)).collect();
                // In the order of their numbers, whichever was changed last.
                stream.subscriptions = linked.into_iter().collect();
            }
        }
    }
}
