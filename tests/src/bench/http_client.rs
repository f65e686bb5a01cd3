//! What the client sends to, each in its own protocol.

use super::{
    amqp::Amqp,
    body::{Checker, message, mix, order, work_on},
    load::{Content, To},
    nats_wire::Nats,
    resp::{Reply, Resp, TAKE_IN},
    wire::{Answer, CLOSED, Wire},
};

/// The type of all messages, as a header.
pub(super) const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

/// Messages of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel {
    /// The number of the first.
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) stream: u64,
    /// When the first is meant to be sent; 0: nobody asks.
    pub(super) stamp: u64,
    pub(super) bytes: usize,
    pub(super) content: Content,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given {
    /// The sum over the places that the messages were given.
    Places(u64),
    /// Overload: not taken in.
    Refused,
}

/// A connection to it.
#[derive(Debug)]
pub(super) enum Door {
    Http(Box<Wire>),
    Nats(Box<Nats>),
    Rabbitmq(Box<Amqp>),
    /// With the sum of the script that takes messages in.
    Redis(Box<Resp>, Vec<u8>),
}

impl Door {
    /// Connects.
    pub(super) async fn connect(to: To, url: &str) -> Result<Self, String> {
        match to {
            To::Intake | To::Proxy | To::Sink => {
                Ok(Self::Http(Box::new(Wire::connect(url).await?)))
            }
            To::Nats => Ok(Self::Nats(Box::new(Nats::connect(url).await?))),
            To::Rabbitmq => Ok(Self::Rabbitmq(Box::new(Amqp::connect(url).await?))),
            To::Redis => {
                let mut redis = Resp::connect(url).await?;
                let take_in = redis.know(TAKE_IN).await?;
                Ok(Self::Redis(Box::new(redis), take_in))
            }
        }
    }

    /// Sends, and looks at the answer.
    pub(super) async fn send(&mut self, to: To, parcel: &Parcel) -> Result<Given, String> {
        match self {
            Self::Http(wire) => {
                let answer = parcel.post(to, wire).await?;
                if to == To::Intake && matches!(answer.status, CLOSED | 429 | 503) {
                    return Ok(Given::Refused);
                }
                let sum = parcel.placed(to, &answer).ok_or_else(|| {
                    format!("message {}: {} {}", parcel.first, answer.status, answer.text())
                })?;
                Ok(Given::Places(sum))
            }
            Self::Nats(nats) => {
                let places = nats.store("in", &parcel.bodies()).await?;
                let sums = places.iter().zip(parcel.first..);
                let sums = sums.map(|(place, number)| mix(parcel.stream, *place, number));
                Ok(Given::Places(sums.fold(0, u64::wrapping_add)))
            }
            Self::Rabbitmq(amqp) => {
                // It tells nobody a place: the destination goes by the message's number.
                amqp.store("in", &parcel.bodies()).await?;
                Ok(Given::Places(parcel.sum(parcel.first + 1)))
            }
            Self::Redis(redis, take_in) => {
                let reply = redis.run(take_in, &parcel.bodies()).await?;
                let Reply::Number(last) = reply else {
                    return Err(format!("not a place: {reply:?}"));
                };
                Ok(Given::Places(parcel.sum(last + 1 - parcel.count)))
            }
        }
    }
}

impl Parcel {
    fn bodies(&self) -> Vec<Vec<u8>> {
        let numbers = self.first..self.first + self.count;
        numbers.map(|number| self.body(number)).collect()
    }

    fn body(&self, number: u64) -> Vec<u8> {
        match self.content {
            Content::Fill => message(number, self.stamp, self.bytes),
            Content::Json => order(number, self.bytes),
        }
    }

    async fn post(&self, to: To, wire: &mut Wire) -> Result<Answer, String> {
        let one = || self.body(self.first);
        let stream = self.stream;
        if to == To::Intake && self.count > 1 {
            let path = format!("/v1/streams/s{stream}/messages:batch");
            let content_type = match self.content {
                Content::Fill => "application/octet-stream",
                Content::Json => "application/json",
            };
            let headers = format!(
                "Content-Type: application/vnd.rollcall.frames\r\n\
                 Rollcall-Content-Type: {content_type}\r\n"
            );
            let mut all = Vec::with_capacity(self.count as usize * (self.bytes + 4));
            for body in self.bodies() {
                all.extend_from_slice(&(body.len() as u32).to_be_bytes());
                all.extend_from_slice(&body);
            }
            wire.post(&path, &headers, &all).await
        } else if to == To::Intake {
            wire.post(&format!("/v1/streams/s{stream}/messages"), OCTETS, &one()).await
        } else if to == To::Sink {
            let place = self.first + 1;
            let headers = format!("{OCTETS}Rollcall-Stream: s0\r\nRollcall-Sequence: {place}\r\n");
            wire.post("/", &headers, &work_on(&one())).await
        } else {
            wire.post("/", OCTETS, &one()).await
        }
    }

    /// The sum over the places that an answer says; none where it is wrong.
    fn placed(&self, to: To, answer: &Answer) -> Option<u64> {
        if to == To::Intake && answer.status == 202 {
            if self.count == 1 {
                return answer.number("sequence").map(|place| self.sum(place));
            }
            let first = answer.number("first_sequence")?;
            let count = answer.number("last_sequence")? + 1 - first;
            return (count == self.count).then(|| self.sum(first));
        }
        if to == To::Proxy && answer.status == 200 {
            let (number, _) = Checker::new(self.bytes).read(&answer.body)?;
            return (number == self.first).then_some(0);
        }
        (to == To::Sink && answer.status == 200).then(|| self.sum(self.first + 1))
    }

    /// The sum where the first message is at `place`.
    fn sum(&self, place: u64) -> u64 {
        let sums = (0..self.count).map(|at| mix(self.stream, place + at, self.first + at));
        sums.fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_another_count_or_content_is_wrong() {
        let parcel =
            Parcel { first: 4, count: 2, stream: 1, stamp: 0, bytes: 64, content: Content::Fill };
        let answer = |status, body: &[u8]| Answer { status, body: body.to_vec() };
        let right = answer(202, br#"{"first_sequence":8,"last_sequence":9}"#);
        let sum = mix(1, 8, 4).wrapping_add(mix(1, 9, 5));
        assert_eq!(parcel.placed(To::Intake, &right), Some(sum));
        let short = answer(202, br#"{"first_sequence":8,"last_sequence":8}"#);
        assert_eq!(parcel.placed(To::Intake, &short), None);
        assert_eq!(parcel.placed(To::Intake, &answer(413, &right.body)), None);
        let one = Parcel { count: 1, ..parcel };
        assert_eq!(one.placed(To::Proxy, &answer(200, &work_on(&message(4, 0, 64)))), Some(0));
        assert_eq!(one.placed(To::Proxy, &answer(200, &message(4, 0, 64))), None);
        assert_eq!(one.placed(To::Proxy, &answer(200, &work_on(&message(5, 0, 64)))), None);
    }
}
