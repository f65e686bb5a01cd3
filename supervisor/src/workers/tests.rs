//! Whatever a worker replies is read in bounds, and never becomes more than one header.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::{collection::vec, prelude::*};
use rollcall_common::{http::Reply, limits::REASON_BYTES, link::Answer};

use super::{link, plain::answer};
use crate::dispatcher::WorkerReply;

fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        "content-type",
        "rollcall-outcome",
        "rollcall-reason",
        "retry-after",
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

proptest! {
    #[test]
    fn any_reply_is_an_answer(
        headers in headers(),
        status in 100..1000_u16,
        body in vec(any::<u8>(), 0..9),
    ) {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from(body));
        let read = answer(Reply { status, headers, body: body.clone() });
        let WorkerReply::Answer { status: said, reason, payload, .. } = read else {
            panic!("a whole reply is an answer");
        };
        prop_assert_eq!((said, payload.body), (status.as_u16(), body));
        prop_assert!(HeaderValue::from_str(&payload.content_type).is_ok());
        // Broken characters are shown as one of three bytes.
        prop_assert!(reason.len() <= 3 * REASON_BYTES && !reason.contains(char::is_control));
    }

    #[test]
    fn over_a_link_it_is_no_different(content_type in ".{0,20}", reason in "(.|\r|\n){0,2000}") {
        let said = Answer {
            number: 1,
            status: 200,
            outcome: None,
            reason: &reason,
            retry_after: "",
            content_type: &content_type,
            body: b"x",
        };
        let WorkerReply::Answer { reason, payload, .. } = link::reply(&said) else {
            panic!("a whole reply is an answer");
        };
        prop_assert!(HeaderValue::from_str(&payload.content_type).is_ok());
        prop_assert!(payload.content_type.is_ascii() && !reason.contains(char::is_control));
    }
}
