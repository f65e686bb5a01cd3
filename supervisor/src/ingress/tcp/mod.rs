//! Messages in over plain connections (contract §3): each line or frame is a message, the answer
//! is its sequence, once it is durable. What has come together goes in together, and nothing that
//! comes after is submitted before it is answered: so what a client sends on one connection is in
//! order although some of it had to wait. Where HTTP says "come back", here nothing more is read.

mod framing;

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use rollcall_common::{
    http::Framing,
    ids::StreamName,
    limits::{
        BODY_STALL, FRAME_TIME, TCP_BATCH, TCP_CONNECTIONS, TCP_GIVES_WAY, TCP_IDLE, TCP_LINGER,
        TCP_READ,
    },
    message::Message,
    net::{Listener, Stream},
    shutdown::{Phase, Shutdown},
    task,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use self::framing::cut;
#[cfg(any(test, feature = "checks"))]
pub(super) use self::framing::cut_all;
use super::{
    address_limit::AddressLimiter,
    batch::Item,
    byte_budget::Reservation,
    connection_limit::{ConnectionLimiter, Seat},
    intake::Intake,
    turn_away::{self, TurnAway},
};
use crate::{
    dispatcher::{Reply, Taken},
    driver::Pressure,
    web::respond::refused,
};

/// What one is told for which there is no place.
const FULL: &str = "there are too many connections; come back later";
/// What one is told that gives way.
const GIVES_WAY: &str = "this connection was idle, and another one needs its place";

/// How long to wait when the system has no descriptor left for a connection, and before messages
/// are submitted again for which there was no room.
const WAIT: Duration = Duration::from_millis(50);

/// What comes in at one listener.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The way in.
    pub intake: Arc<Intake>,
    /// Whose messages they are.
    pub stream: StreamName,
    /// How they are told apart.
    pub framing: Framing,
    /// Their type.
    pub content_type: Arc<str>,
    /// How many connections an address may have.
    pub per_address: AddressLimiter,
}

