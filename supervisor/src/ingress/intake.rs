//! Messages in over HTTP (contract §3): one, or many at once. The answer leaves when they are
//! durable.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, response::Response, routing::any};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use rollcall_common::{
    ids::{MessageId, Sequence, StreamName},
    limits::LONGEST_WAIT,
    message::{Key, Message, OCTET_STREAM, SharedHeaders, apart, compact, shared},
    net::Presence,
    problem::Problem,
    protocol,
    shutdown::{Phase, Shutdown},
    time::Clock,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    batch::{self, Item},
    byte_budget::ByteBudget,
    cloudevents::{self, Mode},
    headers,
};
use crate::{
    dispatcher::{Reply, Taken},
    driver::{Handle, Pressure},
    record::Outcome,
    views::{Interest, ReleasedResult, Views},
    web::{
        BodyLimits, LargeBodies, beside, read_rationed,
        respond::{internal, json, overloaded, problem, refused, stopping},
    },
};

/// What the way in needs.
#[derive(Debug)]
pub struct Intake {
    /// The way to the driver.
    pub handle: Handle,
    /// What readers see.
    pub views: Arc<Views>,
    /// How large what comes in may be.
    pub sizes: Arc<arc_swap::ArcSwap<BodyLimits>>,
    /// How much may be on its way in.
    pub room: arc_swap::ArcSwap<ByteBudget>,
    /// The time.
    pub clock: Clock,
    /// Dice for ids.
    pub rng: Mutex<fastrand::Rng>,
    /// Nothing is taken in while the process drains.
    pub shutdown: Shutdown,
    /// Places of those who wait for a result.
    pub waiting: Semaphore,
    /// Room for large results that are being sent.
    pub large: LargeBodies,
}

/// The paths of the way in, for what comes to them with another method than `POST`.
pub fn routes() -> Router {
    Router::new()
        .route("/v1/streams/{stream}/messages", any(only_post))
        .route("/v1/streams/{stream}/messages:batch", any(only_post))
}

