//! The engine with everything around it in memory: what arrives is answered, released and
//! delivered, turn by turn. No IO and no clock, so that instructions can be counted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rollcall_common::{
    ids::{MessageId, Position, StreamName},
    message::{Message, OCTET_STREAM, Payload},
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{Arrival, Delivery, Dispatch, Event, RequestId, Settings, WorkerReply},
    driver::engine::{DeferredEffect, Engine, Recovered},
    journal::{EntryNumber, Ticket},
    record::{DeliveryMode, Origin, SubscriptionSpec},
    views::Change,
};
use uuid::Uuid;

/// Time that a turn takes.
const TURN: Duration = Duration::from_micros(100);
/// Workers.
const WORKERS: u64 = 3;

/// How messages go through.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Shape {
    /// Streams that they are spread over
    #[arg(long, default_value_t = 64)]
    pub streams: u64,
    /// Messages in one turn of the driver
    #[arg(long, default_value_t = 64)]
    pub turn: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 1024)]
    pub bytes: usize,
}

/// What has come out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Done {
    /// Results that had their turn.
    pub released: u64,
    /// Results that the destination took.
    pub delivered: u64,
    /// Bytes for the journal.
    pub journal_bytes: u64,
}

/// An engine, its workers and its destination.
#[derive(Debug)]
pub struct Machine {
    engine: Engine,
    shape: Shape,
    names: Vec<StreamName>,
    body: Bytes,
    now: Time,
    entry: EntryNumber,
    sent: u64,
    deliveries: Vec<Delivery>,
    head: Position,
    done: Done,
}

impl Machine {
    /// A machine with three workers and one push subscription.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let now = Time::from_micros(1_000_000_000_000);
        let engine = Engine::new(Arc::new(Settings::default()), Recovered::default(), 1, now);
        let names = (0..shape.streams.max(1)).map(|number| format!("s{number}").parse());
        let mut machine = Self {
            engine,
            names: names.map(|name| name.expect("a good name")).collect(),
            body: Bytes::from(vec![b'x'; shape.bytes]),
            shape,
            now,
            entry: EntryNumber(0),
            sent: 0,
            deliveries: Vec::new(),
            head: Position(0),
            done: Done::default(),
        };
        for number in 0..WORKERS {
            let id = format!("w{number}").into();
            machine.tell(Event::WorkerSeen {
                id,
                pool: "default".into(),
                concurrency: None,
                beats: false,
            });
        }
        let plan = Arc::new(SubscriptionSpec::new(Origin::Configuration, DeliveryMode::Push));
        machine.tell(Event::Subscribe { request: None, name: "sink".into(), plan });
        machine.end_turn();
        machine
    }

    /// Sends so many messages through; what has come out since the beginning.
    pub fn run(&mut self, messages: u64) -> Done {
        let until = self.sent + messages;
        while self.sent < until {
            let turn = self.shape.turn.clamp(1, until - self.sent);
            (0..turn).for_each(|_| self.arrive());
            self.end_turn();
            while let Some(dispatch) = self.engine.poll_dispatch() {
                self.answer(&dispatch);
            }
            self.end_turn();
            for delivery in std::mem::take(&mut self.deliveries) {
                self.delivered(&delivery);
            }
            self.end_turn();
        }
        while !self.deliveries.is_empty() {
            for delivery in std::mem::take(&mut self.deliveries) {
                self.delivered(&delivery);
            }
            self.end_turn();
        }
        self.done
    }

    fn tell(&mut self, event: Event) {
        self.engine.handle(event, self.now);
    }

    fn arrive(&mut self) {
        let number = self.sent;
        self.sent += 1;
        let stream = self.names[(number % self.shape.streams.max(1)) as usize].clone();
        let message = Message {
            id: MessageId(Uuid::from_u128(u128::from(number))),
            key: None,
            content_type: OCTET_STREAM.into(),
            headers: Arc::default(),
            body: self.body.clone(),
        };
        let messages = vec![Arc::new(message)];
        self.tell(Event::Arrived(Arrival { request: RequestId(number), stream, messages }));
    }

    fn answer(&mut self, dispatch: &Dispatch) {
        let body = dispatch.message.body.clone();
        let reply = WorkerReply::Answer {
            status: 200,
            outcome: None,
            reason: Box::default(),
            retry_after: None,
            payload: Payload { content_type: OCTET_STREAM.into(), headers: Box::default(), body },
        };
        self.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply });
    }

    fn delivered(&mut self, delivery: &Delivery) {
        self.done.delivered += delivery.last.0 + 1 - delivery.first.0;
        self.tell(Event::Delivered {
            more: false,
            subscription: delivery.subscription,
            stream: delivery.stream,
            through: delivery.last,
            floor: self.head.next(),
        });
    }

    /// The journal takes the turn's entry, and it is durable at once.
    fn end_turn(&mut self) {
        self.now = self.now + TURN;
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now);
        }
        let entry = self.engine.finish_turn();
        let ticket = entry.map(|entry| {
            self.done.journal_bytes += entry.len() as u64;
            self.entry = self.entry.next();
            Ticket(self.entry)
        });
        self.engine.appended(ticket);
        while let Some(mut turn) = self.engine.poll_turn(self.entry.next()) {
            for change in turn.changes.drain(..) {
                if let Change::Released(released) = change {
                    self.head = released.position;
                    self.done.released += 1;
                }
            }
            for effects in turn.effects.drain(..) {
                if let DeferredEffect::Deliver(delivery) = effects {
                    self.deliveries.push(delivery);
                }
            }
            self.engine.recycle(turn);
        }
    }
}

/// Sends messages through a machine, and prints what has come out; for `callgrind`.
///
/// # Errors
/// When not all has come out.
pub fn count(shape: Shape, messages: u64) -> Result<(), String> {
    let done = Machine::new(shape).run(messages);
    println!("{messages} messages: {done:?}");
    let whole = done.released == messages && done.delivered == messages;
    whole.then_some(()).ok_or_else(|| "not all has come out".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for (streams, turn) in [(1, 1), (1, 100), (64, 64), (500, 7)] {
            let shape = Shape { streams, turn, bytes: 10 };
            let mut machine = Machine::new(shape);
            let done = machine.run(1500);
            assert_eq!((done.released, done.delivered), (1500, 1500), "{shape:?}");
            assert!(done.journal_bytes > 2 * 1500 * 10);
            assert_eq!(machine.run(10).delivered, 1510);
        }
    }
}
