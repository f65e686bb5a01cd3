//! What holds for any bytes. Asked by random tests, and by `tests/fuzz`.

use std::{convert::Infallible, sync::Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rollcall_common::{
    frame,
    http::Framing,
    limits::{
        CONNECTION_BYTES, HEAD_BYTES, HEADERS, KEPT_HEADER_BYTES, KEPT_HEADERS, KEY_BYTES,
        LARGE_HEADS_BYTES,
    },
    message::weight_of,
};
use tokio::{io::AsyncReadExt as _, runtime};

use super::{
    batch,
    byte_budget::ByteBudget,
    cloudevents, headers,
    lingering_close::{LingeringClose, Unread},
    read_timeout::{ReadTimeout, RequestCounter},
    request_smuggling::{Guarded, Requests},
    tcp,
};

/// The most that a body may have here.
const BODY_BYTES: usize = 1 << 20;

/// A connection on which these bytes come, in two reads, is served to its end. A first request
/// that is let through has `Content-Length` or `Transfer-Encoding`, not both; what headers and
/// bodies say is read or refused; and hyper never answers by itself. Gives back how each request
/// was refused, if it was.
///
/// # Panics
/// When that is not so, or there is no runtime to be had.
pub fn connection(bytes: &[u8], cut: usize) -> Vec<Option<u16>> {
    let (first, rest) = bytes.split_at(cut.min(bytes.len()));
    let (requests, turns) = (Requests::default(), RequestCounter::default());
    let taken = Mutex::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        turns.turn();
        let refusal = requests.begin().map(|problem| problem.status);
        let (head, body) = request.into_parts();
        if let Ok(mut taken) = taken.lock() {
            taken.push(refusal);
        }
        if refusal.is_none() {
            headers(&head.headers);
            if let Ok(body) = Limited::new(body, BODY_BYTES).collect().await
                && let Ok(kind) = headers::content_type(&head.headers)
            {
                batch(&kind, &head.headers, &body.to_bytes(), BODY_BYTES);
            }
        }
        requests.end();
        turns.turn();
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { unreachable!("no runtime") };
    let answers = runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(BODY_BYTES);
        let stream = tokio::io::join(first.chain(rest), theirs);
        let ends = (ReadTimeout::new(turns.clone(), None), LingeringClose::new(Unread::default()));
        let io = Guarded::new(stream, requests.clone(), ByteBudget::new(LARGE_HEADS_BYTES), ends);
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None).max_headers(HEADERS).half_close(true);
        builder.max_buf_size(CONNECTION_BYTES).max_header_size(HEAD_BYTES);
        // Err: a body is none, which its request is told.
        let _ = builder.serve_connection(TokioIo::new(io), service).await;
        let mut answers = Vec::new();
        // Err: it can't be: it is in memory.
        let _ = ours.read_to_end(&mut answers).await;
        answers
    });
    let answers = String::from_utf8_lossy(&answers);
    let by_itself = answers.lines().any(|line| line.starts_with("HTTP/1.1 4"));
    assert!(!by_itself, "{answers} to {}", String::from_utf8_lossy(bytes));
    let taken = taken.into_inner().unwrap_or_default();
    let both = names(bytes, "content-length") && names(bytes, "transfer-encoding");
    assert!(!both || taken.first() != Some(&None), "{}", String::from_utf8_lossy(bytes));
    taken
}

/// Whether the first head has a header of this name. It is checked where it is well-formed.
fn names(bytes: &[u8], name: &str) -> bool {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or_default();
    let lines = bytes.get(start..).unwrap_or_default().split(|byte| *byte == b'\n').skip(1);
    lines
        .take_while(|line| !line.is_empty() && *line != b"\r")
        .filter_map(|line| line.split(|byte| *byte == b':').next())
        .any(|said| said.eq_ignore_ascii_case(name.as_bytes()))
}

/// What a message's headers say is read or refused; what is read has its bounds, and can be sent
/// on as one header each.
///
/// # Panics
/// When that is not so.
pub fn headers(headers: &HeaderMap) {
    if let Ok(Some(key)) = headers::idempotency_key(headers) {
        assert!((1..=KEY_BYTES).contains(&key.len()), "{key:?}");
    }
    if let Ok(kept) = headers::kept(headers) {
        let bytes = weight_of(&kept);
        assert!(kept.len() <= KEPT_HEADERS && bytes <= KEPT_HEADER_BYTES, "{kept:?}");
        for (_, value) in &*kept {
            let is_one = HeaderValue::from_str(value).is_ok() && !value.contains(['\r', '\n']);
            assert!(is_one, "{value:?}");
        }
    }
    if let Ok(content_type) = headers::content_type(headers) {
        assert!(HeaderValue::from_str(&content_type).is_ok(), "{content_type:?}");
    }
    if let Ok(Some(key)) = cloudevents::binary(headers) {
        assert!(key.len() <= KEY_BYTES, "{key:?}");
    }
    headers::wait(headers);
}

/// A body of this type is taken apart or refused: as a batch whose messages have at most `limit`
/// bytes, as one event, and as frames.
///
/// # Panics
/// When a part is too large, there is none, or there is more in the parts than in the body.
pub fn batch(kind: &str, headers: &HeaderMap, body: &Bytes, limit: usize) {
    if let Ok(items) = batch::split(kind, headers, body, limit) {
        assert!(items.iter().all(|item| item.body.len() <= limit));
        let bytes: usize = items.iter().map(|item| item.body.len()).sum();
        assert!(!items.is_empty() && bytes <= body.len());
    }
    if let Ok(key) = cloudevents::structured(body) {
        assert!(key.len() <= KEY_BYTES, "{key:?}");
    }
    frames(body, limit);
}

/// What comes on a plain connection is cut into the same messages wherever reads end, and none is
/// larger than `limit`; what is too large is found behind the same ones.
///
/// # Panics
/// When that is not so.
pub fn plain(framing: Framing, limit: usize, (bytes, cuts): (&[u8], &[u8])) {
    let whole = tcp::cut_all(framing, limit, &[bytes]);
    assert!(whole.0.iter().all(|message| message.len() <= limit), "{whole:?}");
    let sum: usize = whole.0.iter().map(Bytes::len).sum();
    assert!(sum <= bytes.len(), "{whole:?}");
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for cut in cuts {
        let (piece, behind) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    assert_eq!(tcp::cut_all(framing, limit, &pieces), whole);
}

/// A run of frames is taken apart or refused: none is longer than `limit`, together they are all
/// of the bytes, and one by one they are the same.
///
/// # Panics
/// When that is not so.
fn frames(bytes: &Bytes, limit: usize) {
    let Ok(frames) = frame::split_all(bytes.clone(), limit) else { return };
    let mut rest = &**bytes;
    for one in frames {
        assert_eq!(frame::next(rest, limit), Ok(Some(&*one)));
        rest = rest.get(frame::HEAD + one.len()..).unwrap_or_default();
    }
    assert!(rest.is_empty(), "{bytes:?}");
}