/// Takes connections until the process drains. Whoever connects is taken at once, or told at once
/// that there is no place: one that was idle for long gives way.
pub async fn serve(listener: Listener, feed: Feed, mut shutdown: Shutdown) {
    let limiter = ConnectionLimiter::new(TCP_CONNECTIONS, TCP_GIVES_WAY);
    let away = TurnAway::default();
    loop {
        let accepted = tokio::select! {
            () = shutdown.reached(Phase::Draining) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = feed.per_address.enter(peer.ip()) else {
                    away.turn_away(stream, error_line("this address has too many connections"));
                    continue;
                };
                let Some(seat) = limiter.enter() else {
                    away.turn_away(stream, error_line(FULL));
                    continue;
                };
                let (feed, shutdown) = (feed.clone(), shutdown.clone());
                task::spawn("tcp", async move {
                    let client = Client::new(stream, seat, feed, shutdown);
                    if let Err(error) = client.serve().await {
                        tracing::debug!(%peer, %error, "a connection broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                sleep(WAIT).await;
            }
        }
    }
}

/// One connection.
struct Client {
    stream: Stream,
    seat: Seat,
    feed: Feed,
    shutdown: Shutdown,
    /// What has come and is no whole message yet.
    buffer: BytesMut,
    /// Room for a large one, and how far that reaches.
    held: Reservation,
    roomy: usize,
    /// Whether nothing has come yet.
    fresh: bool,
}

/// Why nothing more is read.
enum Over {
    /// The client has gone or is done, or the process drains while nothing is half done.
    Done,
    /// The client is told this.
    Told(String),
}

impl Client {
    fn new(stream: Stream, seat: Seat, feed: Feed, shutdown: Shutdown) -> Self {
        let held = feed.intake.room.load().enter();
        let (buffer, roomy) = (BytesMut::new(), TCP_READ);
        Self { stream, seat, feed, shutdown, buffer, held, roomy, fresh: true }
    }

    async fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay()?;
        loop {
            let limit = self.feed.intake.sizes.load().message;
            let (batch, wrong) = cut(&mut self.buffer, self.feed.framing, (limit, TCP_BATCH));
            if !batch.is_empty() {
                let lines = self.feed.framing == Framing::Lines;
                let first = batch.first().filter(|_| lines && std::mem::take(&mut self.fresh));
                if first.is_some_and(|line| framing::is_http(line)) {
                    return self.part("this is no HTTP; each line would be a message").await;
                }
                (self.held, self.roomy) = (self.feed.intake.room.load().enter(), TCP_READ);
                if let Err(text) = self.take_in(batch).await? {
                    return self.part(&text).await;
                }
                continue;
            }
            if let Some(wrong) = wrong {
                return self.part(&wrong.to_string()).await;
            }
            match self.read_more().await? {
                None => {}
                Some(Over::Done) => return self.stream.shutdown().await,
                Some(Over::Told(text)) => return self.part(&text).await,
            }
        }
    }

    /// Reads until there is a whole message, at least.
    async fn read_more(&mut self) -> io::Result<Option<Over>> {
        let mut late = std::pin::pin!(sleep(FRAME_TIME));
        loop {
            let before = self.buffer.len();
            if !self.has_room() {
                let text = "too many bytes are on their way in";
                return Ok(Some(Over::Told(text.to_owned())));
            }
            let patience = if before == 0 { TCP_IDLE } else { BODY_STALL };
            if before == 0 {
                self.seat.idle();
            }
            self.buffer.reserve(TCP_READ);
            let count = tokio::select! {
                read = self.stream.read_buf(&mut self.buffer) => read?,
                () = sleep(patience) => return Ok(Some(slow(before))),
                () = &mut late, if before > 0 => return Ok(Some(slow(before))),
                () = self.shutdown.reached(Phase::Draining) => return Ok(Some(going(before))),
                () = self.seat.leaving() => return Ok(Some(Over::Told(GIVES_WAY.to_owned()))),
            };
            self.seat.busy();
            if count == 0 {
                return Ok(Some(if before == 0 {
                    Over::Done
                } else {
                    Over::Told("the last message is cut off; it was not taken in".to_owned())
                }));
            }
            if before == 0 {
                late.set(sleep(FRAME_TIME));
            }
            // What can't hold the end of a message need not be looked through from its beginning.
            if framing::is_worth_a_look(&self.buffer, before, self.feed.framing) {
                return Ok(None);
            }
            let limit = self.feed.intake.sizes.load().message;
            if self.buffer.len() > limit {
                return Ok(None);
            }
        }
    }

    /// Takes room for what a large message has brought so far; a small one needs none.
    fn has_room(&mut self) -> bool {
        if self.buffer.len() < self.roomy {
            return true;
        }
        self.roomy += TCP_READ;
        self.held.take(TCP_READ).is_ok()
    }

    /// Submits messages in order until all are taken, and answers each. What there is no room for
    /// waits; `Ok(Err(…))`: it can't be taken at all.
    async fn take_in(&mut self, batch: Vec<Bytes>) -> io::Result<Result<(), String>> {
        let mut rest: Vec<Arc<Message>> =
            batch.into_iter().map(|body| self.message(body)).collect();
        let mut at_once = rest.len();
        while !rest.is_empty() {
            if self.shutdown.phase() > Phase::Running {
                return Ok(Err("the supervisor is going down".to_owned()));
            }
            let now = self.feed.intake.clock.now();
            if self.feed.intake.handle.pressure(now) != Pressure::Fine {
                if self.gives_way().await {
                    return Ok(Err(GIVES_WAY.to_owned()));
                }
                continue;
            }
            let piece = rest.get(..at_once.min(rest.len())).unwrap_or_default().to_vec();
            let submitted = self.feed.intake.handle.submit(self.feed.stream.clone(), piece).await;
            match submitted {
                Err(gone) => return Ok(Err(gone.to_string())),
                Ok(Reply::Accepted { taken }) => {
                    self.seat.busy();
                    rest.drain(..taken.len().min(rest.len()));
                    self.answer(&taken).await?;
                }
                // All or nothing: fewer may fit.
                Ok(Reply::Backlogged { .. } | Reply::NeverFits { .. } | Reply::TooLarge { .. })
                    if at_once > 1 =>
                {
                    at_once = at_once.div_ceil(2);
                }
                Ok(Reply::Backlogged { .. } | Reply::Full) => {
                    if self.gives_way().await {
                        return Ok(Err(GIVES_WAY.to_owned()));
                    }
                }
                Ok(other) => return Ok(Err(refused(self.feed.stream.as_str(), &other).detail)),
            }
        }
        Ok(Ok(()))
    }

    /// Waits a moment for room; whether somebody else needs this place meanwhile. Who has waited
    /// for long may be gone, and can't be told from one that is there.
    async fn gives_way(&self) -> bool {
        self.seat.idle();
        tokio::select! {
            () = sleep(WAIT) => false,
            () = self.seat.leaving() => true,
        }
    }

    fn message(&self, body: Bytes) -> Arc<Message> {
        let content_type = self.feed.content_type.clone();
        let item = Item { content_type, key: None, body };
        self.feed.intake.message(item, Arc::default())
    }

    async fn answer(&mut self, taken: &[Taken]) -> io::Result<()> {
        let lines: String = taken.iter().map(|taken| format!("{}\n", taken.sequence)).collect();
        let write = self.stream.write_all(lines.as_bytes());
        // Who does not read its answers must not be waited for for ever.
        timeout(BODY_STALL, write).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Says why it is over, and closes; what still comes is read for a moment, or the system would
    /// throw the answer away with it.
    async fn part(mut self, text: &str) -> io::Result<()> {
        let line = error_line(text);
        let parted = timeout(TCP_LINGER, turn_away::part(&mut self.stream, &line)).await;
        parted.unwrap_or(Ok(()))
    }
}

fn error_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("error: {text}\n")
}

fn slow(read: usize) -> Over {
    if read == 0 {
        Over::Done
    } else {
        Over::Told("the message came too slowly; it was not taken in".to_owned())
    }
}

fn going(read: usize) -> Over {
    if read == 0 { Over::Done } else { Over::Told("the supervisor is going down".to_owned()) }
}