async fn only_post() -> Response {
    let detail = "messages are sent here by POST";
    let mut response =
        problem(&Problem::new(405, "method-not-allowed", "Method not allowed", detail));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

type Refused = Box<Problem>;

/// What is sent in by a request: to a stream, whose name stands as it does in the path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sent<'a> {
    One(&'a str),
    Many(&'a str),
}

impl<'a> Sent<'a> {
    fn by(method: &Method, path: &'a str) -> Option<Self> {
        let (stream, what) = path.strip_prefix("/v1/streams/")?.split_once('/')?;
        match what {
            _ if *method != Method::POST => None,
            "messages" => Some(Self::One(stream)),
            "messages:batch" => Some(Self::Many(stream)),
            _ => None,
        }
    }
}

/// Whether a request sends messages.
pub(super) fn is_for(method: &Method, path: &str) -> bool {
    Sent::by(method, path).is_some()
}

impl Intake {
    /// Answers a request that sends messages; gives back any other. It stands before the routes:
    /// nothing comes as often, and they copy a request's headers and box what answers it.
    ///
    /// # Errors
    /// The request, when it sends none.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        presence: &Presence,
    ) -> Result<Response, Request<Incoming>> {
        let (head, body) = request.into_parts();
        let answer = match Sent::by(&head.method, head.uri.path()) {
            Some(Sent::One(stream)) => {
                self.one_message(stream, (&head.headers, presence), body).await
            }
            Some(Sent::Many(stream)) => self.take_batch(stream, &head.headers, body).await,
            None => return Err(Request::from_parts(head, body)),
        };
        Ok(answer.unwrap_or_else(|refusal| problem(&refusal)))
    }

    async fn one_message(
        &self,
        stream: &str,
        (headers, presence): (&HeaderMap, &Presence),
        body: Incoming,
    ) -> Result<Response, Refused> {
        let content_type = headers::content_type(headers)?;
        if Mode::of(&content_type) == Mode::Batch {
            return self.take_batch(stream, headers, body).await;
        }
        let (stream, taken) = self.take_one(stream, headers, (content_type, body)).await?;
        if let Some(seconds) = headers::wait(headers)
            && let Some(result) = self.released(&stream, &taken, (seconds, presence)).await?
            && let Some(body) = self.large.body(result.answer.payload.body.clone())
        {
            return Ok(with_result(&result, body, seconds));
        }
        Ok(accepted(&stream, &taken))
    }

    /// Takes a message in. The room for its body is given back by then: who waits for its result
    /// does not hold it.
    async fn take_one(
        &self,
        stream: &str,
        headers: &HeaderMap,
        (content_type, body): (Arc<str>, Incoming),
    ) -> Result<(StreamName, Taken), Refused> {
        let stream = self.admit(stream)?;
        let key = headers::idempotency_key(headers)?;
        let kept = shared(headers::kept(headers)?);
        let event = cloudevents::binary(headers)?;
        let mut room = self.room.load().enter();
        let limit = self.sizes.load().message;
        let body = read_rationed(headers, body, limit, |bytes| room.take(bytes)).await?;
        let event = match Mode::of(&content_type) {
            Mode::Structured => Some(cloudevents::structured(&body)?),
            Mode::Batch | Mode::Binary => event,
        };
        let item = Item { content_type, key: key.or(event), body };
        let message = self.message(item, kept);
        let taken = self.submit(stream.clone(), vec![message]).await?;
        let taken = taken.first().copied().ok_or_else(stopping)?;
        Ok((stream, taken))
    }

    async fn take_batch(
        &self,
        stream: &str,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Response, Refused> {
        let stream = self.admit(stream)?;
        let content_type = headers::content_type(headers)?;
        let kept = shared(headers::kept_of_batch(headers)?);
        let sizes = **self.sizes.load();
        let mut room = self.room.load().enter();
        let body = read_rationed(headers, body, sizes.batch, |bytes| room.take(bytes)).await?;
        let items = batch::split(&content_type, headers, &body, sizes.message)?;
        // What stands beside each message counts as well: it is written down with each.
        let bytes = batch::entry_bytes(&items, &kept)?;
        room.take(bytes.saturating_sub(body.len()))?;
        let whole = body.len();
        let alone = |item: Item| Item { body: apart(item.body, whole), ..item };
        let items = items.into_iter().map(alone);
        let messages = items.map(|item| self.message(item, kept.clone())).collect();
        let taken = self.submit(stream.clone(), messages).await?;
        let sequences = || taken.iter().map(|taken| taken.sequence);
        let body = json!({
            "stream": stream,
            "first_sequence": sequences().min(),
            "last_sequence": sequences().max(),
            "count": taken.len(),
        });
        Ok(json(StatusCode::ACCEPTED, &body))
    }

    fn admit(&self, stream: &str) -> Result<StreamName, Refused> {
        if self.shutdown.phase() > Phase::Running {
            return Err(stopping().into());
        }
        match self.handle.pressure(self.clock.now()) {
            Pressure::Fine => {}
            Pressure::Crowded => return Err(overloaded("too much is waiting").into()),
            Pressure::Stalled => return Err(overloaded("the journal's disk is slow").into()),
        }
        // A name needs no percent-encoding, and may have it.
        percent_decode_str(stream).decode_utf8_lossy().parse().map_err(|error| {
            let detail = format!("{stream:?}: {error}");
            Problem::new(400, "bad-stream-name", "Bad stream name", detail).into()
        })
    }

    /// A message of what has come in.
    pub(super) fn message(&self, item: Item, headers: SharedHeaders) -> Arc<Message> {
        let Item { content_type, key, body } = item;
        let key = key.map(|text| Key { text, fingerprint: fingerprint(&content_type, &body) });
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let id = MessageId::new(self.clock.now(), &mut rng);
        drop(rng);
        Arc::new(Message { id, key, content_type, headers, body: compact(body) })
    }

    async fn submit(
        &self,
        stream: StreamName,
        messages: Vec<Arc<Message>>,
    ) -> Result<Vec<Taken>, Refused> {
        let reply = self.handle.submit(stream.clone(), messages).await?;
        if let Reply::Accepted { taken } = reply {
            return Ok(taken);
        }
        Err(refused(stream.as_str(), &reply).into())
    }

    /// The result, if the message is released within so many seconds, and as long as its sender is
    /// there and there is room for it to wait.
    async fn released(
        &self,
        name: &StreamName,
        taken: &Taken,
        (seconds, presence): (u64, &Presence),
    ) -> Result<Option<ReleasedResult>, Refused> {
        let (Some(stream), Ok(_place)) = (self.views.find(name), self.waiting.try_acquire()) else {
            return Ok(None);
        };
        let sequence = taken.sequence;
        let released = self.views.wait_for(Interest::Message(stream, sequence));
        if self.views.released(stream) < sequence {
            let mut draining = self.shutdown.clone();
            let wait = Duration::from_secs(seconds).min(LONGEST_WAIT);
            tokio::select! {
                // Late, or nobody is there any more, or the process drains: the plain answer.
                _ = timeout(wait, released.woken()) => {}
                () = presence.closed() => {}
                () = draining.reached(Phase::Draining) => {}
            }
            if self.views.released(stream) < sequence {
                return Ok(None);
            }
        }
        let before = sequence.before();
        if let Some(recent) = self.views.recent_results(stream, before, 1) {
            return Ok(recent.into_iter().next());
        }
        let views = Arc::clone(&self.views);
        let read = tokio::task::spawn_blocking(move || {
            views.stream_results(stream, before, 1, usize::MAX)
        });
        let results = read.await.map_err(|error| internal(&error))?;
        Ok(results.map_err(|error| internal(&error))?.pop())
    }
}

/// A digest of bytes and type. A type that is absent is the most general one here, which it once
/// was taken for: keys that are in journals go on being keys.
fn fingerprint(content_type: &str, body: &Bytes) -> [u8; 16] {
    let content_type = if content_type.is_empty() { OCTET_STREAM } else { content_type };
    let mut hasher = Sha256::new();
    hasher.update(content_type.as_bytes());
    hasher.update([0]);
    hasher.update(body);
    let mut digest = [0; 16];
    digest.iter_mut().zip(hasher.finalize()).for_each(|(short, byte)| *short = byte);
    digest
}

/// The body of a `202` (contract §3).
#[derive(serde::Serialize)]
struct AcceptedBody<'a> {
    stream: &'a str,
    sequence: Sequence,
    id: MessageId,
    status_url: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

fn accepted(stream: &StreamName, taken: &Taken) -> Response {
    let location = format!("/v1/streams/{stream}/messages/{}", taken.sequence);
    let body = AcceptedBody {
        stream: stream.as_str(),
        sequence: taken.sequence,
        id: taken.id,
        status_url: &location,
        duplicate: taken.duplicate,
    };
    let mut response = json(StatusCode::ACCEPTED, &body);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn with_result(result: &ReleasedResult, body: Body, seconds: u64) -> Response {
    let payload = &result.answer.payload;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_bytes(payload.content_type.as_bytes())
        && !payload.content_type.is_empty()
    {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    // They were headers once.
    let _ = beside::put(headers, &payload.headers);
    headers.insert(protocol::SEQUENCE, result.sequence.0.into());
    headers.insert(protocol::POSITION, result.position.0.into());
    if let Ok(applied) = HeaderValue::from_str(&format!("wait={seconds}")) {
        headers.insert("preference-applied", applied);
    }
    if result.answer.outcome != Outcome::Completed {
        let outcome = HeaderValue::from_static(result.answer.outcome.as_str());
        headers.insert(protocol::OUTCOME, outcome);
    }
    response
}
