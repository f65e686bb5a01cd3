//! Clients: they send until they have an answer, and the same again when the answer got lost.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rollcall_common::{
    ids::MessageId,
    message::{Key, Message},
};
use rollcall_supervisor::dispatcher::{Arrival, Event, Reply, Taken};

use super::{
    beside,
    coverage::Something,
    scenario::Faults,
    world::{Step, What, World},
};
use crate::oracle::{Invariant, Seen, Violation};

/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// One message of a request.
#[derive(Clone, Debug)]
pub(super) struct Item {
    key: Option<Box<str>>,
    body: Bytes,
}

/// What a client wants.
#[derive(Clone, Debug)]
pub(super) struct Request {
    stream: usize,
    items: Vec<Item>,
    tries: u32,
    pub(super) open: bool,
    given_up: bool,
    /// Whether it asks for what must be refused: a key that stands for something else.
    conflict: bool,
}

impl World {
    /// All that clients will ever want.
    pub(super) fn plan_clients(&mut self) {
        let streams = self.scenario.streams.clone();
        let keyed = [0, 500, 1_000][self.rng.usize(..3)];
        for (index, stream) in streams.iter().enumerate() {
            let most = self.scenario.settings.stream(&stream.name).max_backlog;
            let largest = u32::try_from(most.min(12)).unwrap_or(12);
            let mut made = 0;
            while made < stream.messages {
                let left = (stream.messages - made).min(largest);
                let batch = self.rng.u8(..4) == 0;
                let count = if batch { self.rng.u32(1..=left) } else { 1 };
                let items =
                    (made..made + count).map(|number| self.item(index, number, keyed)).collect();
                made += count;
                let at = self.within(self.scenario.load);
                self.request(index, items, at);
            }
        }
    }

    fn item(&mut self, stream: usize, number: u32, keyed: u32) -> Item {
        let Faults { cursed, deadly, poisoned, .. } = self.scenario.faults;
        let kind = if self.happens(cursed) {
            "cursed"
        } else if self.happens(poisoned) {
            "poisoned"
        } else if self.happens(deadly) {
            "deadly"
        } else {
            "plain"
        };
        let large = if self.scenario.is_small() { 600 } else { 4_000 };
        let size = if self.rng.u8(..50) == 0 { large } else { 200 };
        let padding = "x".repeat(self.rng.usize(..size));
        let key = self.happens(keyed).then(|| format!("k{number}").into());
        let body = format!("{kind} {stream} {number} {padding}").into();
        Item { key, body }
    }

    fn request(&mut self, stream: usize, items: Vec<Item>, at: Duration) {
        let request = self.requests.len();
        self.requests.push(Request {
            stream,
            items,
            tries: 0,
            open: true,
            given_up: false,
            conflict: false,
        });
        self.after(at, What::Send(request));
    }

    pub(super) fn client_sends(&mut self, request: usize) {
        let loss = self.scenario.faults.net_loss;
        let entry = &mut self.requests[request];
        if !entry.open {
            return;
        }
        entry.tries += 1;
        let attempt = entry.tries;
        if !self.happens(loss) {
            let hop = self.hop();
            self.after(hop, What::Arrive(request, attempt));
        }
        self.after(PATIENCE, What::GiveUp(request, attempt));
    }

    /// The supervisor's front door: each try makes new messages of the same content.
    pub(super) fn request_arrives(&mut self, request: usize, attempt: u32) {
        let Request { stream, items, .. } = self.requests[request].clone();
        let stream = self.scenario.streams[stream].name.clone();
        let messages = items
            .into_iter()
            .map(|item| {
                let fingerprint = fingerprint(&item.body);
                let (content_type, headers) = beside::sent(&item.body);
                Arc::new(Message {
                    id: MessageId::new(self.now, &mut self.rng),
                    key: item.key.map(|text| Key { text, fingerprint }),
                    content_type: content_type.into(),
                    headers: headers.into(),
                    body: item.body,
                })
            })
            .collect();
        let Some(server) = &mut self.server else {
            return;
        };
        let request = server.open(Some((request, attempt)));
        let arrival = Arrival { request, stream, messages };
        self.hear(self.incarnation, Event::Arrived(arrival));
    }

