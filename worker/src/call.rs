//! One call: from HTTP to a request, and from a reply to HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use rollcall_common::{
    http::{foreign, is_of_a_page},
    limits::{BODY_STALL, KEPT_HEADER_BYTES, KEPT_HEADERS},
    message::{Payload, weight_of},
    problem::{self, Problem},
    protocol::{self, Outcome},
};
use tokio::time::timeout;

use crate::handler::{Reply, Request};

/// What goes back.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Ok: it is a message.
pub(crate) fn route(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Box<Answer>> {
    if *method == Method::GET && path == "/livez" {
        return Err(Box::new(Response::new(Full::from("ok\n"))));
    }
    if *method != Method::POST {
        let problem = Problem::new(405, "method", "Method not allowed", "messages are POSTed");
        let mut answer = refused(&problem);
        let allow = HeaderValue::from_static("POST");
        answer.headers_mut().insert(header::ALLOW, allow);
        return Err(Box::new(answer));
    }
    // Nobody's pages call workers; and whoever reaches one may have it work.
    if is_of_a_page(headers) {
        return Err(Box::new(refused(&foreign("a browser sent it for a page"))));
    }
    // Two ways to say where the body ends are a way to smuggle a request.
    let framed_twice = headers.contains_key(header::CONTENT_LENGTH)
        && headers.contains_key(header::TRANSFER_ENCODING);
    if framed_twice || headers.get_all(header::HOST).iter().count() > 1 {
        let detail = "the request has two lengths or two hosts";
        let problem = Problem::new(400, "ambiguous", "Ambiguous request", detail);
        return Err(Box::new(refused(&problem)));
    }
    Ok(())
}

/// The whole body, if it is within the limit and comes in time.
pub(crate) async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a message has at most {limit} bytes");
        Problem::new(413, "message-too-large", "Message too large", detail)
            .with("limit_bytes", limit)
    };
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let cut_off = |detail: &str| Problem::new(408, "cut-off", "Message cut off", detail);
        let frame = match timeout(BODY_STALL, body.frame()).await {
            Err(_) => return Err(cut_off("the body stood still for too long")),
            Ok(Some(Err(error))) => return Err(cut_off(&error.to_string())),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) if all.is_empty() => return Ok(first),
            Ok(None) => return Ok(all.freeze()),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len().max(all.len()) + data.len() > limit {
            return Err(too_large());
        }
        // Most bodies come in one piece, which is not copied then.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
}

/// What the handler gets to see of a call.
pub(crate) fn request(headers: HeaderMap, body: Bytes) -> Request {
    let text = |name: HeaderName| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default())
    };
    let boxed = |name: HeaderName| Box::<str>::from(text(name));
    let id = boxed(protocol::MESSAGE_ID);
    let key = text(protocol::IDEMPOTENCY_KEY);
    let key = Box::<str>::from(key.trim().trim_matches('"'));
    Request {
        stream: boxed(protocol::STREAM),
        sequence: text(protocol::SEQUENCE).parse().unwrap_or_default(),
        key: if key.is_empty() { id.clone() } else { key },
        id,
        attempt: text(protocol::ATTEMPT).parse().unwrap_or(1),
        max_attempts: text(protocol::MAX_ATTEMPTS).parse().ok(),
        timeout: text(protocol::TIMEOUT_MS).parse().ok().map(Duration::from_millis),
        reason: boxed(protocol::REASON),
        sender_key: text(protocol::SENDER_KEY).into(),
        content_type: boxed(header::CONTENT_TYPE),
        headers,
        body,
    }
}

/// What is known of a message while it is worked on.
#[derive(Debug)]
pub(crate) struct About {
    stream: Box<str>,
    sequence: u64,
    content_type: Box<str>,
}

/// A reply as it goes out, over HTTP or over a link.
#[derive(Debug)]
pub(crate) struct Shaped {
    pub(crate) reply: Reply,
    /// The body's type; empty when there is none.
    pub(crate) content_type: Box<str>,
    pub(crate) body: Bytes,
}

impl About {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            stream: request.stream.clone(),
            sequence: request.sequence,
            content_type: request.content_type.clone(),
        }
    }

    /// Gives a reply its body and its type; a failure goes to the log.
    pub(crate) fn shape(self, mut reply: Reply) -> Shaped {
        if !reply.headers.is_empty() {
            reply = with_kept_headers(reply);
        }
        if !reply.is_ok() {
            let (status, reason) = (reply.status.as_u16(), reply.reason.as_deref());
            let (stream, sequence) = (&self.stream, self.sequence);
            tracing::debug!(%stream, sequence, status, reason, "no result");
        }
        let silent = reply.body.is_empty() && !reply.is_ok() && !reply.status.is_success();
        let (content_type, body) = match &reply.reason {
            Some(reason) if silent => (problem::CONTENT_TYPE.into(), explain(reply.status, reason)),
            _ => {
                let body = std::mem::take(&mut reply.body);
                (reply.content_type.take().unwrap_or(self.content_type), body)
            }
        };
        let typed = reply.status != StatusCode::NO_CONTENT;
        let content_type = if typed { content_type } else { "".into() };
        Shaped { reply, content_type, body }
    }
}

/// The reply with those of its headers that travel; a failure when they can't: what is lost is
/// said.
fn with_kept_headers(mut reply: Reply) -> Reply {
    let headers = std::mem::take(&mut reply.headers).into_iter();
    reply.headers = headers.filter(|(name, _)| Payload::keeps(name)).collect();
    let can_stand = |(name, value): &(Box<str>, Box<str>)| {
        HeaderName::from_bytes(name.as_bytes()).is_ok()
            && value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
    };
    let fits = reply.headers.len() <= KEPT_HEADERS
        && weight_of(&reply.headers) <= KEPT_HEADER_BYTES
        && reply.headers.iter().all(can_stand);
    if fits {
        return reply;
    }
    let reason = "the result's headers are too many, too large or no visible ASCII";
    Reply::of_status(StatusCode::BAD_GATEWAY, reason)
}

/// A reply as HTTP.
pub(crate) fn answer(shaped: Shaped) -> Answer {
    let Shaped { reply, content_type, body } = shaped;
    let word = reply.outcome.and_then(word);
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = reply.status;
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(&**name), HeaderValue::try_from(&**value))
        {
            answer.headers_mut().append(name, value);
        }
    }
    for (name, value) in [
        (header::CONTENT_TYPE, Some(&*content_type).filter(|text| !text.is_empty())),
        (protocol::OUTCOME, word),
        (protocol::REASON, reply.reason.as_deref()),
        (header::RETRY_AFTER, reply.retry_after.as_deref()),
    ] {
        let value = value.map(|value| HeaderValue::from_bytes(value.as_bytes()));
        // What can't stand in a header is left out: the answer matters more.
        if let Some(Ok(value)) = value {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn explain(status: StatusCode, reason: &str) -> Bytes {
    let title = status.canonical_reason().unwrap_or("No result");
    let problem = Problem::new(status.as_u16(), "no-result", title, reason);
    problem.to_json().into()
}

/// What has to be said beside the status.
fn word(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ok => None,
        Outcome::Park => Some("park"),
        Outcome::Retry => Some("retry"),
        Outcome::Skip => Some("skip"),
    }
}

/// A problem as HTTP.
pub(crate) fn refused(problem: &Problem) -> Answer {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = Response::new(Full::from(problem.to_json()));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(problem::CONTENT_TYPE);
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}
