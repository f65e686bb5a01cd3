//! Whatever comes in: nothing panics, nothing grows beyond its bound, and what is taken is what was
//! sent.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::{collection::vec, prelude::*};
use rollcall_common::{frame, http::Framing, protocol::FRAMES};

use super::{batch, checks};

/// Names that mean something here, and others.
fn name() -> impl Strategy<Value = HeaderName> {
    let known = prop::sample::select(vec![
        "content-type",
        "content-encoding",
        "idempotency-key",
        "prefer",
        "traceparent",
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-specversion",
        "ce-extra",
        "rollcall-content-type",
    ]);
    prop_oneof![known.prop_map(str::to_owned), "ce-[a-z]{1,9}", "[a-z]{1,9}"]
        .prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap())
}

/// Whatever the parser of HTTP lets through.
fn value() -> impl Strategy<Value = HeaderValue> {
    let words = prop::sample::select(vec![
        "1.0",
        "\"",
        "\\",
        "%",
        "%41",
        "wait=",
        "18446744073709551616",
        "application/cloudevents+json",
        ";",
        ",",
    ]);
    let text = vec(prop_oneof![words.prop_map(str::to_owned), "[ -~\t]{0,9}"], 0..5);
    let text = text.prop_map(|parts| parts.concat().into_bytes());
    let bytes = vec(prop_oneof![Just(b'\t'), b' '..=b'~', 0x80_u8..=0xff], 0..40);
    prop_oneof![text, bytes]
        .prop_filter_map("no value", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

fn header_map() -> impl Strategy<Value = HeaderMap> {
    vec((name(), value()), 0..80).prop_map(|all| {
        let mut headers = HeaderMap::new();
        all.into_iter().for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    })
}

/// JSON that is near to an event, and other bytes.
fn body() -> impl Strategy<Value = Bytes> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"id\":\"7\"",
        "\"source\":\"/s\"",
        "\"type\":\"t\"",
        ",",
        "\n",
        "\r",
        "\"specversion\":\"1.0\"",
        "\"data\":1",
        "\"data_base64\":\"eA==\"",
        "\u{0}",
        "[[[[[[[[",
        "1e999",
    ]);
    let near = vec(words, 0..40).prop_map(|words| Bytes::from(words.concat()));
    prop_oneof![near, vec(any::<u8>(), 0..200).prop_map(Bytes::from)]
}

/// Requests, and pieces of them.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "POST /x HTTP/1.1",
        "\r\n",
        "\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "content-length:",
        "Transfer-Encoding: chunked\r\n",
        "Content-Type: application/x-ndjson\r\n",
        "X: ",
        "3\r\nabc\r\n0\r\n\r\n",
    ]);
    let rest = vec(words, 0..9).prop_map(|words| words.concat());
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let near = rest.prop_map(move |rest| [head, &rest].concat().into_bytes());
    prop_oneof![near, targets(), vec(any::<u8>(), 0..200)]
}

/// Requests with odd targets.
fn targets() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(b"/#?%:@[]<>\"{}\\*.".to_vec());
    vec(prop_oneof![odd, any::<u8>()], 1..20).prop_map(|target| {
        [b"POST /", &*target, b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"].concat()
    })
}

proptest! {
    #[test]
    fn no_request_can_be_read_in_two_ways(requests in requests(), cut in 0..300_usize) {
        checks::connection(&requests, cut);
    }

    #[test]
    fn headers_are_read_or_refused(headers in header_map()) {
        checks::headers(&headers);
    }

    #[test]
    fn batches_are_taken_apart_or_refused(
        headers in header_map(),
        body in body(),
        kind in prop::sample::select(vec![
            FRAMES,
            "application/x-ndjson",
            "application/jsonl",
            "application/cloudevents-batch+json",
            "application/json", "",
        ]),
        limit in 0..100_usize,
    ) {
        checks::batch(kind, &headers, &body, limit);
    }

    #[test]
    fn plain_messages_are_the_same_wherever_reads_end(
        framing in prop::sample::select(vec![Framing::Lines, Framing::Length]),
        limit in 0..8_usize,
        bytes in vec(prop_oneof![Just(b'\n'), Just(b'\r'), 0..8_u8, any::<u8>()], 0..40),
        cuts in vec(0..6_u8, 0..20),
    ) {
        checks::plain(framing, limit, (&bytes, &cuts));
    }

    #[test]
    fn a_line_that_is_no_text_is_no_json(before in 0..3_usize, byte in 0x80..=0xff_u8) {
        let mut body = b"1\n".repeat(before);
        body.extend_from_slice(&[b'"', byte, b'"', b'\n']);
        let split = batch::split("application/jsonl", &HeaderMap::new(), &body.into(), 100);
        let problem = split.map(|items| items.len()).unwrap_err();
        prop_assert_eq!(&problem.members["line"], before + 1);
    }

    #[test]
    fn frames_come_back_as_they_were(
        bodies in vec(vec(any::<u8>(), 0..50), 0..20),
        cut in 0..4_usize,
    ) {
        let mut bytes = BytesMut::new();
        bodies.iter().for_each(|body| frame::put(&mut bytes, body));
        let split = frame::split_all(bytes.clone().freeze(), 50).unwrap();
        prop_assert_eq!(&split, &bodies);
        // A piece of another frame is no frame.
        if cut > 0 {
            bytes.put_slice(&[0, 0, 0][..cut]);
            prop_assert!(frame::split_all(bytes.freeze(), 50).is_err());
        }
    }

    #[test]
    fn requests_are_told_apart_wherever_reads_end(
        kinds in vec(0..4_usize, 1..5),
        cut in 0..600_usize,
        wrong in any::<bool>(),
    ) {
        let one = |kind: &usize| match kind {
            0 => "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            1 => "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nPOST ",
            2 => "POST /x HTTP/1.1\nHost: a\ntransfer-encoding: CHUNKED\n\n\
                  4;x=y\r\n\r\n\r\n\r\n0\r\nA: b\r\n\r\n",
            _ => "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5\r\nfirst\r\n00\r\n\r\n",
        };
        let mut requests: String = kinds.iter().map(one).collect();
        let mut expected = vec![None; kinds.len()];
        if wrong {
            // Behind it nothing is looked at.
            requests.push_str("GET /x HTTP/1.1\r\n\r\nGET /y HTTP/1.1\r\n");
            expected.push(Some(400));
        }
        prop_assert_eq!(checks::connection(requests.as_bytes(), cut), expected);
    }
}