    pub(super) fn client_hears(&mut self, request: usize, attempt: u32, reply: &Reply) -> Step {
        self.tell(format_args!("client {request} try {attempt}: {reply:?}"));
        let entry = self.requests[request].clone();
        match reply {
            Reply::Accepted { taken } => {
                if entry.conflict && !self.has_forgotten(&entry) {
                    return Err(wrong(format!("request {request}: a conflict is taken in")));
                }
                // From now on it is what stands under its key.
                self.requests[request].conflict = false;
                self.acknowledge(&entry, taken)?;
                if entry.open {
                    self.requests[request].open = false;
                    self.ask_again(&entry);
                }
                return Ok(());
            }
            Reply::Conflict { .. } if entry.conflict => {
                self.requests[request].open = false;
                self.note(Something::Conflict);
            }
            Reply::Backlogged { limit, waiting } => {
                let count = entry.items.len() as u64;
                if waiting + count <= *limit {
                    return Err(wrong(format!("request {request} of {count}: {reply:?}")));
                }
                self.note(Something::Backlogged);
            }
            // What is too large together goes in one by one.
            Reply::TooLarge { .. } if entry.items.len() > 1 => {
                self.requests[request].open = false;
                self.note(Something::TooLarge);
                for item in entry.items {
                    self.request(entry.stream, vec![item], Duration::ZERO);
                }
            }
            Reply::Full => self.note(Something::SpaceLow),
            Reply::AlertResolved
            | Reply::Conflict { .. }
            | Reply::DecidedMany { .. }
            | Reply::Done
            | Reply::HasResult
            | Reply::NeverFits { .. }
            | Reply::NotParked
            | Reply::TooLarge { .. }
            | Reply::TooManyStreams { .. }
            | Reply::UnknownAlert
            | Reply::Subscription(_)
            | Reply::UnknownMessage
            | Reply::UnknownStream => {
                return Err(wrong(format!("request {request} is answered {reply:?}")));
            }
        }
        Ok(())
    }

    /// Whether the message that came with the request's key before may no longer be known.
    fn has_forgotten(&self, request: &Request) -> bool {
        let stream = &self.scenario.streams[request.stream].name;
        let keys = request.items.iter().filter_map(|item| item.key.as_ref());
        keys.map(|key| format!("{stream}/{key}")).any(|key| self.checker.has_forgotten(&key))
    }

    fn acknowledge(&mut self, request: &Request, taken: &[Taken]) -> Step {
        if taken.len() != request.items.len() {
            return Err(wrong("a batch is taken in by half".to_owned()));
        }
        let stream: Arc<str> = self.scenario.streams[request.stream].name.as_str().into();
        if taken.len() > 1 {
            self.note(Something::BatchTaken);
        }
        for (item, taken) in request.items.iter().zip(taken) {
            if taken.duplicate {
                self.note(Something::Duplicate);
            }
            let client_key = item.key.as_ref().map(|key| format!("{stream}/{key}").into());
            self.see(Seen::Acknowledged {
                place: (stream.clone(), taken.sequence.0),
                id: taken.id.0.as_u128(),
                body: beside::of_sent(&item.body),
                client_key,
            })?;
        }
        Ok(())
    }

    /// Some clients send what was taken in once more, or something else under the same key.
    fn ask_again(&mut self, entry: &Request) {
        if self.healed || entry.items[0].key.is_none() || self.rng.u8(..8) != 0 {
            return;
        }
        let at = self.within(Duration::from_secs(10));
        let mut items = entry.items.clone();
        // What was taken in after its key was forgotten may be something else already.
        let conflict = self.rng.bool() && items[0].body != "something else";
        if conflict {
            items[0].body = "something else".into();
        }
        self.request(entry.stream, items, at);
        let last = self.requests.len() - 1;
        self.requests[last].conflict = conflict;
    }

    pub(super) fn client_waited(&mut self, request: usize, attempt: u32) {
        let entry = &self.requests[request];
        if !entry.open || entry.tries != attempt {
            return;
        }
        let keyed = entry.items.iter().all(|item| item.key.is_some());
        let stream = &self.scenario.streams[entry.stream];
        // Without a key nobody knows whether it was taken in. Some send it again even so.
        let leaves = (!keyed && self.rng.bool()) || (self.healed && stream.leave_parked);
        if leaves {
            let entry = &mut self.requests[request];
            (entry.open, entry.given_up) = (false, true);
            return;
        }
        let pause = self.within(Duration::from_secs(1));
        self.after(pause, What::Send(request));
    }
}

fn wrong(detail: String) -> super::world::Halt {
    Violation { invariant: Invariant::I4, detail }.into()
}

/// A digest of a content; only its being equal counts.
fn fingerprint(body: &[u8]) -> [u8; 16] {
    let mut hashes = [0xcbf2_9ce4_8422_2325_u64, 0x1234_5678_9abc_def1];
    for byte in body {
        for hash in &mut hashes {
            *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let mut whole = [0; 16];
    whole[..8].copy_from_slice(&hashes[0].to_le_bytes());
    whole[8..].copy_from_slice(&hashes[1].to_le_bytes());
    whole
}
