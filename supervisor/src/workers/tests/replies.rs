//! Whatever a worker replies is read in bounds, and never becomes more than one header.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use proptest::{collection::vec, prelude::*};
use rollcall_common::{
    frame::HEAD,
    http::Reply,
    ids::MessageId,
    link::{Answer, Call},
    message::Payload,
};
use uuid::Uuid;

use super::super::{
    checks, link,
    plain::{answer, is_result},
};
use crate::dispatcher::WorkerReply;

fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        "content-type",
        "rollcall-outcome",
        "rollcall-reason",
        "retry-after",
        "content-encoding",
        "ce-id",
        "traceparent",
        "tracestate",
    ]);
    let words = prop::sample::select(vec!["ok", "park", "skip", "1e308", "-1", "NaN", "120"]);
    let bytes = vec(prop_oneof![Just(b'\t'), b' '..=b'~', 0x80_u8..=0xff], 0..2000);
    let value = prop_oneof![words.prop_map(|word| word.as_bytes().to_vec()), bytes];
    vec((name, value), 0..6).prop_map(|all| {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            let value = HeaderValue::from_bytes(&value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    })
}

/// The insides of frames: bytes of any kind, and a call and an answer of which one byte is another.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let changed = (any::<bool>(), any::<prop::sample::Index>(), any::<u8>());
    let near = changed.prop_map(|(is_call, at, to)| {
        let mut out = BytesMut::new();
        let (number, content_type, reason, body) = (7, "text/plain", "retry", b"body".as_slice());
        if is_call {
            let call = Call {
                number,
                stream: "orders",
                sequence: 3,
                id: MessageId(Uuid::nil()),
                attempt: 2,
                max_attempts: 5,
                timeout_ms: 2000,
                reason,
                sender_key: "k",
                content_type,
                headers: vec![("ce-id", "1"), ("ce-x", "ü")],
                body,
            };
            call.put(&mut out);
        } else {
            let (status, outcome, retry_after) = (200, None, "3");
            let headers = vec![("ce-id", "1"), ("content-encoding", "gzip")];
            let answer = Answer {
                number,
                status,
                outcome,
                reason,
                retry_after,
                content_type,
                headers,
                body,
            };
            answer.put(&mut out);
        }
        let mut frame = out[HEAD..].to_vec();
        let at = at.index(frame.len());
        frame[at] = to;
        frame
    });
    prop_oneof![near, vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn any_bytes_are_of_the_link_or_refused(frame in frame()) {
        checks::frame(&frame);
    }

    #[test]
    fn any_lines_are_a_reply(
        status in any::<u16>(),
        lines in vec(("[A-Za-z-]{1,12}|Retry-After|ce-[a-z]{1,3}", "[ -~]{0,30}|[0-9.e+-]{1,24}\
            |9{19,40}|Mon, [0-3][0-9] (Jan|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"), 0..5),
    ) {
        let lines: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        checks::plain_reply(status, lines.as_bytes());
    }

    #[test]
    fn any_reply_is_an_answer(
        headers in headers(),
        status in 100..1000_u16,
        body in vec(any::<u8>(), 0..9),
    ) {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from(body));
        let read = answer(Reply { status, headers: headers.clone(), body: body.clone() }, &[]);
        checks::reply(&read);
        let WorkerReply::Answer { status: said, outcome, payload, .. } = read else {
            // It says something that is no text, or says it twice.
            return Ok(());
        };
        prop_assert_eq!((said, payload.body), (status.as_u16(), body));
        if is_result(said, outcome) {
            let kept = payload.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
            let wanted = headers.iter().filter(|(name, _)| Payload::keeps(name.as_str()));
            let wanted = wanted.map(|(name, value)| (name.as_str(), value.as_bytes()));
            prop_assert!(kept.eq(wanted), "{:?}", payload.headers);
            let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
            prop_assert_eq!(payload.content_type.as_bytes(), content_type.unwrap_or_default());
        }
    }

    #[test]
    fn over_a_link_it_is_no_different(
        content_type in ".{0,20}",
        reason in "(.|\r|\n){0,2000}",
        said in vec((prop_oneof!["ce-[a-z]{1,2}", ".{0,5}"], "[ -ÿ]{0,9}"), 0..3),
    ) {
        let headers = said.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = Answer {
            number: 1,
            status: 200,
            outcome: None,
            reason: &reason,
            retry_after: "",
            content_type: &content_type,
            headers,
            body: b"x",
        };
        checks::reply(&link::reply(&answer, &[]));
    }
}
