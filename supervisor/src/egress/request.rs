//! One push: the request (contract §5, "Push delivery") and what its answer means.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use rollcall_common::{
    exhaustion::is_exhausted,
    http::{OwnHeader, Peer, Reply, SendError},
    ids::{Epoch, Sequence},
    limits::{MESSAGE_BYTES, NO_ROOM_PAUSE},
    protocol,
    time::Time,
};
use sha2::{Digest as _, Sha256};

use super::Pushed;
use crate::{
    dispatcher::Refusal,
    secrets::{Secret, sign},
    views::ReleasedResult,
    web::{ResultBody, beside, retry_after},
};

/// What goes with every push of a delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) secrets: &'a [Secret],
    /// The subscription's own headers.
    pub(super) headers: &'a [OwnHeader],
    /// The key of the batch; `None`: one result as it is.
    pub(super) batch: Option<&'a str>,
    pub(super) generation: u32,
    pub(super) attempt: u32,
    pub(super) epoch: Epoch,
    pub(super) replay: bool,
    pub(super) previous: Sequence,
    pub(super) now: Time,
}

/// The key of a batch: the same for the same results of a stream, and no other's. It has no `.`,
/// which parts what is signed.
pub(super) fn batch_key(subscription: &str, results: &[ReleasedResult]) -> Option<String> {
    let (first, last) = results.first().zip(results.last())?;
    let mut digest = Sha256::new();
    digest.update(subscription);
    digest.update([0]);
    digest.update(first.stream.as_str());
    let whose: String =
        digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{whose}-{}-{}", first.sequence, last.sequence))
}

/// Sends results: one as it is, or several as lines.
pub(super) async fn push(
    peer: &Peer,
    results: &[ReleasedResult],
    envelope: Envelope<'_>,
) -> Pushed {
    let limit = usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX);
    loop {
        let Some(request) = request(peer, results, envelope) else {
            let detail = "the result's headers can't be sent".into();
            return Pushed::Refused { taken: 0, refusal: Refusal::Unfit, detail };
        };
        return match peer.send(request, limit).await {
            Ok(reply) => judge(&reply),
            // It had been closed while idle; at most as often as there are idle ones.
            Err(SendError::Stale) => continue,
            Err(error) => {
                let refusal = match &error {
                    // This machine has no room for a connection, which says nothing of it.
                    SendError::Connect(error) if is_exhausted(error) => {
                        Refusal::Away { retry_after: Some(NO_ROOM_PAUSE) }
                    }
                    SendError::Connect(_) => Refusal::Away { retry_after: None },
                    SendError::Broken(_)
                    | SendError::Stale
                    | SendError::TooLarge(_)
                    | SendError::Truncated(_) => Refusal::Failed,
                };
                Pushed::Refused { taken: 0, refusal, detail: error.to_string().into() }
            }
        };
    }
}

fn judge(reply: &Reply) -> Pushed {
    let taken = reply.headers.get(protocol::DONE).and_then(|value| value.to_str().ok());
    let taken = taken.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    let refusal = match reply.status {
        status if status.is_success() => return Pushed::Done,
        StatusCode::GONE => Refusal::Gone,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Refusal::Away { retry_after: retry_after(&reply.headers) }
        }
        // Not of this result: they pass.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => Refusal::Failed,
        status if status.is_client_error() => Refusal::Rejected,
        _ => Refusal::Failed,
    };
    let mut detail = format!("status {}", reply.status.as_u16());
    if reply.status.is_redirection() {
        detail.push_str("; redirects are not followed");
    }
    Pushed::Refused { taken, refusal, detail: detail.into() }
}

fn request(
    peer: &Peer,
    results: &[ReleasedResult],
    envelope: Envelope<'_>,
) -> Option<Request<Full<Bytes>>> {
    let first = results.first()?;
    let payload = &first.answer.payload;
    let (content_type, beside, body) = match envelope.batch {
        Some(_) => ("application/x-ndjson", <&[_]>::default(), lines(results)),
        None => (&*payload.content_type, &*payload.headers, payload.body.clone()),
    };
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = peer.uri();
    let headers = request.headers_mut();
    if !content_type.is_empty() {
        headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_bytes(content_type.as_bytes()).ok()?);
    }
    beside::put(headers, beside)?;
    identify(headers, first, envelope, &body)?;
    Some(request)
}

fn identify(
    headers: &mut HeaderMap,
    first: &ReleasedResult,
    envelope: Envelope<'_>,
    body: &[u8],
) -> Option<()> {
    for OwnHeader { name, value } in envelope.headers {
        headers.insert(name.clone(), value.clone());
    }
    let id = match envelope.batch {
        Some(key) => key.to_owned(),
        None => first.answer.head.id.to_string(),
    };
    let timestamp = envelope.now.as_secs();
    headers.insert("webhook-id", HeaderValue::from_str(&id).ok()?);
    headers.insert("webhook-timestamp", timestamp.into());
    if !envelope.secrets.is_empty() {
        let signature = sign(envelope.secrets, &id, timestamp, body);
        headers.insert("webhook-signature", HeaderValue::from_str(&signature).ok()?);
    }
    let key = HeaderValue::from_str(&format!("\"{id}\"")).ok()?;
    headers.insert(protocol::IDEMPOTENCY_KEY, key);
    headers.insert(protocol::STREAM, HeaderValue::from_str(first.stream.as_str()).ok()?);
    headers.insert(protocol::SEQUENCE, first.sequence.0.into());
    headers.insert(protocol::POSITION, first.position.0.into());
    headers.insert(protocol::PREVIOUS_SEQUENCE, envelope.previous.0.into());
    headers.insert(protocol::ATTEMPT, envelope.attempt.into());
    headers.insert(protocol::EPOCH, envelope.epoch.0.get().into());
    headers.insert(protocol::GENERATION, envelope.generation.into());
    let replay = if envelope.replay { "true" } else { "false" };
    headers.insert(protocol::REPLAY, HeaderValue::from_static(replay));
    Some(())
}

fn lines(results: &[ReleasedResult]) -> Bytes {
    let mut body = Vec::new();
    for result in results {
        ResultBody::of(result).write_line(&mut body);
        body.push(b'\n');
    }
    body.into()
}
